import itertools

import numpy as np
import pytest
from iaemu_likelihood.emulator.mocks import correlations, positions_and_axes
from iaemu_likelihood.emulator.mocks.halotools_ia import HalotoolsIA
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning, bins_inside
from iaemu_likelihood.emulator.physics.bins import R_EDGES

from iaemu_likelihood.data_vectors.measurement import Measurement

TNG_EDGES = Measurement.read("tng300.sample1").cut(0.1, 15.9).r_edges


def power_law_bins(edges, amplitude=30.0, slope=-1.8, tilt=-0.7):
    """Exact bin averages of xi = A r^s and omega = r^t / 20, weighted by pairs."""
    fine = [np.linspace(a, b, 4001) for a, b in itertools.pairwise(edges)]
    xi, omega = [], []
    for r in fine:
        pairs = (1 + amplitude * r**slope) * r**2
        total = np.trapezoid(pairs, r)
        xi.append(total / np.trapezoid(r**2, r) - 1)
        omega.append(np.trapezoid(pairs * r**tilt / 20, r) / total)
    return np.array(xi), np.array(omega)


def test_identity_and_merging_are_exact():
    rng = np.random.default_rng(0)
    xi, omega = rng.uniform(0, 5, (3, 20)), rng.normal(size=(3, 20))
    for got, expected in zip(
        PairWeightedBinning(R_EDGES, R_EDGES)(xi, omega), (xi, omega), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-10)
    merged, oriented = PairWeightedBinning(R_EDGES, R_EDGES[::5])(xi, omega)
    pairs = (1 + xi) * np.diff(R_EDGES**3)
    for b in range(4):
        part = slice(5 * b, 5 * b + 5)
        volume = np.diff(R_EDGES[[5 * b, 5 * b + 5]] ** 3)
        np.testing.assert_allclose(merged[:, b] + 1, pairs[:, part].sum(1) / volume, rtol=1e-10)
        weighted = (pairs * omega)[:, part].sum(1) / pairs[:, part].sum(1)
        np.testing.assert_allclose(oriented[:, b], weighted, rtol=1e-10, atol=1e-14)


def test_power_laws_in_other_bins():
    xi, omega = PairWeightedBinning(R_EDGES, TNG_EDGES)(*power_law_bins(R_EDGES))
    exact_xi, exact_omega = power_law_bins(TNG_EDGES)
    np.testing.assert_allclose(xi, exact_xi, rtol=5e-3)
    np.testing.assert_allclose(omega, exact_omega, rtol=5e-3)


@pytest.mark.slow
def test_against_a_direct_measurement_in_the_other_bins(small_halos):
    """Rebinning 20 measured bins must give what halotools measures in the data's 12 bins."""
    model = HalotoolsIA(small_halos)
    position, axes = positions_and_axes(
        model.populate([1.0, 1.0, 11.4, 0.3, 11.5, 12.3, 1.0], seed=1)
    )
    known = correlations(position, axes, model.box, R_EDGES)
    direct = correlations(position, axes, model.box, TNG_EDGES)
    xi, omega, eta = PairWeightedBinning(R_EDGES, TNG_EDGES)(known.xi, known.omega, known.eta)
    # One mock's bins are noisy, which a spline through them feels; the data's errors are larger.
    np.testing.assert_allclose(xi, direct.xi, rtol=0.05)
    np.testing.assert_allclose(omega, direct.omega, atol=3e-3)
    np.testing.assert_allclose(eta, direct.eta, atol=5e-3)
    assert np.median(np.abs(xi / direct.xi - 1)) < 0.01


def test_bins_that_cannot_be_had_are_errors():
    with pytest.raises(ValueError, match=r"reach beyond the known range, 0.1 to 15.8489 Mpc/h"):
        PairWeightedBinning(R_EDGES, [1.0, 20.0])
    with pytest.raises(ValueError, match="at least two increasing numbers"):
        PairWeightedBinning(R_EDGES, [3.0, 2.0])
    PairWeightedBinning(R_EDGES, [0.09999999999, 1.0])  # rounding is not an error


def test_bins_inside():
    r_min, r_max = np.array([0.1, 1.0, 10.0]), np.array([1.0, 10.0, 20.0])
    assert bins_inside(r_min, r_max, 0.1, 15.0).tolist() == [True, True, False]
    assert bins_inside(r_min, r_max, 0.100000001, 20.0).all()
