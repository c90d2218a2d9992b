"""A small halo catalogue, its tabulation, and weights trained on it: real, but quick."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.halos.catalogue import POSITION, REQUIRED_COLUMNS, load_halos

SMALL_BOX = 80.0


@pytest.fixture(scope="session")
def small_halos_table():
    """Rows of the bundled catalogue whose host lies in a corner of the box."""
    table = load_halos("bundled").halo_table
    columns = {name: np.asarray(table[name]) for name in REQUIRED_COLUMNS}
    host = columns["halo_upid"] == -1
    # Hosts come first and their ids are their row numbers.
    inside = np.all([columns[x][columns["halo_hostid"]] < SMALL_BOX for x in POSITION], axis=0)
    small = Table({name: values[inside] for name, values in columns.items()})
    for x in POSITION:
        small[x] %= SMALL_BOX
    assert host[inside].sum() > 10_000
    small.meta = {"Lbox": SMALL_BOX, "redshift": 0.0, "particle_mass": 3.8e9}
    return small


@pytest.fixture(scope="session")
def small_halos(small_halos_table, tmp_path_factory):
    path = tmp_path_factory.mktemp("halos") / "small.ecsv"
    small_halos_table.write(path)
    return load_halos(path)


@pytest.fixture(scope="session")
def small_tabulation(small_halos):
    return Tabulation.build(small_halos, progress=False)
