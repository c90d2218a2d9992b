"""Likelihoods of a data vector with an estimated covariance, against independent formulas."""

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad, quad
from scipy.stats import multivariate_normal, multivariate_t

from iaemu_likelihood.likelihood.estimated_covariance import (
    CORRECTIONS,
    EstimatedCovarianceLikelihood,
    check_correction,
)

N, D = 27, 6


def log_likelihood(likelihood, model, covariance=None):
    """Of arrays."""
    extra = None if covariance is None else torch.as_tensor(covariance)
    return likelihood(torch.as_tensor(model), extra)[0].numpy()


def chi2(likelihood, model, covariance=None):
    """Of arrays."""
    extra = None if covariance is None else torch.as_tensor(covariance)
    return likelihood(torch.as_tensor(model), extra)[1].numpy()


@pytest.fixture
def problem():
    """Data, model, covariance of the data, covariance of the model."""
    rng = np.random.default_rng(5)

    def covariance(scale):
        root = rng.normal(size=(D, 2 * D))
        return scale * root @ root.T / (2 * D)

    return rng.normal(size=D), rng.normal(size=D), covariance(1.0), covariance(0.3)


def chi2_of(data, model, covariance):
    return (model - data) @ np.linalg.inv(covariance) @ (model - data)


def test_gaussian_is_scipys(problem):
    data, model, covariance, extra = problem
    likelihood = EstimatedCovarianceLikelihood(data, covariance, normalized=True)
    expected = multivariate_normal(model, covariance).logpdf(data)
    assert log_likelihood(likelihood, model) == pytest.approx(expected, rel=1e-12)
    # The log-determinant follows a covariance that depends on the model.
    expected = multivariate_normal(model, covariance + extra).logpdf(data)
    assert log_likelihood(likelihood, model, extra) == pytest.approx(expected, rel=1e-12)


def test_hartlap_divides_the_inverse(problem):
    data, model, covariance, _ = problem
    likelihood = EstimatedCovarianceLikelihood(
        data, covariance, correction="hartlap", n_estimates=N
    )
    expected = (N - D - 2) / (N - 1) * chi2_of(data, model, covariance)
    assert chi2(likelihood, model) == pytest.approx(expected, rel=1e-12)
    assert log_likelihood(likelihood, model) == pytest.approx(-expected / 2, rel=1e-12)


def test_hartlap_is_the_inverse_of_the_mean_inverse():
    # Of 4,000 sample covariances of 27 draws, the mean inverse times the factor is the inverse.
    rng = np.random.default_rng(0)
    truth = np.diag([1.0, 4.0, 0.25]) + 0.1
    draws = rng.multivariate_normal(np.zeros(3), truth, size=(4000, N))
    deviations = draws - draws.mean(1, keepdims=True)
    estimates = np.einsum("kni,knj->kij", deviations, deviations) / (N - 1)
    corrected = np.mean(
        [
            np.linalg.inv(
                EstimatedCovarianceLikelihood(np.zeros(3), c, False, "hartlap", N).covariance
            )
            for c in estimates[:1000]
        ],
        axis=0,
    )
    np.testing.assert_allclose(np.diag(corrected), np.diag(np.linalg.inv(truth)), rtol=0.05)
    uncorrected = np.linalg.inv(estimates[:1000]).mean(0)
    assert (np.diag(uncorrected) > 1.1 * np.diag(np.linalg.inv(truth))).all()


def test_sellentin_heavens_is_a_t_distribution(problem):
    data, model, covariance, extra = problem
    likelihood = EstimatedCovarianceLikelihood(data, covariance, True, "sellentin-heavens", N)
    for total, given in ((covariance, None), (covariance + extra, extra)):
        t = multivariate_t(model, total * (N - 1) / (N - D), df=N - D)
        assert log_likelihood(likelihood, model, given) == pytest.approx(t.logpdf(data), rel=1e-12)


@pytest.mark.parametrize("n_parameters", [0, 2, D])
def test_percival_is_that_of_2108_10402(problem, n_parameters):
    data, model, covariance, _ = problem
    likelihood = EstimatedCovarianceLikelihood(
        data, covariance, correction="percival", n_estimates=N, n_parameters=n_parameters
    )
    b = (N - D - 2) / ((N - D - 1) * (N - D - 4))
    m = n_parameters + 2 + (N - 1 + b * (D - n_parameters)) / (1 + b * (D - n_parameters))
    expected = -m / 2 * np.log(1 + chi2_of(data, model, covariance) / (N - 1))
    assert log_likelihood(likelihood, model) == pytest.approx(expected, rel=1e-12)


def test_percival_matches_the_scatter_of_the_best_fit():
    # What it is made for: the posterior's variance is, on average, that of the best fits over
    # data and covariances; Gaussian with the estimated inverse, it is too small.
    rng = np.random.default_rng(1)
    n, d = 14, 6
    grid = np.linspace(-8, 8, 801)
    best, variance = [], {"percival": [], "none": []}
    for _ in range(1500):
        draws = rng.normal(size=(n, d))
        estimate, data = np.cov(draws.T), rng.normal(size=d)
        inverse = np.linalg.inv(estimate).sum(0)
        best.append(inverse @ data / inverse.sum())  # one parameter: the mean of all points
        for name, moments in variance.items():
            likelihood = EstimatedCovarianceLikelihood(data, estimate, False, name, n, 1)
            weight = np.exp(log_likelihood(likelihood, np.tile(grid[:, None], d)))
            mean = weight @ grid / weight.sum()
            moments.append(weight @ (grid - mean) ** 2 / weight.sum())
    scatter = np.mean(np.square(best))
    assert np.mean(variance["percival"]) == pytest.approx(scatter, rel=0.1)
    assert np.mean(variance["none"]) < 0.6 * scatter


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_agreement_is_zero_unless_normalised(problem, correction):
    data, _, covariance, _ = problem
    likelihood = EstimatedCovarianceLikelihood(data, covariance, False, correction, N, 2)
    assert log_likelihood(likelihood, data) == pytest.approx(0, abs=1e-12)
    assert chi2(likelihood, data) == 0


@pytest.mark.slow
@pytest.mark.parametrize("correction", ["none", "hartlap", "sellentin-heavens"])
@pytest.mark.parametrize("extra", [0.0, 0.7])
def test_normalised_densities_integrate_to_one(correction, extra):
    def density(*x):
        point = np.array(x)
        likelihood = EstimatedCovarianceLikelihood(point, covariance, True, correction, 12)
        model_covariance = extra * np.eye(len(x)) if extra else None
        return np.exp(log_likelihood(likelihood, np.ones(len(x)), model_covariance))

    covariance = np.array([[0.6]])
    total, _ = quad(density, -np.inf, np.inf)
    assert total == pytest.approx(1, abs=1e-6)
    covariance = np.array([[0.6, 0.3], [0.3, 0.8]])
    total, _ = dblquad(density, -14, 16, -14, 16, epsabs=1e-3, epsrel=1e-3)
    assert total == pytest.approx(1, abs=2e-3)


def test_many_points_at_once_are_single_points(problem):
    data, _, covariance, extra = problem
    models = data + np.random.default_rng(2).normal(size=(4, 3, D))
    extras = extra * np.linspace(0.5, 2, 12).reshape(4, 3, 1, 1)
    for correction in CORRECTIONS:
        likelihood = EstimatedCovarianceLikelihood(data, covariance, False, correction, N, 2)
        together = log_likelihood(likelihood, models, extras)
        for i in np.ndindex(4, 3):
            alone = log_likelihood(likelihood, models[i], extras[i])
            assert together[i] == pytest.approx(alone, rel=1e-12)


def test_gradients_are_those_of_finite_differences(problem):
    data, model, covariance, extra = problem
    for correction in CORRECTIONS:
        likelihood = EstimatedCovarianceLikelihood(data, covariance, False, correction, N, 2)
        assert torch.autograd.gradcheck(
            lambda m, e, f=likelihood: f(m, e @ e.T)[0],
            (torch.tensor(model, requires_grad=True), torch.tensor(extra, requires_grad=True)),
        )


@pytest.mark.parametrize(
    ("correction", "least"), [("hartlap", D + 3), ("percival", D + 5), ("sellentin-heavens", D + 1)]
)
def test_too_few_regions_are_refused(problem, correction, least):
    data, model, covariance, _ = problem
    likelihood = EstimatedCovarianceLikelihood(data, covariance, False, correction, least)
    assert np.isfinite(log_likelihood(likelihood, model))
    with pytest.raises(ValueError, match=f"needs at least {least} jackknife regions for {D} data"):
        EstimatedCovarianceLikelihood(data, covariance, False, correction, least - 1)
    with pytest.raises(ValueError, match="needs n_jackknife"):
        EstimatedCovarianceLikelihood(data, covariance, False, correction)


def test_what_makes_no_sense_is_refused(problem):
    data, _, covariance, _ = problem
    with pytest.raises(ValueError, match="must be one of none, hartlap, percival"):
        check_correction("bootstrap", D, N)
    with pytest.raises(ValueError, match="percival needs no more parameters than data points"):
        EstimatedCovarianceLikelihood(data, covariance, False, "percival", N, D + 1)
    with pytest.raises(ValueError, match=r"not a normalised density of the data. Set normalized"):
        EstimatedCovarianceLikelihood(data, covariance, True, "percival", N, 2)


def test_a_covariance_that_is_not_positive_definite_is_no_likelihood(problem):
    """Nor does it touch the points beside it."""
    data, _, covariance, _ = problem
    likelihood = EstimatedCovarianceLikelihood(data, covariance)
    extra = np.stack([covariance, -2 * covariance, 0 * covariance])
    models = np.tile(data + 0.1, (3, 1))
    value, squares = log_likelihood(likelihood, models, extra), chi2(likelihood, models, extra)
    assert value[1] == -np.inf
    assert np.isnan(squares[1])
    for i in (0, 2):
        assert value[i] == log_likelihood(likelihood, models[i], extra[i])
        assert np.isfinite(squares[i])


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("moving", [False, True])
def test_slopes_are_those_of_autograd(problem, correction, moving):
    data, model, covariance, extra = problem
    known = {"n_estimates": N, "n_parameters": 2}
    likelihood = EstimatedCovarianceLikelihood(data, covariance, correction=correction, **known)
    of_model = np.random.default_rng(1).normal(size=(2, D))
    of_covariance = 0.1 * np.stack([extra, extra @ extra]) if moving else None

    def along(x):
        at = torch.as_tensor(model) + x @ torch.as_tensor(of_model)
        if not moving:
            return likelihood(at)[0]
        return likelihood(
            at, torch.as_tensor(extra) + torch.tensordot(x, torch.as_tensor(of_covariance), 1)
        )[0]

    expected = torch.autograd.functional.jacobian(along, torch.zeros(2, dtype=torch.float64))
    found = likelihood.slopes(model, extra if moving else None, of_model, of_covariance)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
