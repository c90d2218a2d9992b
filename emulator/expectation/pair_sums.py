"""Loops that sum kernels over pairs of weighted, oriented points in bins of distance.

Each factory compiles its loop for given kernels, whose terms are inlined; sums have the order of
`Kernels`. Axes are unit vectors, or zero for points that have none. Bins are (r_low, r_high], as in
halotools. Every row of the results is one thread's, so that they do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.physics.statistics import PairKernel

Loop = Callable[..., None]


@numba.njit(inline="always")
def _bin_of(r2: float, edges2: Any) -> int:
    """Index of the bin of a squared distance; -1 below the first edge, n_bins above the last."""
    low, high = -1, len(edges2) - 1
    # Invariant: edges2[low] < r2 <= edges2[high + 1], with infinite guards at both ends.
    while high > low:
        middle = (low + high + 1) // 2
        if edges2[middle] < r2:
            low = middle
        else:
            high = middle - 1
    return low


@numba.njit(inline="always")
def _uniform_index(seed: int, counter: int, n: int) -> Any:
    """Random integer below n, a pure function of its arguments (splitmix64)."""
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(counter) * np.uint64(
        0xD1B54A32D192ED03
    )
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64((z >> np.uint64(11)) % np.uint64(n))


def _terms(kernels: tuple[PairKernel, ...]) -> Any:
    """What a pair adds to the sums, as a tuple: a function of the arguments of `PairKernel.term`."""
    if not kernels:

        @numba.njit(error_model="numpy")
        def nothing(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> Any:
            return ()

        return nothing

    term, others = numba.njit(kernels[0].term, error_model="numpy"), _terms(kernels[1:])
    if kernels[0].n_axes == 1:

        @numba.njit(error_model="numpy")
        def carried(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> Any:
            by_first = float(term(dx, dy, dz, r2, a, b))
            by_second = float(term(-dx, -dy, -dz, r2, b, a))
            return (by_first, by_second, *others(dx, dy, dz, r2, a, b))

        return carried

    @numba.njit(error_model="numpy")
    def symmetric(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> Any:
        return (float(term(dx, dy, dz, r2, a, b)), *others(dx, dy, dz, r2, a, b))

    return symmetric


@cache
def between_hosts(kernels: Kernels) -> Loop:
    """Loop over pairs of points in different hosts, the second of which is in one of some sets.

    Every pair is met once, with the point of the lower set as the first.

    Parameters of the loop
    ----------------------
    first_set : int
        The first of the sets, of which there are as many as rows of `sums`.
    set_start : ndarray, shape (n_sets + 1,)
        Where each set begins in the next.
    members : ndarray, shape (n_points,)
        Points sorted by set.
    n_cells : int
        Cells per dimension.
    cell_of : ndarray, shape (n_points,)
    cell_start : ndarray, shape (n_cells**3 + 1,)
        Points are sorted by cell, then by set; the first point of each cell.
    neighbours : ndarray, shape (n, 3)
        Offsets to all cells within reach.
    position, axis : ndarray, shape (n_points, 3)
    weight, host, set_of : ndarray, shape (n_points,)
    first_function, n_functions, first_value : ndarray, shape (n_sets,)
        Functions that do not vanish on each set: the first, how many, and where their values begin in
        the next.
    values : ndarray
    box : float
    edges2 : ndarray, shape (n_bins + 1,)
        Squared bin edges.
    sums : ndarray, shape (n_rows, n_bins, n_functions of sets up to these, n_sums)
        By the set of the second point, and the function of the first. Changed in place.
    """
    terms, n_sums = _terms(kernels.kernels), kernels.n_sums

    @numba.njit(parallel=True, error_model="numpy")
    def loop(
        first_set: int,
        set_start: Any,
        members: Any,
        n_cells: int,
        cell_of: Any,
        cell_start: Any,
        neighbours: Any,
        position: Any,
        axis: Any,
        weight: Any,
        host: Any,
        set_of: Any,
        first_function: Any,
        n_functions: Any,
        first_value: Any,
        values: Any,
        box: float,
        edges2: Any,
        sums: Any,
    ) -> None:
        r2_min, r2_max = edges2[0], edges2[-1]
        for row in numba.prange(len(sums)):
            to = sums[row]
            own = first_set + row
            for m in range(set_start[own], set_start[own + 1]):
                i = members[m]
                cx = cell_of[i] // (n_cells * n_cells)
                cy = cell_of[i] // n_cells % n_cells
                cz = cell_of[i] % n_cells
                for neighbour in range(len(neighbours)):
                    ox = cx + neighbours[neighbour, 0]
                    oy = cy + neighbours[neighbour, 1]
                    oz = cz + neighbours[neighbour, 2]
                    shift_x = math.floor(ox / n_cells)
                    shift_y = math.floor(oy / n_cells)
                    shift_z = math.floor(oz / n_cells)
                    other = (
                        ((ox - shift_x * n_cells) * n_cells + oy - shift_y * n_cells) * n_cells
                        + oz
                        - shift_z * n_cells
                    )
                    x = position[i, 0] - shift_x * box
                    y = position[i, 1] - shift_y * box
                    z = position[i, 2] - shift_z * box
                    for j in range(cell_start[other], cell_start[other + 1]):
                        t = set_of[j]
                        if t > own:
                            break
                        dx = x - position[j, 0]
                        dy = y - position[j, 1]
                        dz = z - position[j, 2]
                        r2 = dx * dx + dy * dy + dz * dz
                        if r2 > r2_max or r2 <= r2_min or host[i] == host[j]:
                            continue
                        if t == own and j >= i:
                            continue
                        found = terms(dx, dy, dz, r2, axis[j], axis[i])
                        of_bin = to[_bin_of(r2, edges2)]
                        w, first, place = weight[i] * weight[j], first_function[t], first_value[t]
                        for f in range(n_functions[t]):
                            wf = w * values[place + f]
                            for k in range(n_sums):
                                of_bin[first + f, k] += wf * found[k]

    return loop


@cache
def within_hosts(kernels: Kernels) -> Loop:
    """Loop over pairs in one host: of the central with subhalos, and of subhalos with each other.

    Parameters of the loop
    ----------------------
    first_host : ndarray, shape (n_intervals + 1,)
        Hosts are sorted by mass interval.
    first_subhalo : ndarray, shape (n_hosts + 1,)
        Subhalos are sorted by host, then rank.
    host_axis : ndarray, shape (n_hosts, 3)
    offset, radial : ndarray, shape (n_subhalos, 3)
        Position relative to the host's centre, and its direction.
    cell : ndarray, shape (n_subhalos,)
        Row of each subhalo in the results.
    edges2 : ndarray, shape (n_bins + 1,)
        Squared bin edges.
    central_subhalo, subhalo_subhalo : ndarray, shape (n_cells, n_bins, n_sums)
        The central is the first of a pair; a pair of subhalos belongs to the larger of its two
        ranks. Changed in place.
    """
    terms, n_sums = _terms(kernels.kernels), kernels.n_sums

    @numba.njit(parallel=True, error_model="numpy")
    def loop(
        first_host: Any,
        first_subhalo: Any,
        host_axis: Any,
        offset: Any,
        radial: Any,
        cell: Any,
        edges2: Any,
        central_subhalo: Any,
        subhalo_subhalo: Any,
    ) -> None:
        n_bins = len(edges2) - 1
        for interval in numba.prange(len(first_host) - 1):
            for h in range(first_host[interval], first_host[interval + 1]):
                start = first_subhalo[h]
                for k in range(start, first_subhalo[h + 1]):
                    row = cell[k]
                    # The central, then the subhalos of lower rank.
                    for j in range(start - 1, k):
                        dx, dy, dz = offset[k, 0], offset[k, 1], offset[k, 2]
                        axis, sums = host_axis[h], central_subhalo
                        if j >= start:
                            dx, dy, dz = dx - offset[j, 0], dy - offset[j, 1], dz - offset[j, 2]
                            axis, sums = radial[j], subhalo_subhalo
                        r2 = dx * dx + dy * dy + dz * dz
                        b = _bin_of(r2, edges2)
                        if 0 <= b < n_bins:
                            values = terms(dx, dy, dz, r2, axis, radial[k])
                            for s in range(n_sums):
                                sums[row, b, s] += values[s]

    return loop


@cache
def with_pool(kernels: Kernels) -> Loop:
    """Loop over given points and points drawn from a pool, all of them around one centre.

    Parameters of the loop
    ----------------------
    row_start : ndarray, shape (n_rows + 1,)
        Points are sorted by the row of the result that they add to.
    offset, axis : ndarray, shape (n_points, 3)
    pool_offset, pool_axis : ndarray, shape (n_pool, 3)
    n_draws : int
        Draws from the pool per point; the whole pool is used when this is not smaller.
    seed : int
    edges2 : ndarray, shape (n_bins + 1,)
        Squared bin edges.
    sums : ndarray, shape (n_rows, n_bins, n_sums)
        Means over the draws, summed over points; a given point is the first of a pair. Changed in
        place.
    """
    terms, n_sums = _terms(kernels.kernels), kernels.n_sums

    @numba.njit(parallel=True, error_model="numpy")
    def loop(
        row_start: Any,
        offset: Any,
        axis: Any,
        pool_offset: Any,
        pool_axis: Any,
        n_draws: int,
        seed: int,
        edges2: Any,
        sums: Any,
    ) -> None:
        n_bins, n_pool = len(edges2) - 1, len(pool_offset)
        n = min(n_draws, n_pool)
        for row in numba.prange(len(row_start) - 1):
            for k in range(row_start[row], row_start[row + 1]):
                for draw in range(n):
                    p = draw if n == n_pool else _uniform_index(seed, k * n_draws + draw, n_pool)
                    dx = pool_offset[p, 0] - offset[k, 0]
                    dy = pool_offset[p, 1] - offset[k, 1]
                    dz = pool_offset[p, 2] - offset[k, 2]
                    r2 = dx * dx + dy * dy + dz * dz
                    b = _bin_of(r2, edges2)
                    if 0 <= b < n_bins:
                        values = terms(dx, dy, dz, r2, axis[k], pool_axis[p])
                        for s in range(n_sums):
                            sums[row, b, s] += values[s] / n

    return loop
