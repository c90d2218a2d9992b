"""The log-likelihood where nothing but the alignment strengths varies, in closed form.

With occupation and covariance fixed, the predicted data vector is linear in products of P2(mu_cen) and
P2(mu_sat) (see `iaemu_likelihood.emulator.templates`), so a Gaussian log-likelihood is a quadratic
form in these, whatever the number of data points; and so is its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iaemu_likelihood.correlations import CorrelationLikelihood, CorrelationModel
from iaemu_likelihood.emulator.estimators import STATISTICS
from iaemu_likelihood.emulator.prediction import TemplatesEmulator
from iaemu_likelihood.emulator.templates import TEMPLATES_OF
from iaemu_likelihood.emulator.watson import p2_series

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
        columns = np.array([[x if isinstance(x, int) else -1 for x in p] for p in self.strengths])
        known = np.array(self.strengths, np.float64)
        value, gradient = np.empty(len(points)), np.zeros(points.shape)
        _evaluate(
            np.ascontiguousarray(points), columns, known, p2_series(), self.matrix, self.vector, self.constant,
            value, gradient,
        )  # fmt: skip
        return value, gradient


@numba.njit(cache=True)
def _evaluate(points: Array, columns: Any, known: Array, series: Array, matrix: Array,
              vector: Array, constant: float, value: Array, gradient: Array) -> None:  # fmt: skip
    """Point by point: a single one, which NUTS asks for, costs numpy more calls than arithmetic."""
    size = len(vector)
    w, of_w = np.empty(size), np.empty(size)
    slope = np.empty(columns.shape)
    for n in range(len(points)):
        for i in range(len(columns)):
            p2 = np.empty(2)
            for k in range(2):
                mu = points[n, columns[i, k]] if columns[i, k] >= 0 else known[i, k]
                if not -1 <= mu <= 1:
                    mu = np.nan
                # Clenshaw's recurrence, of the value and of the slope.
                a0, a1, b0, b1 = 0.0, 0.0, 0.0, 0.0
                for m in range(len(series) - 1, 0, -1):
                    a0, a1 = series[m, 0] + 2 * mu * a0 - a1, a0
                    b0, b1 = series[m, 1] + 2 * mu * b0 - b1, b0
                p2[k] = series[0, 0] + mu * a0 - a1
                slope[i, k] = series[0, 1] + mu * b0 - b1
            c, s = p2
            w[6 * i : 6 * i + 6] = (1.0, c, s, c * c, c * s, s * s)
        total = constant
        for a in range(size):
            product = 0.0
            for b in range(size):
                product += matrix[a, b] * w[b]
            total += w[a] * (vector[a] - product / 2)
            of_w[a] = vector[a] - product
        value[n] = total
        for i in range(len(columns)):
            c, s, g = w[6 * i + 1], w[6 * i + 2], of_w[6 * i : 6 * i + 6]
            if columns[i, 0] >= 0:
                gradient[n, columns[i, 0]] += (g[1] + 2 * c * g[3] + s * g[4]) * slope[i, 0]
            if columns[i, 1] >= 0:
                gradient[n, columns[i, 1]] += (g[2] + c * g[4] + 2 * s * g[5]) * slope[i, 1]


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
