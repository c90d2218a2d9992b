"""Tabulated sums over pairs whose two galaxies play different parts.

In an ordered pair the first galaxy is the one whose axis enters, the *shape*, and the second only has a
*position*. Each part may belong to another sample of galaxies, and each galaxy may count with a weight
that depends on the mass of its host: the fraction of galaxies that a sample takes, and, of a shape, the
amplitude of its alignment. Where both parts have the same weights the sums are twice those of
`ExpectedPairs`, which is faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.expectation.basis import Basis
from iaemu_likelihood.emulator.expectation.expected_pairs import sum_by
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import Array, Layout
from iaemu_likelihood.emulator.expectation.one_halo import OneHaloSums
from numpy.typing import NDArray

Single = NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """The galaxies that play one part in pairs.

    Attributes
    ----------
    centrals : ndarray, shape (n_points, n_intervals)
        Expected number of centrals per host of each mass interval, times their weight.
    satellites : ndarray, shape (n_points, n_cells)
        The same of satellites, per site of each cell.
    """

    centrals: Array
    satellites: Array


@dataclass(frozen=True)
class SatellitePairs:
    """Two satellites in one host.

    Attributes
    ----------
    of_subhalos : ndarray, shape (n_points, n_cells)
        Probability that both satellites of a pair are there, times their weights: of subhalos by the
        cell of the larger rank, of a subhalo and an overflow satellite by the latter's cell, where it
        is an expected number.
    of_overflow : ndarray, shape (n_points, n_classes)
        Expected number of ordered pairs of overflow satellites of a host, times their weights.
    """

    of_subhalos: Array
    of_overflow: Array


class DirectedPairs:
    """Expected sums over ordered pairs of a shape and a position.

    Parameters
    ----------
    layout, centrals, satellites, one_halo, two_halo, kernels
        As of `iaemu_likelihood.emulator.expectation.expected_pairs.ExpectedPairs`.
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
        self.layout, self.kernels = layout, kernels
        self._centrals, self._satellites = centrals, satellites
        self._one_halo, self._two_halo = one_halo, two_halo
        self._matrix_of: dict[int, Single] = {}
        self._in_hosts_of: dict[int, tuple[Single, Single, Single]] = {}

    def sums(
        self,
        shapes: Mapping[int, Part],
        positions: Part,
        pairs: Mapping[int, SatellitePairs],
    ) -> Array:
        """Expected sums over ordered pairs.

        Parameters
        ----------
        shapes : mapping of int to Part
            By the degree of the kernels' axes. Both galaxies of a pair are shapes in kernels of two
            axes.
        positions : Part
        pairs : mapping of int to SatellitePairs
            By the place of each kernel that is wanted.

        Returns
        -------
        ndarray, shape (n_points, n_bins, n_templates)
            0 of the templates of other kernels.
        """
        found = np.zeros(
            (len(positions.centrals), self._two_halo.shape[1], self.kernels.n_templates)
        )
        vectors = {degree: self._vector(part) for degree, part in shapes.items()}
        of_positions = self._vector(positions)
        for k in pairs:
            kernel = self.kernels.kernels[k]
            templates = [found[..., t] for t in self.kernels.templates_of(kernel)]
            shape = shapes[kernel.degree]
            self._add_mixed(templates, k, shape, shape if kernel.n_axes == 2 else positions)
            self._add_satellites(templates[-1], k, pairs[k])
            self._add_two_halo(templates, k, vectors[kernel.degree], of_positions)
        return found

    # ------------------------------------------------------------ in one host

    def _add_mixed(self, templates: list[Array], k: int, shape: Part, other: Part) -> None:
        """Add a central and a satellite of one host, either being the first."""
        interval = self.layout.cell_interval
        by_central = shape.centrals[:, interval] * other.satellites
        by_satellite = shape.satellites * other.centrals[:, interval]
        first, last, _ = self._in_hosts(k)
        if self.kernels.n_axes[k] == 1:
            _add_weighted(templates[0], by_central, first)
            _add_weighted(templates[1], by_satellite, last)
        else:
            # The template of one axis of each kind, if there are axes at all.
            _add_weighted(templates[len(templates) // 2], by_central + by_satellite, first)

    def _add_satellites(self, template: Array, k: int, pairs: SatellitePairs) -> None:
        """Add two satellites of one host."""
        per_host = pairs.of_overflow * self.layout.class_hosts / 2
        of_pools = sum_by(per_host, self.layout.pool, self.layout.n_pools)
        weights = np.concatenate([pairs.of_subhalos, of_pools], axis=1)
        _add_weighted(template, weights, self._in_hosts(k)[2])

    def _in_hosts(self, k: int) -> tuple[Single, Single, Single]:
        """Sums in hosts as matrices, made when they are needed: (cells, bins that hosts fill).

        Of a central's axis with a satellite, of a satellite's with a central, and of both orders of two
        satellites, the pools of overflow satellites being the last rows.
        """
        if k not in self._in_hosts_of:
            first, last = self.kernels.first[k], self.kernels.last[k]
            sums = self._one_halo
            both = np.concatenate(
                [
                    x[..., first : last + 1].sum(-1)
                    for x in (sums.satellites, sums.overflow_overflow)
                ]
            )
            # A sum that is symmetric is that of both orders.
            both *= 1 if self.kernels.n_axes[k] == 1 else 2
            self._in_hosts_of[k] = (
                _filled(sums.mixed[..., first]), _filled(sums.mixed[..., last]), _filled(both)
            )  # fmt: skip
        return self._in_hosts_of[k]

    # ------------------------------------------------------------ in different hosts

    def _vector(self, part: Part) -> Single:
        """Coefficients of the functions, those of centrals first: (n_points, n_functions)."""
        of_satellites = self._satellites.coefficients(part.satellites)
        return np.concatenate([self._centrals.coefficients(part.centrals), of_satellites], axis=1)

    def _add_two_halo(self, templates: list[Array], k: int, shape: Single, other: Single) -> None:
        """Add pairs in different hosts."""
        n_axes, c = self.kernels.n_axes[k], self._centrals.n_functions
        matrix = self._matrix(k)
        if n_axes == 2:
            of_centrals, of_satellites = shape.copy(), shape.copy()
            of_centrals[:, c:], of_satellites[:, :c] = 0, 0
            by_centrals = shape * (of_centrals @ matrix)
            templates[0] += _total(by_centrals[..., :c])
            templates[1] += 2 * _total(by_centrals[..., c:])
            templates[2] += _total((shape * (of_satellites @ matrix))[..., c:])
            return
        products = shape * (other @ matrix)
        if n_axes == 0:
            templates[0] += _total(products)
        else:
            templates[0] += _total(products[..., :c])
            templates[1] += _total(products[..., c:])

    def _matrix(self, k: int) -> Single:
        """Of (bins, function of the position, function of the shape), made when it is needed."""
        if k not in self._matrix_of:
            n = self._centrals.n_functions + self._satellites.n_functions
            second, first = np.tril_indices(n)
            full = np.zeros((self._two_halo.shape[1], n, n), np.float32)
            # Both orders, which are two entries, or, of one function, the sum of both.
            full[:, second, first] = self._two_halo[..., self.kernels.first[k]].T
            full[:, first, second] += self._two_halo[..., self.kernels.last[k]].T
            self._matrix_of[k] = full
        return self._matrix_of[k]


def _filled(sums: Single) -> Single:
    """The bins, (n, n_bins), up to the last that any pair is in."""
    n_inside = int(np.flatnonzero(sums.any(axis=0)).max(initial=-1)) + 1
    return np.ascontiguousarray(sums[:, :n_inside])


def _add_weighted(template: Array, weights: Array, sums: Single) -> None:
    """Add weighted sums, (n_points, n) and (n, n_inside), to the first bins of (n_points, n_bins)."""
    template[:, : sums.shape[1]] += weights.astype(np.float32) @ sums


def _total(products: Single) -> Array:
    """Over functions, (n_bins, n_points, n_functions) to (n_points, n_bins)."""
    total: Array = products.sum(axis=-1, dtype=np.float64).T
    return total
