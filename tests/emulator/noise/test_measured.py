"""The noise model against redrawn axes, redrawn catalogues and exact limits."""

from __future__ import annotations

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import GalaxySites
from iaemu_likelihood.emulator.mocks.checkpoints import realisations
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.noise import Noise, noise_at
from iaemu_likelihood.emulator.noise.measured import shape_moments
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.statistics import (
    DEFAULT_STATISTICS,
    ETA,
    PAIRS,
    XI,
    Statistic,
    named,
)
from iaemu_likelihood.emulator.validation.noise import noise_against_realisations

HOD = np.array([12.2, 0.3, 12.3, 13.0, 1.1])
N_BINS = len(R_EDGES) - 1


def of_axes(covariance):
    """That of omega and eta, from that of xi, omega and eta."""
    return covariance[N_BINS:, N_BINS:]


@pytest.fixture(scope="module")
def sites(small_halos):
    return GalaxySites.of(small_halos)


@pytest.fixture(scope="module")
def one_catalogue(sites):
    """Galaxies, and their noise if nothing but axes is drawn."""
    rng = np.random.default_rng(4)
    galaxies = populate(sites, HOD, rng)
    found = measure(galaxies, (0.0, 0.0), sites.box, R_EDGES, rng)
    moments = shape_moments(galaxies, found, sites.box, R_EDGES, 10**9, rng)
    return galaxies, found, Noise(named(DEFAULT_STATISTICS), found.templates[None], *moments)


@pytest.mark.slow
@pytest.mark.parametrize("mu", [(0.8, 0.3), (-0.6, 0.95), (0.99, -0.9), (0.0, 0.5)])
def test_shape_noise_is_that_of_redrawn_axes(sites, one_catalogue, mu):
    galaxies, _, noise = one_catalogue
    rng = np.random.default_rng(1)
    n = 800
    draws = np.empty((n, 2 * N_BINS))
    for i in range(n):
        draws[i] = measure(galaxies, mu, sites.box, R_EDGES, rng).correlations[1:].ravel()
    whole = noise.shape_covariance(*mu)
    assert not whole[:N_BINS].any()
    model, measured = of_axes(whole), np.cov(draws.T)
    ratio = np.sqrt(np.diag(model) / np.diag(measured))
    # sqrt(0.5 / 800) = 2.5 % for Gaussian numbers.
    assert np.abs(ratio - 1).max() < 0.1
    assert np.mean(ratio) == pytest.approx(1, abs=0.015)
    sigma = np.sqrt(np.diag(model))
    difference = model / np.outer(sigma, sigma) - np.corrcoef(draws.T)
    off_diagonal = difference[~np.eye(2 * N_BINS, dtype=bool)]
    assert np.sqrt(np.mean(off_diagonal**2)) < 0.05  # 1 / sqrt(800) = 0.035
    # Over seeds this mean scatters by 0.0012 for 3,000 draws.
    assert np.abs(np.mean(off_diagonal)) < 0.01


def test_random_axes_have_the_noise_of_counting(one_catalogue):
    _, found, noise = one_catalogue
    covariance = of_axes(noise.shape_covariance(0.0, 0.0))
    expected = 4 / 45 * 2 / found.n_pairs
    np.testing.assert_allclose(np.diag(covariance)[N_BINS:], expected, rtol=1e-10)
    # Neither omega and eta nor the bins of eta know of each other then.
    off = covariance[N_BINS:] - np.pad(np.diag(expected), ((0, 0), (N_BINS, 0)))
    assert np.abs(off).max() < 1e-12 * expected.max()


def test_perfect_axes_have_no_shape_noise(one_catalogue):
    _, _, noise = one_catalogue
    covariance = noise.shape_covariance(1.0, 1.0)
    random = noise.shape_covariance(0.0, 0.0)
    assert np.abs(covariance).max() < 1e-12 * np.abs(random).max()


def test_covariance_is_one(sites):
    noise = noise_at(sites, HOD, seed=0, n_catalogues=5)
    for mu in ((0.8, 0.3), (-1.0, 1.0), (1.0, 1.0)):
        covariance = noise.covariance(*mu)
        np.testing.assert_allclose(covariance, covariance.T, rtol=1e-9, atol=1e-18)
        assert np.linalg.eigvalsh(covariance).min() > -1e-12 * np.diag(covariance).max()
        assert list(noise.sigma(*mu)) == list(DEFAULT_STATISTICS)
    again = noise_at(sites, HOD, seed=0, n_catalogues=5)
    np.testing.assert_array_equal(again.shape, noise.shape)
    with pytest.raises(ValueError, match="at least 2"):
        noise_at(sites, HOD, seed=0, n_catalogues=1)


def test_statistics_come_in_the_order_asked_for(sites):
    whole = noise_at(sites, HOD, 0, 3, 200).covariance(0.8, 0.3)
    noise = noise_at(sites, HOD, 0, 3, 200, statistics=(ETA, XI))
    assert [s.name for s in noise.statistics] == ["eta", "xi"]
    blocks = whole.reshape(3, N_BINS, 3, N_BINS)[[2, 0]][:, :, [2, 0]]
    expected = blocks.reshape(2 * N_BINS, 2 * N_BINS)
    np.testing.assert_allclose(noise.covariance(0.8, 0.3), expected, rtol=1e-9, atol=1e-18)
    np.testing.assert_allclose(
        noise.sigma(0.8, 0.3).eta, np.sqrt(np.diag(expected))[:N_BINS], rtol=1e-9
    )


def test_statistics_of_unknown_shape_noise_are_named(sites):
    new = Statistic("new", "", "", "", PAIRS, is_ratio=False)
    with pytest.raises(ValueError, match="draws of the axes scatter new is not known: leave them"):
        noise_at(sites, HOD, seed=0, statistics=(XI, new))


@pytest.mark.slow
def test_scatter_of_realisations(small_halos):
    check = noise_against_realisations(
        small_halos, n=300, n_model=300, seed=0, hod=HOD[None], mu=np.array([[0.8, 0.3], [-0.6, 0.95]]),
        progress=False,
    )  # fmt: skip
    for point in check.numbers["points"]:
        for name in DEFAULT_STATISTICS:
            assert point[name]["mean_ratio"] == pytest.approx(1, abs=0.06), name
            assert point[name]["max_deviation"] < 0.25, name
        assert point["rms_correlation_difference"] < 0.09


@pytest.mark.slow
def test_scatter_of_halotools(small_halos, sites):
    theta = np.array([0.7, 0.6, *HOD])
    (draws,) = realisations(small_halos, theta[None], 60, 0, R_EDGES, progress=False)
    sigma = noise_at(sites, HOD, seed=1, n_catalogues=150).sigma(0.7, 0.6)
    for i, name in enumerate(DEFAULT_STATISTICS):
        ratio = sigma[name] / draws[:, i].std(axis=0, ddof=1)
        # One ratio scatters by 9 %.
        assert np.mean(ratio) == pytest.approx(1, abs=0.12), name
        assert np.abs(ratio - 1).max() < 0.35, name


def test_bins_without_pairs_are_nan_and_nothing_else(sites):
    sparse = np.array([13.6, 0.2, 13.6, 14.5, 1.0])
    noise = noise_at(sites, sparse, seed=0, n_catalogues=6)
    counted = np.isfinite(noise.templates[:, 1]).sum(axis=0)
    assert counted.min() < 6
    xi, omega, eta = np.split(np.diag(noise.covariance(0.5, 0.5)), 3)
    for variance in (omega, eta):
        np.testing.assert_array_equal(np.isfinite(variance), counted > 1)
    assert np.isfinite(xi).all()
