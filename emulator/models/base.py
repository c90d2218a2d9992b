"""What trained emulators of every kind have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from iaemu_likelihood.emulator.backend import MANY, ArrayOrTensor, as_array, enter
from iaemu_likelihood.emulator.models.weights import (
    domain_of,
    read_card,
    read_weights,
    weights_folder,
)
from iaemu_likelihood.emulator.physics.bins import bin_centres
from iaemu_likelihood.emulator.physics.statistics import (
    DEFAULT_STATISTICS,
    PAIRS,
    PerStatistic,
    Statistic,
    named,
)
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

# Points that are computed at a time: on a CPU what belongs to them then stays in its cache.
AT_A_TIME, AT_A_TIME_ON_GPU = 2048, 65_536


class Prediction(PerStatistic):
    """Expected statistics at one point or many, by name or as attributes.

    Parameters
    ----------
    r : ndarray or torch.Tensor, shape (n_bins,)
        Arithmetic centres of the bins, Mpc/h.
    values : mapping of str to ndarray or torch.Tensor, shape (n_bins,) or (n, n_bins)
        Averages over the bins.
    aleatoric : PerStatistic or None
        One standard deviation of the scatter of one galaxy catalogue in the box of the training
        about these; None if the weights have no noise.
    epistemic : PerStatistic or None
        One standard deviation of what training left uncertain of these; None if it was not asked
        for.
    """

    def __init__(
        self,
        r: ArrayOrTensor,
        values: Mapping[str, Any],
        aleatoric: PerStatistic | None = None,
        epistemic: PerStatistic | None = None,
    ) -> None:
        super().__init__(values)
        self.r, self.aleatoric, self.epistemic = r, aleatoric, epistemic

    @classmethod
    def of(
        cls,
        statistics: Sequence[Statistic],
        r: ArrayOrTensor,
        parts: Sequence[Any],
        which: tuple[Any, ...],
    ) -> Prediction:
        """From arrays or tensors (n, n_statistics, n_bins) of mean, aleatoric and epistemic sigma.

        Parameters
        ----------
        statistics : sequence of Statistic
        r : ndarray or torch.Tensor, shape (n_bins,)
        parts : sequence of ndarray, torch.Tensor or None
        which : tuple
            Index of points: (0,) for one, (slice(None),) for all.
        """
        mean, *sigmas = (
            {s.name: part[(*which, i)] for i, s in enumerate(statistics)}
            if part is not None
            else {}
            for part in parts
        )
        return cls(r, mean, *(PerStatistic(sigma) if sigma else None for sigma in sigmas))


class Occupied(Protocol):
    """An emulator at given occupation parameters, as a function of the alignment parameters.

    What does not depend on the alignment is computed once. Get one with `Emulator.at`.

    Attributes
    ----------
    excess : ndarray or torch.Tensor, shape (n, n_bins)
        xi, which no alignment changes: the number of pairs in a bin is proportional to 1 + xi.
    """

    excess: ArrayOrTensor

    def __call__(
        self, mu: ArrayOrTensor, errors: Collection[str] = ()
    ) -> tuple[ArrayOrTensor, dict[str, ArrayOrTensor]]:
        """Expectations and their covariances, differentiably. No check of the domain.

        Parameters
        ----------
        mu : ndarray or torch.Tensor, shape (n, n_alignment), float64
            An array or a tensor, as the occupation parameters were; as many points as there are of
            these, unless they are of one point only.
        errors : collection of str
            Any of aleatoric and epistemic.

        Returns
        -------
        mean : ndarray or torch.Tensor, shape (n, n_statistics, n_bins), float64
        covariances : dict of str to ndarray or torch.Tensor
            One for each of `errors`, of shape (n, n_statistics n_bins, n_statistics n_bins).
        """


class Emulator(ABC):
    """Emulator of the statistics of galaxy catalogues. Get one with `Emulator.load`.

    Attributes
    ----------
    statistics : tuple of Statistic
        That it predicts.
    space : ParameterSpace
        Its parameters.
    domain : Domain
        Where it was trained.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    card : dict
        What the weights are: halo catalogue, training, accuracy, hashes.
    """

    # By the kind that a card names.
    KINDS: ClassVar[dict[str, type[Emulator]]] = {}

    def __init_subclass__(cls, kind: str, **options: Any) -> None:
        super().__init_subclass__(**options)
        Emulator.KINDS[kind] = cls

    def __init__(self, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        self.card = card
        self.statistics = named(card.get("statistics", DEFAULT_STATISTICS))
        self.domain = domain_of(card)
        self.space = self.domain.space
        self.r_edges: NDArray[np.float64] = tensors["r_edges"].double().numpy()
        counting = [i for i, x in enumerate(self.statistics) if x.kernel is PAIRS]
        if not counting:
            raise ValueError(
                "The weights have no statistic that counts pairs, by which bins are weighted; they "
                f"have {', '.join(statistic.name for statistic in self.statistics)}."
            )
        # The statistic of which the number of pairs follows.
        self._counting = counting[0]
        self._device = torch.device("cpu")
        self._r = bin_centres(self.r_edges)

    @staticmethod
    def load(source: str | Path = "templates") -> Emulator:
        """Load weights.

        Parameters
        ----------
        source : str or Path
            Name of weights (``iaemu info`` lists them), or a folder that holds
            weights.safetensors and card.yaml.

        Returns
        -------
        Emulator
            On the CPU; see `to`.

        Raises
        ------
        FileNotFoundError
            If there are no such weights.
        ValueError
            If a file is damaged, of another schema, or not the one that the card describes.
        """
        folder = weights_folder(source)
        card = read_card(folder)
        kind = card["kind"]
        if kind not in Emulator.KINDS:
            raise ValueError(
                f"{folder}: the card's kind is {kind!r}; it must be one of "
                f"{', '.join(Emulator.KINDS)}."
            )
        return Emulator.KINDS[kind](read_weights(folder, card), card)

    @abstractmethod
    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Emulator:
        """Move to a device, such as ``"cuda"``, or to another precision; returns itself.

        Parameters
        ----------
        device : torch.device or str, optional
        dtype : torch.dtype, optional
            Of the networks. `templates` is loaded in torch.float64; in torch.float32 it takes less
            than half the time for many points, predicts in float32, and differs by less than 1e-3 of the
            noise. `paper` is loaded in torch.float32. Parameters stay float64.
        """

    @abstractmethod
    def at(self, hod: ArrayOrTensor, statistics: Collection[str] | None = None) -> Occupied:
        """Prepare for given occupation parameters. No check of the domain.

        Parameters
        ----------
        hod : ndarray or torch.Tensor, shape (n, n_occupation), float64
            Masses are log10 of Msun/h.
        statistics : collection of str, optional
            Names of some of the emulator's, all when left out; they are given in its own order.
        """

    def chosen(self, statistics: Collection[str] | None) -> tuple[Statistic, ...]:
        """Statistics by their names, all for None, in the emulator's own order.

        Raises
        ------
        ValueError
            If it does not predict one of them.
        """
        if statistics is None:
            return self.statistics
        known = [statistic.name for statistic in self.statistics]
        missing = [name for name in statistics if name not in known]
        if missing:
            raise ValueError(
                f"These weights do not predict {', '.join(missing)}; they predict "
                f"{', '.join(known)}."
            )
        return tuple(s for s in self.statistics if s.name in statistics)

    def __call__(self, theta: Tensor, epistemic: bool = True) -> Prediction:
        """Predict from a tensor, differentiably. No check of the domain.

        Parameters
        ----------
        theta : torch.Tensor, shape (n_parameters,) or (n, n_parameters), float64
            Alignment and occupation parameters, in the order of `space.names`.
        epistemic : bool
            Give the epistemic uncertainty, too.

        Returns
        -------
        Prediction
            Of tensors.
        """
        points = theta.reshape(-1, len(self.space))
        to_tensor = partial(torch.as_tensor, device=self._device)
        points, unit = enter(points, self.domain.to_unit(points))
        found = self._predict(points, unit, epistemic)
        parts = [part if part is None else to_tensor(part) for part in found]
        which = (0,) if theta.ndim == 1 else (slice(None),)
        return Prediction.of(self.statistics, to_tensor(self._r.copy()), parts, which)

    @abstractmethod
    def _predict(self, theta: Any, unit: Any, epistemic: bool) -> tuple[Any, Any, Any]:
        """Predict at points, arrays or tensors.

        Parameters
        ----------
        theta, unit : ndarray or torch.Tensor, shape (n, n_parameters)
            The parameters, and in the cube of `Domain.to_unit`.
        epistemic : bool

        Returns
        -------
        mean : ndarray or torch.Tensor, shape (n, n_statistics, n_bins)
        aleatoric, epistemic : ndarray, torch.Tensor or None
            Standard deviations, of the same shape.
        """

    @abstractmethod
    def covariance(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Aleatoric covariance of all statistics of one galaxy catalogue, one after the other.

        Parameters
        ----------
        theta : array_like, shape (n_parameters,) or (n, n_parameters)

        Returns
        -------
        ndarray, shape (n_statistics n_bins, n_statistics n_bins) or (n, ...)

        Raises
        ------
        ValueError
            As `predict`; and if the weights have no noise.
        """

    @property
    def has_noise(self) -> bool:
        """Whether the weights know the scatter of single catalogues."""
        return True

    def predict(
        self,
        parameters: Any = None,
        *,
        extrapolate: bool = False,
        epistemic: bool = True,
        **named: ArrayLike,
    ) -> Prediction:
        """Predict all statistics.

        Parameters
        ----------
        parameters : array_like, shape (n_parameters,) or (n, n_parameters), or mapping, optional
            mu_cen, mu_sat, then the occupation's (masses: log10 of Msun/h); see `space.names`.
        extrapolate : bool
            Evaluate outside the domain of the training, too (mu_cen and mu_sat stay in [-1, 1]).
        epistemic : bool
            Give the epistemic uncertainty, too.
        **named : float or array_like, shape (n,)
            The parameters by name, instead of `parameters`.

        Returns
        -------
        Prediction
            Of arrays, shape (n_bins,) for one point and (n, n_bins) for many; float64 unless `to`
            was told otherwise.

        Raises
        ------
        ValueError
            If a parameter is not finite or outside the domain; the message names it, its value
            and its range.
        """
        theta = self.space.array(parameters, **named)
        points = theta.reshape(-1, len(self.space))
        unit = self._checked_unit(points, extrapolate)
        with torch.inference_mode():
            if len(points) < MANY and self._device.type == "cpu":
                found = [self._predict(points, unit, epistemic)]
            else:
                at_a_time = AT_A_TIME if self._device.type == "cpu" else AT_A_TIME_ON_GPU
                lots = (
                    torch.as_tensor(x, device=self._device).split(at_a_time) for x in (points, unit)
                )
                found = [self._predict(a, b, epistemic) for a, b in zip(*lots, strict=True)]
        parts = [_joined(lots) for lots in zip(*found, strict=True)]
        which = (0,) if theta.ndim == 1 else (slice(None),)
        return Prediction.of(self.statistics, self._r.copy(), parts, which)

    def _checked_unit(
        self, points: NDArray[np.float64], extrapolate: bool = False
    ) -> NDArray[np.float64]:
        """Parameters (n, n_parameters) in the cube of the domain, if they may be evaluated."""
        unit: NDArray[np.float64] = self.domain.to_unit(points)
        # A strength beyond its limits means nothing, so it cannot be extrapolated to.
        must_be_inside = self.space.split(unit)[0] if extrapolate else unit
        if not (np.abs(must_be_inside) <= 1).all():
            self.domain.check(points)  # in doubt by rounding only, it knows better
        return unit


def _joined(lots: Sequence[Any]) -> NDArray[Any] | None:
    """Arrays or tensors of some points after the other, as one array; None if they are."""
    if lots[0] is None:
        return None
    return as_array(lots[0]) if len(lots) == 1 else np.concatenate([as_array(x) for x in lots])
