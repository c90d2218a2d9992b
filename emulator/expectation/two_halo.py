"""Sums over pairs of galaxies in different hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import Array, Layout
from iaemu_likelihood.emulator.expectation.mesh import MESH_FROM, mesh_sums
from iaemu_likelihood.emulator.expectation.one_halo import Progress
from iaemu_likelihood.emulator.halos.sites import GalaxySites
from numpy.typing import NDArray


def two_halo_sums(
    sites: GalaxySites,
    layout: Layout,
    kernels: Kernels,
    r_edges: Array,
    seed: int,
    progress: Progress,
) -> NDArray[np.float32]:
    """Sums over pairs in different hosts, for every pair of populations.

    Parameters
    ----------
    sites : GalaxySites
    layout : Layout
    kernels : Kernels
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    seed : int
        Of the draws of overflow satellites.
    progress : callable
        Shows the progress of steps under a label.

    Returns
    -------
    ndarray, shape (n_populations (n_populations + 1) / 2, n_bins, 2, 2, n_sums)
        See `iaemu_likelihood.emulator.expectation.pair_sums.between_hosts`.
    """
    n_hosts, richness = len(sites.logM), np.diff(sites.first_subhalo)
    subhalo_host = np.repeat(np.arange(n_hosts), richness)
    rank = np.arange(len(subhalo_host)) - sites.first_subhalo[subhalo_host]
    interval = layout.interval_of_host
    overflow_host, overflow_offset, overflow_radial = sites.representatives(seed)
    n_draws = np.bincount(overflow_host)

    position = np.concatenate(
        [
            sites.position,
            sites.position[subhalo_host] + sites.offset,
            sites.position[overflow_host] + overflow_offset,
        ]
    )
    position %= sites.box
    axis = np.concatenate([sites.axis, sites.radial, overflow_radial])
    weight = np.concatenate([np.ones(n_hosts + len(subhalo_host)), 1 / n_draws[overflow_host]])
    host = np.concatenate([np.arange(n_hosts), subhalo_host, overflow_host])
    population = np.concatenate(
        [
            layout.central_population[interval],
            layout.subhalo_population[layout.first_rank[interval[subhalo_host]] + rank],
            layout.overflow_population[layout.class_of_host(sites)[overflow_host]],
        ]
    )
    slope = layout.logM[interval[host]] - layout.population_logM[population]

    on_mesh = r_edges[:-1] >= MESH_FROM
    n_counted = int(np.argmax(on_mesh)) if on_mesh.any() else len(on_mesh)
    columns = (position, axis, weight, slope, population, host)
    counted = _counted(columns, layout, kernels, r_edges[: n_counted + 1], sites.box, progress)
    if n_counted == len(on_mesh):
        return counted
    values = np.stack([weight, weight * slope])
    beyond = mesh_sums(
        position, axis, values, population, layout.n_populations, sites.box, kernels,
        r_edges[n_counted:], progress,
    )  # fmt: skip
    return np.concatenate([counted, beyond], axis=1)


def _counted(
    columns: Sequence[NDArray[Any]],
    layout: Layout,
    kernels: Kernels,
    r_edges: Array,
    box: float,
    progress: Progress,
) -> NDArray[np.float32]:
    """The sums over pairs that are counted."""
    from iaemu_likelihood.emulator.expectation.pair_sums import N_CHUNKS, between_hosts
    from iaemu_likelihood.emulator.mocks.pair_counts import CellGrid

    n = layout.n_populations
    sums = np.zeros((N_CHUNKS, n * (n + 1) // 2, len(r_edges) - 1, 2, 2, kernels.n_sums))
    if len(r_edges) > 1:
        position, *_, population, _ = columns
        grid = CellGrid.of(position, box, float(r_edges[-1]), population)
        sorted_columns = [column[grid.order] for column in columns]
        add_pairs = between_hosts(kernels)
        for slab in progress(range(grid.n_cells), "between hosts"):
            add_pairs(
                slab, grid.n_cells, grid.start, grid.offsets, *sorted_columns, box, r_edges**2, sums
            )
    return sums.sum(axis=0).astype(np.float32)
