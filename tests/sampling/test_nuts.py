"""NUTS: the posterior that it finds, and that nothing is lost on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from getdist import loadMCSamples
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

from iaemu_likelihood.sampling.nuts import Unconstrained, measurement_run, potential_of, run_nuts
from iaemu_likelihood.sampling.posterior import posterior
from iaemu_likelihood.tng300.table1 import exact_posterior

SHORT = dict(warm_up=150, samples=400, progress=False)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    out = tmp_path_factory.mktemp("nuts") / "sample2"
    return run_nuts(measurement_run("tng300.sample2"), out, n_chains=1, seed=3, **SHORT), out


def test_finds_the_closed_form(short):
    result, _ = short
    exact = exact_posterior("sample2")
    for i, name in enumerate(("mu_cen", "mu_sat")):
        error = exact.std[i] / np.sqrt(result.ess[name])
        assert abs(result.means[name] - exact.mean[i]) < 4 * error
        assert result.stds[name] == pytest.approx(exact.std[i], rel=0.2)
        assert result.ess[name] > 100
        assert result.rhat[name] < 1.05
    assert result.numbers["divergences"] == 0


@pytest.mark.slow
def test_potentials_do_not_depend_on_the_number_of_threads():
    """Or a run that goes on elsewhere, or after a kill, would not end in the same samples."""
    script = """
import torch
from iaemu_likelihood.sampling.posterior import posterior
from iaemu_likelihood.sampling.nuts import measurement_run, potential_of
potential, _ = potential_of(posterior(measurement_run("tng300.sample2")))
with torch.no_grad():
    print([float(potential({"z": torch.tensor([x, 0.5], dtype=torch.float64)})).hex()
           for x in (0.1, 0.2, 0.7, 1.3)])
"""
    values = [
        subprocess.run(
            [sys.executable, "-c", script], check=True, text=True, capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": n},
        ).stdout
        for n in ("1", "2")
    ]  # fmt: skip
    assert values[0] == values[1]
    assert "0x" in values[0]


@pytest.mark.parametrize("name", ["sample1", "sample3"])
def test_the_potential_in_closed_form_is_the_posterior(name):
    run = measurement_run(f"tng300.{name}")
    run["params"]["mu_sat"] = {"prior": {"min": -0.5, "max": 0.7}}
    target = posterior(run)
    potential, constrain = potential_of(target)
    target.closed_form = None
    general, _ = potential_of(target)
    for point in ([0.0, 0.0], [2.0, -0.7], [-30.0, 5.0], [9.0, 800.0]):
        z = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        value, expected = potential({"z": z}), general({"z": z})
        assert value.item() == pytest.approx(expected.item(), rel=1e-11)
        slopes = [torch.autograd.grad(x, z)[0] for x in (value, expected)]
        torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-8, atol=1e-8)
    # A value that NUTS may come upon, and nothing to warn of.
    assert np.isfinite(target(constrain(z)[0].detach().numpy()))


def test_getdist_and_arviz_read_the_chains(short):
    result, out = short
    chains = loadMCSamples(str(out), no_cache=True)
    np.testing.assert_allclose(chains.samples[:, :2], result.chains[0].samples, rtol=1e-6)
    assert chains.getUpper("mu_sat") == 1
    assert chains.paramNames.names[0].label == r"\mu_\mathrm{cen}"
    post = posterior(measurement_run("tng300.sample2"))
    np.testing.assert_allclose(-chains.loglikes, post(result.chains[0].samples), rtol=1e-5)
    arviz = pytest.importorskip("arviz")
    data = arviz.from_netcdf(f"{out}.nc")
    assert data.posterior["mu_cen"].shape == (1, SHORT["samples"])


SCRIPT = """
import sys
from iaemu_likelihood.sampling import nuts
nuts.CHECKPOINT_INTERVAL = 0.2
nuts.run_nuts(nuts.measurement_run("tng300.sample2"), sys.argv[1], seed=3, warm_up=150,
              samples=400, progress=False)
"""


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_samples(short, tmp_path):
    out = tmp_path / "again"
    checkpoint = tmp_path / "again.nuts/chain_1.npz"
    drawn = 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out)])
        seen, deadline = drawn, time.monotonic() + 120
        while seen <= drawn and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
            if checkpoint.is_file():
                with np.load(checkpoint) as state:
                    seen = max(len(state["samples"]), drawn)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert seen > drawn
        drawn = seen
    assert drawn < SHORT["samples"], "the run was over before it was killed"
    result = run_nuts(measurement_run("tng300.sample2"), out, seed=3, **SHORT)
    np.testing.assert_array_equal(result.chains[0].samples, short[0].chains[0].samples)
    np.testing.assert_array_equal(result.chains[0].log_posterior, short[0].chains[0].log_posterior)


def test_a_finished_run_is_read_and_another_is_refused(short):
    result, out = short
    again = run_nuts(measurement_run("tng300.sample2"), out, seed=3, **SHORT)
    np.testing.assert_array_equal(again.chains[0].samples, result.chains[0].samples)
    for changed in (
        {"run": measurement_run("tng300.sample2", "paper")},
        {"run": measurement_run("tng300.sample3")},
        {"seed": 4},
    ):
        arguments = {"run": measurement_run("tng300.sample2"), "seed": 3, **SHORT, **changed}
        with pytest.raises(ValueError, match="another input, weights, data, seed or length"):
            run_nuts(arguments.pop("run"), out, **arguments)


def test_a_damaged_checkpoint_is_named(short, tmp_path):
    folder = tmp_path / "x.nuts"
    folder.mkdir()
    (folder / "chain_1.npz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"chain_1.npz is damaged"):
        run_nuts(measurement_run("tng300.sample2"), tmp_path / "x", **SHORT)


def test_all_parameters_stay_inside_the_domain():
    post = posterior(measurement_run("tng300.sample1", free_hod=True))
    assert post.names == list(DEFAULT_SPACE.names)
    constrain = Unconstrained(post)
    assert constrain.stays_inside
    z = 3 * torch.randn(200, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for row in z:
        point, jacobian = constrain(row)
        assert post.emulator.domain.contains(point.numpy())
        matrix = torch.autograd.functional.jacobian(lambda x: constrain(x)[0], row)
        assert jacobian.item() == pytest.approx(torch.linalg.slogdet(matrix)[1].item(), abs=1e-8)
        torch.testing.assert_close(constrain.inverse(point.numpy()), row, rtol=1e-4, atol=1e-4)


def test_without_limits_and_outside_the_domain_the_whole_posterior_is_asked():
    run = measurement_run("tng300.sample1")
    run["params"]["mu_cen"] = {"prior": {"dist": "norm", "loc": 0.7, "scale": 0.1}}
    run["params"]["logM1"] = {"prior": {"min": 13.0, "max": 14.0}}
    post = posterior(run)
    potential, constrain = potential_of(post)
    assert not constrain.stays_inside
    z = constrain.inverse(
        np.array([{"mu_cen": 0.8, "mu_sat": 0.3, "logM1": 13.4}[n] for n in post.names])
    )
    point, jacobian = constrain(z)
    expected = -(post(point.numpy()) + float(jacobian))
    assert potential({"z": z}).item() == pytest.approx(expected, rel=1e-12)
    free = post.names.index("mu_cen")
    assert z[free] == pytest.approx(0.8)


@pytest.mark.slow
def test_several_chains_differ_and_agree(tmp_path):
    result = run_nuts(
        measurement_run("tng300.sample2"), tmp_path / "two", n_chains=2, seed=5, **SHORT
    )
    first, second = (chain.samples for chain in result.chains)
    assert not np.allclose(first, second)
    assert max(result.rhat.values()) < 1.05
    assert (tmp_path / "two_2.txt").is_file()


def test_a_measurement_without_an_occupation_needs_one(tmp_path):
    from iaemu_likelihood.data_vectors.measurement import Measurement

    whole = Measurement.read("tng300.sample1")
    bare = Measurement(whole.name, whole.r_min, whole.r_max, whole.values, whole.errors)
    bare.write(tmp_path / "bare.ecsv")
    with pytest.raises(ValueError, match="does not say at which occupation"):
        measurement_run(str(tmp_path / "bare.ecsv"))
