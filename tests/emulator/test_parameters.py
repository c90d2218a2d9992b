import numpy as np
import pytest
from iaemu_likelihood.emulator.parameters import PARAMETERS, Domain, parameter_array

from iaemu_likelihood.measurement import Measurement

DOMAIN = Domain.zheng07()
POINT = [0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0]


def test_parameter_array_takes_array_mapping_and_names():
    named = dict(zip(PARAMETERS, POINT, strict=True))
    for given in (parameter_array(POINT), parameter_array(named), parameter_array(**named)):
        np.testing.assert_array_equal(given, POINT)
    many = parameter_array({**named, "mu_cen": [0.1, 0.2]})
    assert many.shape == (2, 7)
    np.testing.assert_array_equal(many[:, 0], [0.1, 0.2])


def test_parameter_array_says_what_is_wrong():
    with pytest.raises(TypeError, match="missing: alpha; unknown: alfa"):
        parameter_array(**dict(zip([*PARAMETERS[:-1], "alfa"], POINT, strict=True)))
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        parameter_array([1, 2, 3])
    with pytest.raises(ValueError, match="logM0 in row 1 is nan"):
        parameter_array([POINT, [*POINT[:4], np.nan, *POINT[5:]]])


@pytest.mark.parametrize("sample", ["sample1", "sample2", "sample3"])
def test_tng300_is_in_the_domain(sample):
    hod = Measurement.read(f"tng300.{sample}").metadata["hod"]
    assert DOMAIN.contains(parameter_array(mu_cen=0.5, mu_sat=0.0, **hod))


def test_samples_fill_the_domain_and_follow_the_seed():
    hod = DOMAIN.sample(1000, seed=3)
    theta = np.concatenate([np.zeros((1000, 2)), hod], axis=1)
    assert DOMAIN.contains(theta).all()
    assert (hod[:, 1] >= 0.05).all()
    np.testing.assert_array_equal(hod, DOMAIN.sample(1000, seed=3))
    assert not np.array_equal(hod, DOMAIN.sample(1000, seed=4))
    unit = np.concatenate(DOMAIN.to_unit(hod), axis=-1)
    assert np.abs(unit).max() <= 1 + 1e-12
    assert (unit.min(axis=0) < -0.99).all()
    assert (unit.max(axis=0) > 0.99).all()
    np.testing.assert_allclose(DOMAIN.from_unit(unit), hod, rtol=1e-12)


@pytest.mark.parametrize(
    ("index", "value"), [(0, 1.2), (1, -1.01), (2, 14.5), (3, 0.01), (4, 9.0), (5, 12.1), (6, 2.0)]
)
def test_check_names_parameter_value_and_range(index, value):
    point = np.array(POINT)
    point[index] = value
    assert not DOMAIN.contains(point)
    with pytest.raises(ValueError, match=rf"{PARAMETERS[index]} = {value:g} is outside .* \["):
        DOMAIN.check(point)
    with pytest.raises(ValueError, match=r"\(row 1 of 2\)"):
        DOMAIN.check(np.array([POINT, point]))


def test_outer_limits_hold_the_domain_tightly():
    hod = DOMAIN.sample(4096, seed=0)
    low, high = DOMAIN.outer_limits()
    assert (hod >= low[2:]).all()
    assert (hod <= high[2:]).all()
    np.testing.assert_allclose(hod.min(axis=0), low[2:], atol=0.15)
    np.testing.assert_allclose(hod.max(axis=0), high[2:], atol=0.15)


def test_dictionary_round_trip():
    assert Domain.from_dict(DOMAIN.to_dict()) == DOMAIN
