"""The interface of trained emulators, and what all kinds share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from iaemu_likelihood.emulator.backend import ArrayOrTensor, as_array, enter, unaffected
from iaemu_likelihood.emulator.binned import Binned
from iaemu_likelihood.emulator.models.projected import (
    ProjectedMap,
    ProjectedPrediction,
    Universe,
    project,
)
from iaemu_likelihood.emulator.models.weights import (
    CONTENT_HASH,
    EXACT,
    card_path,
    domain_of,
    learned_of,
    read_card,
    read_weights,
    statistics_of,
    weights_folder,
)
from iaemu_likelihood.emulator.physics.abundance import HostAbundance
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.bins import bin_centres
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.redshift import SAME_REDSHIFT
from iaemu_likelihood.emulator.physics.shapes import largest_response, response
from iaemu_likelihood.emulator.physics.stated_cosmology import refuse_other_cosmology
from iaemu_likelihood.emulator.physics.statistics import (
    PAIRS,
    PROJECTED,
    PerStatistic,
    ProjectedStatistic,
    Statistic,
)
from iaemu_likelihood.emulator.results import Result, as_html
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

# Number of points that are computed at a time; on a CPU, so many fit into its cache.
AT_A_TIME, AT_A_TIME_ON_GPU = 2048, 65_536


class Prediction(Result, PerStatistic):
    """Expectation of each statistic at one point or many, by name or as an attribute.

    Parameters
    ----------
    r : ndarray or torch.Tensor, shape (n_bins,)
        Arithmetic centres of the bins, Mpc/h.
    values : mapping of str to ndarray or torch.Tensor, shape (n_bins,) or (n, n_bins)
        Averages over the bins.
    aleatoric : PerStatistic or None
        One standard deviation of the scatter of a single galaxy catalogue, in the box of the
        training, about `values`; None if the weights have no noise.
    epistemic : PerStatistic or None
        One standard deviation of the emulator's own error; None unless requested.
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
        cls, statistics: Sequence[Statistic], r: ArrayOrTensor, parts: Sequence[Any], single: bool
    ) -> Prediction:
        """Build a prediction from its mean, aleatoric and epistemic sigma.

        Parameters
        ----------
        statistics : sequence of Statistic
        r : ndarray or torch.Tensor, shape (n_bins,)
        parts : sequence of ndarray, torch.Tensor or None, shape (n, n_statistics, n_bins)
        single : bool
            Give the first point only, without its axis.
        """

        def by_name(x: Any) -> dict[str, Any]:
            return {s.name: x[0, i] if single else x[:, i] for i, s in enumerate(statistics)}

        mean, *sigmas = parts
        return cls(
            r, by_name(mean), *(x if x is None else PerStatistic(by_name(x)) for x in sigmas)
        )

    def binned(self) -> list[Binned]:
        """Statistics with both kinds of errors, as arrays."""
        return [
            Binned.of(
                "r", as_array(self.r), self, aleatoric=self.aleatoric, epistemic=self.epistemic
            )
        ]


class Occupied(Protocol):
    """An emulator at given occupation parameters, as a function of the alignment parameters.

    Parts that do not depend on the alignment are computed once. Get one with `Emulator.at`. The domain
    is not checked, and all is differentiable.

    Attributes
    ----------
    excess : ndarray or torch.Tensor, shape (n, n_fine)
        xi in the emulator's fine bins; it does not depend on the alignment. The number of pairs in a
        bin is proportional to 1 + xi.
    """

    @property
    def excess(self) -> ArrayOrTensor: ...

    def __call__(
        self,
        mu: ArrayOrTensor,
        statistics: tuple[Statistic, ...],
        errors: Collection[str] = (),
        responses: Any = None,
    ) -> tuple[ArrayOrTensor, dict[str, ArrayOrTensor]]:
        """Compute expectations and their errors, differentiably, without checking the domain.

        Parameters
        ----------
        mu : ndarray or torch.Tensor, shape (n, n_alignment), float64
            Of the same type as the occupation parameters, and for the same number of points unless
            these are of one point.
        statistics : tuple of Statistic
            Some of those that `Emulator.at` was given.
        errors : collection of str
            Any of aleatoric and epistemic; aleatoric for public statistics only.
        responses : ndarray or torch.Tensor, shape (n, 2 + 2 n_degrees), optional
            By which the strengths of all `degrees_of` these statistics are multiplied; see
            `iaemu_likelihood.emulator.models.projected`.

        Returns
        -------
        mean : ndarray or torch.Tensor, shape (n, n_statistics, n_fine), float64
            In the emulator's fine bins.
        errors : dict of str to ndarray or torch.Tensor
            aleatoric: the covariance in the bins between `Emulator.r_edges`,
            (n, n_statistics n_bins, n_statistics n_bins). epistemic: deviations whose products add up
            to the covariance, (n_members, n, n_statistics, n_fine).
        """


class Emulator(ABC):
    """Emulator of the statistics of galaxy catalogues. Get one with `Emulator.load`.

    Attributes
    ----------
    statistics : tuple of Statistic
        Statistics that `predict` gives.
    learned : tuple of Statistic
        The same, and those of which only projected statistics are made.
    space : ParameterSpace
        Its parameters.
    domain : Domain
        Region in which it was trained.
    r_edges : ndarray, shape (n_bins + 1,)
        Of the bins of `predict` and of the noise, Mpc/h.
    fine_edges : ndarray, shape (n_fine + 1,)
        Of the bins in which expectations are known, Mpc/h: finer ones, and more.
    redshift : float
        At which it predicts; `at_redshift` gives one for another.
    redshifts : tuple of float
        Lowest and highest redshift that its weights know.
    hosts : HostAbundance or None
        Host halos of the catalogue, by which the number of galaxies follows; None in weights of before
        they held them.
    card : dict
        Provenance, training, accuracy and hashes of the weights.
    """

    # Subclasses by the kind that a card names.
    KINDS: ClassVar[dict[str, type[Emulator]]] = {}

    def __init_subclass__(cls, kind: str, **options: Any) -> None:
        super().__init_subclass__(**options)
        Emulator.KINDS[kind] = cls

    def __init__(self, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        self.card = card
        self.statistics = statistics_of(card)
        self.domain = domain_of(card)
        self.space = self.domain.space
        self.learned = learned_of(card)
        self.redshift = float(card["redshift"])
        self.redshifts = (self.redshift, self.redshift)
        self.r_edges = _edges(tensors, "r_edges")
        self.fine_edges = self.r_edges
        if "fine_edges" in tensors:
            self.fine_edges = _edges(tensors, "fine_edges")
        self.hosts = HostAbundance.from_tensors(tensors)
        self.binning = PairWeightedBinning(self.fine_edges[: self.n_fine() + 1], self.r_edges)
        counting = [i for i, x in enumerate(self.statistics) if x.kernel is PAIRS]
        if not counting:
            raise ValueError(
                "Weights need a statistic that counts pairs, by which bins are weighted; these weights "
                f"have {', '.join(statistic.name for statistic in self.statistics)}."
            )
        # The statistic from which the number of pairs follows.
        self._counting = counting[0]
        self._device, self._dtype = torch.device("cpu"), torch.float64
        self._r = bin_centres(self.r_edges)

    def __repr__(self) -> str:
        names = ", ".join(statistic.name for statistic in self.learned)
        return (
            f"<Emulator {self.card['kind']}: {names} from {self.r_edges[0]:.4g} to "
            f"{self.fine_edges[-1]:.4g} Mpc/h, z = {self.redshift:g}; parameters "
            f"{', '.join(self.space.names)}>"
        )

    def _repr_html_(self) -> str:
        from iaemu_likelihood.emulator.models.card import domain_table

        return as_html(repr(self), [domain_table(self.card)])

    @staticmethod
    @unaffected(gradients=True)  # what is kept serves calls that need gradients, too
    def load(
        source: str | Path = "templates",
        occupation: str | None = None,
        alignment: str | None = None,
    ) -> Emulator:
        """Load weights.

        Parameters
        ----------
        source : str or Path
            Name of weights (``iaemu info`` lists them), or a folder that holds
            weights.safetensors and card.yaml, or the file of a tabulation, whose card is beside it;
            see `weights_folder`.
        occupation : str, optional
            With a tabulation, which of
            `iaemu_likelihood.emulator.physics.occupations.OCCUPATIONS` galaxies have; that of the
            card when left out.
        alignment : str, optional
            With a tabulation, one of `iaemu_likelihood.emulator.physics.alignment.ALIGNMENTS`:
            ``watson_mass`` has strengths that depend on host mass.

        Returns
        -------
        Emulator
            On the CPU; see `to`.

        Raises
        ------
        FileNotFoundError
            If there are no such weights.
        ValueError
            If a file is damaged, has a schema that cannot be read, or is not the one that the card
            describes; if the name stands for several weights; or if they know another occupation or
            alignment.
        """
        folder = weights_folder(source)
        card = read_card(folder, occupation, alignment)
        kind = card["kind"]
        if kind == EXACT:
            # Only here, because tabulations need numba, which fits need not have.
            import_module("iaemu_likelihood.emulator.models.exact")
        if kind not in Emulator.KINDS or (kind == EXACT) != folder.is_file():
            raise ValueError(
                f"{card_path(folder)}: kind is {kind!r}; it must be one of "
                f"{', '.join(Emulator.KINDS)}; {EXACT} beside a tabulation, and only there."
            )
        if CONTENT_HASH not in card:
            log.warning(
                "%s is of an older version: no hash shows whether its domain and other numbers are as "
                "they were written. If they are, `iaemu seal %s` adds one.", card_path(folder), folder,
            )  # fmt: skip
        content = Emulator.KINDS[kind]._read(folder, card)
        try:
            return Emulator.KINDS[kind](content, card)
        except ValueError as error:
            raise ValueError(f"The weights {folder} cannot be used: {error}") from error

    @staticmethod
    def _read(folder: Path, card: dict[str, Any]) -> Any:
        """What the card describes, checked to be that: the first argument of the class."""
        return read_weights(folder, card)

    @abstractmethod
    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Emulator:
        """Move to a device, such as ``"cuda"``, or to another precision, and return the emulator.

        Parameters
        ----------
        device : torch.device or str, optional
        dtype : torch.dtype, optional
            Precision of the networks and of predictions. `templates` is loaded in torch.float64; in
            torch.float32, many points take less than half the time, and predictions differ by less
            than 1e-3 of the noise. `paper` is loaded in torch.float32. Parameters stay float64.

        Raises
        ------
        ValueError
            If there is no such device, or the precision is neither of the two; the emulator is then
            as it was.
        """

    def _target(
        self, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> tuple[torch.device, torch.dtype]:
        """Where, and in which precision, `to` is asked to compute; checked."""
        if dtype not in (None, torch.float32, torch.float64):
            raise ValueError(f"dtype is {dtype!r}; it must be torch.float32 or torch.float64.")
        try:
            found = self._device if device is None else torch.empty(0, device=device).device
        except (RuntimeError, AssertionError, TypeError) as error:
            raise ValueError(f"device is {device!r}, which cannot be used: {error}") from error
        return found, dtype or self._dtype

    @cached_property
    def universe(self) -> Universe:
        """Cosmology, redshift and box of the halo catalogue."""
        card = self.card
        return Universe(card.get("cosmology"), self.redshift, card["box"])

    def at_redshift(self, redshift: float) -> Emulator:
        """The same weights at another redshift.

        Parameters
        ----------
        redshift : float

        Returns
        -------
        Emulator
            Its domain, too, is that of the redshift. This one stays as it is.

        Raises
        ------
        ValueError
            If the weights do not know the redshift; the message names those that they know.
        """
        lowest, highest = self.redshifts
        if not lowest - SAME_REDSHIFT <= redshift <= highest + SAME_REDSHIFT:
            known = f"z = {lowest:g}" + (f" to {highest:g}" if highest > lowest else " only")
            raise ValueError(
                f"The redshift is {redshift:g}; these weights know {known}. Train others with halo "
                "catalogues of other redshifts (iaemu build --halos)."
            )
        if abs(redshift - self.redshift) <= SAME_REDSHIFT:
            return self
        return self._at_redshift(float(np.clip(redshift, lowest, highest)))

    def _of(self, redshift: float | None, cosmology: Any) -> Emulator:
        """This emulator or, if a redshift is given, that of it; a cosmology must be its own."""
        if cosmology is not None:
            refuse_other_cosmology(cosmology, self.card.get("cosmology"))
        return self if redshift is None else self.at_redshift(redshift)

    def _at_redshift(self, redshift: float) -> Emulator:
        """`at_redshift` for a redshift that the weights know, and not this one's."""
        raise NotImplementedError

    def need_hosts(self) -> HostAbundance:
        """The hosts of the halo catalogue; a ValueError if the weights do not hold them."""
        if self.hosts is None:
            raise ValueError(
                "These weights were made before weights held the masses of host halos, so the number of "
                "galaxies is not known. Delete card.yaml in the folder of the training and run `iaemu "
                "train` again, which goes on from the networks that are there; or use bundled weights."
            )
        return self.hosts

    def projected(self, names: Collection[str]) -> tuple[ProjectedStatistic, ...]:
        """Projected statistics by their names, in the order of `PROJECTED`.

        Raises
        ------
        ValueError
            If the emulator does not know what they are made of.
        """
        unknown = [name for name in names if name not in PROJECTED]
        if unknown:
            raise ValueError(
                f"No projected statistic {', '.join(unknown)}; there are {', '.join(PROJECTED)}."
            )
        found = tuple(s for s in PROJECTED.values() if s.name in names)
        if self.learned == self.statistics:
            raise ValueError(
                f"These weights, of kind {self.card['kind']}, do not predict "
                f"{', '.join(s.name for s in found)}: they know "
                f"{', '.join(s.name for s in self.learned)} up to {self.r_edges[-1]:.4g} Mpc/h only. "
                "Use the weights templates, or train with the key projected."
            )
        return found

    def n_fine(self, reach: float | None = None) -> int:
        """Number of the fine bins up to a separation, Mpc/h; up to the last of `r_edges` if None."""
        end = self.r_edges[-1] if reach is None else min(reach, self.fine_edges[-1])
        return int(np.searchsorted(self.fine_edges, end * (1 - 1e-9)))

    @abstractmethod
    def at(
        self, hod: ArrayOrTensor, statistics: Sequence[Statistic], n_fine: int | None = None
    ) -> Occupied:
        """Prepare for given occupation parameters, without checking the domain.

        Parameters
        ----------
        hod : ndarray or torch.Tensor, shape (n, n_occupation), float64
            Masses are log10 of Msun/h.
        statistics : sequence of Statistic
            Some of `learned`, in their order.
        n_fine : int, optional
            Of the fine bins, how many are needed; those up to the last of `r_edges` when left out.
        """

    def chosen(self, statistics: Collection[str] | None) -> tuple[Statistic, ...]:
        """Statistics by their names, in the emulator's order; None gives all.

        Raises
        ------
        ValueError
            If the emulator does not predict one of them.
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

    @unaffected()
    def __call__(self, theta: Tensor, epistemic: bool = True) -> Prediction:
        """Predict from a tensor, differentiably, without checking the domain.

        Parameters
        ----------
        theta : torch.Tensor, shape (n_parameters,) or (n, n_parameters), float64
            Alignment and occupation parameters, in the order of `space.names`.
        epistemic : bool
            Give the epistemic uncertainty, too.

        Returns
        -------
        Prediction
            Holds tensors.

        Raises
        ------
        TypeError
            If `theta` is no tensor of real numbers.
        ValueError
            If it has another shape.
        """
        if not isinstance(theta, Tensor) or not theta.is_floating_point():
            got = theta.dtype if isinstance(theta, Tensor) else type(theta).__name__
            raise TypeError(
                "An emulator is called with a torch.Tensor of floating-point numbers, got "
                f"{got}; `predict` takes arrays, lists and tables."
            )
        n = len(self.space)
        if theta.ndim not in (1, 2) or theta.shape[-1] != n or not theta.numel():
            raise ValueError(
                f"Expected shape ({n},) or (n, {n}), n at least 1, in the order "
                f"{', '.join(self.space.names)}; got {tuple(theta.shape)}."
            )
        points = theta.double().reshape(-1, n)
        to_tensor = partial(torch.as_tensor, device=self._device)
        (points,) = enter(points)
        found = self._predict(points, epistemic)
        parts = [part if part is None else to_tensor(part) for part in found]
        return Prediction.of(self.statistics, to_tensor(self._r.copy()), parts, theta.ndim == 1)

    @abstractmethod
    def _predict(self, theta: Any, epistemic: bool) -> tuple[Any, Any, Any]:
        """Predict at points, which are arrays or tensors.

        Parameters
        ----------
        theta : ndarray or torch.Tensor, shape (n, n_parameters)
        epistemic : bool

        Returns
        -------
        mean : ndarray or torch.Tensor, shape (n, n_statistics, n_bins)
        aleatoric, epistemic : ndarray, torch.Tensor or None
            Standard deviations, of the same shape.
        """

    @unaffected()
    def covariance(self, theta: ArrayLike, *, redshift: float | None = None) -> Array:
        """Aleatoric covariance of all statistics of a single galaxy catalogue.

        Parameters
        ----------
        theta : array_like, shape (n_parameters,) or (n, n_parameters), or table
            As in `predict`.
        redshift : float, optional
            As in `predict`.

        Returns
        -------
        ndarray, shape (n_statistics n_bins, n_statistics n_bins) or (n, ...)
            Statistic after statistic.

        Raises
        ------
        ValueError
            As `predict`; also if the weights have no noise.
        """
        at = self._of(redshift, None)
        points, single = at._checked(theta)
        with torch.inference_mode():
            covariances = at._covariance(points)
        return covariances[0] if single else covariances

    @abstractmethod
    def _covariance(self, points: Array) -> Array:
        """`covariance` at points, shape (n, n_parameters), that are known to be allowed."""

    @property
    def has_noise(self) -> bool:
        """Whether the emulator predicts the scatter of single catalogues."""
        return True

    @unaffected()
    def predict(
        self,
        parameters: Any = None,
        *,
        extrapolate: bool = False,
        epistemic: bool = True,
        redshift: float | None = None,
        cosmology: Any = None,
        **named: ArrayLike,
    ) -> Prediction:
        """Predict all statistics.

        Parameters
        ----------
        parameters : array_like, shape (n_parameters,) or (n, n_parameters), or table, optional
            mu_cen, mu_sat, then those of the occupation; `space.names` has the order. Masses are
            log10 of Msun/h. Mappings, tables, rows of tables and lists of these are taken by name.
        extrapolate : bool
            Evaluate outside the domain of the training, too, but only with alignment strengths
            within their limits.
        epistemic : bool
            Give the epistemic uncertainty, too.
        redshift : float, optional
            Predict there, as `at_redshift` does, and not at this emulator's.
        cosmology : mapping or object, optional
            One that is stated, which must be that of the halo catalogue: of astropy or colossus, or
            numbers by name, such as ``{"Om0": 0.31}``.
        **named : float or array_like, shape (n,)
            The parameters by name, instead of `parameters`.

        Returns
        -------
        Prediction
            Holds arrays, shape (n_bins,) for one point and (n, n_bins) for many, in the precision
            that `to` has set.

        Raises
        ------
        TypeError
            If a name is missing or unknown, or a value is no real number.
        ValueError
            If a parameter is not finite or outside the domain; the message names the parameter,
            its value and its range. Numbers in less than double precision are inside if the edge
            is within their rounding; if the weights do not know the redshift, or have another
            cosmology.
        """
        at = self._of(redshift, cosmology)
        points, single = at._checked(parameters, extrapolate, **named)
        with torch.inference_mode():
            lots = enter(points, device=self._device)
            at_a_time = AT_A_TIME if self._device.type == "cpu" else AT_A_TIME_ON_GPU
            if len(points) > at_a_time:
                lots = lots[0].split(at_a_time)
            found = [at._predict(some, epistemic) for some in lots]
        parts = [_joined(lots) for lots in zip(*found, strict=True)]
        return Prediction.of(self.statistics, self._r.copy(), parts, single)

    @unaffected()
    def predict_projected(
        self,
        parameters: Any = None,
        rp_edges: ArrayLike | None = None,
        pi_max: float | None = None,
        *,
        axis_ratio: ArrayLike | None = None,
        response: ArrayLike | None = None,
        r_edges: ArrayLike | None = None,
        extrapolate: bool = False,
        epistemic: bool = True,
        conventions: Conventions | None = None,
        redshift: float | None = None,
        cosmology: Any = None,
        **named: ArrayLike,
    ) -> ProjectedPrediction:
        """Predict what surveys measure: w_gg, w_g+, w_++ and the quadrupole of position and shape.

        Parameters
        ----------
        parameters : array_like, shape (n_parameters,) or (n, n_parameters), or table, optional
            As in `predict`.
        rp_edges : array_like, shape (n_bins + 1,), optional
            Of the bins of separation across the line of sight, Mpc/h: gives w_gg, and with shapes
            w_gplus and w_plusplus.
        pi_max : float, optional
            Largest separation along the line of sight, to either side, Mpc/h.
        axis_ratio : float or (float, float), optional
            Shorter over longer axis of galaxies, or of centrals and satellites, if these are prolate
            spheroids.
        response : float or array_like, shape (2,) or (n, 2), optional
            Instead of `axis_ratio`, a_2 of the galaxies, or of centrals and satellites; see
            `iaemu_likelihood.emulator.physics.shapes`.
        r_edges : array_like, shape (n_bins + 1,), optional
            Of the bins of separation of the quadrupole, Mpc/h: gives xi_gplus_2.
        extrapolate, epistemic : bool
            As in `predict`.
        conventions : Conventions, optional
            How the data were measured, `pi_max` included: a weight along the line of sight, the
            definition of the ellipticity, responsivity, redshift space, and whether a box lacks long
            modes.
        redshift, cosmology
            As in `predict`.
        **named : float or array_like, shape (n,)
            The parameters by name, instead of `parameters`.

        Returns
        -------
        ProjectedPrediction
            Of arrays, shape (n_bins,) for one point and (n, n_bins) for many.

        Raises
        ------
        TypeError, ValueError
            As `predict`; also if the weights know no projected statistics, or edges, pi_max or
            shapes are missing, given twice or impossible.
        """
        if conventions is None:
            conventions = Conventions(pi_max)
        elif pi_max is not None:
            raise ValueError("Give pi_max either by itself or in the conventions, not both.")
        at = self._of(redshift, cosmology)
        points, single = at._checked(parameters, extrapolate, **named)
        responses = _responses(axis_ratio, response, len(points), conventions.ellipticity)
        edges = {True: rp_edges, False: r_edges}
        wanted = [
            statistic
            for statistic in PROJECTED.values()
            if edges[statistic.is_integrated] is not None
            and not (statistic.n_shapes and responses is None)
        ]
        if not wanted or (r_edges is not None and responses is None):
            raise ValueError(
                "Give rp_edges and pi_max for w_gg, and axis_ratio or response for shapes; with these, "
                "r_edges for the quadrupole."
            )
        self.projected([s.name for s in wanted])
        known = {k: np.asarray(x, np.float64) for k, x in edges.items() if x is not None}
        maps = [
            ProjectedMap(s, known[s.is_integrated], conventions, at.fine_edges, at.universe)
            for s in wanted
        ]
        parameters = (*self.space.split(points), *(() if responses is None else (responses,)))
        found = []
        with torch.inference_mode():
            for rows in np.array_split(np.arange(len(points)), -(-len(points) // AT_A_TIME)):
                some = enter(*(x[rows] for x in parameters), device=self._device)
                found.append(project(at, maps, conventions, epistemic, *some))
        each = [_joined(lots) for lots in zip(*found, strict=True)]
        each = [x[0] if single and x is not None else x for x in each]
        mean, spread = (
            dict(zip((s.name for s in wanted), x, strict=False))
            for x in (each, each[len(wanted) :])
        )
        return ProjectedPrediction(
            mean,
            known.get(True),
            known.get(False),
            conventions,
            PerStatistic(spread) if epistemic else None,
        )

    def _checked(
        self, parameters: Any, extrapolate: bool = False, **named: ArrayLike
    ) -> tuple[Array, bool]:
        """Points (n, n_parameters), and whether it is a single one.

        Raises a ValueError if one may not be evaluated.
        """
        theta, rounding = self.space.read(parameters, **named)
        points = theta.reshape(-1, len(self.space))
        if isinstance(rounding, np.ndarray) and rounding.any():
            points = self.domain.rounded(points, rounding)
        unit: Array = self.domain.to_unit(points)
        # A strength beyond its limits is meaningless, so there is no extrapolation to it.
        must_be_inside = self.space.split(unit)[0] if extrapolate else unit
        if not (np.abs(must_be_inside) <= 1).all():
            self.domain.check(points)  # `check` decides borderline cases without rounding
        return points, theta.ndim == 1


def _responses(
    axis_ratio: ArrayLike | None, given: ArrayLike | None, n: int, ellipticity: str
) -> Array | None:
    """a_2 of centrals and of satellites at n points, (n, 2); None if nothing is said of shapes."""
    if axis_ratio is not None and given is not None:
        raise ValueError("Give either axis_ratio or response, not both.")
    if axis_ratio is None and given is None:
        return None
    if axis_ratio is not None:
        given = response(axis_ratio, 2, ellipticity)
    largest = largest_response(ellipticity)
    values = np.asarray(given, np.float64)
    try:
        found = np.broadcast_to(values, (n, 2))
    except ValueError:
        raise ValueError(
            f"axis_ratio or response has the shape {values.shape}; expected one number, two (centrals "
            f"and satellites), or ({n}, 2)."
        ) from None
    if not ((found > 0) & (found <= largest)).all():
        bad = found[~((found > 0) & (found <= largest))].flat[0]
        raise ValueError(
            f"The response a_2 is {bad}; it must be above 0, that of axis ratio 1, and at most "
            f"{largest:.4g}, that of axis ratio 0.1."
        )
    return found.copy()


def _edges(tensors: Mapping[str, Tensor], name: str) -> Array:
    """Edges of bins, Mpc/h."""
    if name not in tensors:
        raise ValueError(f"the tensor {name} is missing.")
    edges: Array = tensors[name].double().numpy()
    rising = edges.ndim == 1 and len(edges) > 1 and edges[0] >= 0 and (np.diff(edges) > 0).all()
    if not rising or not np.isfinite(edges).all():
        raise ValueError(f"the tensor {name} is {edges}; it must rise from 0 or more.")
    return edges


def _joined(lots: Sequence[Any]) -> NDArray[Any] | None:
    """Concatenate batches into one array; None if the batches are None."""
    if lots[0] is None:
        return None
    return as_array(lots[0]) if len(lots) == 1 else np.concatenate([as_array(x) for x in lots])
