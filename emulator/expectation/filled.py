"""Sums over cells of what they hold times rows of tables, without cells that are all but empty.

Most cells are empty at any one occupation, as satellites take the subhalos of lowest rank first. Here cells
are in the order in which they fill up, group by group. Those that are occupied are then the first ones of
each group, and sums are products with the leading rows of tables, in which nothing needs to be looked up.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from iaemu_likelihood.emulator.expectation.basis import Basis
from iaemu_likelihood.emulator.expectation.layout import Array, Layout
from numpy.typing import NDArray
from torch import Tensor

# Mean number of galaxies at a site of a cell below which it is left out, if all cells behind it are, too.
_EMPTY = 1e-9
# Satellites per host grow nearly with its mass; with this power fewest empty cells are taken along.
_GROWTH = 0.8


class Cells:
    """The cells of a layout in the order in which they fill up.

    Parameters
    ----------
    layout : Layout
    satellites : Basis
        Whose groups of cells stay together.

    Attributes
    ----------
    layout : Layout
        The same with its cells in this order.
    """

    def __init__(self, layout: Layout, satellites: Basis) -> None:
        self._first = satellites.first_set
        rank = np.full(layout.n_cells, np.inf)
        ranks = np.arange(len(layout.cell_of_rank)) + 1
        ranks -= np.repeat(layout.first_rank[:-1], layout.max_richness)
        np.minimum.at(rank, layout.cell_of_rank, ranks)
        np.minimum.at(rank, layout.cell_of_class, layout.richness + 1)
        filling = np.log10(rank) - _GROWTH * layout.logM[layout.cell_interval]
        group = np.repeat(np.arange(satellites.n_groups), np.diff(self._first))
        self._order = np.lexsort((filling, group))
        place = np.argsort(self._order)
        self.layout = replace(
            layout,
            cell_of_rank=place[layout.cell_of_rank],
            cell_of_class=place[layout.cell_of_class],
        )

    def by_group(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """What is given for each cell of the original layout, (n_cells, ...), for those of each group."""
        return [values[self._order[low:high]] for low, high in pairwise(self._first)]

    def functions(self, satellites: Basis) -> list[Array]:
        """`Basis.projections` in this order."""
        return [
            projection[self._order[low:high] - low]
            for projection, (low, high) in zip(
                satellites.projections(), pairwise(self._first), strict=True
            )
        ]

    def filled(self, *held: Tensor) -> Filled:
        """The cells in which anything is held at any point, (n_points, n_cells) each, on the CPU."""
        occupied = np.zeros(self._first[-1], bool)
        for each in held:
            occupied |= (each.detach().numpy() > _EMPTY).any(axis=0)
        ends = np.where(occupied, np.arange(len(occupied)) + 1, 0)
        last = np.maximum(np.maximum.reduceat(ends, self._first[:-1]), self._first[:-1])
        return Filled(
            [slice(*x) for x in zip(self._first[:-1].tolist(), last.tolist(), strict=True)]
        )


class Filled(NamedTuple):
    """Which cells are occupied.

    Attributes
    ----------
    groups : list of slice
        The leading cells of each group.
    """

    groups: list[slice]

    def sums(self, held: Tensor, tables: list[Tensor], n_common: int = 0) -> tuple[Tensor, Tensor]:
        """Sums over cells, differentiable once.

        Parameters
        ----------
        held : torch.Tensor, shape (n_points, n_cells)
            What cells hold.
        tables : list of torch.Tensor, shape (n_cells of the group, n_columns of the group)
            For each group.
        n_common : int
            How many leading columns are the same in all groups, and summed over all.

        Returns
        -------
        common : torch.Tensor, shape (n_points, n_common)
        own : torch.Tensor, shape (n_points, number of all other columns)
            Sums over one group each.
        """
        found: tuple[Tensor, Tensor] = _Sums.apply(held, self.groups, tables, n_common)
        return found


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, held: Tensor, groups: list[slice], tables: list[Tensor], n_common: int
    ) -> tuple[Tensor, Tensor]:
        filled = [
            (cells, table[: cells.stop - cells.start])
            for cells, table in zip(groups, tables, strict=True)
        ]
        ctx.filled, ctx.shape, ctx.n_common = filled, held.shape, n_common
        each = [held[:, cells] @ table for cells, table in filled]
        common = torch.stack([x[:, :n_common] for x in each]).sum(dim=0)
        return common, torch.cat([x[:, n_common:] for x in each], dim=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_common: Tensor, of_own: Tensor) -> tuple[Tensor, None, None, None]:
        found = of_own.new_zeros(ctx.shape)
        sizes = [table.shape[1] - ctx.n_common for _, table in ctx.filled]
        for (cells, table), own in zip(ctx.filled, of_own.split(sizes, dim=1), strict=True):
            found[:, cells] = torch.cat([of_common, own], dim=1) @ table.mT
        return found, None, None, None
