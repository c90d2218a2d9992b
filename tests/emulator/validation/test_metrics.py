"""Every measure against values worked out by hand, or known in closed form."""

import numpy as np
import pytest
from iaemu_likelihood.emulator.validation import metrics
from scipy.integrate import quad
from scipy.stats import chi2, norm

TRUTH = np.array([[1.0, -2.0], [4.0, 0.0], [np.nan, 5.0]])
GUESS = np.array([[1.5, -1.0], [3.0, 1.0], [1.0, 5.0]])


def test_fractional_errors_by_hand():
    # 0.5, -0.5; -0.25, none (truth 0); none (NaN), 0.
    assert metrics.mean_signed_fractional_error(GUESS, TRUTH) == pytest.approx(-0.25 / 4)
    assert metrics.mean_absolute_fractional_error(GUESS, TRUTH) == pytest.approx(1.25 / 4)
    assert metrics.median_absolute_fractional_error(GUESS, TRUTH) == pytest.approx(0.375)
    np.testing.assert_allclose(
        metrics.mean_absolute_fractional_error(GUESS, TRUTH, axis=0), [0.375, 0.25]
    )


def test_smape_and_nrmse_by_hand():
    terms = [2 * 0.5 / 2.5, 2 * 1 / 3, 2 * 1 / 7, 2, 0]
    assert metrics.smape(GUESS, TRUTH) == pytest.approx(np.mean(terms))
    np.testing.assert_allclose(
        metrics.nrmse(GUESS, TRUTH), [np.sqrt(1.25 / 17), np.sqrt(2 / 29)], rtol=1e-12
    )
    assert metrics.smape([1.0], [-1.0]) == pytest.approx(2)  # the worst that can be


def test_spearman_sees_order_alone():
    x = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, np.nan]])
    y = np.stack([np.exp(x[:, 0]), -x[:, 1]], axis=1)
    np.testing.assert_allclose(metrics.spearman(y, x), [1, -1])


def test_median_residual_is_signed():
    assert metrics.median_residual([1.0, 2.0, 0.0], np.zeros(3), [1.0, 0.5, 1.0]) == 1
    assert metrics.median_residual([-1.0, -2.0, np.nan], np.zeros(3), np.ones(3)) == -1.5


def test_paper_removes_what_is_most_wrong():
    truth, guess = np.array([[1.0, 1.0, 1.0]]), np.array([[100.0, 102.0, 452.0]])
    kept = {s: np.isfinite(metrics.without_paper_outliers(s, guess, truth))
            for s in ("xi", "omega", "eta")}  # fmt: skip
    assert kept["xi"].tolist() == [[True, True, True]]
    assert kept["omega"].tolist() == [[True, False, False]]
    assert kept["eta"].tolist() == [[True, True, False]]


def test_accuracy_counts_what_it_leaves_out():
    found = metrics.accuracy(GUESS, TRUTH)
    assert (found["n_values"], found["n_left_out"]) == (5, 1)
    assert found["nrmse"] == pytest.approx(np.mean(found["per_bin"]["nrmse"]))
    assert set(metrics.ACCURACY) < set(found)
    assert set(metrics.ACCURACY) == set(found["per_bin"])


def test_gaussian_draws_are_covered_and_flat():
    rng = np.random.default_rng(1)
    mean, sigma = rng.normal(size=(100_000, 2)), rng.uniform(0.1, 3, (100_000, 2))
    draws = mean + sigma * rng.normal(size=mean.shape)
    draws[0] = np.nan
    for k, expected in metrics.GAUSSIAN_COVERAGE.items():
        assert expected == pytest.approx(norm.cdf(k) - norm.cdf(-k), abs=1e-4)
        assert metrics.coverage(draws - mean, sigma, k) == pytest.approx(expected, abs=0.003)
    per_bin = metrics.coverage(draws - mean, 2 * sigma, 1, axis=0)
    np.testing.assert_allclose(per_bin, metrics.GAUSSIAN_COVERAGE[2], atol=0.005)
    where = metrics.pit(draws, mean, sigma)
    shares = np.histogram(where[1:], 20, (0, 1))[0] / where[1:].size
    np.testing.assert_allclose(shares, 0.05, atol=0.003)


@pytest.mark.parametrize(("value", "mean", "sigma"), [(0.3, 0.0, 1.0), (-2.0, 1.0, 0.4)])
def test_crps_is_the_integral_that_defines_it(value, mean, sigma):
    left = quad(lambda x: norm.cdf(x, mean, sigma) ** 2, mean - 20 * sigma, value)[0]
    right = quad(lambda x: norm.sf(x, mean, sigma) ** 2, value, mean + 20 * sigma)[0]
    assert metrics.gaussian_crps(value, mean, sigma) == pytest.approx(left + right, rel=1e-6)


def test_chi2_of_correlated_numbers():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(6, 6))
    covariance = root @ root.T
    residual = rng.normal(size=(20_000, 6)) @ root.T
    residual[:10, 2] = np.nan
    values, degrees = metrics.chi2(residual, covariance)
    assert degrees[:10].tolist() == [5] * 10
    assert set(degrees[10:]) == {6}
    kept = np.delete(np.arange(6), 2)
    part = residual[0, kept]
    expected = part @ np.linalg.solve(covariance[np.ix_(kept, kept)], part)
    assert values[0] == pytest.approx(expected)
    assert np.mean(values / degrees) == pytest.approx(1, abs=0.02)
    assert metrics.chi2_beyond(values, degrees) == pytest.approx(0.05, abs=0.005)
    assert np.isnan(metrics.chi2(np.ones((1, 2)), -np.eye(2))[0]).all()


def test_sigma_bias_is_that_of_the_prediction():
    """Even of 5 draws, whose sample standard deviation has a median 8 % too small."""
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(40_000, 5, 1))
    measured, number = metrics.scatter(draws)
    predicted = np.full_like(measured, 10**0.1)
    assert metrics.sigma_bias(predicted, measured, number) == pytest.approx(0.1, abs=0.003)
    assert metrics.variance_bias(predicted, measured) == pytest.approx(0.1, abs=0.003)
    assert metrics.median_scatter_ratio(5) == pytest.approx(np.sqrt(chi2.median(4) / 4))


def test_scatter_leaves_out_bins_without_pairs():
    draws = np.array([[[1.0, 1.0, 1.0], [3.0, np.nan, 1.0], [5.0, 2.0, 1.0]]])
    sigma, number = metrics.scatter(draws)
    np.testing.assert_allclose(sigma, [[2.0, np.sqrt(0.5), np.nan]])
    assert number.tolist() == [[3, 2, 3]]
    assert np.isnan(metrics.scatter(draws, n_least=3)[0][0, 1])
