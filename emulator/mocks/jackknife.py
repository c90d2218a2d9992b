"""Statistics of a galaxy catalogue, with the delete-one jackknife covariance of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from iaemu_likelihood.emulator.boxes import check_filled, check_side, inside_array
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.statistics import (
    DEFAULT_STATISTICS,
    PAIRS,
    PairKernel,
    PerStatistic,
    named,
)
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Regions per side. The pair sums are held for each two regions, so that memory goes as side**6.
SIDES = (2, 5)
MAX_BINS = 100
# Nodes per dimension for the mean of the window over directions and over a bin.
_N_NODES = 32


class Jackknife(PerStatistic):
    """Statistics of all galaxies, each of shape (n_bins,), with their joint covariance.

    Parameters
    ----------
    values : mapping of str to ndarray, shape (n_bins,)
    covariance : ndarray, shape (n_statistics * n_bins, n_statistics * n_bins)
        In the order of the statistics. Its rank is below `n_jackknife`.
    n_galaxies, n_jackknife : int
        Galaxies, and regions left out one at a time.
    n_pairs : ndarray of int, shape (n_bins,)
        Pairs of galaxies, each counted once.
    """

    def __init__(
        self,
        values: Mapping[str, Array],
        covariance: Array,
        n_galaxies: int,
        n_jackknife: int,
        n_pairs: NDArray[np.int64],
    ) -> None:
        super().__init__(values)
        self.covariance = covariance
        self.n_galaxies = n_galaxies
        self.n_jackknife = n_jackknife
        self.n_pairs = n_pairs


def region_volumes(r_edges: Array, box: float, n_side: int, periodic: bool) -> Array:
    """Volume in which a point of a region and its neighbour in a bin both lie inside the box.

    Parameters
    ----------
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    box : float
        Side of the box, Mpc/h.
    n_side : int
        Regions per side.
    periodic : bool

    Returns
    -------
    ndarray, shape (n_side**3, n_bins)
        (Mpc/h)^6: the integral of the region's overlap with the box moved by r, over the shell.
        Times a density squared it is the expected number of ordered pairs of unclustered points
        whose first member lies in the region.
    """
    size = box / n_side
    if periodic:
        return np.tile(shell_volumes(r_edges) * size**3, (n_side**3, 1))
    node, weight = np.polynomial.legendre.leggauss(_N_NODES)
    node, weight = (node + 1) / 2, weight / 2
    r = r_edges[:-1, None] + np.diff(r_edges)[:, None] * node
    shell = 4 * np.pi * r**2 * np.diff(r_edges)[:, None] * weight
    # By symmetry one octant is enough. In angles the integrand is smooth up to the octant's border.
    theta, phi = np.pi / 2 * node[:, None], np.pi / 2 * node
    sine, cosine = np.sin(theta), np.cos(theta)
    direction = np.stack(np.broadcast_arrays(sine * np.cos(phi), sine * np.sin(phi), cosine))
    share = np.pi / 2 * weight[:, None] * sine * weight
    step = r[..., None, None] * direction[:, None, None]
    start = size * np.arange(n_side).reshape(-1, 1, 1, 1, 1, 1)
    # Per dimension: the length of a region from which a step forward stays in the box. A step
    # backward is the same for the region opposite.
    forward = np.clip(box - step - start, 0, size)
    overlap = (forward + forward[::-1]) / 2
    weights = shell[..., None, None] * share
    volumes = np.einsum(
        "ibrtp,jbrtp,kbrtp,brtp->ijkb", *overlap.swapaxes(0, 1), weights, optimize=True
    )
    return volumes.reshape(n_side**3, -1)


def jackknife(
    positions: ArrayLike,
    axes: ArrayLike,
    box: float,
    r_edges: ArrayLike,
    n_side: int = 3,
    periodic: bool = True,
    statistics: Iterable[str] = DEFAULT_STATISTICS,
) -> Jackknife:
    """Measure all galaxies against all galaxies, leaving out one region of the box at a time.

    The regions are `n_side`**3 equal cubes. As in halotools' `tpcf_jackknife`, a pair across the
    border of the region left out counts half: each sample has, for every galaxy outside the
    region, all its neighbours. Pairs of unclustered points are counted analytically.

    Parameters
    ----------
    positions : array_like, shape (n_galaxies, 3)
        Mpc/h, in [0, box].
    axes : array_like, shape (n_galaxies, 3)
        Major axes, of any length but zero.
    box : float
        Side of the box, Mpc/h.
    r_edges : array_like, shape (n_bins + 1,)
        Mpc/h; bins are (low, high]. The last edge must be below a third of the box.
    n_side : int
        Regions per side, 2 to 5.
    periodic : bool
        Whether pairs are counted through the faces of the box. If not, galaxies are taken to be
        selected uniformly in the whole box.
    statistics : iterable of str
        Names of statistics.

    Returns
    -------
    Jackknife

    Raises
    ------
    ValueError
        If an argument is out of range, there is no such statistic, the galaxies do not fill the box, a
        region holds no galaxy, or a bin holds no pair with all galaxies or with one region left out;
        the message says what to do.

    Notes
    -----
    As in halotools, the density of each sample is that of its own galaxies while their neighbours
    are those of the whole box, so that the numbers of galaxies in the regions enter the scatter of
    xi. For points that hardly cluster this makes the errors of xi too large; omega and eta are
    ratios of the same pairs and do not have this.
    """
    from iaemu_likelihood.emulator.mocks.pair_counts import kernel_sums

    wanted = named(statistics)
    x, e = np.asarray(positions, np.float64), np.asarray(axes, np.float64)
    edges = np.asarray(r_edges, np.float64)
    _check(x, e, box, edges, n_side)
    x = inside_array(x, box, "Galaxies")
    check_filled(dict(zip("xyz", x.T, strict=True)), box, "Galaxies")
    e = e / np.linalg.norm(e, axis=1, keepdims=True)
    if periodic:
        x = np.where(x == box, 0.0, x)
    region, inside = regions_of(x, box, n_side)
    n_regions = len(inside)

    kernels = [statistic.kernel for statistic in wanted]
    sums, _ = kernel_sums(kernels, x, e, region, n_regions, box, edges, periodic=periodic)
    # By the region of the first galaxy, whose neighbours are counted and whose axis counts if one does.
    by_region = {kernel: values.sum(axis=1) for kernel, values in sums.items()}
    window = region_volumes(edges, box, n_side, periodic)
    check_pairs(by_region[PAIRS], edges)

    def measured(totals: Mapping[PairKernel, Array], window: Array, density: ArrayLike) -> Array:
        random = np.asarray(density)[..., None] ** 2 * window
        values = [s.from_ordered_pairs(totals[s.kernel], totals[PAIRS], random) for s in wanted]
        return np.stack(values, axis=-2)

    total = {kernel: values.sum(axis=0) for kernel, values in by_region.items()}
    all_window = window.sum(axis=0)
    values = measured(total, all_window, len(x) / box**3)
    left = {kernel: total[kernel] - by_region[kernel] for kernel in total}
    density = (len(x) - inside) / (box**3 * (1 - 1 / n_regions))
    samples = measured(left, all_window - window, density).reshape(n_regions, -1)
    return Jackknife(
        {statistic.name: value for statistic, value in zip(wanted, values, strict=True)},
        covariance_of(samples),
        len(x),
        n_regions,
        np.rint(total[PAIRS] / 2).astype(np.int64),
    )


def regions_of(x: Array, box: float, n_side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Equal regions of a box, cubes or, on the sky, squares.

    Parameters
    ----------
    x : ndarray, shape (n_galaxies, n_dimensions)
        Positions, Mpc/h, in [0, box].
    box : float
        Mpc/h.
    n_side : int
        Regions per side.

    Returns
    -------
    region : ndarray of int, shape (n_galaxies,)
    inside : ndarray of int, shape (n_side**n_dimensions,)
        Number of galaxies in each region.

    Raises
    ------
    ValueError
        If a region holds no galaxy.
    """
    place = np.minimum((x / (box / n_side)).astype(np.int64), n_side - 1)
    shape = (n_side,) * x.shape[1]
    region = np.ravel_multi_index(tuple(place.T), shape)
    inside = np.bincount(region, minlength=int(np.prod(shape)))
    if not inside.all():
        raise ValueError(
            f"{(inside == 0).sum()} of the {len(inside)} jackknife regions hold none of the "
            f"{len(x)} galaxies. Do these fill the box of {box:g} Mpc/h? If so, use fewer regions "
            f"per side than {n_side}."
        )
    return region, inside


def covariance_of(samples: Array) -> Array:
    """Covariance of delete-one samples, shape (n_regions, n) to (n, n)."""
    deviation = samples - samples.mean(axis=0)
    return np.asarray((1 - 1 / len(samples)) * (deviation.T @ deviation))


def _check(x: Array, e: Array, box: float, edges: Array, n_side: int) -> None:
    if not SIDES[0] <= n_side <= SIDES[1]:
        raise ValueError(
            f"{n_side} jackknife regions per side; choose {SIDES[0]} to {SIDES[1]} (memory grows as "
            "their sixth power)."
        )
    check_side(box, "Galaxies")
    if edges.ndim != 1 or not 2 <= len(edges) <= MAX_BINS + 1:
        raise ValueError(f"Expected 1 to {MAX_BINS} bins; got edges of shape {edges.shape}.")
    if not (edges[0] > 0 and (np.diff(edges) > 0).all()):
        raise ValueError(f"Bin edges must be positive and increase; got {edges}.")
    if not edges[-1] < box / 3:
        raise ValueError(
            f"The bins reach to {edges[-1]:g} Mpc/h, but must end below a third of the box, "
            f"{box / 3:g} Mpc/h: lower r_max."
        )
    if x.ndim != 2 or x.shape[1] != 3 or x.shape != e.shape:
        raise ValueError(f"Expected two arrays of shape (n, 3); got {x.shape} and {e.shape}.")
    if len(x) < n_side**3:
        raise ValueError(
            f"{len(x)} galaxies are too few for {n_side**3} jackknife regions: use fewer regions."
        )
    length = np.linalg.norm(e, axis=1)
    if not ((length > 0) & (length < np.inf)).all():
        raise ValueError("Axes must be finite and not zero.")


def check_pairs(pairs: Array, edges: Array) -> None:
    """Raise a ValueError if a bin has no pair, with all galaxies or with one region left out.

    Parameters
    ----------
    pairs : ndarray, shape (n_regions, n_bins)
        Number of ordered pairs by the region of the first galaxy.
    edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    """
    total = pairs.sum(axis=0)
    # Counts are whole numbers far below 2**53: the comparison is exact.
    for empty, where in (
        (total == 0, "hold no pair of galaxies"),
        ((total == pairs).any(axis=0), "hold no pair when one jackknife region is left out"),
    ):
        if empty.any():
            bins = ", ".join(f"{edges[i]:.4g}-{edges[i + 1]:.4g}" for i in np.flatnonzero(empty))
            raise ValueError(
                f"{empty.sum()} of {len(total)} bins {where}: {bins} Mpc/h. Use fewer, wider bins "
                "or a larger r_min."
            )
