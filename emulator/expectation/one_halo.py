"""Sums over pairs of galaxies in one host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import Array, Layout
from iaemu_likelihood.emulator.halos.sites import GalaxySites
from numpy.typing import NDArray
from scipy.special import eval_legendre

Single = NDArray[np.float32]
# Shows the progress of steps under a label.
Progress = Callable[[Iterable[Any], str], Iterator[Any]]

# Pairs drawn per pool and set of satellites.
POOL_PAIRS = 2e7
# Axes that stand for those of many hosts, at least 2 l + 1 for kernels of degree l.
N_DIRECTIONS = 15


@dataclass(frozen=True)
class OneHaloSums:
    """Sums over pairs in one host, the first galaxy of each pair being the one named first.

    Overflow satellites are drawn from their pool, two of one host from the same group of it, so theirs
    are means over the draws.

    Attributes
    ----------
    mixed : ndarray, shape (n_cells, n_bins, n_sums)
        Of the central with the satellites of a cell: all subhalos, or one overflow satellite in each
        host.
    satellites : ndarray, shape (n_cells, n_bins, n_sums)
        Of subhalos with those of a cell. Sums over pairs in one host are linear in its mean
        occupation: a pair of subhalos is occupied if the one of the larger rank is, and belongs to it.
    overflow_overflow : ndarray, shape (n_pools, n_bins, n_sums)
        Of two overflow satellites.
    """

    mixed: Single
    satellites: Single
    overflow_overflow: Single

    @classmethod
    def of(
        cls,
        sites: GalaxySites,
        layout: Layout,
        kernels: Kernels,
        r_edges: Array,
        seed: int,
        progress: Progress,
    ) -> OneHaloSums:
        """Those of a catalogue; `seed` is that of the draws of overflow satellites."""
        from iaemu_likelihood.emulator.expectation.pair_sums import with_pool, within_hosts

        shape = (len(r_edges) - 1, kernels.n_sums)
        edges2 = r_edges**2
        # Of the central with the satellites of each cell, and of these with subhalos of lower rank.
        mixed, among = np.zeros((2, layout.n_cells, *shape))
        of_pools = np.zeros((layout.n_pools, *shape))
        within_hosts(kernels)(
            np.concatenate([[0], np.cumsum(layout.n_hosts)]),
            sites.first_subhalo,
            sites.axis,
            sites.offset,
            sites.radial,
            layout.cell_of_subhalo(sites),
            edges2,
            mixed,
            among,
        )

        mean_over_pool = with_pool(kernels)
        class_of_host = layout.class_of_host(sites)
        richness = np.diff(sites.first_subhalo)
        pool_of_subhalo = np.repeat(sites.pool_bin, richness)
        class_of_subhalo = np.repeat(class_of_host, richness)
        directions = _directions()
        for pool in progress(np.unique(sites.pool_bin), "inside hosts"):
            begin, end = sites.first_of_pool[pool : pool + 2]
            offset, radial = sites.pool_offset[begin:end], sites.pool_radial[begin:end]

            with_directions = np.zeros((len(directions), *shape))
            mean_over_pool(
                np.arange(len(directions) + 1), np.zeros_like(directions), directions,
                offset, radial, len(offset), seed, edges2, with_directions,
            )  # fmt: skip
            hosts = np.flatnonzero(sites.pool_bin == pool)
            for s, degree in enumerate(kernels.degree_of_first):
                weights = _weights(directions, sites.axis[hosts], degree)
                of_classes = np.zeros((layout.n_classes, len(directions)))
                np.add.at(of_classes, class_of_host[hosts], weights)
                mixed[layout.cell_of_class, :, s] += of_classes @ with_directions[:, :, s]

            # Hosts ascend in interval, but not in class inside an interval.
            members = np.flatnonzero(pool_of_subhalo == pool)
            members = members[np.argsort(class_of_subhalo[members], kind="stable")]
            class_start = np.searchsorted(
                class_of_subhalo[members], np.arange(layout.n_classes + 1)
            )
            of_classes = np.zeros((layout.n_classes, *shape))
            mean_over_pool(
                class_start, sites.offset[members], sites.radial[members],
                offset, radial, _n_draws(len(members)), seed, edges2, of_classes,
            )  # fmt: skip
            among[layout.cell_of_class] += of_classes

            of_pool = of_pools[pool : pool + 1]
            groups = sites.first_of_group
            groups = groups[(groups >= begin) & (groups <= end)]
            for first, last in pairwise(groups):
                points = sites.pool_offset[first:last], sites.pool_radial[first:last]
                n_points = last - first
                mean_over_pool(
                    np.array([0, n_points]), *points, *points, _n_draws(n_points), seed + 1, edges2,
                    of_pool,
                )  # fmt: skip
            of_pool /= end - begin
            if sites.profiles is not None:
                # Two satellites of a host are at one place if they take the same subhalo, but never if
                # they are drawn from a profile: pairs of a point with itself do not count.
                of_pool *= n_points / (n_points - 1)
        return cls(*(part.astype(np.float32) for part in (mixed, among, of_pools)))

    def mapped(self, function: Callable[[Any], Any]) -> OneHaloSums:
        """With each array, (..., n_bins, n_sums), replaced by a function of it."""
        return OneHaloSums(**{name: function(values) for name, values in vars(self).items()})


def _n_draws(n_points: int) -> int:
    """Draws from a pool for each of given points."""
    return int(np.ceil(POOL_PAIRS / max(n_points, 1)))


def _directions() -> Array:
    """Unit vectors spread evenly over half of a sphere, shape (N_DIRECTIONS, 3)."""
    z = (np.arange(N_DIRECTIONS) + 0.5) / N_DIRECTIONS
    azimuth = np.pi * (3 - np.sqrt(5)) * np.arange(N_DIRECTIONS)
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(azimuth), across * np.sin(azimuth), z], axis=-1)


def _weights(directions: Array, axis: Array, degree: int) -> Array:
    """Weights with which functions at `directions` add up to functions at axes.

    Exact for functions of one degree, which are sums of Legendre polynomials about `directions`.

    Parameters
    ----------
    directions : ndarray, shape (m, 3)
    axis : ndarray, shape (n, 3)
    degree : int

    Returns
    -------
    ndarray, shape (n, m)
    """
    among_each_other = eval_legendre(degree, directions @ directions.T)
    inverse = np.linalg.pinv(among_each_other, rcond=1e-10, hermitian=True)
    return eval_legendre(degree, axis @ directions.T) @ inverse
