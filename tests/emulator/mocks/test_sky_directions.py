"""Projected statistics along many lines of sight, and their mean over all directions."""

from itertools import pairwise

import numpy as np
import pytest
from iaemu_likelihood.emulator.mocks.projected import along_all_sides
from iaemu_likelihood.emulator.mocks.sky_directions import (
    LINES,
    WEIGHTS,
    along_directions,
    turned_lines,
)
from iaemu_likelihood.emulator.physics.shapes import project
from scipy.special import eval_legendre

BOX, RP_EDGES, PI_MAX = 60.0, np.array([1.0, 3.0, 8.0]), 12.0


def catalogue(n=800, seed=0):
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(n, 3))
    return rng.uniform(0, BOX, (n, 3)), axes / np.linalg.norm(axes, axis=1, keepdims=True)


def test_the_first_lines_are_the_sides():
    x, axes = catalogue()
    found = along_directions(x, axes, (0.6, 0.8), BOX, RP_EDGES, PI_MAX)
    assert found.shape == (13, 2, 3, 2)
    for k, ratio in enumerate((0.6, 0.8)):
        sides = along_all_sides(x, axes, ratio, BOX, RP_EDGES, PI_MAX)
        expected = [[seen.w_gg, seen.w_gplus, seen.w_plusplus] for seen in sides]
        np.testing.assert_allclose(found[:3, k], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("direction", [LINES[4], LINES[-1], *turned_lines(0)[:4]])
def test_lines_against_every_pair(direction):
    """The box turned, so that the line is its third coordinate."""
    x, axes = catalogue(150)
    first = np.cross(direction, [0.3, -0.5, 0.8])
    first /= np.linalg.norm(first)
    turn = np.stack([first, np.cross(direction, first), direction])
    d = x[:, None] - x
    d = (d - BOX * np.round(d / BOX)) @ turn.T
    rp, angle = np.hypot(d[..., 0], d[..., 1]), 2 * np.arctan2(d[..., 1], d[..., 0])
    e = project(axes @ turn.T, 0.5)
    own = e[:, None, 0] * np.cos(angle) + e[:, None, 1] * np.sin(angle)
    found = along_directions(x, axes, (0.5,), BOX, RP_EDGES, PI_MAX, direction[None])[0, 0]
    for b, (low, high) in enumerate(pairwise(RP_EDGES)):
        inside = (low < rp) & (rp <= high) & (np.abs(d[..., 2]) <= PI_MAX)
        random = len(x) ** 2 * np.pi * (high**2 - low**2) * 2 * PI_MAX / BOX**3
        sums = inside.sum(), own[inside].sum(), (own * own.T)[inside].sum()
        expected = 2 * PI_MAX * (np.array(sums) / random - [1, 0, 0])
        np.testing.assert_allclose(found[:, b], expected, rtol=1e-9, atol=1e-12)


def test_the_mean_is_that_over_the_sphere_up_to_degree_7():
    """Of Legendre polynomials about any axis."""
    axes = catalogue(50)[1]
    for lines in (LINES, turned_lines(1)):
        for degree in (0, 2, 4, 6):
            mean = WEIGHTS @ eval_legendre(degree, lines @ axes.T)
            np.testing.assert_allclose(mean, degree == 0, atol=1e-12)
    assert np.abs(WEIGHTS @ eval_legendre(8, LINES @ axes.T)).max() > 0.01


@pytest.mark.parametrize(
    ("edges", "pi_max"), [([0.0, 1.0], 12.0), ([3.0, 1.0], 12.0), ([1.0, 10.0], 18.0)]
)
def test_bins_that_are_impossible(edges, pi_max):
    x, axes = catalogue(20)
    with pytest.raises(ValueError, match=f"third of the box.*pi_max = {pi_max:g}"):
        along_directions(x, axes, (0.5,), BOX, np.array(edges), pi_max)


def test_turns_follow_from_their_seed_and_favour_no_direction():
    np.testing.assert_array_equal(turned_lines(3), turned_lines(3))
    lines = np.array([turned_lines(seed) for seed in range(300)])
    assert np.abs(np.einsum("nli,nlj->lij", lines, lines) / 300 - np.eye(3) / 3).max() < 0.1
