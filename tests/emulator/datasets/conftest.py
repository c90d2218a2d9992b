"""A data set of each kind, made without any trouble, and one that was interrupted."""

import shutil
from pathlib import Path

import pytest
from dask.distributed import LocalCluster
from iaemu_likelihood.emulator.datasets import Recipe, make_dataset

from .trouble import interrupt

SIZES = {"expectation": (130, 0), "realisations": (10, 2), "halotools": (3, 2)}  # 1, 3, 3 shards


@pytest.fixture(scope="session")
def halos(small_halos_file):
    return str(small_halos_file)


@pytest.fixture(scope="session")
def recipes(halos):
    return {kind: Recipe(kind, n, 1, m, halos=halos) for kind, (n, m) in SIZES.items()}


@pytest.fixture(scope="session")
def make(small_tabulation_file):
    """`make_dataset` with the small tabulation."""

    def run(recipe, out, **options):
        arguments = {"tabulation": small_tabulation_file, "progress": False, **options}
        return make_dataset(recipe, out, **arguments)

    return run


@pytest.fixture(scope="session")
def files(recipes, make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {kind: make(recipe, folder / kind) for kind, recipe in recipes.items()}


@pytest.fixture(scope="session")
def address():
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="session")
def interrupted(recipes, make, tmp_path_factory):
    out = tmp_path_factory.mktemp("interrupted") / "out.hdf5"
    interrupt(recipes["realisations"], out, 2, make)
    return Path(f"{out}.shards")


@pytest.fixture
def begun(interrupted, tmp_path):
    """A run of realisations that was interrupted with one of three shards to go."""
    out = tmp_path / "out.hdf5"
    shutil.copytree(interrupted, f"{out}.shards")
    return out
