"""A small emulator of another kind, to hold the networks against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Array = NDArray[np.float64]

# Points from which length scales and noise are found; all points are then conditioned on.
N_HYPER = 250
MAX_ITERATIONS = 50


@dataclass(frozen=True)
class GaussianProcesses:
    """Exact Gaussian processes on the principal components of templates.

    One process per component, with a squared exponential kernel of one length scale per parameter,
    an amplitude and a white noise, all by maximum marginal likelihood.

    Attributes
    ----------
    x : ndarray, shape (n, n_parameters)
        Training points in the unit cube.
    log_scales : ndarray, shape (n_components, n_parameters)
    weights : ndarray, shape (n_components, n)
        Inverse covariance times training values, times the amplitude.
    components : ndarray, shape (n_components, n_values)
        From components to scaled templates.
    mean, scale : ndarray, shape (n_values,)
        Of the scaled templates.
    """

    x: Array
    log_scales: Array
    weights: Array
    components: Array
    mean: Array
    scale: Array

    @classmethod
    def fit(cls, x: Array, templates: Array, n_components: int = 40) -> GaussianProcesses:
        """Condition on templates.

        Parameters
        ----------
        x : ndarray, shape (n, n_parameters)
            Parameters mapped to [-1, 1].
        templates : ndarray, shape (n, 6, n_bins)
            xi is emulated as log(1 + xi); each bin is scaled to unit variance.
        n_components : int
            Principal components to keep; what the others hold is lost.
        """
        values = _scaled(templates)
        mean, scale = values.mean(axis=0), values.std(axis=0)
        _, sizes, rows = np.linalg.svd((values - mean) / scale, full_matrices=False)
        # Coefficients of unit variance.
        components = rows[:n_components] * (sizes[:n_components, None] / np.sqrt(len(x)))
        targets = (values - mean) / scale @ np.linalg.pinv(components)
        log_scales, weights = [], []
        for y in targets.T:
            found = _maximise(x[:N_HYPER], y[:N_HYPER])
            covariance, _ = _kernel(x, x, found[:-2])
            covariance = np.exp(found[-2]) * covariance + np.exp(found[-1]) * np.eye(len(x))
            weights.append(np.exp(found[-2]) * cho_solve(cho_factor(covariance), y))
            log_scales.append(found[:-2])
        return cls(x, np.array(log_scales), np.array(weights), components, mean, scale)

    def predict(self, x: Array) -> Array:
        """Templates at points of the unit cube, shape (m, n_parameters) to (m, 6, n_bins)."""
        pairs = zip(self.log_scales, self.weights, strict=True)
        found = np.stack([_kernel(x, self.x, scales)[0] @ w for scales, w in pairs], axis=1)
        values = (found @ self.components * self.scale + self.mean).reshape(len(x), 6, -1)
        values[:, 0] = np.expm1(values[:, 0])
        return values


def _scaled(templates: Array) -> Array:
    values = templates.astype(np.float64)
    values[:, 0] = np.log1p(values[:, 0])
    return values.reshape(len(values), -1)


def _kernel(x: Array, z: Array, log_scales: Array) -> tuple[Array, Array]:
    """Squared exponential of the distance, and both sides in units of the length scales."""
    a, b = x / np.exp(log_scales), z / np.exp(log_scales)
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.exp(-0.5 * np.maximum(square, 0)), a


def _maximise(x: Array, y: Array) -> Array:
    """Logarithms of length scales, amplitude^2 and noise^2 of the largest marginal likelihood."""
    identity = np.eye(len(x))

    def negative(parameters: Array) -> tuple[float, Array]:
        correlation, a = _kernel(x, x, parameters[:-2])
        signal, noise = np.exp(parameters[-2]) * correlation, np.exp(parameters[-1])
        factor = cho_factor(signal + noise * identity, lower=True)
        inverse = cho_solve(factor, identity)
        weights = inverse @ y
        value = 0.5 * y @ weights + np.log(np.diag(factor[0])).sum()
        # d value = tr(outer dK) / 2, and dK / d log scale is K times the squared distance along it.
        outer = inverse - np.outer(weights, weights)
        product = outer * signal
        sums = product.sum(axis=1)
        distance = sums @ a**2 - np.einsum("ip,ij,jp->p", a, product, a, optimize=True)
        gradient = [*distance, 0.5 * product.sum(), 0.5 * noise * np.trace(outer)]
        return float(value), np.array(gradient)

    n = x.shape[1]
    start = np.array([*np.full(n, np.log(2.0)), 1.0, np.log(1e-4)])
    bounds = [(np.log(0.1), np.log(100.0))] * n + [(-5.0, 12.0), (np.log(1e-8), 0.0)]
    return minimize(
        negative, start, jac=True, bounds=bounds, method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS},
    ).x  # fmt: skip
