"""Derived parameters against what the halo catalogue itself gives."""

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.models.derived import (
    C1_RHO_CRIT,
    C1_RHO_CRIT_EXACT,
    DERIVED,
    DerivedModel,
)
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.linear_theory import amplitude
from iaemu_likelihood.emulator.physics.occupations import ZHENG07
from iaemu_likelihood.emulator.physics.shapes import mean_square, response
from iaemu_likelihood.emulator.physics.statistics import OMEGA, XI

HOD = np.array(
    [
        [12.54, 0.26, 12.68, 13.48, 1.0],
        [11.93, 0.26, 12.05, 12.85, 1.0],
        [13.3, 0.5, 13.3, 14.1, 1.0],
    ]
)
MU = np.array([[0.8, 0.3], [0.5, 0.5], [-0.4, 0.9]])
RESPONSES = np.array([[0.3, 0.2]])


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


@pytest.fixture(scope="module")
def found(emulator):
    return DerivedModel(emulator, list(DERIVED))(HOD, MU, RESPONSES)


def test_numbers_follow_from_the_hosts(emulator, found):
    densities = emulator.hosts.galaxies(ZHENG07, HOD)
    np.testing.assert_allclose(found["n_gal"], densities.sum(1), rtol=1e-12)
    np.testing.assert_allclose(found["f_sat"], densities[:, 1] / densities.sum(1), rtol=1e-12)


def test_galaxies_that_follow_linear_theory_have_its_bias_and_amplitude(emulator):
    """With b = 1.7 and A_IA = -2.5 put in, in linear theory's own shape."""
    theory = emulator.universe.theory(emulator.universe.box)
    far = emulator.fine_edges[np.searchsorted(emulator.fine_edges, 15.0) :]
    n_near = len(emulator.fine_edges) - len(far)
    xi, tides = (
        np.concatenate([np.zeros(n_near), theory.correlation(far, degree)]) for degree in (0, 2)
    )
    excess = 1.7**2 * xi
    density = 1.7 * -2.5 * C1_RHO_CRIT * theory.cosmology.Om0 * tides

    class Linear:
        """Of galaxies with a_2 = 1, as `Occupied`."""

        def __init__(self):
            self.excess = excess[None]

        def __call__(self, mu, statistics, errors=(), responses=None):
            np.testing.assert_array_equal(responses, [[1, 1, 1, 1]])
            return (density / 1.5 / (1 + excess))[None, None], {}

    model = DerivedModel(emulator, ["b_g", "A_IA_e", "A_IA"])
    given = model(HOD[:1], MU[:1], np.ones((1, 2)), Conventions(None, responsivity=0.9), Linear())
    assert given["b_g"][0] == pytest.approx(1.7, rel=1e-10)
    assert given["A_IA_e"][0] == pytest.approx(-2.5, rel=1e-10)
    assert given["A_IA"][0] == pytest.approx(-2.5 / 1.8, rel=1e-10)


def test_amplitudes_of_shapes_and_of_shear(found):
    """e / (2 R) with R = 1 - <e^2> / 2, of prolate galaxies with these responses."""
    q = np.linspace(0.3, 0.99, 20_000)
    squares = [np.interp(-a, -response(q), mean_square(q)) for a in RESPONSES[0]]
    mean = squares[0] + found["f_sat"] * (squares[1] - squares[0])
    np.testing.assert_allclose(found["A_IA_e"] / found["A_IA"], 2 * (1 - mean / 2), rtol=1e-3)


@pytest.mark.parametrize(
    ("conventions", "ratio"),
    [(Conventions(None, ellipticity="epsilon"), 1.0), (Conventions(None, responsivity=0.8), 1.6)],
)
def test_conventions_say_what_a_shear_is(emulator, conventions, ratio):
    model = DerivedModel(emulator, ["A_IA", "A_IA_e"])
    given = model(HOD, MU, RESPONSES, conventions)
    np.testing.assert_allclose(given["A_IA_e"] / given["A_IA"], ratio)


def test_the_amplitude_is_linear_in_strengths_and_responses(emulator):
    model = DerivedModel(emulator, ["A_IA_e"])

    def at(mu, responses):
        return model(HOD, np.broadcast_to(mu, (3, 2)), np.array([responses]))["A_IA_e"]

    centrals, satellites = at([0.8, 0.0], [0.3, 0.2]), at([0.0, 0.3], [0.3, 0.2])
    np.testing.assert_allclose(at([0.8, 0.3], [0.3, 0.2]), centrals + satellites, rtol=1e-9)
    np.testing.assert_allclose(at([0.8, 0.0], [0.6, 0.2]), 2 * centrals, rtol=1e-9)
    # Radially aligned satellites count for little at large separations, centrals for all.
    assert (np.abs(satellites) < 0.2 * np.abs(centrals)).all()
    assert (centrals > 0).all()
    np.testing.assert_allclose(at([0.0, 0.0], [0.3, 0.2]), 0, atol=1e-12)


def test_ranges_of_separation_agree_on_the_bias(emulator, found):
    """Linear theory's shape: b from 10 to 30 Mpc/h is that from 20 to 79."""
    theory = emulator.universe.theory(emulator.universe.box)
    edges = emulator.fine_edges
    occupied = emulator.at(HOD, (XI, OMEGA), len(edges) - 1)
    for low, high, rtol in ((5, 16, 0.02), (16, 30, 0.02), (30, 60, 0.05)):
        functional = amplitude(theory, edges, 0, (low, high))
        np.testing.assert_allclose((occupied.excess @ functional) ** 0.5, found["b_g"], rtol=rtol)


def test_tensors_give_the_same_with_gradients(emulator, found):
    hod, mu = torch.tensor(HOD, requires_grad=True), torch.tensor(MU, requires_grad=True)
    model = DerivedModel(emulator, list(DERIVED))
    same = model(hod, mu, torch.tensor(RESPONSES))
    for name, values in same.items():
        np.testing.assert_allclose(values.detach(), found[name], rtol=1e-8)
    (slope,) = torch.autograd.grad(same["A_IA"].sum(), hod)
    step = np.array([0, 0, 0, 1e-4, 0])
    moved = [model(HOD + sign * step, MU, RESPONSES)["A_IA"] for sign in (1, -1)]
    np.testing.assert_allclose(slope[:, 3], (moved[0] - moved[1]) / 2e-4, rtol=1e-4)


def test_both_normalisations_are_what_they_say():
    """5e-14 Mpc^3 / (h^2 Msun) times 3 H^2 / (8 pi G)."""
    gravity = 4.30091e-9  # Mpc (km/s)^2 / Msun
    assert pytest.approx(5e-14 * 3 * 100**2 / (8 * np.pi * gravity), rel=1e-3) == C1_RHO_CRIT_EXACT
    assert pytest.approx(0.0134) == C1_RHO_CRIT


def test_what_is_not_known_is_refused(emulator):
    with pytest.raises(ValueError, match="No derived parameter bias; there are n_gal, f_sat"):
        DerivedModel(emulator, ["bias"])
    paper = Emulator.load("paper")
    assert DerivedModel(paper, ["n_gal"])(HOD)["n_gal"] == pytest.approx(
        DerivedModel(emulator, ["n_gal"])(HOD)["n_gal"]
    )
    with pytest.raises(ValueError, match="b_g cannot be derived"):
        DerivedModel(paper, ["b_g"])
