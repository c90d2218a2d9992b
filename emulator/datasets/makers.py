"""The rows of data sets, for each kind."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from iaemu_likelihood.emulator.datasets import sources
from iaemu_likelihood.emulator.datasets.recipe import Array, Recipe
from iaemu_likelihood.emulator.expectation.snapshots import templates_between
from iaemu_likelihood.emulator.mocks import correlations, positions_and_axes
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.noise.measured import N_PRIMARIES, mean_moments, shape_moments
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.statistics import XI

# Rows of some of the points of a recipe, by the names of columns. The arguments are the recipe, all
# its parameters, the indices of the points, and the path of a tabulation.
Maker = Callable[[Recipe, Array, range, str], dict[str, Array]]

# Neither numba's loops nor halotools' global random numbers stand two threads of a Dask worker.
_one_at_a_time = threading.Lock()


def expectation(recipe: Recipe, theta: Array, points: range, tabulation: str) -> dict[str, Array]:
    """Templates and numbers of galaxies and pairs, without noise."""
    from threadpoolctl import threadpool_limits

    tables = sources.tabulations(recipe.catalogues, tabulation, recipe.r_edges, recipe.statistics)
    _, hod = recipe.space.split(theta[points])
    weights = recipe.redshifts.weights(recipe.point_redshifts()[points])
    # Sums of a threaded matrix product depend on the number of threads in the last digits.
    with threadpool_limits(1, "blas"):
        found = templates_between(
            tables, sources.snapshots(recipe.catalogues).abundances, weights, hod,
            recipe.space.occupation,
        )  # fmt: skip
    edges = np.asarray(recipe.r_edges)
    random = found.n_galaxies[:, None] ** 2 * shell_volumes(edges) / tables[0][0].box ** 3
    n_pairs = (1 + getattr(found, XI.name)) * random
    return {
        "n_galaxies": np.stack([found.n_centrals, found.n_satellites], axis=1).astype(np.float32),
        "n_pairs": n_pairs.astype(np.float32),
        # Not where n_pairs is 0: the sum 1 + xi swallows less than 1e-16 of the random pairs.
        "n_empty_bins": np.isnan(found.values).any(axis=1).sum(axis=1).astype(np.int32),
        "templates": found.values.astype(np.float32),
    }


def realisations(recipe: Recipe, theta: Array, points: range, _: str) -> dict[str, Array]:
    """Fast mocks, measured, with what gives their shape noise."""
    edges = np.asarray(recipe.r_edges)
    space, statistics = recipe.space, recipe.measured
    rows: list[dict[str, Any]] = []
    for point in points:
        sites = sources.sites(recipe.catalogue_of(point))
        columns: dict[str, list[Any]] = {
            name: [] for name in ("n_galaxies", "n_pairs", "templates", "correlations")
        }
        moments = []
        mu, hod = space.split(theta[point])
        for catalogue in range(recipe.n_catalogues):
            rng = recipe.rng(point, catalogue)
            galaxies = populate(sites, hod, rng, space.occupation)
            found = measure(galaxies, mu, sites.box, edges, rng, statistics)
            columns["n_galaxies"].append(galaxies.numbers)
            columns["n_pairs"].append(found.n_pairs)
            columns["templates"].append(found.templates)
            columns["correlations"].append(found.correlations)
            if recipe.noise:
                moments.append(shape_moments(galaxies, found, sites.box, edges, N_PRIMARIES, rng))
        row = {name: np.array(values) for name, values in columns.items()}
        if recipe.noise:
            shape, row["shape_pairs"] = mean_moments(moments, row["n_pairs"])
            i, j = np.triu_indices(shape.shape[-1])
            row["shape"] = shape[..., i, j]
        rows.append(row)
    return _stack(rows)


def halotools(recipe: Recipe, theta: Array, points: range, _: str) -> dict[str, Array]:
    """Mocks of halotools-IA, measured with halotools' estimators where it has them."""
    model = sources.halotools_model(recipe.catalogues[0], recipe.space)
    edges, statistics = np.asarray(recipe.r_edges), recipe.statistics
    n_bins = len(edges) - 1
    rows: list[dict[str, Any]] = []
    for point in points:
        row: dict[str, list[Any]] = {"n_galaxies": [], "n_pairs": [], "correlations": []}
        for catalogue in range(recipe.n_catalogues):
            seed = int(recipe.rng(point, catalogue).integers(2**32))
            galaxies = model.populate(theta[point], seed)
            n_centrals = int(np.sum(np.asarray(galaxies["gal_type"]) == "centrals"))
            row["n_galaxies"].append([n_centrals, len(galaxies) - n_centrals])
            if not len(galaxies):  # which halotools refuses to measure
                row["n_pairs"].append(np.zeros(n_bins))
                row["correlations"].append(np.full((len(statistics), n_bins), np.nan))
                continue
            found = correlations(*positions_and_axes(galaxies), model.box, edges, statistics)
            random = found.n_galaxies**2 * shell_volumes(edges) / model.box**3
            row["n_pairs"].append(np.rint((1 + found[XI.name]) * random))
            row["correlations"].append([found[name] for name in statistics])
        rows.append({name: np.array(values) for name, values in row.items()})
    return _stack(rows)


def _stack(rows: list[dict[str, Any]]) -> dict[str, Array]:
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    columns["n_empty_bins"] = (columns["n_pairs"] <= 0).sum(axis=(1, 2))
    whole = ("n_galaxies", "n_empty_bins")
    return {
        name: values.astype(
            np.int64 if name == "n_pairs" else np.int32 if name in whole else np.float32
        )
        for name, values in columns.items()
    }


# By the names of `KINDS`.
MAKERS: dict[str, Maker] = {
    "expectation": expectation,
    "realisations": realisations,
    "halotools": halotools,
}


def make_shard(recipe: Recipe, shard: int, tabulation: str = "") -> bytes:
    """One shard of a data set as the bytes of an HDF5 file.

    Parameters
    ----------
    recipe : Recipe
    shard : int
        Below `recipe.n_shards`.
    tabulation : str
        Path of the tabulation, for expectation.

    Returns
    -------
    bytes
        The same for the same arguments, whatever was made before and on however many threads.
    """
    points = recipe.points_of(shard)
    with _one_at_a_time:
        columns = MAKERS[recipe.kind](recipe, recipe.parameters(), points, tabulation)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values)
    return buffer.getvalue()
