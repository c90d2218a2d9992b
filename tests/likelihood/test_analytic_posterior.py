from functools import cache

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.physics.watson import p2
from scipy.integrate import dblquad

from iaemu_likelihood.likelihood.analytic_posterior import fixed_hod_posterior
from iaemu_likelihood.likelihood.estimated_covariance import EstimatedCovarianceLikelihood


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    a, b = np.linspace(0.1, 0.02, 12), np.geomspace(0.3, 0.005, 12)
    root = rng.normal(size=(12, 12)) * 2e-3
    covariance = root @ root.T + np.diag(np.full(12, 1e-4))
    data = p2(0.7) * a + p2(0.3) * b + rng.multivariate_normal(np.zeros(12), covariance)
    return a, b, data, covariance


@pytest.mark.slow
def test_moments_against_adaptive_integration(problem):
    a, b, data, covariance = problem
    exact = fixed_hod_posterior(a, b, data, covariance)
    inverse = np.linalg.inv(covariance)
    amplitude = cache(lambda mu: float(p2(mu)))

    def chi2(model):
        residual = model - data
        return residual @ inverse @ residual

    model = exact.q_mean @ np.array([a, b])
    best = chi2(model)
    assert best == pytest.approx(exact.chi2_min, rel=1e-9)
    likelihood = EstimatedCovarianceLikelihood(data, covariance)
    assert float(likelihood(torch.as_tensor(model))[1]) == pytest.approx(best, rel=1e-9)

    def moment(f):
        def density(s, c):
            return f(c, s) * np.exp(-0.5 * (chi2(amplitude(c) * a + amplitude(s) * b) - best))

        return dblquad(density, -1, 1, -1, 1, epsabs=1e-7)[0]

    norm = moment(lambda c, s: 1.0)
    for i, pick in enumerate((lambda c, s: c, lambda c, s: s)):
        mean = moment(pick) / norm
        assert exact.mean[i] == pytest.approx(mean, abs=2e-5)
        variance = moment(lambda c, s, pick=pick, mean=mean: (pick(c, s) - mean) ** 2) / norm
        assert exact.std[i] == pytest.approx(np.sqrt(variance), rel=1e-3)


def test_gaussian_likelihood_against_scipy(problem):
    from scipy.stats import multivariate_normal

    a, b, data, covariance = problem
    models = np.array([0.2 * a, 0.1 * b])
    expected = multivariate_normal(data, covariance).logpdf(models)
    normalized, plain = (
        EstimatedCovarianceLikelihood(data, covariance, choice)(torch.as_tensor(models))[0].numpy()
        for choice in (True, False)
    )
    np.testing.assert_allclose(normalized, expected, rtol=1e-10)
    assert plain[0] - plain[1] == pytest.approx(expected[0] - expected[1], rel=1e-9)


def test_draws_have_the_moments(problem):
    posterior = fixed_hod_posterior(*problem)
    draws = posterior.sample(20_000, seed=1)
    assert draws.shape == (20_000, 2)
    np.testing.assert_allclose(draws.mean(0), posterior.mean, atol=0.04 * posterior.std.min())
    np.testing.assert_allclose(draws.std(0), posterior.std, rtol=0.03)
    np.testing.assert_array_equal(draws, posterior.sample(20_000, seed=1))
