"""A tabulation in the place of weights: Cobaya, the batched posterior with gradients, and commands."""

from importlib.resources import files

import numpy as np
import pytest
import yaml
from cobaya.log import LoggedError
from cobaya.model import get_model
from cobaya.run import run

from iaemu_likelihood.sampling.posterior import posterior

THEORY = "iaemu_likelihood.IAEmu"
SAMPLE = "iaemu_likelihood.tng300.Sample1"


@pytest.fixture
def seven(exact_file):
    """The example of all seven parameters, by the tabulation."""
    text = (files("iaemu_likelihood.yaml_examples") / "tng300_all_parameters.yaml").read_text()
    info = yaml.safe_load(text)
    info["theory"][THEORY] |= {"weights": str(exact_file)}
    info["likelihood"][SAMPLE]["emulator_error"] = "none"
    del info["output"]
    return info


def test_posterior_and_gradient_are_cobaya_s(seven):
    target, model = posterior(seven), get_model(seven)
    assert target.emulator.card["kind"] == "exact"
    points = target.start(4, seed=1)
    values, slopes = target.value_and_gradient(points)
    for point, value in zip(points, values, strict=True):
        assert value == pytest.approx(model.logposterior(point).logpost, rel=1e-4)
    names = [name.removesuffix("_sample1") for name in target.names]
    for i, name in enumerate(names):
        step = np.zeros(len(names))
        step[i] = 1e-3
        slope = (target(points + step) - target(points - step)) / 2e-3
        # The threshold logM0 passes intervals of mass one by one.
        rough = 0.3 if name == "logM0" else 0.02
        np.testing.assert_allclose(
            slopes[:, i], slope, rtol=rough, atol=rough * np.abs(slopes[:, i]).max(), err_msg=name
        )


def test_the_scatter_of_a_catalogue_is_refused_by_name(seven):
    seven["likelihood"][SAMPLE]["emulator_error"] = "aleatoric"
    with pytest.raises(LoggedError, match=r"have no noise.*emulator_error to none"):
        get_model(seven)


def test_another_occupation_brings_its_parameters(seven):
    seven["theory"][THEORY]["occupation"] = "desi_lrg"
    del seven["params"]
    model = get_model(seven)
    names = ["mu_cen", "mu_sat", "logM_cut", "sigma", "kappa", "logM1", "alpha", "f_ic"]
    assert list(model.parameterization.sampled_params()) == [f"{name}_sample1" for name in names]
    point = [0.8, 0.3, 12.7, 0.3, 0.6, 13.7, 1.1, 0.8]
    first = model.logposterior(point).logpost
    assert np.isfinite(first)
    assert posterior(seven)(point) == pytest.approx(first, rel=1e-4)
    assert model.logposterior([*point[:-1], 1.2]).logpost == -np.inf


def test_the_example_runs(exact_file, tmp_path):
    text = (files("iaemu_likelihood.yaml_examples") / "tng300_exact.yaml").read_text()
    info = yaml.safe_load(text)
    assert info["output"] == "chains/tng300_exact"
    info["theory"][THEORY]["weights"] = str(exact_file)
    info |= {"output": str(tmp_path / "chain"), "sampler": {"evaluate": None}}
    run(info, stop_at_error=True)


def test_commands_take_it(exact_file, seven, iaemu, tmp_path):
    parameters = ["0.8", "0.3", "12.0", "0.26", "12.1", "13.0", "1.0"]
    found = iaemu("predict", *parameters, "--weights", exact_file, cwd=tmp_path)
    assert "omega" in found.stdout, found.stderr
    assert "±" not in found.stdout
    found = iaemu("info", exact_file, "--occupation", "desi_elg", cwd=tmp_path)
    assert "A_s" in found.stdout, found.stderr
    assert "without an error of an emulator" in found.stdout
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(seven))
    found = iaemu("check", "run.yaml", cwd=tmp_path)
    assert "chi^2" in found.stdout, found.stderr


def test_tabulate_writes_the_card_of_a_file_that_is_there(
    small_fine_tabulation, small_halos_table, iaemu, tmp_path
):
    small_halos_table.write(tmp_path / "h.hdf5", path="halos", serialize_meta=True)
    small_fine_tabulation.write(tmp_path / "t.hdf5")
    found = iaemu("tabulate", "t.hdf5", "--halos", "h.hdf5", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "t.card.yaml").is_file()
    again = iaemu("tabulate", "t.hdf5", "--halos", "h.hdf5", cwd=tmp_path)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr
    (tmp_path / "t.card.yaml").unlink()
    other = iaemu("tabulate", "t.hdf5", cwd=tmp_path)
    assert "tabulates the catalogue 'small.ecsv'" in other.stderr
