"""Two snapshots to validated weights that know the redshifts between."""

import json
from dataclasses import replace

import numpy as np
import pytest
from iaemu_likelihood.emulator.build import build
from iaemu_likelihood.emulator.datasets import DataSet
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.bins import NEAR_EDGES
from iaemu_likelihood.emulator.physics.statistics import XI
from iaemu_likelihood.emulator.physics.templates import templates_of

from ..conftest import corner_of

NUMBERS = {"n_points": 60, "n_drawn": 4, "n_catalogues": 3, "progress": False}


@pytest.fixture(scope="module")
def snapshots(small_halos_table, tmp_path_factory):
    """Files of the same corner of the box at redshifts 0 and 1, and of the tabulation of the second."""
    folder = tmp_path_factory.mktemp("snapshots")
    for name, table in (("late", small_halos_table), ("early", corner_of("bundled@1"))):
        table.write(folder / f"{name}.hdf5", path="halos", serialize_meta=True)
    early = load_halos(folder / "early.hdf5")
    assert early.redshift == 1.0
    Tabulation.build(early, NEAR_EDGES, progress=False).write(folder / "tabulation.early.hdf5")
    return folder


@pytest.fixture(scope="module")
def built(snapshots, small_config, small_tabulation_file, tmp_path_factory):
    config = replace(
        small_config,
        halos=[str(snapshots / "late.hdf5"), str(snapshots / "early.hdf5")],
        least_galaxies=30.0,
        note="Made for a test.",
        n_noise_points=40,
    )
    tables = [small_tabulation_file, snapshots / "tabulation.early.hdf5"]
    return build(config, tmp_path_factory.mktemp("built"), tabulation=tables, **NUMBERS), config


@pytest.mark.slow
def test_weights_of_two_snapshots_know_the_redshifts_between(built, snapshots):
    folder, _ = built
    emulator = Emulator.load(folder)
    assert (emulator.redshift, emulator.redshifts) == (0.0, (0.0, 1.0))
    early = load_halos(snapshots / "early.hdf5")
    at_one, between = emulator.at_redshift(1.0), emulator.at_redshift(0.4)
    hod = np.array([[12.2, 0.3, 12.0, 13.3, 1.0]])
    occupation = emulator.space.occupation
    galaxies = [e.hosts.galaxies(occupation, hod).sum() for e in (emulator, between, at_one)]
    np.testing.assert_allclose(galaxies[2], early.abundance.galaxies(occupation, hod).sum())
    assert galaxies[0] > galaxies[1] > galaxies[2]
    # The noise, too, is known at every redshift, and grows as there are fewer galaxies.
    theta = np.concatenate([[[0.5, 0.2]], hod], axis=1)
    sigma = [e.predict(theta).aleatoric.omega.mean() for e in (emulator, between, at_one)]
    assert sigma[0] < sigma[1] < sigma[2]
    # Far better than the mean of the points that it was trained on, at both ends.
    first = templates_of(emulator.statistics).index(XI.templates[0])
    for i, at in enumerate((emulator, at_one)):
        data = DataSet.read(folder / f"test_expectation.z{i}.hdf5")
        assert data.attributes["redshift"] == float(i)
        p = at.predict(np.concatenate([np.full((len(data), 2), 0.4), data.parameters], axis=1))
        truth = data.columns["templates"][:, first]
        error = np.median(np.abs(p.xi / truth - 1))
        assert error < 0.3
        assert error < 0.5 * np.median(np.abs(truth.mean(axis=0) / truth - 1))
    with pytest.raises(ValueError, match=r"The redshift is 1\.2; these weights know z = 0 to 1\."):
        emulator.at_redshift(1.2)


@pytest.mark.slow
def test_training_points_lie_in_the_snapshots_and_between(built):
    folder, config = built
    data = DataSet.read(folder / "expectation.hdf5")
    between = data.redshift[(data.redshift > 0) & (data.redshift < 1)]
    assert len(np.unique(between)) == len(between) == len(data) // 2
    assert (data.redshift == 0).sum() == (data.redshift == 1).sum() == len(data) // 4
    np.testing.assert_allclose(np.median(np.log1p(between)), np.log(2) / 2, atol=0.02)
    noise = DataSet.read(folder / "noise.hdf5")
    assert np.unique(noise.redshift, return_counts=True)[1].tolist() == [20, 20]
    assert (data.hod[:, 0] <= config.redshifts.highest_at(data.redshift) + 1e-9).all()


@pytest.mark.slow
def test_the_card_says_what_is_known_of_each_redshift(built):
    folder, config = built
    card = Emulator.load(folder).card
    assert [x["redshift"] for x in card["halos"]["snapshots"]] == [0.0, 1.0]
    assert card["halos"]["name"] == "late.hdf5, early.hdf5"
    assert card["redshifts"] == config.redshifts.to_dict()
    at_one = json.loads((folder / "validation.z1.json").read_text())
    found = card["other_redshifts"]["z = 1"]["accuracy"]["expectation"]["xi"]
    measured = at_one["expectation"]["all"]["xi"]["median_absolute_fractional_error"]
    key = "median_absolute_fractional_error"
    assert found[key] == pytest.approx(measured, rel=1e-3)
    text = (folder / "CARD.md").read_text()
    for said in ("0 to 1, from snapshots at 0, 1", "Accuracy at z = 1", "Made for a test.",
                 "a box holds 30 galaxies at least"):  # fmt: skip
        assert said in text
    assert card["accuracy"]["command"] == "iaemu build --halos late.hdf5 early.hdf5"


@pytest.mark.slow
def test_what_is_built_is_left_as_it_is(built):
    folder, config = built
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    build(config, folder, **NUMBERS)
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {p.name for p in before if before[p] != after[p]} == set()


def test_more_tabulations_than_catalogues_are_refused(
    small_config, small_tabulation_file, tmp_path
):
    with pytest.raises(ValueError, match="2 tabulations are given for 1 halo catalogues"):
        build(small_config, tmp_path / "built", tabulation=[small_tabulation_file] * 2, **NUMBERS)
