r"""The likelihood of a data vector whose covariance was estimated, and may depend on the model.

Let C be the covariance of d data points, n the number of independent estimates behind it (jackknife
regions, say), and p the number of fitted parameters. In the order of `CORRECTIONS`, the likelihood
is

- none: Gaussian;
- hartlap: Gaussian, with C / h, h = (n - d - 2) / (n - 1), so that its inverse is unbiased
  (Hartlap, Simon & Schneider 2007, astro-ph/0608064);
- percival: :math:`(1 + \chi^2 / (n - 1))^{-m/2}`, m = p + 2 + (n - 1 + B (d - p)) / (1 + B (d - p)),
  B = (n - d - 2) / ((n - d - 1)(n - d - 4)), whose credible regions match confidence regions
  (Percival, Friedrich, Sellentin & Heavens 2022, arXiv:2108.10402);
- sellentin-heavens: :math:`(1 + \chi^2 / (n - 1))^{-n/2}`, with C marginalised
  (Sellentin & Heavens 2016, arXiv:1511.05969).

All corrections were derived for independent simulations. Jackknife regions are correlated with each
other, so for these the corrections are the usual approximation. A covariance of the model, which is
known exactly, is added to C after hartlap's scaling. percival and sellentin-heavens take chi^2 with
this sum.
"""

from __future__ import annotations

from math import lgamma, log, pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

CORRECTIONS = ("none", "hartlap", "percival", "sellentin-heavens")


def check_correction(correction: str, n_data: int, n_estimates: int | None) -> None:
    """Raise unless there are enough estimates for a correction.

    Parameters
    ----------
    correction : str
        One of `CORRECTIONS`.
    n_data : int
    n_estimates : int or None
        Number of independent estimates behind the covariance; None if it is not known.

    Raises
    ------
    ValueError
        If there is no such correction, or there are not enough estimates.
    """
    if correction not in CORRECTIONS:
        raise ValueError(
            f"covariance_correction must be one of {', '.join(CORRECTIONS)}; got {correction!r}."
        )
    if correction == "none":
        return
    if n_estimates is None:
        raise ValueError(
            f"covariance_correction: {correction} needs n_jackknife, the number of regions behind "
            "the covariance, in the file's metadata."
        )
    least = n_data + {"hartlap": 3, "percival": 5, "sellentin-heavens": 1}[correction]
    if n_estimates < least:
        raise ValueError(
            f"covariance_correction: {correction} needs at least {least} jackknife regions for "
            f"{n_data} data points; there are {n_estimates}. Cut the data, or measure with more."
        )


class EstimatedCovarianceLikelihood:
    """Likelihood of a data vector; see the head of this module for the corrections.

    Parameters
    ----------
    data : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)
        Symmetric and positive definite.
    normalized : bool
        Whether log-likelihoods are those of a normalised density; percival has no normalisation.
        Otherwise they are 0 where model and data agree and the model has no covariance of its own,
        so that a Gaussian without such a covariance has -2 log L = chi^2.
    correction : str
        One of `CORRECTIONS`.
    n_estimates : int, optional
        Number of independent estimates behind the covariance; needed by the corrections.
    n_parameters : int
        Number of fitted parameters; needed by percival.

    Attributes
    ----------
    covariance : ndarray, shape (d, d)
        After hartlap's scaling.

    Raises
    ------
    ValueError
        As `check_correction`; also if percival has more parameters than data or is to be
        normalised.
    """

    def __init__(
        self,
        data: Array,
        covariance: Array,
        normalized: bool = False,
        correction: str = "none",
        n_estimates: int | None = None,
        n_parameters: int = 0,
    ) -> None:
        d = len(data)
        check_correction(correction, d, n_estimates)
        if correction == "percival" and n_parameters > d:
            raise ValueError(
                f"covariance_correction: percival needs no more parameters than data points; there "
                f"are {n_parameters} and {d}."
            )
        if correction == "percival" and normalized:
            raise ValueError(
                "covariance_correction: percival is not a normalised density of the data. Set "
                "normalized: false."
            )
        n = n_estimates or 0
        if correction == "hartlap":
            covariance = covariance * (n - 1) / (n - d - 2)
        self.covariance = covariance
        # Power of 1 / (1 + chi^2 / (n - 1)), or None for a Gaussian.
        self._power: float | None = None
        self._n = n
        if correction == "sellentin-heavens":
            self._power = n / 2
        if correction == "percival":
            b = (n - d - 2) / ((n - d - 1) * (n - d - 4))
            excess = 1 + b * (d - n_parameters)
            self._power = (n_parameters + 2 + (n - 1 + b * (d - n_parameters)) / excess) / 2

        self._data, self._covariance = torch.as_tensor(data), torch.as_tensor(covariance)
        factor = torch.linalg.cholesky(self._covariance)
        # Data points are few: whitening by a matrix product beats two triangular solves.
        eye = torch.eye(d, dtype=torch.float64)
        self._whiten = torch.linalg.solve_triangular(factor, eye, upper=False)
        half_log_determinant = factor.diagonal().log().sum()
        self._constant = half_log_determinant
        if normalized:
            # A Gaussian, or a multivariate t distribution with n - d degrees of freedom.
            constant = -d / 2 * log(2 * pi)
            if self._power is not None:
                constant = lgamma(n / 2) - lgamma((n - d) / 2) - d / 2 * log((n - 1) * pi)
            self._constant = torch.tensor(constant, dtype=torch.float64)
        # For models without a covariance of their own.
        self._white_data = self._data @ self._whiten.mT
        self._norm = self._constant - half_log_determinant

    def __call__(self, model: Tensor, covariance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-likelihood and chi^2, differentiably.

        Parameters
        ----------
        model : torch.Tensor, shape (..., d), float64
        covariance : torch.Tensor, shape (..., d, d), optional
            Covariance of the model, added to that of the data.

        Returns
        -------
        log_likelihood, chi2 : torch.Tensor, shape (...)
            -inf and NaN where the sum of the covariances is not positive definite, which happens
            only far outside the domain of an emulator.
        """
        failed = None
        if covariance is None:
            white, norm = model @ self._whiten.mT - self._white_data, self._norm
        else:
            total = self._covariance + covariance
            try:
                factor = torch.linalg.cholesky(total)
            except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
                factor, failed = torch.linalg.cholesky_ex(total)
            residual = (model - self._data)[..., None]
            white = torch.linalg.solve_triangular(factor, residual, upper=False)[..., 0]
            norm = self._constant - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        chi2 = white.square().sum(-1)
        if self._power is None:
            value = torch.add(norm, chi2, alpha=-0.5)
        else:
            value = norm - self._power * torch.log1p(chi2 / (self._n - 1))
        if failed is not None:
            bad = failed > 0
            value, chi2 = torch.where(bad, -torch.inf, value), torch.where(bad, torch.nan, chi2)
        return value, chi2

    def slopes(
        self, model: Array, covariance: Array | None, of_model: Array, of_covariance: Array | None
    ) -> Array:
        """Derivatives of the log-likelihood by k parameters, from those of model and covariance.

        Parameters
        ----------
        model : ndarray, shape (d,)
        covariance : ndarray, shape (d, d), or None
            As in `__call__`.
        of_model : ndarray, shape (k, d)
        of_covariance : ndarray, shape (k, d, d), or None
            Their derivatives.

        Returns
        -------
        ndarray, shape (k,)
        """
        total = self.covariance if covariance is None else self.covariance + covariance
        inverse = np.linalg.inv(total)
        residual = model - self._data.numpy()
        weighted = inverse @ residual
        of_chi2, of_log_determinant = 2 * of_model @ weighted, 0.0
        if of_covariance is not None:
            of_chi2 -= of_covariance @ weighted @ weighted
            of_log_determinant = (of_covariance * inverse).sum((1, 2))
        factor = 0.5
        if self._power is not None:
            factor = self._power / (self._n - 1 + residual @ weighted)
        return -factor * of_chi2 - of_log_determinant / 2

    @property
    def is_gaussian(self) -> bool:
        """Whether the log-likelihood is quadratic in the model."""
        return self._power is None

    def quadratic(self, basis: Tensor) -> tuple[Array, Array, float]:
        """The log-likelihood of the linear model w basis, as c + b w - w A w / 2.

        Parameters
        ----------
        basis : torch.Tensor, shape (k, d)

        Returns
        -------
        A : ndarray, shape (k, k)
        b : ndarray, shape (k,)
        c : float
        """
        white = basis @ self._whiten.mT
        constant = self._norm - self._white_data.square().sum() / 2
        return (white @ white.mT).numpy(), (white @ self._white_data).numpy(), float(constant)
