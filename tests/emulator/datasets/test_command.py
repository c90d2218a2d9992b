"""`iaemu dataset`."""

import re
from pathlib import Path

import pytest
from astropy.table import Table
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.datasets import DataSet


def test_the_command_makes_and_shows(halos, tmp_path, iaemu, caplog):
    (tmp_path / "domain.yaml").write_text("logMmin: [12, 12.5]\n")
    result = iaemu("dataset", "halotools", "--points", "2", "--catalogues", "1", "--halos", halos,
                   "--domain", "domain.yaml", "--out", "out.hdf5", cwd=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (DataSet.read(tmp_path / "out.hdf5").hod[:, 0] < 12.5).all()
    result = iaemu("dataset", "info", "out.hdf5", "--xi-screen", "1e9", cwd=tmp_path)
    assert "halotools: 2 HOD points" in result.stdout
    first = DataSet.read(tmp_path / "out.hdf5").hod[:, 0]
    assert re.search(rf"logMmin +│ {first.min():.4g} +│ {first.max():.4g} ", result.stdout)
    assert not re.search(r"\d\.\d{6}", result.stdout)  # few digits are shown
    assert "0 of 2 points left out" in result.stderr


def test_a_tabulation_that_is_there_is_used(tmp_path, iaemu, small_tabulation_file, small_halos_file):  # fmt: skip
    before = small_tabulation_file.read_bytes()
    (tmp_path / "tabulation.hdf5").write_bytes(before)
    (tmp_path / "domain.yaml").write_text("logMmin: [12, 12.5]\n")
    result = iaemu("dataset", "expectation", "--points", "5", "--halos", small_halos_file,
                   "--domain", "domain.yaml", "--out", "out.hdf5", cwd=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "tabulation.hdf5").read_bytes() == before
    assert len(DataSet.read(tmp_path / "out.hdf5")) == 5
    assert "tabulation.hdf5" in iaemu("dataset", "expectation", "--help").stdout


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("domain", "domain has logMmn; it is a mapping with some of logMmin, n_rmse"),
        ("columns", "lacks the column(s) halo_mvir"),
        ("truncated", "is not a readable ECSV table: Number of header columns"),
        ("unreadable", "is not a readable table: Format could not be identified"),
        ("missing", "No halo catalogue at"),
    ],
)
def test_errors_of_the_command_are_one_line(what, message, halos, tmp_path, iaemu):
    domain, bad = tmp_path / "domain.yaml", tmp_path / "bad.ecsv"
    domain.write_text("logMmn: [12, 12.5]\n" if what == "domain" else "n_rmse: 4.0\n")
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


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("points", "0", "Invalid value for '--points'"),
        ("points", "1000000000", "take more than .* GiB of memory, and this machine has"),
        ("points", "99999999999", "take more than .* GiB|n_points is 99999999999; a design has"),
        ("points", "3e-3", "Invalid value for '--points'"),
        ("catalogues", "-1", "Invalid value for '--catalogues'"),
        ("seed", "-1", "seed is -1; it should be greater than or equal to 0"),
        ("out", "", "It is a folder: give the name of a file"),
        ("out", "file/out.hdf5", "file is a file; give the name of a folder"),
        ("out", "file", "file is not a complete HDF5 file"),
        ("domain", "nowhere.yaml", "There is no file nowhere.yaml"),
        ("domain", "", "There is no file"),
        ("domain", "unparsable.yaml", "unparsable.yaml is not readable YAML"),
        ("domain", "file", "file holds no mapping of keys to values"),
        ("domain", "text.yaml", "n_rmse is '3e-1'; .*YAML takes 3e-1 as text: write 3.0e-1"),
        (
            "domain",
            "code.yaml",
            "code.yaml is not readable YAML: could not determine a constructor",
        ),
        ("fractions", "nan", "fractions: 0 is nan; it should be a finite number"),
        ("design", "[/b]", r"design must be one of sobol, paper; got '\[/b\]'"),
        ("scheduler", "", "No Dask scheduler answers at"),
        ("scheduler", "nowhere", "No Dask scheduler answers at nowhere"),
    ],
)
def test_impossible_values_are_refused_in_words_before_the_work(
    option, value, message, halos, tmp_path, iaemu
):
    (tmp_path / "file").touch()
    (tmp_path / "unparsable.yaml").write_text("logMmin: [12, 13")
    (tmp_path / "text.yaml").write_text("n_rmse: 3e-1")
    (tmp_path / "code.yaml").write_text("n_rmse: !!python/object/apply:pathlib.Path.touch [ran]")
    options = {"points": "1", "catalogues": "1", "halos": halos, "out": "out.hdf5", option: value}
    arguments = [f"--{name}={text}" for name, text in options.items()]
    if option == "fractions":
        arguments += ["0.5", "0.5"]
    result = iaemu("dataset", "realisations", *arguments, cwd=tmp_path)
    assert result.returncode != 0
    assert re.search(message, " ".join(result.stderr.split()))
    assert not (tmp_path / "out.hdf5").exists()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("screen", ["nan", "-1", "0", "inf"])
def test_an_impossible_screen_is_refused(screen, halos, tmp_path, iaemu):
    result = iaemu("dataset", "info", "nowhere.hdf5", "--xi-screen", screen, cwd=tmp_path)
    assert "No data set at nowhere.hdf5" in result.stderr
    path = bundled("validation/halotools.hdf5")
    result = iaemu("dataset", "info", path, "--xi-screen", screen)
    assert f"Error: xi_screen is {float(screen)}; it must be a number above zero" in result.stderr
