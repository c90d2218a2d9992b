"""The emulator in the bins of data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.backend import ArrayOrTensor, are_equal, namespace, silent
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.statistics import named

# Mean of a data vector, (..., n), and its covariances by kind, (..., n, n): arrays or tensors.
Moments = tuple[Any, dict[str, Any]]


class CorrelationModel:
    """The emulator in any bins. It keeps the result for the last occupation.

    Samplers often leave the occupation unchanged.

    Parameters
    ----------
    emulator : Emulator
    statistics : collection of str
        Names of the statistics that will be needed.

    Attributes
    ----------
    statistics : tuple of Statistic
        The same, in the emulator's order.
    names : tuple of str
        Their names.
    """

    def __init__(self, emulator: Emulator, statistics: Collection[str]) -> None:
        self.emulator = emulator
        self.statistics = emulator.chosen(statistics)
        self.names = tuple(s.name for s in self.statistics)
        self._binnings: dict[tuple[float, ...], PairWeightedBinning] = {}
        # One of arrays (True) and one of tensors (False).
        self._last: dict[bool, OccupiedModel] = {}

    def binning(self, r_edges: tuple[float, ...]) -> PairWeightedBinning:
        """The map from the emulator's bins to bins with other edges, Mpc/h."""
        if r_edges not in self._binnings:
            self._binnings[r_edges] = PairWeightedBinning(self.emulator.r_edges, r_edges)
        return self._binnings[r_edges]

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
        self._model = model
        self._occupied = model.emulator.at(hod, model.names)
        self._maps: dict[tuple[object, ...], Any] = {}

    def __call__(self, mu: ArrayOrTensor, errors: Collection[str] = ()) -> Moments:
        """Predict in the emulator's bins, as `iaemu_likelihood.emulator.models.Occupied`."""
        return self._occupied(mu, errors)

    @silent
    def binned(
        self,
        moments: Moments,
        statistics: Sequence[str],
        r_edges: tuple[float, ...] | None,
        errors: Collection[str] = (),
        row: int | None = None,
    ) -> Moments:
        """Average over other bins, weighted by pairs.

        Parameters
        ----------
        moments : tuple
            Result of `__call__` for n points.
        statistics : sequence of str
            Some of the model's statistics, in the order of the result.
        r_edges : tuple of float or None
            Mpc/h; None for the emulator's own bins.
        errors : collection of str
            Some of the covariances in `moments`.
        row : int, optional
            Index of a single point; all points when left out.

        Returns
        -------
        mean : ndarray or torch.Tensor, shape (n, m * n_bins)
            Statistic after statistic.
        covariances : dict of str to ndarray or torch.Tensor, shape (n, m * n_bins, m * n_bins)
        """
        mean, covariances = moments
        blocks = [covariances[kind] for kind in errors]
        if row is not None:
            mean, *blocks = (x[row : row + 1] for x in (mean, *blocks))
        n, n_statistics, n_bins = mean.shape
        blocks = [x.reshape(n, -1, n_bins, n_statistics, n_bins) for x in blocks]
        names, wanted = self._model.names, tuple(statistics)
        if wanted != names:
            which = [names.index(name) for name in wanted]
            mean = mean[:, which]
            blocks = [x[:, which][:, :, :, which] for x in blocks]
        if r_edges is not None:
            maps = self._map(r_edges, wanted)
            if row is not None and maps.shape[0] > 1:
                maps = maps[row : row + 1]
            mean = mean[..., None, :] @ maps
            # einsum("nsbtc,nsbi,ntcj->nsitj") would search for the best order at every call.
            left, right = maps.mT[:, :, None], maps[:, None]
            blocks = [(left @ (x.swapaxes(2, 3) @ right)).swapaxes(2, 3) for x in blocks]
        mean = mean.reshape(n, -1)
        size = mean.shape[1]
        each = (x.reshape(n, size, size) for x in blocks)
        return mean, dict(zip(errors, each, strict=True))

    def _map(self, r_edges: tuple[float, ...], statistics: tuple[str, ...]) -> Any:
        """One matrix for each statistic, (n, n_statistics, b, n_bins)."""
        key = r_edges, statistics
        if key not in self._maps:
            excess = self._occupied.excess
            binning, xp = self._model.binning(r_edges), namespace(excess)
            each = [statistic.to_bins(binning, excess) for statistic in named(statistics)]
            # A map that does not depend on the number of pairs is the same at all points.
            shape = (len(excess), *each[0].shape[-2:])
            self._maps[key] = xp.stack([xp.broadcast_to(x, shape) for x in each], axis=1)
        return self._maps[key]
