"""The batched posterior against Cobaya's own, and its gradients against differences."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import astropy.table
import numpy as np
import pytest
import torch
from cobaya.log import LoggedError
from cobaya.model import get_model

import iaemu_likelihood
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.likelihood.evaluation import predict
from iaemu_likelihood.sampling.nuts import measurement_run
from iaemu_likelihood.sampling.optimum import best_fit
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
    _, predicted = predict(post._groups(torch.as_tensor(point)[None]))
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


# Outside is -inf and 0, for any number of points.


@pytest.fixture(scope="module", params=["all seven", "closed form"])
def simple(request):
    return posterior(measurement_run("tng300.sample1", free_hod=request.param == "all seven"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 5.0])
def test_value_and_gradient_wholly_outside_are_minus_infinity_and_0(simple, value):
    inside = simple.start(1, seed=1)[0]
    for i in range(len(simple.names)):
        point = inside.copy()
        point[i] = value
        found, gradient = simple.value_and_gradient(point)
        assert found == -np.inf == simple(point)
        np.testing.assert_array_equal(gradient, np.zeros_like(point))
        values, gradients = simple.value_and_gradient(np.tile(point, (3, 1)))
        assert values.shape == (3,)
        assert np.isneginf(values).all()
        assert not gradients.any()
        values, gradients = simple.value_and_gradient([point, inside])
        np.testing.assert_array_equal(np.isfinite(values), [False, True])
        assert not gradients[0].any()
        assert gradients[1].all()


def test_the_best_fit_is_found_from_each_of_five_starts():
    """An optimiser that meets values of infinity stops at once, and says that all went well."""
    post = posterior(measurement_run("tng300.sample1", free_hod=True))
    found = [best_fit(post, start) for start in post.start(5, seed=1)]
    assert all(fit.success for fit in found)
    best = min(found, key=lambda fit: fit.fun)
    # There are several maxima, two of them nearly equal, and others at the edges of the domain.
    assert all(fit.fun < best.fun + 0.1 for fit in found)
    assert best.fun == pytest.approx(-post(best.x))
    points = post.emulator.domain.sample(4000, seed=1)
    assert post(best.x) > post(points).max()
    # Up to the edges of the domain, the gradient is 0.
    near = best.x + 1e-3 * np.random.default_rng(0).normal(size=(200, 7))
    assert post(near).max() < post(best.x) + 1e-3
    with pytest.raises(ValueError, match="log-posterior is -inf at the start"):
        best_fit(post, np.zeros(7))


# Points in other forms: the same numbers, by name, or refused.


def test_any_array_of_numbers_gives_the_same_and_stays_as_it_is(simple):
    points = simple.start(4, seed=2)
    expected, slopes = simple.value_and_gradient(points)
    frozen = points.copy()
    frozen.flags.writeable = False
    wide = np.repeat(points, 2, axis=1)[:, ::2]
    for x in (points.tolist(), frozen, points[::-1][::-1], wide, np.asfortranarray(points)):
        np.testing.assert_allclose(simple(x), expected, rtol=1e-12)
        np.testing.assert_allclose(simple.value_and_gradient(x)[1], slopes, rtol=1e-9)
    np.testing.assert_allclose(simple(points[::-1]), expected[::-1], rtol=1e-12)
    np.testing.assert_allclose(simple.value_and_gradient(points[0, ::-1][::-1])[0], expected[0])
    empty = np.empty((0, len(simple.names)))
    assert simple(empty).shape == simple.log_prior(empty).shape == (0,)
    values, gradients = simple.value_and_gradient(empty)
    assert values.shape == (0,)
    assert gradients.shape == empty.shape


def test_points_by_name_in_any_order(simple):
    points = simple.start(3, seed=2)
    expected = simple(points)
    columns = {name: points[:, i] for i, name in reversed([*enumerate(simple.names)])}
    table = astropy.table.Table(columns)
    for given in (columns, table, table.as_array(), [dict(row) for row in table]):
        np.testing.assert_allclose(simple(given), expected, rtol=1e-12)
    assert simple(dict(table[1])) == pytest.approx(expected[1])
    with pytest.raises(TypeError, match=r"missing: mu_cen; unknown: mu_central"):
        simple({"mu_central" if k == "mu_cen" else k: v for k, v in columns.items()})


def test_columns_of_other_lengths_are_said_and_a_number_holds_for_all_rows(simple):
    points = simple.start(2, seed=2)
    points[:, 0] = points[0, 0]
    columns = dict(zip(simple.names, points.T, strict=True))
    first, last = simple.names[0], simple.names[-1]
    one = {**columns, first: float(points[0, 0])}
    np.testing.assert_array_equal(simple(one), simple(points))
    for found, expected in zip(
        simple.value_and_gradient(one), simple.value_and_gradient(points), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    for call in (simple, simple.value_and_gradient, simple.log_prior):
        with pytest.raises(ValueError, match=rf"different shapes: {first} \(2,\).* {last} \(3,\)"):
            call({**columns, last: np.ones(3)})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda x: x + 0.1j, "real numbers"),
        (lambda x: np.ma.array(x, mask=x > 0), "masked"),
        (lambda x: x.astype(str), "real numbers"),
        (lambda x: np.full(len(x), None), "real numbers"),
        (lambda x: x[:-1], "Expected shape"),
        (lambda x: x[None, None], "Expected shape"),
    ],
)
def test_what_is_no_point_is_refused(simple, change, error):
    point = simple.start(1, seed=1)[0]
    for function in (simple, simple.value_and_gradient, simple.log_likelihood, simple.fisher):
        with pytest.raises((TypeError, ValueError), match=error):
            function(change(point))


def test_arguments_out_of_range_are_refused(simple):
    for n in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="n must be a whole number of 1 or more"):
            simple.start(n, seed=1)
    with pytest.raises(ValueError, match="from 0 to 1"):
        simple.prior_transform(np.full(len(simple.names), 1.1))
    with pytest.raises(ValueError, match="one point inside the priors"):
        simple.fisher(np.full(len(simple.names), 20.0))
    with pytest.raises(ValueError, match="Expected float64 of shape"):
        simple.log_prob(torch.zeros(1, len(simple.names)))


def test_a_run_that_samples_nothing_is_refused():
    run = measurement_run("tng300.sample1")
    run["params"] |= {"mu_cen": 0.8, "mu_sat": 0.3}
    with pytest.raises(ValueError, match="every parameter is fixed"):
        posterior(run)


def test_a_reference_outside_the_prior_is_not_drawn_for_ever():
    run = measurement_run("tng300.sample1")
    run["params"]["mu_cen"] = {"prior": {"min": 0.2, "max": 0.8}, "ref": 1.8}
    with pytest.raises(LoggedError, match="Could not sample from the reference pdf"):
        posterior(run).start(1, seed=1)


# What the caller has set changes nothing.


def test_settings_of_torch_and_numpy_change_nothing(simple):
    points = simple.start(150, seed=3)
    tensor = torch.from_numpy(points)

    def everything():
        gradient, fisher = simple.value_and_gradient(points), simple.fisher(points[0])
        return simple(points), *gradient, fisher, np.asarray(simple.log_prob(tensor))

    expected = everything()
    assert expected[3].any()
    contexts = {
        "inference": torch.inference_mode(),
        "no gradients": torch.no_grad(),
        "autocast": torch.autocast("cpu", torch.bfloat16),
        "device": torch.device("meta"),
        "errors": np.errstate(all="raise"),
    }
    for name, context in contexts.items():
        with context:
            found = everything()
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12, err_msg=name)
    torch.set_default_dtype(torch.float64)
    try:
        found = everything()
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-12)


# Posteriors in pools.


IN_A_POOL = """
import json, os, pickle, sys
from multiprocessing import get_context
from pathlib import Path


def value_of(task):
    post, point = task
    return os.getpid(), id(post), post(point)


if __name__ == "__main__":
    post, points = pickle.loads(Path(sys.argv[1]).read_bytes())
    with get_context("spawn").Pool(2) as pool:
        found = [pool.map(value_of, [(post, point) for point in points]) for _ in range(2)]
    print(json.dumps(found[0] + found[1]))
"""


@pytest.mark.slow
def test_a_posterior_is_made_once_in_each_process_of_a_pool(everything, tmp_path):
    """Its input holds functions, as text, which the model made of it cannot send."""
    points = everything.start(6, seed=1)
    assert len(pickle.dumps(everything)) < 20_000
    script, sent = tmp_path / "pool.py", tmp_path / "sent"
    script.write_text(IN_A_POOL)
    sent.write_bytes(pickle.dumps((everything, points)))
    command = [sys.executable, script, sent]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(run.stdout.splitlines()[-1])
    np.testing.assert_allclose([x[2] for x in found], 2 * [*everything(points)], rtol=1e-12)
    assert len({(*x[:2],) for x in found}) == len({x[0] for x in found}) <= 2


def test_paths_mean_the_same_after_a_change_of_folder(tmp_path, monkeypatch):
    measured = Measurement.read("tng300.sample1")
    measured.write(tmp_path / "own.ecsv")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    post = posterior(measurement_run("own.ecsv"))
    point = post.start(1, seed=1)[0]
    pickled = pickle.dumps(post)
    measured.values["omega"][:] *= 2
    measured.write(tmp_path / "other/own.ecsv")
    monkeypatch.chdir(tmp_path / "other")
    assert pickle.loads(pickled)(point) == post(point)
    # Other data under the same path are not those of the posterior.
    measured.write(tmp_path / "own.ecsv", overwrite=True)
    post._input["debug"] = 50  # another input, which has not been made yet
    with pytest.raises(Exception, match="are not those of this run"):
        pickle.loads(pickle.dumps(post))


def test_a_tilde_in_paths_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Measurement.read("tng300.sample1").write(tmp_path / "own.ecsv")
    home = posterior(measurement_run("~/own.ecsv"))
    assert home.likelihoods[0].options.data_file == str(tmp_path / "own.ecsv")
    point = home.start(1, seed=1)[0]
    assert home(point) == posterior(measurement_run("tng300.sample1"))(point)
