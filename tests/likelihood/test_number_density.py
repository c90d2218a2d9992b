"""The number density of galaxies is one datum more, the same for every sampler."""

import numpy as np
import pytest
import torch
from cobaya.model import get_model
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.physics.occupations import ZHENG07

from iaemu_likelihood import posterior
from iaemu_likelihood.likelihood.core import LikelihoodOptions
from iaemu_likelihood.likelihood.number_density import NumberDensities

POINT = {
    "mu_cen": 0.8, "mu_sat": 0.3, "logMmin": 12.54, "sigma_logM": 0.26, "logM0": 12.68,
    "logM1": 13.48, "alpha": 1.0,
}  # fmt: skip
MEASURED = {"value": 0.0018, "error": 0.0001}


@pytest.fixture(scope="module")
def density():
    """Of galaxies at POINT, (h/Mpc)^3."""
    hod = np.array([list(POINT.values())[2:]])
    return float(Emulator.load().hosts.galaxies(ZHENG07, hod).sum())


def run_of(number_density, fixed=(), **options):
    likelihood = {"data_file": "tng300.sample1", "statistics": ["xi", "omega"], "r_min": 1.0}
    likelihood |= {"number_density": number_density, **options}
    run = {
        "theory": {"iaemu_likelihood.IAEmu": {}},
        "likelihood": {"iaemu_likelihood.IACorrelations": likelihood},
    }
    return run | ({"params": {name: POINT[name] for name in fixed}} if fixed else {})


def value(run):
    found = posterior(run)
    return found.log_likelihood([POINT[name] for name in found.names])


@pytest.mark.parametrize("emulator_error", ["none", "total"])
def test_it_adds_its_own_gaussian(density, emulator_error):
    pull = (density - MEASURED["value"]) / MEASURED["error"]
    assert 0.5 < pull < 3
    with_it = value(run_of(MEASURED, emulator_error=emulator_error))
    without = value(run_of(None, emulator_error=emulator_error))
    assert with_it - without == pytest.approx(-(pull**2) / 2, rel=1e-8)
    normalized = [
        value(run_of(x, emulator_error=emulator_error, normalized=True)) for x in (MEASURED, None)
    ]
    constant = -np.log(np.sqrt(2 * np.pi) * MEASURED["error"])
    assert normalized[0] - normalized[1] == pytest.approx(constant - pull**2 / 2, rel=1e-8)


def test_cobaya_counts_it_in_its_chi2(density):
    def evaluated(run):
        model = get_model(run)
        names = model.parameterization.sampled_params()
        found = model.logposterior([POINT[name] for name in names])
        return found.loglikes[0], found.derived[0]

    (loglike, chi2), (loglike_without, chi2_without) = map(
        evaluated, (run_of(MEASURED), run_of(None))
    )
    assert loglike == pytest.approx(value(run_of(MEASURED)), rel=1e-10)
    pull = (density - MEASURED["value"]) / MEASURED["error"]
    assert chi2 - chi2_without == pytest.approx(pull**2, rel=1e-8)
    assert loglike - loglike_without == pytest.approx(-(pull**2) / 2, rel=1e-8)


def test_the_closed_form_at_a_fixed_occupation_has_it(density):
    found = posterior(run_of(MEASURED, fixed=list(POINT)[2:], emulator_error="none"))
    assert found.closed_form is not None
    with_it = found.log_likelihood([POINT[name] for name in found.names])
    assert with_it == pytest.approx(value(run_of(MEASURED, emulator_error="none")), rel=1e-10)


def test_gradient_and_fisher_matrix_have_it(density):
    with_it, without = posterior(run_of(MEASURED)), posterior(run_of(None))
    at = np.array([POINT[name] for name in with_it.names])
    gradient = with_it.value_and_gradient(at)[1] - without.value_and_gradient(at)[1]
    steps = 1e-5 * np.eye(len(at))
    hosts = Emulator.load().hosts
    slope = [
        hosts.galaxies(ZHENG07, np.stack([at + step, at - step])[:, 2:]).sum(1) @ [0.5e5, -0.5e5]
        for step in steps
    ]
    pull = (density - MEASURED["value"]) / MEASURED["error"]
    expected = -pull * np.array(slope) / MEASURED["error"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    fisher = with_it.fisher(at) - without.fisher(at)
    scaled = np.array(slope) / MEASURED["error"]
    np.testing.assert_allclose(fisher, np.outer(scaled, scaled), rtol=1e-4, atol=1e-3)


def test_of_several_samples_each_has_its_own():
    given = {"b": {"value": 0.01, "error": 0.001}}
    found = NumberDensities(given, ["a", "b"])
    assert found.samples == ("b",)
    log_likelihood, chi2 = found(torch.tensor([[0.012], [0.01]], dtype=torch.float64))
    np.testing.assert_allclose(chi2, [4, 0], atol=1e-12)
    np.testing.assert_allclose(log_likelihood, [-2, 0], atol=1e-12)
    assert NumberDensities({"a": MEASURED, **given}, ["a", "b"]).values.tolist() == [0.0018, 0.01]


@pytest.mark.parametrize(
    ("given", "samples", "message"),
    [
        ({"value": 0.01, "error": 0.0}, [None], "error is 0.0; expected a positive, finite number"),
        ({"value": float("nan"), "error": 1.0}, [None], "value is nan"),
        ({"value": True, "error": 1.0}, ["a"], "number_density of a: value is True"),
        ({"value": 0.01}, [None], r"\{'value': 0.01\}; expected \{value: 0.0133"),
        ({"value": 0.01, "error": 0.1}, ["a", "b"], "one density, but there are the samples a, b"),
        ({"c": MEASURED}, ["a", "b"], "the key 'c'; expected .* labels of the samples, a, b"),
        ({}, [None], r"number_density is \{\}"),
        (0.0133, [None], "number_density is 0.0133"),
    ],
)
def test_what_is_no_number_density_is_refused(given, samples, message):
    with pytest.raises(ValueError, match=message):
        NumberDensities(given, samples)
    several = len(samples) > 1
    with pytest.raises(ValueError, match=message):
        LikelihoodOptions(
            ["x.ecsv"] * len(samples) if several else "x.ecsv",
            samples if several else samples[0],
            number_density=given,
        )


def test_weights_without_hosts_say_so():
    emulator = Emulator.load()
    emulator.hosts = None
    with pytest.raises(ValueError, match="before weights held the masses of host halos"):
        emulator.need_hosts()
