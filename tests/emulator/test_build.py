"""A halo catalogue to validated weights."""

import json
import shutil
from dataclasses import replace

import pytest
from iaemu_likelihood.emulator.build import build
from iaemu_likelihood.emulator.datasets import DataSet
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.card import verdict


@pytest.mark.slow
def test_build_ends_with_validated_weights(
    small_weights, small_config, small_tabulation_file, tmp_path
):
    """From where the training ended; what is there already is not made again."""
    folder = shutil.copytree(small_weights, tmp_path / "built")
    numbers = {"n_points": 60, "n_drawn": 4, "n_catalogues": 3}
    (folder / "tabulation.hdf5").unlink()  # which takes the one that is there
    build(small_config, folder, **numbers, tabulation=[small_tabulation_file], progress=False)
    assert (folder / "tabulation.hdf5").read_bytes() == small_tabulation_file.read_bytes()
    report = json.loads((folder / "validation.json").read_text())
    missed = [target["name"] for target in report["targets"] if target["met"] is False]
    judged = [target for target in report["targets"] if target["met"] is not None]
    assert missed  # by weights of so short a training
    said = verdict(Emulator.load(folder).card["accuracy"])
    assert said.startswith(f"{len(judged) - len(missed)} of {len(judged)} targets met; missed: ")
    assert all(f"{name} is " in said for name in missed)
    assert "<img" in (folder / "report.html").read_text()
    card = Emulator.load(folder).card
    assert card["accuracy"]["command"] == "iaemu build --halos small.hdf5"
    assert len(DataSet.read(folder / "test_expectation.hdf5")) == 60
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    build(small_config, folder, **numbers, progress=False)
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    changed = {path.name for path in before if before[path] != after[path]}
    assert not changed


def test_a_tabulation_of_another_catalogue_is_refused(
    small_config, small_tabulation_file, tmp_path
):
    config = replace(small_config, halos="bundled")
    with pytest.raises(ValueError, match=r"tabulates the catalogue 'small\.ecsv'"):
        build(config, tmp_path / "built", tabulation=[small_tabulation_file], n_points=5, n_drawn=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"n_points": 4}, "4 HOD points in all are too few to validate with: at least 5"),
        ({"n_drawn": 1}, "1 HOD points in all at which catalogues are drawn are too few"),
        ({"n_catalogues": 1}, "1 catalogues at each point are too few"),
        ({"n_points": 100, "n_drawn": 101}, "at the first of the HOD points: at most at 100"),
        ({"n_points": -5}, "-5 HOD points in all are too few"),
        ({"n_points": 10**9}, "take more than .* GiB of memory, .*make at most"),
        ({"devices": 0}, "devices is 0; this machine has"),
    ],
)
def test_what_can_be_known_to_fail_fails_before_anything_is_made(
    numbers, message, small_config, tmp_path
):
    with pytest.raises(ValueError, match=message):
        build(small_config, tmp_path / "built", **numbers, progress=False)
    assert not list(tmp_path.iterdir())
