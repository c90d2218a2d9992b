"""Measures of accuracy and calibration, with the formulas of the paper (IAEmu, arXiv:2504.05235).

Arrays have points along the first axis and bins along the second. NaN in either argument, such as
that of a bin without pairs, is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.validation.targets import PAPER_OUTLIERS
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import ndtr
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import spearmanr

Array = NDArray[Any]

# Fractions of a Gaussian within one and two standard deviations.
GAUSSIAN_COVERAGE = {1: 0.6827, 2: 0.9545}


# ---------------------------------------------------------------- accuracy


def fractional_error(prediction: Array, truth: Array) -> Array:
    """Signed error in units of the truth, (prediction - truth) / truth; NaN where it is 0."""
    y = np.asarray(truth, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(y != 0, np.asarray(prediction, np.float64) / y - 1, np.nan)


def mean_signed_fractional_error(prediction: Array, truth: Array, axis: int | None = None) -> Any:
    """Mean of the signed fractional error: errors of different sign cancel."""
    return np.nanmean(fractional_error(prediction, truth), axis=axis)


def mean_absolute_fractional_error(prediction: Array, truth: Array, axis: int | None = None) -> Any:
    """Mean of the absolute value of the fractional error."""
    return np.nanmean(np.abs(fractional_error(prediction, truth)), axis=axis)


def median_absolute_fractional_error(
    prediction: Array, truth: Array, axis: int | None = None
) -> Any:
    """Median of the absolute value of the fractional error."""
    return np.nanmedian(np.abs(fractional_error(prediction, truth)), axis=axis)


def smape(prediction: Array, truth: Array, axis: int | None = None) -> Any:
    """Symmetric mean absolute percentage error, mean 2 |y - p| / (|y| + |p| + 1e-8): 0 to 2."""
    p, y = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    return np.nanmean(2 * np.abs(y - p) / (np.abs(y) + np.abs(p) + 1e-8), axis=axis)


def nrmse(prediction: Array, truth: Array) -> Array:
    """Normalised root mean square error of each bin, sqrt(mean (y - p)^2 / mean y^2).

    Parameters
    ----------
    prediction, truth : ndarray, shape (n, n_bins)

    Returns
    -------
    ndarray, shape (n_bins,)
    """
    p, y = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    both = np.isfinite(p) & np.isfinite(y)
    square = np.where(both, (y - p) ** 2, 0).sum(axis=0)
    return np.sqrt(square / np.where(both, y**2, 0).sum(axis=0))


def spearman(prediction: Array, truth: Array) -> Array:
    """Spearman's rank correlation over the points, of each bin.

    Parameters
    ----------
    prediction, truth : ndarray, shape (n, n_bins)

    Returns
    -------
    ndarray, shape (n_bins,)
    """
    columns = zip(np.asarray(prediction).T, np.asarray(truth).T, strict=True)
    return np.array([spearmanr(p, y, nan_policy="omit").statistic for p, y in columns])


def median_residual(prediction: Array, truth: Array, sigma: Array, axis: int | None = None) -> Any:
    """Median of (prediction - truth) / sigma, signed."""
    residual = np.asarray(prediction, np.float64) - truth
    return np.nanmedian(residual / np.asarray(sigma, np.float64), axis=axis)


def without_paper_outliers(name: str, prediction: Array, truth: Array) -> Array:
    """The truth, with NaN where the paper would remove the value from its statistics.

    The paper drops what it gets most wrong, values whose |fractional error| exceeds `PAPER_OUTLIERS`.
    This is for comparison with its numbers and never instead of the full ones.

    Parameters
    ----------
    name : str
        Of the statistic; nothing is removed where the paper has no limit.
    prediction, truth : ndarray, shape (n, n_bins)

    Returns
    -------
    ndarray, shape (n, n_bins)
    """
    removed = np.abs(fractional_error(prediction, truth)) > PAPER_OUTLIERS.get(name, np.inf)
    return np.where(removed, np.nan, np.asarray(truth, np.float64))


_BY_VALUE: tuple[Callable[..., Any], ...] = (
    mean_absolute_fractional_error,
    mean_signed_fractional_error,
    median_absolute_fractional_error,
    smape,
)
_BY_BIN: tuple[Callable[..., Array], ...] = (nrmse, spearman)
ACCURACY = tuple(function.__name__ for function in _BY_VALUE + _BY_BIN)


def accuracy(prediction: Array, truth: Array) -> dict[str, float | int | dict[str, Array]]:
    """Every measure of accuracy above.

    Parameters
    ----------
    prediction, truth : ndarray, shape (n, n_bins)

    Returns
    -------
    dict
        Each by its name, over all values (nrmse and spearman: the mean over bins); ``per_bin`` has
        them by name with shape (n_bins,); ``n_values`` is how many were counted, ``n_left_out`` how
        many were NaN.
    """
    per_bin = {f.__name__: f(prediction, truth, axis=0) for f in _BY_VALUE}
    per_bin |= {f.__name__: f(prediction, truth) for f in _BY_BIN}
    counted = np.isfinite(np.asarray(prediction, np.float64) * truth)
    return {
        **{f.__name__: float(f(prediction, truth)) for f in _BY_VALUE},
        **{f.__name__: float(np.nanmean(per_bin[f.__name__])) for f in _BY_BIN},
        "n_values": int(counted.sum()),
        "n_left_out": int((~counted).sum()),
        "per_bin": per_bin,
    }


# ---------------------------------------------------------------- calibration


def coverage(
    error: Array, sigma: Array, n_sigma: float, axis: int | tuple[int, ...] | None = None
) -> Any:
    """Fraction of errors whose absolute value is at most n_sigma standard deviations."""
    e, s = np.broadcast_arrays(np.asarray(error, np.float64), np.asarray(sigma, np.float64))
    counted = np.isfinite(e) & np.isfinite(s)
    within = counted & (np.abs(e) <= n_sigma * s)
    return within.sum(axis=axis) / counted.sum(axis=axis)


def pit(value: Array, mean: Array, sigma: Array) -> Array:
    """Probability integral transform: where a value lies in a Gaussian's cumulative distribution.

    Uniform in [0, 1] if the values are drawn from the predicted Gaussians; heaped at both ends if
    these are too narrow, in the middle if they are too wide.
    """
    return ndtr((np.asarray(value, np.float64) - mean) / sigma)


def gaussian_crps(value: Array, mean: Array, sigma: Array) -> Array:
    r"""Continuous ranked probability score of a Gaussian, in the units of the value.

    The integral over x of (F(x) - [x >= value])^2, in closed form
    sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)) with z = (value - mean) / sigma
    (Gneiting & Raftery 2007). Smaller is better; for sigma = 0 it is the absolute error.
    """
    s = np.asarray(sigma, np.float64)
    z = (np.asarray(value, np.float64) - mean) / s
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return s * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def chi2(residual: Array, covariance: Array) -> tuple[Array, Array]:
    """Chi^2 of residuals with a full covariance.

    Parameters
    ----------
    residual : ndarray, shape (n, n_data)
        Elements that are NaN are left out, with their rows and columns of the covariance.
    covariance : ndarray, shape (n_data, n_data)

    Returns
    -------
    chi2 : ndarray, shape (n,)
        NaN where the covariance is not positive definite.
    degrees : ndarray of int, shape (n,)
        Number of elements counted.
    """
    residuals, full = np.asarray(residual, np.float64), np.asarray(covariance, np.float64)
    counted = np.isfinite(residuals) & np.isfinite(np.diag(full))
    result = np.full(len(residuals), np.nan)
    for pattern in np.unique(counted, axis=0):
        rows = np.flatnonzero((counted == pattern).all(axis=1))
        part = residuals[np.ix_(rows, pattern)]
        try:
            factor = cho_factor(full[np.ix_(pattern, pattern)])
        except (LinAlgError, ValueError):  # not positive definite, or not finite
            continue
        result[rows] = np.sum(part * cho_solve(factor, part.T).T, axis=1)
    return result, counted.sum(axis=1)


def chi2_beyond(values: Array, degrees: Array, probability: float = 0.95) -> float:
    """Fraction of chi^2 values beyond a quantile of their distribution; 1 - probability if right."""
    x = np.asarray(values, np.float64)
    counted = np.isfinite(x)
    limit = chi2_distribution.ppf(probability, np.asarray(degrees)[counted])
    return float(np.mean(x[counted] > limit))


# ---------------------------------------------------------------- scatter


def scatter(draws: Array, n_least: int = 2) -> tuple[Array, Array]:
    """Sample standard deviation (about the sample mean, ddof = 1) over the second axis.

    Parameters
    ----------
    draws : ndarray, shape (n, n_catalogues, ...)
    n_least : int
        Where fewer catalogues are not NaN, the result is.

    Returns
    -------
    sigma : ndarray, shape (n, ...)
        NaN, too, where all catalogues agree.
    number : ndarray of int, shape (n, ...)
        Catalogues that are not NaN.
    """
    x = np.asarray(draws, np.float64)
    counted = np.isfinite(x)
    number = counted.sum(axis=1)
    mean = np.where(counted, x, 0).sum(axis=1) / np.maximum(number, 1)
    square = np.where(counted, (x - mean[:, None]) ** 2, 0).sum(axis=1)
    sigma = np.sqrt(square / np.maximum(number - 1, 1))
    return np.where((number >= max(n_least, 2)) & (sigma > 0), sigma, np.nan), number


def median_scatter_ratio(number: Array) -> Array:
    """Median of the sample standard deviation of Gaussian numbers, in units of the true one.

    sqrt(m / (n - 1)) with m the median of chi^2 with n - 1 degrees of freedom: 0.982 for n = 20.
    """
    degrees = np.maximum(np.asarray(number, np.float64) - 1, 1)
    return np.sqrt(chi2_distribution.median(degrees) / degrees)


def sigma_bias(predicted: Array, measured: Array, number: Array, axis: int | None = None) -> Any:
    """Bias of standard deviations in dex: median of log10(predicted / measured).

    Parameters
    ----------
    predicted, measured : ndarray, shape (n, n_bins)
        Measured from finitely many draws (see `scatter`), and corrected here by
        `median_scatter_ratio` for the median's being too small by that.
    number : ndarray, shape (n, n_bins)
        Draws.
    axis : int, optional
        0 for each bin by itself.
    """
    true = np.asarray(measured, np.float64) / median_scatter_ratio(number)
    return np.nanmedian(np.log10(np.asarray(predicted, np.float64) / true), axis=axis)


def variance_bias(predicted: Array, measured: Array, axis: int | None = None) -> Any:
    """Bias of standard deviations in dex: -log10 of the rms of measured / predicted.

    A sample variance is unbiased for draws of any distribution, so this needs no correction and
    holds for skewed ones, too; but single points weigh more than in `sigma_bias`.
    """
    ratio = np.asarray(measured, np.float64) / predicted
    return -0.5 * np.log10(np.nanmean(ratio**2, axis=axis))
