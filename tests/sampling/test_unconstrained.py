"""The map in which NUTS moves: it knows the domain as it knows the priors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

from iaemu_likelihood.sampling.nuts import measurement_run, run_nuts
from iaemu_likelihood.sampling.posterior import posterior
from iaemu_likelihood.sampling.unconstrained import Unconstrained

IAEMU = "iaemu_likelihood.IAEmu"
UNBOUNDED = {
    "mu_cen": {"prior": {"dist": "norm", "loc": 0.9, "scale": 0.5}},
    "mu_sat": {"prior": {"dist": "norm", "loc": 0.3, "scale": 0.5}},
}
OCCUPATION = ("logMmin", "sigma_logM", "logM0", "logM1", "alpha")


def fit(params, out_of_domain="reject", **likelihood):
    """A fit of sample 1 at its occupation, but for `params`."""
    run = measurement_run("tng300.sample1")
    run["theory"][IAEMU]["out_of_domain"] = out_of_domain
    run["likelihood"]["data"].update(likelihood)
    run["params"].update(params)
    return run


def points(post, n=200, scale=3.0):
    """Points of the map, with the logarithms of the Jacobians and those by autograd."""
    constrain = Unconstrained(post)
    generator = torch.Generator().manual_seed(0)
    found = []
    for z in scale * torch.randn(n, len(post.names), generator=generator, dtype=torch.float64):
        point, jacobian = constrain(z)
        matrix = torch.autograd.functional.jacobian(lambda x: constrain(x)[0], z)
        torch.testing.assert_close(constrain.inverse(point.numpy()), z, rtol=1e-3, atol=1e-3)
        found.append((point.numpy(), float(jacobian), float(torch.linalg.slogdet(matrix)[1])))
    return map(np.array, zip(*found, strict=True))


@pytest.mark.parametrize(
    "params",
    [
        UNBOUNDED,
        {"mu_sat": {"prior": {"min": -3, "max": 0.2}}, "mu_cen": 0.7},
        # Half of a line, and an occupation of which one parameter is sampled,
        {"logM1": {"prior": {"dist": "norm", "loc": 14.0, "scale": 1.0}}},
        {"alpha": {"prior": {"dist": "expon", "loc": 0.3}}},
        # the first and another, so that the fixed ones limit the first,
        {"logMmin": {"prior": {"dist": "norm", "loc": 12.5, "scale": 1.0}},
         "alpha": {"prior": {"min": 0.0, "max": 1.1}}},
        # and all, one with a prior in a corner of its band.
        {name: {"prior": {"dist": "norm", "loc": x, "scale": 1.0}}
         for name, x in zip(OCCUPATION, (12.5, 0.3, 12.6, 13.5, 1.0), strict=True)}
        | {"logM1": {"prior": {"min": 14.9, "max": 17.0}}},
    ],
)  # fmt: skip
def test_no_point_of_the_map_is_outside_the_domain(params):
    post = posterior(fit(params))
    at, jacobian, expected = points(post)
    assert np.isfinite(post(at)).all()
    np.testing.assert_allclose(jacobian, expected, rtol=1e-6, atol=1e-6)
    # And all points inside are points of the map: just beyond its ends is nothing.
    constrain = Unconstrained(post)
    for i, name in enumerate(post.names):
        z = torch.zeros(len(post.names), dtype=torch.float64)
        for end in (-30.0, 30.0):
            z[i] = end
            x = constrain(z)[0].numpy()
            beyond = np.tile(x, (3000, 1))
            beyond[:, i] += np.copysign(1e-6, end)
            if name == "logMmin":  # the limits of the others follow it
                rng = np.random.default_rng(1)
                beyond += rng.normal(scale=0.5, size=beyond.shape) * (np.arange(len(x)) != i)
            assert np.isfinite(post(x))
            assert not np.isfinite(post.log_likelihood(beyond) + post.log_prior(beyond)).any()


@pytest.mark.parametrize(
    "dist", [{"dist": "expon", "loc": 0.3}, {"dist": "norm", "loc": 1.0, "scale": 1.0}]
)
def test_extrapolation_has_no_limits_but_those_of_the_prior_and_of_the_strengths(dist):
    run = fit({"mu_cen": UNBOUNDED["mu_cen"], "alpha": {"prior": dist}}, "extrapolate")
    post = posterior(run)
    at, jacobian, expected = points(post, scale=1.0)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-6, atol=1e-6)
    alpha, mu = (at[:, post.names.index(name)] for name in ("alpha", "mu_cen"))
    assert np.abs(mu).max() < 1
    assert alpha.max() > 1.8
    assert (alpha.min() > 0.3) == (dist["dist"] == "expon")
    assert np.isfinite(post.log_prior(at)).all()


def test_a_prior_that_is_wholly_outside_the_domain_is_refused():
    with pytest.raises(ValueError, match=r"prior of logM1, 15.5 to 17.*, has nothing inside"):
        Unconstrained(posterior(fit({"logM1": {"prior": {"min": 15.5, "max": 17.0}}})))


def grid(post, n):
    """Means and standard deviations of two strengths, by a grid over their limits."""
    edges = np.linspace(*DEFAULT_SPACE.alignment.limits, n + 1)
    nodes = (edges[1:] + edges[:-1]) / 2
    values = post(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2))
    density = np.exp(values - values.max()).reshape(n, n)
    for marginal in (density.sum(1), density.sum(0)):
        mean = marginal @ nodes / marginal.sum()
        yield mean, np.sqrt(marginal @ (nodes - mean) ** 2 / marginal.sum())


@pytest.mark.slow
def test_priors_beyond_the_domain_do_not_bias_the_chains(tmp_path):
    """Trajectories that left the domain diverged, and the chains were half as wide as they are."""
    run = fit(UNBOUNDED, r_min=3.0)
    result = run_nuts(run, tmp_path / "x", warm_up=400, samples=2000, progress=False)
    assert result.n_divergent == 0
    assert result.sentences() == []
    for name, (mean, std) in zip(("mu_cen", "mu_sat"), grid(posterior(run), 400), strict=True):
        assert abs(result.means[name] - mean) < 4 * std / np.sqrt(result.ess[name])
        assert result.stds[name] == pytest.approx(std, rel=0.25)


@pytest.mark.slow
def test_divergences_are_said_in_words(tmp_path, caplog):
    """Limits that only a function knows are no part of the map."""
    run = fit({"mu_sat": 0.3}, r_min=3.0)
    run["prior"] = {"edge": "lambda mu_cen: 0.0 if mu_cen < 0.7 else -np.inf"}
    result = run_nuts(run, tmp_path / "x", warm_up=200, samples=300, progress=False)
    assert result.n_divergent > 0.003 * 300
    (sentence,) = result.sentences()
    assert f"{result.n_divergent} of 300 steps diverged" in sentence
    assert sentence in caplog.text
    assert result.numbers["warnings"] == [sentence]
