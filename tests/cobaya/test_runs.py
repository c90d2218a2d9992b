"""Real runs of Cobaya, short: samplers, resuming, post-processing, two processes, a kill."""

import copy
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from cobaya.log import LoggedError
from cobaya.model import get_model
from cobaya.run import run, run_script
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.weights import weights_folder
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.plots import load_chains, plot_chains
from iaemu_likelihood.tng300.table1 import exact_posterior

SAMPLE1 = "iaemu_likelihood.tng300.Sample1"
THEORY = "iaemu_likelihood.IAEmu"
BIN = Path(sys.executable).parent
# Cobaya compiles its proposals with numba, which takes longer than these chains.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1"}


def example(name, output=None, accepted=40):
    """A bundled example whose chain is cut short."""
    info = yaml.safe_load((files("iaemu_likelihood.yaml_examples") / f"{name}.yaml").read_text())
    info["output"] = output and str(output)
    if "sampler" in info:
        info["sampler"] = {"mcmc": {"max_samples": accepted, "seed": 1, "output_every": 10}}
    return info


def rows(path):
    return [line for line in Path(path).read_text().splitlines() if not line.startswith("#")]


def resuming(info, by_prefix):
    """`cobaya-run PREFIX`, or `cobaya-run --resume FILE`."""
    if by_prefix:
        return partial(run_script, [info["output"]])
    return partial(run, info, resume=True, stop_at_error=True)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_three_samples_in_one_chain(shared):
    info = example("tng300_joint", accepted=20)
    if shared:
        for sample in ("sample2", "sample3"):
            for mu in ("mu_cen", "mu_sat"):
                info["params"][f"{mu}_{sample}"] = {"value": f"lambda {mu}_sample1: {mu}_sample1"}
    _, sampler = run(info, stop_at_error=True)
    chain = sampler.products()["sample"]
    assert len(chain) >= 20
    assert sampler.model.prior.d() == (2 if shared else 6)
    each = sum(chain[f"ia_chi2_sample{k}_omega"] for k in (1, 2, 3))
    assert np.isfinite(each).all()
    # With the emulator's covariance, -2 log L is not chi^2 alone.
    assert (np.abs(chain["chi2__IA"] - each) > 1e-3).all()
    if shared:
        assert (chain["mu_cen_sample3"] == chain["mu_cen_sample1"]).all()


def test_all_seven_parameters_free():
    _, sampler = run(example("tng300_all_parameters"), stop_at_error=True)
    chain = sampler.products()["sample"]
    assert sampler.model.prior.d() == 7
    assert sampler.model.theory[THEORY]._rejected > 0
    theta = np.column_stack([chain[f"{p}_sample1"] for p in DEFAULT_SPACE.names]).astype(float)
    assert Emulator.load().domain.contains(theta).all()
    ratio = chain["logM1_sample1"] - chain["logMmin_sample1"]
    np.testing.assert_allclose(chain["log_mass_ratio_sample1"], ratio, rtol=1e-6)


@pytest.mark.parametrize("method", ["scipy", "bobyqa"])
def test_minimisers_find_the_best_fit(method):
    info = example("tng300_sample1")
    info["sampler"] = {"minimize": {"method": method, "best_of": 1, "seed": 1}}
    _, sampler = run(info, stop_at_error=True)
    minimum = sampler.products()["minimum"]
    exact = exact_posterior("sample1")
    for i, mu in enumerate(("mu_cen_sample1", "mu_sat_sample1")):
        assert abs(minimum[mu] - exact.mean[i]) < 0.2 * exact.std[i]
    model = get_model({k: info[k] for k in ("theory", "likelihood", "params")}, stop_at_error=True)
    mean = dict(zip(("mu_cen_sample1", "mu_sat_sample1"), exact.mean, strict=True))
    assert minimum["chi2"] <= -2 * model.loglike(mean)[0] + 1e-3


@pytest.mark.slow
def test_another_likelihood_narrows_the_occupation():
    info = example("tng300_with_clustering", accepted=150)
    _, sampler = run(info, stop_at_error=True)
    chain = sampler.products(to_getdist=True, skip_samples=0.3)["sample"]
    assert abs(chain.mean("logMmin_sample1") - 12.54) < 0.04
    assert chain.std("logMmin_sample1") < 0.04


def test_post_processing_with_other_cuts(tmp_path):
    root = tmp_path / "chain"
    run(example("tng300_sample1", root, 400), stop_at_error=True)
    run(example("tng300_sample1_post", root), stop_at_error=True)
    post = f"{root}.post.above_1Mpc"
    before, after = (load_chains(r).getParams() for r in (root, post))
    assert len(rows(f"{post}.1.txt")) > 50
    # 6 of 12 bins are left.
    assert after.ia_chi2_sample1_omega.min() < before.ia_chi2_sample1_omega.min()
    np.testing.assert_allclose(after.ia_chi2_sample1_omega, after.chi2, rtol=1e-6)
    info = example("tng300_sample1")
    info["likelihood"][SAMPLE1]["r_min"] = 1.0
    model = get_model({k: info[k] for k in ("theory", "likelihood", "params")}, stop_at_error=True)
    log_likelihood = model.loglike([after.mu_cen_sample1[0], after.mu_sat_sample1[0]])[0]
    assert after.chi2[0] == pytest.approx(-2 * log_likelihood, rel=1e-4)
    # The figures are of the new cut.
    assert all(path.stat().st_size > 1e4 for path in plot_chains(post))


def test_resumes_by_prefix_and_from_another_folder(tmp_path):
    own = tmp_path / "own.ecsv"
    Measurement.read("tng300.sample1").write(own)
    info = example("tng300_sample1", tmp_path / "chain")
    info["likelihood"][SAMPLE1]["data_file"] = str(own)
    run(info, stop_at_error=True)
    before = rows(tmp_path / "chain.1.txt")
    run_script([str(tmp_path / "chain")])
    # The same data and weights may lie elsewhere.
    moved = shutil.move(own, tmp_path / "moved.ecsv")
    info["likelihood"][SAMPLE1]["data_file"] = str(moved)
    info["theory"][THEORY]["weights"] = str(weights_folder("templates"))
    info["sampler"]["mcmc"]["max_samples"] = 60
    run(info, resume=True, stop_at_error=True)
    after = rows(tmp_path / "chain.1.txt")
    assert after[: len(before)] == before
    assert len(after) > len(before)


@pytest.mark.parametrize("by_prefix", [False, True])
def test_other_data_do_not_continue_a_chain(tmp_path, by_prefix):
    own = tmp_path / "own.ecsv"
    measured = Measurement.read("tng300.sample1")
    measured.write(own)
    info = example("tng300_sample1", tmp_path / "chain")
    info["likelihood"][SAMPLE1]["data_file"] = str(own)
    run(info, stop_at_error=True)
    before = rows(tmp_path / "chain.1.txt")
    measured.values["omega"][3] *= 1.001
    measured.write(own, overwrite=True)
    again = resuming(info, by_prefix)
    with pytest.raises(LoggedError):
        again()
    assert rows(tmp_path / "chain.1.txt") == before


@pytest.mark.parametrize("by_prefix", [False, True])
def test_other_weights_do_not_continue_a_chain(tmp_path, by_prefix):
    mine = shutil.copytree(weights_folder("templates"), tmp_path / "mine")
    info = example("tng300_sample1", tmp_path / "chain")
    info["theory"][THEORY]["weights"] = str(mine)
    run(info, stop_at_error=True)
    # As when they were trained anew in the same folder.
    shutil.rmtree(mine)
    shutil.copytree(weights_folder("paper"), mine)
    again = resuming(info, by_prefix)
    with pytest.raises(LoggedError):
        again()


@pytest.mark.slow
def test_a_killed_run_keeps_what_it_wrote(tmp_path):
    info = example("tng300_sample1", "chain", accepted=2000)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(info))
    command = [BIN / "cobaya-run", "run.yaml"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, env=ENVIRONMENT)
    chain = tmp_path / "chain.1.txt"
    deadline = time.monotonic() + 120
    while not (chain.exists() and len(rows(chain)) >= 50):
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = chain.read_text()
    before = rows(chain)
    assert 50 <= len(before) < 2000
    if not written.endswith("\n"):
        before = before[:-1]
    resumed = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    after = rows(chain)
    assert after[: len(before)] == before
    assert len(after) >= 2000


@pytest.mark.slow
def test_two_processes_write_two_chains(tmp_path):
    pytest.importorskip("mpi4py")
    info = example("tng300_joint", "chain", accepted=20)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(info))
    result = subprocess.run(
        [BIN / "mpiexec", "-n", "2", BIN / "cobaya-run", "run.yaml"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert {p.name for p in tmp_path.glob("chain.*.txt")} == {"chain.1.txt", "chain.2.txt"}
    first, second = (rows(tmp_path / f"chain.{k}.txt") for k in (1, 2))
    assert min(len(first), len(second)) >= 10
    assert first[0] != second[0]


def hostile_points(domain, rng):
    """10,000 points: strengths at one occupation, a box around the domain, and nonsense."""
    low, high = domain.outer_limits()
    special = [np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, -5e-324, 0.0, -0.0, 1e-300, 1e30]

    def spoilt(points):
        column = rng.integers(0, 7, len(points))
        points[np.arange(len(points)), column] = rng.choice(special, len(points))
        return points

    fixed = np.tile(domain.sample(1, seed=3), (4000, 1))
    fixed[:, :2] = rng.uniform(-1.2, 1.2, (4000, 2))
    fixed[:200, :2] = rng.choice(
        [-1.0, 1.0, np.nextafter(1, 2), np.nextafter(1, 0), *special], (200, 2)
    )
    box = low + (high - low) * rng.uniform(-0.1, 1.1, (4000, 7))
    edges = domain.sample(500, seed=1)
    lower, upper = domain.limits(edges)
    column = rng.integers(3, 7, 500)
    at = np.arange(500), column
    edges[at] = np.where(rng.random(500) < 0.5, lower[at], upper[at])
    return np.vstack([fixed, box, edges, spoilt(domain.sample(1500, seed=2))])


@pytest.mark.slow
@pytest.mark.parametrize("out_of_domain", ["reject", "extrapolate"])
def test_ten_thousand_hostile_points(out_of_domain):
    options = {"sample": None, "emulator_error": "total"}
    if out_of_domain == "extrapolate":
        options["statistics"] = ["xi", "omega", "eta"]
    info = {
        "theory": {THEORY: {"out_of_domain": out_of_domain}},
        "likelihood": {SAMPLE1: options},
        "params": {"alpha": {"prior": {"min": 0.7, "max": 1.3}}},
    }
    model = get_model(info, stop_at_error=True)
    theory, likelihood = model.theory[THEORY], model.likelihood[SAMPLE1]
    points = hostile_points(theory.emulators[None].domain, np.random.default_rng(0))
    assert len(points) == 10_000
    if out_of_domain == "extrapolate":
        points = points[7000::2]
    values = np.array(
        [
            model.loglikes(
                dict(zip(DEFAULT_SPACE.names, point, strict=True)), return_derived=False
            )[0]
            for point in points.tolist()
        ]
    )
    assert not np.isnan(values).any()
    assert not (values == np.inf).any()
    rejected = theory._rejected + likelihood._rejected
    if out_of_domain == "reject":
        inside = theory.emulators[None].domain.contains(points)
        np.testing.assert_array_equal(np.isfinite(values), inside)
        assert rejected == (~inside).sum()
        assert 3000 < inside.sum() < 7000
    else:
        meaningful = np.isfinite(points).all(1) & (np.abs(points[:, :2]) <= 1).all(1)
        assert not np.isfinite(values[~meaningful]).any()
        assert rejected == (~np.isfinite(values)).sum() >= (~meaningful).sum()
        assert likelihood._rejected > 0


@pytest.mark.parametrize("value", ["'text'", "1j * mu_sat_sample1", "[0.1, 0.2]"])
def test_functions_that_give_no_number_stop_the_run(value):
    info = example("tng300_sample1")
    info["params"]["mu_cen_sample1"] = {"value": f"lambda mu_sat_sample1: {value}"}
    model = get_model(
        {k: copy.deepcopy(info[k]) for k in ("theory", "likelihood", "params")}, stop_at_error=True
    )
    with pytest.raises(LoggedError, match=r"Parameters must be real numbers; got .*mu_cen_sample1"):
        model.loglike([0.2])
