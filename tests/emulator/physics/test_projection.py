from itertools import pairwise

import numpy as np
import pytest
from iaemu_likelihood.emulator.physics.projection import projection
from iaemu_likelihood.emulator.physics.shapes import harmonic
from numpy.polynomial.polynomial import Polynomial
from scipy.integrate import quad

R_EDGES, RP_EDGES, PI_MAX, SLOPE = np.logspace(-1, 2, 61), np.logspace(-1, 1, 7), 60.0, 1.8
# On the sky, for a separation along the first direction.
ON_THE_SKY = {0: Polynomial([1.0])} | {
    degree: harmonic(degree) * Polynomial([1.0, 0.0, -1.0]) for degree in (2, 4)
}


def density(r):
    return (5 / r) ** SLOPE


def in_shells(edges):
    return np.array(
        [quad(lambda r: density(r) * 3 * r**2, a, b)[0] / (b**3 - a**3) for a, b in pairwise(edges)]
    )


def by_quadrature(degree, weight=lambda pi: 1.0):
    """Average over each bin of r_p of the integral along the line of sight."""
    t = ON_THE_SKY[degree]

    def w(rp):
        def integrand(pi):
            r = np.hypot(rp, pi)
            return density(r) * t(pi / r) * weight(pi)

        return 2 * quad(integrand, 0, PI_MAX, points=[rp, 5 * rp], limit=200)[0]

    return np.array(
        [quad(lambda rp: 2 * rp * w(rp), a, b)[0] / (b**2 - a**2) for a, b in pairwise(RP_EDGES)]
    )


@pytest.mark.parametrize("degree", [0, 2, 4])
def test_a_power_law(degree):
    found = in_shells(R_EDGES) @ projection(R_EDGES, RP_EDGES, PI_MAX, ON_THE_SKY[degree])
    np.testing.assert_allclose(found, by_quadrature(degree), rtol=1e-5)


def test_a_weight_along_the_line_of_sight():
    def gaussian(pi):
        return np.exp(-((pi / 20) ** 2) / 2)

    found = in_shells(R_EDGES) @ projection(R_EDGES, RP_EDGES, PI_MAX, ON_THE_SKY[2], gaussian)
    np.testing.assert_allclose(found, by_quadrature(2, gaussian), rtol=1e-5)


def test_a_weight_of_one_is_none():
    with_weight = projection(R_EDGES, RP_EDGES, PI_MAX, ON_THE_SKY[2], np.ones_like)
    np.testing.assert_allclose(
        with_weight, projection(R_EDGES, RP_EDGES, PI_MAX, ON_THE_SKY[2]), atol=1e-9
    )


def test_unclustered_points_fill_the_cylinder():
    """The density 1 of degree 0 projects to the length of the line of sight."""
    ones = np.ones(len(R_EDGES) - 1)
    found = ones @ projection(R_EDGES, RP_EDGES, PI_MAX)
    np.testing.assert_allclose(found, 2 * PI_MAX, rtol=5e-5)


def test_the_quadrupole_needs_no_line_of_sight():
    """5/48 is Singh et al.'s prefactor, and L^{2,2} = 3 (1 - mu^2) their polynomial."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    t2, l22 = ON_THE_SKY[2](nodes), 3 * (1 - nodes**2)
    assert (5 / 48 * weights * l22 * t2).sum() == pytest.approx(1 / 3)
    assert (weights * l22 * ON_THE_SKY[4](nodes)).sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("rp_edges", "pi_max", "message"),
    [
        ([1.0, 10.0], 100.0, "need pairs from 1 to 100.5 Mpc/h apart"),
        ([0.01, 1.0], 10.0, "the model's go from 0.1 to 100 Mpc/h"),
        ([1.0, 0.5], 10.0, "increasing, positive"),
        ([0.0, 0.5], 10.0, "increasing, positive"),
        ([1.0, 2.0], -1.0, "pi_max is -1"),
        ([1.0, 2.0], np.nan, "pi_max is nan"),
    ],
)
def test_what_the_model_does_not_reach_is_refused(rp_edges, pi_max, message):
    with pytest.raises(ValueError, match=message):
        projection(R_EDGES, rp_edges, pi_max)
