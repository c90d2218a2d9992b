import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from astropy.table import Table
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.card import write_card
from iaemu_likelihood.emulator.models.weights import weights_folder
from iaemu_likelihood.emulator.training.configuration import DEFAULT_CONFIG, read_training_config
from scipy.stats import chi2

from iaemu_likelihood.tng300 import table1

POINT = ["0.8", "0.3", "12.54", "0.26", "12.68", "13.48", "1.0"]


def test_help_teaches_every_command(iaemu):
    top = iaemu("--help").stdout
    for command in (
        "info",
        "predict",
        "measure",
        "convert",
        "halos",
        "tabulate",
        "dataset",
        "train",
        "validate",
        "table1",
        "plot",
        "check",
    ):
        assert command in top
        assert len(iaemu(command, "--help").stdout) > 300


def test_predict_writes_a_table_that_astropy_reads(tmp_path, iaemu):
    result = iaemu("predict", *POINT, "--out", "p.ecsv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    table = Table.read(tmp_path / "p.ecsv", format="ascii.ecsv")
    expected = Emulator.load().predict(np.array(POINT, float))
    np.testing.assert_array_equal(table["omega"], expected.omega)
    np.testing.assert_allclose(table["xi_epistemic"], expected.epistemic.xi, rtol=1e-6)
    assert not re.search(r"\d{8}", result.stdout)  # few digits are shown
    assert f"{expected.omega[0]:.4g} ± {expected.aleatoric.omega[0]:.2g}" in result.stdout


def test_predicts_at_a_redshift_that_the_weights_know(tmp_path, iaemu, evolving_weights):
    options = ("--weights", evolving_weights, "--redshift", "0.5", "--out", "p.ecsv")
    result = iaemu("predict", *POINT, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    expected = Emulator.load(evolving_weights).predict(np.array(POINT, float), redshift=0.5)
    table = Table.read(tmp_path / "p.ecsv", format="ascii.ecsv")
    np.testing.assert_array_equal(table["omega"], expected.omega)
    result = iaemu("predict", *POINT, "--redshift", "9")
    assert "The redshift is 9; these weights know z = 0" in result.stderr


def test_negative_numbers_are_parameters_and_not_options(iaemu):
    result = iaemu("predict", "--", "-0.5", "-0.2", *POINT[2:])
    assert result.returncode == 0, result.stderr


def test_errors_are_one_line_that_says_what_to_do(iaemu):
    result = iaemu("predict", *POINT[:6], "3.0")
    assert result.returncode == 1
    assert "alpha = 3 is outside the emulator's domain" in result.stderr
    assert "Traceback" not in result.stderr
    result = iaemu("predict", *POINT[:6])
    assert result.returncode == 1
    assert "Give 7 numbers: mu_cen, mu_sat, logMmin" in result.stderr
    result = iaemu("plot", "nowhere/chain")
    assert result.returncode == 1
    assert "No chains nowhere/chain.*.txt" in result.stderr


@pytest.mark.parametrize("mu", ["-0.8", "-1", "-.5"])
def test_negative_numbers_are_no_options(iaemu, mu):
    result = iaemu("predict", mu, *POINT[1:], "--weights", "templates")
    assert result.returncode == 0, result.stderr
    expected = Emulator.load().predict([float(x) for x in (mu, *POINT[1:])])
    assert f"{expected.omega[0]:.4g} ± " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nan", *POINT[1:]], "mu_cen is nan, not a finite number"),
        ([*POINT[:6], "1e400"], "alpha is inf, not a finite number"),
        (["0.8"], "Give 7 numbers"),
        (["a", *POINT[1:]], "Invalid value for"),
        ([*POINT, "--weigths", "paper"], "Invalid value for"),
        ([], "Missing argument"),
        ([*POINT, "--weights", ""], "No weights ''"),
        ([*POINT, "--weights", "/"], "No weights '/'"),
        ([*POINT, "--weights", "a\nb"], "No weights"),
    ],
)
def test_odd_arguments_of_predict_are_errors(iaemu, arguments, said):
    result = iaemu("predict", *arguments)
    assert result.returncode in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_seal_adds_the_hash_of_a_card(tmp_path, iaemu):
    folder = shutil.copytree(weights_folder("paper"), tmp_path / "mine")
    card = yaml.safe_load((folder / "card.yaml").read_text())
    digest = card.pop("content_sha256")
    (folder / "card.yaml").write_text(yaml.safe_dump({**card, "schema": 2}))
    result = iaemu("info", str(folder))
    assert "of an older version" in result.stderr
    result = iaemu("seal", "mine", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert digest in result.stdout
    result = iaemu("info", str(folder))
    assert "older" not in result.stderr
    card["domain"]["logMmin"][0] = 10.4
    (folder / "card.yaml").write_text(
        yaml.safe_dump({**card, "schema": 3, "content_sha256": digest})
    )
    result = iaemu("seal", "mine", cwd=tmp_path)
    assert result.returncode == 1
    assert "was changed" in result.stderr


def test_info_of_several_redshifts_has_the_verdict_of_each(iaemu):
    card = Emulator.load().card
    lines = iaemu("info", "templates").stdout.splitlines()
    assert f"{card['accuracy']['targets_met']} targets met." in "".join(lines)
    for at, blocks in card["other_redshifts"].items():
        (line,) = (x for x in lines if x.startswith(f"{at}: "))
        assert f"{blocks['accuracy']['targets_met']} targets met" in line
        assert f"{at}, accuracy: expectation" in lines
    assert lines[-1].endswith("CARD.md")
    assert len(lines) < 130


def test_info_lists_bundled_and_own_weights(tmp_path, iaemu, monkeypatch):
    monkeypatch.setenv("IAEMU_WEIGHTS", str(tmp_path))
    mine = shutil.copytree(weights_folder("templates"), tmp_path / "mine")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "card.yaml").write_text("just words")
    text = iaemu("info").stdout
    assert re.search(r"templates\s*│ templates\s*│ bundled[^│]*│.*│ bundled", text)
    assert re.search(r"mine\s*│ templates\s*│ bundled[^│]*│", text)
    assert str(mine) in text.replace("\n", "")
    assert re.search(r"broken.*unreadable card", text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "extra", "command"),
    [("numba", "forward", ["tabulate", "sums.hdf5"]), ("lightning", "train", ["train"])],
)
def test_a_missing_extra_is_named(missing, extra, command, tmp_path):
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom iaemu_likelihood.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, cwd=tmp_path, check=False
    )  # fmt: skip
    assert result.returncode == 1
    assert f"pip install 'iaemu_likelihood[{extra}]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_info_shows_domain_and_accuracy(iaemu):
    text = iaemu("info", "templates").stdout
    assert "halo catalogue bundled" in text
    assert "sigma_logM" in text
    assert re.search(r"xi\s*│\s*0\.\d+ %", text)


def test_validate_explains_and_takes_names(iaemu):
    text = iaemu("validate", "--help").stdout
    for command in ("expectation", "projected", "noise", "binning", "NAME"):
        assert command in text
    assert "--realisations" in iaemu("validate", "templates", "--help").stdout
    result = iaemu("validate", "no_such_weights")
    assert result.returncode == 1
    assert "No weights 'no_such_weights'" in result.stderr


@pytest.mark.slow
def test_validate_writes_numbers_report_and_card(tmp_path, iaemu, monkeypatch):
    monkeypatch.setenv("IAEMU_WEIGHTS", str(tmp_path))
    folder = shutil.copytree(weights_folder("templates"), tmp_path / "mine")
    result = iaemu("validate", "mine", "--json", "v.json", "--report", "v.html", "--write-card",
                   cwd=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "mine: targets" in result.stdout
    numbers = json.loads((tmp_path / "v.json").read_text())
    assert numbers["data"]["n_points"] == 5000
    assert numbers["expectation"]["all"]["xi"]["mean_absolute_fractional_error"] < 0.003
    assert "data:image/png" in (tmp_path / "v.html").read_text()
    assert "`iaemu validate mine`" in (folder / "CARD.md").read_text()
    card = yaml.safe_load((folder / "card.yaml").read_text())
    assert card["accuracy"]["command"] == "iaemu validate mine"
    assert "xi 0.0" in iaemu("info").stdout


def test_validate_refuses_points_of_another_halo_catalogue(tmp_path, iaemu):
    folder = shutil.copytree(weights_folder("templates"), tmp_path / "mine")
    card = yaml.safe_load((folder / "card.yaml").read_text())
    card["halos"] = {"name": "other.hdf5", "sha256": "0" * 64}
    write_card(folder, card)
    result = iaemu("validate", "mine", cwd=tmp_path)
    assert result.returncode == 1
    assert "trained on the halo catalogue 'other.hdf5'" in result.stderr
    assert "--expectation" in result.stderr


@pytest.mark.slow
def test_table1_fits_prints_and_draws(tmp_path, iaemu, monkeypatch):
    info = table1.example("sample1")
    # Bounds, which the example waits for, too, are not looked at here.
    info["sampler"]["mcmc"]["Rminus1_cl_stop"] = 1.0
    # At the example's 0.01, means of chains still scatter by a tenth of sigma.
    info["sampler"]["mcmc"]["Rminus1_stop"] = 0.001
    monkeypatch.setattr(table1, "example", lambda sample: info)
    result = iaemu("table1", "sample1", "--json", "t.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "closed form" in result.stdout
    for kind in ("corner", "prediction"):
        assert (tmp_path / f"chains/tng300_sample1_{kind}.png").stat().st_size > 10_000
    report = json.loads((tmp_path / "t.json").read_text())
    (sample,) = report["samples"]
    cen, sat = sample["fits"]
    assert cen["published"]["IAEmu"]["value"] == 0.80
    for fit in (cen, sat):
        mean, std = fit["columns"]["direct"]
        # Without sampling, what is left is the network.
        assert abs(fit["offsets"]["closed_form"]) < 0.05
        assert fit["columns"]["closed_form"][1] == pytest.approx(std, rel=0.03)
        for sampler in ("nuts", "cobaya"):
            assert fit["columns"][sampler][0] == pytest.approx(mean, abs=0.12 * std)
            assert fit["columns"][sampler][1] == pytest.approx(std, rel=0.1)
    table = (tmp_path / "chains/table1.md").read_text()
    assert table.count("\n") == 2 + len(table1.METHODS) + len(cen["published"])
    assert "| NUTS | 0." in table
    # Cobaya speaks to a file that is named, and a chi^2 comes with its probability.
    assert "whose log is chains/tng300_sample1.log" in result.stderr
    assert "[mcmc]" not in result.stdout + result.stderr
    assert "[mcmc] Sampling!" in (tmp_path / "chains/tng300_sample1.log").read_text()
    p = chi2.sf(sample["chi2_min"], sample["n_data"] - 2)
    assert (
        f"chi^2 = {sample['chi2_min']:.1f} with 12 bins and 2 parameters, p = {p:.2g}."
        in result.stdout
    )
    assert result.stdout.splitlines()[-2:] == [
        f"chains/tng300_sample1_{kind}.png" for kind in ("corner", "prediction")
    ]
    # Run again: the finished chain is read, not made anew, and has the time that it took.
    again = iaemu("table1", "sample1", "--json", "again.json", cwd=tmp_path)
    read = json.loads((tmp_path / "again.json").read_text())["samples"][0]
    assert read["fits"] == sample["fits"]
    assert read["wall_s"]["cobaya"] is None
    # The chain's time, with that of reading its checkpoint.
    assert read["wall_s"]["nuts"] == pytest.approx(sample["wall_s"]["nuts"], rel=0.2)
    assert "Cobaya of an earlier run, NUTS" in again.stdout
    assert (tmp_path / "chains/nuts_sample1_1.txt").exists()
    assert again.returncode == 0
    pdf = iaemu("plot", "chains/tng300_sample1", "--suffix", "pdf", cwd=tmp_path)
    assert (tmp_path / "chains/tng300_sample1_corner.pdf").exists(), pdf.stderr


def test_tabulate_does_not_overwrite(tmp_path, iaemu):
    (tmp_path / "t.hdf5").write_bytes(b"precious")
    result = iaemu("tabulate", "t.hdf5", cwd=tmp_path)
    assert result.returncode == 1
    assert "--overwrite" in result.stderr
    assert (tmp_path / "t.hdf5").read_bytes() == b"precious"


@pytest.mark.slow
def test_the_plugin_does_not_import_what_only_training_needs():
    code = (
        "import sys, iaemu_likelihood; iaemu_likelihood.IAEmu, iaemu_likelihood.IACorrelations\n"
        "print([m for m in ('halotools', 'numba', 'lightning', 'pyro', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_emulator_knows_nothing_of_cobaya():
    code = "import sys, iaemu_likelihood.emulator.models.base as p; p.Emulator.load(); print('cobaya' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_build_trains_as_the_bundled_weights_but_on_the_halos_that_are_given(iaemu, monkeypatch):
    trained = []

    def build(config, out, **arguments):
        trained.append(config)
        raise ValueError("far enough")

    monkeypatch.setattr("iaemu_likelihood.emulator.build.build", build)
    for halos in (["own.hdf5"], ["late.hdf5", "early.hdf5"], ["bundled"]):
        assert "far enough" in iaemu("build", "--out", "folder", "--halos", *halos).stderr
    default = read_training_config(DEFAULT_CONFIG)
    assert [x.halos for x in trained] == ["own.hdf5", ["late.hdf5", "early.hdf5"], "bundled"]
    assert [x.note for x in trained] == ["", "", default.note]
    assert {x.least_galaxies for x in trained} == {default.least_galaxies}
