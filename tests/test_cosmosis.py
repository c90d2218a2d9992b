"""The CosmoSIS module: Cobaya's likelihood to the same number, and what samplers read of it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from cobaya.model import get_model
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

import iaemu_likelihood.cli
from iaemu_likelihood import posterior, yaml_examples
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.likelihood.core import CorrelationLikelihood, LikelihoodOptions
from iaemu_likelihood.likelihood.model import CorrelationModel
from iaemu_likelihood.plots import load
from iaemu_likelihood.tng300.table1 import example

pytest.importorskip("cosmosis")
from cosmosis.datablock import DataBlock
from cosmosis.runtime.module import Module
from cosmosis.runtime.pipeline import LikelihoodPipeline

FOLDER = Path(iaemu_likelihood.__file__).parent / "cosmosis"
EXAMPLES = Path(yaml_examples.__file__).parent
INIS = [path.name for path in EXAMPLES.glob("*.ini") if "[runtime]" in path.read_text()]
HOD = {
    "sample1": (12.54, 0.26, 12.68, 13.48, 1.0),
    "sample2": (11.93, 0.26, 12.05, 12.85, 1.0),
}
MU = [(0.8, 0.3), (-0.4, 0.9), (1.0, -1.0)]
SECTION = "galaxy_orientation_xi_3d"


def sections(mu, hod=HOD["sample1"], suffix=""):
    """A block's contents, or those of a values file."""
    return {
        f"intrinsic_alignment_parameters{suffix}": dict(
            zip(DEFAULT_SPACE.alignment.names, mu, strict=True)
        ),
        f"hod_parameters{suffix}": dict(zip(DEFAULT_SPACE.names[2:], hod, strict=True)),
    }


def evaluated(mu, hod=HOD["sample1"], **options):
    """Status, block and module of one call of a module alone."""
    module = Module("iaemu", str(FOLDER / "iaemu_interface.py"))
    module.setup({"iaemu": options})
    block = DataBlock.from_dict(sections(mu, hod))
    return module.execute(block), block, module


def pipeline(values, **options):
    ini = {
        "runtime": {},
        "pipeline": {"modules": "ours", "likelihoods": "ours", "debug": "T"},
        "ours": {"file": str(FOLDER / "iaemu_interface.py"), **options},
    }
    return LikelihoodPipeline(ini, values=values)


def cobaya(sample, **options):
    info = example(sample)
    (name,) = info["likelihood"]
    return get_model(
        {"theory": info["theory"], "params": info["params"], "likelihood": {name: options}},
        stop_at_error=True,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"emulator_error": "none"},
        {"emulator_error": "aleatoric", "volume_factor": 2, "r_min": 0.3},
        {"emulator_error": "total", "normalized": "T", "r_max": "5 10", "statistics": "omega xi"},
    ],
)
def test_log_likelihood_is_that_of_cobaya(options):
    ranges = sections(["-1 0 1", "-1 0 1"], map(str, HOD["sample1"]))
    ours = pipeline(ranges, data_file="tng300.sample1", **{k: str(v) for k, v in options.items()})
    theirs = dict(options)
    if "statistics" in options:
        theirs |= {
            "statistics": ["omega", "xi"],
            "r_max": {"omega": 5, "xi": 10},
            "normalized": True,
        }
    model = cobaya("sample1", **theirs)
    for mu in MU:
        at = dict(zip(("mu_cen_sample1", "mu_sat_sample1"), mu, strict=True))
        assert ours.likelihood(mu)[0] == pytest.approx(model.loglike(at)[0], rel=1e-10)


def test_two_samples_in_one_data_vector_or_in_two_modules():
    values = {}
    for sample, hod in HOD.items():
        values |= sections(["-1 0 1", "-1 0 1"], map(str, hod), f"_{sample}")
    file = {"file": str(FOLDER / "iaemu_interface.py")}
    joint = pipeline(values, data_file="tng300.sample1 tng300.sample2", sample="sample1 sample2")
    ini = {
        "runtime": {},
        "pipeline": {"modules": "sample1 sample2", "debug": "T"},
        **{s: {**file, "data_file": f"tng300.{s}", "sample": s} for s in HOD},
    }
    apart = LikelihoodPipeline(ini, values=values)
    total = sum(
        cobaya(sample).loglike(dict(zip((f"mu_cen_{sample}", f"mu_sat_{sample}"), mu, strict=True)))[0]
        for sample, mu in zip(HOD, MU, strict=False)
    )  # fmt: skip
    for each in (joint, apart):
        assert each.likelihood([*MU[0], *MU[1]])[0] == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("redshift", ["0.2 0.9", "0.4", None])
def test_samples_at_redshifts_of_their_own(evolving_weights, redshift):
    """One value for all samples, or one for each; the numbers are those of Cobaya."""
    values = {}
    for sample in HOD:
        values |= sections(["-1 0 1", "-1 0 1"], map(str, HOD["sample1"]), f"_{sample}")
    each = [float(z) for z in (redshift or "0").split()]
    options = {"weights": str(evolving_weights), **({"redshift": redshift} if redshift else {})}
    ours = pipeline(
        values, data_file="tng300.sample1 tng300.sample1", sample=" ".join(HOD), **options
    )
    total = 0.0
    for z, mu in zip(each * (3 - len(each)), MU, strict=False):
        info = example("sample1")
        info["theory"]["iaemu_likelihood.IAEmu"] = {
            "weights": str(evolving_weights), "redshift": z, "samples": ["sample1"],
        }  # fmt: skip
        (name,) = info["likelihood"]
        run = {"theory": info["theory"], "params": info["params"], "likelihood": {name: {}}}
        at = dict(zip(("mu_cen_sample1", "mu_sat_sample1"), mu, strict=True))
        total += get_model(run, stop_at_error=True).loglike(at)[0]
    assert ours.likelihood([*MU[0], *MU[1]])[0] == pytest.approx(total, rel=1e-10)


def test_samples_with_weights_of_their_own(evolving_weights, tmp_path):
    """A path with spaces is on a line of its own; sections of the block are those of each sample."""
    folder = shutil.copytree(evolving_weights, tmp_path / "my weights")
    module = Module("iaemu", str(FOLDER / "iaemu_interface.py"))
    module.setup({"iaemu": {
        "sample": "sample1 sample2", "weights": f"templates\n{folder}", "redshift": np.array([0.0, 0.7]),
        "derived": "n_gal",
    }})  # fmt: skip
    contents = {k: v for s in HOD for k, v in sections(MU[0], HOD["sample1"], f"_{s}").items()}
    block = DataBlock.from_dict(contents)
    assert module.execute(block) == 0
    for sample, weights, z in (("sample1", "templates", 0.0), ("sample2", folder, 0.7)):
        p = Emulator.load(weights).predict([*MU[0], *HOD["sample1"]], redshift=z)
        np.testing.assert_allclose(block[f"{SECTION}_{sample}", "omega"], p.omega, rtol=1e-10)
    assert block["galaxies_sample1", "n_gal"] > 0


@pytest.mark.parametrize("alignment", [None, "watson_mass"])
def test_a_tabulation_takes_any_occupation(exact_file, alignment):
    """And strengths that depend on host mass; the numbers are those of Cobaya."""
    hod = {
        "logM_cut": 12.7, "sigma": 0.3, "kappa": 0.6, "logM1": 13.7, "alpha": 1.1, "f_ic": 0.8
    }  # fmt: skip
    mu = {"mu_cen": 0.8, "mu_sat": 0.3}
    options = {"weights": str(exact_file), "occupation": "desi_lrg"}
    if alignment:
        options["alignment"] = alignment
        mu |= {"slope_cen": 0.4, "slope_sat": -0.2}
    values = {
        "hod_parameters": {name: str(value) for name, value in hod.items()},
        "intrinsic_alignment_parameters": dict.fromkeys(mu, "-1 0 1"),
    }
    ours = pipeline(values, data_file="tng300.sample1", emulator_error="none", **options)
    likelihood = {"data_file": "tng300.sample1", "emulator_error": "none"}
    model = get_model(
        {
            "theory": {"iaemu_likelihood.IAEmu": options},
            "likelihood": {"iaemu_likelihood.IACorrelations": likelihood},
            "params": dict(hod),
        },
        stop_at_error=True,
    )
    found = ours.likelihood([mu[parameter.name] for parameter in ours.varied_params])[0]
    assert found == pytest.approx(model.loglike(mu)[0], rel=1e-6)  # single precision
    with pytest.raises(ValueError, match=r"weights .* have no noise: set emulator_error to none"):
        evaluated(MU[0], emulator_error="aleatoric", **options)


def test_another_density_of_matter_is_warned_of_once(caplog):
    module = Module("iaemu", str(FOLDER / "iaemu_interface.py"))
    module.setup({"iaemu": {}})
    for omega_m in (0.309, 0.25, 0.2):
        contents = {**sections(MU[0]), "cosmological_parameters": {"omega_m": omega_m, "h0": 0.7}}
        assert module.execute(DataBlock.from_dict(contents)) == 0
        assert ("omega_m is" in caplog.text) == (omega_m < 0.3)
    assert caplog.text.count("but the emulator predicts for Omega_m = 0.307") == 1
    assert "omega_m is 0.25 in this run" in caplog.text


def test_paths_with_spaces_and_in_the_home_folder(tmp_path, monkeypatch):
    folder = tmp_path / "my data"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for k in (1, 2):
        Measurement.read(f"tng300.sample{k}").write(folder / f"sample {k}.ecsv")
    expected = evaluated(MU[0], data_file="tng300.sample1")[1]["likelihoods", "iaemu_like"]
    for file in (str(folder / "sample 1.ecsv"), "~/my data/sample 1.ecsv"):
        block = evaluated(MU[0], data_file=file)[1]
        assert block["likelihoods", "iaemu_like"] == expected
    # Several files, each on a line of its own.
    options = {"sample": "sample1 sample2"}
    found = []
    for files in (
        "tng300.sample1 tng300.sample2", f"{folder}/sample 1.ecsv\n{folder}/sample 2.ecsv"
    ):  # fmt: skip
        module = Module("iaemu", str(FOLDER / "iaemu_interface.py"))
        module.setup({"iaemu": {"data_file": files, **options}})
        block = DataBlock.from_dict(
            {k: v for s in HOD for k, v in sections(MU[0], HOD[s], f"_{s}").items()}
        )
        assert module.execute(block) == 0
        found.append(block["likelihoods", "iaemu_like"])
    assert found[0] == found[1]


def test_percival_counts_the_parameters_that_it_is_told():
    hod = (11.61, 0.26, 11.80, 12.60, 1.0)
    correction = {"covariance": "full", "covariance_correction": "percival", "r_min": 0.8}
    with pytest.raises(ValueError, match="percival needs n_parameters"):
        evaluated(MU[0], hod, data_file="tng300.sample3", **correction)
    _, block, _ = evaluated(
        (0.5, 0.1), hod, data_file="tng300.sample3", n_parameters=2, **correction
    )
    expected = cobaya("sample3", **correction).loglike(
        {"mu_cen_sample3": 0.5, "mu_sat_sample3": 0.1}
    )[0]
    assert block["likelihoods", "iaemu_like"] == pytest.approx(expected, rel=1e-10)


def test_correlations_in_the_block():
    status, block, module = evaluated(MU[0], emulator_error="total")
    assert status == 0
    assert not block.has_section("likelihoods")
    p = Emulator.load().predict([*MU[0], *HOD["sample1"]])
    np.testing.assert_allclose(block[SECTION, "r"], p.r)
    assert block[SECTION, "r_edges"].shape == (21,)
    assert block.get_metadata(SECTION, "r", "unit") == "Mpc/h"
    for name in ("xi", "omega", "eta"):
        np.testing.assert_allclose(block[SECTION, name], getattr(p, name), rtol=1e-10)
        for kind in ("aleatoric", "epistemic"):
            sigma = getattr(getattr(p, kind), name)
            np.testing.assert_allclose(block[SECTION, f"{name}_{kind}"], sigma, rtol=1e-8)
    assert module.execute(block) == 0  # the same block once more


def test_sections_and_names_of_other_codes():
    names = ("log10_Mmin", "sigma", "log10_M0", "log10_M1", "alpha")
    contents = {
        "hod": dict(zip(names, HOD["sample1"], strict=True)),
        "ia": dict(zip(DEFAULT_SPACE.alignment.names, MU[0], strict=True)),
    }
    module = Module("iaemu", str(FOLDER / "iaemu_interface.py"))
    module.setup({"iaemu": {"hod_section": "hod", "ia_section": "ia", "output_section": "out"}})
    block = DataBlock.from_dict(contents)
    assert module.execute(block) == 0
    _, expected, _ = evaluated(MU[0])
    np.testing.assert_array_equal(block["out", "omega"], expected[SECTION, "omega"])
    contents["hod"]["logMmin"] = 12.5
    with pytest.raises(
        ValueError, match="one logMmin or log10_Mmin; it has logMmin and log10_Mmin"
    ):
        module.execute(DataBlock.from_dict(contents))
    with pytest.raises(ValueError, match="ia must hold one mu_cen; it has none"):
        module.execute(DataBlock.from_dict({"hod": contents["hod"]}))


def test_data_vector_for_samplers():
    _, block, _ = evaluated(MU[0], data_file="tng300.sample1")
    v = {name: block["data_vector", f"iaemu_{name}"] for name in
         ("theory", "data", "covariance", "inverse_covariance", "chi2", "n", "log_det", "norm",
          "simulation")}  # fmt: skip
    residual = v["theory"] - v["data"]
    assert v["n"] == len(residual) == len(v["simulation"])
    np.testing.assert_allclose(v["inverse_covariance"] @ v["covariance"], np.eye(v["n"]), atol=1e-9)
    assert residual @ v["inverse_covariance"] @ residual == pytest.approx(v["chi2"])
    assert v["log_det"] == pytest.approx(np.linalg.slogdet(v["covariance"])[1])
    assert block["likelihoods", "iaemu_like"] == pytest.approx(v["norm"] - v["chi2"] / 2)


def test_points_outside_the_domain(caplog):
    outside = (*HOD["sample1"][:4], 3.0)
    status, block, module = evaluated(MU[0], outside, data_file="tng300.sample1")
    assert status != 0
    assert not block.has_section("likelihoods")
    module.execute(block)
    module.cleanup()
    assert caplog.text.count("is outside the emulator's domain") == 1
    assert "2 point(s) were rejected" in caplog.text
    assert evaluated((1.1, 0.0), out_of_domain="extrapolate")[0] != 0
    assert evaluated(MU[0], outside, out_of_domain="extrapolate")[0] == 0
    with pytest.raises(ValueError, match="alpha = 3"):
        evaluated(MU[0], outside, out_of_domain="error")
    values = sections(["-1 0 1", "-1 0 1"], map(str, outside))
    assert pipeline(values, data_file="tng300.sample1").likelihood(MU[0])[0] == -np.inf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datafile": "tng300.sample1"}, "No option datafile; there are weights"),
        ({"data_file": "nowhere.ecsv"}, "No measurement at .*nowhere.ecsv"),
        ({"covariance": "full"}, "covariance can only be set for a likelihood; set data_file"),
        ({"out_of_domain": "ignore"}, "reject, error, extrapolate; got 'ignore'"),
        ({"weights": "none_such"}, "No weights 'none_such'"),
        ({"weights": 5}, "weights must be text; got 5"),
        ({"occupation": "desi_lrg"}, "were trained on zheng07"),
        ({"alignment": "watson_mass"}, "alignment is 'watson_mass', but the weights"),
        ({"redshift": 4.0}, "The redshift is 4; these weights know z = 0"),
        ({"redshift": "low"}, "redshift must be one number; got"),
        ({"redshift": [0.0, 0.4]}, r"redshift must be one number.*got \[0.0, 0.4\]"),
        ({"sample": "a b", "redshift": [0.0, 4.0]}, "Sample b: The redshift is 4"),
        ({"data_file": " "}, "data_file is empty"),
        ({"n_parameters": -5}, "n_parameters must be 0 or more; got -5"),
        ({"sample": "a a"}, "sample has a label twice: a a"),
        ({"emulator_error": "both"}, "none, aleatoric, epistemic, total; got 'both'"),
        ({"data_file": "tng300.sample1", "normalized": 1}, "normalized must be T or F; got 1"),
        ({"data_file": "tng300.sample1", "r_min": "small"}, "r_min must be one number"),
        ({"data_file": "tng300.sample1", "r_min": [1.0, 2.0]}, "one for each of omega"),
        (
            {"data_file": "tng300.sample1", "number_density": 0.01},
            "a value and its error.*got 0.01",
        ),
        ({"data_file": "tng300.sample1", "number_density": [0.01, -1.0]}, "error is -1.0"),
        ({"derived": "bias"}, "No derived parameter bias; there are n_gal"),
        ({"derived": "A_IA"}, "needs the responses of shapes, but the data have none"),
        (
            {"data_file": "tng300.sample1", "sample": "a b"},
            r"data_file names 1 file\(s\), but sample has 2",
        ),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises((ValueError, OSError), match=message):
        evaluated(MU[0], **options)


def cosmosis(ini, folder, *options):
    """The command, on a copy of an example, as the ini's head says."""
    for path in EXAMPLES.glob("*.ini"):
        shutil.copy(path, folder)
    printed = subprocess.run(
        [sys.executable, "-c", "from iaemu_likelihood.cli import main; main()", "cosmosis-path"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    result = subprocess.run(
        [Path(sys.executable).parent / "cosmosis", ini, *options],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "IAEMU_COSMOSIS": printed},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_all_examples_are_tested():
    assert {*INIS} == {"cosmosis_tng300_sample1.ini", "cosmosis_tng300_projected.ini"}


def test_examples_run(tmp_path):
    out = cosmosis("cosmosis_tng300_sample1.ini", tmp_path)
    (line,) = [line for line in out.splitlines() if line.startswith("Likelihood =")]
    run = {k: v for k, v in example("sample1").items() if k != "sampler"}
    expected = get_model(run).loglike({"mu_cen_sample1": 0.8, "mu_sat_sample1": 0.3})[0]
    assert float(line.split("=")[1]) == pytest.approx(expected, rel=1e-10)
    assert (tmp_path / f"chains/cosmosis_tng300_sample1/{SECTION}/omega.txt").is_file()


def test_the_example_of_projected_statistics_is_that_of_cobaya(tmp_path):
    """Also its number density, in the likelihood, and its derived parameters."""
    out = cosmosis("cosmosis_tng300_projected.ini", tmp_path)
    found = {
        line.split("=")[0].strip(): float(line.split("=")[1])
        for line in out.splitlines()
        if line.startswith(("Likelihood ", "Prior "))
    }
    target = posterior(EXAMPLES / "tng300_projected.yaml")
    start = {"mu_cen": 0.8, "mu_sat": 0.6, "a2_cen": 0.286, "a2_sat": 0.286, "logMmin": 11.6,
             "sigma_logM": 0.22, "logM0": 11.9, "logM1": 12.97, "alpha": 1.09}  # fmt: skip
    at = [start[name] for name in target.names]
    assert found["Likelihood"] == pytest.approx(target.log_likelihood(at), rel=1e-6)
    text = (tmp_path / "chains/cosmosis_tng300_projected/galaxies/values.txt").read_text()
    galaxies = dict(line.split(" = ") for line in text.splitlines() if " = " in line)
    for name, value in target.derived(at).items():
        assert float(galaxies[name.lower()]) == pytest.approx(value, rel=1e-9)


def test_a_number_density_comes_last_in_the_data_vector():
    options = {"data_file": "tng300.sample1", "emulator_error": "total"}
    _, without, _ = evaluated(MU[0], **options)
    _, block, _ = evaluated(MU[0], **options, number_density=[0.0018, 0.0001])
    assert block["data_vector", "iaemu_n"] == without["data_vector", "iaemu_n"] + 1
    assert block["data_vector", "iaemu_data"][-1] == 0.0018
    density = block["data_vector", "iaemu_theory"][-1]
    assert density == pytest.approx(0.00194, rel=1e-3)
    covariance = block["data_vector", "iaemu_covariance"]
    assert covariance[-1, -1] == pytest.approx(1e-8)
    assert not covariance[-1, :-1].any()
    pull = (density - 0.0018) / 0.0001
    found, before = (x["likelihoods", "iaemu_like"] for x in (block, without))
    assert found - before == pytest.approx(-(pull**2) / 2, rel=1e-6)
    residual = block["data_vector", "iaemu_theory"] - block["data_vector", "iaemu_data"]
    chi2 = residual @ block["data_vector", "iaemu_inverse_covariance"] @ residual
    assert block["data_vector", "iaemu_chi2"] == pytest.approx(chi2, rel=1e-6)


def test_inis_of_the_documentation_run(tmp_path):
    page = (Path(__file__).parents[1] / "docs/cosmosis.md").read_text()
    pipeline_ini, values, of_samples = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    described = yaml.safe_load((FOLDER / "module.yaml").read_text())["params"]
    assert {line.split(" = ")[0] for line in of_samples.splitlines()} <= described.keys()
    (tmp_path / "fit.ini").write_text(pipeline_ini)
    (tmp_path / "values.ini").write_text(values)
    # Of few steps, it may happen that none is accepted.
    short = ["emcee.samples=20", "emcee.walkers=8", "emcee.nsteps=20"]
    cosmosis("fit.ini", tmp_path, "-p", *short)
    rows = np.loadtxt(tmp_path / "chain.txt")
    assert rows.shape == (160, 4)
    assert np.isfinite(rows).all()
    # `iaemu plot` reads it: walkers take turns, and the first six of twenty steps are left out.
    chain = load(tmp_path / "chain.txt")
    assert chain.paramNames.getRunningNames() == ["mu_cen", "mu_sat"]
    assert len(chain.getSeparateChains()) == 8
    np.testing.assert_allclose(chain.samples[:2], rows[[48, 56], :2], rtol=1e-12)
    assert chain.ranges.getLower("mu_cen") == -1


def test_fisher_matrix(tmp_path):
    cosmosis("cosmosis_tng300_sample1.ini", tmp_path, "-p", "runtime.sampler=fisher")
    found = np.loadtxt(tmp_path / "chains/cosmosis_tng300_sample1.txt")
    core = CorrelationLikelihood(LikelihoodOptions("tng300.sample1", emulator_error="none"))
    occupied = CorrelationModel(Emulator.load(), ("omega",)).at(torch.tensor([HOD["sample1"]]).double())  # fmt: skip

    def theory(mu):
        edges = core.data.parts[0].r_edges
        return core.model([occupied.binned(occupied(mu[None]), ("omega",), edges)])[0][0]

    slopes = torch.autograd.functional.jacobian(theory, torch.tensor(MU[0]).double()).numpy()
    expected = slopes.T @ np.linalg.solve(core.data.covariance, slopes)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_module_yaml_describes_every_option():
    described = yaml.safe_load((FOLDER / "module.yaml").read_text())
    assert described["version"] == importlib.metadata.version("iaemu_likelihood")
    with pytest.raises(ValueError, match="No option wrong; there are ") as error:
        evaluated(MU[0], wrong=1)
    allowed = str(error.value).split("there are ")[1].rstrip(".").split(", ")
    assert set(described["params"]) == set(allowed)
    _, block, _ = evaluated(
        MU[0],
        emulator_error="total",
        model_error="box",
        derived="n_gal",
        data_file="tng300.sample1",
    )
    for section, names in described["outputs"].items():
        for name in names:
            assert block.has_value(section, name), f"{section}/{name} is not written"


# Of the galaxies' shapes.
A2 = {"a2_cen": 0.55, "a2_sat": 0.3}


def with_responses(values, suffix="", a2=A2):
    section = f"intrinsic_alignment_parameters{suffix}"
    return {**values, section: {**values[section], **a2}}


@pytest.mark.parametrize(
    ("statistics", "conventions", "options"),
    [
        (("w_gg", "w_gplus"), {"redshift_space": True}, {"covariance": "full"}),
        (("w_gg", "w_gplus"), {"redshift_space": True}, {"kaiser": "F", "r_min": "2 0.3"}),
        (("xi_gplus_2",), {"responsivity": 0.9}, {"emulator_error": "epistemic", "normalized": "T"}),
    ],
)  # fmt: skip
def test_projected_statistics_are_those_of_cobaya(on_the_sky, tmp_path, statistics, conventions, options):  # fmt: skip
    file = str(tmp_path / "sky.ecsv")
    on_the_sky(statistics, **conventions).write(file)
    given = {"emulator_error": "none", **options}
    ranges = with_responses(
        sections(["-1 0 1", "-1 0 1"], map(str, HOD["sample1"])),
        a2=dict.fromkeys(A2, "0.01 0.5 1.2"),
    )
    ours = pipeline(ranges, data_file=file, statistics=" ".join(statistics), **given)
    theirs = {"emulator_error": "none", **options}
    for name, value in options.items():
        theirs[name] = {"F": False, "T": True, "2 0.3": {"w_gg": 2, "w_gplus": 0.3}}.get(
            value, value
        )
    model = get_model(
        {
            "theory": {"iaemu_likelihood.IAEmu": None},
            "likelihood": {
                "sky": {
                    "class": "iaemu_likelihood.IACorrelations", "data_file": file,
                    "statistics": list(statistics), **theirs,
                }
            },
            "params": dict(zip(DEFAULT_SPACE.names[2:], HOD["sample1"], strict=True)),
        },
        stop_at_error=True,
    )  # fmt: skip
    assert [p.name for p in ours.varied_params] == ["mu_cen", "mu_sat", *A2]
    for mu in MU:
        for a2 in ((0.55, 0.3), (0.2, 0.7)):
            at = dict(zip(("mu_cen", "mu_sat", *A2), (*mu, *a2), strict=True))
            expected = model.loglike(at)[0]
            assert ours.likelihood([*mu, *a2])[0] == pytest.approx(expected, rel=1e-9)


def test_responses_of_two_samples_are_in_their_sections(on_the_sky, tmp_path):
    values, files, alone = {}, [], 0.0
    responses = {
        "sample1": {"a2_cen": 0.5, "a2_sat": 0.3},
        "sample2": {"a2_cen": 0.4, "a2_sat": 0.6},
    }
    for seed, (sample, a2) in enumerate(responses.items()):
        files.append(str(tmp_path / f"{sample}.ecsv"))
        on_the_sky(("w_gplus",), seed).write(files[-1])
        own = with_responses(sections(MU[seed], HOD[sample], f"_{sample}"), f"_{sample}", a2)
        values |= own
        block = DataBlock.from_dict(own)
        module = Module(sample, str(FOLDER / "iaemu_interface.py"))
        module.setup(
            {sample: {"data_file": files[-1], "sample": sample, "statistics": "w_gplus", "emulator_error": "none"}}
        )  # fmt: skip
        assert module.execute(block) == 0
        alone += block["likelihoods", "iaemu_like"]
    module = Module("both", str(FOLDER / "iaemu_interface.py"))
    options = {"statistics": "w_gplus", "emulator_error": "none", "sample": "sample1 sample2"}
    module.setup({"both": {"data_file": " ".join(files), **options}})
    block = DataBlock.from_dict(values)
    assert module.execute(block) == 0
    assert block["likelihoods", "iaemu_like"] == pytest.approx(alone, rel=1e-10)


def test_responses_must_be_there_and_possible(on_the_sky, tmp_path):
    file = str(tmp_path / "sky.ecsv")
    on_the_sky().write(file)
    options = {"data_file": file, "statistics": "w_gg w_gplus", "emulator_error": "none"}
    with pytest.raises(ValueError, match=r"intrinsic_alignment_parameters must hold one a2_cen; it has none"):  # fmt: skip
        evaluated(MU[0], **options)
    module = Module("iaemu", str(FOLDER / "iaemu_interface.py"))
    module.setup({"iaemu": options})
    for a2, status in ((0.5, 0), (0.0, 1), (1.5, 1)):
        values = with_responses(sections(MU[0]), a2={"a2_cen": 0.5, "a2_sat": a2})
        assert module.execute(DataBlock.from_dict(values)) == status
    assert module.data.n_rejected == 2
    # Positions have none.
    assert evaluated(MU[0], **{**options, "statistics": "w_gg"})[0] == 0
