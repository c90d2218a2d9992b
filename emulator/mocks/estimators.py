"""Statistics of a galaxy catalogue, with halotools' estimators where it has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.boxes import inside_array
from iaemu_likelihood.emulator.physics.bins import R_EDGES, shell_volumes
from iaemu_likelihood.emulator.physics.statistics import (
    DEFAULT_STATISTICS,
    OMEGA,
    PAIRS,
    XI,
    PerStatistic,
    Statistic,
    named,
)
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Labels of galaxies with a shape and of those with a position: 1 and 2, or 3 with both.
_LABELS = (1, 3), (2, 3)


class Correlations(PerStatistic):
    """Statistics of one galaxy catalogue, each of shape (n_bins,).

    In a bin without pairs xi is -1, and means over pairs, such as omega and eta, are NaN.

    Parameters
    ----------
    values : mapping of str to ndarray, shape (n_bins,)
    n_galaxies : int
    """

    def __init__(self, values: Mapping[str, Array], n_galaxies: int) -> None:
        super().__init__(values)
        self.n_galaxies = n_galaxies


def correlations(
    positions: ArrayLike,
    axes: ArrayLike,
    box: float,
    r_edges: ArrayLike = R_EDGES,
    statistics: Iterable[str] = DEFAULT_STATISTICS,
) -> Correlations:
    """Measure all galaxies against all galaxies in a periodic box.

    Parameters
    ----------
    positions : array_like, shape (n, 3)
        Mpc/h, inside the box.
    axes : array_like, shape (n, 3)
        Major axes, of any length but zero.
    box : float
        Side of the box, Mpc/h.
    r_edges : array_like, shape (n_bins + 1,)
        Mpc/h; the last must be below a third of the box.
    statistics : iterable of str
        Names of statistics.

    Returns
    -------
    Correlations

    Raises
    ------
    ValueError
        If an axis is zero or not finite (halotools would turn every bin into NaN), a position is
        outside the box, or there is no such statistic.
    """
    wanted = named(statistics)
    x, e = np.asarray(positions, np.float64), np.asarray(axes, np.float64)
    edges = np.asarray(r_edges, np.float64)
    x = inside_array(x, box, "Galaxies")
    length = np.linalg.norm(e, axis=1, keepdims=True)
    bad = ~((length[:, 0] > 0) & (length[:, 0] < np.inf))
    if bad.any():
        raise ValueError(
            f"Galaxy {np.flatnonzero(bad)[0]} has no axis ({e[bad][0]}); {bad.sum()} in all."
        )
    counted = [statistic for statistic in wanted if statistic.measure is None]
    values = _by_counting(counted, x, e / length, box, edges) if counted else {}
    with np.errstate(all="ignore"):  # importing halotools changes numpy's error state for good
        values |= {s.name: s.measure(x, e, edges, box) for s in wanted if s.measure is not None}
    return Correlations({statistic.name: values[statistic.name] for statistic in wanted}, len(x))


def _by_counting(
    statistics: list[Statistic], x: Array, e: Array, box: float, edges: Array
) -> dict[str, Array]:
    from iaemu_likelihood.emulator.mocks.pair_counts import kernel_sums

    kernels = [statistic.kernel for statistic in statistics]
    sums, _ = kernel_sums(kernels, x, e, np.zeros(len(x), np.int64), 1, box, edges)
    random = len(x) ** 2 * shell_volumes(edges) / box**3
    return {
        statistic.name: statistic.from_ordered_pairs(
            sums[statistic.kernel][0, 0], sums[PAIRS][0, 0], random
        )
        for statistic in statistics
    }


def cross_correlations(
    positions: ArrayLike,
    axes: ArrayLike,
    with_shape: ArrayLike,
    with_position: ArrayLike,
    box: float,
    r_edges: ArrayLike = R_EDGES,
    statistics: Iterable[str] = (XI.name, OMEGA.name),
) -> Array:
    """Measure the shapes of some galaxies about the positions of some in a periodic box.

    Parameters
    ----------
    positions : array_like, shape (n, 3)
        Mpc/h, in [0, box]; of all galaxies.
    axes : array_like, shape (n, 3)
        Unit vectors; any of galaxies without a shape.
    with_shape, with_position : array_like of bool, shape (n,)
        Which galaxies are of the sample of shapes and of that of positions; a galaxy may be of both,
        and is then no pair with itself.
    box : float
        Mpc/h.
    r_edges : array_like, shape (n_bins + 1,)
        Mpc/h.
    statistics : iterable of str
        Names of those with one axis at most.

    Returns
    -------
    ndarray, shape (n_statistics, n_bins)
    """
    from iaemu_likelihood.emulator.mocks.pair_counts import kernel_sums

    of_shape, of_position = np.asarray(with_shape, bool), np.asarray(with_position, bool)
    wanted, edges = named(statistics), np.asarray(r_edges, np.float64)
    either = of_shape | of_position
    label = (of_shape + 2 * of_position)[either]
    x, e = (np.asarray(values, np.float64)[either] for values in (positions, axes))
    x = inside_array(x, box, "Galaxies")
    by_label, _ = kernel_sums([s.kernel for s in wanted], x, e, label, 4, box, edges)
    sums = {kernel: found[np.ix_(*_LABELS)].sum(axis=(0, 1)) for kernel, found in by_label.items()}
    random = of_shape.sum() * of_position.sum() * shell_volumes(edges) / box**3
    return np.stack([s.from_ordered_pairs(sums[s.kernel], sums[PAIRS], random) for s in wanted])


def positions_and_axes(galaxies: Any) -> tuple[Array, Array]:
    """Positions (Mpc/h) and major axes, each (n, 3), of a halotools galaxy table."""
    position = np.stack([np.asarray(galaxies[k], np.float64) for k in "xyz"], axis=-1)
    axes = np.stack([np.asarray(galaxies[f"galaxy_axisA_{k}"], np.float64) for k in "xyz"], axis=-1)
    return position, axes
