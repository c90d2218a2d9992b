"""Tabulated sums over pairs, multiplied by occupations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from iaemu_likelihood.emulator.expectation.basis import Basis
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import Array, Indices, Layout
from iaemu_likelihood.emulator.expectation.one_halo import OneHaloSums
from numpy.typing import NDArray

# Of the triangular matrices of pairs: more of them leave out more zeros, fewer multiply faster.
_ROW_BLOCKS = 8

Single = NDArray[np.float32]


class ExpectedPairs:
    """Expected sums over pairs at any occupation.

    Parameters
    ----------
    layout : Layout
    centrals, satellites : Basis
        Functions on the mass intervals and on the cells of the layout.
    one_halo : OneHaloSums
    two_halo : ndarray, shape (n_functions (n_functions + 1) / 2, n_bins, n_sums)
        See `iaemu_likelihood.emulator.expectation.two_halo.two_halo_sums`.
    kernels : Kernels
    """

    def __init__(
        self,
        layout: Layout,
        centrals: Basis,
        satellites: Basis,
        one_halo: OneHaloSums,
        two_halo: Single,
        kernels: Kernels,
    ) -> None:
        self._layout, self._kernels = layout, kernels
        self._centrals, self._satellites = centrals, satellites
        self._n_bins = two_halo.shape[1]
        self._prepare_one_halo(one_halo)
        self._prepare_two_halo(two_halo)

    def _prepare_one_halo(self, one_halo: OneHaloSums) -> None:
        """Those that are multiplied with the same weights, as rows of two matrices."""
        satellites = np.concatenate([one_halo.satellites, one_halo.overflow_overflow])
        # Farther than hosts are wide there is nothing.
        inside = [np.flatnonzero(x.any(axis=(0, 2))) for x in (one_halo.mixed, satellites)]
        self._n_inside = int(np.concatenate(inside).max(initial=-1)) + 1
        mixed = one_halo.mixed[:, : self._n_inside]
        self._mixed_in_hosts = mixed.reshape(len(mixed), -1)
        both = self._kernels.of_both(satellites[:, : self._n_inside])
        self._satellites_in_hosts = both.reshape(len(both), -1)

    def _prepare_two_halo(self, two_halo: Single) -> None:
        """Dense matrices, from the packed triangle of pairs of functions."""
        kernels, n_bins = self._kernels, self._n_bins
        c, n = self._centrals.n_functions, self._centrals.n_functions + self._satellites.n_functions
        j, i = np.tril_indices(n)

        def lower(values: Single) -> Single:
            """Matrix of (bins, second function, first function)."""
            full = np.zeros((n_bins, n, n), np.float32)
            full[:, j, i] = values.T
            return full

        # Centrals come first, so in a pair of both kinds the first function is the centrals'.
        n_kernels = len(kernels.kernels)
        # What lies above the diagonal is zero: leave out most of it, row block by row block.
        edges = np.linspace(0, n - c, _ROW_BLOCKS + 1).astype(int)
        self._with_satellites = [
            (slice(low, high), np.empty((n_kernels, n_bins, high - low, c + high), np.float32))
            for low, high in pairwise(edges)
            if high > low
        ]
        self._of_centrals = np.empty((n_kernels, n_bins, c, c), np.float32)
        self._by_centrals = np.empty((len(kernels.one_axis), n_bins, n - c, c), np.float32)
        for k, (first, last) in enumerate(zip(kernels.first, kernels.last, strict=True)):
            both = by_last = lower(two_halo[..., last])
            if first != last:
                by_first = lower(two_halo[..., first])
                both = by_first + by_last
                self._by_centrals[list(kernels.one_axis).index(k)] = by_first[:, c:, :c]
            self._of_centrals[k] = both[:, :c, :c]
            for rows, block in self._with_satellites:
                of_rows = slice(c + rows.start, c + rows.stop)
                block[k, ..., :c] = by_last[:, of_rows, :c]
                block[k, ..., c:] = both[:, of_rows, c : c + rows.stop]

    def sums(self, centrals: Array, satellites: Array) -> Array:
        """Expected sums over unordered pairs.

        Parameters
        ----------
        centrals, satellites : ndarray, shape (n_points, n_intervals)
            Mean number per host.

        Returns
        -------
        ndarray, shape (n_points, n_bins, n_templates)
        """
        in_cells, overflow_pairs = self._layout.occupied(satellites)
        found = np.zeros((len(centrals), self._n_bins, self._kernels.n_templates))
        self._add_one_halo(found, centrals, in_cells, overflow_pairs)
        self._add_two_halo(
            found, self._centrals.coefficients(centrals), self._satellites.coefficients(in_cells)
        )
        return found

    def _add_one_halo(
        self, sums: Array, centrals: Array, in_cells: Array, overflow_pairs: Array
    ) -> None:
        """Add pairs in one host."""
        layout, kernels = self._layout, self._kernels
        inside = sums[:, : self._n_inside]
        mixed = (centrals[:, layout.cell_interval] * in_cells).astype(np.float32)
        found = (mixed @ self._mixed_in_hosts).reshape(*inside.shape[:2], -1)
        inside[..., kernels.of_mixed] += found
        pool_pairs = sum_by(overflow_pairs * layout.class_hosts / 2, layout.pool, layout.n_pools)
        weights = np.concatenate([in_cells, pool_pairs], axis=1).astype(np.float32)
        found = (weights @ self._satellites_in_hosts).reshape(*inside.shape[:2], -1)
        inside[..., kernels.of_satellites] += found

    def _add_two_halo(self, sums: Array, x: Single, y: Single) -> None:
        """Add pairs in different hosts.

        `x` and `y` are the coefficients of centrals and satellites, (n_points, n_functions).
        """
        kernels = self._kernels
        (found,) = _contract(x, self._of_centrals, x)
        sums[..., kernels.of_centrals] += found.T
        (found,) = _contract(y, self._by_centrals, x)
        sums[..., kernels.of_centrals[kernels.one_axis]] += found.T
        for rows, block in self._with_satellites:
            of_rows = np.ascontiguousarray(y[:, rows])
            mixed, both = _contract(of_rows, block, x, y[:, : rows.stop])
            sums[..., kernels.of_mixed[kernels.last]] += mixed.T
            sums[..., kernels.of_satellites] += both.T


def _contract(left: Single, matrices: Single, *right: Single) -> Array:
    """Products with matrices and then with vectors: (n_vectors, n_kernels, n_bins, n_points)."""
    found = np.empty((len(right), *matrices.shape[:2], len(left)))
    vectors, ends = np.concatenate(right, axis=1), np.cumsum([v.shape[1] for v in right])
    for k, of_kernel in enumerate(matrices):
        products = np.split((left @ of_kernel) * vectors, ends[:-1], axis=-1)
        for total, product in zip(found[:, k], products, strict=True):
            product.sum(axis=-1, dtype=np.float64, out=total)
    return found


def sum_by(values: Array, index: Indices, n: int) -> Array:
    """Sum the columns of `values`, shape (n_points, m), that share an index, to (n_points, n)."""
    total = np.zeros((len(values), n))
    np.add.at(total.T, index, values.T)
    return total
