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
        weight, slopes, steps = gradient.cpu().numpy(), np.empty_like(at), _steps(at)
        for i in range(at.shape[1]):
            step = np.zeros_like(at)
            step[:, i] = steps[:, i]
            slopes[:, i] = _weighted_slopes(ctx.function, at, step, steps[:, [i]], weight).sum(1)
        return torch.as_tensor(slopes, device=points.device), None


class Columnwise(torch.autograd.Function):
    """A numpy function of each column of points by itself, (n, d) to (n, d); see `Numeric`.

    The slopes in all columns take two calls of the function, where `Numeric` takes two for each.
    """

    @staticmethod
    def forward(ctx: Any, points: Tensor, function: Callable[[Array], Array]) -> Tensor:
        return Numeric.forward(ctx, points, function)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (points,) = ctx.saved_tensors
        at = points.detach().cpu().numpy()
        steps = _steps(at)
        slopes = _weighted_slopes(ctx.function, at, steps, steps, gradient.cpu().numpy())
        return torch.as_tensor(slopes, device=points.device), None


def _steps(at: Array) -> Array:
    """Of a central difference in each number."""
    steps: Array = 1e-6 * np.maximum(np.abs(at), 1e-2)
    return steps


def _weighted_slopes(
    function: Callable[[Array], Array], at: Array, step: Array, length: Array, weight: Array
) -> Array:
    """Central differences along a step, 0 where their weight is."""
    with np.errstate(invalid="ignore"):  # from points outside, which need no gradient
        slope = (function(at + step) - function(at - step)) / (2 * length)
        return np.where(weight != 0, weight * slope, 0)
