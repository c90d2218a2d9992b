"""Commands that draw their results: predict and measure."""

import numpy as np
import pytest
from astropy.table import Table

POINT = ("0.8", "0.3", "12.54", "0.26", "12.68", "13.48", "1.0")


def test_predict_draws(iaemu, tmp_path):
    done = iaemu("predict", *POINT, "--plot", "p.pdf", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "p.pdf")
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")


def test_measure_draws(iaemu, tmp_path):
    rng = np.random.default_rng(1)
    axes = rng.normal(size=(2000, 3))
    table = Table(np.hstack([rng.uniform(0, 50, (2000, 3)), axes]),
                  names=["x", "y", "z", *(f"galaxy_axisA_{i}" for i in "xyz")])  # fmt: skip
    table.write(tmp_path / "a.csv")
    done = iaemu(
        "measure", "a.csv", "--box", 50, "--out", "a.ecsv", "--r-min", 1, "--r-max", 8, "--bins", 4,
        "--jackknife", 2, "--plot", "a.png", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["a.ecsv", str(tmp_path / "a.png")]
    assert (tmp_path / "a.png").stat().st_size > 1e4


@pytest.mark.parametrize("name", ["p.xyz", "nowhere/p.png"])
def test_figures_that_cannot_be_written_are_refused_before_the_work(iaemu, tmp_path, name):
    done = iaemu("predict", *POINT, "--plot", name, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Error: " in done.stderr
