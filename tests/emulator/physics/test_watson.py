import itertools

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.physics.watson import (
    axis_variances,
    draw_axes,
    legendre,
    legendre_series,
    moments,
    mu_of_p2,
    p2,
)
from scipy.integrate import quad


def test_exact_limits():
    np.testing.assert_allclose(p2([-1, 0, 1]), [-0.5, 0, 1], atol=1e-15)
    np.testing.assert_allclose(
        np.array(moments([-1, 0, 1])), [[0, 1 / 3, 1], [0, 1 / 5, 1]], atol=1e-15
    )


def test_the_inverse_of_p2():
    mu = np.append(np.linspace(-1, 1, 41), [1e-9, -0.999, 0.9999])
    np.testing.assert_allclose(mu_of_p2(p2(mu)), mu, atol=1e-10)
    assert mu_of_p2(0.5).shape == ()
    assert np.isnan(mu_of_p2([-0.51, 1.01, np.nan])).all()


@pytest.mark.parametrize(
    "mu", [-0.999, -0.9, -0.5, -0.4999, -1e-9, 1e-12, 0.3, 0.5001, 0.8, 0.99, 0.9995]
)
def test_moments_against_quadrature(mu):
    kappa = np.tan(np.pi * mu / 2)

    def integral(power):
        # Substituting where the density is concentrated keeps quad honest.
        edges = (
            [0, min(1, 5 / np.sqrt(abs(kappa) + 1)), 1]
            if kappa < 0
            else [0, max(0, 1 - 20 / (kappa + 20)), 1]
        )
        return sum(
            quad(
                lambda x: x**power * np.exp(kappa * x**2 - max(kappa, 0)),
                a,
                b,
                epsabs=0,
                epsrel=1e-12,
            )[0]
            for a, b in itertools.pairwise(edges)
        )

    m2, m4 = moments(mu)
    np.testing.assert_allclose(m2, integral(2) / integral(0), rtol=1e-10)
    np.testing.assert_allclose(m4, integral(4) / integral(0), rtol=1e-9)


def test_smooth_over_the_whole_range():
    mu = np.linspace(-1, 1, 200_001)
    value = p2(mu)
    assert np.isfinite(value).all()
    assert (np.diff(value) > 0).all()
    # A seam between two of the formulas would show as a jump in the differences.
    assert np.abs(np.diff(value, 3)).max() < 1e-12


def test_outside_the_range_is_an_error():
    with pytest.raises(ValueError, match=r"mu must lie in \[-1, 1\]; got 1.1"):
        p2([0.5, 1.1])
    with pytest.raises(ValueError, match="nan"):
        moments(np.nan)


def test_torch_equals_numpy_with_gradients():
    mu = torch.linspace(-1, 1, 1001, dtype=torch.float64, requires_grad=True)
    degrees = (0, 2, 4)
    value = legendre_series(mu, degrees)
    for i, degree in enumerate(degrees):
        np.testing.assert_allclose(
            value[:, i].detach().numpy(), legendre(mu.detach().numpy(), degree), atol=1e-12
        )
    (gradient,) = torch.autograd.grad(value.sum(), mu)
    assert torch.isfinite(gradient).all()
    inner = torch.tensor([-0.95, -0.3, 0.0, 0.5, 0.97], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(legendre_series, (inner, degrees))
    assert torch.autograd.gradgradcheck(legendre_series, (inner, degrees))


@pytest.mark.parametrize("mu", [-1.0, -0.98, -0.3, 0.0, 0.02, 0.5, 0.9, 0.9991, 0.999146, 1.0])
def test_drawn_axes_have_the_moments(mu):
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(200_000, 3))
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    reference[:3] = np.eye(3)
    axes = draw_axes(reference, mu, rng)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1, atol=1e-12)
    t2 = np.sum(axes * reference, axis=1) ** 2
    m2, m4 = moments(mu)
    for power, expected in ((t2, m2), (t2**2, m4)):
        error = power.std() / np.sqrt(len(power)) + 1e-12
        assert abs(power.mean() - expected) < 4 * error
    again = draw_axes(reference[:10], mu, np.random.default_rng(1))
    np.testing.assert_array_equal(again, draw_axes(reference[:10], mu, np.random.default_rng(1)))


def test_variances_of_the_components():
    # Random axes: five alike. Perfect ones: none. They add up to |e e^T - 1/3|^2 = 2/3.
    np.testing.assert_allclose(axis_variances(0.0), 2 / 15, rtol=1e-12)
    np.testing.assert_allclose(axis_variances(1.0), 0, atol=1e-12)
    mu = np.linspace(-1, 1, 101)
    total = axis_variances(mu) @ [1, 2, 2] + 2 / 3 * p2(mu) ** 2
    np.testing.assert_allclose(total, 2 / 3, atol=1e-12)


def test_numpy_errors_of_the_caller_change_nothing():
    """Exponentials of strong alignment underflow."""
    mu, reference = [-1.0, -0.9999, 0.9995, 1.0], np.eye(3)
    expected = moments(mu), draw_axes(reference, 1.0, np.random.default_rng(1))
    with np.errstate(all="raise"):
        found = moments(mu), draw_axes(reference, 1.0, np.random.default_rng(1))
        assert {*np.geterr().values()} == {"raise"}
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
