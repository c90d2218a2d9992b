"""Samples of galaxies that are fitted together: the weights and redshift of each, and one evaluation.

Samples of the same weights at the same redshift share an emulator and are evaluated in one call.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.derived import DerivedModel
from iaemu_likelihood.emulator.models.weights import (
    domain_of,
    identity,
    read_card,
    redshifts_of,
    weights_folder,
)
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.points import is_number
from iaemu_likelihood.emulator.physics.redshift import SAME_REDSHIFT
from iaemu_likelihood.likelihood.evaluation import Points, evaluate
from iaemu_likelihood.likelihood.model import Bins, CorrelationModel, Moments, Predicted

Array = NDArray[np.float64]
Card = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """What predicts a sample.

    Attributes
    ----------
    weights : str
        Name or path.
    redshift : float or None
        None for that of the weights.
    occupation, alignment : str or None
        Where the weights are a tabulation, which takes any; None for its own.

    Raises
    ------
    ValueError
        If one of them is of another type.
    """

    weights: str
    redshift: float | None = None
    occupation: str | None = None
    alignment: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.weights, str):
            raise ValueError(f"weights must be a name or a folder; got {self.weights!r}.")
        if self.redshift is not None and not is_number(self.redshift):
            raise ValueError(f"redshift must be a number; got {self.redshift!r}.")
        for key in ("occupation", "alignment"):
            if not isinstance(getattr(self, key), str | None):
                raise ValueError(f"{key} must be a name; got {getattr(self, key)!r}.")

    def card(self) -> dict[str, Any]:
        """The card of the weights; an OSError or a ValueError if there is none to read."""
        return read_card(weights_folder(self.weights), self.occupation, self.alignment)

    def domain(self, card: Card) -> Domain:
        """Domain at the redshift, by the card of the weights."""
        redshift = card["redshift"] if self.redshift is None else self.redshift
        return redshifts_of(card).domain(domain_of(card), redshift)

    def emulator(self) -> Emulator:
        """The weights at the redshift.

        Raises
        ------
        OSError, ValueError
            If they cannot be loaded, or do not know it.
        """
        found = Emulator.load(self.weights, self.occupation, self.alignment)
        return found if self.redshift is None else found.at_redshift(self.redshift)


def sources_of(
    samples: Sequence[str] | Mapping[str, Any] | None, common: Source
) -> dict[str | None, Source]:
    """The source of each sample, by its label.

    Parameters
    ----------
    samples : sequence of str, mapping or None
        Labels; or by label, what is different for the sample: ``{lrg: {redshift: 0.6}, elg: null}``.
        Without labels there is one sample, and its label is None.
    common : Source
        For what a sample does not say itself.

    Raises
    ------
    ValueError
        If labels are no names, or occur twice, or a sample has other keys than those of `Source`.
    """
    listed = isinstance(samples, Sequence | Mapping | None) and not isinstance(samples, str)
    labels: list[str | None] = list(samples or []) if listed else []
    if not listed or len({*map(str, labels)}) < len(labels) or not all(
        isinstance(label, str) and f"x_{label}".isidentifier() for label in labels
    ):  # fmt: skip
        raise ValueError(
            "samples must be a list of distinct labels of letters, digits and '_', or a mapping of these; "
            f"got {samples!r}."
        )
    if not isinstance(samples, Mapping) or not samples:
        return dict.fromkeys(labels or [None], common)
    known = [field.name for field in fields(Source)]
    found: dict[str | None, Source] = {}
    for label, own in samples.items():
        if not isinstance(own, Mapping | None) or not {*(own or {})} <= {*known}:
            raise ValueError(
                f"samples: {label} is {own!r}; it may say {', '.join(known)} of the sample, such as "
                f"{{redshift: 0.6}}."
            )
        try:
            found[label] = replace(common, **(own or {}))
        except ValueError as error:
            raise ValueError(f"samples: {label}: {error}") from error
    return found


def load_emulators(sources: Mapping[str | None, Source]) -> dict[str | None, Emulator]:
    """The emulator of each sample, the same object for samples of one source.

    Raises
    ------
    OSError, ValueError
        As `Source.emulator`; the message names the sample, if there are several sources.
    """
    loaded: dict[Source, Emulator] = {}
    # One set of weights may have a name and a path.
    distinct: dict[tuple[str, float], Emulator] = {}
    for label, source in sources.items():
        if source in loaded:
            continue
        try:
            emulator = source.emulator()
        except (OSError, ValueError) as error:
            if len({*sources.values()}) == 1:
                raise
            raise type(error)(f"Sample {label}: {error}") from error
        loaded[source] = distinct.setdefault((identity(emulator.card), emulator.redshift), emulator)
    return {label: loaded[source] for label, source in sources.items()}


def sources_sha256(sources: Mapping[str | None, Source], cards: Mapping[str | None, Card]) -> str:
    """The hash to which runs are bound: of all that decides what is predicted of each sample.

    Parameters
    ----------
    sources : mapping to Source
        By the label of each sample.
    cards : mapping to mapping
        The cards of their weights.

    Returns
    -------
    str
        If all samples have the same weights, at the redshift of these, the identity of the weights.
    """
    each = []
    for label, source in sources.items():
        own, redshift = float(cards[label]["redshift"]), source.redshift
        if redshift is not None and abs(redshift - own) <= SAME_REDSHIFT:
            redshift = None
        each.append((label or "", identity(cards[label]), redshift))
    if len({(sha, redshift) for _, sha, redshift in each}) == 1 and each[0][2] is None:
        return each[0][1]
    return hashlib.sha256(json.dumps(sorted(each)).encode()).hexdigest()


class SamplePrediction(NamedTuple):
    """What is predicted of one sample at one point: a row of a model's prediction."""

    predicted: Predicted
    row: int

    def in_bins(
        self, bins: Bins, errors: Collection[str] = (), responses: Array | None = None
    ) -> Moments:
        """Mean and covariances of some statistics.

        Parameters
        ----------
        bins, errors
            As those of `OccupiedModel`.
        responses : ndarray, shape (1, 2), optional
            a_2 of centrals and of satellites, if the point has none.
        """
        at = self.predicted
        if responses is not None:
            at = replace(at, responses=responses)
        return at.in_bins(bins, errors, self.row)

    @property
    def number_density(self) -> float:
        """Mean number density of galaxies, (h/Mpc)^3; a ValueError if it is not known."""
        return float(self.predicted.occupied.number_density[self.row])

    def derived(
        self,
        model: DerivedModel,
        responses: Array | None = None,
        conventions: Conventions | None = None,
    ) -> dict[str, float]:
        """Derived parameters by name; parameters as those of `DerivedModel`."""
        at = self.predicted
        if responses is None:
            responses = at.responses
        each = at.occupied.derived(model, at.mu, responses, conventions)
        return {name: float(x[self.row]) for name, x in each.items()}


class JointModel:
    """Models of several samples, evaluated together where their emulator is the same.

    Parameters
    ----------
    emulators : mapping to Emulator
        By the label of each sample; the same object where it is the same emulator.
    statistics, errors : mapping to collection of str
        By label, names of the statistics and kinds of covariances that will be needed; a sample that is
        missing needs none.

    Attributes
    ----------
    models : dict of str or None to CorrelationModel
        By label; samples of one emulator share a model.

    Raises
    ------
    ValueError
        If an emulator does not predict one of its statistics.
    """

    def __init__(
        self,
        emulators: Mapping[str | None, Emulator],
        statistics: Mapping[str | None, Collection[str]],
        errors: Mapping[str | None, Collection[str]],
    ) -> None:
        self.models: dict[str | None, CorrelationModel] = {}
        self._groups: list[tuple[list[str | None], CorrelationModel, set[str]]] = []
        for emulator in {id(emulator): emulator for emulator in emulators.values()}.values():
            labels = [label for label, own in emulators.items() if own is emulator]
            model = CorrelationModel(emulator, {x for s in labels for x in statistics.get(s, ())})
            self._groups.append((labels, model, {x for s in labels for x in errors.get(s, ())}))
            self.models |= dict.fromkeys(labels, model)

    def evaluate(
        self,
        values: Mapping[str | None, Any],
        out_of_domain: str,
        responses: Mapping[str | None, Any] | None = None,
    ) -> tuple[bool, dict[str | None, SamplePrediction]]:
        """Evaluate at one point.

        Parameters
        ----------
        values : mapping to array_like, shape (n_parameters,)
            By label, alignment and occupation parameters in the order of the emulator's space.
        out_of_domain : str
            One of `OUT_OF_DOMAIN`.
        responses : mapping to array_like, shape (2,), optional
            a_2 of centrals and of satellites of each sample, if shapes enter.

        Returns
        -------
        accepted : bool
            As of `evaluate`.
        samples : dict of str or None to SamplePrediction
            By label; empty if the point is not allowed.

        Raises
        ------
        ValueError
            As `evaluate`.
        """
        points = []
        for labels, model, errors in self._groups:
            theta = np.array([values[label] for label in labels], np.float64)
            of_shapes = None
            if responses is not None:
                of_shapes = np.array([responses[label] for label in labels], np.float64)
            split = model.emulator.space.split(theta)
            points.append(Points(model, *split, of_shapes, errors))
        accepted, predicted = evaluate(points, out_of_domain)
        return accepted, {
            label: SamplePrediction(each, row)
            for (labels, _, _), each in zip(self._groups, predicted, strict=bool(predicted))
            for row, label in enumerate(labels)
        }
