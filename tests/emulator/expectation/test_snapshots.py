"""Templates between snapshots, and means over boxes."""

from types import SimpleNamespace

import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation.snapshots import mean_of_boxes, templates_between
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


def test_at_a_snapshot_it_is_that_snapshot(small_tabulation):
    found = templates_between([[small_tabulation]], np.ones((2, 1)), HOD, ZHENG07)
    alone = small_tabulation.templates(HOD)
    np.testing.assert_allclose(found.values, alone.values, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found.n_galaxies, alone.n_galaxies)


def test_between_two_logarithms_are_linear(small_tabulation):
    """Of numbers and of 1 + xi; omega is linear itself."""
    alone = small_tabulation.templates(HOD)
    other = SimpleNamespace(
        statistics=small_tabulation.statistics,
        templates=lambda hod, occupation: small_tabulation.templates(hod + [0.2, 0, 0, 0, 0]),
    )
    shifted = other.templates(HOD, ZHENG07)
    weights = np.array([[0.75, 0.25], [0.0, 1.0]])
    found = templates_between([[small_tabulation], [other]], weights, HOD, ZHENG07)
    np.testing.assert_allclose(
        1 + found.xi[0], (1 + alone.xi[0]) ** 0.75 * (1 + shifted.xi[0]) ** 0.25, rtol=1e-10
    )
    np.testing.assert_allclose(
        found.omega_s[0], 0.75 * alone.omega_s[0] + 0.25 * shifted.omega_s[0], rtol=1e-10
    )
    assert found.n_centrals[0] == pytest.approx(
        alone.n_centrals[0] ** 0.75 * shifted.n_centrals[0] ** 0.25
    )
    np.testing.assert_allclose(found.values[1], shifted.values[1], rtol=1e-10, atol=1e-14)
