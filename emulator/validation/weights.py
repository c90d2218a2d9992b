"""Validation of weights: an emulator against expectations and catalogues that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.models.card import measured_tables, verdict
from iaemu_likelihood.emulator.models.weights import halos_of
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.physics.templates import combine_templates
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.emulator.validation import accuracy, calibration, metrics
from iaemu_likelihood.emulator.validation.baselines import baselines, timing
from iaemu_likelihood.emulator.validation.headline import headline
from iaemu_likelihood.emulator.validation.predicted import Array, predict
from iaemu_likelihood.emulator.validation.targets import N_PAPER, targets

if TYPE_CHECKING:
    from iaemu_likelihood.emulator.datasets import DataSet
    from iaemu_likelihood.emulator.expectation import Tabulation
    from iaemu_likelihood.emulator.models.base import Emulator


@dataclass(frozen=True)
class Validation:
    """Result of `validate_emulator`.

    Attributes
    ----------
    statistics : tuple of Statistic
    space : ParameterSpace
    numbers : dict
        Every number, ready for JSON; numbers that do not exist are None.
    arrays : dict of str to ndarray
        What figures are drawn from. At all points: ``theta`` (n, n_parameters), ``unit``
        (n, n_occupation), ``truth``, ``prediction``, ``epistemic`` and, if predicted,
        ``aleatoric`` (n, n_statistics, n_bins), ``score`` (n, n_statistics). At the points of the
        realisations: ``scatter``, ``n_catalogues``, ``drawn_epistemic`` and, if predicted,
        ``drawn_aleatoric`` (m, n_statistics, n_bins). ``r`` (n_bins,), Mpc/h.
    """

    statistics: tuple[Statistic, ...]
    space: ParameterSpace
    numbers: dict[str, Any]
    arrays: dict[str, Array]

    def summary(self, name: str) -> Table:
        """Targets of weights of a name, by measure and statistic, with a cross where one is missed."""
        rows: dict[tuple[str, str], dict[str, str]] = {}
        for t in self.numbers["targets"]:
            statistic, measure = t["name"].split(": ", 1)
            cell = f"{t['value']:.3g}" + (" ✗" if t["met"] is False else "")
            rows.setdefault((measure, _bar(t)), {})[statistic] = cell
        names = [statistic.name for statistic in self.statistics]
        return Table(
            f"{name}: targets",
            ["", *names, "target"],
            [
                [measure, *(cells.get(name, "") for name in names), bar]
                for (measure, bar), cells in rows.items()
            ],
        )

    def tables(self, name: str) -> list[Table]:
        """Targets beside the paper's numbers, and the numbers that go into a card."""
        decisive = Table(
            f"{name}: targets",
            ["", "measured", "target", "met", "paper"],
            [
                [
                    t["name"],
                    f"{t['value']:.4g}",
                    _bar(t),
                    {True: "yes", False: "no", None: ""}[t["met"]],
                    t["paper"],
                ]
                for t in self.numbers["targets"]
            ],
        )
        blocks = headline(self.numbers, "")
        return [
            decisive,
            *(table for k, block in blocks.items() for table in measured_tables(block, k)),
        ]

    def sentences(self) -> list[str]:
        """What was left out, and why; and how many targets are met."""
        return [*self.numbers["left_out"], verdict(headline(self.numbers, "")["accuracy"])]


def _bar(target: Mapping[str, Any]) -> str:
    return " to ".join(f"{x:.4g}" for x in target["bar"] or [])


def validate_emulator(
    emulator: Emulator,
    expectation: DataSet,
    realisations: DataSet,
    seed: int = 0,
    progress: bool = True,
    tabulation: Tabulation | None = None,
) -> Validation:
    """Measure accuracy and calibration of an emulator at points that it was not trained on.

    Parameters
    ----------
    emulator : Emulator
    expectation : DataSet
        Of the emulator's halo catalogue: `DataSet.held_out("expectation")`, unless it is another.
    realisations : DataSet
        Single catalogues at the first points of the former, each point with its own mu.
    seed : int
        Of the alignment strengths, drawn uniformly within their limits, at the points of
        `expectation`, and of the choice of the points that train the baseline.
    progress : bool
        Show a progress bar.
    tabulation : Tabulation, optional
        Of the same halo catalogue, to time it beside the emulator.

    Returns
    -------
    Validation

    Raises
    ------
    ValueError
        If halo catalogues, statistics, bins or points do not belong together, or too few points are
        in the domain.

    Notes
    -----
    In a bin without pairs, a catalogue's xi is -1, and counts; statistics that are means over pairs
    do not exist there, are left out, and counted as such.
    """
    _check(emulator, expectation, realisations)
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must not be negative.")
    space, statistics = emulator.space, emulator.statistics

    def combined(templates: Array, mu: Array) -> Array:
        result: Array = combine_templates(templates, mu, statistics, space.alignment)
        return result

    rng = np.random.default_rng(seed)
    mu = rng.uniform(*space.alignment.limits, (len(expectation), space.n_alignment))
    theta = space.join(mu, expectation.parameters)
    inside = emulator.domain.contains(theta)
    inside_drawn = emulator.domain.contains(realisations.parameters)
    n_catalogues = realisations.columns["correlations"].shape[1]
    check_sizes(int(inside.sum()), int(inside_drawn.sum()), n_catalogues, "in the domain")
    templates = expectation.columns["templates"].astype(np.float64)
    truth = combined(templates, mu)[inside]
    theta, drawn = theta[inside], realisations.parameters
    truth_drawn = combined(templates[: len(drawn)], space.split(drawn)[0])[inside_drawn]
    drawn = drawn[inside_drawn]
    draws = realisations.columns["correlations"][inside_drawn].astype(np.float64)

    predicted, at_drawn = predict(emulator, [theta, drawn], progress)
    sigma, number = metrics.scatter(draws, draws.shape[1] // 2)
    unit = emulator.domain.to_unit(space.split(theta)[1])
    score = accuracy.score(predicted, truth)
    numbers: dict[str, Any] = {
        "data": {
            "version": version("iaemu_likelihood"),
            "halos": halos_of(emulator.card, emulator.redshift),
            "redshift": emulator.redshift,
            "kind": emulator.card["kind"],
            "n_points": len(theta),
            "n_points_with_realisations": len(drawn),
            "n_catalogues": draws.shape[1],
            "n_points_outside_the_domain": int((~inside).sum() + (~inside_drawn).sum()),
            "n_values_without_pairs": int(np.isnan(draws).sum()),
            "seed": seed,
        },
        "left_out": [],
        "expectation": accuracy.against_expectation(predicted, truth, unit),
        "ten_realisations": accuracy.against_means(at_drawn, truth_drawn, draws[:, :N_PAPER]),
        "sigma_units": accuracy.in_sigma(predicted, truth, at_drawn, truth_drawn, sigma),
        "epistemic": calibration.epistemic(predicted, truth),
        "worst": accuracy.worst(theta, score, predicted, truth, space),
        "baselines": baselines(predicted, templates[inside], theta, unit, space, rng, tabulation),
        "timing": timing(emulator, theta),
    }
    arrays = {
        "r": emulator.predict(theta[0]).r,
        "theta": theta,
        "unit": unit,
        "truth": truth,
        "prediction": predicted.mean,
        "epistemic": predicted.epistemic,
        "score": score,
        "scatter": sigma,
        "n_catalogues": number,
        "drawn_epistemic": at_drawn.epistemic,
    }
    if predicted.aleatoric is None or at_drawn.aleatoric is None:
        numbers["left_out"].append(
            "These weights do not predict the scatter of single catalogues: aleatoric bias, coverage, "
            "PIT, CRPS and chi^2 are left out, and the worst points are judged in units of the rms of "
            "the truth in each bin."
        )
    else:
        numbers["aleatoric"] = calibration.aleatoric(at_drawn, truth_drawn, sigma, number)
        numbers["calibration"] = calibration.calibration(
            at_drawn, truth_drawn, draws, sigma, emulator.covariance(drawn)
        )
        arrays |= {"aleatoric": predicted.aleatoric, "drawn_aleatoric": at_drawn.aleatoric}
    numbers["targets"] = targets(numbers, [statistic.name for statistic in statistics])
    return Validation(statistics, space, _plain(numbers), arrays)


def check_sizes(n_points: int, n_drawn: int, n_catalogues: int, where: str = "in all") -> None:
    """Refuse test sets that are too small for the numbers of a validation.

    Parameters
    ----------
    n_points : int
        HOD points with their expectation.
    n_drawn, n_catalogues : int
        The first of these, where catalogues are drawn, and their number at each.
    where : str
        Where the points are counted, for the message.

    Raises
    ------
    ValueError
    """
    for value, least, what in (
        (n_points, 5, f"HOD points {where}"),
        (n_drawn, 2, f"HOD points {where} at which catalogues are drawn"),
        (n_catalogues, 2, "catalogues at each point"),
    ):
        if value < least:
            raise ValueError(f"{value} {what} are too few to validate with: at least {least}.")
    if n_drawn > n_points:
        raise ValueError(
            f"Catalogues are drawn at the first of the HOD points: at most at {n_points}, not at "
            f"{n_drawn}."
        )


def _check(emulator: Emulator, expectation: DataSet, realisations: DataSet) -> None:
    """Refuse data sets that do not belong to the emulator, or not to each other."""
    halos = halos_of(emulator.card, emulator.redshift)
    for kind, data in (("expectation", expectation), ("realisations", realisations)):
        if data.kind != kind:
            raise ValueError(f"A data set of kind {kind} is needed; got one of {data.kind}.")
        if data.attributes["halos_sha256"] != halos["sha256"]:
            raise ValueError(
                f"These weights were trained on the halo catalogue {halos['name']!r} (SHA-256 "
                f"{halos['sha256'][:12]}...), the test points of {kind} come from "
                f"{data.attributes['halos']!r} ({data.attributes['halos_sha256'][:12]}...). Make test "
                f"points with `iaemu dataset {kind} --halos ...` and give them with --{kind}."
            )
        for what, theirs, ours in (
            (
                "statistics",
                [s.name for s in data.statistics],
                [s.name for s in emulator.statistics],
            ),
            ("parameters", list(data.space.names), list(emulator.space.names)),
        ):
            if theirs != ours:
                raise ValueError(
                    f"The {what} of the weights are {', '.join(ours)}; those of the data set of "
                    f"{kind} are {', '.join(theirs)}. Make test points as the weights were trained."
                )
        if not np.allclose(data.r_edges, emulator.r_edges):
            raise ValueError(f"The bins of the data set of {kind} are not those of the weights.")
    n = len(realisations)
    _, hod = emulator.space.split(realisations.parameters)
    # Machines round the limits of a domain differently.
    if n > len(expectation) or not np.allclose(hod, expectation.parameters[:n], 1e-9, 0):
        raise ValueError(
            "The realisations must be at the first points of the expectation: make both data sets "
            "with the same --seed, --design and --domain."
        )


def _plain(value: Any) -> Any:
    """Lists, dicts and numbers only, with None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
