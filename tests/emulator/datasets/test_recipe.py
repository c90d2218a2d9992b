"""What a recipe refuses, and what follows from it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from iaemu_likelihood.emulator.datasets import DataSet, Recipe
from iaemu_likelihood.emulator.datasets.recipe import KINDS
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.mocks import jackknife
from iaemu_likelihood.emulator.mocks.halotools_ia import UNSAMPLED_MU
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.statistics import OMEGA, STATISTICS, XI
from iaemu_likelihood.emulator.training.configuration import read_training_config


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"kind": "else"}, ValueError, "kind must be one of expectation"),
        ({"n_points": 0}, ValueError, "n_points is 0; it should be greater than 0"),
        ({"n_points": -5}, ValueError, "n_points is -5; it should be greater than 0"),
        ({"n_points": 2**30 + 1}, ValueError, "n_points is 1073741825; a design has 1073741824"),
        ({"n_points": 10**30}, ValueError, "n_points is 10*; a design has 1073741824 at most"),
        ({"n_points": 1.0}, ValueError, "n_points is 1.0; it should be a valid integer"),
        ({"n_points": "100"}, ValueError, "n_points is '100'; it should be a valid integer"),
        ({"seed": -1}, ValueError, "seed is -1; it should be greater than or equal to 0"),
        ({"seed": 2**70}, ValueError, "seed is .*; it should be less than or equal to 4294967295"),
        ({"noise": 1}, ValueError, "noise is 1; it should be a valid boolean"),
        ({"halos": None}, ValueError, "halos: str is None; it should be a valid string"),
        ({"design": "grid"}, ValueError, "design must be one of sobol, paper; got 'grid'"),
        ({"statistics": "xi"}, ValueError, "statistics is 'xi'; it should be a valid tuple"),
        ({"r_edges": (1.0,)}, ValueError, "they must be two or more, and increase"),
        ({"r_edges": (2.0, 1.0)}, ValueError, "they must be two or more, and increase"),
        ({"r_edges": (0.0, 1.0)}, ValueError, "r_edges: 0 is 0.0; it should be greater than 0"),
        ({"n_catalogues": -1}, ValueError, "n_catalogues is -1; it should be greater than or"),
        ({"n_catalogues": 0}, ValueError, "realisations takes 1 or more"),
        ({"kind": "expectation"}, ValueError, "expectation takes 0"),
        (
            {"domain": {"logMmn": 1}},
            TypeError,
            r"logMmn; .* logMmin, n_rmse, sigma_logM_min, logM0",
        ),
        ({"domain": [12, 13]}, ValueError, r"domain is \[12, 13\]; it should be a valid dict"),
        ({"fractions": (0.5, 0.1, 0.1)}, ValueError, "must add up to 1"),
        ({"fractions": (np.nan, 0.5, 0.5)}, ValueError, "fractions: 0 is nan; .* finite number"),
        ({"fractions": (1.5, -0.5, 0.0)}, ValueError, "fractions: 0 is 1.5; .* less than or equal"),
        ({"fractions": (1.0, 0.0)}, ValueError, "fractions: 2 is missing"),
    ],
)
def test_an_impossible_recipe_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        Recipe(**{"kind": "realisations", "n_points": 1, "seed": 1, "n_catalogues": 1, **fields})


@pytest.mark.parametrize(
    "make",
    [
        lambda names: Recipe("expectation", 1, 1, statistics=names),
        lambda names: replace(read_training_config(), statistics=list(names)),
        lambda names: Tabulation.build(None, statistics=names),
        lambda names: jackknife(np.ones((8, 3)), np.ones((8, 3)), 9.0, [1, 2], statistics=names),
    ],
)
def test_a_statistic_twice_is_refused(make):
    with pytest.raises(ValueError, match=r"xi, omega, xi"):
        make((XI.name, OMEGA.name, XI.name))


@pytest.mark.parametrize(
    ("domain", "error", "message"),
    [
        ({"logMmin": [14, 11]}, ValueError, "logMmin from 14 to 11; .* the smaller one first"),
        ({"logMmin": [12, 12]}, ValueError, "logMmin from 12 to 12"),
        ({"logMmin": [12, float("inf")]}, TypeError, "logMmin is .*; it should be like .* finite"),
        ({"logMmin": 12}, TypeError, r"logMmin is 12; it should be like \(11.4, 14.0\)"),
        ({"logMmin": [12, 13, 14]}, TypeError, "logMmin is .*; it should be like"),
        ({"n_rmse": -1}, ValueError, "sigma_logM from .* at logMmin = 11.4; .* a higher upper one"),
        ({"n_rmse": 0}, ValueError, "sigma_logM from .* at logMmin = 11.4"),
        (
            {"n_rmse": "3e-1"},
            TypeError,
            r"n_rmse is '3e-1'; .*YAML takes 3e-1 as text: write 3.0e-1",
        ),
        ({"n_rmse": True}, TypeError, "n_rmse is True; it should be like 4.0"),
        ({"n_rmse": float("nan")}, TypeError, "n_rmse is nan; it should be like 4.0, of finite"),
        ({"sigma_logM_min": -0.1}, ValueError, "sigma_logM from -0.069.* lower limit above zero"),
        ({"sigma_logM_min": 3.0}, ValueError, "sigma_logM from 3 to "),
        ({"logM0_max": 1.0}, ValueError, "logM0 from .* to 1 at"),
    ],
)
def test_a_domain_is_a_region_given_by_numbers(domain, error, message):
    with pytest.raises(error, match=message):
        Recipe("expectation", 1, 1, domain=domain)


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
        ({"alignment": "watson_mass"}, "'watson_mass', whose strengths depend on host mass"),
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


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_that_a_recipe_takes_is_known_before(kind, recipes, files):
    data = DataSet.read(files[kind])
    taken = data.parameters.nbytes + sum(x.nbytes for x in data.columns.values())
    assert recipes[kind].bytes_per_point * len(data) == pytest.approx(taken, rel=0.05)
