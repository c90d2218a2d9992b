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
from typing import Any, NamedTuple

import numpy as np
import torch
from iaemu_likelihood.emulator.expectation.basis import Basis
from iaemu_likelihood.emulator.expectation.compact import Combinations
from iaemu_likelihood.emulator.expectation.filled import Cells, Filled
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.layout import Indices, Layout
from iaemu_likelihood.emulator.expectation.one_halo import OneHaloSums
from numpy.typing import NDArray
from scipy.linalg import block_diag
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """The galaxies that play one part in pairs.

    Attributes
    ----------
    centrals : torch.Tensor, shape (n_points, n_intervals)
        Expected number of centrals per host of each mass interval, times their weight.
    satellites : torch.Tensor, shape (n_points, n_filled)
        The same of satellites, per site of each cell that is not empty.
    """

    centrals: Tensor
    satellites: Tensor


@dataclass(frozen=True)
class SatellitePairs:
    """Two satellites in one host.

    Attributes
    ----------
    of_subhalos : torch.Tensor, shape (n_points, n_filled)
        Probability that both satellites of a pair are there, times their weights: of subhalos by the
        cell of the larger rank, of a subhalo and an overflow satellite by the latter's cell, where it
        is an expected number.
    of_overflow : torch.Tensor, shape (n_points, n_classes)
        Expected number of ordered pairs of overflow satellites of a host, times their weights.
    """

    of_subhalos: Tensor
    of_overflow: Tensor


class Prepared(NamedTuple):
    """A part, and its coefficients: those of centrals come first, (n_points, n_coefficients)."""

    part: Part
    coefficients: Tensor


# Kinds of the shape and of the other galaxy, 0 for centrals, of each template of kernels of 0 to 2 axes.
_KINDS = (
    [[(0, 0), (0, 1), (1, 0), (1, 1)]],
    [[(0, 0), (0, 1)], [(1, 0), (1, 1)]],
    [[(0, 0)], [(0, 1)], [(1, 1)]],
)


class DirectedPairs:
    """Expected sums over ordered pairs of a shape and a position.

    Parameters
    ----------
    layout, centrals, satellites, one_halo, two_halo, kernels
        As of `iaemu_likelihood.emulator.expectation.expected_pairs.ExpectedPairs`.
    combinations : Combinations or None
        Of a domain. None keeps all functions, for any occupation and any weights, which takes longer.
    device : torch.device
    dtype : torch.dtype
        Precision of the sums.

    Attributes
    ----------
    cells : Cells
    layout : Layout
        That of the cells.
    kernels : Kernels
    """

    def __init__(
        self, layout: Layout, centrals: Basis, satellites: Basis, one_halo: OneHaloSums,
        two_halo: NDArray[np.float32], kernels: Kernels, combinations: Combinations | None,
        device: torch.device, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.cells = Cells(layout, satellites)
        self.layout, self.kernels = self.cells.layout, kernels
        self._one_halo, self._two_halo, self._combinations = one_halo, two_halo, combinations
        self._device, self._dtype = device, dtype
        self._of_centrals = self._here(block_diag(*centrals.projections()))
        self._of_satellites = [self._here(x) for x in self.cells.functions(satellites)]
        self._n_functions = centrals.n_functions, satellites.n_functions
        self._of_functions = None
        if combinations is not None:
            self._of_functions = (
                self._here(combinations.centrals),
                self._here(combinations.satellites),
            )
        self._interval = torch.as_tensor(self.layout.cell_interval)
        self._pool = torch.as_tensor(layout.pool, device=device)
        self._pairs_of_class = self._here(layout.class_hosts / 2)
        self._kept: dict[tuple[str, int], Any] = {}

    def _here(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values)).to(self._device, self._dtype)

    def prepared(self, part: Part, filled: Filled) -> Prepared:
        """A part in the precision of the sums, and what pairs in different hosts take of it.

        Parameters
        ----------
        part : Part
        filled : Filled
            The cells that it has.
        """
        here = Part(*(x.to(self._device, self._dtype) for x in (part.centrals, part.satellites)))
        _, of_satellites = filled.sums(here.satellites, self._of_satellites)
        coefficients = [here.centrals @ self._of_centrals, of_satellites]
        if self._of_functions is not None:
            coefficients = [
                x @ combined for x, combined in zip(coefficients, self._of_functions, strict=True)
            ]
        return Prepared(here, torch.cat(coefficients, dim=1))

    def sums(
        self,
        shapes: Mapping[int, Prepared],
        positions: Prepared,
        pairs: Mapping[int, SatellitePairs],
        filled: Filled,
    ) -> Tensor:
        """Expected sums over ordered pairs, differentiably.

        Of one part there may be a single point for all those of the other.

        Parameters
        ----------
        shapes : mapping of int to Prepared
            By the degree of the kernels' axes. Both galaxies of a pair are shapes in kernels of two
            axes.
        positions : Prepared
        pairs : mapping of int to SatellitePairs
            By the place of each kernel that is wanted.
        filled : Filled
            The cells that all of them have.

        Returns
        -------
        torch.Tensor, shape (n_points, n_templates, n_bins), float64
            0 of the templates of other kernels.
        """
        n = max(len(x.coefficients) for x in (*shapes.values(), positions))
        interval = self._interval[filled.cells].to(self._device)
        n_bins, found = self._two_halo.shape[1], []
        for k, kernel in enumerate(self.kernels.kernels):
            of_kernel = torch.zeros(
                1, kernel.n_axes + 1, n_bins, dtype=torch.float64, device=self._device
            )
            if k in pairs:
                shape = shapes[kernel.degree]
                other = shape if kernel.n_axes == 2 else positions
                in_one = self._in_one_host(k, shape.part, other.part, pairs[k], filled, interval)
                padded = torch.nn.functional.pad(in_one, (0, n_bins - in_one.shape[-1]))
                apart = self._in_different_hosts(k, shape.coefficients, other.coefficients)
                of_kernel = (padded + apart).double()
            found.append(of_kernel.expand(n, -1, -1))
        return torch.cat(found, dim=1)

    # ------------------------------------------------------------ in one host

    def _in_one_host(
        self, k: int, shape: Part, other: Part, pairs: SatellitePairs, filled: Filled,
        interval: Tensor,
    ) -> Tensor:  # fmt: skip
        """Pairs in one host, (n_points, n_axes + 1, n_inside), in the bins up to their size."""
        by_central = shape.centrals.index_select(1, interval) * other.satellites
        by_satellite = shape.satellites * other.centrals.index_select(1, interval)
        of_subhalos, of_overflow = (
            x.to(self._device, self._dtype) for x in (pairs.of_subhalos, pairs.of_overflow)
        )
        of_pools = of_overflow.new_zeros(len(of_overflow), self.layout.n_pools)
        of_pools = of_pools.index_add(1, self._pool, of_overflow * self._pairs_of_class)
        first, last, both, of_overflow_pairs = self._keep("in hosts", k, self._tables)

        def summed(held: Tensor, tables: list[Tensor]) -> Tensor:
            return filled.sums(held, tables, tables[0].shape[1])[0]

        satellites = summed(of_subhalos, both) + of_pools @ of_overflow_pairs
        n_axes = self.kernels.n_axes[k]
        if n_axes == 1:
            each = summed(by_central, first), summed(by_satellite, last) + satellites
            return torch.stack(each, dim=1)
        mixed = summed(by_central + by_satellite, first)
        if n_axes == 0:
            return (mixed + satellites)[:, None]
        return torch.stack([torch.zeros_like(mixed), mixed, satellites], dim=1)

    def _tables(self, k: int) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
        """Sums in hosts as matrices, (cells, bins up to the last that any pair is in), of each group.

        Of a central's axis with a satellite, of a satellite's with a central, and of both orders of two
        satellites; and the last of overflow satellites, (pools, bins).
        """
        first, last, sums = self.kernels.first[k], self.kernels.last[k], self._one_halo
        # A sum that is symmetric is that of both orders.
        orders = 1 if self.kernels.n_axes[k] == 1 else 2
        both, of_pools = (
            x[..., first : last + 1].sum(-1) * orders
            for x in (sums.satellites, sums.overflow_overflow)
        )
        each = (sums.mixed[..., first], sums.mixed[..., last], both, of_pools)
        filled = np.concatenate([np.flatnonzero(x.any(axis=0)) for x in each])
        *of_cells, of_pools = (x[:, : filled.max(initial=-1) + 1] for x in each)
        by_first, by_last, by_both = (
            [self._here(x) for x in self.cells.by_group(values)] for values in of_cells
        )
        return by_first, by_last, by_both, self._here(of_pools)

    # ------------------------------------------------------------ in different hosts

    def _in_different_hosts(self, k: int, shape: Tensor, other: Tensor) -> Tensor:
        """Pairs in different hosts, (n_points, n_axes + 1, n_bins)."""
        each = [
            (shape.index_select(1, i) * other.index_select(1, j)) @ matrix
            for i, j, matrix in self._keep("apart", k, self._bilinear)
        ]
        return torch.stack(each, dim=1)

    def _bilinear(self, k: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each template, products of coefficients of the shape and of the other, and their sums."""
        sums, n_axes = self._matrices(k), int(self.kernels.n_axes[k])
        sizes = list(self._n_functions)
        if self._of_functions is not None:
            combined = torch.block_diag(*(x.float().cpu() for x in self._of_functions))
            sums = combined.mT @ sums @ combined
            sizes = [x.shape[1] for x in self._of_functions]
        found = []
        for kinds in _KINDS[n_axes]:
            products = np.concatenate([self._products(*each, sizes) for each in kinds], axis=1)
            # Of two axes, both orders of a central and a satellite.
            orders = 2 if n_axes == 2 and kinds[0] == (0, 1) else 1
            matrix = orders * sums[:, products[0], products[1]].T
            i, j = torch.as_tensor(products, device=self._device)
            found.append((i, j, matrix.contiguous().to(self._device, self._dtype)))
        return found

    def _products(self, shape: int, other: int, sizes: list[int]) -> Indices:
        """Which coefficients are multiplied of two kinds of galaxies, that have so many, (2, n)."""
        if self._combinations is None:
            products = np.indices((sizes[shape], sizes[other])).reshape(2, -1)
        else:
            products = np.stack(self._combinations.products(shape, other, ordered=True))
        return products + sizes[0] * np.array([[shape], [other]])

    def _matrices(self, k: int) -> Tensor:
        """Sums for functions of the shape and of the other, (n_bins, n_functions, n_functions)."""
        n, n_bins = sum(self._n_functions), self._two_halo.shape[1]
        second, first = np.tril_indices(n)
        full = np.zeros((n_bins, n, n), np.float32)
        # Both orders, which are two entries, or, of one function, the sum of both.
        full[:, first, second] = self._two_halo[..., self.kernels.first[k]].T
        full[:, second, first] += self._two_halo[..., self.kernels.last[k]].T
        return torch.as_tensor(full)

    def _keep(self, what: str, k: int, make: Callable[[int], Any]) -> Any:
        """Tables of a kernel, made when they are needed."""
        if (what, k) not in self._kept:
            with torch.inference_mode(False):  # for calls that need gradients, too
                self._kept[what, k] = make(k)
        return self._kept[what, k]
