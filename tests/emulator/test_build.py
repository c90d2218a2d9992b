"""A halo catalogue to validated weights."""

import json
import shutil

import pytest
from iaemu_likelihood.emulator.build import build
from iaemu_likelihood.emulator.datasets import DataSet
from iaemu_likelihood.emulator.models import Emulator


@pytest.mark.slow
def test_build_ends_with_validated_weights(small_weights, small_config, tmp_path):
    """From where the training ended; what is there already is not made again."""
    folder = shutil.copytree(small_weights, tmp_path / "built")
    numbers = {"n_points": 60, "n_drawn": 4, "n_catalogues": 3}
    build(small_config, folder, **numbers, progress=False)
    report = json.loads((folder / "validation.json").read_text())
    assert report["targets"]
    assert "<img" in (folder / "report.html").read_text()
    card = Emulator.load(folder).card
    assert card["accuracy"]["command"] == "iaemu build --halos small.hdf5"
    assert len(DataSet.read(folder / "test_expectation.hdf5")) == 60
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    build(small_config, folder, **numbers, progress=False)
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    changed = {path.name for path in before if before[path] != after[path]}
    assert not changed


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
