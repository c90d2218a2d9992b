"""Sums over pairs of galaxies in different hosts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
from iaemu_likelihood.emulator.expectation.basis import Basis
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import Array, Indices, Layout
from iaemu_likelihood.emulator.expectation.mesh import MESH_FROM, mesh_sums
from iaemu_likelihood.emulator.expectation.one_halo import Progress
from iaemu_likelihood.emulator.halos.sites import GalaxySites
from numpy.typing import NDArray

# Of the sums that are held for sets of sites, before functions are multiplied.
_MEMORY = 2**27


@dataclass(frozen=True)
class Points:
    """Every place where a galaxy may be: hosts, subhalos and what stands for overflow satellites.

    Attributes
    ----------
    position, axis : ndarray, shape (n_points, 3)
        Mpc/h, and unit vectors.
    weight : ndarray, shape (n_points,)
    host : ndarray, shape (n_points,)
    set_of : ndarray, shape (n_points,)
        Mass interval of a host, or the number of these plus the cell of a satellite.
    """

    position: Array
    axis: Array
    weight: Array
    host: Indices
    set_of: Indices

    @classmethod
    def of(cls, sites: GalaxySites, layout: Layout, seed: int) -> Points:
        """Those of a catalogue; `seed` is that of the draws."""
        n_hosts, richness = len(sites.logM), np.diff(sites.first_subhalo)
        subhalo_host = np.repeat(np.arange(n_hosts), richness)
        overflow_host, overflow_offset, overflow_radial = sites.representatives(seed)
        n_draws = np.bincount(overflow_host)
        cell = np.concatenate(
            [
                layout.cell_of_subhalo(sites),
                layout.cell_of_class[layout.class_of_host(sites)[overflow_host]],
            ]
        )
        position = np.concatenate(
            [
                sites.position,
                sites.position[subhalo_host] + sites.offset,
                sites.position[overflow_host] + overflow_offset,
            ]
        )
        return cls(
            position % sites.box,
            np.concatenate([sites.axis, sites.radial, overflow_radial]),
            np.concatenate([np.ones(n_hosts + len(subhalo_host)), 1 / n_draws[overflow_host]]),
            np.concatenate([np.arange(n_hosts), subhalo_host, overflow_host]),
            np.concatenate([layout.interval_of_host, layout.n_intervals + cell]),
        )


def two_halo_sums(
    sites: GalaxySites,
    layout: Layout,
    centrals: Basis,
    satellites: Basis,
    kernels: Kernels,
    r_edges: Array,
    seed: int,
    progress: Progress,
) -> NDArray[np.float32]:
    """Sums over pairs in different hosts, for every pair of functions.

    Parameters
    ----------
    sites : GalaxySites
    layout : Layout
    centrals, satellites : Basis
        Functions on the mass intervals and on the cells of the layout.
    kernels : Kernels
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    seed : int
        Of the draws of overflow satellites.
    progress : callable
        Shows the progress of steps under a label.

    Returns
    -------
    ndarray, shape (n_functions (n_functions + 1) / 2, n_bins, n_sums)
        Of functions i <= j in row j (j + 1) / 2 + i, those of centrals first; the point of function i
        is the first of a pair.
    """
    points = Points.of(sites, layout, seed)
    groups = [
        (offset + low, offset + high, basis.of_group(g))
        for offset, basis in ((0, centrals), (layout.n_intervals, satellites))
        for g, (low, high) in enumerate(pairwise(basis.first_set))
    ]
    on_mesh = r_edges[:-1] >= MESH_FROM
    n_counted = int(np.argmax(on_mesh)) if on_mesh.any() else len(on_mesh)
    parts = []
    if n_counted:
        parts.append(
            _counted(points, groups, kernels, r_edges[: n_counted + 1], sites.box, progress)
        )
    if n_counted < len(on_mesh):
        by_set = np.argsort(points.set_of, kind="stable")
        start = np.searchsorted(points.set_of[by_set], [low for low, *_ in groups] + [np.inf])
        fields = []
        for (low, _, values), rows in zip(groups, pairwise(start), strict=True):
            members = by_set[slice(*rows)]
            of_members = values[points.set_of[members] - low] * points.weight[members, None]
            fields.append((members, of_members.astype(np.float32)))
        beyond = r_edges[n_counted:]
        parts.append(
            mesh_sums(points.position, points.axis, fields, sites.box, kernels, beyond, progress)
        )
    return np.concatenate(parts, axis=1)


def _counted(
    points: Points,
    groups: list[tuple[int, int, NDArray[np.float32]]],
    kernels: Kernels,
    r_edges: Array,
    box: float,
    progress: Progress,
) -> NDArray[np.float32]:
    """The sums over pairs that are counted.

    Groups are of sets of points: the first, the one after the last, and functions on them.
    """
    from iaemu_likelihood.emulator.expectation.pair_sums import between_hosts
    from iaemu_likelihood.emulator.mocks.pair_counts import CellGrid

    grid = CellGrid.of(points.position, box, float(r_edges[-1]), points.set_of)
    set_of = points.set_of[grid.order]
    members = np.argsort(set_of, kind="stable")
    set_start = np.searchsorted(set_of[members], np.arange(groups[-1][1] + 1))
    n_functions = np.concatenate([np.full(high - low, v.shape[1]) for low, high, v in groups])
    first_value = np.concatenate([[0], np.cumsum(n_functions)[:-1]])
    ends = np.cumsum([v.shape[1] for *_, v in groups])
    first_function = np.concatenate(
        [
            np.full(high - low, end - v.shape[1])
            for (low, high, v), end in zip(groups, ends, strict=True)
        ]
    )
    arguments = (
        set_start, members, grid.n_cells,
        np.repeat(np.arange(grid.n_cells**3), np.diff(grid.start)), grid.start,
        # To all cells around, not one half of them.
        np.concatenate([grid.offsets, -grid.offsets[1:]]),
        *(x[grid.order] for x in (points.position, points.axis, points.weight, points.host)),
        set_of, first_function, n_functions, first_value,
        np.concatenate([values.ravel() for *_, values in groups]).astype(np.float64), box, r_edges**2,
    )  # fmt: skip
    n_bins, n_sums = len(r_edges) - 1, kernels.n_sums
    add_pairs = between_hosts(kernels)
    result = np.empty((ends[-1] * (ends[-1] + 1) // 2, n_bins, n_sums), np.float32)
    tasks = []
    for group, (low, high, _) in enumerate(groups):
        at_once = max(1, _MEMORY // (8 * n_bins * int(ends[group]) * n_sums))
        tasks += [(group, s, min(s + at_once, high)) for s in range(low, high, at_once)]
    found = np.empty(0)
    for group, first, last in progress(tasks, "between hosts"):
        low, high, values = groups[group]
        end, own = int(ends[group]), values.shape[1]
        if first == low:
            found = np.zeros((own, n_bins, end, n_sums))
        sums = np.zeros((last - first, n_bins, end, n_sums))
        with numba.parallel_chunksize(1):
            add_pairs(first, *arguments, sums)
        found += np.tensordot(values[first - low : last - low], sums, (0, 0))
        if last == high:
            # Of two functions of the group either may be the first.
            inside = found[:, :, end - own :]
            for m in range(own):
                inside[m, :, :m] += inside[:m, :, m].swapaxes(0, 1)[..., kernels.exchanged]
                j = end - own + m
                row = j * (j + 1) // 2
                result[row : row + j + 1] = found[m, :, : j + 1].swapaxes(0, 1)
    return result
