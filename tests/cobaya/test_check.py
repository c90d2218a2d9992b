"""`iaemu check`: what a run will do, said before it does it."""

import dataclasses
import json
import logging
import shutil
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
import yaml
from cobaya.log import LoggedError
from cobaya.model import get_model
from cobaya.run import run
from iaemu_likelihood.data import bundled, sha256
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.card import write_card
from iaemu_likelihood.emulator.models.weights import read_card, weights_folder, weights_sha256
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

from iaemu_likelihood.cobaya.check import RunCheck, check_run
from iaemu_likelihood.data_vectors.measurement import Measurement

SAMPLE1 = "iaemu_likelihood.tng300.Sample1"
EXAMPLES = files("iaemu_likelihood.yaml_examples")


def example(name):
    return yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())


def checked(info, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(info, sort_keys=False))
    return check_run(path).numbers


def shown(numbers):
    check = RunCheck(numbers)
    cells = [cell for table in check.tables() for row in table.rows for cell in row]
    return "\n".join([*cells, *check.sentences()])


def test_a_bundled_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there are no chains yet
    info = example("tng300_sample1")
    numbers = checked(info, tmp_path)
    assert numbers["theory"]["weights_sha256"] == weights_sha256("templates")
    likelihood = numbers["likelihoods"][SAMPLE1]
    assert likelihood["data_sha256"] == sha256(bundled("tng300/sample1.ecsv"))
    (row,) = likelihood["data"]
    assert (row["statistic"], row["n_kept"]) == ("omega", 12)
    np.testing.assert_allclose(row["dropped"], [[13.89495, 20.9617], [20.9617, 31.6228]], rtol=1e-3)
    assert likelihood["chi2_column"] == "ia_chi2_sample1_omega"
    assert f"In the chain chi^2 is ia_chi2_sample1_omega, and chi2__{SAMPLE1} is" in shown(numbers)
    assert numbers["fixed"] == info["params"]
    assert numbers["prior_in_domain"]["share"] == 1
    assert [p["inside"] for p in numbers["parameters"]] == [True, True]
    assert numbers["sampler"]["name"] == "mcmc"
    assert numbers["output"] == {"prefix": "chains/tng300_sample1", "exists": False, "resume": False, "force": False}  # fmt: skip

    # The reference point is one of a chain's, and its numbers are the model's.
    reference = numbers["reference"]
    model = get_model({k: info[k] for k in ("theory", "likelihood", "params")}, stop_at_error=True)
    posterior = model.logposterior(reference["point"])
    assert reference["log_posterior"] == pytest.approx(posterior.logpost, rel=1e-12)
    assert reference["chi2"] == pytest.approx(-2 * posterior.loglike, rel=1e-12)
    assert reference["degrees_of_freedom"] == 12 - 2
    assert checked(info, tmp_path) == numbers


def test_what_is_counted_twice_or_not_at_all_is_said(tmp_path):
    def advice(**options):
        info = example("tng300_sample1")
        info["likelihood"][SAMPLE1] = options
        numbers = checked(info, tmp_path)["likelihoods"][SAMPLE1]
        return " ".join(numbers["covariance_advice"]), numbers["data"]

    both, rows = advice()  # the default adds the scatter of a catalogue to errors of a jackknife
    assert "to errors from 27 jackknife regions, which hold that scatter already" in both
    (row,) = rows
    assert 0.05 < row["median_emulator_sigma_over_data_sigma"]["box"] < 0.6
    # Of xi, whose errors do not depend on the alignment, the box's are most of the data's.
    alone, (row,) = advice(emulator_error="none", statistics=["xi"])
    assert "aleatoric" not in alone
    assert "sample variance of the box of the training is counted nowhere" in alone
    assert "model_error: box adds it" in alone
    assert row["median_emulator_sigma_over_data_sigma"]["box"] > 0.5
    assert advice(emulator_error="none", model_error="box", statistics=["xi"])[0] == ""
    # Errors of nobody knows how many regions.
    measured = Measurement.read("tng300.sample1")
    rest = {k: v for k, v in measured.metadata.items() if k != "n_jackknife"}
    unsaid = dataclasses.replace(measured, n_jackknife=None, metadata=rest)
    unsaid.write(tmp_path / "unknown.ecsv")
    unknown, _ = advice(data_file=str(tmp_path / "unknown.ecsv"), model_error="box")
    assert "right if the covariance of the data lacks this scatter" in unknown


def test_errors_of_the_emulator_are_compared_with_the_datas(tmp_path):
    numbers = checked(example("tng300_sample1"), tmp_path)
    (row,) = numbers["likelihoods"][SAMPLE1]["data"]
    info = example("tng300_sample1")
    info["likelihood"][SAMPLE1] = {"emulator_error": "total", "n_realisations": 4}
    (fewer,) = checked(info, tmp_path)["likelihoods"][SAMPLE1]["data"]
    ratio, halved = (x["median_emulator_sigma_over_data_sigma"] for x in (row, fewer))
    assert halved["aleatoric"] == pytest.approx(ratio["aleatoric"] / 2, rel=1e-9)
    assert halved["epistemic"] == pytest.approx(ratio["epistemic"], rel=1e-9)
    inputs = {**numbers["reference"]["point"], **numbers["fixed"]}
    theta = [inputs[f"{p}_sample1"] for p in DEFAULT_SPACE.names]
    emulator, measured = Emulator.load(), Measurement.read("tng300.sample1").cut(0.1, 15.85)
    xi = emulator.predict(theta).xi
    matrix = PairWeightedBinning(emulator.r_edges, measured.r_edges).of_ratio(xi)
    covariance = matrix.T @ emulator.covariance(theta)[20:40, 20:40] @ matrix
    expected = np.median(np.sqrt(np.diag(covariance)) / measured.errors["omega"])
    assert ratio["aleatoric"] == pytest.approx(expected, rel=1e-9)


def test_share_of_the_prior_in_the_domain(tmp_path):
    numbers = checked(example("tng300_all_parameters"), tmp_path)
    share = numbers["prior_in_domain"]
    # The exact volumes: of the band, by quadrature over logMmin, and of the priors' box.
    domain = Emulator.load().domain
    x = np.linspace(*domain.bands.first, 20_001)
    low, high = domain.occupation_limits(x)
    prior = np.array([p["prior"] for p in numbers["parameters"]])
    widths = np.minimum(high, prior[3:, 1]) - np.maximum(low, prior[3:, 0])
    expected = widths.prod(1).mean() / np.diff(prior[3:], axis=1).prod()
    assert abs(share["share"] - expected) < 4 * share["standard_error"]
    assert 0.05 < expected < 0.5
    assert f"{share['share']:.4g}" in shown(numbers)


def test_a_prior_beyond_the_domain(tmp_path):
    info = example("tng300_sample1")
    info["params"]["mu_sat_sample1"] = {"prior": {"min": -2, "max": 2}, "ref": 0.1}
    info["params"]["mu_cen_sample1"] = {"prior": {"dist": "norm", "loc": 0.5, "scale": 0.1}}
    numbers = checked(info, tmp_path)
    by_name = {p["name"]: p for p in numbers["parameters"]}
    assert by_name["mu_sat_sample1"]["inside"] is False
    assert by_name["mu_cen_sample1"]["inside"] is False
    assert by_name["mu_cen_sample1"]["prior"] == [None, None]
    assert numbers["prior_in_domain"]["share"] == pytest.approx(0.5, abs=0.02)
    assert numbers["reference"]["point"]["mu_sat_sample1"] == 0.1
    text = shown(numbers)
    assert "uniform, -2 to 2\n-1 to 1\nwider\n0.1" in text
    assert "norm, unbounded to unbounded" in text


def test_several_samples_cuts_and_other_likelihoods(tmp_path):
    info = example("tng300_joint")
    options = {"statistics": ["xi", "omega"], "r_min": {"xi": 1.0, "omega": 0.3}}
    info["likelihood"]["iaemu_likelihood.tng300.Sample2"] = options
    full = {"covariance": "full", "covariance_correction": "hartlap", "r_min": 0.3}
    info["likelihood"]["iaemu_likelihood.tng300.Sample3"] = full
    info["likelihood"]["mine"] = {"external": "lambda mu_cen_sample1: -mu_cen_sample1**2"}
    numbers = checked(info, tmp_path)
    second = numbers["likelihoods"]["iaemu_likelihood.tng300.Sample2"]
    assert [(r["statistic"], r["n_kept"]) for r in second["data"]] == [("xi", 6), ("omega", 9)]
    third = numbers["likelihoods"]["iaemu_likelihood.tng300.Sample3"]
    assert (third["n_jackknife"], third["covariance_correction"]) == (27, "hartlap")
    assert third["condition_number"] > 1
    assert numbers["other_likelihoods"] == ["mine"]
    assert numbers["reference"]["n_data"] == 12 + 15 + 9
    assert numbers["reference"]["degrees_of_freedom"] == 36 - 6
    text = shown(numbers)
    assert "covariance: full from 27 jackknife regions" in text
    assert "Other likelihoods: mine." in text


def test_command_prints_and_writes_every_number(tmp_path, iaemu):
    (tmp_path / "run.yaml").write_text((EXAMPLES / "tng300_sample1.yaml").read_text())
    (tmp_path / "chains").mkdir()
    (tmp_path / "chains/tng300_sample1.updated.yaml").touch()
    result = iaemu("check", "run.yaml", "--json", "run.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    numbers = json.loads((tmp_path / "run.json").read_text())
    for line in RunCheck(numbers).sentences():
        assert line in result.stdout
    assert numbers["output"]["exists"]
    assert "goes on with --resume, or starts again with --force" in result.stdout
    assert "│ mu_cen_sample1 │ uniform, -1 to 1 │" in result.stdout
    assert not list(tmp_path.glob("chains/*.txt"))


def test_weights_that_missed_targets_are_warned_of(tmp_path):
    weights = shutil.copytree(weights_folder("templates"), tmp_path / "mine")
    info = example("tng300_sample1")
    info["theory"]["iaemu_likelihood.IAEmu"]["weights"] = str(weights)
    assert "missed targets" not in shown(checked(info, tmp_path))
    card = read_card(weights)
    card["accuracy"]["targets_missed"] = "omega: SMAPE is 0.03, not 0 to 0.02"
    write_card(weights, card)
    warned = shown(checked(info, tmp_path))
    assert (
        f"missed targets when they were validated: {card['accuracy']['targets_missed']}" in warned
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "run.yaml is not readable YAML"),
        ("just words", "it lacks theory, likelihood"),
        ("theory: {a: }", "it lacks likelihood"),
        ("post: {suffix: a}\noutput: b", "is post-processing; give the input of the run"),
        ("theory: {}\nlikelihood: {one: }\nparams: {a: {prior: {min: 0, max: 1}}}", "has none of this"),
    ],
)  # fmt: skip
def test_files_that_are_no_run_of_ours(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        check_run(path)


def test_runs_that_cannot_start(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No file .*none\.yaml"):
        check_run(tmp_path / "none.yaml")
    info = example("tng300_sample1")
    info["params"] |= {"mu_cen_sample1": 0.5, "mu_sat_sample1": 0.1}
    with pytest.raises(ValueError, match="samples nothing: every parameter is fixed"):
        checked(info, tmp_path)
    info = example("tng300_sample1")
    info["likelihood"][SAMPLE1]["r_min"] = 100.0
    with pytest.raises(LoggedError, match="no bin lies wholly between"):
        checked(info, tmp_path)


@pytest.mark.slow
def test_errors_of_the_command_are_clear(tmp_path, iaemu):
    info = example("tng300_sample1")
    info["theory"]["iaemu_likelihood.IAEmu"]["weights"] = "nothing"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(info))
    # In a process of its own, as Cobaya's log has handlers of other tests in this one.
    command = "from iaemu_likelihood.cli import main; main()", "check", "run.yaml"
    result = subprocess.run(
        [sys.executable, "-c", *command], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 1
    assert "No weights 'nothing'" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    result = iaemu("check", "none.yaml", cwd=tmp_path)
    assert result.returncode == 1
    assert "Error: No file none.yaml" in result.stderr


FIXED = {"mu_cen_sample1": 0.5, "mu_sat_sample1": 0.1}


def test_everything_fixed_with_evaluate(tmp_path, monkeypatch):
    """A run of one point, into a folder."""
    monkeypatch.chdir(tmp_path)
    info = example("tng300_sample1")
    info["params"] |= FIXED
    info |= {"sampler": {"evaluate": None}, "output": "chains/"}
    numbers = checked(info, tmp_path)
    assert numbers["parameters"] == []
    assert numbers["prior_in_domain"]["share"] == 1
    assert numbers["reference"]["degrees_of_freedom"] == 12
    assert numbers["output"] == {"prefix": "chains/", "exists": False, "resume": False, "force": False}  # fmt: skip
    assert "Output: chains/ (new)." in shown(numbers)
    run(info, stop_at_error=True)
    _, chi2 = np.loadtxt("chains/1.txt")[[0, 2]]
    assert numbers["reference"]["chi2"] == pytest.approx(chi2, rel=1e-6)
    assert checked(info, tmp_path)["output"]["exists"]


@pytest.mark.parametrize("value", [0.5, -3.0])
def test_everything_fixed_with_evaluate_outside_the_domain(tmp_path, value):
    info = example("tng300_sample1")
    info["params"] |= {**FIXED, "mu_cen_sample1": value}
    info["sampler"] = {"evaluate": None}
    if value > -1:
        assert checked(info, tmp_path)["reference"]["point"] == {}
    else:
        with pytest.raises(ValueError, match="at its fixed parameters is zero"):
            checked(info, tmp_path)


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"sampler": {"mcmcc": None}}, ValueError, "no 'mcmcc' for the block 'sampler'. Did you mean mcmc"),
        ({"sampler": {"mcmc": {"Rminus1_stopp": 0.1}}}, LoggedError, "'Rminus1_stopp' .did you mean 'Rminus1_stop'"),
        ({"sampler": {"mcmc": 5}}, ValueError, "options of mcmc must be a mapping; got 5"),
        ({"sampler": ["mcmc"]}, ValueError, r"'sampler' must be one name .* got \['mcmc'\]"),
        ({"sampler": {"mcmc": None, "evaluate": None}}, ValueError, "'sampler' must be one name"),
        ({"output": ["a"]}, ValueError, "'output' must be of type str, got list"),
        ({"prior": {"mine": "lambda mu_cen_sample1: 1 / 0"}}, ValueError, "cannot be computed: ZeroDivisionError"),
        ({"prior": 3}, ValueError, "'prior' must be dict, got int"),
        ({"samplr": {}}, ValueError, "no block 'samplr'. Did you mean sampler"),
    ],
)  # fmt: skip
def test_no_raw_traceback_odd_inputs_are_refused_in_a_sentence(tmp_path, changed, kind, message):
    with pytest.raises(kind, match=message):
        checked({**example("tng300_sample1"), **changed}, tmp_path)


@pytest.mark.parametrize(
    ("theory", "message"),
    [
        ("iaemu_likelihood.IAEmuu", "Error: run.yaml: there is no 'iaemu_likelihood.IAEmuu' for the block 'theory'. Did you mean iaemu_likelihood.IAEmu"),
        ("IAEmu", "Did you mean iaemu_likelihood.IAEmu"),
        ("iaemu_likelihood.cobaya.check", "cannot be used in the block 'theory'"),
    ],
)  # fmt: skip
def test_no_raw_traceback_a_misspelled_theory_is_one_sentence(tmp_path, iaemu, theory, message):
    text = (EXAMPLES / "tng300_sample1.yaml").read_text()
    (tmp_path / "run.yaml").write_text(text.replace("iaemu_likelihood.IAEmu", theory))
    result = iaemu("check", "run.yaml", cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert len((result.stdout + result.stderr).splitlines()) == 1


def test_global_state_is_left_as_it_was(tmp_path):
    def state():
        return logging.root.level, list(logging.root.handlers), sys.excepthook

    before = state()
    checked(example("tng300_sample1"), tmp_path)
    assert state() == before


@pytest.fixture
def sky(on_the_sky, tmp_path):
    """A run that fits projected statistics and the quadrupole of one sample."""
    on_the_sky(redshift_space=True).write(tmp_path / "w.ecsv")
    on_the_sky(("xi_gplus_2",)).write(tmp_path / "q.ecsv")
    common = {"class": "iaemu_likelihood.IACorrelations", "covariance": "full"}
    return {
        "theory": {"iaemu_likelihood.IAEmu": None},
        "likelihood": {
            "projected": {
                **common, "data_file": str(tmp_path / "w.ecsv"), "emulator_error": "none",
                "statistics": ["w_gg", "w_gplus"], "r_min": {"w_gg": 2.0, "w_gplus": 0.3},
            },
            "quadrupole": {
                **common, "data_file": str(tmp_path / "q.ecsv"), "emulator_error": "epistemic",
                "statistics": ["xi_gplus_2"],
            },
        },
    }  # fmt: skip


def test_projected_statistics_and_that_their_responses_are_degenerate(sky, tmp_path):
    numbers = checked(sky, tmp_path)
    gg, gplus = numbers["likelihoods"]["projected"]["data"]
    assert (gg["n_kept"], gplus["n_kept"], len(gg["dropped"])) == (4, 8, 4)
    # At the reference point, the emulator's error over the data's, for the bins that are kept.
    point = {**numbers["reference"]["point"], **numbers["fixed"]}
    emulator = Emulator.load()
    measured = Measurement.read(tmp_path / "w.ecsv")
    edges = np.unique(np.round([*measured.r_min, *measured.r_max], 12))
    p = emulator.predict_projected(
        {name: point[name] for name in emulator.space.names}, edges,
        response=[point["a2_cen"], point["a2_sat"]], conventions=measured.conventions,
    )  # fmt: skip
    sigma = p.epistemic.w_gplus[np.arange(9) != 4] / measured.errors["w_gplus"]
    found = gplus["median_emulator_sigma_over_data_sigma"]
    assert set(found) == {"epistemic"}
    assert found["epistemic"] == pytest.approx(np.median(sigma), rel=1e-6)
    of_parameters = {p["name"]: p for p in numbers["parameters"]}
    assert of_parameters["a2_cen"]["distribution"] == "truncnorm"
    assert of_parameters["a2_cen"]["domain"] is None
    model = get_model(sky, stop_at_error=True)
    expected = model.logposterior(numbers["reference"]["point"])
    assert numbers["reference"]["log_posterior"] == pytest.approx(expected.logpost, rel=1e-10)
    words = "a2_cen, a2_sat, are degenerate with the alignment, mu"
    assert shown(numbers).count(words) == 1
    # Positions alone have nothing to do with it.
    sky["likelihood"] = {"projected": {**sky["likelihood"]["projected"], "statistics": ["w_gg"]}}
    assert "degenerate" not in shown(checked(sky, tmp_path))
    assert "degenerate" not in shown(checked(example("tng300_sample1"), tmp_path))


def test_projected_statistics_are_shown_in_80_columns(sky, tmp_path, iaemu):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**sky, "sampler": {"mcmc": None}}))
    result = iaemu("check", "run.yaml", cwd=tmp_path, columns=80)
    assert result.returncode == 0
    tables = [line for line in result.stdout.splitlines() if {*line} & {*"│┃━─"}]
    assert len(tables) > 15
    assert max(map(len, tables)) <= 80
    for word in ("w_gplus", "xi_gplus_2", "a2_sat", "truncnorm", "degenerate"):
        assert word in result.stdout


def test_responses_that_are_not_given_are_asked_for(sky, on_the_sky, tmp_path, iaemu):
    on_the_sky(axis_ratio=None).write(tmp_path / "w.ecsv", overwrite=True)
    del sky["likelihood"]["quadrupole"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(sky))
    result = iaemu("check", "run.yaml", cwd=tmp_path)
    assert result.returncode == 1
    said = " ".join((result.stdout + result.stderr).split())
    assert "Give axis_ratio, which sets priors of a2_cen and a2_sat" in said
