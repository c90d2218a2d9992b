"""Satellites on NFW profiles: against halotools with the same components, and against the tabulation."""

import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue, load_halos
from iaemu_likelihood.emulator.halos.nfw import (
    CONCENTRATIONS,
    Profiles,
    enclosed,
    on_nodes,
    radius_of,
)
from iaemu_likelihood.emulator.halos.rows import POSITION
from iaemu_likelihood.emulator.mocks import HalotoolsIA
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.physics.bins import R_EDGES

BOX = 50.0
POINT = {"mu_cen": 0.8, "mu_sat": 0.6, "logMmin": 11.6, "sigma_logM": 0.25, "logM0": 11.5,
         "logM1": 12.4, "alpha": 1.0}  # fmt: skip
HOD = [POINT[name] for name in list(POINT)[2:]]


@pytest.fixture(scope="module")
def halos(small_halos_table):
    """Hosts alone, in a corner, whose concentrations scatter by 0.15 dex."""
    table = small_halos_table
    inside = (table["halo_upid"] == -1) & np.all([table[x] < BOX for x in POSITION], axis=0)
    columns = {name: np.asarray(table[name][inside]) for name in table.colnames}
    mean = HaloCatalogue.from_columns(
        "mean", columns, BOX, 0.0, 3.8e9, cosmology=load_halos().cosmology
    )
    scatter = 10 ** (0.15 * np.random.default_rng(0).normal(size=inside.sum()))
    columns["halo_nfw_conc"] = mean.columns["halo_nfw_conc"] * scatter
    return HaloCatalogue.from_columns("hosts", columns, BOX, 0.0, 3.8e9)


@pytest.fixture(scope="module")
def sites(halos):
    return GalaxySites.of(halos)


def test_radii_enclose_their_share():
    share, c = np.linspace(0, 1, 21), np.array([[2.0], [7.3], [20.0]])
    radius = radius_of(share, c)
    np.testing.assert_allclose(
        enclosed(c * radius) / enclosed(c), np.broadcast_to(share, (3, 21)), atol=1e-12
    )
    np.testing.assert_allclose(radius[:, [0, -1]], [[0, 1]] * 3, atol=1e-6)


def test_profiles_are_those_of_halotools():
    """The radii that halotools draws, at the nodes of the concentration."""
    with np.errstate():
        from halotools.empirical_models import NFWPhaseSpace
    from scipy.stats import ks_2samp

    model = NFWPhaseSpace(concentration_bins=CONCENTRATIONS[::26])
    model.build_lookup_tables()
    n = 20_000
    for c in CONCENTRATIONS[[26, 52]]:
        theirs = model._mc_dimensionless_radial_distance(np.full(n, c), seed=1)
        mine = Profiles(np.array([1.0]), np.array([c])).offsets(
            np.zeros(n, int), np.random.default_rng(0)
        )
        radius = np.linalg.norm(mine, axis=1)
        assert ks_2samp(theirs, radius).pvalue > 0.01
        np.testing.assert_allclose((mine / radius[:, None]).mean(axis=0), 0, atol=0.02)


def test_concentrations_are_nodes():
    np.testing.assert_array_equal(on_nodes([0.3, 2.0, 20.0, 1e9]), CONCENTRATIONS[[0, 0, -1, -1]])
    c = np.geomspace(2, 20, 1000)
    np.testing.assert_allclose(on_nodes(c), c, rtol=0.015)
    assert np.isin(on_nodes(c), CONCENTRATIONS).all()


def test_points_of_pools_and_representatives_follow_their_profiles(sites):
    """Each host's own, evenly: the share within the half-mass radius is half but for few points."""
    half = radius_of(0.5, sites.profiles.concentration) * sites.profiles.rvir
    host, offset, radial = sites.representatives(seed=1)
    assert set(host) == set(range(len(sites.logM)))
    number = np.bincount(host)
    inner = np.bincount(host, np.linalg.norm(offset, axis=1) < half[host])
    assert (np.abs(inner - number / 2) < 3 + 0.05 * number).all()
    assert inner.sum() / number.sum() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(np.linalg.norm(radial, axis=1), 1)
    other = sites.representatives(seed=2)[1]
    assert not np.array_equal(offset, other)
    # A pool of groups, each of one host in the pool's range of mass.
    assert (np.diff(sites.first_of_pool) >= 4096).all()
    assert np.isin(sites.first_of_pool, sites.first_of_group).all()
    radius = np.linalg.norm(sites.pool_offset, axis=1)
    for pool in (0, len(sites.first_of_pool) - 2):
        low, high = sites.first_of_pool[pool : pool + 2]
        rvir = sites.profiles.rvir[sites.pool_bin == pool]
        assert radius[low:high].max() <= rvir.max()
        assert radius[low:high].max() > 0.95 * rvir.min()


def test_halotools_draws_the_same(halos, sites):
    """Numbers, and radii over the virial radius, of 4 catalogues each; one seed, one catalogue."""
    from scipy.stats import ks_2samp

    model, rng = HalotoolsIA(halos), np.random.default_rng(1)
    theirs, mine, numbers = [], [], []
    for seed in range(4):
        table = model.populate(POINT, seed)
        satellites = table[table["gal_type"] == "satellites"]
        theirs.append(satellites["host_centric_distance"] / satellites["halo_rvir"])
        assert np.isin(satellites["conc_NFWmodel"], CONCENTRATIONS).all()
        galaxies = populate(sites, HOD, rng)
        n_centrals, n_satellites = galaxies.numbers
        numbers.append([len(table) - len(satellites), n_centrals, len(satellites), n_satellites])
        assert galaxies.n_overflow == n_satellites
        host = galaxies.host[n_centrals:]
        offset = galaxies.position[n_centrals:] - sites.position[host]
        offset -= BOX * np.round(offset / BOX)
        mine.append(np.linalg.norm(offset, axis=1) / sites.profiles.rvir[host])
    # Satellites of few rich hosts share these hosts' concentrations in all catalogues.
    assert ks_2samp(np.concatenate(theirs), np.concatenate(mine)).pvalue > 0.001
    centrals, my_centrals, satellites, my_satellites = np.sum(numbers, axis=0)
    assert abs(centrals - my_centrals) < 4 * np.sqrt(2 * centrals)
    assert abs(satellites - my_satellites) < 4 * np.sqrt(2 * satellites)
    again = model.populate(POINT, seed=0)
    np.testing.assert_array_equal(again["x"], model.populate(POINT, seed=0)["x"])


@pytest.mark.slow
def test_tabulation_is_the_mean_of_mocks(halos, sites):
    """In the mean over 60 catalogues, in units of the scatter of one: drawn noise is 0.13."""
    tabulation = Tabulation.build(halos, R_EDGES, progress=False)
    expected = tabulation.templates(HOD)
    rng = np.random.default_rng(2)
    found = np.array(
        [
            measure(populate(sites, HOD, rng), (0.8, 0.6), BOX, R_EDGES, rng).templates
            for _ in range(60)
        ]
    )
    n_centrals, n_satellites = populate(sites, HOD, rng).numbers
    assert expected.n_centrals[0] == pytest.approx(n_centrals, rel=0.1)
    assert expected.n_satellites[0] == pytest.approx(n_satellites, rel=0.1)
    for i in range(found.shape[1]):
        off = (found[:, i].mean(axis=0) - expected.values[0, i]) / found[:, i].std(axis=0, ddof=1)
        counted = np.isfinite(off) & np.isfinite(found[:, i]).all(axis=0)
        # Central pairs are few at the smallest separations.
        counted[:3] = False if i == 3 else counted[:3]
        assert counted.sum() >= 15
        assert np.sqrt(np.mean(off[counted] ** 2)) < 0.25
        assert np.abs(off[counted]).max() < 0.8
