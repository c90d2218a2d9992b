"""The Gaussian likelihood of a data vector, without any framework around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

Array = NDArray[np.float64]


class GaussianLikelihood:
    """Gaussian likelihood with a fixed covariance.

    Parameters
    ----------
    data : ndarray, shape (n,)
    covariance : ndarray, shape (n, n)
        Symmetric and positive definite.
    normalized : bool
        Add -log det(2 pi C) / 2 to the log-likelihood. Without it, -2 log L is chi^2.
    """

    def __init__(self, data: Array, covariance: Array, normalized: bool = False) -> None:
        self.data = data
        self.covariance = covariance
        factor = cholesky(covariance, lower=True)
        # Data points are few: whitening by a matrix product beats two triangular solves.
        self._whiten = solve_triangular(factor, np.eye(len(data)), lower=True)
        log_determinant = 2 * np.log(np.diag(factor)).sum() + len(data) * np.log(2 * np.pi)
        self._constant = -0.5 * float(log_determinant) if normalized else 0.0

    def chi2(self, model: Array) -> Array:
        """chi^2 of model vectors, shape (..., n) to (...)."""
        residual = (model - self.data) @ self._whiten.T
        return np.einsum("...i,...i->...", residual, residual)

    def log_likelihood(self, model: Array) -> Array:
        """Natural logarithm of the likelihood, shape (..., n) to (...)."""
        return self._constant - 0.5 * self.chi2(model)
