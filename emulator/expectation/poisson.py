"""How often subhalos are occupied by a Poisson number of satellites."""

from __future__ import annotations

import math
from typing import Any

import numba
from iaemu_likelihood.emulator.compiled import compiled


@compiled(parallel=True)
def occupied_subhalos(
    mean: Any,
    max_richness: Any,
    first_rank: Any,
    share: Any,
    cell_of_rank: Any,
    first_class: Any,
    richness: Any,
    cell_of_class: Any,
    log_factorial: Any,
    in_cells: Any,
    overflow_pairs: Any,
) -> None:
    """Sums over subhalos of the probability to be occupied.

    In a host with mean n, a subhalo of rank k is occupied when N >= k, so with probability
    q_k = P(N >= k); the N - K satellites beyond the last subhalo K are the overflow.

    Parameters
    ----------
    mean : ndarray, shape (n_points, n_intervals)
        Mean number of satellites per host.
    max_richness, first_rank, cell_of_rank, first_class, richness, cell_of_class
        As in `Layout`.
    share : ndarray, shape (n_ranks,)
        Of the subhalos of a cell, how many have each rank.
    log_factorial : ndarray, shape (at least max_rank + 2,)
    in_cells : ndarray, shape (n_points, n_cells)
        Mean of q_k over the subhalos of a cell, or E[(N - K)+]; changed in place, as is the next.
    overflow_pairs : ndarray, shape (n_points, n_classes)
        E[(N - K)+ (N - K - 1)+].
    """
    for point in numba.prange(len(mean)):
        for interval in range(len(max_richness)):
            n = mean[point, interval]
            if n <= 0:
                continue
            log_n = math.log(n)
            tail = 1.0  # P(N >= k) for the k at hand
            taken = 0.0  # sum of q_j for j <= k
            previous = 1.0  # P(N >= k - 1)
            c = first_class[interval]
            c_end = first_class[interval + 1]
            k = 0
            # At the top of the loop: tail = q_k, taken = sum_{1 <= j <= k} q_j.
            while True:
                pmf = math.exp(k * log_n - n - log_factorial[k])
                following = max(tail - pmf, 0.0)  # q_{k + 1}
                while c < c_end and richness[c] == k:
                    before = previous if k > 0 else 1.0
                    in_cells[point, cell_of_class[c]] = max(n - taken, 0.0)
                    overflow_pairs[point, c] = max(
                        n * n * before - 2.0 * k * n * tail + k * (k + 1.0) * following, 0.0
                    )
                    c += 1
                k += 1
                if k > max_richness[interval] or (following < 1e-14 and k > n):
                    break
                previous, tail = tail, following
                taken += tail
                rank = first_rank[interval] + k - 1
                in_cells[point, cell_of_rank[rank]] += tail * share[rank]


@compiled(parallel=True)
def slope_of_occupied_subhalos(
    mean: Any,
    max_richness: Any,
    first_rank: Any,
    share: Any,
    cell_of_rank: Any,
    first_class: Any,
    richness: Any,
    cell_of_class: Any,
    log_factorial: Any,
    of_cells: Any,
    of_pairs: Any,
    slope: Any,
) -> None:
    """The derivative by the mean of a function of what `occupied_subhalos` gives.

    The derivative of E[f(N)] by the mean n of a Poisson number N is E[f(N + 1) - f(N)]: that of q_k is
    P(N = k - 1), that of E[(N - K)+] is q_K, and that of E[(N - K)+ (N - K - 1)+] is 2 E[(N - K)+].

    Parameters
    ----------
    mean, max_richness, first_rank, share, cell_of_rank, first_class, richness, cell_of_class, log_factorial
        As those of `occupied_subhalos`.
    of_cells : ndarray, shape (n_points, n_cells)
        Derivative of the function by `in_cells`.
    of_pairs : ndarray, shape (n_points, n_classes)
        The same by `overflow_pairs`.
    slope : ndarray, shape (n_points, n_intervals)
        Changed in place.
    """
    for point in numba.prange(len(mean)):
        for interval in range(len(max_richness)):
            n = mean[point, interval]
            if n <= 0:
                continue
            log_n = math.log(n)
            total = 0.0
            tail = 1.0  # P(N >= k) for the k at hand
            taken = 0.0  # sum of q_j for j <= k
            c = first_class[interval]
            c_end = first_class[interval + 1]
            k = 0
            while True:
                pmf = math.exp(k * log_n - n - log_factorial[k])
                following = max(tail - pmf, 0.0)
                while c < c_end and richness[c] == k:
                    total += of_cells[point, cell_of_class[c]] * tail
                    total += of_pairs[point, c] * 2.0 * max(n - taken, 0.0)
                    c += 1
                k += 1
                if k > max_richness[interval] or (following < 1e-14 and k > n):
                    break
                rank = first_rank[interval] + k - 1
                total += of_cells[point, cell_of_rank[rank]] * pmf * share[rank]
                tail = following
                taken += tail
            slope[point, interval] = total
