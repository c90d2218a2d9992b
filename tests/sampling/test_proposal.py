"""Mean and covariance for a chain's first steps, against the closed form and by Cobaya."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml
from cobaya.run import run

from iaemu_likelihood import posterior
from iaemu_likelihood.sampling import find_proposal
from iaemu_likelihood.sampling.nuts import measurement_run
from iaemu_likelihood.tng300.table1 import exact_posterior, example


@pytest.mark.parametrize("sample", ["sample1", "sample3"])
def test_at_fixed_occupation_it_is_the_closed_form(sample):
    found = find_proposal(posterior(example(sample)))
    draws = exact_posterior(sample).sample(100_000, seed=1)
    assert found.n_effective > 1000
    assert found.sentences() == []
    sigma = draws.std(0)
    assert (np.abs(found.mean - draws.mean(0)) < 4 * sigma / found.n_effective**0.5).all()
    relative = (found.covariance - np.cov(draws.T)) / np.outer(sigma, sigma)
    assert np.abs(relative).max() < 4 * (2 / found.n_effective) ** 0.5


@pytest.fixture(scope="module")
def seven():
    """Of a posterior that is cut off at edges of the domain, and flat between."""
    target = posterior(measurement_run("tng300.sample1", free_hod=True))
    return target, [find_proposal(target, seed) for seed in (0, 1)]


def test_draws_of_two_seeds_agree_with_everything_free(seven):
    _, (a, b) = seven
    assert min(a.n_effective, b.n_effective) > 500
    sigma = np.diag(a.covariance) ** 0.5
    few = min(a.n_effective, b.n_effective)
    assert (np.abs(a.mean - b.mean) < 5 * sigma * (2 / few) ** 0.5).all()
    # As proposals they are one: no direction in which one is much wider.
    ratios = np.linalg.eigvals(np.linalg.solve(a.covariance, b.covariance)).real
    assert ratios.min() > 0.5
    assert ratios.max() < 2


def test_the_same_seed_gives_the_same(seven):
    target, (a, _) = seven
    again = find_proposal(target, 0)
    np.testing.assert_array_equal(again.covariance, a.covariance)


def test_cobaya_begins_with_it(tmp_path):
    info = example("sample2")
    found = find_proposal(posterior(info))
    lines = found.lines(found.write(tmp_path / "run.covmat"))
    assert max(map(len, lines.splitlines()[:-2])) <= 80
    more = yaml.safe_load(lines)
    more["sampler"]["mcmc"] |= {"max_samples": 20, "seed": 1, "learn_proposal": False}
    info = {**info, "params": {**info["params"], **more["params"]}, "sampler": more["sampler"]}
    info.pop("output")
    _, sampler = run(info, stop_at_error=True)
    np.testing.assert_allclose(
        sampler.proposer.get_covariance(), found.covariance, rtol=1e-6, atol=1e-12
    )
    first = sampler.collection.data[found.names].to_numpy(float)[0]
    widths = np.diag(np.linalg.inv(found.covariance)) ** -0.5
    assert (np.abs(first - found.mean) < 6 * widths).all()


def test_few_effective_draws_are_said(seven):
    _, (a, _) = seven
    (said,) = replace(a, n_effective=17.2).sentences()
    assert "Only 17 effective draws" in said
