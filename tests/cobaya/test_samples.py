"""Samples at redshifts, and with weights, of their own in one Cobaya run."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from cobaya.input import update_info
from cobaya.log import LoggedError
from cobaya.model import get_model
from cobaya.run import run
from iaemu_likelihood.emulator.models import Emulator

from iaemu_likelihood import posterior
from iaemu_likelihood.cobaya.check import check_run
from iaemu_likelihood.cobaya.inputs import model_of
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.plots.posterior_prediction import predictions
from iaemu_likelihood.sampling.nuts import run_nuts
from iaemu_likelihood.sampling.potential import potential_of
from iaemu_likelihood.sampling.proposal import find_proposal

IAEMU, DATA = "iaemu_likelihood.IAEmu", "iaemu_likelihood.IACorrelations"
# At an occupation that is allowed at every redshift.
HOD = dict(sigma_logM=0.26, logM0=12.68, logM1=13.48, alpha=1.0)
MU = {"mu_cen_low": 0.7, "mu_sat_low": 0.3, "mu_cen_high": 0.5, "mu_sat_high": 0.1}


def of_sample(label, weights, redshift, **likelihood):
    """The run of one sample alone."""
    options = {"class": DATA, "data_file": "tng300.sample1", "sample": label, **likelihood}
    return {
        "theory": {IAEMU: {"weights": str(weights), "redshift": redshift, "samples": [label]}},
        "likelihood": {label: options},
        "params": {f"{name}_{label}": x for name, x in {"logMmin": 12.54, **HOD}.items()},
    }


def joint(weights, params=None, **likelihood):
    """Two samples, of which one says its redshift and one its weights."""
    runs = [of_sample(label, weights, None, **likelihood) for label in ("low", "high")]
    return {
        "theory": {IAEMU: {"samples": {
            "low": {"weights": str(weights), "redshift": 0.2}, "high": {"redshift": 0.9},
        }, "weights": str(weights)}},
        "likelihood": {k: x for each in runs for k, x in each["likelihood"].items()},
        "params": {**{k: x for each in runs for k, x in each["params"].items()}, **(params or {})},
    }  # fmt: skip


@pytest.mark.parametrize("emulator_error", ["none", "total"])
def test_a_joint_run_is_the_sum_of_both(evolving_weights, emulator_error):
    info = joint(evolving_weights, emulator_error=emulator_error)
    model = get_model(copy.deepcopy(info), stop_at_error=True)
    alone = 0.0
    for label, redshift in (("low", 0.2), ("high", 0.9)):
        each = of_sample(label, evolving_weights, redshift, emulator_error=emulator_error)
        point = {k: x for k, x in MU.items() if k.endswith(label)}
        alone += get_model(each, stop_at_error=True).loglike(point)[0]
    assert model.loglike(MU)[0] == pytest.approx(alone, rel=1e-12)
    # In batches, in closed form where it has one, and with gradients as NUTS takes them.
    target = posterior(info)
    point = np.array([MU[name] for name in target.names])
    assert target.log_likelihood(point) == pytest.approx(alone, rel=1e-10)
    assert (target.closed_form is not None) == (emulator_error == "none")
    potential, constrain = potential_of(target)
    z = constrain.inverse(point).requires_grad_()
    value = potential({"z": z})
    (slope,) = torch.autograd.grad(value, z)
    steps = 1e-5 * torch.eye(4, dtype=torch.float64)
    with torch.no_grad():
        differences = [potential({"z": z + h}) - potential({"z": z - h}) for h in steps]
    np.testing.assert_allclose(slope, torch.stack(differences) / 2e-5, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="different weights, or redshifts"):
        _ = target.emulator
    again = pickle.loads(pickle.dumps(target))
    assert again(point) == target(point)


def test_samples_at_one_redshift_are_one_call(evolving_weights):
    info = joint(evolving_weights)
    info["theory"][IAEMU] = {
        "weights": str(evolving_weights), "redshift": 0.4, "samples": ["low", "high"],
    }  # fmt: skip
    model = get_model(info, stop_at_error=True)
    model.loglike(MU)
    theory = model.theory[IAEMU]
    low, high = (theory._predicted(label) for label in ("low", "high"))
    assert low.predicted is high.predicted
    assert len(low.predicted.mu) == 2


def test_free_occupations_keep_to_the_domains_of_their_redshifts(evolving_weights):
    """Also the default priors, the share of the prior in the domain, and the map of NUTS."""
    info = joint(evolving_weights)
    for label in ("low", "high"):
        del info["params"][f"logMmin_{label}"]
    model = get_model(copy.deepcopy(info), stop_at_error=True)
    theory = model.theory[IAEMU]
    bounds = dict(zip(model.parameterization.sampled_params(), model.prior.bounds(), strict=True))
    ends = [theory.emulators[label].domain.bands.first[1] for label in ("low", "high")]
    assert ends[1] < ends[0] <= 14
    for label, end in zip(("low", "high"), ends, strict=True):
        assert end - 1e-3 <= bounds[f"logMmin_{label}"][1] <= end
    target = posterior(info)
    points = target.start(5, seed=1)
    names = list(model.parameterization.sampled_params())
    expected = [model.logpost(dict(zip(target.names, row, strict=True))) for row in points]
    assert names == target.names
    np.testing.assert_allclose(target(points), expected, rtol=1e-9)
    _, constrain = potential_of(target)
    for z in 2 * torch.randn(50, len(names), generator=torch.manual_seed(0), dtype=torch.float64):
        assert np.isfinite(target(constrain(z)[0].numpy()))


def test_derived_parameters_are_those_of_the_redshift(evolving_weights):
    info = joint(evolving_weights, {f"{x}_{s}": {"derived": True} for x in ("n_gal", "b_g")
                                    for s in ("low", "high")})  # fmt: skip
    model = get_model(copy.deepcopy(info), stop_at_error=True)
    found = model.logposterior(MU)
    derived = dict(zip(model.parameterization.derived_params(), found.derived, strict=True))
    # The same correlations over those of matter, which grows.
    growth = [
        Emulator.load(evolving_weights).at_redshift(z).universe.theory(250.0).growth
        for z in (0.2, 0.9)
    ]
    ratio = derived["b_g_high"] / derived["b_g_low"]
    assert ratio == pytest.approx(growth[0] / growth[1], rel=0.1)
    target = posterior(info)
    batch = target.derived([MU[name] for name in target.names])
    assert batch == pytest.approx({name: derived[name] for name in batch}, rel=1e-9)


def test_the_run_is_checked_sample_by_sample(evolving_weights, tmp_path):
    file = tmp_path / "run.yaml"
    info = joint(evolving_weights, {"logMmin_high": {"prior": {"min": 12, "max": 14}}})
    file.write_text(yaml.safe_dump(info))
    result = check_run(file)
    emulators = result.numbers["theory"]["emulators"]
    assert {label: x["redshift"] for label, x in emulators.items()} == {"low": 0.2, "high": 0.9}
    text = "\n".join(result.sentences())
    assert "at z = 0.2" in text
    assert "for low; " in text
    (row,) = [x for x in result.numbers["parameters"] if x["name"] == "logMmin_high"]
    assert row["inside"] is False
    assert row["domain"][1] < 14


@pytest.mark.parametrize(("redshift", "remedy"), [
    (0.5, "set redshift: 0.5 for the sample low, which the weights know"),
    (2.0, "take weights from halos at the redshift of the data"),
])  # fmt: skip
def test_data_at_another_redshift(evolving_weights, tmp_path, redshift, remedy, caplog):
    measured = Measurement.read("tng300.sample1")
    replace(measured, metadata={**measured.metadata, "redshift": redshift}).write(
        tmp_path / "data.ecsv"
    )
    info = of_sample("low", evolving_weights, 0.2, data_file=str(tmp_path / "data.ecsv"))
    get_model(copy.deepcopy(info))
    assert f"z = {redshift:g}, but the weights predict z = 0.2, and what" in caplog.text
    assert remedy in caplog.text
    caplog.clear()
    if redshift == 0.5:
        info["theory"][IAEMU]["redshift"] = 0.5
        get_model(info)
        assert "but the weights predict" not in caplog.text


@pytest.mark.parametrize(("options", "message"), [
    ({"redshift": 1.2, "samples": ["low", "high"]}, "The redshift is 1.2; these weights know z = 0 to 1"),
    ({"redshift": "high"}, "redshift must be a number; got 'high'|redshift.*of type"),
    ({"samples": {"low": {"redshift": 0.2}, "high": {"z": 1}}}, "samples: high is {'z': 1}"),
    ({"samples": {"low": None, "high": {"redshift": 3}}}, "Sample high: The redshift is 3"),
])  # fmt: skip
def test_what_cannot_be_is_refused_before_sampling(evolving_weights, options, message):
    info = joint(evolving_weights)
    info["theory"][IAEMU].update(options)
    with pytest.raises((LoggedError, TypeError), match=message):
        get_model(info, stop_at_error=True)


def test_two_theories_are_pointed_to_one(evolving_weights):
    info = joint(evolving_weights)
    info["theory"] = {
        label: {"class": IAEMU, **of_sample(label, evolving_weights, 0.5)["theory"][IAEMU]}
        for label in ("low", "high")
    }
    with pytest.raises(ValueError, match="take one theory, which predicts all of them"):
        model_of(info)


def test_labels_in_latex_of_one_sample(evolving_weights):
    info = joint(evolving_weights)
    info["theory"][IAEMU]["latex"] = {"mu_cen": "A", "mu_sat_high": "B"}
    params = update_info(info)["params"]
    assert params["mu_cen_low"]["latex"] == r"A^{\mathrm{low}}"
    assert params["mu_sat_high"]["latex"] == "B"


def test_a_chain_goes_on_only_with_its_redshifts(evolving_weights, tmp_path):
    info = {**joint(evolving_weights, emulator_error="none"), "output": str(tmp_path / "chain")}
    info["sampler"] = {"mcmc": {"max_samples": 20, "seed": 1, "output_every": 10}}
    run(info, stop_at_error=True)
    info["sampler"]["mcmc"]["max_samples"] = 30
    changed = copy.deepcopy(info)
    changed["theory"][IAEMU]["samples"]["high"]["redshift"] = 0.8
    with pytest.raises(LoggedError):
        run(changed, resume=True, stop_at_error=True)
    _, sampler = run(info, resume=True, stop_at_error=True)
    assert len(sampler.products()["sample"]) >= 30
    low, high = predictions(tmp_path / "chain", n=5)
    assert low.best["omega"].shape == high.best["omega"].shape


@pytest.mark.slow
def test_nuts_and_covmat_agree(evolving_weights, tmp_path):
    info = joint(evolving_weights, emulator_error="none")
    found = find_proposal(posterior(info))
    chain = run_nuts(info, tmp_path / "nuts", warm_up=200, samples=1000, progress=False)
    sigma = dict(zip(found.names, np.diag(found.covariance) ** 0.5, strict=True))
    for name, mean in zip(found.names, found.mean, strict=True):
        assert chain.means[name] == pytest.approx(mean, abs=0.25 * sigma[name])
    changed = copy.deepcopy(info)
    changed["theory"][IAEMU]["samples"]["high"]["redshift"] = 0.8
    with pytest.raises(ValueError, match="another input, weights"):
        run_nuts(changed, tmp_path / "nuts", warm_up=200, samples=1000, progress=False)


def test_a_run_of_another_cosmology_is_warned_of(evolving_weights, caplog, tmp_path):
    info = joint(evolving_weights, {"omegam": {"prior": {"min": 0.1, "max": 0.5}}})
    info["likelihood"]["other"] = {"external": "lambda omegam: -omegam"}
    get_model(copy.deepcopy(info), stop_at_error=True)
    sentence = "omegam varies in this run, from 0.1 to 0.5, but the emulator predicts for Omega_m"
    assert caplog.text.count(sentence) == 1
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(info))
    assert sentence in "\n".join(check_run(tmp_path / "run.yaml").sentences())
    caplog.clear()
    info["params"]["omegam"] = 0.309
    get_model(info, stop_at_error=True)
    assert "Omega_m" not in caplog.text
