"""How often sites are occupied, as tensors that have a gradient."""

from __future__ import annotations

from typing import Any

import torch
from iaemu_likelihood.emulator.expectation.layout import Layout
from torch import Tensor


class _Occupied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        ctx.layout = layout
        ctx.save_for_backward(mean)
        in_cells, pairs = layout.occupied(mean.detach().numpy())
        return torch.from_numpy(in_cells), torch.from_numpy(pairs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_cells: Tensor, of_pairs: Tensor) -> tuple[Tensor, None]:
        (mean,) = ctx.saved_tensors
        each = (x.contiguous().numpy() for x in (mean.detach(), of_cells, of_pairs))
        return torch.from_numpy(ctx.layout.slope_of_occupied(*each)), None


def occupied_sites(mean: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """`Layout.occupied` of a tensor, shape (n_points, n_intervals), float64, on the CPU."""
    found: tuple[Tensor, Tensor] = _Occupied.apply(mean, layout)
    return found
