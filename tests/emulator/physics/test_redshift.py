"""Redshifts of snapshots: coordinates, weights, and the domain at each."""

import numpy as np
import pytest
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.redshift import Redshifts

KNOWN = Redshifts((0.0, 0.3, 1.0), (14.0, 13.8, 13.5))


def test_coordinates_fill_the_interval_and_go_back():
    assert np.allclose(KNOWN.unit([0.0, 1.0]), [-1, 1])
    assert KNOWN.unit(np.sqrt(2) - 1) == pytest.approx(0)  # ln(1 + z) half way
    z = np.linspace(0, 1, 7)
    np.testing.assert_allclose(KNOWN.from_unit(KNOWN.unit(z)), z, atol=1e-12)


def test_weights_are_those_of_the_two_neighbours():
    weights = KNOWN.weights([0.0, 0.3, np.sqrt(1.3 * 2) - 1, 1.0])
    np.testing.assert_allclose(
        weights, [[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]], atol=1e-12
    )


def test_the_domain_ends_lower_at_higher_redshift():
    whole = Domain.of()
    ends = [KNOWN.domain(whole, z).bands.first for z in (0.0, 0.3, 1.0)]
    assert ends == [(11.4, 14.0), (11.4, 13.8), (11.4, 13.5)]
    hod = whole.from_unit(np.random.default_rng(0).uniform(-1, 1, (200, 5)))
    moved = KNOWN.narrowed(whole, hod, np.full(200, 1.0))
    at_one = KNOWN.domain(whole, 1.0)
    assert (np.abs(at_one.to_unit(moved)) <= 1 + 1e-9).all()
    # They fill it: places in the bands are kept, those along the first parameter are compressed.
    np.testing.assert_allclose(at_one.to_unit(moved), whole.to_unit(hod), atol=1e-9)
    np.testing.assert_allclose(KNOWN.narrowed(whole, hod, np.zeros(200)), hod, atol=1e-9)


def test_a_card_keeps_them():
    assert Redshifts.from_dict(KNOWN.to_dict()) == KNOWN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"values": [0.0]}, "must be a mapping"),
        ([0.0, 0.5], "must be a mapping"),
        ({"values": ["0"], "highest": [1.0]}, "values is .*must list numbers"),
        ({"values": [0.0, 0.0], "highest": [1.0, 1.0]}, "must be ascending"),
        ({"values": [0.0, 0.5], "highest": [1.0]}, "a limit for each"),
        ({"values": [], "highest": []}, "must be ascending"),
        ({"values": [-1.0], "highest": [1.0]}, "must be ascending"),
    ],
)
def test_impossible_ones_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        Redshifts.from_dict(content)
