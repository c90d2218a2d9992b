"""What commands print fits a terminal of 80 characters, and a pipe, and cuts no word or number."""

import os
import pty
import re
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import typer
from astropy.table import Table as AstropyTable
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.halos.rows import REQUIRED_COLUMNS
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import STATISTICS, named
from iaemu_likelihood.emulator.tables import Table, plus_minus
from iaemu_likelihood.emulator.validation.expectation import ExpectationCheck
from iaemu_likelihood.emulator.validation.noise import NoiseCheck

from iaemu_likelihood import cli
from iaemu_likelihood.cli.tables import show
from iaemu_likelihood.data_vectors.measurement import TNG300_SAMPLES
from iaemu_likelihood.sampling.calibration import LEVELS, Calibration
from iaemu_likelihood.tng300 import table1
from iaemu_likelihood.tng300.table1 import BinningErrors

from .test_showing import commands

POINT = ["-0.8", "-0.3", "12.54", "0.26", "12.68", "13.48", "1.0"]
EXAMPLES = files("iaemu_likelihood.yaml_examples")
SIDES = "│┃┏┡└━─╭╰"  # with which lines of tables begin
NUMBER = re.compile(r"[-+]?[\d.]+(?:e[-+]?\d+)?")


def lines_of_tables(text):
    return [line for line in text.splitlines() if line.strip() and line.strip()[0] in SIDES]


def numbers_in(text):
    return {number for line in lines_of_tables(text) for number in NUMBER.findall(line)}


def assert_fits(narrow, wide):
    """A table in 80 characters holds every number that it holds where there is space."""
    lines = lines_of_tables(narrow)
    assert lines
    assert max(map(len, lines)) <= 80
    assert "…" not in narrow
    assert numbers_in(wide) <= numbers_in(narrow)


def galaxies(folder):
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(400, 3))
    columns = dict(zip("xyz", rng.uniform(0, 40, (3, 400)), strict=True))
    columns |= {f"galaxy_axisA_{x}": axes[:, i] for i, x in enumerate("xyz")}
    AstropyTable(columns).write(folder / "galaxies.csv")
    return ["measure", "galaxies.csv", "--box", "40", "--r-min", "2", "--r-max", "9", "--bins", "3", "--overwrite", "--out", "m.ecsv"]  # fmt: skip


COMMANDS = {
    "info": lambda _: ["info"],
    "info templates": lambda _: ["info", "templates"],
    "info paper": lambda _: ["info", "paper"],
    "predict": lambda _: ["predict", *POINT],
    "dataset info": lambda _: ["dataset", "info", bundled("validation/expectation.hdf5")],
    "measure": galaxies,
    "convert": lambda folder: ["convert", "tng300.projected_z0", f"{folder}/m.sacc", "--overwrite"],
    "nuts": lambda _: ["nuts", EXAMPLES / "tng300_all_parameters.yaml", "--warm-up=2", "--samples=4", "--out=n"],
    "covmat": lambda folder: ["covmat", EXAMPLES / "tng300_sample1.yaml", f"--out={folder}/c.covmat"],
    **{
        f"check {path.name}": lambda _, path=path: ["check", path]
        for path in (EXAMPLES / "tng300_joint.yaml", EXAMPLES / "tng300_all_parameters.yaml")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", [80, None], ids=["terminal", "pipe"])
def test_tables_fit(name, columns, tmp_path, iaemu):
    arguments = COMMANDS[name](tmp_path)
    narrow = iaemu(*arguments, cwd=tmp_path, columns=columns)
    assert narrow.returncode == 0, narrow.stderr
    assert_fits(narrow.stdout, iaemu(*arguments, cwd=tmp_path, columns=400).stdout)


@pytest.mark.slow
def test_tables_of_validations_fit_and_the_first_is_a_screen(tmp_path, iaemu):
    brief = iaemu("validate", "templates", columns=80).stdout
    whole = iaemu("validate", "templates", "--details", columns=80).stdout
    assert_fits(brief, brief)
    assert_fits(whole, iaemu("validate", "templates", "--details", columns=400).stdout)
    assert len(brief.splitlines()) < 45 < len(whole.splitlines())
    assert brief.splitlines()[-1] == whole.splitlines()[-1] == "20 of 20 targets met."


@pytest.mark.slow
def test_table1_fits(tmp_path, iaemu, monkeypatch):
    info = table1.example("sample1")
    info["sampler"] = {"mcmc": {"max_samples": 60, "seed": 1}}
    monkeypatch.setattr(table1, "example", lambda _: info)
    narrow = iaemu("table1", "sample1", cwd=tmp_path, columns=None)
    assert_fits(narrow.stdout, iaemu("table1", "sample1", cwd=tmp_path, columns=400).stdout)
    assert len(narrow.stdout.splitlines()) < 20
    plot = ["plot", "chains/tng300_sample1"]
    assert_fits(
        iaemu(*plot, cwd=tmp_path, columns=80).stdout,
        iaemu(*plot, cwd=tmp_path, columns=400).stdout,
    )
    assert sum("Cobaya" in line for line in narrow.stderr.splitlines()) == 1


HOD = dict(zip(DEFAULT_SPACE.names, map(float, POINT), strict=True))
NAMES = [statistic.name for statistic in STATISTICS.values()][:3]
FOUND = {
    "chi2_per_bin": 1.234,
    "max_abs_z": 12.3,
    "probability": 1.2e-11,
    "smallest_probability": 1e-9,
}
NOISE = {"mean_ratio": 1.023, "max_deviation": 0.123}
RANKS = {"chi2_probability": 0.65, "ks_probability": 0.0012, "coverage": dict.fromkeys(map(str, LEVELS), 0.683),
         "mean_z": -0.02, "std_z": 1.01}  # fmt: skip
RESULTS = {
    "expectation": ExpectationCheck({
        "points": [{"parameters": HOD, **dict.fromkeys(NAMES, FOUND)}],
        "summary": dict.fromkeys(NAMES, FOUND),
        "realisations": 60,
    }),
    "noise": NoiseCheck(named(NAMES), {
        "points": [{"parameters": HOD, "n_galaxies": 123456.0, "rms_correlation_difference": 0.051,
                    **dict.fromkeys(NAMES, NOISE)}],
        "expected_scatter": 0.05,
    }),
    "binning": BinningErrors({
        sample: {t.name: [0.1234] for s in STATISTICS.values() for t in (s, *s.templates)}
        for sample in TNG300_SAMPLES
    }),
    "calibration": Calibration(DEFAULT_SPACE, {
        "sample": "sample1", "n": 500, "scatter": "data", "weights": "templates",
        "emulator_error": {"aleatoric": dict.fromkeys(DEFAULT_SPACE.alignment.names, RANKS)},
    }, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_tables_of_other_validations_fit(name, capsys, monkeypatch):
    texts = []
    for columns in ("80", "400"):
        monkeypatch.setenv("COLUMNS", columns)
        show(RESULTS[name].tables())
        texts.append(capsys.readouterr().out)
    assert_fits(*texts)


@pytest.mark.parametrize("columns", [80, None], ids=["terminal", "pipe"])
def test_helps_fit_and_show_brackets(columns, iaemu):
    """Which markup would take for its own."""
    shown = {}
    for name, _ in [([], None), (["dataset"], None), (["validate"], None), *commands(typer.main.get_command(cli.app))]:  # fmt: skip
        text = iaemu(*name, "--help", columns=columns).stdout
        assert text == iaemu(*name, "-h", columns=columns).stdout
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        shown[" ".join(name)] = " ".join(re.sub("│", " ", text).split())
    assert "iaemu_likelihood[cosmosis]" in shown["cosmosis-path"]
    assert "logMmin: [low, high]" in shown["dataset expectation"]
    assert "[bold]" not in "".join(shown.values())
    assert all(column in shown["build"] for column in REQUIRED_COLUMNS)
    page = Path(__file__).parents[2].joinpath("docs/halos.md").read_text()
    assert all(f"`{column}`" in page for column in REQUIRED_COLUMNS)


def test_columns_that_do_not_fit_follow_below(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"parameter_{i}" for i in range(9)]
    rows = [[f"{i}.{j}345 ± 0.1" for j in range(9)] for i in range(2)]
    show([Table("Title", names, rows)])
    narrow = capsys.readouterr().out
    found = Counter(re.findall(r"[01]\.\d345 ± 0\.1", narrow))
    assert {cell for row in rows for cell in row} == set(found)
    assert found["0.0345 ± 0.1"] > 1  # the first column is there again
    assert all(name in narrow for name in names)
    assert max(map(len, narrow.splitlines())) <= 80


def test_words_longer_than_the_terminal_are_whole_over_lines(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    show([Table("", ["name", "where"], [["a", "/" + "folder/" * 12]])])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert "".join(line[8:-1].strip() for line in lines[3:-1]) == "/" + "folder/" * 12


def test_sentences_are_wrapped_between_words_on_a_terminal_and_whole_in_a_pipe():
    code = "from iaemu_likelihood.cli import main; main()"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, "info", "templates"], stdout=theirs,
        env={**os.environ, "COLUMNS": "80", "TERM": "dumb"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # at the end
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    os.close(ours)
    terminal = shown.decode().replace("\r\n", "\n")
    piped = subprocess.run(
        [sys.executable, "-c", code, "info", "templates"], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    assert all(len(line) <= 80 or " " not in line for line in terminal.splitlines())
    assert terminal.split() == piped.split()
    assert max(map(len, piped.splitlines())) > 80


@pytest.mark.parametrize(
    ("value", "sigma", "text"),
    [(2594.6, 112.3, "2595 ± 110"), (-0.01126, 0.00193, "-0.01126 ± 0.0019"), (0, 0, "0 ± 0")],
)
def test_digits_of_a_value_with_its_sigma(value, sigma, text):
    assert plus_minus(value, sigma) == text


def test_version(iaemu):
    from importlib.metadata import version

    result = iaemu("--version")
    assert (result.returncode, result.stdout.strip()) == (0, f"iaemu_likelihood {version('iaemu_likelihood')}")  # fmt: skip


def test_messages_of_commands_speak_of_options(iaemu):
    said = iaemu("predict", *POINT[:6], "3.0").stderr
    assert "Choose extrapolate" in said
    assert "True" not in said
    assert iaemu("predict", *POINT[:6], "3.0", "--extrapolate").returncode == 0
