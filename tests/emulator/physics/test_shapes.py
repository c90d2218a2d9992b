import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.physics.shapes import (
    DEFINITIONS,
    DEGREES,
    harmonic,
    largest_response,
    mean_square,
    next_response,
    project,
    response,
)


def random_axes(n, seed=0):
    axes = np.random.default_rng(seed).normal(size=(n, 3))
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def image(axes, q, line_of_sight, ellipticity):
    """Ellipticities from the eigenvalues of the projected ellipsoid, one galaxy after the other."""
    found = []
    sky = [(line_of_sight + 1) % 3, (line_of_sight + 2) % 3]
    for n in axes:
        # Semi-axes squared: 1 along n, q^2 across it. A projection keeps the block of the sky.
        shape = q**2 * np.eye(3) + (1 - q**2) * np.outer(n, n)
        values, vectors = np.linalg.eigh(shape[np.ix_(sky, sky)])
        b, a = np.sqrt(values)
        modulus = {"distortion": (a**2 - b**2) / (a**2 + b**2), "epsilon": (a - b) / (a + b)}
        angle = np.arctan2(vectors[1, 1], vectors[0, 1])
        found.append(modulus[ellipticity] * np.array([np.cos(2 * angle), np.sin(2 * angle)]))
    return np.array(found)


@pytest.mark.parametrize("ellipticity", DEFINITIONS)
@pytest.mark.parametrize("line_of_sight", [0, 1, 2])
def test_projected_ellipsoids(ellipticity, line_of_sight):
    axes = random_axes(50)
    np.testing.assert_allclose(
        project(axes, 0.6, line_of_sight, ellipticity),
        image(axes, 0.6, line_of_sight, ellipticity),
        atol=1e-12,
    )


def test_a_spheroid_seen_along_its_axis_or_round_shows_no_ellipticity():
    np.testing.assert_array_equal(project([[0, 0, 1.0]], 0.3), [[0, 0]])
    np.testing.assert_array_equal(project(random_axes(5), 1.0), np.zeros((5, 2)))


@pytest.mark.parametrize("ellipticity", DEFINITIONS)
def test_responses_add_up_to_the_ellipticity(ellipticity):
    q, axes = 0.5, random_axes(200)
    expansion = sum(
        response(q, degree, ellipticity) * harmonic(degree)(axes[:, 2]) for degree in DEGREES
    ) * (axes[:, 0] ** 2 - axes[:, 1] ** 2)
    exact = project(axes, q, 2, ellipticity)[:, 0]
    # Degrees 8 and beyond are left out.
    assert np.abs(expansion - exact).max() < 0.02 * np.abs(exact).max()
    two = response(q, 2, ellipticity) * (axes[:, 0] ** 2 - axes[:, 1] ** 2)
    assert np.abs(two - exact).max() > 3 * np.abs(expansion - exact).max()


def test_the_response_to_a_misaligned_axis_is_the_legendre_moment():
    """A galaxy turned by a fixed angle about a direction d, at a random azimuth."""
    d, tilt, q = np.array([1.0, 0, 0]), 0.4, 0.6
    azimuth = np.random.default_rng(1).uniform(0, 2 * np.pi, 200_000)
    across = np.stack([np.zeros_like(azimuth), np.cos(azimuth), np.sin(azimuth)], axis=1)
    mean = project(np.cos(tilt) * d + np.sin(tilt) * across, q)[:, 0].mean()
    moments = {2: np.polynomial.legendre.legval(np.cos(tilt), [0, 0, 1])}
    moments[4] = np.polynomial.legendre.legval(np.cos(tilt), [0, 0, 0, 0, 1])
    moments[6] = np.polynomial.legendre.legval(np.cos(tilt), [0] * 6 + [1])
    expected = sum(response(q, n) * moments[n] * harmonic(n)(0.0) for n in DEGREES)
    assert mean == pytest.approx(expected, abs=2e-3)


def test_mean_square():
    e = project(random_axes(200_000), 0.6)
    assert mean_square(0.6) == pytest.approx((e**2).sum(axis=1).mean(), rel=5e-3)
    assert mean_square(1.0) == 0


@pytest.mark.parametrize("q", [0, -0.5, 1.2, np.nan])
def test_impossible_axis_ratios_are_refused(q):
    with pytest.raises(ValueError, match="0 < axis_ratio <= 1"):
        response(q)


def test_unknown_definition_or_degree():
    with pytest.raises(ValueError, match="distortion, epsilon; got 'shear'"):
        response(0.5, ellipticity="shear")
    with pytest.raises(ValueError, match="got 3"):
        response(0.5, 3)


@pytest.mark.parametrize("ellipticity", DEFINITIONS)
def test_the_next_response_of_prolate_galaxies(ellipticity):
    q = np.linspace(0.1, 0.995, 57)
    second = response(q, 2, ellipticity)
    error = next_response(second, ellipticity) - response(q, 4, ellipticity)
    assert (np.abs(error) < 1e-4 * second).all()
    assert largest_response(ellipticity) == pytest.approx(response(0.1, 2, ellipticity))
    at = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: next_response(x, ellipticity), at)
