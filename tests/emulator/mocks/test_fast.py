"""The fast realiser against halotools-IA, place by place and in distribution."""

from __future__ import annotations

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos.sites import Slots, mean_centrals, mean_satellites
from iaemu_likelihood.emulator.mocks.estimators import (
    R_EDGES,
    STATISTICS,
    correlations,
    positions_and_axes,
)
from iaemu_likelihood.emulator.mocks.fast import CENTRAL, SATELLITE, measure, place, populate
from iaemu_likelihood.emulator.mocks.halotools_ia import HalotoolsIA
from iaemu_likelihood.emulator.noise.measured import noise_at
from scipy.stats import ks_2samp

# Usual, and with many satellites beyond the last subhalo.
USUAL = np.array([0.8, 0.3, 12.0, 0.26, 12.1, 12.9, 1.0])
OVERFLOW = np.array([-0.5, 0.9, 12.4, 0.3, 13.8, 11.85, 1.2])


@pytest.fixture(scope="module")
def slots(small_halos):
    return Slots.of(small_halos)


@pytest.fixture(scope="module")
def model(small_halos):
    return HalotoolsIA(small_halos)


def test_places_are_those_of_halotools(model, slots, small_halos):
    table = model.populate(OVERFLOW, seed=1)
    satellite = np.asarray(table["gal_type"]) == "satellites"
    real = np.asarray(table["real_subhalo"])
    # Hosts are told apart by mass; the few that share theirs are left out below.
    mass = np.asarray(table["halo_mvir_host_halo"], float)
    host_mass = np.sort(
        np.asarray(small_halos.halo_table["halo_mvir"], float)[
            np.asarray(small_halos.halo_table["halo_upid"]) == -1
        ]
    )
    unique, counts = np.unique(host_mass, return_counts=True)
    assert counts.max() <= 3
    host = np.searchsorted(host_mass, mass[satellite])
    number = np.bincount(host, minlength=len(host_mass))
    centrals = np.searchsorted(host_mass, np.asarray(table["halo_mvir"], float)[~satellite])
    alone = ~np.isin(host_mass, unique[counts > 1])
    galaxies = place(slots, np.unique(centrals), number, np.random.default_rng(0))

    assert galaxies.numbers[SATELLITE] == satellite.sum()
    taken = np.minimum(number, np.diff(slots.first_slot))
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


def test_numbers_follow_the_occupation(slots):
    hod = OVERFLOW[2:]
    draws = [populate(slots, hod, np.random.default_rng(seed)) for seed in range(200)]
    n_overflow = np.array([g.n_overflow for g in draws])
    numbers = np.array([g.numbers for g in draws])
    p = mean_centrals(slots.logM, hod[None])[0]
    n = mean_satellites(slots.logM, hod[None])[0]
    for found, mean, variance in (
        (numbers[:, CENTRAL], p.sum(), (p * (1 - p)).sum()),
        (numbers[:, SATELLITE], n.sum(), n.sum()),
    ):
        assert abs(found.mean() - mean) < 4 * np.sqrt(variance / 200)
        assert found.var(ddof=1) == pytest.approx(variance, rel=4 * np.sqrt(2 / 199))
    assert n_overflow.mean() > 0.05 * n.sum()


@pytest.mark.parametrize("theta", [USUAL, OVERFLOW], ids=["usual", "overflow"])
def test_distributed_like_halotools(model, slots, theta):
    n = 40
    theirs, mine, theirs_numbers, mine_numbers = [], [], [], []
    for seed in range(n):
        table = model.populate(theta, seed)
        found = correlations(*positions_and_axes(table), slots.box)
        theirs.append([getattr(found, s) for s in STATISTICS])
        overflow = (table["gal_type"] == "satellites") & ~np.asarray(table["real_subhalo"], bool)
        theirs_numbers.append([len(table), np.sum(overflow)])
        rng = np.random.default_rng(seed)
        galaxies = populate(slots, theta[2:], rng)
        found = measure(galaxies, theta[0], theta[1], slots.box, R_EDGES, rng).correlations
        mine.append([getattr(found, s) for s in STATISTICS])
        mine_numbers.append([len(galaxies.kind), galaxies.n_overflow])
    for one, other in zip(np.transpose(theirs_numbers), np.transpose(mine_numbers), strict=True):
        assert ks_2samp(one, other).pvalue > 1e-3
    theirs, mine = np.array(theirs), np.array(mine)
    sigma = noise_at(slots, theta[2:], 5, 60).sigma(theta[0], theta[1])
    for i, name in enumerate(STATISTICS):
        z = (theirs[:, i].mean(0) - mine[:, i].mean(0)) / sigma[name] / np.sqrt(2 / n)
        assert np.abs(z).max() < 4.5, name
        ratio = theirs[:, i].std(0, ddof=1) / mine[:, i].std(0, ddof=1)
        # One ratio scatters by 16 %, and neighbouring bins of xi move together.
        assert np.exp(np.mean(np.log(ratio))) == pytest.approx(1, abs=0.2), name


def test_measures_what_halotools_measures(slots):
    rng = np.random.default_rng(0)
    galaxies = populate(slots, USUAL[2:], rng)
    perfect = measure(galaxies, 1.0, 1.0, slots.box, R_EDGES, rng)
    theirs = correlations(galaxies.position, galaxies.reference, slots.box)
    for name in STATISTICS:
        got, expected = getattr(perfect.correlations, name), getattr(theirs, name)
        np.testing.assert_allclose(got, expected, atol=1e-8, rtol=1e-8)
    # With perfect alignment the conditional mean is the measurement.
    xi, omega_c, omega_s, eta_cc, eta_cs, eta_ss = perfect.templates
    np.testing.assert_array_equal(xi, perfect.correlations.xi)
    np.testing.assert_allclose(omega_c + omega_s, theirs.omega, atol=1e-8)
    np.testing.assert_allclose(eta_cc + eta_cs + eta_ss, theirs.eta, atol=1e-8)


def test_same_seed_same_galaxies(slots):
    one, again = (populate(slots, USUAL[2:], np.random.default_rng([1, 2])) for _ in range(2))
    np.testing.assert_array_equal(one.position, again.position)
    np.testing.assert_array_equal(one.reference, again.reference)


@pytest.mark.parametrize(("index", "value", "left"), [(3, 25.0, CENTRAL), (0, 25.0, SATELLITE)])
def test_one_population_may_be_empty(slots, index, value, left):
    hod = USUAL[2:].copy()
    hod[index] = value
    rng = np.random.default_rng(0)
    galaxies = populate(slots, hod, rng)
    assert galaxies.numbers[1 - left] == 0
    found = measure(galaxies, 0.5, 0.5, slots.box, R_EDGES, rng)
    assert np.isfinite(found.correlations.omega[found.n_pairs > 0]).all()
    assert (found.correlations.xi[found.n_pairs == 0] == -1).all()
