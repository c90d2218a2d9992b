"""The bundled weights predict what they predicted before the packages were divided into rooms."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from cobaya.run import run

from iaemu_likelihood.sampling.nuts import run_nuts

FOLDER = Path(__file__).parent
# Of the larger of the value and one standard deviation.
TOLERANCE = 1e-11


@pytest.fixture(scope="module")
def found():
    spec = importlib.util.spec_from_file_location("make", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.everything()


@pytest.fixture(scope="module")
def stored():
    with np.load(FOLDER / "predictions.npz", allow_pickle=False) as file:
        return dict(file)


def test_everything_that_was_stored_is_compared(found, stored):
    assert set(found) == set(stored)
    assert len(stored) > 50


def test_parameters_are_the_same(found, stored):
    for name in ("theta", "mu"):
        np.testing.assert_array_equal(found[name], stored[name])


@pytest.mark.parametrize("weights", ["templates", "paper", "z0"])
@pytest.mark.parametrize("kind", ["many", "single"])
def test_means_and_uncertainties(found, stored, weights, kind):
    names = [key for key in stored if key.startswith(f"{weights}/{kind}/")]
    assert len(names) == 9
    for name in names:
        statistic = name.rsplit("/", 1)[1]
        sigma = stored[f"{weights}/{kind}/aleatoric/{statistic}"]
        scale = np.maximum(np.abs(stored[name]), sigma)
        assert (np.abs(found[name] - stored[name]) / scale).max() < TOLERANCE, name


@pytest.mark.parametrize("weights", ["templates", "paper", "z0"])
def test_covariances(found, stored, weights):
    old, new = (x[f"{weights}/covariance"] for x in (stored, found))
    sigma = np.sqrt(np.diagonal(old, axis1=1, axis2=2))
    scale = sigma[:, :, None] * sigma[:, None]
    assert (np.abs(new - old) / scale).max() < TOLERANCE


@pytest.mark.parametrize("sample", ["sample1", "sample2", "sample3"])
def test_log_likelihoods_of_tng300(found, stored, sample):
    for error in ("none", "aleatoric", "epistemic", "total", "free"):
        name = f"{sample}/{error}"
        np.testing.assert_allclose(found[name], stored[name], rtol=TOLERANCE)
    gradient = stored[f"{sample}/gradient"]
    scale = np.abs(gradient).max()
    np.testing.assert_allclose(found[f"{sample}/gradient"], gradient, atol=1e-10 * scale, rtol=0)


def test_a_cobaya_chain_begun_by_the_old_version_goes_on(tmp_path):
    shutil.copytree(FOLDER / "begun", tmp_path / "chains")
    root = tmp_path / "chains" / "begun"
    begun = Path(f"{root}.1.txt").read_text().splitlines()
    info = yaml.safe_load(Path(f"{root}.input.yaml").read_text())
    info["output"] = str(root)
    info["sampler"]["mcmc"]["max_samples"] = 80
    _, sampler = run(info, resume=True, stop_at_error=True)
    assert len(sampler.products()["sample"]) > len(begun) - 1
    assert Path(f"{root}.1.txt").read_text().splitlines()[: len(begun)] == begun


def test_a_nuts_chain_begun_by_the_old_version_goes_on(tmp_path):
    shutil.copytree(FOLDER / "begun", tmp_path / "chains")
    info = yaml.safe_load((FOLDER / "begun" / "begun.input.yaml").read_text())
    begun = np.load(FOLDER / "begun" / "nuts_begun.nuts" / "chain_1.npz", allow_pickle=False)
    result = run_nuts(
        {k: info[k] for k in ("theory", "likelihood", "params")},
        tmp_path / "chains" / "nuts_begun",
        warm_up=200,
        samples=400,
        progress=False,
    )
    (chain,) = result.chains
    assert len(chain.samples) == 400
    assert len(begun["samples"]) == 50
    np.testing.assert_array_equal(chain.samples[:50], begun["samples"])
