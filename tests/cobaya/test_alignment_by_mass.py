"""Strengths that depend on host mass, as an option of the theory."""

from __future__ import annotations

import numpy as np
import pytest
from cobaya.log import LoggedError
from cobaya.model import get_model

from iaemu_likelihood.sampling.nuts import run_nuts
from iaemu_likelihood.sampling.posterior import posterior

HOD = {"logMmin": 12.0, "sigma_logM": 0.26, "logM0": 12.1, "logM1": 13.0, "alpha": 1.0}


def info(weights, **options):
    return {
        "theory": {"iaemu_likelihood.IAEmu": {"weights": str(weights), **options}},
        "likelihood": {
            "iaemu_likelihood.IACorrelations": {
                "data_file": "tng300.sample2",
                "statistics": ["omega"],
                "emulator_error": "none",
            }
        },
        "params": dict(HOD),
    }


def test_slopes_are_sampled(exact_file):
    by_mass = info(exact_file, alignment="watson_mass")
    model = get_model(by_mass)
    names = list(model.parameterization.sampled_params())
    assert names == ["mu_cen", "mu_sat", "slope_cen", "slope_sat"]
    usual = get_model(info(exact_file))
    constant = usual.logposterior([0.7, 0.2]).loglikes[0]
    assert model.logposterior([0.7, 0.2, 0.0, 0.0]).loglikes[0] == pytest.approx(constant, rel=1e-3)
    steep = model.logposterior([0.7, 0.2, 0.5, 0.0]).loglikes[0]
    assert abs(steep - constant) > 0.1
    # Many points at once are the same.
    points = np.array([[0.7, 0.2, 0.5, 0.0], [0.7, 0.2, 0.0, 0.3]])
    expected = [model.logposterior(point).logpost for point in points]
    np.testing.assert_allclose(posterior(by_mass)(points), expected, rtol=1e-4)  # single precision


def test_gradients_of_the_posterior_are_its_slopes(exact_file):
    by_mass = info(exact_file, alignment="watson_mass")
    del by_mass["params"]["logM1"]  # so that the occupation varies, too
    target = posterior(by_mass)
    assert target.names == ["mu_cen", "mu_sat", "slope_cen", "slope_sat", "logM1"]
    points = np.array([[0.7, 0.2, 0.5, -0.1, 13.0], [0.3, 0.4, -0.2, 0.3, 13.1]])
    values, slopes = target.value_and_gradient(points)
    np.testing.assert_allclose(values, target(points), rtol=1e-5)
    for i, step in enumerate(1e-3 * np.eye(5)):
        found = (target(points + step) - target(points - step)) / 2e-3
        np.testing.assert_allclose(slopes[:, i], found, rtol=0.02, atol=0.02 * abs(slopes).max())


def test_nuts_takes_it(exact_file, tmp_path):
    by_mass = info(exact_file, alignment="watson_mass")
    found = run_nuts(by_mass, tmp_path / "nuts", 1, warm_up=2, samples=2, progress=False)
    assert [chain.samples.shape for chain in found.chains] == [(2, 4)]


def test_weights_of_networks_refuse_it_by_name():
    with pytest.raises(LoggedError, match="alignment is 'watson_mass', but the weights"):
        get_model(info("templates", alignment="watson_mass"))
