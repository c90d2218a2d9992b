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
        first = self._first[:-1]
        last = np.maximum(np.maximum.reduceat(ends, first), first)
        cells = [np.arange(*x) for x in zip(first, last, strict=True)]
        return Filled(torch.as_tensor(np.concatenate(cells)), (last - first).tolist())


class Filled(NamedTuple):
    """Which cells are occupied.

    Attributes
    ----------
    cells : torch.Tensor, shape (n_filled,)
        Their places, on the CPU: the leading cells of each group.
    sizes : list of int
        How many of them are in each group.
    """

    cells: Tensor
    sizes: list[int]

    def sums(self, held: Tensor, tables: list[Tensor], n_common: int = 0) -> tuple[Tensor, Tensor]:
        """Sums over cells, differentiable once.

        Parameters
        ----------
        held : torch.Tensor, shape (n_points, n_filled)
            What these cells hold.
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
        filled = [table[:size] for table, size in zip(tables, self.sizes, strict=True)]
        found: tuple[Tensor, Tensor] = _Sums.apply(held, filled, n_common)
        return found


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, held: Tensor, tables: list[Tensor], n_common: int
    ) -> tuple[Tensor, Tensor]:
        ctx.tables, ctx.n_common = tables, n_common
        parts = held.split([len(table) for table in tables], dim=1)
        each = [part @ table for part, table in zip(parts, tables, strict=True)]
        common = torch.stack([x[:, :n_common] for x in each]).sum(dim=0)
        return common, torch.cat([x[:, n_common:] for x in each], dim=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_common: Tensor, of_own: Tensor) -> tuple[Tensor, None, None]:
        of_groups = of_own.split([x.shape[1] - ctx.n_common for x in ctx.tables], dim=1)
        found = [
            torch.cat([of_common, own], dim=1) @ table.mT
            for own, table in zip(of_groups, ctx.tables, strict=True)
        ]
        return torch.cat(found, dim=1), None, None
