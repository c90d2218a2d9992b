"""A redshift and a cosmology that are stated with a prediction."""

import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM
from iaemu_likelihood.emulator.models import Emulator

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
