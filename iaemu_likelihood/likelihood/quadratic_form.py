"""The log-likelihood where nothing but the alignment strengths varies, in closed form.

With occupation and covariance fixed, the predicted data vector is linear in products of P2(mu_cen) and
P2(mu_sat) (see `iaemu_likelihood.emulator.physics.templates`), so a Gaussian log-likelihood is a quadratic
form in these, whatever the number of data points; and so is its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iaemu_likelihood.emulator.mocks.estimators import STATISTICS
from iaemu_likelihood.emulator.models.base import TemplatesEmulator
from iaemu_likelihood.emulator.physics.templates import FACTORS_OF, TEMPLATES_OF
from iaemu_likelihood.emulator.physics.watson import p2_and_slope
from iaemu_likelihood.likelihood.core import CorrelationLikelihood, CorrelationModel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FixedOccupation:
    """Log-likelihood and gradient in the alignment strengths of some samples.

    With u = (1, P2(mu_cen), P2(mu_sat)) and w the nine products of two of these, of every sample,
    log L = constant + vector w - w matrix w / 2.

    Attributes
    ----------
    to_mu : ndarray, shape (n_parameters, 2 n_samples)
    offset : ndarray, shape (2 n_samples,)
        mu_cen and mu_sat of each sample are points @ to_mu + offset.
    matrix : ndarray, shape (9 n_samples, 9 n_samples)
        Like the vector symmetric in the factors of each product.
    vector : ndarray, shape (9 n_samples,)
    constant : float
    """

    to_mu: Array
    offset: Array
    matrix: Array
    vector: Array
    constant: float

    @classmethod
    def of(
        cls,
        likelihoods: Sequence[CorrelationLikelihood],
        models: Mapping[str | None, tuple[CorrelationModel, Tensor]],
        strengths: Mapping[str | None, tuple[int | float, int | float]],
        n_parameters: int,
    ) -> FixedOccupation:
        """Compute what does not depend on the strengths.

        Parameters
        ----------
        likelihoods : sequence of CorrelationLikelihood
            Gaussian, and without the emulator's covariance.
        models : mapping
            By sample: the model, of templates, and the occupation parameters, (1, 5).
        strengths : mapping
            By sample: the column of the points (int), or the value (float), of mu_cen and mu_sat.
        n_parameters : int
            Columns of the points.
        """
        labels = list(models)
        size = 9 * len(labels)
        matrix, vector, constant = np.zeros((size, size)), np.zeros(size), 0.0
        with torch.no_grad():
            products = {label: _products(*models[label]) for label in labels}
            for core in likelihoods:
                basis = torch.zeros(size, len(core.data.values), dtype=torch.float64)
                for part in core.data.parts:
                    first = 9 * labels.index(part.sample)
                    moments = []
                    for other in core.data.parts:
                        model, hod = models[other.sample]
                        found = products[other.sample] * float(other is part)
                        occupied = model.at(hod)
                        moments.append(
                            occupied.binned((found, {}), other.statistics, other.r_edges)
                        )
                    basis[first : first + 9] += core.model(moments)[0]
                a, b, c = core.gaussian.quadratic(basis)
                matrix, vector, constant = matrix + a, vector + b, constant + c
        each = [x for label in labels for x in strengths[label]]
        to_mu, offset = np.zeros((n_parameters, len(each))), np.zeros(len(each))
        for i, x in enumerate(each):
            if isinstance(x, int):
                to_mu[x, i] = 1
            else:
                offset[i] = x
        return cls(to_mu, offset, matrix, vector, constant)

    def __call__(self, points: Array) -> tuple[Array, Array]:
        """Log-likelihood, (n,), and its gradient, (n, d), at points (n, d)."""
        p2, slope = p2_and_slope(points @ self.to_mu + self.offset)
        n, size = p2.shape
        u = np.ones((n, size // 2, 3))
        u[..., 1:] = p2.reshape(n, -1, 2)
        w = (u[..., None] * u[..., None, :]).reshape(n, -1)
        half = w @ self.matrix
        of_w = self.vector - half
        value = self.constant + ((of_w + self.vector) * w).sum(1) / 2
        # Both factors of a product, which are alike.
        of_u = 2 * (of_w.reshape(n, -1, 3, 3)[..., 1:, :] * u[..., None, :]).sum(-1)
        return value, (of_u.reshape(n, size) * slope) @ self.to_mu.T

    def at(self, point: Array) -> tuple[float, Array]:
        """As `__call__`, at one point (d,)."""
        value, gradient = self(point[None])
        return float(value[0]), gradient[0]


def _products(model: CorrelationModel, hod: Tensor) -> Tensor:
    """What each of the nine products is multiplied with, (9, n_statistics, n_bins)."""
    assert isinstance(model.emulator, TemplatesEmulator)
    templates = model.emulator.templates(hod).mean(0)[0]
    result = torch.zeros(3, 3, len(model.statistics), templates.shape[-1], dtype=torch.float64)
    for i, statistic in enumerate(model.statistics):
        for k in TEMPLATES_OF[STATISTICS.index(statistic)]:
            a, b = FACTORS_OF[k]
            result[a, b, i] += templates[k] / 2
            result[b, a, i] += templates[k] / 2
    return result.flatten(0, 1)


class Evaluate(torch.autograd.Function):
    """A `FixedOccupation` at tensors, differentiable once."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, function: FixedOccupation) -> Tensor:
        value, gradient = function(points.detach().numpy())
        ctx.save_for_backward(torch.from_numpy(gradient))
        return torch.from_numpy(value)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradient[:, None] * slope, None
