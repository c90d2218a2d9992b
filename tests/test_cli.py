import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table
from iaemu_likelihood.emulator.prediction import Emulator

POINT = ["0.8", "0.3", "12.54", "0.26", "12.68", "13.48", "1.0"]


def iaemu(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", "from iaemu_likelihood.cli import main; main()", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env={**os.environ, "COLUMNS": "200"}, check=False,
    )  # fmt: skip


def test_help_teaches_every_command():
    top = iaemu("--help").stdout
    for command in (
        "info",
        "predict",
        "measure",
        "tabulate",
        "dataset",
        "train",
        "validate",
        "table1",
        "plot",
    ):
        assert command in top
        assert len(iaemu(command, "--help").stdout) > 300


def test_predict_prints_a_table_that_astropy_reads():
    result = iaemu("predict", *POINT)
    assert result.returncode == 0, result.stderr
    table = Table.read(result.stdout, format="ascii.ecsv")
    expected = Emulator.load().predict(np.array(POINT, float))
    np.testing.assert_allclose(table["omega"], expected.omega, rtol=1e-12)
    np.testing.assert_allclose(table["xi_epistemic"], expected.epistemic.xi, rtol=1e-6)


def test_negative_numbers_are_parameters_and_not_options():
    result = iaemu("predict", "--", "-0.5", "-0.2", *POINT[2:])
    assert result.returncode == 0, result.stderr


def test_errors_are_one_line_that_says_what_to_do():
    result = iaemu("predict", *POINT[:6], "3.0")
    assert result.returncode == 1
    assert "alpha = 3 is outside the emulator's domain" in result.stderr
    assert "Traceback" not in result.stderr
    result = iaemu("plot", "nowhere/chain")
    assert result.returncode == 1
    assert "No chains nowhere/chain.*.txt" in result.stderr


def test_info_shows_domain_and_accuracy():
    text = iaemu("info").stdout
    assert "templates" in text
    assert "halo catalogue bundled" in text
    assert "sigma_logM" in text
    assert re.search(r"xi\s*│\s*0\.\d+ %", text)


def test_table1_fits_prints_and_draws(tmp_path):
    result = iaemu("table1", "sample1", "--json", "t.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "closed form" in result.stdout
    for kind in ("corner", "prediction"):
        assert (tmp_path / f"chains/tng300_sample1_{kind}.png").stat().st_size > 10_000
    report = json.loads((tmp_path / "t.json").read_text())
    (sample,) = report["samples"]
    cen, sat = sample["fits"]
    assert cen["published"]["IAEmu"]["value"] == 0.80
    assert cen["mean"] == pytest.approx(cen["exact_mean"], abs=0.1 * cen["exact_std"])
    assert sat["std"] == pytest.approx(sat["exact_std"], rel=0.1)
    # Run again: the finished chain is read, not made anew.
    again = iaemu("table1", "sample1", "--json", "again.json", cwd=tmp_path)
    assert json.loads((tmp_path / "again.json").read_text())["samples"][0]["fits"] == sample["fits"]
    assert again.returncode == 0
    pdf = iaemu("plot", "chains/tng300_sample1", "--suffix", "pdf", cwd=tmp_path)
    assert (tmp_path / "chains/tng300_sample1_corner.pdf").exists(), pdf.stderr


def test_tabulate_does_not_overwrite(tmp_path):
    (tmp_path / "t.hdf5").write_bytes(b"precious")
    result = iaemu("tabulate", "t.hdf5", cwd=tmp_path)
    assert result.returncode == 1
    assert "--overwrite" in result.stderr
    assert (tmp_path / "t.hdf5").read_bytes() == b"precious"


def test_the_plugin_does_not_import_what_only_training_needs():
    code = (
        "import sys, iaemu_likelihood; iaemu_likelihood.IAEmu, iaemu_likelihood.IACorrelations\n"
        "print([m for m in ('halotools', 'numba', 'lightning', 'pyro', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_the_emulator_knows_nothing_of_cobaya():
    code = "import sys, iaemu_likelihood.emulator.prediction as p; p.Emulator.load(); print('cobaya' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
