"""Templates between snapshots, and means over boxes."""

from types import SimpleNamespace

import numpy as np
from iaemu_likelihood.emulator.expectation.snapshots import mean_of_boxes, templates_between
from iaemu_likelihood.emulator.physics.abundance import HostAbundance
from iaemu_likelihood.emulator.physics.occupations import ZHENG07
from iaemu_likelihood.emulator.physics.statistics import OMEGA, XI
from iaemu_likelihood.emulator.physics.templates import Templates

HOD = np.array([[12.3, 0.3, 12.3, 13.3, 1.0], [12.6, 0.4, 12.5, 13.5, 1.1]])


def templates(xi, omega, n_centrals, n_satellites):
    """xi, omega_c and omega_s in two bins."""
    values = np.array([[xi, omega, omega]], float)
    return Templates((XI, OMEGA), values, np.array([n_centrals]), np.array([n_satellites]))


def test_boxes_are_averaged_by_their_pairs():
    """As if all pairs had been counted together."""
    a = templates([1.0, -1.0], [0.1, np.nan], 80.0, 20.0)
    b = templates([3.0, 0.5], [0.3, 0.2], 150.0, 50.0)
    mean = mean_of_boxes([a, b])
    pairs_a, pairs_b = 100**2 * np.array([2.0, 0.0]), 200**2 * np.array([4.0, 1.5])
    random = 100**2 + 200**2
    np.testing.assert_allclose(mean.xi[0], (pairs_a + pairs_b) / random - 1)
    expected = (pairs_a[0] * 0.1 + pairs_b[0] * 0.3) / (pairs_a[0] + pairs_b[0])
    np.testing.assert_allclose(mean.omega_c[0], [expected, 0.2])
    assert (mean.n_centrals[0], mean.n_satellites[0]) == (115.0, 35.0)
    assert mean_of_boxes([a]) is a


def twin(tabulation, grown=0.0, moved=0.0):
    """As a tabulation, with hosts whose masses have grown, at an occupation of other log masses."""

    def templates(hod, **options):
        return tabulation.templates(hod + moved * np.array([1, 0, 0, 0, 0]), **options)

    return SimpleNamespace(
        statistics=tabulation.statistics,
        log_numbers=tabulation.log_numbers,
        log_masses=tabulation.log_masses + grown,
        templates=templates,
    )


def test_at_a_snapshot_it_is_that_snapshot(small_tabulation, small_halos):
    hosts = [small_halos.abundance]
    found = templates_between([[small_tabulation]], hosts, np.ones((2, 1)), HOD, ZHENG07)
    alone = small_tabulation.templates(HOD)
    np.testing.assert_array_equal(found.values[:, 1:], alone.values[:, 1:])
    np.testing.assert_allclose(found.values, alone.values, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.n_galaxies, alone.n_galaxies, rtol=1e-12)


def test_halos_are_occupied_by_their_mass_at_the_wanted_redshift(small_tabulation, small_halos):
    """Twins whose masses have all grown by a factor: galaxies in between live in the same halos."""
    hosts = small_halos.abundance
    grown = HostAbundance(hosts.log_mass + 0.2, hosts.density)
    tables = [[small_tabulation], [twin(small_tabulation, grown=0.2)]]
    weights = np.array([[0.75, 0.25], [0.0, 1.0]])
    found = templates_between(tables, [hosts, grown], weights, HOD, ZHENG07)
    shift = np.array([[0.25 * 0.2], [0.2]]) * [1, 0, 1, 1, 0]
    expected = small_tabulation.templates(HOD - shift)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.n_galaxies, expected.n_galaxies, rtol=1e-5)


def test_between_two_logarithms_are_linear(small_tabulation, small_halos):
    """Of numbers and of 1 + xi; omega is linear itself."""
    other = twin(small_tabulation, moved=0.2)
    alone, shifted = small_tabulation.templates(HOD), other.templates(HOD)
    hosts, weights = [small_halos.abundance] * 2, np.full((2, 2), [0.75, 0.25])
    found = templates_between([[small_tabulation], [other]], hosts, weights, HOD, ZHENG07)
    np.testing.assert_allclose(
        1 + found.xi, (1 + alone.xi) ** 0.75 * (1 + shifted.xi) ** 0.25, rtol=1e-10
    )
    np.testing.assert_allclose(
        found.omega_s, 0.75 * alone.omega_s + 0.25 * shifted.omega_s, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(
        found.n_centrals, alone.n_centrals**0.75 * shifted.n_centrals**0.25, rtol=1e-10
    )
