"""The log-likelihood in closed form, for runs in which only the alignment varies.

With occupation and covariance fixed, the predicted data vector is linear in products of two
strengths (see `iaemu_likelihood.emulator.physics.templates`). A Gaussian log-likelihood is then a
quadratic form in these products, so the time for its value and gradient does not depend on the
number of data points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iaemu_likelihood.emulator.models import TemplatesEmulator
from iaemu_likelihood.emulator.physics.statistics import Template
from iaemu_likelihood.emulator.physics.templates import degrees_of, templates_of
from iaemu_likelihood.emulator.physics.watson import legendre_and_slope
from iaemu_likelihood.likelihood.core import CorrelationLikelihood
from iaemu_likelihood.likelihood.model import CorrelationModel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class QuadraticForm:
    """Log-likelihood and gradient in the alignment parameters of some samples.

    Let u be the strengths of a sample: 1, then the amplitudes of centrals and those of satellites,
    each for k degrees. Let w be the products of two of these, for all samples. Then
    log L = constant + vector w - w matrix w / 2.

    Attributes
    ----------
    to_mu : ndarray, shape (n_parameters, n_alignment n_samples)
    offset : ndarray, shape (n_alignment n_samples,)
        The alignment parameters of the samples are points @ to_mu + offset.
    degrees : tuple of int
        Degrees of the amplitudes.
    matrix : ndarray, shape ((1 + 2 k)^2 n_samples, (1 + 2 k)^2 n_samples)
        Like the vector, it is symmetric in the two factors of each product.
    vector : ndarray, shape ((1 + 2 k)^2 n_samples,)
    constant : float
    """

    to_mu: Array
    offset: Array
    degrees: tuple[int, ...]
    matrix: Array
    vector: Array
    constant: float

    @classmethod
    def of(
        cls,
        likelihoods: Sequence[CorrelationLikelihood],
        models: Mapping[str | None, tuple[CorrelationModel, Tensor]],
        strengths: Mapping[str | None, Sequence[int | float]],
        n_parameters: int,
    ) -> QuadraticForm:
        """Compute the parts that do not depend on the alignment.

        Parameters
        ----------
        likelihoods : sequence of CorrelationLikelihood
            Gaussian, and without the emulator's covariance.
        models : mapping
            By sample: the model, of kind `templates`, and occupation parameters, (1, n_occupation).
        strengths : mapping
            By sample, for each alignment parameter: its column in the points (int) or its value
            (float).
        n_parameters : int
            Number of columns of the points.
        """
        labels = list(models)
        every = dict.fromkeys(s for x, _ in models.values() for s in x.emulator.statistics)
        degrees = degrees_of(tuple(every))
        n_products = (1 + 2 * len(degrees)) ** 2
        size = n_products * len(labels)
        matrix, vector, constant = np.zeros((size, size)), np.zeros(size), 0.0
        with torch.no_grad():
            products = {label: _products(*models[label], degrees) for label in labels}
            for core in likelihoods:
                basis = torch.zeros(size, len(core.data.values), dtype=torch.float64)
                for part in core.data.parts:
                    first = n_products * labels.index(part.sample)
                    moments = []
                    for other in core.data.parts:
                        model, hod = models[other.sample]
                        found = products[other.sample] * float(other is part)
                        occupied = model.at(hod)
                        moments.append(
                            occupied.binned((found, {}), other.statistics, other.r_edges)
                        )
                    basis[first : first + n_products] += core.model(moments)[0]
                a, b, c = core.comparison.quadratic(basis)
                matrix, vector, constant = matrix + a, vector + b, constant + c
                if core.number_densities is not None:  # which does not depend on the alignment
                    densities = [
                        torch.as_tensor(models[sample][0].at(models[sample][1]).number_density)
                        for sample in core.dense_samples
                    ]
                    constant += float(core.number_densities(torch.stack(densities, -1))[0])
        each = [x for label in labels for x in strengths[label]]
        to_mu, offset = np.zeros((n_parameters, len(each))), np.zeros(len(each))
        for i, x in enumerate(each):
            if isinstance(x, int):
                to_mu[x, i] = 1
            else:
                offset[i] = x
        return cls(to_mu, offset, degrees, matrix, vector, constant)

    def __call__(self, points: Array) -> tuple[Array, Array]:
        """Log-likelihood, (n,), and its gradient, (n, d), at points (n, d)."""
        amplitudes, slopes = legendre_and_slope(points @ self.to_mu + self.offset, self.degrees)
        n, size, k = slopes.shape
        u = np.ones((n, size // 2, 1 + 2 * k))
        u[..., 1:] = amplitudes.reshape(n, -1, 2 * k)
        w = (u[..., None] * u[..., None, :]).reshape(n, -1)
        half = w @ self.matrix
        of_w = self.vector - half
        value = self.constant + ((of_w + self.vector) * w).sum(1) / 2
        # The derivative counts both factors of a product, in which the form is symmetric.
        square = of_w.reshape(n, -1, 1 + 2 * k, 1 + 2 * k)
        of_u = 2 * (square[..., 1:, :] @ u[..., None])
        of_mu = (of_u.reshape(n, size, k) * slopes).sum(-1)
        return value, of_mu @ self.to_mu.T

    def at(self, point: Array) -> tuple[float, Array]:
        """As `__call__`, at one point (d,)."""
        value, gradient = self(point[None])
        return float(value[0]), gradient[0]


def _products(model: CorrelationModel, hod: Tensor, degrees: Sequence[int]) -> Tensor:
    """Coefficient of each product of strengths, (n_products, n_statistics, n_bins)."""
    emulator = model.emulator
    assert isinstance(emulator, TemplatesEmulator)
    templates = emulator.templates(hod).mean(0)[0]
    every = templates_of(emulator.statistics)
    n = 1 + 2 * len(degrees)
    result = torch.zeros(n, n, len(model.statistics), templates.shape[-1], dtype=torch.float64)
    for i, statistic in enumerate(model.statistics):
        for template in statistic.templates:
            a, b = _places(template, degrees)
            half = templates[every.index(template)] / 2
            result[a, b, i] += half
            result[b, a, i] += half
    return result.flatten(0, 1)


def _places(template: Template, degrees: Sequence[int]) -> tuple[int, int]:
    """Places, among the strengths of a sample, of the two that multiply a template."""
    each = zip(template.kinds, template.degrees, strict=True)
    places = [1 + kind * len(degrees) + degrees.index(degree) for kind, degree in each]
    *_, first, second = 0, 0, *places
    return first, second


class Evaluate(torch.autograd.Function):
    """A `QuadraticForm` at tensors, differentiable once."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, function: QuadraticForm) -> Tensor:
        value, gradient = function(points.detach().numpy())
        ctx.save_for_backward(torch.from_numpy(gradient))
        return torch.from_numpy(value)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradient[:, None] * slope, None
