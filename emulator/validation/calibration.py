"""Whether catalogues and errors scatter as much as predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
from iaemu_likelihood.emulator.validation import metrics
from iaemu_likelihood.emulator.validation.predicted import Array, Predicted, each

# Errors of the mean below this, in units of one catalogue's sigma, hardly add to its variance.
ACCURATE = 0.3
N_PIT = 20
LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))


def aleatoric(predicted: Predicted, truth: Array, sigma: Array, number: Array) -> dict[str, Any]:
    """The predicted scatter of single catalogues against the measured one.

    Parameters
    ----------
    predicted : Predicted
        With an aleatoric part.
    truth : ndarray, shape (n, n_statistics, n_bins)
    sigma, number : ndarray, shape (n, n_statistics, n_bins)
        Of `metrics.scatter`.
    """
    own = _aleatoric(predicted)
    # A network that learns mean and variance together counts what its mean misses as variance.
    accurate = np.where(np.abs(predicted.mean - truth) < ACCURATE * sigma, own, np.nan)

    def of(i: int) -> dict[str, Any]:
        sigmas, measured = (own[:, i], sigma[:, i]), (sigma[:, i], number[:, i])
        return {
            "bias_dex": metrics.sigma_bias(own[:, i], *measured),
            "variance_bias_dex": metrics.variance_bias(*sigmas),
            "bias_dex_where_accurate": metrics.sigma_bias(accurate[:, i], *measured),
            "share_accurate": float(np.isfinite(accurate[:, i]).mean()),
            "per_bin": {
                "bias_dex": metrics.sigma_bias(own[:, i], *measured, axis=0),
                "variance_bias_dex": metrics.variance_bias(*sigmas, axis=0),
            },
        }

    return {
        "correction": "Scatter about the sample mean (ddof = 1), divided by the median of the sample "
        "standard deviation of as many Gaussian numbers in units of the true one, sqrt(median of "
        f"chi^2 / (n - 1)) = {float(metrics.median_scatter_ratio(number.max())):.4f} for "
        f"{number.max()} catalogues.",
        "accurate": f"Where the mean is within {ACCURATE} standard deviations of the expectation.",
        **each(predicted.statistics, of),
    }


def calibration(
    predicted: Predicted, truth: Array, draws: Array, sigma: Array, covariance: Array
) -> dict[str, Any]:
    """Single catalogues against the predicted Gaussians.

    Parameters
    ----------
    predicted : Predicted
        With an aleatoric part.
    truth, sigma : ndarray, shape (n, n_statistics, n_bins)
        The expectation, and the measured scatter.
    draws : ndarray, shape (n, n_catalogues, n_statistics, n_bins)
    covariance : ndarray, shape (n, n_statistics n_bins, n_statistics n_bins)
        Predicted.
    """
    n_bins = draws.shape[-1]
    mean, own = predicted.mean[:, None], _aleatoric(predicted)[:, None]
    total = np.hypot(own, predicted.epistemic[:, None])
    error = draws - mean
    where = metrics.pit(draws, mean, own)
    # Relative to what the expectation and the measured scatter, of these very draws, score.
    score = metrics.gaussian_crps(draws, mean, own)
    relative = score / sigma[:, None]
    best = metrics.gaussian_crps(draws, truth[:, None], sigma[:, None]) / sigma[:, None]
    both = np.isfinite(relative) & np.isfinite(best)

    def of(i: int) -> dict[str, Any]:
        counted = where[:, :, i][np.isfinite(where[:, :, i])]
        block = slice(i * n_bins, (i + 1) * n_bins)
        return {
            "coverage": _covered(error[:, :, i], own[:, :, i]),
            "coverage_with_epistemic": _covered(error[:, :, i], total[:, :, i]),
            "per_bin": _covered_per_bin(error[:, :, i], own[:, :, i], (0, 1)),
            "pit": np.histogram(counted, N_PIT, (0, 1))[0] / len(counted),
            "reliability": [float(np.mean(np.abs(2 * counted - 1) <= p)) for p in LEVELS],
            "crps": np.nanmean(score[:, :, i]),
            "crps_relative": relative[:, :, i][both[:, :, i]].mean()
            / best[:, :, i][both[:, :, i]].mean(),
            "chi2": _chi2(error[:, :, i], covariance[:, block, block]),
        }

    n, n_catalogues, _, _ = error.shape
    everything = error.reshape(n, n_catalogues, -1)
    return {
        "expected_coverage": {str(k): v for k, v in metrics.GAUSSIAN_COVERAGE.items()},
        "reliability_levels": list(LEVELS),
        **each(predicted.statistics, of),
        "chi2": _chi2(everything, covariance),
    }


def epistemic(predicted: Predicted, truth: Array) -> dict[str, Any]:
    """Errors against the expectation, shape (n, n_statistics, n_bins), in predicted units."""
    error = np.abs(predicted.mean - truth)

    def of(i: int) -> dict[str, Any]:
        e, s = error[:, i], predicted.epistemic[:, i]
        block: dict[str, Any] = {
            "coverage": _covered(e, s),
            "median_error_over_sigma": np.nanmedian(e / s),
            "per_bin": _covered_per_bin(e, s, 0),
        }
        if predicted.aleatoric is not None:
            block["median_over_aleatoric"] = np.nanmedian(s / predicted.aleatoric[:, i])
        return block

    return each(predicted.statistics, of)


def _aleatoric(predicted: Predicted) -> Array:
    if predicted.aleatoric is None:
        raise ValueError("These weights do not predict the scatter of single catalogues.")
    return predicted.aleatoric


def _covered(error: Array, sigma: Array) -> dict[str, Any]:
    return {str(k): metrics.coverage(error, sigma, k) for k in metrics.GAUSSIAN_COVERAGE}


def _covered_per_bin(error: Array, sigma: Array, axis: int | tuple[int, ...]) -> dict[str, Any]:
    return {
        f"coverage_{k}": metrics.coverage(error, sigma, k, axis=axis)
        for k in metrics.GAUSSIAN_COVERAGE
    }


def _chi2(error: Array, covariance: Array) -> dict[str, Any]:
    """Chi^2 of all catalogues, shape (n, n_catalogues, n_data), with (n, n_data, n_data)."""
    found = [metrics.chi2(*pair) for pair in zip(error, covariance, strict=True)]
    values, degrees = (np.concatenate(column) for column in zip(*found, strict=True))
    counted = np.isfinite(values)
    return {
        "per_degree": values[counted].sum() / degrees[counted].sum(),
        "median_per_degree": np.median(values[counted] / degrees[counted]),
        "fraction_beyond_95": metrics.chi2_beyond(values, degrees),
        "n": int(counted.sum()),
        "n_not_positive_definite": int((~counted).sum()),
    }
