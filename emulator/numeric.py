"""Functions of numpy in a graph of torch: their values, and gradients by central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


class Numeric(torch.autograd.Function):
    """A numpy function of points, (n, d) to (n, k), each row by itself, that torch differentiates.

    It serves for functions that only know arrays: occupations, priors of users, and parameters that
    depend on others. Call it by ``Numeric.apply(points, function)``.
    """

    @staticmethod
    def forward(ctx: Any, points: Tensor, function: Callable[[Array], Array]) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(points)
        return torch.as_tensor(function(points.detach().cpu().numpy()), device=points.device)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (points,) = ctx.saved_tensors
        at = points.detach().cpu().numpy()
        weight, slopes = gradient.cpu().numpy(), np.empty_like(at)
        for i in range(at.shape[1]):
            step = np.zeros_like(at)
            step[:, i] = 1e-6 * np.maximum(np.abs(at[:, i]), 1e-2)
            with np.errstate(invalid="ignore"):  # from points outside, which need no gradient
                slope = (ctx.function(at + step) - ctx.function(at - step)) / (2 * step[:, [i]])
                slopes[:, i] = np.where(weight != 0, weight * slope, 0).sum(1)
        return torch.as_tensor(slopes, device=points.device), None
