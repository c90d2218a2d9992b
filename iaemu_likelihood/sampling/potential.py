"""Minus the log-posterior in unbounded numbers, which NUTS samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iaemu_likelihood.likelihood.fixed_occupation import FixedOccupation
from iaemu_likelihood.sampling.posterior import Posterior
from iaemu_likelihood.sampling.unconstrained import Function, Unconstrained

Array = NDArray[np.float64]


def potential_of(target: Posterior) -> tuple[Any, Unconstrained]:
    """Minus the log-posterior in unconstrained numbers, which Pyro samples, and the map from these.

    The constant of a flat prior, `Unconstrained.left_out`, is left out.
    """
    constrain = Unconstrained(target)
    function = None
    if constrain.stays_inside:
        closed = target.closed_form or _at_fixed_occupation(target)
        function = None if closed is None else constrain.composed(closed.at)
    density = target.log_likelihood_inside if constrain.stays_inside else target.log_prob

    def potential(z: dict[str, Tensor]) -> Tensor:
        if function is not None:
            return _Potential.apply(z["z"], function)
        point, jacobian = constrain(z["z"])
        return -(density(point[None])[0] + jacobian)

    return potential, constrain


def _at_fixed_occupation(target: Posterior) -> FixedOccupation | None:
    """The likelihood with a fast gradient, if only alignment strengths vary."""
    if any(bins.is_projected for core in target.likelihoods for bins in core.bins):
        return None
    at = target.at_fixed_occupation()
    if at is None:
        return None
    models, strengths = at
    arrays = {label: (model, hod.numpy()) for label, (model, hod) in models.items()}
    return FixedOccupation(target.likelihoods, arrays, strengths)


class _Potential(torch.autograd.Function):
    """Minus a `Function` of a tensor, as a single node of the graph, since each node takes time."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, function: Function) -> Tensor:
        value, gradient = function(z.detach().numpy())
        ctx.slope = torch.from_numpy(-gradient)
        return torch.tensor(-value, dtype=torch.float64)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.slope, None
