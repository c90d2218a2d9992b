"""The batched posterior against Cobaya's own, and its gradients against differences."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from cobaya.model import get_model

import iaemu_likelihood
from iaemu_likelihood.likelihood.evaluation import predict
from iaemu_likelihood.sampling.nuts import measurement_run
from iaemu_likelihood.sampling.posterior import posterior
from iaemu_likelihood.tng300.table1 import example

IAEMU = "iaemu_likelihood.IAEmu"
SAMPLES = ["sample1", "sample2"]
# Everything at once: a shared and a dependent parameter, priors of several kinds, one that is a
# function, cuts by statistic, two likelihoods of one sample, and the emulator's covariance.
EVERYTHING = {
    "theory": {IAEMU: {"samples": SAMPLES}},
    "likelihood": {
        "iaemu_likelihood.tng300.Sample1": {
            "statistics": ["xi", "omega"],
            "r_min": {"xi": 1.0, "omega": 0.3},
        },
        "eta": {
            "class": "iaemu_likelihood.IACorrelations",
            "data_file": "tng300.sample1",
            "sample": "sample1",
            "statistics": ["eta"],
        },
        "iaemu_likelihood.tng300.Sample2": {"emulator_error": "none"},
    },
    "params": {
        "mu_sat_sample1": {"prior": {"dist": "norm", "loc": 0.3, "scale": 0.1}},
        "mu_cen_sample2": {"value": "lambda mu_cen_sample1: mu_cen_sample1 - 0.1"},
        "logMmin_sample1": {"prior": {"min": 12.4, "max": 12.7}},
        "logMmin_sample2": {"value": "lambda logMmin_sample1: logMmin_sample1 - 0.6"},
        "logM1_sample1": {"prior": {"dist": "truncnorm", "loc": 13.5, "scale": 0.1, "a": -2, "b": 2}},
        **{f"{p}_{s}": v for s, hod in zip(SAMPLES, (
            {"sigma_logM": 0.26, "logM0": 12.68, "alpha": 1.0},
            {"sigma_logM": 0.26, "logM0": 12.05, "logM1": 12.85, "alpha": 1.0},
        ), strict=True) for p, v in hod.items()},
    },
    "prior": {"together": "lambda mu_cen_sample1, mu_sat_sample2: -((mu_cen_sample1 - 2 * mu_sat_sample2) ** 2)"},
}  # fmt: skip
POINT = {
    "mu_cen_sample1": 0.75, "mu_sat_sample1": 0.3, "mu_sat_sample2": 0.1,
    "logMmin_sample1": 12.55, "logM1_sample1": 13.45,
}  # fmt: skip


def near(post, seed=0, n=6):
    """Points around POINT, in the order of the posterior."""
    at = np.array([POINT[name] for name in post.names])
    return at + 0.02 * np.random.default_rng(seed).normal(size=(n, len(at)))


@pytest.fixture(scope="module")
def everything():
    return posterior(copy.deepcopy(EVERYTHING))


def test_equals_cobaya_with_everything_at_once(everything):
    model = get_model(copy.deepcopy(EVERYTHING), stop_at_error=True)
    assert everything.names == list(model.parameterization.sampled_params())
    points = near(everything)
    expected = [model.logpost(point, make_finite=False) for point in points]
    np.testing.assert_allclose(everything(points), expected, rtol=1e-11)
    assert everything(points[0]) == pytest.approx(expected[0], rel=1e-11)
    prior = [model.logprior(point) for point in points]
    np.testing.assert_allclose(everything.log_prior(points), prior, rtol=1e-10)
    np.testing.assert_allclose(
        everything.log_likelihood(points) + everything.log_prior(points), expected, rtol=1e-11
    )


@pytest.mark.parametrize("emulator_error", ["none", "total"])
@pytest.mark.parametrize("weights", ["templates", "paper"])
def test_equals_cobaya_with_fixed_occupation(weights, emulator_error):
    info = example("sample3")
    info["theory"][IAEMU]["weights"] = weights
    info["likelihood"]["iaemu_likelihood.tng300.Sample3"] = {"emulator_error": emulator_error}
    post = posterior(info)
    model = get_model({k: info[k] for k in ("theory", "likelihood", "params")})
    points = np.random.default_rng(1).uniform(-0.9, 0.9, (4, 2))
    expected = [model.logpost(point) for point in points]
    # The paper's network computes in single precision.
    np.testing.assert_allclose(
        post(points), expected, rtol=1e-11 if weights == "templates" else 1e-4
    )


def test_the_closed_form_at_fixed_occupation_is_the_likelihood():
    info = {
        "theory": {IAEMU: {"samples": SAMPLES}},
        "likelihood": {
            "both": {
                "class": "iaemu_likelihood.IACorrelations",
                "data_file": ["tng300.sample1", "tng300.sample2"],
                "sample": SAMPLES,
                "statistics": ["xi", "omega", "eta"],
                "r_min": {"xi": 1.0, "omega": 0.3, "eta": 0.1},
                "emulator_error": "none",
                "normalized": True,
            },
            "again": {
                "class": "iaemu_likelihood.IACorrelations",
                "data_file": "tng300.sample2",
                "sample": "sample2",
                "statistics": ["omega"],
                "emulator_error": "none",
            },
        },
        "params": {
            **example("sample1")["params"],
            **example("sample2")["params"],
            "mu_sat_sample1": 0.4,
        },
    }
    post = posterior(info)
    assert post.closed_form is not None
    points = np.random.default_rng(4).uniform(-1, 1, (30, 3))
    values, gradients = post.value_and_gradient(points)
    post.closed_form = None
    expected, slopes = post.value_and_gradient(points)
    np.testing.assert_allclose(values, expected, rtol=1e-11)
    np.testing.assert_allclose(gradients, slopes, rtol=1e-8, atol=1e-6)


def test_gradients_against_differences(everything):
    points = near(everything, n=3)
    values, gradients = everything.value_and_gradient(points)
    np.testing.assert_allclose(values, everything(points), rtol=1e-12)
    for i in range(len(everything.names)):
        step = np.zeros(len(everything.names))
        step[i] = 1e-5
        difference = (everything(points + step) - everything(points - step)) / 2e-5
        np.testing.assert_allclose(gradients[:, i], difference, rtol=1e-4, atol=1e-3)
    value, gradient = everything.value_and_gradient(points[0])
    assert value == pytest.approx(values[0], rel=1e-12)
    np.testing.assert_allclose(gradient, gradients[0], rtol=1e-12)


def test_outside_is_minus_infinity_and_inside_is_not_affected(everything):
    points = np.repeat(near(everything, n=1), 5, axis=0)
    columns = {name: i for i, name in enumerate(everything.names)}
    points[1, columns["mu_cen_sample1"]] = 1.5
    points[2, columns["logMmin_sample1"]] = np.nan
    points[3, columns["logM1_sample1"]] = 15.0
    values, gradients = everything.value_and_gradient(points)
    assert (np.isneginf(values) == [False, True, True, True, False]).all()
    np.testing.assert_allclose(values[[0, 4]], everything(points[0]), rtol=1e-12)
    assert (gradients[1:4] == 0).all()


def test_more_points_than_are_computed_at_a_time(monkeypatch):
    post = posterior(measurement_run("tng300.sample1", free_hod=True))
    points = np.array([post.emulator.domain.sample(20, 3)[i] for i in range(20)])
    whole = post(points)
    monkeypatch.setattr("iaemu_likelihood.sampling.posterior.CHUNK", 7)
    np.testing.assert_allclose(post(points), whole, rtol=1e-12)
    assert np.isfinite(whole).all()


def test_the_fisher_matrix_is_that_of_the_closed_form_at_fixed_covariance():
    post = posterior(example("sample1"))
    at = np.array([0.7, 0.3])
    (core,) = post.likelihoods
    slopes = []
    for step in np.eye(2) * 1e-5:
        ends = [models_at(post, at + s * step)[0][0][0] for s in (1, -1)]
        slopes.append(((ends[0] - ends[1]) / 2e-5).numpy())
    slope = np.array(slopes)
    expected = slope @ np.linalg.solve(core.data.covariance, slope.T)
    np.testing.assert_allclose(post.fisher(at), expected, rtol=1e-6)


@pytest.mark.slow
def test_the_fisher_matrix_is_the_mean_curvature_with_the_emulators_covariance():
    info = example("sample1")
    info["likelihood"]["iaemu_likelihood.tng300.Sample1"] = {"emulator_error": "aleatoric"}
    post = posterior(info)
    at = np.array([0.7, 0.3])
    (core,) = post.likelihoods
    mean, covariance = models_at(post, at)[0]
    total = core.data.covariance + covariance[0].numpy()
    rng = np.random.default_rng(2)
    data = core.comparison._data
    scores = []
    try:
        for draw in rng.multivariate_normal(mean[0].numpy(), total, size=1500):
            core.comparison._data = data.new_tensor(draw)
            scores.append(post.value_and_gradient(at)[1])
    finally:
        core.comparison._data = data
    # The covariance of the score is the Fisher matrix.
    found = np.cov(np.array(scores).T)
    np.testing.assert_allclose(found, post.fisher(at), rtol=0.12)


def models_at(post, point):
    """Predicted data vector and covariance of each likelihood at one point."""
    _, predicted = predict(post._groups(torch.as_tensor(point)[None]), post._errors)
    return post._models(predicted)


def test_prior_transform_has_the_priors_quantiles():
    info = copy.deepcopy(EVERYTHING)
    del info["prior"]
    post = posterior(info)
    middle = post.prior_transform(np.full(len(post.names), 0.5))
    expected = {"mu_cen_sample1": 0.0, "mu_sat_sample1": 0.3, "mu_sat_sample2": 0.0,
                "logMmin_sample1": 12.55, "logM1_sample1": 13.5}  # fmt: skip
    np.testing.assert_allclose(middle, [expected[name] for name in post.names], atol=1e-12)
    assert post.prior_transform(np.full((3, len(post.names)), 0.1)).shape == (3, len(post.names))


def test_a_prior_of_several_parameters_has_no_transform(everything):
    with pytest.raises(ValueError, match="priors together, functions of several"):
        everything.prior_transform(np.full(5, 0.5))


def test_start_is_inside_and_seeded(everything):
    points = everything.start(5, seed=3)
    assert np.isfinite(everything(points)).all()
    np.testing.assert_array_equal(points, everything.start(5, seed=3))


def test_wrong_inputs_say_what_is_expected(everything, tmp_path):
    with pytest.raises(ValueError, match=r"Expected shape \(5,\) or \(n, 5\) in the order"):
        everything(np.zeros(4))
    with pytest.raises(FileNotFoundError, match=r"No file .*nothing.yaml"):
        iaemu_likelihood.posterior(tmp_path / "nothing.yaml")
    info = example("sample1")
    info["likelihood"]["other"] = {"external": "lambda mu_cen_sample1: -mu_cen_sample1**2"}
    with pytest.raises(ValueError, match="cannot evaluate other"):
        posterior(info)


def test_getdist_has_names_and_limits():
    post = posterior(example("sample1"))
    samples = post.getdist(np.random.default_rng(0).uniform(0, 1, (100, 2)))
    assert [p.name for p in samples.paramNames.names] == post.names
    assert samples.ranges.getLower("mu_cen_sample1") == -1
    assert samples.paramNames.names[0].label == r"\mu_\mathrm{cen}^{\mathrm{sample1}}"
