"""What a recipe refuses, and what follows from it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from iaemu_likelihood.emulator.datasets import DataSet, Recipe
from iaemu_likelihood.emulator.datasets.recipe import KINDS
from iaemu_likelihood.emulator.mocks.halotools_ia import UNSAMPLED_MU
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.statistics import OMEGA, STATISTICS


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"kind": "else"}, ValueError, "kind must be one of expectation"),
        ({"n_points": 0}, ValueError, "at least one"),
        ({"seed": -1}, ValueError, "must not be negative"),
        ({"n_catalogues": 0}, ValueError, "realisations takes 1 or more"),
        ({"kind": "expectation"}, ValueError, "expectation takes 0"),
        (
            {"domain": {"logMmn": 1}},
            TypeError,
            r"logMmn; .* logMmin, n_rmse, sigma_logM_min, logM0",
        ),
        ({"domain": [12, 13]}, TypeError, "is a mapping with some of logMmin"),
        ({"fractions": (0.5, 0.1, 0.1)}, ValueError, "must add up to 1"),
    ],
)
def test_an_impossible_recipe_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        Recipe(**{"kind": "realisations", "n_points": 1, "seed": 1, "n_catalogues": 1, **fields})


@pytest.mark.parametrize("n", [1, 10, 1030])
def test_splits_are_of_whole_points_and_deterministic(n):
    splits = Recipe("expectation", n, 5).splits()
    np.testing.assert_array_equal(splits, Recipe("expectation", n, 5).splits())
    assert np.abs(np.bincount(splits, minlength=3) - np.array([0.7, 0.1, 0.2]) * n).max() <= 1
    if n > 10:
        assert (splits != Recipe("expectation", n, 6).splits()).any()


def test_what_halotools_cannot_draw_is_moved(halos, make, tmp_path, monkeypatch):
    sample = Domain.sample

    def sample_there(*arguments):
        theta = sample(*arguments)
        theta[0, :2] = 0.99912, 0.99914
        return theta

    monkeypatch.setattr(Domain, "sample", sample_there)
    recipe = Recipe("halotools", 1, 91, 1, halos)
    np.testing.assert_array_equal(recipe.parameters()[0, :2], UNSAMPLED_MU)
    data = DataSet.read(make(recipe, tmp_path / "out.hdf5"))
    np.testing.assert_array_equal(data.parameters[0, :2], UNSAMPLED_MU)
    assert Recipe("realisations", 1, 91, 1, halos).parameters()[0, 0] == 0.99912


def test_a_recipe_of_the_default_model_is_that_of_files_from_before_there_was_a_choice():
    for kind in KINDS:
        fields = json.loads(DataSet.held_out(kind).attributes["origin"])["recipe"]
        assert "statistics" not in fields
        assert Recipe(**fields).to_dict() == fields
    other = replace(Recipe("expectation", 1, 1), statistics=("omega", "xi"))
    assert other.to_dict()["statistics"] == ["omega", "xi"]
    assert "occupation" not in other.to_dict()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"statistics": ("omega",)}, "statistics are omega; xi must be among them"),
        ({"statistics": ("xi", "psi")}, "No statistic psi; there are xi"),
        ({"occupation": "zheng08"}, "No occupation 'zheng08'; there are zheng07"),
        ({"alignment": "fisher"}, "No alignment 'fisher'; there are watson"),
        ({"statistics": ("xi", "quiet")}, r"shape noise of quiet is not known.*noise=False"),
    ],
)
def test_an_impossible_model_is_refused(fields, message, monkeypatch):
    quiet = replace(OMEGA, name="quiet", has_shape_noise=False)
    monkeypatch.setitem(STATISTICS, "quiet", quiet)
    with pytest.raises(ValueError, match=message):
        Recipe("realisations", 1, 1, 1, **fields)
    if "quiet" in fields.get("statistics", ()):
        assert Recipe("realisations", 1, 1, 1, noise=False, **fields).measured[1] is quiet
