"""NUTS: the posterior that it finds, and that nothing is lost on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from getdist import loadMCSamples
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.sampling import nuts
from iaemu_likelihood.sampling.nuts import measurement_run, run_nuts
from iaemu_likelihood.sampling.posterior import posterior
from iaemu_likelihood.sampling.potential import potential_of
from iaemu_likelihood.sampling.unconstrained import Unconstrained
from iaemu_likelihood.tng300.table1 import exact_posterior, example

from ..emulator.children import end, start

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
from iaemu_likelihood.sampling.nuts import measurement_run
from iaemu_likelihood.sampling.potential import potential_of
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
    assert target.closed_form is not None
    points = [[0.0, 0.0], [2.0, -0.7], [-30.0, 5.0], [9.0, 800.0]]
    equals_torchs(target, points)
    # A value that NUTS may come upon, and nothing to warn of.
    _, constrain = potential_of(target)
    point, _ = constrain(torch.tensor(points[-1], dtype=torch.float64))
    assert np.isfinite(target(point.numpy()))


def equals_torchs(target, points):
    """Check a potential and its gradient against torch's way back through all operations."""
    potential, constrain = potential_of(target)
    target.closed_form = None
    for point in points:
        z = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        at, jacobian = constrain(z)
        expected = -(target.log_likelihood_inside(at[None])[0] + jacobian)
        value = potential({"z": z})
        assert value.item() == pytest.approx(expected.item(), rel=1e-11)
        slopes = [torch.autograd.grad(x, z)[0] for x in (value, expected)]
        torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"emulator_error": "total", "model_error": "box", "volume_factor": 0.5},
        {"emulator_error": "epistemic", "statistics": ["eta", "xi"], "r_min": 0.5},
    ],
)
def test_the_gradient_at_fixed_occupation_is_torchs(options):
    run = example("joint")
    for likelihood in run["likelihood"]:
        run["likelihood"][likelihood] = {**(run["likelihood"][likelihood] or {}), **options}
    # One strength of two samples, and both of another one fixed.
    run["params"]["mu_cen_sample2"] = 0.7
    run["params"]["mu_sat_sample2"] = -0.1
    target = posterior(run)
    assert target.closed_form is None
    equals_torchs(
        target, [[0.0, 0.0, 0.1, -1.0], [2.0, -0.7, 40.0, -3.0], [-30.0, 5.0, 1.0, 800.0]]
    )


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


# Killed as soon as a checkpoint holds so many samples, however fast the machine is.
KILLED = """
import os, signal, sys
from iaemu_likelihood.sampling import nuts
write = nuts._Checkpoint.write

def write_and_die(self, **state):
    write(self, **state)
    if len(state["samples"]) >= int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

nuts.CHECKPOINT_INTERVAL = 0
nuts._Checkpoint.write = write_and_die
nuts.run_nuts(nuts.measurement_run("tng300.sample2"), sys.argv[1], seed=3, warm_up=150,
              samples=400, progress=False)
"""


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_samples(short, tmp_path):
    out = tmp_path / "again"
    for n_samples in (0, 1, 137):
        killed = subprocess.run([sys.executable, "-c", KILLED, str(out), str(n_samples)])
        assert killed.returncode == -signal.SIGKILL
        with np.load(tmp_path / "again.nuts/chain_1.npz") as state:
            assert len(state["samples"]) == n_samples
    result = run_nuts(measurement_run("tng300.sample2"), out, seed=3, **SHORT)
    np.testing.assert_array_equal(result.chains[0].samples, short[0].chains[0].samples)
    np.testing.assert_array_equal(result.chains[0].log_posterior, short[0].chains[0].log_posterior)


def test_a_finished_run_is_read_and_another_is_refused(short):
    result, out = short
    again = run_nuts(measurement_run("tng300.sample2"), out, seed=3, **SHORT)
    np.testing.assert_array_equal(again.chains[0].samples, result.chains[0].samples)
    assert again.tables() == result.tables()  # the time that it took, and not 0 s
    assert result.tables()[0].title.endswith("emulator_error: none")
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_size": None}, "it lacks step_size"),
        ({"key": None, "rng": None}, "it lacks key, rng"),
        ({"samples": lambda x: x[:-1]}, r"samples does not hold finite numbers of the shape \(\d+, 2\)"),
        ({"z": lambda x: x * np.nan}, r"z does not hold finite numbers of the shape \(2,\)"),
        ({"inverse_mass": lambda x: x[0]}, r"inverse_mass does not .* \(2, 2\)"),
        ({"divergent": lambda x: x.astype("U")}, r"divergent does not .* \(\)"),
        ({"rng": lambda x: x[1:]}, "rng is no state of random numbers"),
    ],
)  # fmt: skip
def test_a_checkpoint_without_its_content_is_refused_before_sampling(
    short, change, message, tmp_path
):
    _, out = short
    with np.load(f"{out}.nuts/chain_1.npz") as file:
        state = dict(file)
    for name, what in change.items():
        state |= {name: what(state.pop(name))} if what else {}
    folder = tmp_path / "mine.nuts"
    folder.mkdir()
    np.savez(folder / "chain_1.npz", **{k: x for k, x in state.items() if change.get(k, 1)})
    with pytest.raises(ValueError, match=rf"chain_1.npz is damaged: {message}"):
        run_nuts(measurement_run("tng300.sample2"), tmp_path / "mine", seed=3, **SHORT)


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
    # The domain's limits are the map's, where the prior has none.
    free = post.names.index("mu_cen")
    assert z[free] == pytest.approx(np.log(1.8 / 0.2))


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
    whole = Measurement.read("tng300.sample1")
    bare = Measurement(whole.name, whole.r_min, whole.r_max, whole.values, whole.errors)
    bare.write(tmp_path / "bare.ecsv")
    with pytest.raises(ValueError, match="does not say at which occupation"):
        measurement_run(str(tmp_path / "bare.ecsv"))


# Data are not code.


@pytest.mark.parametrize(
    ("with_code", "message"),
    [
        (lambda code: {"alpha": code}, "alpha of hod in the metadata is"),
        (lambda code: {"alpha": {"value": code}}, "alpha of hod in the metadata is"),
        (lambda code: {"prior": code}, "hod in the metadata must hold a number"),
    ],
)
def test_functions_in_a_measurement_are_refused_by_name_and_not_run(
    with_code, message, tmp_path, iaemu
):
    file, path = tmp_path / "run", tmp_path / "hostile.ecsv"
    whole = Measurement.read("tng300.sample1")
    changed = {**whole.hod, **with_code(f"lambda: open('{file}', 'w')")}
    replace(whole, metadata={**whole.metadata, "hod": changed}).write(path)
    with pytest.raises(ValueError, match=message):
        measurement_run(str(path))
    result = iaemu("nuts", "--data", path, "--out", tmp_path / "x", "--samples", 10, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert not file.exists()


# Nothing is lost after long work.


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_chains": 0}, "n_chains must be a whole number of 1 or more; got 0"),
        ({"warm_up": -1}, "warm_up must be a whole number of 0 or more; got -1"),
        ({"samples": 0}, "samples must be a whole number of 1 or more; got 0"),
        ({"samples": np.nan}, "samples must be .* got nan"),
        ({"samples": 10.0}, "samples must be .* got 10.0"),
        ({"seed": -3}, "seed must be .* got -3"),
        ({"seed": True}, "seed must be .* got True"),
        ({"out": ""}, "is a folder; give the beginning of the names of files"),
        ({"out": "chains/"}, "is a folder; give the beginning of the names of files"),
    ],
)
def test_what_cannot_be_sampled_is_refused_first(changed, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"run": measurement_run("tng300.sample2"), "out": "x", **SHORT, **changed}
    with pytest.raises(ValueError, match=message):
        run_nuts(**arguments)
    assert not [*tmp_path.iterdir()]


def test_an_output_that_cannot_be_written_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.setattr(nuts, "_run_chain", None)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file/x", Path("/proc/nowhere/x")):
        with pytest.raises(OSError, match=r"file|nowhere"):
            run_nuts(measurement_run("tng300.sample2"), out, **SHORT)


@pytest.mark.parametrize("samples", [1, 3, 30])
def test_few_samples_and_chains_that_never_move_have_no_diagnostics_but_are_there(
    samples, tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    steps = {"warm_up": 0 if samples == 30 else 50, "samples": samples, "progress": False}
    result = run_nuts(measurement_run("tng300.sample2"), "mychain", **steps)
    assert np.isfinite([*result.means.values()]).all()
    assert np.isnan([*result.ess.values(), *result.rhat.values()]).all()
    assert "There is no R-hat or number of effective samples of mu_cen, mu_sat" in caplog.text
    assert result.tables()
    assert len(np.loadtxt("mychain_1.txt", ndmin=2)) == samples
    assert {path.name for path in tmp_path.glob("*.nc")} == {"mychain.nc"}


def test_what_fails_after_sampling_is_said_and_costs_nothing(tmp_path, monkeypatch, caplog, iaemu):
    def fails(*_arguments, **_options):
        raise PermissionError(13, "cannot make the folder of a cache")

    monkeypatch.setattr(nuts, "_write_for_arviz", fails)
    monkeypatch.setattr("iaemu_likelihood.plots.corner_plot", fails)
    result = iaemu("nuts", "--data", "tng300.sample2", "--out", "new/folder/mine", "--warm-up", 50,
                   "--samples", 20, "--json", "mine.json", cwd=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "cannot make the folder" in result.stderr
    assert "mine.nc, for ArviZ, is missing: PermissionError" in caplog.text
    assert (tmp_path / "new/folder/mine_1.txt").is_file()
    assert (tmp_path / "mine.json").is_file()


def test_a_file_for_the_numbers_that_cannot_be_written_is_refused_first(tmp_path, iaemu):
    result = iaemu("nuts", "--data", "tng300.sample2", "--json", "nowhere/x.json", cwd=tmp_path)
    assert result.returncode == 1
    assert "There is no folder" in result.stderr
    assert not [*tmp_path.iterdir()]


def test_options_that_an_input_would_ignore_are_refused(tmp_path, iaemu):
    (tmp_path / "run.yaml").write_text("theory:")
    for option in (["--emulator", "paper"], ["--emulator-error", "total"], ["--all-parameters"]):
        result = iaemu("nuts", "run.yaml", *option, cwd=tmp_path)
        assert result.returncode == 1
        assert "go with --data; a Cobaya input says itself" in result.stderr


# A run removes only what it wrote.


def test_files_of_others_are_left_alone(tmp_path):
    out = tmp_path / "nuts"
    others = [tmp_path / f"nuts_{name}.txt" for name in ("sample1_1", "notes", "2b", "03")]
    for path in others:
        path.write_text("precious")
    run, short = (
        measurement_run("tng300.sample2"),
        {"warm_up": 30, "samples": 10, "progress": False},
    )
    run_nuts(run, out, **short)
    run_nuts(run, out, **short)
    run_nuts(run, out, force=True, **short)
    assert all(path.read_text() == "precious" for path in others)
    mine = tmp_path / "nuts_2.txt"
    mine.write_text("my notes")
    with pytest.raises(FileExistsError, match=r"nuts_2.txt exists and is not of a run"):
        run_nuts(run, out, n_chains=2, **short)
    run_nuts(run, out, **short)
    assert mine.read_text() == "my notes"


@pytest.mark.slow
def test_chains_that_a_shorter_run_lacks_are_removed(tmp_path):
    out, short = tmp_path / "nuts", {"warm_up": 30, "samples": 10, "progress": False}
    run = measurement_run("tng300.sample2")
    run_nuts(run, out, n_chains=3, **short)
    assert (tmp_path / "nuts_3.txt").is_file()
    run_nuts(run, out, n_chains=1, **short)
    assert [path.name for path in sorted(tmp_path.glob("nuts_*.txt"))] == ["nuts_1.txt"]


# Functions as priors: told apart by what they compute.


def with_prior(function):
    run = measurement_run("tng300.sample2")
    return {**run, "prior": {"mine": function}}


def narrow(width):
    return lambda mu_cen: -0.5 * (mu_cen / width) ** 2


def test_a_run_with_a_function_as_a_prior_goes_on_and_is_told_from_another(tmp_path, monkeypatch):
    short = {"warm_up": 0, "samples": 4, "progress": False}
    first = run_nuts(with_prior(narrow(0.5)), tmp_path / "x", **short)
    again = run_nuts(with_prior(narrow(0.5)), tmp_path / "x", **short)
    np.testing.assert_array_equal(first.chains[0].samples, again.chains[0].samples)
    for other in (narrow(0.6), lambda mu_cen: -abs(mu_cen)):
        with pytest.raises(ValueError, match="another input"):
            run_nuts(with_prior(other), tmp_path / "x", **short)
    source = "def unknown(mu_cen):\n    return -abs(mu_cen)"
    exec(source, names := {})
    with pytest.raises(ValueError, match=r"whose source is not known.*Write it as text"):
        run_nuts(with_prior(names["unknown"]), tmp_path / "y", **short)
    with pytest.raises(TypeError, match=r"cannot be sent to another process.*Write it as text"):
        run_nuts(with_prior(narrow(0.5)), tmp_path / "z", n_chains=2, **short)


def test_sampling_leaves_the_callers_state_as_it_is(tmp_path):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    arguments = measurement_run("tng300.sample2"), {"warm_up": 30, "samples": 20, "progress": False}
    plain = run_nuts(arguments[0], tmp_path / "a", **arguments[1])
    assert torch.equal(torch.get_rng_state(), state)
    torch.set_default_dtype(torch.float64)
    try:
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16),
            np.errstate(all="raise"),
        ):
            other = run_nuts(arguments[0], tmp_path / "b", **arguments[1])
            with torch.device("meta"):
                third = run_nuts(arguments[0], tmp_path / "c", **arguments[1])
    finally:
        torch.set_default_dtype(torch.float32)
    for result in (other, third):
        np.testing.assert_array_equal(result.chains[0].samples, plain.chains[0].samples)


# Children end with their parent.


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_chains_end_with_the_process_that_started_them(number, tmp_path):
    out, log = tmp_path / "two", tmp_path / "log"
    steps = ["--warm-up", 150, "--samples", 100_000]
    run = start(log, "nuts", "--data", "tng300.sample2", "--chains", 2, *steps, "--out", out)
    checkpoints = [tmp_path / f"two.nuts/chain_{i}.npz" for i in (1, 2)]

    def ready():
        if not all(path.is_file() for path in checkpoints):
            return False
        with pytest.raises(BlockingIOError, match=f"Process {run.pid} on .* is at work"):
            run_nuts(measurement_run("tng300.sample2"), out, **SHORT)
        return True

    assert end(run, number, ready) == []
    for path in checkpoints:
        with np.load(path) as state:
            assert state["inverse_mass"].shape == (2, 2)


WITHOUT_GUARD = """
import sys
from iaemu_likelihood.sampling import nuts
nuts.run_nuts(nuts.measurement_run("tng300.sample2"), sys.argv[1], n_chains=2, progress=False)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_of_it(tmp_path):
    script = tmp_path / "plain.py"
    script.write_text(WITHOUT_GUARD)
    result = subprocess.run(
        [sys.executable, script, tmp_path / "x"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    said = result.stdout + result.stderr  # Cobaya shows errors on standard output
    assert 'must be called below `if __name__ == "__main__":`' in said
