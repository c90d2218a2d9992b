"""Every example of the README and of the site's pages runs."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from cobaya.run import run
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.halos.readers import READERS

from iaemu_likelihood.tng300.table1 import exact_posterior

ROOT = Path(__file__).parents[1]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_readme_predicts_as_the_site_does():
    assert blocks("README.md", "python") == blocks("docs/getting_started.md", "python")


@pytest.mark.slow
def test_python_examples_of_predictions_and_samplers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (predict,), (samplers,) = (
        blocks(f"docs/{page}.md", "python") for page in ("getting_started", "samplers")
    )
    (projected,) = blocks("docs/survey.md", "python")
    names: dict = {}
    exec(predict, names)
    assert names["p"].omega.shape == (20,)
    exec(projected, names)
    assert names["w"].w_gplus.shape == (10,)
    (cosmology,) = blocks("docs/cosmology.md", "python")
    exec(cosmology, {})
    bundled_data, _ = blocks("docs/cobaya.md", "yaml")
    Path("tng300_sample1.yaml").write_text(bundled_data)
    exec(samplers, names)
    exact = exact_posterior("sample1")
    np.testing.assert_allclose(names["best"].x, exact.mean, atol=0.3 * exact.std.min())
    np.testing.assert_allclose(names["errors"], exact.std, rtol=0.1)
    weight = np.exp(names["log_w"])
    means = np.average(names["points"], axis=0, weights=weight), names["chain"].getMeans()[:2]
    for mean in means:
        assert (np.abs(mean - exact.mean) < 0.2 * exact.std).all()


@pytest.mark.slow
def test_python_examples_of_the_forward_model(tmp_path, monkeypatch, small_halos):
    """In a small box, which stands for the bundled catalogue: that takes minutes to tabulate."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(READERS, "bundled", lambda: small_halos)
    _, forward, noise = blocks("docs/weights.md", "python")
    names: dict = {}
    exec(forward, names)
    exec(noise, names)
    xi, omega, _ = names["expected"]
    measured, sigma = names["measured"], names["noise"].sigma(0.8, 0.3)
    for name, expected, most in (("xi", xi[0], 6), ("omega", omega[0], 4.5)):
        deviation = np.abs(measured[name] - expected) / sigma[name]
        counted = np.isfinite(deviation)
        assert counted.sum() >= 17
        # One mock scatters around the expectation by less than that many standard deviations.
        assert (deviation[counted] < most).all()
    # Which is no empty statement: clustering is seen in so small a box, too.
    assert (xi[0] / sigma.xi)[8:14].min() > 3
    np.testing.assert_allclose(measured.xi[8:15], xi[0, 8:15], rtol=0.5)


def test_yaml_examples(tmp_path, monkeypatch, on_the_sky, evolving_weights):
    monkeypatch.chdir(tmp_path)
    bundled_data, of_samples, own_data, projected = (
        yaml.safe_load(block)
        for page in ("cobaya", "measurement", "survey")
        for block in blocks(f"docs/{page}.md", "yaml")
    )
    (short,) = (yaml.safe_load(block) for block in blocks("README.md", "yaml"))
    shown, whole = short["likelihood"]["my_sample"], own_data["likelihood"]["my_sample"]
    assert shown.items() <= whole.items()
    run({**bundled_data, "sampler": {"evaluate": None}}, stop_at_error=True)
    Path("my_sample.ecsv").write_bytes(bundled("tng300/sample3.ecsv").read_bytes())
    names = ("logMmin", "sigma_logM", "logM0", "logM1", "alpha")
    info = {
        "theory": {"iaemu_likelihood.IAEmu": None},
        **own_data,
        "params": dict(zip(names, (11.61, 0.26, 11.80, 12.60, 1.0), strict=True)),
        "sampler": {"evaluate": None},
        "output": None,
    }
    run(info, stop_at_error=True)
    on_the_sky().write("my_projected.ecsv")
    run({**info, **projected}, stop_at_error=True)
    # Samples at redshifts of their own.
    shutil.copytree(evolving_weights, "my_weights")
    (theory,) = of_samples["theory"].values()
    labels = list(theory["samples"])
    own = {"class": "iaemu_likelihood.IACorrelations", "data_file": "my_sample.ecsv"}
    info |= of_samples
    info["likelihood"] = {label: {**own, "sample": label} for label in labels}
    info["params"] = {f"{k}_{label}": x for k, x in info["params"].items() for label in labels}
    run(info, stop_at_error=True)
