"""Numba kernels that sum pairs of weighted, oriented points in bins of distance.

Every kernel adds, for an unordered pair of points i, j at separation r and with reference axes a,
up to four numbers to the bin of |r|:

- the pair itself;
- (a_i . rhat)^2 - |a_i|^2 / 3, the position-orientation term that i carries;
- the same for j;
- (a_i . a_j)^2 - |a_i|^2 |a_j|^2 / 3, the orientation-orientation term.

Axes are unit vectors, or zero for points that have none, which then contribute nothing. Bins are
(r_low, r_high], as in halotools.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

# Partial sums per kernel call: fixed, so that results do not depend on the number of threads.
N_CHUNKS = 4


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


@numba.njit(inline="always")
def _pair_terms(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> Any:
    ar = a[0] * dx + a[1] * dy + a[2] * dz
    br = b[0] * dx + b[1] * dy + b[2] * dz
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    bb = b[0] * b[0] + b[1] * b[1] + b[2] * b[2]
    ab = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return ar * ar / r2 - aa / 3, br * br / r2 - bb / 3, ab * ab - aa * bb / 3


@numba.njit(parallel=True, cache=True)
def between_hosts(
    slab: int,
    n_cells: int,
    cell_start: Any,
    neighbours: Any,
    position: Any,
    axis: Any,
    weight: Any,
    slope: Any,
    group: Any,
    host: Any,
    box: float,
    edges2: Any,
    sums: Any,
) -> None:
    """Add the pairs of points in different hosts whose first cell lies in one slab of the box.

    Parameters
    ----------
    slab : int
        First coordinate of the cells to do.
    n_cells : int
        Cells per dimension.
    cell_start : ndarray, shape (n_cells**3 + 1,)
        Points are sorted by cell; the first point of each cell.
    neighbours : ndarray, shape (n, 3)
        Offsets to half of the cells within reach; the first row is the cell itself.
    position, axis : ndarray, shape (n_points, 3)
    weight, slope, group, host : ndarray, shape (n_points,)
        `slope` is what the second of the two functions per group is at each point (the first is
        1): occupations are represented by a mean and a slope in each group.
    box : float
    edges2 : ndarray, shape (n_bins + 1,)
        Squared bin edges.
    sums : ndarray, shape (N_CHUNKS, n_groups * (n_groups + 1) / 2, n_bins, 2, 2, 4)
        Indexed by the pair of groups i <= j as j (j + 1) / 2 + i, then by the function of group i
        and of group j; the second number of the last axis is carried by the point of group i.
        Changed in place.
    """
    r2_min, r2_max = edges2[0], edges2[-1]
    for chunk in numba.prange(N_CHUNKS):
        for column in range(chunk, n_cells * n_cells, N_CHUNKS):
            cy, cz = column // n_cells, column % n_cells
            cell = (slab * n_cells + cy) * n_cells + cz
            for neighbour in range(len(neighbours)):
                ox = slab + neighbours[neighbour, 0]
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
                for i in range(cell_start[cell], cell_start[cell + 1]):
                    x = position[i, 0] - shift_x * box
                    y = position[i, 1] - shift_y * box
                    z = position[i, 2] - shift_z * box
                    first = i + 1 if neighbour == 0 else cell_start[other]
                    for j in range(first, cell_start[other + 1]):
                        dx = position[j, 0] - x
                        dy = position[j, 1] - y
                        dz = position[j, 2] - z
                        r2 = dx * dx + dy * dy + dz * dz
                        if r2 > r2_max or r2 <= r2_min or host[i] == host[j]:
                            continue
                        b = _bin_of(r2, edges2)
                        oi, oj, ee = _pair_terms(dx, dy, dz, r2, axis[i], axis[j])
                        w = weight[i] * weight[j]
                        gi, gj, ti, tj = group[i], group[j], slope[i], slope[j]
                        if gi > gj:
                            gi, gj, ti, tj = gj, gi, tj, ti
                            oi, oj = oj, oi
                        row = sums[chunk, gj * (gj + 1) // 2 + gi, b]
                        for f in range(2):
                            wf = w * ti if f else w
                            for g in range(2):
                                wfg = wf * tj if g else wf
                                row[f, g, 0] += wfg
                                row[f, g, 1] += wfg * oi
                                row[f, g, 2] += wfg * oj
                                row[f, g, 3] += wfg * ee


@numba.njit(parallel=True, cache=True)
def within_hosts(
    node_start: Any,
    first_slot: Any,
    host_axis: Any,
    offset: Any,
    radial: Any,
    rank_bin: Any,
    entry_start: Any,
    edges2: Any,
    central_satellite: Any,
    satellite_satellite: Any,
) -> None:
    """Pairs inside hosts of the central with its slots, and of the slots with each other.

    Parameters
    ----------
    node_start : ndarray, shape (n_nodes + 1,)
        Hosts are sorted by mass node.
    first_slot : ndarray, shape (n_hosts + 1,)
        Slots are sorted by host, then rank.
    host_axis : ndarray, shape (n_hosts, 3)
    offset, radial : ndarray, shape (n_slots, 3)
        Position relative to the host's centre, and its direction.
    rank_bin : ndarray, shape (max_rank + 1,)
        Bin of each rank (from 1).
    entry_start : ndarray, shape (n_nodes,)
        Row of the first rank bin of each node in the results.
    edges2 : ndarray, shape (n_bins + 1,)
    central_satellite : ndarray, shape (n_entries, n_bins, 2)
        Pairs, and the term that the central carries (the satellite's is 2/3, and the
        orientation-orientation term equals the central's, as a slot's axis is radial).
    satellite_satellite : ndarray, shape (n_entries, n_bins, 3)
        Pairs, the terms both carry, and the orientation-orientation term; a pair belongs to the
        larger of its two ranks.
    """
    n_bins = len(edges2) - 1
    centre = np.zeros(3)
    for node in numba.prange(len(node_start) - 1):
        for h in range(node_start[node], node_start[node + 1]):
            for k in range(first_slot[h], first_slot[h + 1]):
                entry = entry_start[node] + rank_bin[k - first_slot[h] + 1]
                d = offset[k]
                r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
                b = _bin_of(r2, edges2)
                if 0 <= b < n_bins:
                    oc, _, _ = _pair_terms(d[0], d[1], d[2], r2, host_axis[h], centre)
                    central_satellite[entry, b, 0] += 1.0
                    central_satellite[entry, b, 1] += oc
                for j in range(first_slot[h], k):
                    dx, dy, dz = d[0] - offset[j, 0], d[1] - offset[j, 1], d[2] - offset[j, 2]
                    r2 = dx * dx + dy * dy + dz * dz
                    b = _bin_of(r2, edges2)
                    if 0 <= b < n_bins:
                        oj, ok, ee = _pair_terms(dx, dy, dz, r2, radial[j], radial[k])
                        satellite_satellite[entry, b, 0] += 1.0
                        satellite_satellite[entry, b, 1] += oj + ok
                        satellite_satellite[entry, b, 2] += ee


@numba.njit(parallel=True, cache=True)
def with_pool(
    row_start: Any,
    offset: Any,
    radial: Any,
    pool_offset: Any,
    pool_radial: Any,
    n_draws: int,
    seed: int,
    edges2: Any,
    sums: Any,
) -> None:
    """Mean pair sums of given slots with points drawn from a pool of slots around one centre.

    Parameters
    ----------
    row_start : ndarray, shape (n_rows + 1,)
        Slots are sorted by the row of the result that they add to.
    offset, radial : ndarray, shape (n_slots, 3)
    pool_offset, pool_radial : ndarray, shape (n_pool, 3)
    n_draws : int
        Draws from the pool per slot; the whole pool is used when this is not smaller.
    seed : int
    edges2 : ndarray, shape (n_bins + 1,)
    sums : ndarray, shape (n_rows, n_bins, 3)
        Pairs, the terms both carry, the orientation-orientation term; changed in place.
    """
    n_bins, n_pool = len(edges2) - 1, len(pool_offset)
    n = min(n_draws, n_pool)
    for row in numba.prange(len(row_start) - 1):
        for k in range(row_start[row], row_start[row + 1]):
            for draw in range(n):
                p = draw if n == n_pool else _uniform_index(seed, k * n_draws + draw, n_pool)
                dx = offset[k, 0] - pool_offset[p, 0]
                dy = offset[k, 1] - pool_offset[p, 1]
                dz = offset[k, 2] - pool_offset[p, 2]
                r2 = dx * dx + dy * dy + dz * dz
                b = _bin_of(r2, edges2)
                if 0 <= b < n_bins:
                    ok, op, ee = _pair_terms(dx, dy, dz, r2, radial[k], pool_radial[p])
                    sums[row, b, 0] += 1.0 / n
                    sums[row, b, 1] += (ok + op) / n
                    sums[row, b, 2] += ee / n


@numba.njit(parallel=True, cache=True)
def satellite_weights(
    mean: Any,
    node_kmax: Any,
    slot_start: Any,
    n_slots: Any,
    entry_of_slot: Any,
    group_of_slot: Any,
    class_start: Any,
    class_k: Any,
    logM: Any,
    group_logM: Any,
    log_factorial: Any,
    entries: Any,
    groups: Any,
    overflow: Any,
    overflow_pairs: Any,
) -> None:
    """Sums over slots of the probability to be occupied, for a Poisson number of satellites.

    The slot of rank k in a host with mean n is occupied when N >= k, so with probability
    q_k = P(N >= k); the N - K satellites beyond the last slot K are the overflow.

    Parameters
    ----------
    mean : ndarray, shape (n_points, n_nodes)
        Mean number of satellites per host at each mass node.
    node_kmax : ndarray, shape (n_nodes,)
        Largest number of slots of any host of the node.
    slot_start : ndarray, shape (n_nodes + 1,)
        Start of each node's ranks in the next three arrays.
    n_slots : ndarray
        Number of hosts of the node that have a slot of this rank.
    entry_of_slot, group_of_slot : ndarray
        Where the rank belongs in `entries` and `groups`.
    class_start : ndarray, shape (n_nodes + 1,)
        Start of each node's classes (hosts with the same number of slots, ascending).
    class_k : ndarray, shape (n_classes,)
    logM : ndarray, shape (n_nodes,)
    group_logM : ndarray, shape (n_groups,)
        Mean logM of the slots of each group.
    log_factorial : ndarray, shape (at least max_rank + 2,)
    entries : ndarray, shape (n_points, n_entries)
        Sum of q_k over slots; changed in place, as are the following.
    groups : ndarray, shape (2, n_points, n_groups)
        The same in wider groups, and the first moment in logM about the mean of the group.
    overflow : ndarray, shape (n_points, n_classes)
        E[(N - K)+].
    overflow_pairs : ndarray, shape (n_points, n_classes)
        E[(N - K)+ (N - K - 1)+].
    """
    for point in numba.prange(len(mean)):
        for node in range(len(node_kmax)):
            n = mean[point, node]
            if n <= 0:
                continue
            log_n = math.log(n)
            tail = 1.0  # P(N >= k) for the k at hand
            taken = 0.0  # sum of q_j for j <= k
            previous = 1.0  # P(N >= k - 1)
            c = class_start[node]
            c_end = class_start[node + 1]
            k = 0
            # At the top of the loop: tail = G(k), taken = sum_{1 <= j <= k} G(j).
            while True:
                pmf = math.exp(k * log_n - n - log_factorial[k])
                following = max(tail - pmf, 0.0)  # G(k + 1)
                while c < c_end and class_k[c] == k:
                    before = previous if k > 0 else 1.0
                    overflow[point, c] = max(n - taken, 0.0)
                    overflow_pairs[point, c] = max(
                        n * n * before - 2.0 * k * n * tail + k * (k + 1.0) * following, 0.0
                    )
                    c += 1
                k += 1
                if k > node_kmax[node] or (following < 1e-14 and k > n):
                    break
                previous, tail = tail, following
                taken += tail
                slot = slot_start[node] + k - 1
                entries[point, entry_of_slot[slot]] += tail * n_slots[slot]
                group = group_of_slot[slot]
                groups[0, point, group] += tail * n_slots[slot]
                groups[1, point, group] += tail * n_slots[slot] * (logM[node] - group_logM[group])
