"""Constraints and their convergence, on chains whose numbers are known."""

import json

import numpy as np
import pytest
from getdist import MCSamples

from iaemu_likelihood.plots import Constraints
from iaemu_likelihood.plots.constraints import _rounded


def autoregressive(n, rho, offset, seed):
    """A chain of variance 1 whose neighbours are correlated by rho."""
    rng = np.random.default_rng(seed)
    x = np.empty(n)
    x[0] = rng.normal()
    for i in range(1, n):
        x[i] = rho * x[i - 1] + np.sqrt(1 - rho**2) * rng.normal()
    return (x + offset)[:, None]


def test_effective_samples_of_a_correlated_chain():
    """n (1 - rho) / (1 + rho)."""
    n, rho = 40_000, 0.8
    samples = MCSamples(samples=autoregressive(n, rho, 0, 1), names=["x"])
    found = Constraints("a", samples).effective("x")
    assert found == pytest.approx(n * (1 - rho) / (1 + rho), rel=0.1)


def test_r_minus_1_of_chains_that_lie_apart():
    """The variance of the means over the mean of the variances."""
    offsets = [0.0, 0.3, 0.6]
    parts = [autoregressive(20_000, 0.0, x, i) for i, x in enumerate(offsets)]
    found = Constraints("a", MCSamples(samples=parts, names=["x"])).r_minus_1
    assert found == pytest.approx(np.var(offsets, ddof=1), rel=0.1)


def test_r_minus_1_of_one_chain_is_of_its_halves():
    drifting = np.concatenate([autoregressive(5000, 0.0, x, i) for i, x in enumerate([0, 0.4])])
    found = Constraints("a", MCSamples(samples=drifting, names=["x"])).r_minus_1
    assert found == pytest.approx(0.4**2 / 2, rel=0.2)


def test_nested_samples_have_no_r_minus_1():
    weights = np.random.default_rng(1).uniform(size=1000)
    samples = MCSamples(
        samples=autoregressive(1000, 0.9, 0, 1), weights=weights, names=["x"], sampler="nested"
    )
    found = Constraints("a", samples)
    assert found.r_minus_1 is None
    assert found.effective("x") == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-3)
    assert "R-1" not in found.table().title


def test_numbers_are_rounded_to_their_errors():
    assert _rounded(0.79687, 0.01109) == "0.797 ± 0.011"
    assert _rounded(1234.5, 67.8) == "1234 ± 68"
    assert _rounded(0.5, 0.0) == "0.500 ± 0.000"


def test_plot_prints_constraints_and_writes_a_table(folder, iaemu, tmp_path):
    """Of Cobaya's chain and NUTS', which are the same draws."""
    roots = [folder / "tng300_sample1", folder / "nuts_sample1"]
    done = iaemu(
        "plot", *roots, "--latex", tmp_path / "a.tex", "--json", tmp_path / "a.json",
        "--out", tmp_path / "both",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = json.loads((tmp_path / "a.json").read_text())["chains"]
    assert first["chain"] == "tng300_sample1"
    assert first["parameters"].keys() == second["parameters"].keys()
    # Cobaya's lose their first 30 %.
    assert (first["samples"], second["samples"]) == (210, 300)
    assert f"tng300_sample1: 210 samples, R-1 = {first['r_minus_1']:.2g}" in done.stdout
    assert r"$\mu_\mathrm{cen}^{\mathrm{sample1}}$ & $0.79" in (tmp_path / "a.tex").read_text()
    assert (tmp_path / "both_corner.png").stat().st_size > 1e4
    assert "No prediction: give the Cobaya input of" in done.stdout
    assert not (tmp_path / "both_prediction.png").exists()
