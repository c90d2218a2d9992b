"""The rows of every kind are what the tabulation, the fast mocks and halotools-IA give."""

import logging

import numpy as np
import pytest
from iaemu_likelihood.emulator.datasets import DataSet, Recipe
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites
from iaemu_likelihood.emulator.mocks import HalotoolsIA, correlations, positions_and_axes
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.noise import Noise
from iaemu_likelihood.emulator.noise.measured import N_PRIMARIES, mean_moments, shape_moments
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS

SPARSE = {"logMmin": [13.9, 14.2], "logM0_max": 14.3}


@pytest.mark.parametrize("kind", ["expectation", "realisations"])
def test_points_with_empty_bins_are_kept_and_counted(kind, halos, make, tmp_path, caplog):
    n_points, n_catalogues = (64, 0) if kind == "expectation" else (6, 3)
    recipe = Recipe(kind, n_points, 3, n_catalogues, halos, domain=SPARSE)
    with caplog.at_level(logging.INFO):
        data = DataSet.read(make(recipe, tmp_path / "out.hdf5"))
    assert len(data) == n_points
    n_pairs, templates = data.columns["n_pairs"], data.columns["templates"]
    empty = np.isnan(templates[..., 1, :])
    n_empty = empty.reshape(n_points, -1).sum(axis=1)
    np.testing.assert_array_equal(data.columns["n_empty_bins"], n_empty)
    n_affected = (n_empty > 0).sum()
    assert n_affected > 0
    assert data.attributes["n_points_with_empty_bins"] == n_affected
    assert f"{n_affected} of {n_points} points have bins without pairs" in caplog.text
    assert (n_pairs[empty] == 0).all()
    assert (templates[..., 0, :][empty] == -1).all()
    everything = np.broadcast_to(empty[..., None, :], templates[..., 1:, :].shape)
    np.testing.assert_array_equal(np.isnan(templates[..., 1:, :]), everything)
    if kind == "realisations":
        assert (n_pairs[~empty] > 0).all()
        values = data.columns["correlations"]
        np.testing.assert_array_equal(np.isnan(values[:, :, 1:]), everything[:, :, :2])
        assert np.isfinite(data.columns["shape"]).all()


@pytest.mark.parametrize("kind", ["realisations", "halotools"])
def test_a_catalogue_without_galaxies(kind, halos, make, tmp_path, monkeypatch):
    few = np.array([[0.5, 0.5, 14.4, 0.2, 14.0, 14.3, 1.0]])
    monkeypatch.setattr(Domain, "sample", lambda *_: few)
    data = DataSet.read(make(Recipe(kind, 1, 1, 40, halos), tmp_path / "out.hdf5"))
    none = data.columns["n_galaxies"].sum(axis=-1) == 0
    assert none.any()
    assert np.isnan(data.columns["correlations"][none]).all()
    assert (data.columns["n_pairs"][none] == 0).all()
    assert len(DataSet.read(tmp_path / "out.hdf5", xi_screen=1e9)) == 1


def test_expectation_is_the_tabulations(files, recipes, small_tabulation_file):
    data, recipe = DataSet.read(files["expectation"]), recipes["expectation"]
    _, hod = recipe.space.split(Domain.of().sample(recipe.n_points, recipe.seed))
    np.testing.assert_array_equal(data.parameters, hod)
    rows = slice(128, 130)
    # From the file, which rounds to single precision.
    table = Tabulation.read(small_tabulation_file).coarser(R_EDGES, DEFAULT_STATISTICS)
    found = table.templates(hod[rows])
    templates = data.columns["templates"]
    assert templates.dtype == np.float32
    np.testing.assert_allclose(templates[rows], found.values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(data.columns["n_galaxies"][rows, 0], found.n_centrals, rtol=1e-6)


def test_realisations_are_those_of_the_fast_mocks(files, recipes, small_halos):
    data, recipe = DataSet.read(files["realisations"]), recipes["realisations"]
    sites, point = GalaxySites.of(small_halos), 7
    mu, hod = recipe.space.split(recipe.parameters()[point])
    moments, templates = [], []
    for catalogue in range(recipe.n_catalogues):
        rng = recipe.rng(point, catalogue)
        galaxies = populate(sites, hod, rng)
        found = measure(galaxies, mu, sites.box, R_EDGES, rng)
        row = {name: values[point, catalogue] for name, values in data.columns.items()
               if name in ("n_pairs", "n_galaxies", "templates", "correlations")}  # fmt: skip
        np.testing.assert_array_equal(row["n_pairs"], found.n_pairs)
        np.testing.assert_array_equal(row["n_galaxies"], galaxies.numbers)
        np.testing.assert_array_equal(row["templates"], found.templates.astype(np.float32))
        np.testing.assert_array_equal(row["correlations"], found.correlations.astype(np.float32))
        templates.append(found.templates)
        moments.append(shape_moments(galaxies, found, sites.box, R_EDGES, N_PRIMARIES, rng))
    noise = Noise(
        data.statistics, np.array(templates), *mean_moments(moments, data.columns["n_pairs"][point])
    )
    expected = noise.covariance(*mu)
    error = data.noise(point).covariance(*mu) - expected
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.nanmax(np.abs(error) / scale) < 1e-4


def test_halotools_is_halotools(files, recipes, small_halos):
    data, recipe = DataSet.read(files["halotools"]), recipes["halotools"]
    model = HalotoolsIA(small_halos)
    seed = int(recipe.rng(2, 1).integers(2**32))
    galaxies = model.populate(recipe.parameters()[2], seed)
    position, axes = positions_and_axes(galaxies)
    found = correlations(position, axes, model.box)
    for i, statistic in enumerate(data.statistics):
        expected = found[statistic.name].astype(np.float32)
        np.testing.assert_array_equal(data.columns["correlations"][2, 1, i], expected)
    assert data.columns["n_galaxies"][2, 1].sum() == len(galaxies)
    separation = position[:, None] - position[None]
    separation -= model.box * np.round(separation / model.box)
    n_pairs, _ = np.histogram(np.linalg.norm(separation, axis=-1), R_EDGES)
    np.testing.assert_array_equal(data.columns["n_pairs"][2, 1], n_pairs)
