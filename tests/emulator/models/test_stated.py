"""A redshift and a cosmology that are stated with a prediction."""

import numpy as np
import pytest
import torch
from astropy.cosmology import FlatLambdaCDM
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.networks.perceptron import perceptron

POINT = [0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0]
BINS = [0.5, 2.0, 8.0]


@pytest.fixture(scope="module")
def evolving(evolving_weights):
    return Emulator.load(evolving_weights)


def test_a_redshift_is_that_of_another_emulator(evolving):
    other = evolving.at_redshift(0.5)
    assert (evolving.redshift, other.redshift) == (0.0, 0.5)
    found, expected = evolving.predict(POINT, redshift=0.5), other.predict(POINT)
    for name in ("xi", "omega", "eta"):
        np.testing.assert_array_equal(found[name], expected[name])
        np.testing.assert_array_equal(found.aleatoric[name], expected.aleatoric[name])
        assert not np.allclose(found[name], evolving.predict(POINT)[name], rtol=1e-4)
    np.testing.assert_array_equal(evolving.covariance(POINT, redshift=0.5), other.covariance(POINT))
    options = {"rp_edges": BINS, "pi_max": 40.0, "axis_ratio": 0.6}
    found = evolving.predict_projected(POINT, redshift=0.5, **options)
    expected = other.predict_projected(POINT, **options)
    np.testing.assert_array_equal(found.w_gplus, expected.w_gplus)
    # Many points come as tensors.
    many = evolving.predict([POINT] * 300, redshift=0.5)
    np.testing.assert_allclose(many.omega[7], other.predict(POINT).omega, rtol=1e-10)


@pytest.mark.parametrize("redshift", [0.0, 0.3, 0.45, 0.9, 1.0])
def test_templates_are_interpolated_between_the_networks_of_two_snapshots(evolving, redshift):
    tensors = evolving._loaded
    hod = torch.as_tensor(evolving.at_redshift(1.0).domain.sample(20, seed=3)[:, 2:])
    unit = torch.as_tensor(evolving.domain.to_unit(hod))
    at = np.log1p(np.array([0, 0.3, 0.625, 1, redshift]))
    inputs = torch.cat([unit, torch.full_like(unit[:, :1], 2 * at[-1] / np.log(2) - 1)], dim=1)
    shares = [np.interp(at[-1], at[:-1], row) for row in np.eye(4)]
    mean, scale = tensors["mean"], tensors["scale"]
    for member, found in enumerate(evolving.at_redshift(redshift).templates(hod)):
        expected = 0
        for i, share in enumerate(shares):
            layers = [
                [tensors[f"{kind}.{j}"][member, i] for j in range(6)]
                for kind in ("weights", "biases")
            ]
            expected = expected + share * (perceptron(inputs, *layers) * scale + mean)
        expected = expected.reshape(found.shape)
        expected[:, 0] = torch.expm1(expected[:, 0])  # xi
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_the_latest_redshifts_are_remembered_until_the_precision_changes(evolving_weights):
    emulator = Emulator.load(evolving_weights)
    first = emulator.at_redshift(0.1)
    assert emulator.at_redshift(0.1) is first
    for redshift in (0.2, 0.3, 0.4, 0.5):
        emulator.at_redshift(redshift)
    assert emulator.at_redshift(0.5) is emulator.at_redshift(0.5)
    assert emulator.at_redshift(0.1) is not first
    double = emulator.at_redshift(0.5).predict(POINT).xi
    single = emulator.to(dtype=torch.float32).at_redshift(0.5).predict(POINT).xi
    assert np.abs(single / double - 1).max() > 1e-12
    np.testing.assert_allclose(single, double, rtol=1e-3)


def test_the_domain_is_that_of_the_redshift(evolving):
    points = evolving.domain.sample(2000, seed=2)
    rare = points[points[:, 2] > evolving.at_redshift(1.0).domain.bands.first[1]][0]
    evolving.predict(rare)
    with pytest.raises(ValueError, match="logMmin"):
        evolving.predict(rare, redshift=1.0)
    with pytest.raises(ValueError, match=r"The redshift is 1\.1; these weights know z = 0 to 1"):
        evolving.predict(POINT, redshift=1.1)


def test_a_cosmology_must_be_the_own(evolving):
    own = FlatLambdaCDM(67.8, 0.307)
    np.testing.assert_array_equal(
        evolving.predict(POINT, cosmology=own).xi, evolving.predict(POINT).xi
    )
    with pytest.raises(ValueError, match=r"Om0 = 0\.25, and not 0\.307"):
        evolving.predict(POINT, cosmology={"Om0": 0.25})
    with pytest.raises(ValueError, match=r"sigma8 = 0\.7, and not 0\.823"):
        evolving.predict_projected(POINT, BINS, 40.0, cosmology={"sigma8": 0.7})
