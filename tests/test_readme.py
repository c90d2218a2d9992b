"""Every example of the README runs."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from cobaya.run import run
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.halos.readers import READERS

from iaemu_likelihood.tng300.table1 import exact_posterior

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_python_examples_of_predictions_and_samplers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    predict, samplers, projected, *_ = blocks("python")
    names: dict = {}
    exec(predict, names)
    assert names["p"].omega.shape == (20,)
    exec(projected, names)
    assert names["w"].w_gplus.shape == (10,)
    bundled_data, *_ = blocks("yaml")
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
    *_, forward, noise = blocks("python")
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


def test_yaml_examples(tmp_path, monkeypatch, on_the_sky):
    monkeypatch.chdir(tmp_path)
    bundled_data, own_data, projected = (yaml.safe_load(block) for block in blocks("yaml"))
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
