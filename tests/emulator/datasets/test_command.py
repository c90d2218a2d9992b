"""`iaemu dataset`."""

from pathlib import Path

import pytest
from astropy.table import Table
from iaemu_likelihood.emulator.datasets import DataSet


def test_the_command_makes_and_shows(halos, tmp_path, iaemu, caplog):
    (tmp_path / "domain.yaml").write_text("logMmin: [12, 12.5]\n")
    result = iaemu("dataset", "halotools", "--points", "2", "--catalogues", "1", "--halos", halos,
                   "--domain", "domain.yaml", "--out", "out.hdf5", cwd=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (DataSet.read(tmp_path / "out.hdf5").hod[:, 0] < 12.5).all()
    result = iaemu("dataset", "info", "out.hdf5", "--xi-screen", "1e9", cwd=tmp_path)
    assert "halotools: 2 HOD points" in result.stdout
    assert "0 of 2 points left out" in result.stderr


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("domain", "domain has logMmn; it is a mapping with some of logMmin, n_rmse"),
        ("columns", "lacks the column(s) halo_mvir"),
        ("truncated", "cannot be read: Number of header columns"),
        ("unreadable", "cannot be read: Format could not be identified"),
        ("missing", "No halo catalogue at"),
    ],
)
def test_errors_of_the_command_are_one_line(what, message, halos, tmp_path, iaemu):
    domain, bad = tmp_path / "domain.yaml", tmp_path / "bad.ecsv"
    domain.write_text("logMmn: [12, 12.5]\n" if what == "domain" else "")
    few = Table.read(halos, path="halos")[:100]
    if what == "columns":
        few.remove_column("halo_mvir")
        few.write(bad)
    elif what == "truncated":
        few.write(bad)
        bad.write_bytes(bad.read_bytes()[:5000])
    elif what == "unreadable":
        bad = tmp_path / "bad.dat"
        bad.write_bytes(bytes(range(256)))
    elif what == "domain":
        bad = Path(halos)
    result = iaemu("dataset", "realisations", "--points", "1", "--catalogues", "1",
                   "--halos", bad, "--domain", domain, "--out", tmp_path / "out")  # fmt: skip
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    assert message in line
    assert not list(tmp_path.glob("out*"))
