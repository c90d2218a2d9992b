"""Galaxies whose strengths depend on host mass, and statistics of two samples."""

from __future__ import annotations

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import GalaxySites
from iaemu_likelihood.emulator.mocks import HalotoolsIA, positions_and_axes
from iaemu_likelihood.emulator.mocks.estimators import cross_correlations
from iaemu_likelihood.emulator.mocks.fast import drawn_axes, populate
from iaemu_likelihood.emulator.physics import watson
from iaemu_likelihood.emulator.physics.alignment import WATSON_MASS
from iaemu_likelihood.emulator.physics.space import ParameterSpace

HOD = [11.8, 0.3, 11.9, 12.9, 1.0]
MU = [0.5, 0.4, 0.7, -0.9]
SPACE = ParameterSpace(WATSON_MASS)


def p2_by_mass(axes, references, logM, mu):
    """Mean P_2 about the reference axes below and above the middle mass: found, error, expected."""
    p2 = 1.5 * np.sum(axes * references, axis=1) ** 2 - 0.5
    expected = watson.p2(mu)
    for half in (logM <= np.median(logM), logM > np.median(logM)):
        yield p2[half].mean(), p2[half].std() / half.sum() ** 0.5, expected[half].mean()


def test_axes_of_one_strength_each_follow_it():
    rng = np.random.default_rng(0)
    mu = np.repeat([-0.9, -0.2, 0.0, 0.3, 0.97, 1.0, -1.0], 20_000)
    reference = rng.normal(size=(len(mu), 3))
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    axes = watson.draw_axes(reference, mu, rng)
    p2 = (1.5 * np.sum(axes * reference, axis=1) ** 2 - 0.5).reshape(7, -1)
    error = p2.std(axis=1) / p2.shape[1] ** 0.5
    np.testing.assert_allclose(p2.mean(axis=1), watson.p2(mu[::20_000]), atol=4 * error.max())
    assert (np.abs(p2.mean(axis=1) - watson.p2(mu[::20_000])) <= 4 * error + 1e-12).all()


def test_one_strength_for_all_draws_the_same_axes():
    reference = np.tile([0.0, 0.6, 0.8], (50, 1))
    for mu in (-0.7, 0.0, 0.9):
        one, each = (
            watson.draw_axes(reference, x, np.random.default_rng(3)) for x in (mu, np.full(50, mu))
        )
        np.testing.assert_allclose(one, each, atol=1e-15)


def test_strengths_of_fast_mocks_depend_on_the_host(small_halos):
    sites, rng = GalaxySites.of(small_halos), np.random.default_rng(1)
    galaxies = populate(sites, HOD, rng)
    axes = drawn_axes(galaxies, MU, rng, WATSON_MASS, sites.logM)
    logM = sites.logM[galaxies.host]
    mu = WATSON_MASS.mu_in(np.array([MU]), logM)[0]
    for kind in (0, 1):
        of = galaxies.kind == kind
        means = p2_by_mass(axes[of], galaxies.reference[of], logM[of], mu[kind, of])
        found = list(means)
        for mean, error, expected in found:
            assert abs(mean - expected) < 4 * error
        # The halves differ by much more than that.
        assert abs(found[0][2] - found[1][2]) > 6 * found[0][1]


@pytest.mark.slow
def test_halotools_takes_strengths_from_the_mass_of_the_host(small_halos):
    model = HalotoolsIA(small_halos, SPACE)
    galaxies = model.populate([*MU, *HOD], 4)
    again = model.populate([*MU, *HOD], 4)
    _, axes = positions_and_axes(galaxies)
    np.testing.assert_array_equal(axes, positions_and_axes(again)[1])
    hosts = dict(zip(small_halos.columns["halo_id"], small_halos.columns["halo_mvir"], strict=True))
    logM = np.log10([float(hosts[i]) for i in galaxies["halo_hostid"]])
    mu = WATSON_MASS.mu_in(np.array([MU]), logM)[0]
    of = np.asarray(galaxies["gal_type"] == "centrals")
    references = np.stack([galaxies[f"halo_axisA_{x}"] for x in "xyz"], axis=1)
    references /= np.linalg.norm(references, axis=1, keepdims=True)
    for mean, error, expected in p2_by_mass(axes[of], references[of], logM[of], mu[0, of]):
        assert abs(mean - expected) < 4 * error
    offset = np.stack([galaxies[x] - galaxies[f"halo_{x}"] for x in "xyz"], axis=1)
    offset -= small_halos.box * np.round(offset / small_halos.box)
    offset /= np.linalg.norm(offset, axis=1, keepdims=True) + 1e-300
    for mean, error, expected in p2_by_mass(axes[~of], offset[~of], logM[~of], mu[1, ~of]):
        assert abs(mean - expected) < 4 * error


@pytest.mark.slow
def test_halotools_strengths_that_it_cannot_draw_are_named(small_halos):
    with pytest.raises(
        ValueError, match=r"central_alignment_strength of 0\.99.* in a host of 10\^"
    ):
        HalotoolsIA(small_halos, SPACE).populate([0.999, 0.1, 1.0, 0.0, *HOD], 1)


def test_two_samples_are_measured_as_halotools_does():
    from halotools.mock_observables import ed_3d, tpcf

    rng, box = np.random.default_rng(5), 50.0
    position = rng.uniform(0, box, (3000, 3))
    axes = rng.normal(size=position.shape)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    # Some galaxies of both samples, some of none.
    shape, at = rng.random(3000) < 0.4, rng.random(3000) < 0.6
    edges = np.logspace(0, 1, 8)
    xi, omega = cross_correlations(position, axes, shape, at, box, edges)
    expected = tpcf(position[shape], edges, position[at], period=box, do_auto=False)
    np.testing.assert_allclose(1 + xi, 1 + expected, rtol=1e-12)
    expected = ed_3d(position[shape], axes[shape], position[at], edges, period=box)
    np.testing.assert_allclose(omega, expected, rtol=1e-9, atol=1e-12)
