"""The emulator in the bins of data."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from iaemu_likelihood.emulator.backend import ArrayOrTensor, are_equal, namespace, silent
from iaemu_likelihood.emulator.models import Emulator, Occupied
from iaemu_likelihood.emulator.models.derived import DerivedModel
from iaemu_likelihood.emulator.models.projected import (
    ProjectedMap,
    ProjectedMoments,
    incomplete,
    learned_of,
    sources_of,
)
from iaemu_likelihood.emulator.models.weights import halos_of
from iaemu_likelihood.emulator.noise.box import BoxVariance
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.statistics import OMEGA, PROJECTED, XI, Source, named

log = logging.getLogger(__name__)

# Mean of a data vector, (..., n), and its covariances by kind, (..., n, n): arrays or tensors.
Moments = tuple[Any, dict[str, Any]]
# Kind of error that is the sample variance of the box of the training.
BOX = "box"


@dataclass(frozen=True)
class Bins:
    """What is asked of a model: some statistics, in the same bins.

    Attributes
    ----------
    statistics : tuple of str
        In three dimensions, or projected.
    edges : tuple of float or None
        Of the bins of r, or of r_p where statistics are integrated along the line of sight, Mpc/h;
        None for the emulator's own.
    conventions : Conventions or None
        How projected statistics were measured; None for others.
    """

    statistics: tuple[str, ...]
    edges: tuple[float, ...] | None
    conventions: Conventions | None = None

    @property
    def is_projected(self) -> bool:
        """Whether these are projected statistics."""
        return self.conventions is not None

    @property
    def has_shapes(self) -> bool:
        """Whether shapes on the sky enter, and so their responses."""
        return any(s in PROJECTED and PROJECTED[s].n_shapes for s in self.statistics)


class CorrelationModel:
    """The emulator in any bins. It keeps the result for the last occupation.

    Samplers often leave the occupation unchanged.

    Parameters
    ----------
    emulator : Emulator
    statistics : collection of str
        Names of the statistics that will be needed, projected ones included.

    Attributes
    ----------
    statistics : tuple of Statistic
        Those in three dimensions, in the emulator's order.
    names : tuple of str
        Their names.
    sources : tuple of Statistic or Reweighted
        What the projected statistics are made of; empty if there are none.

    Raises
    ------
    ValueError
        If the emulator does not predict one of them.
    """

    def __init__(self, emulator: Emulator, statistics: Collection[str]) -> None:
        self.emulator = emulator
        self.statistics = emulator.chosen([s for s in statistics if s not in PROJECTED])
        self.names = tuple(s.name for s in self.statistics)
        wanted = [s for s in statistics if s in PROJECTED]
        projected = emulator.projected(wanted) if wanted else ()
        self.sources: tuple[Source, ...] = ()
        if projected:
            self.sources = sources_of(projected, emulator.learned, emulator.space.alignment)
            for name in incomplete(projected, emulator.space.alignment):
                log.warning(
                    "%s lacks its terms of degree 4, since strengths of the alignment %s depend on host "
                    "mass. They add up to a tenth where satellites are flat and strongly aligned.",
                    name, emulator.space.alignment.name,
                )  # fmt: skip
        self._binnings: dict[tuple[bool, tuple[float, ...]], PairWeightedBinning] = {}
        self._maps: dict[Bins, list[ProjectedMap]] = {}
        # One of arrays (True) and one of tensors (False).
        self._last: dict[bool, OccupiedModel] = {}

    @cached_property
    def box_variance(self) -> BoxVariance:
        """The sample variance of the box in which the emulator was trained.

        Raises
        ------
        ValueError
            If it is not known for these weights.
        """
        emulator = self.emulator
        halos = halos_of(emulator.card, emulator.redshift)
        found = BoxVariance.of(halos["sha256"], emulator.space.occupation.name)
        unknown = [s.name for s in self.statistics if s not in found.statistics]
        if unknown or not np.array_equal(found.r_edges, emulator.r_edges):
            raise ValueError(
                "model_error is box, but the sample variance of the box is known in other bins, or for "
                f"other statistics ({', '.join(s.name for s in found.statistics)}), than these weights "
                f"predict ({', '.join(self.names)}). Set model_error: none."
            )
        return found

    def check(self, bins: Bins) -> None:
        """Raise a ValueError if the emulator cannot predict in these bins."""
        if bins.is_projected:
            self.maps(bins)
        elif bins.edges is not None:
            self.binning(bins.edges)

    def binning(self, r_edges: tuple[float, ...], fine: bool = True) -> PairWeightedBinning:
        """The map to bins with other edges, Mpc/h, from the fine bins or those of the noise."""
        key = fine, r_edges
        if key not in self._binnings:
            known = self.emulator.r_edges
            if fine:
                known = self.emulator.fine_edges[: self.emulator.n_fine() + 1]
            self._binnings[key] = PairWeightedBinning(known, r_edges)
        return self._binnings[key]

    def maps(self, bins: Bins) -> list[ProjectedMap]:
        """The maps to projected statistics."""
        if bins not in self._maps:
            assert bins.conventions is not None
            assert bins.edges is not None
            emulator = self.emulator
            self._maps[bins] = [
                ProjectedMap(
                    PROJECTED[name], bins.edges, bins.conventions, emulator.fine_edges,
                    emulator.universe,
                )
                for name in bins.statistics
            ]  # fmt: skip
        return self._maps[bins]

    def at(self, hod: ArrayOrTensor) -> OccupiedModel:
        """The model at occupation parameters, (n, n_occupation), without a check of the domain."""
        arrays = isinstance(hod, np.ndarray)
        if not isinstance(hod, np.ndarray) and hod.requires_grad:
            return OccupiedModel(self, hod)
        last = self._last.get(arrays)
        if last is None or not are_equal(hod, last.hod):
            last = self._last[arrays] = OccupiedModel(self, hod)
        return last


class OccupiedModel:
    """The emulator in any bins, as a function of the alignment parameters.

    Parameters
    ----------
    model : CorrelationModel
    hod : ndarray or torch.Tensor, shape (n, n_occupation), float64
    """

    def __init__(self, model: CorrelationModel, hod: Any) -> None:
        self.hod = hod.copy() if isinstance(hod, np.ndarray) else hod
        self.model = model
        self._maps: dict[tuple[object, ...], Any] = {}

    @cached_property
    def _occupied(self) -> Occupied:
        """The emulator of statistics in three dimensions."""
        return self.model.emulator.at(self.hod, self.model.statistics)

    @cached_property
    def _of_projected(self) -> Occupied:
        """The emulator of what projected statistics are made of."""
        emulator = self.model.emulator
        learned = learned_of(self.model.sources)
        return emulator.at(self.hod, learned, len(emulator.fine_edges) - 1)

    @property
    def excess_of_projected(self) -> Any:
        """xi in the fine bins of which projected statistics are made, (n, n_fine)."""
        return self._of_projected.excess

    @cached_property
    def number_density(self) -> Any:
        """Mean number density of galaxies, (n,), (h/Mpc)^3; a ValueError if it is not known."""
        emulator = self.model.emulator
        return emulator.need_hosts().galaxies(emulator.space.occupation, self.hod).sum(1)

    @cached_property
    def _of_derived(self) -> Occupied:
        """The emulator of what derived parameters are made of."""
        if {XI, OMEGA} <= {*self.model.sources}:
            return self._of_projected
        emulator = self.model.emulator
        return emulator.at(self.hod, (XI, OMEGA), len(emulator.fine_edges) - 1)

    def derived(
        self, model: DerivedModel, mu: Any, responses: Any = None,
        conventions: Conventions | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Derived parameters by name, (n,); parameters as those of `DerivedModel`."""
        occupied = self._of_derived if model.of_large_scales else None
        return model(self.hod, mu, responses, conventions, occupied)

    @cached_property
    def _coarse(self) -> Any:
        """xi in the bins of the noise."""
        binning, excess = self.model.emulator.binning, self._occupied.excess
        return excess if binning.is_identity else excess @ binning.of_density(excess)

    def __call__(self, mu: ArrayOrTensor, errors: Collection[str] = ()) -> Moments:
        """Predict in the emulator's bins, as `iaemu_likelihood.emulator.models.Occupied`.

        Besides its errors there is box, deviations in the bins of the noise, whose squares add up to the
        sample variance of the box of the training.
        """
        mean, found = self._occupied(mu, self.model.statistics, errors)
        if BOX in errors:
            statistics, alignment = self.model.statistics, self.model.emulator.space.alignment
            box = self.model.box_variance
            found[BOX] = box(self._of_box, mu, statistics, self._coarse, alignment)
        return mean, found

    @cached_property
    def _of_box(self) -> Any:
        """Deviations of the templates that stand for the sample variance of the box."""
        return self.model.box_variance.of_templates(self.hod)

    @silent
    def binned(
        self,
        moments: Moments,
        statistics: Sequence[str],
        r_edges: tuple[float, ...] | None,
        errors: Collection[str] = (),
        row: int | None = None,
    ) -> Moments:
        """Average statistics in three dimensions over other bins, weighted by pairs.

        Parameters
        ----------
        moments : tuple
            Result of `__call__` for n points.
        statistics : sequence of str
            Some of the model's statistics, in the order of the result.
        r_edges : tuple of float or None
            Mpc/h; None for the emulator's own bins.
        errors : collection of str
            Some of the errors in `moments`.
        row : int, optional
            Index of a single point; all points when left out.

        Returns
        -------
        mean : ndarray or torch.Tensor, shape (n, m * n_bins)
            Statistic after statistic.
        covariances : dict of str to ndarray or torch.Tensor, shape (n, m * n_bins, m * n_bins)
        """
        mean, found = moments
        names, wanted = self.model.names, tuple(statistics)
        which = None if wanted == names else [names.index(name) for name in wanted]
        edges = tuple(self.model.emulator.r_edges.tolist()) if r_edges is None else r_edges

        def chosen(x: Any, fine: bool) -> tuple[Any, Any]:
            """Wanted points and statistics, (..., n, n_statistics, n_known), and their maps."""
            maps = self._map(edges, wanted, fine)
            if row is not None:
                x = x[..., row : row + 1, :, :]
                if maps is not None and maps.shape[0] > 1:
                    maps = maps[row : row + 1]
            return (x if which is None else x[..., which, :]), maps

        def in_bins(x: Any, fine: bool = True) -> Any:
            x, maps = chosen(x, fine)
            if maps is not None:
                x = (x[..., None, :] @ maps)[..., 0, :]
            return x.reshape(*x.shape[:-2], -1)

        covariances = {}
        for kind in errors:
            if kind in ("epistemic", BOX):
                deviations = in_bins(found[kind], fine=kind != BOX).swapaxes(0, 1)
                covariances[kind] = deviations.mT @ deviations
            else:
                covariances[kind] = self._covariance(found[kind], edges, wanted, which, row)
        return in_bins(mean), covariances

    def _covariance(
        self, matrix: Any, edges: tuple[float, ...], wanted: tuple[str, ...],
        which: list[int] | None, row: int | None,
    ) -> Any:  # fmt: skip
        """A covariance in the bins of the noise, brought to others, (n, m n_bins, m n_bins)."""
        maps = self._map(edges, wanted, fine=False)
        x = matrix if row is None else matrix[row : row + 1]
        n, n_statistics = x.shape[0], len(self.model.names)
        n_bins = x.shape[-1] // n_statistics
        x = x.reshape(n, n_statistics, n_bins, n_statistics, n_bins)
        if which is not None:
            x = x[:, which][:, :, :, which]
        if maps is not None:
            if row is not None and maps.shape[0] > 1:
                maps = maps[row : row + 1]
            # einsum("nsbtc,nsbi,ntcj->nsitj") would search for the best order at every call.
            left, right = maps.mT[:, :, None], maps[:, None]
            x = (left @ (x.swapaxes(2, 3) @ right)).swapaxes(2, 3)
        size = x.shape[1] * x.shape[2]
        return x.reshape(n, size, size)

    def _map(self, edges: tuple[float, ...], statistics: tuple[str, ...], fine: bool) -> Any:
        """One matrix for each statistic, (n, n_statistics, b, n_bins); None if bins are the same."""
        key = edges, statistics, fine
        if key not in self._maps:
            binning = self.model.binning(edges, fine)
            excess = self._occupied.excess if fine else self._coarse
            self._maps[key] = None
            if not binning.is_identity:
                each = [statistic.to_bins(binning, excess) for statistic in named(statistics)]
                # A map that does not depend on the number of pairs is the same at all points.
                shape, xp = (len(excess), *each[0].shape[-2:]), namespace(excess)
                self._maps[key] = xp.stack([xp.broadcast_to(x, shape) for x in each], axis=1)
        return self._maps[key]

    @silent
    def projected(
        self,
        mu: ArrayOrTensor,
        bins: Bins,
        errors: Collection[str] = (),
        responses: Any = None,
        row: int | None = None,
    ) -> Moments:
        """Predict projected statistics.

        Parameters
        ----------
        mu : ndarray or torch.Tensor, shape (n, n_alignment)
        bins : Bins
        errors : collection of str
            epistemic or nothing: the scatter of one catalogue is not known for these statistics.
        responses : ndarray or torch.Tensor, shape (n, 2), (1, 2), optional
            a_2 of centrals and of satellites, if shapes enter.
        row : int, optional
            Index of a single point; all points when left out.

        Returns
        -------
        mean, covariances
            As of `binned`.
        """
        assert bins.conventions is not None
        maps, join = self.model.maps(bins), namespace(self.hod).concatenate
        statistics, alignment = (
            [each.statistic for each in maps],
            self.model.emulator.space.alignment,
        )
        sources = sources_of(statistics, learned_of(self.model.sources), alignment)
        at = ProjectedMoments(self._of_projected, mu, sources, bins.conventions, responses)
        rows = slice(None) if row is None else slice(row, row + 1)
        mean = join([at.mean(each)[rows] for each in maps], axis=-1)
        if "epistemic" not in errors:
            return mean, {}
        deviations = join([at.deviations(each)[:, rows] for each in maps], axis=-1).swapaxes(0, 1)
        return mean, {"epistemic": deviations.mT @ deviations}


@dataclass
class Predicted:
    """A model at given parameters.

    Attributes
    ----------
    occupied : OccupiedModel
    mu : ndarray or torch.Tensor, shape (n, n_alignment)
    moments : tuple or None
        Of `OccupiedModel.__call__`; None without statistics in three dimensions.
    responses : ndarray or torch.Tensor, shape (n, 2) or (1, 2), or None
        a_2 of centrals and of satellites, if shapes enter.
    """

    occupied: OccupiedModel
    mu: Any
    moments: Moments | None
    responses: Any = None

    def in_bins(self, bins: Bins, errors: Collection[str] = (), row: int | None = None) -> Moments:
        """Mean and covariances of some statistics; parameters as those of `OccupiedModel`."""
        if bins.is_projected:
            return self.occupied.projected(self.mu, bins, errors, self.responses, row)
        assert self.moments is not None
        return self.occupied.binned(self.moments, bins.statistics, bins.edges, errors, row)
