"""Tabulated sums over pairs whose two galaxies play different parts, differentiable.

In an ordered pair the first galaxy is the one whose axis enters, the *shape*, and the second only has a
*position*. Each part may belong to another sample of galaxies, and each galaxy may count with a weight
that depends on the mass of its host: the fraction of galaxies that a sample takes, and, of a shape, the
amplitude of its alignment. Where both parts have the same weights the sums are twice those of
`iaemu_likelihood.emulator.expectation.expected_pairs.ExpectedPairs`, which is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from iaemu_likelihood.emulator.expectation.basis import Basis
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import Layout
from iaemu_likelihood.emulator.expectation.one_halo import OneHaloSums
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """The galaxies that play one part in pairs.

    Attributes
    ----------
    centrals : torch.Tensor, shape (n_points, n_intervals)
        Expected number of centrals per host of each mass interval, times their weight.
    satellites : torch.Tensor, shape (n_points, n_cells)
        The same of satellites, per site of each cell.
    """

    centrals: Tensor
    satellites: Tensor


@dataclass(frozen=True)
class SatellitePairs:
    """Two satellites in one host.

    Attributes
    ----------
    of_subhalos : torch.Tensor, shape (n_points, n_cells)
        Probability that both satellites of a pair are there, times their weights: of subhalos by the
        cell of the larger rank, of a subhalo and an overflow satellite by the latter's cell, where it
        is an expected number.
    of_overflow : torch.Tensor, shape (n_points, n_classes)
        Expected number of ordered pairs of overflow satellites of a host, times their weights.
    """

    of_subhalos: Tensor
    of_overflow: Tensor


class DirectedPairs:
    """Expected sums over ordered pairs of a shape and a position.

    Parameters
    ----------
    layout, centrals, satellites, one_halo, two_halo, kernels
        As of `iaemu_likelihood.emulator.expectation.expected_pairs.ExpectedPairs`.
    device : torch.device
    dtype : torch.dtype
        Precision of the sums.
    """

    def __init__(
        self, layout: Layout, centrals: Basis, satellites: Basis, one_halo: OneHaloSums,
        two_halo: NDArray[np.float32], kernels: Kernels, device: torch.device, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.layout, self.kernels = layout, kernels
        self._one_halo, self._two_halo = one_halo, two_halo
        self._device, self._dtype = device, dtype
        self._n_centrals = centrals.n_functions
        self._n_functions = centrals.n_functions + satellites.n_functions
        self._of_centrals, self._of_satellites = map(self._by_group, (centrals, satellites))
        self._interval, self._pool = (
            torch.as_tensor(x, device=device) for x in (layout.cell_interval, layout.pool)
        )
        self._pairs_of_class = self._here(layout.class_hosts / 2)
        self._kept: dict[tuple[str, int], Any] = {}

    def _here(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values)).to(self._device, self._dtype)

    def _by_group(self, basis: Basis) -> list[tuple[slice, Tensor]]:
        """The sets of each group, and what multiplies their occupations to give coefficients."""
        return [
            (slice(low, high), self._here(basis.metric[low:high, None] * basis.of_group(group)))
            for group, (low, high) in enumerate(pairwise(basis.first_set))
        ]

    def sums(
        self,
        shapes: Mapping[int, Part],
        positions: Part,
        pairs: Mapping[int, SatellitePairs],
    ) -> Tensor:
        """Expected sums over ordered pairs, differentiably.

        Of one part there may be a single point for all those of the other.

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
        torch.Tensor, shape (n_points, n_templates, n_bins), float64
            0 of the templates of other kernels.
        """
        at = {degree: self._prepared(part) for degree, part in shapes.items()}
        of_positions = self._prepared(positions)
        n = max(len(part.centrals) for part in (*shapes.values(), positions))
        n_bins, found = self._two_halo.shape[1], []
        for k, kernel in enumerate(self.kernels.kernels):
            of_kernel = torch.zeros(
                1, kernel.n_axes + 1, n_bins, dtype=torch.float64, device=self._device
            )
            if k in pairs:
                shape = at[kernel.degree]
                other = shape if kernel.n_axes == 2 else of_positions
                in_one = self._in_one_host(k, shape[0], other[0], pairs[k])
                padded = torch.nn.functional.pad(in_one, (0, n_bins - in_one.shape[-1]))
                of_kernel = padded + self._in_different_hosts(k, shape[1], other[1])
            found.append(of_kernel.expand(n, -1, -1))
        return torch.cat(found, dim=1)

    def _prepared(self, part: Part) -> tuple[Part, Tensor]:
        """A part in the precision of the sums, and its coefficients: those of centrals come first."""
        here = Part(*(x.to(self._device, self._dtype) for x in (part.centrals, part.satellites)))
        each = (
            occupied[:, sets] @ functions
            for occupied, groups in (
                (here.centrals, self._of_centrals),
                (here.satellites, self._of_satellites),
            )
            for sets, functions in groups
        )
        return here, torch.cat(list(each), dim=1)

    # ------------------------------------------------------------ in one host

    def _in_one_host(self, k: int, shape: Part, other: Part, pairs: SatellitePairs) -> Tensor:
        """Pairs in one host, (n_points, n_axes + 1, n_inside), in the bins up to their size."""
        by_central = shape.centrals.index_select(1, self._interval) * other.satellites
        by_satellite = shape.satellites * other.centrals.index_select(1, self._interval)
        of_subhalos, of_overflow = (
            x.to(self._device, self._dtype) for x in (pairs.of_subhalos, pairs.of_overflow)
        )
        of_pools = of_overflow.new_zeros(len(of_overflow), self.layout.n_pools)
        of_pools = of_pools.index_add(1, self._pool, of_overflow * self._pairs_of_class)
        first, last, both = self._keep("in hosts", k, self._tables)
        satellites = torch.cat([of_subhalos, of_pools], dim=1) @ both
        n_axes = self.kernels.n_axes[k]
        if n_axes == 1:
            return torch.stack([by_central @ first, by_satellite @ last + satellites], dim=1)
        mixed = (by_central + by_satellite) @ first
        if n_axes == 0:
            return (mixed + satellites)[:, None]
        return torch.stack([torch.zeros_like(mixed), mixed, satellites], dim=1)

    def _tables(self, k: int) -> tuple[Tensor, ...]:
        """Sums in hosts as matrices, (cells, bins up to the last that any pair is in).

        Of a central's axis with a satellite, of a satellite's with a central, and of both orders of two
        satellites, the pools of overflow satellites being the last rows.
        """
        first, last, sums = self.kernels.first[k], self.kernels.last[k], self._one_halo
        both = np.concatenate([sums.satellites, sums.overflow_overflow])[..., first : last + 1]
        # A sum that is symmetric is that of both orders.
        both = both.sum(-1) * (1 if self.kernels.n_axes[k] == 1 else 2)
        each = (sums.mixed[..., first], sums.mixed[..., last], both)
        filled = np.concatenate([np.flatnonzero(x.any(axis=0)) for x in each])
        return tuple(self._here(x[:, : filled.max(initial=-1) + 1]) for x in each)

    # ------------------------------------------------------------ in different hosts

    def _in_different_hosts(self, k: int, shape: Tensor, other: Tensor) -> Tensor:
        """Pairs in different hosts, (n_points, n_axes + 1, n_bins)."""
        n_axes, c = self.kernels.n_axes[k], self._n_centrals
        matrix = self._keep("apart", k, self._matrix)

        def products(vector: Tensor, rows: Tensor) -> Tensor:
            """With functions of the shape, (n_points, n_bins, n_functions)."""
            of_bins = (vector @ rows).reshape(len(vector), -1, self._n_functions)
            return of_bins * shape[:, None]

        if n_axes == 2:
            by_centrals = products(other[:, :c], matrix[:c])
            by_satellites = products(other[:, c:], matrix[c:])
            each = [by_centrals[..., :c], 2 * by_centrals[..., c:], by_satellites[..., c:]]
        else:
            by_all = products(other, matrix)
            each = [by_all] if n_axes == 0 else [by_all[..., :c], by_all[..., c:]]
        return torch.stack([x.sum(-1, dtype=torch.float64) for x in each], dim=1)

    def _matrix(self, k: int) -> Tensor:
        """Rows for functions of the position, columns for bins and functions of the shape."""
        n, n_bins = self._n_functions, self._two_halo.shape[1]
        second, first = np.tril_indices(n)
        full = np.zeros((n, n_bins, n), np.float32)
        # Both orders, which are two entries, or, of one function, the sum of both.
        full[second, :, first] = self._two_halo[..., self.kernels.first[k]]
        full[first, :, second] += self._two_halo[..., self.kernels.last[k]]
        return self._here(full.reshape(n, -1))

    def _keep(self, what: str, k: int, make: Callable[[int], Any]) -> Any:
        """Tables of a kernel, made when they are needed."""
        if (what, k) not in self._kept:
            with torch.inference_mode(False):  # for calls that need gradients, too
                self._kept[what, k] = make(k)
        return self._kept[what, k]
