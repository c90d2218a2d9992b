"""Fast mocks against halotools-IA, place by place and in distribution."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import GalaxySites
from iaemu_likelihood.emulator.mocks import (
    HalotoolsIA,
    correlations,
    jackknife,
    positions_and_axes,
)
from iaemu_likelihood.emulator.mocks.fast import measure, place, populate
from iaemu_likelihood.emulator.noise import noise_at
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Occupation
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import (
    CENTRAL,
    DEFAULT_STATISTICS,
    ETA,
    ETA_0,
    ETA_1,
    OMEGA,
    OMEGA_4,
    SATELLITE,
    XI,
    Statistic,
)
from scipy.spatial import cKDTree
from scipy.stats import ks_2samp

# Usual, and with many satellites beyond the last subhalo.
USUAL = np.array([0.8, 0.3, 12.0, 0.26, 12.1, 12.9, 1.0])
OVERFLOW = np.array([-0.5, 0.9, 12.4, 0.3, 13.8, 11.85, 1.2])
USUAL_HOD, OVERFLOW_HOD = (DEFAULT_SPACE.split(theta)[1] for theta in (USUAL, OVERFLOW))


@pytest.fixture(scope="module")
def sites(small_halos):
    return GalaxySites.of(small_halos)


@pytest.fixture(scope="module")
def model(small_halos):
    return HalotoolsIA(small_halos)


def test_places_are_those_of_halotools(model, sites, small_halos):
    table = model.populate(OVERFLOW, seed=1)
    satellite = np.asarray(table["gal_type"]) == "satellites"
    real = np.asarray(table["real_subhalo"])
    # Hosts are told apart by mass; the few that share theirs are left out below.
    mass = np.asarray(table["halo_mvir_host_halo"], float)
    columns = small_halos.columns
    host_mass = np.sort(columns["halo_mvir"][columns["halo_upid"] == -1])
    unique, counts = np.unique(host_mass, return_counts=True)
    assert counts.max() <= 3
    host = np.searchsorted(host_mass, mass[satellite])
    number = np.bincount(host, minlength=len(host_mass))
    centrals = np.searchsorted(host_mass, np.asarray(table["halo_mvir"], float)[~satellite])
    alone = ~np.isin(host_mass, unique[counts > 1])
    galaxies = place(sites, np.unique(centrals), number, np.random.default_rng(0))

    assert galaxies.numbers[SATELLITE] == satellite.sum()
    taken = np.minimum(number, np.diff(sites.first_subhalo))
    assert galaxies.n_overflow == (number - taken).sum()
    assert galaxies.n_overflow > 0.05 * satellite.sum()
    # In hosts whose satellites all sit on subhalos, the very same places.
    exact = alone & (number == taken) & (number > 0)
    position, _ = positions_and_axes(table)
    theirs = position[satellite][exact[host] & real[satellite]]
    mine = galaxies.position[(galaxies.kind == SATELLITE) & exact[galaxies.host]]
    assert len(mine) == len(theirs) > 100
    for one in (theirs, mine):
        one[:] = one[np.lexsort(np.round(one, 6).T)]
    np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_numbers_follow_the_occupation(sites):
    hod = OVERFLOW_HOD
    draws = [populate(sites, hod, np.random.default_rng(seed)) for seed in range(200)]
    n_overflow = np.array([g.n_overflow for g in draws])
    numbers = np.array([g.numbers for g in draws])
    p = ZHENG07.mean_centrals(sites.logM, hod[None])[0]
    n = ZHENG07.mean_satellites(sites.logM, hod[None])[0]
    for found, mean, variance in (
        (numbers[:, CENTRAL], p.sum(), (p * (1 - p)).sum()),
        (numbers[:, SATELLITE], n.sum(), n.sum()),
    ):
        assert abs(found.mean() - mean) < 4 * np.sqrt(variance / 200)
        assert found.var(ddof=1) == pytest.approx(variance, rel=4 * np.sqrt(2 / 199))
    assert n_overflow.mean() > 0.05 * n.sum()


@pytest.mark.slow
@pytest.mark.parametrize("theta", [USUAL, OVERFLOW], ids=["usual", "overflow"])
def test_distributed_like_halotools(model, sites, theta):
    n = 40
    mu, hod = DEFAULT_SPACE.split(theta)
    theirs, mine, theirs_numbers, mine_numbers = [], [], [], []
    for seed in range(n):
        table = model.populate(theta, seed)
        theirs.append(list(correlations(*positions_and_axes(table), sites.box).values()))
        overflow = (table["gal_type"] == "satellites") & ~np.asarray(table["real_subhalo"], bool)
        theirs_numbers.append([len(table), np.sum(overflow)])
        rng = np.random.default_rng(seed)
        galaxies = populate(sites, hod, rng)
        mine.append(measure(galaxies, mu, sites.box, R_EDGES, rng).correlations)
        mine_numbers.append([len(galaxies.kind), galaxies.n_overflow])
    for one, other in zip(np.transpose(theirs_numbers), np.transpose(mine_numbers), strict=True):
        assert ks_2samp(one, other).pvalue > 1e-3
    theirs, mine = np.array(theirs), np.array(mine)
    sigma = noise_at(sites, hod, 5, 60).sigma(*mu)
    for i, name in enumerate(DEFAULT_STATISTICS):
        z = (theirs[:, i].mean(0) - mine[:, i].mean(0)) / sigma[name] / np.sqrt(2 / n)
        assert np.abs(z).max() < 4.5, name
        ratio = theirs[:, i].std(0, ddof=1) / mine[:, i].std(0, ddof=1)
        # One ratio scatters by 16 %, and neighbouring bins of xi move together.
        assert np.exp(np.mean(np.log(ratio))) == pytest.approx(1, abs=0.2), name


def test_measures_what_halotools_measures(sites):
    rng = np.random.default_rng(0)
    galaxies = populate(sites, USUAL_HOD, rng)
    perfect = measure(galaxies, (1.0, 1.0), sites.box, R_EDGES, rng)
    theirs = correlations(galaxies.position, galaxies.reference, sites.box)
    expected = np.array(list(theirs.values()))
    np.testing.assert_allclose(perfect.correlations, expected, atol=1e-8, rtol=1e-8)
    # With perfect alignment the conditional mean is the measurement.
    xi, omega_c, omega_s, eta_cc, eta_cs, eta_ss = perfect.templates
    np.testing.assert_array_equal(xi, perfect.correlations[0])
    np.testing.assert_allclose(omega_c + omega_s, theirs.omega, atol=1e-8)
    np.testing.assert_allclose(eta_cc + eta_cs + eta_ss, theirs.eta, atol=1e-8)


def test_statistics_come_in_the_order_asked_for(sites):
    galaxies = populate(sites, USUAL_HOD, np.random.default_rng(0))

    def found(*statistics):
        rng = np.random.default_rng(1)
        return measure(galaxies, (0.8, 0.3), sites.box, R_EDGES, rng, statistics)

    all_three, two = found(XI, OMEGA, ETA), found(ETA, XI)
    np.testing.assert_array_equal(two.correlations, all_three.correlations[[2, 0]])
    np.testing.assert_array_equal(two.templates, all_three.templates[[3, 4, 5, 0]])
    np.testing.assert_array_equal(two.second, all_three.second)


@pytest.mark.slow
@pytest.mark.parametrize("is_ratio", [True, False])
def test_templates_of_another_kernel(sites, hexadecapole, is_ratio):
    """l = 4 of one axis: with perfect alignment the templates add up to the statistic."""
    galaxies = populate(sites, USUAL_HOD, np.random.default_rng(0))
    statistic = Statistic("four", "", "", "", hexadecapole, is_ratio)
    edges, box = R_EDGES[8:], sites.box
    rng = np.random.default_rng(1)
    found = measure(galaxies, (1.0, 1.0), box, edges, rng, (statistic, XI))
    of_centrals, of_satellites, xi = found.templates
    np.testing.assert_allclose(found.correlations[0], of_centrals + of_satellites, atol=1e-12)
    # Of satellites: all ordered pairs that begin with one.
    satellite = np.flatnonzero(galaxies.kind == SATELLITE)
    d = galaxies.position - galaxies.position[satellite, None]
    d -= box * np.round(d / box)
    r = np.linalg.norm(d, axis=2)
    number = np.array([len(galaxies.kind) ** 2 * 4 / 3 * np.pi / box**3 * (b**3 - a**3)
                       for a, b in pairwise(edges)])  # fmt: skip
    norm = number * (1 + xi) if is_ratio else number
    for k, (low, high) in enumerate(pairwise(edges)):
        i, j = np.nonzero((r > low) & (r <= high))
        c = np.sum(galaxies.reference[satellite[i]] * d[i, j], axis=1) / r[i, j]
        expected = np.sum((35 * c**4 - 30 * c**2 + 3) / 8)
        assert of_satellites[k] == pytest.approx(expected / norm[k], abs=1e-10)


def test_statistics_that_surveys_measure_are_made_of(sites):
    """P_4 and the helicity parts of eta, measured, against every pair's angles; and their templates."""
    galaxies = populate(sites, USUAL_HOD, np.random.default_rng(0))
    statistics = OMEGA_4, ETA_0, ETA_1, ETA, XI
    edges, box, rng = R_EDGES[12:16], sites.box, np.random.default_rng(1)
    found = measure(galaxies, (1.0, 1.0), box, edges, rng, statistics)
    names = [statistic.name for statistic in statistics]
    x, e = galaxies.position, galaxies.reference
    for theirs in (correlations, jackknife):
        values = theirs(x, e, box, edges, statistics=names)
        assert tuple(values) == tuple(names)
        np.testing.assert_allclose(found.correlations, list(values.values()), atol=1e-8)
    n_parts = [1 + statistic.kernel.n_axes for statistic in statistics]
    parts = np.split(found.templates, np.cumsum(n_parts)[:-1])
    np.testing.assert_allclose([part.sum(axis=0) for part in parts], found.correlations, atol=1e-8)
    # In a frame along the separation, with the azimuths about it.
    pairs = cKDTree(x, boxsize=box).query_pairs(edges[-1], output_type="ndarray")
    d = x[pairs[:, 1]] - x[pairs[:, 0]]
    d -= box * np.round(d / box)
    r = np.linalg.norm(d, axis=1)
    rhat = d / r[:, None]
    u = np.cross(rhat, [0.0, 0.0, 1.0])
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    frame = np.stack([rhat, u, np.cross(rhat, u)], axis=1)
    a, b = (np.einsum("nkc,nc->kn", frame, e[pairs[:, i]]) for i in (0, 1))
    legendre = [(35 * c**4 - 30 * c**2 + 3) / 8 for c in (a[0], b[0])]
    one = (a[0] * a[1] * b[0] * b[1] + a[0] * a[2] * b[0] * b[2]) / 2
    terms = np.mean(legendre, axis=0), (a[0] ** 2 - 1 / 3) * (b[0] ** 2 - 1 / 3), one
    for values, term in zip(found.correlations, terms, strict=False):
        for value, (low, high) in zip(values, pairwise(edges), strict=True):
            assert value == pytest.approx(term[(r > low) & (r <= high)].mean(), abs=1e-8)


class Threshold(Occupation):
    """One galaxy in every halo above a mass, and no satellites."""

    name = "threshold"
    parameters = ZHENG07.parameters[:1]

    def mean_centrals(self, logM, hod):
        return (logM > hod[:, :1]) * 1.0

    def mean_satellites(self, logM, hod):
        return np.zeros((len(hod), len(logM)))

    def bands(self):
        raise NotImplementedError


def test_another_occupation(sites):
    galaxies = populate(sites, [12.5], np.random.default_rng(0), Threshold())
    assert galaxies.numbers == ((sites.logM > 12.5).sum(), 0)
    assert sites.mean_number([12.5], Threshold()) == galaxies.numbers[CENTRAL]


def test_same_seed_same_galaxies(sites):
    one, again = (populate(sites, USUAL_HOD, np.random.default_rng([1, 2])) for _ in range(2))
    np.testing.assert_array_equal(one.position, again.position)
    np.testing.assert_array_equal(one.reference, again.reference)


@pytest.mark.parametrize(("index", "value", "left"), [(3, 25.0, CENTRAL), (0, 25.0, SATELLITE)])
def test_one_population_may_be_empty(sites, index, value, left):
    hod = USUAL_HOD.copy()
    hod[index] = value
    rng = np.random.default_rng(0)
    galaxies = populate(sites, hod, rng)
    assert galaxies.numbers[1 - left] == 0
    found = measure(galaxies, (0.5, 0.5), sites.box, R_EDGES, rng)
    xi, omega, _ = found.correlations
    assert np.isfinite(omega[found.n_pairs > 0]).all()
    assert (xi[found.n_pairs == 0] == -1).all()
