"""The log-likelihood where nothing but the alignment strengths varies, in closed form.

With occupation and covariance fixed, the predicted data vector is linear in products of P2(mu_cen) and
P2(mu_sat) (see `iaemu_likelihood.emulator.templates`), so a Gaussian log-likelihood is a quadratic
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

from iaemu_likelihood.correlations import CorrelationLikelihood, CorrelationModel
from iaemu_likelihood.emulator.estimators import STATISTICS
from iaemu_likelihood.emulator.prediction import TemplatesEmulator
from iaemu_likelihood.emulator.templates import TEMPLATES_OF
from iaemu_likelihood.emulator.watson import p2_and_slope

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FixedOccupation:
    """Log-likelihood and gradient in the alignment strengths of some samples.

    Attributes
    ----------
    strengths : list of (int or float, int or float)
        mu_cen and mu_sat of each sample: the column of the points (int), or a value (float).
    matrix : ndarray, shape (6 n_samples, 6 n_samples)
    vector : ndarray, shape (6 n_samples,)
    constant : float
        log L = constant + vector w - w matrix w / 2, with w the six products of each sample.
    """

    strengths: list[tuple[int | float, int | float]]
    matrix: Array
    vector: Array
    constant: float

    @classmethod
    def of(
        cls,
        likelihoods: Sequence[CorrelationLikelihood],
        models: Mapping[str | None, tuple[CorrelationModel, Tensor]],
        strengths: Mapping[str | None, tuple[int | float, int | float]],
    ) -> FixedOccupation:
        """Compute what does not depend on the strengths.

        Parameters
        ----------
        likelihoods : sequence of CorrelationLikelihood
            Gaussian, and without the emulator's covariance.
        models : mapping
            By sample: the model, of templates, and the occupation parameters, (1, 5).
        strengths : mapping
            By sample; see the attribute.
        """
        labels = list(models)
        size = 6 * len(labels)
        matrix, vector, constant = np.zeros((size, size)), np.zeros(size), 0.0
        with torch.no_grad():
            products = {label: _products(*models[label]) for label in labels}
            for core in likelihoods:
                basis = torch.zeros(size, len(core.data.values), dtype=torch.float64)
                for part in core.data.parts:
                    first = 6 * labels.index(part.sample)
                    moments = []
                    for other in core.data.parts:
                        model, hod = models[other.sample]
                        found = products[other.sample] * float(other is part)
                        occupied = model.at(hod)
                        moments.append(
                            occupied.binned((found, {}), other.statistics, other.r_edges)
                        )
                    basis[first : first + 6] += core.model(moments)[0]
                a, b, c = core.gaussian.quadratic(basis)
                matrix, vector, constant = matrix + a, vector + b, constant + c
        return cls([strengths[label] for label in labels], matrix, vector, constant)

    def __call__(self, points: Array) -> tuple[Array, Array]:
        """Log-likelihood, (n,), and its gradient, (n, d), at points (n, d)."""
        n = len(points)
        weights, slopes = np.empty((n, len(self.vector))), []
        for i, pair in enumerate(self.strengths):
            mu = np.empty((n, 2))
            for k, x in enumerate(pair):
                mu[:, k] = points[:, x] if isinstance(x, int) else x
            p2, slope = p2_and_slope(mu)
            c, s = p2.T
            w, of = weights[:, 6 * i : 6 * i + 6], np.zeros((n, 2, 6))
            w[:, 0], w[:, 1], w[:, 2], w[:, 3], w[:, 4], w[:, 5] = 1, c, s, c * c, c * s, s * s
            of[:, 0, 1], of[:, 0, 3], of[:, 0, 4] = 1, 2 * c, s
            of[:, 1, 2], of[:, 1, 4], of[:, 1, 5] = 1, c, 2 * s
            slopes.append(of * slope[:, :, None])
        half = weights @ self.matrix
        value = self.constant + weights @ self.vector - 0.5 * (half * weights).sum(1)
        by_weight = self.vector - half
        gradient = np.zeros_like(points)
        for i, (pair, of) in enumerate(zip(self.strengths, slopes, strict=True)):
            of_mu = (of @ by_weight[:, 6 * i : 6 * i + 6, None])[..., 0]
            for k, x in enumerate(pair):
                if isinstance(x, int):
                    gradient[:, x] += of_mu[:, k]
        return value, gradient


def _products(model: CorrelationModel, hod: Tensor) -> Tensor:
    """What each of the six products is multiplied with, (6, n_statistics, n_bins)."""
    assert isinstance(model.emulator, TemplatesEmulator)
    templates = model.emulator.templates(hod).mean(0)[0]
    result = torch.zeros(6, len(model.statistics), templates.shape[-1], dtype=torch.float64)
    for i, statistic in enumerate(model.statistics):
        for k in TEMPLATES_OF[STATISTICS.index(statistic)]:
            result[k, i] = templates[k]
    return result


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
