"""Correlations of degree 4, against the harmonics and the pairs of satellites that they are of."""

import numpy as np
import pytest
from iaemu_likelihood.emulator.physics.shapes import harmonic
from iaemu_likelihood.emulator.physics.statistics import ETA, ETA_0, ETA_1, W_PLUSPLUS
from iaemu_likelihood.emulator.physics.statistics.degree_four import (
    MIXED,
    NODES,
    SATELLITES,
    angular,
    shares,
)
from numpy.polynomial.legendre import Legendre


def derivative(degree, m, x):
    return Legendre.basis(degree).deriv(m)(x)


@pytest.mark.parametrize("degrees", [(2, 2), (2, 4), (4, 4)])
def test_products_of_harmonics_are_sums_over_helicities(degrees):
    # All pairs that a turn about the separation makes of one pair, seen along one line of sight.
    rng = np.random.default_rng(sum(degrees))
    turns = np.arange(32) * 2 * np.pi / 32
    for _ in range(20):
        mu, (alpha, other), (beta, beta_other) = rng.uniform(0, 1), *rng.uniform(0, np.pi, (2, 2))
        sight = np.array([np.sqrt(1 - mu**2), 0, mu])
        # The separation is along z; the sky's first direction lies in its plane with the line of sight.
        first, second = np.array([-mu, 0, sight[0]]), np.array([0, 1.0, 0])
        product = np.ones(len(turns))
        for degree, a, b in zip(degrees, (alpha, other), (beta, beta_other), strict=True):
            azimuth = b + turns
            n = np.stack(
                [np.sin(a) * np.cos(azimuth), np.sin(a) * np.sin(azimuth), 0 * turns + np.cos(a)],
                axis=1,
            )
            product *= harmonic(degree)(n @ sight) * ((n @ first) ** 2 - (n @ second) ** 2)
        expected = sum(
            angular(*degrees, m)(mu)
            * derivative(degrees[0], m, np.cos(alpha))
            * derivative(degrees[1], m, np.cos(other))
            * (np.sin(alpha) * np.sin(other)) ** m
            * np.cos(m * (beta - beta_other))
            / (2 if m else 1)
            for m in range(min(degrees) + 1)
        )
        np.testing.assert_allclose(product.mean(), expected, atol=1e-12)


def test_shares_are_linear_in_log_r_and_end():
    np.testing.assert_allclose(shares(NODES), np.eye(len(NODES))[:, :-1], atol=1e-12)
    (between,) = shares(np.sqrt(NODES[1:2] * NODES[2:3]))
    np.testing.assert_allclose(between[[1, 2]], 0.5)
    assert not shares(NODES[-1:] * 1.01).any()
    np.testing.assert_array_equal(shares(NODES[:1] / 2), shares(NODES[:1]))


def test_a_satellite_points_at_its_central():
    # Its harmonics of every degree are 1 about the separation, so only the central's degree counts.
    inside = NODES[:-1] < 1
    np.testing.assert_allclose(MIXED[2, 4][inside], 1, atol=0.02)
    np.testing.assert_allclose(MIXED[4, 2][inside], MIXED[4, 4][inside], atol=0.05)


def satellites_of_round_hosts(rng, n_hosts=4000, n=8):
    """Positions about the centre and host of satellites with density as 1 / (r (1 + 5 r)^2), r < 1."""
    grid = np.linspace(0, 1, 2000)
    mass = np.log1p(5 * grid) - 5 * grid / (1 + 5 * grid)
    r = np.interp(rng.random((n_hosts, n)) * mass[-1], mass, grid)
    direction = rng.normal(size=(n_hosts, n, 3))
    return r[..., None] * direction / np.linalg.norm(direction, axis=-1, keepdims=True)


@pytest.mark.parametrize("degrees", [(2, 4), (4, 4)])
def test_pairs_of_satellites_follow_from_degree_2(degrees):
    x = satellites_of_round_hosts(np.random.default_rng(1))
    axis = x / np.linalg.norm(x, axis=-1, keepdims=True)
    i, j = np.triu_indices(x.shape[1], 1)
    separation = (x[:, i] - x[:, j]).reshape(-1, 3)
    r = np.linalg.norm(separation, axis=1)
    near = (r > 0.4) & (r < 0.8)
    unit = (separation / r[:, None])[near]
    a, b = (axis[:, k].reshape(-1, 3)[near] for k in (i, j))
    cos_a, cos_b = (a * unit).sum(1), (b * unit).sum(1)
    across, sines = (a * b).sum(1) - cos_a * cos_b, (1 - cos_a**2) * (1 - cos_b**2)
    turned = [1, across, 2 * across**2 - sines, 4 * across**3 - 3 * across * sines]
    turned.append(8 * across**4 - 8 * across**2 * sines + sines**2)
    known = np.array([
        np.mean((cos_a**2 - 1 / 3) * (cos_b**2 - 1 / 3)),
        np.mean(cos_a * cos_b * across) / 2,
        np.mean(turned[2]) / 2,
    ])  # fmt: skip
    coefficients = np.einsum("k,kmj->mj", shares(np.array([0.57]))[0], SATELLITES[degrees])
    scales = []
    for m, predicted in enumerate(coefficients @ known):
        first, second = (derivative(degree, m, cos_a) for degree in degrees)
        other, another = (derivative(degree, m, cos_b) for degree in degrees)
        found = np.mean((first * another + second * other) / 2 * turned[m]) / (2 if m else 1)
        scale = np.sqrt(np.mean((first * second) ** 2 * sines**m))
        assert abs(predicted - found) < 0.06 * scale
        scales.append(abs(found) / scale)
    assert max(scales) > 0.2


def test_every_coefficient_is_used_once():
    names = [source.name for source in W_PLUSPLUS.sources]
    assert len({*names}) == len(names) == 3 + len(MIXED) + 3 * len(SATELLITES)
    assert W_PLUSPLUS.learned == (ETA, ETA_0, ETA_1)
