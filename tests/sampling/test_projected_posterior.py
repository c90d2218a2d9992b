"""Batched posteriors of projected statistics against Cobaya's, and NUTS with responses of shapes."""

import copy
import pickle

import numpy as np
import pytest
import torch
from cobaya.model import get_model
from iaemu_likelihood.emulator.physics.shapes import largest_response

from iaemu_likelihood.sampling.nuts import run_nuts
from iaemu_likelihood.sampling.optimum import best_fit
from iaemu_likelihood.sampling.posterior import posterior
from iaemu_likelihood.sampling.potential import potential_of
from iaemu_likelihood.sampling.unconstrained import Unconstrained

IAEMU, OURS = "iaemu_likelihood.IAEmu", "iaemu_likelihood.IACorrelations"


@pytest.fixture(scope="module")
def files(on_the_sky, tmp_path_factory):
    """Projected statistics in redshift space, and the quadrupole, of one sample."""
    folder = tmp_path_factory.mktemp("sky")
    on_the_sky(redshift_space=True).write(folder / "w.ecsv")
    on_the_sky(("xi_gplus_2",), responsivity=0.9).write(folder / "q.ecsv")
    return {name: str(folder / f"{name}.ecsv") for name in ("w", "q")}


def run_of(files, params=None, quadrupole=True, **options):
    """The input of a run; `options` are those of the likelihood of w."""
    common = {"class": OURS, "emulator_error": "none", "covariance": "full"}
    w = {**common, "data_file": files["w"], "statistics": ["w_gg", "w_gplus"], **options}
    found = {"theory": {IAEMU: None}, "likelihood": {"w": w}}
    if quadrupole:
        found["likelihood"]["q"] = {
            **common, "data_file": files["q"], "statistics": ["xi_gplus_2"], "emulator_error": "epistemic",
        }  # fmt: skip
    return {**found, **({} if params is None else {"params": params})}


def near(post, truth, n=5, seed=0):
    """Points near the truth."""
    at = np.array([{**truth, "a2_cen": 0.58, "a2_sat": 0.29}[name] for name in post.names])
    return at + 0.01 * np.random.default_rng(seed).normal(size=(n, len(at)))


@pytest.fixture(scope="module")
def everything(files):
    return posterior(run_of(files, emulator_error="epistemic", normalized=True))


def test_equals_cobaya_with_everything_free(everything, files, on_the_sky):
    info = run_of(files, emulator_error="epistemic", normalized=True)
    model = get_model(copy.deepcopy(info), stop_at_error=True)
    assert everything.names == list(model.parameterization.sampled_params())
    assert {"a2_cen", "a2_sat"} < {*everything.names}
    assert everything.closed_form is None
    points = near(everything, on_the_sky.truth)
    expected = [model.logpost(point) for point in points]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(everything(points), expected, rtol=1e-10)
    assert everything(points[0]) == pytest.approx(expected[0], rel=1e-10)
    many = everything(np.tile(points, (40, 1)))
    np.testing.assert_allclose(many, np.tile(expected, 40), rtol=1e-9)


def test_gradients_against_differences(everything, on_the_sky):
    points = near(everything, on_the_sky.truth, n=2)
    values, gradients = everything.value_and_gradient(points)
    np.testing.assert_allclose(values, everything(points), rtol=1e-10)
    for i in range(len(everything.names)):
        step = np.zeros(len(everything.names))
        step[i] = 1e-5
        difference = (everything(points + step) - everything(points - step)) / 2e-5
        np.testing.assert_allclose(gradients[:, i], difference, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(
    "free",
    [["a2_sat"], ["a2_cen", "a2_sat"], ["mu_cen", "a2_sat"], ["mu_cen", "mu_sat"], ["alpha", "a2_cen"]],
)  # fmt: skip
def test_any_of_the_parameters_may_be_fixed(files, on_the_sky, free):
    truth = {**on_the_sky.truth, "a2_cen": 0.58, "a2_sat": 0.29}
    info = run_of(files, {k: v for k, v in truth.items() if k not in free})
    post, model = posterior(info), get_model(copy.deepcopy(info), stop_at_error=True)
    assert {*post.names} == {*free}
    assert post.closed_form is None
    points = near(post, on_the_sky.truth, n=3)
    expected = [model.logpost(point) for point in points]
    np.testing.assert_allclose(post(points), expected, rtol=1e-10)
    value, gradient = post.value_and_gradient(points[0])
    assert value == pytest.approx(expected[0], rel=1e-10)
    for i in range(len(free)):
        step = np.eye(len(free))[i] * 1e-5
        difference = (post(points[0] + step) - post(points[0] - step)) / 2e-5
        assert gradient[i] == pytest.approx(difference, rel=1e-4, abs=2e-3)


def test_responses_that_depend_on_others(files, on_the_sky):
    params = {"a2_sat": {"value": "lambda a2_cen: a2_cen / 2"}}
    info = run_of(files, {**on_the_sky.truth, **params})
    del info["params"]["mu_cen"]
    post, model = posterior(info), get_model(copy.deepcopy(info), stop_at_error=True)
    points = near(post, on_the_sky.truth, n=3)
    np.testing.assert_allclose(post(points), [model.logpost(x) for x in points], rtol=1e-10)


def test_impossible_responses_have_no_posterior(files, on_the_sky):
    wide = {"prior": {"min": -2, "max": 2}}
    post = posterior(run_of(files, {**on_the_sky.truth, "a2_cen": 0.5, "a2_sat": wide}))
    largest = largest_response()
    points = np.array([[-0.1], [0.0], [0.3], [largest * 1.001]])
    values, gradients = post.value_and_gradient(points)
    assert (np.isneginf(values) == [True, True, False, True]).all()
    assert (gradients[[0, 1, 3]] == 0).all()
    assert gradients[2] != 0
    assert np.isneginf(post.log_likelihood(points[0]))


def test_a_sent_posterior_is_the_same(everything, on_the_sky):
    points = near(everything, on_the_sky.truth)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(everything))(points), everything(points)
    )


def test_fisher_matrix_is_that_of_the_gradients_of_the_mean(files, on_the_sky):
    post = posterior(run_of(files, quadrupole=False))
    point = near(post, on_the_sky.truth, n=1)[0]
    found = post.fisher(point)
    model = get_model(run_of(files, quadrupole=False), stop_at_error=True)
    (likelihood,) = model.likelihood.values()

    def mean(x):
        model.loglike(dict(zip(post.names, x, strict=True)))
        return likelihood.core.model(likelihood.moments())[0][0].numpy()

    steps = 1e-5 * np.eye(len(point))
    slopes = np.array([(mean(point + s) - mean(point - s)) / 2e-5 for s in steps])
    expected = slopes @ np.linalg.solve(likelihood.core.data.covariance, slopes.T)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)


def test_strengths_and_responses_are_degenerate(files, on_the_sky):
    """What `iaemu check` says: data alone fix their products."""
    occupation = {k: v for k, v in on_the_sky.truth.items() if k not in ("mu_cen", "mu_sat")}
    flat = {"prior": {"min": 0.05, "max": 1.1}}
    params = {**occupation, "mu_sat": 0.3, "a2_sat": 0.29, "a2_cen": flat}
    post = posterior(run_of(files, params, quadrupole=False))
    matrix = post.fisher(near(post, on_the_sky.truth, n=1)[0])
    assert abs(matrix[0, 1]) / np.sqrt(matrix[0, 0] * matrix[1, 1]) > 0.995


def test_the_map_of_nuts_keeps_responses_between_their_limits(files, on_the_sky):
    post = posterior(run_of(files))
    potential, constrain = potential_of(post)
    assert not constrain.stays_inside
    generator = torch.Generator().manual_seed(0)
    columns = [post.names.index(name) for name in ("a2_cen", "a2_sat")]
    for z in 2 * torch.randn(20, len(post.names), generator=generator, dtype=torch.float64):
        point, jacobian = constrain(z)
        assert ((point[columns] > 0) & (point[columns] < largest_response())).all()
        expected = post(point.numpy()) + float(jacobian)
        assert float(potential({"z": z})) == pytest.approx(-expected, rel=1e-9)
    inside = Unconstrained(post).inverse(near(post, on_the_sky.truth, n=1)[0])
    assert inside.isfinite().all()


@pytest.mark.slow
def test_nuts_and_an_optimum_at_fixed_occupation(files, on_the_sky, tmp_path):
    occupation = {k: v for k, v in on_the_sky.truth.items() if k not in ("mu_cen", "mu_sat")}
    info = run_of(files, occupation, quadrupole=False)
    result = run_nuts(info, tmp_path / "sky", warm_up=60, samples=60, seed=1, progress=False)
    assert result.names == ["mu_cen", "mu_sat", "a2_cen", "a2_sat"]
    assert result.n_divergent == 0
    (chain,) = result.chains
    post = posterior(info)
    np.testing.assert_allclose(chain.log_posterior, post(chain.samples), rtol=1e-8)
    # Of their products the data say more.
    product = chain.samples[:, 0] * chain.samples[:, 2]
    assert product.std() / product.mean() < result.stds["a2_cen"] / result.means["a2_cen"]
    found = best_fit(post, chain.samples[-1])
    assert -found.fun >= chain.log_posterior.max() - 1e-3
