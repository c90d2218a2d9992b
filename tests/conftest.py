"""A small halo catalogue, its tabulation, and weights trained on it: real, but quick."""

from __future__ import annotations

import logging
import os
import sys
from types import SimpleNamespace

# Threads that wait for each other at small sizes cost more than they bring; a test that is about
# threads sets their number itself. This must come before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest
from astropy.table import Table
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.halos import HaloCatalogue, load_halos
from iaemu_likelihood.emulator.halos.rows import POSITION
from iaemu_likelihood.emulator.models.weights import weights_folder
from iaemu_likelihood.emulator.physics.bins import NEAR_EDGES, R_EDGES
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS

SMALL_BOX = 80.0
# What takes seconds to make: tests that need it are slow.
SLOW_FIXTURES = {
    "small_fine_tabulation",
    "small_tabulation",
    "tiny_tabulation",
    "small_weights",
    "trained",
    "interrupted",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if SLOW_FIXTURES & set(item.fixturenames):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def small_halos_table():
    """Rows of the bundled catalogue whose host lies in a corner of the box."""
    return corner_of("bundled")


def corner_of(source):
    """Rows of a bundled catalogue whose host lies in a corner of the box."""
    halos = load_halos(source)
    columns = halos.columns
    host = columns["halo_upid"] == -1
    # Hosts come first and their ids are their row numbers.
    inside = np.all([columns[x][columns["halo_hostid"]] < SMALL_BOX for x in POSITION], axis=0)
    small = Table({name: values[inside] for name, values in columns.items()})
    for x in POSITION:
        small[x] %= SMALL_BOX
    assert host[inside].sum() > 10_000
    small.meta = {"Lbox": SMALL_BOX, "redshift": halos.redshift, "particle_mass": 3.8e9}
    return small


@pytest.fixture(scope="session")
def small_halos(small_halos_table):
    """As if read from a file of that table."""
    columns = {name: np.asarray(small_halos_table[name]) for name in small_halos_table.colnames}
    meta = small_halos_table.meta
    return HaloCatalogue.from_columns(
        "small.ecsv", columns, meta["Lbox"], meta["redshift"], meta["particle_mass"]
    )


@pytest.fixture(scope="session")
def small_fine_tabulation(small_halos):
    """In the bins in which emulators learn."""
    return Tabulation.build(small_halos, NEAR_EDGES, progress=False)


@pytest.fixture(scope="session")
def small_tabulation(small_fine_tabulation):
    return small_fine_tabulation.coarser(R_EDGES, DEFAULT_STATISTICS)


@pytest.fixture(scope="session")
def exact_file(small_fine_tabulation, small_halos, tmp_path_factory):
    """That tabulation as a model, with its card."""
    from iaemu_likelihood.emulator.models.exact import write_exact_card

    path = tmp_path_factory.mktemp("exact") / "small.hdf5"
    small_fine_tabulation.write(path)
    assert write_exact_card(path, small_halos) == path.with_name("small.card.yaml")
    return path


@pytest.fixture
def iaemu(monkeypatch, capsys):
    """The command, in this process: iaemu("info", cwd=...) has a returncode, stdout and stderr.

    Its lines are `columns` wide, or, with None, as wide as in a pipe.
    """
    from iaemu_likelihood.cli import main

    def run(*arguments, cwd=".", columns=300):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["iaemu", *map(str, arguments)])
            patch.delenv("COLUMNS", raising=False)
            if columns is not None:
                patch.setenv("COLUMNS", str(columns))
            patch.chdir(cwd)
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code or 0
        logging.getLogger("iaemu_likelihood.emulator").handlers.clear()
        stdout, stderr = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=stdout, stderr=stderr)

    return run


# mu_cen, mu_sat, and the occupation of TNG300's first sample; galaxies of two axis ratios.
ON_THE_SKY = {
    "mu_cen": 0.8, "mu_sat": 0.3,
    "logMmin": 12.54, "sigma_logM": 0.26, "logM0": 12.68, "logM1": 13.48, "alpha": 1.0,
}  # fmt: skip
AXIS_RATIO = [0.55, 0.75]


@pytest.fixture(scope="session")
def on_the_sky():
    """Make measurements as surveys publish them: the bundled weights' expectation, with noise.

    make(statistics, seed, axis_ratio, **conventions) has eight bins with a gap, a full covariance from
    100 regions, and the axis ratio in its metadata, unless that is None. `make.truth` holds the
    parameters, `make.axis_ratio` the axis ratios.
    """
    from iaemu_likelihood.emulator.models import Emulator
    from iaemu_likelihood.emulator.physics.conventions import Conventions

    from iaemu_likelihood.data_vectors.measurement import Measurement

    edges = np.logspace(-0.5, 1.3, 10)
    kept = np.arange(9) != 4

    def make(statistics=("w_gg", "w_gplus"), seed=0, axis_ratio=AXIS_RATIO, **conventions):
        in_r = "xi_gplus_2" in statistics
        how = Conventions(**{"pi_max": None if in_r else 40.0, **conventions})
        p = Emulator.load().predict_projected(
            ON_THE_SKY, **{"r_edges" if in_r else "rp_edges": edges}, axis_ratio=AXIS_RATIO,
            conventions=how,
        )  # fmt: skip
        values = np.concatenate([p[name][kept] for name in statistics])
        errors = 0.1 * np.abs(values) + 0.02
        lag = np.abs(np.subtract.outer(np.arange(len(values)), np.arange(len(values))))
        covariance = np.outer(errors, errors) * 0.3**lag
        drawn = np.random.default_rng(seed).multivariate_normal(values, covariance)
        n, each = int(kept.sum()), range(len(statistics))
        return Measurement(
            "sky",
            edges[:-1][kept],
            edges[1:][kept],
            dict(zip(statistics, drawn.reshape(-1, n), strict=True)),
            dict(zip(statistics, errors.reshape(-1, n), strict=True)),
            {
                (statistics[i], statistics[j]): covariance[i * n : (i + 1) * n, j * n : (j + 1) * n]
                for i in each
                for j in each
            },
            100,
            {} if axis_ratio is None else {"axis_ratio": axis_ratio},
            conventions=how,
        )

    make.truth, make.axis_ratio = ON_THE_SKY, AXIS_RATIO
    return make


@pytest.fixture(scope="session")
def evolving_weights():
    """Folder of weights that know redshifts from 0 to 1."""
    return weights_folder("templates")
