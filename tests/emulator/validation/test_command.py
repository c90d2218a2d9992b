"""`iaemu validate`: what can be known to fail does so before the work, and in words."""

from __future__ import annotations

import re

import pytest


@pytest.mark.parametrize(
    ("command", "option", "value", "message"),
    [
        ("expectation", "n", "0", "Invalid value for '--n'"),
        ("expectation", "n", "-3", "Invalid value for '--n'"),
        ("expectation", "seed", "99999999999", "Invalid value for '--seed'"),
        ("expectation", "checkpoints", "file", "file is a file; give the name of a folder"),
        ("expectation", "json", "nowhere/x.json", "There is no folder .*nowhere: make it"),
        ("expectation", "tabulation", "file", "file is not a complete tabulation"),
        ("expectation", "occupation", "zheng08", "'zheng08' has no points to check; zheng07, desi"),
        (
            "expectation",
            "alignment",
            "watson2",
            "'watson2' has no points to check; watson, watson_m",
        ),
        ("expectation", "samples", "both", "'both' has no points to check; subset, separate have"),
        ("noise", "n", "0", "Invalid value for '--n'"),
        ("noise", "n", "1", "Invalid value for '--n'"),
        ("noise", "n-model", "nan", "Invalid value for '--n-model'"),
        ("noise", "halotools", "-1", "Invalid value for '--halotools'"),
        ("noise", "halotools", "1", "n_halotools is 1; a standard deviation takes 2"),
        ("noise", "seed", "-1", "Invalid value for '--seed'"),
        ("noise", "halos", "nowhere", "No halo catalogue at nowhere"),
        ("templates", "seed", "-1", "Invalid value for '--seed'"),
        ("templates", "report", "", "It is a folder: give the name of a file"),
        ("templates", "report", "nowhere/r.html", "There is no folder .*nowhere: make it"),
        ("templates", "expectation", "file", "file is not a complete HDF5 file"),
        ("templates", "realisations", "nowhere", "No data set at nowhere"),
        ("templates", "tabulation", "nowhere", "No HDF5 file at nowhere"),
        ("binning", "write-expectation", "nowhere/x", "There is no folder .*nowhere: make it"),
        ("calibration", "n", "0", "n is 0; a histogram"),
        ("calibration", "seed", "-1", "Invalid value for '--seed'"),
        ("calibration", "figure", "nowhere/f.png", "There is no folder .*nowhere: make it"),
        ("calibration", "sample", "", "No TNG300 sample ''"),
        ("calibration", "checkpoints", "file", "file is a file; give the name of a folder"),
    ],
)
def test_impossible_values_are_refused_in_words_before_the_work(
    command, option, value, message, tmp_path, iaemu
):
    (tmp_path / "file").touch()
    result = iaemu("validate", command, f"--{option}={value}", cwd=tmp_path)
    assert result.returncode != 0
    assert re.search(message, " ".join(result.stderr.split()))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_points_of_one_kind_are_checked_at_a_time(tmp_path, iaemu):
    result = iaemu(
        "validate", "expectation", "--samples", "subset", "--alignment", "watson_mass", cwd=tmp_path
    )
    assert result.returncode != 0
    assert "give one of them" in " ".join(result.stderr.split())


def test_a_tabulation_is_compared_by_other_commands(tmp_path, iaemu):
    for name in ("t.hdf5", "t.card.yaml"):
        (tmp_path / name).touch()
    result = iaemu("validate", "t.hdf5", cwd=tmp_path)
    assert result.returncode != 0
    said = " ".join(result.stderr.split())
    assert "t.hdf5 is a tabulation" in said
    assert "`iaemu validate expectation --tabulation t.hdf5`" in said
