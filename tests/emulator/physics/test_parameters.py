import numpy as np
import pytest
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

from iaemu_likelihood.data_vectors.measurement import Measurement

DOMAIN = Domain.of()
POINT = [0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0]


def test_parameter_array_takes_array_mapping_and_names():
    named = dict(zip(DEFAULT_SPACE.names, POINT, strict=True))
    for given in (
        DEFAULT_SPACE.array(POINT),
        DEFAULT_SPACE.array(named),
        DEFAULT_SPACE.array(**named),
    ):
        np.testing.assert_array_equal(given, POINT)
    many = DEFAULT_SPACE.array({**named, "mu_cen": [0.1, 0.2]})
    assert many.shape == (2, 7)
    np.testing.assert_array_equal(many[:, 0], [0.1, 0.2])


def test_parameter_array_says_what_is_wrong():
    with pytest.raises(TypeError, match="missing: alpha; unknown: alfa"):
        DEFAULT_SPACE.array(**dict(zip([*DEFAULT_SPACE.names[:-1], "alfa"], POINT, strict=True)))
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        DEFAULT_SPACE.array([1, 2, 3])
    with pytest.raises(ValueError, match="logM0 in row 1 is nan"):
        DEFAULT_SPACE.array([POINT, [*POINT[:4], np.nan, *POINT[5:]]])


@pytest.mark.parametrize("shape", [(6,), (3, 8), (0, 7), (2, 1, 7)])
def test_wrong_shapes_are_errors_that_name_them(shape):
    with pytest.raises(
        ValueError, match=r"Expected shape \(7,\) or \(n, 7\).* got \(" + str(shape)[1:-1]
    ):
        DEFAULT_SPACE.array(np.zeros(shape))


@pytest.mark.parametrize("sample", ["sample1", "sample2", "sample3"])
def test_tng300_is_in_the_domain(sample):
    hod = Measurement.read(f"tng300.{sample}").metadata["hod"]
    assert DOMAIN.contains(DEFAULT_SPACE.array(mu_cen=0.5, mu_sat=0.0, **hod))


@pytest.mark.parametrize("design", ["sobol", "paper"])
def test_samples_fill_the_domain_and_follow_the_seed(design):
    theta = DOMAIN.sample(1000, 3, design)
    assert DOMAIN.contains(theta).all()
    assert (theta[:, 3] >= 0.05).all()
    np.testing.assert_array_equal(theta, DOMAIN.sample(1000, 3, design))
    assert not np.array_equal(theta, DOMAIN.sample(1000, 4, design))
    unit = DOMAIN.to_unit(theta[:, 2:])
    assert np.abs(unit).max() <= 1 + 1e-12
    for values in (unit, theta[:, :2]):
        assert (values.min(axis=0) < -0.98).all()
        assert (values.max(axis=0) > 0.98).all()
    np.testing.assert_allclose(DOMAIN.from_unit(unit), theta[:, 2:], rtol=1e-12)
    of_all = DOMAIN.to_unit(theta)
    np.testing.assert_array_equal(of_all[:, :2], theta[:, :2])
    np.testing.assert_array_equal(of_all[:, 2:], unit)


def test_paper_design_is_evenly_spaced_in_logMmin():
    logMmin = DOMAIN.sample(260, 0, "paper")[:, 2]
    np.testing.assert_allclose(np.diff(logMmin), 0.01, rtol=1e-9)
    assert logMmin.mean() == pytest.approx(12.7)


def test_sobol_design_is_denser_where_templates_bend_and_grows():
    theta = DOMAIN.sample(8192, 0)
    unit = DOMAIN.to_unit(theta[:, 2:])
    upper = (unit > 0).mean(axis=0)
    # Halves of linear densities 1 + t x: 1/2 + t/4.
    np.testing.assert_allclose(upper, [0.5, 0.45, 0.5 + 0.35 / 4, 0.5, 0.55], atol=2e-3)
    assert (np.abs(unit[:, 0]) > 0.5).mean() > 0.54
    np.testing.assert_allclose((theta[:, :2] > 0).mean(axis=0), 0.5, atol=1e-3)
    np.testing.assert_array_equal(DOMAIN.sample(100, 0), theta[:100])


def test_unknown_design_is_an_error():
    with pytest.raises(ValueError, match="sobol, paper; got 'grid'"):
        DOMAIN.sample(10, 0, "grid")


@pytest.mark.parametrize(
    ("index", "value"), [(0, 1.2), (1, -1.01), (2, 14.5), (3, 0.01), (4, 9.0), (5, 12.1), (6, 2.0)]
)
def test_check_names_parameter_value_and_range(index, value):
    point = np.array(POINT)
    point[index] = value
    assert not DOMAIN.contains(point)
    with pytest.raises(
        ValueError, match=rf"{DEFAULT_SPACE.names[index]} = {value:g} is outside .* \["
    ):
        DOMAIN.check(point)
    with pytest.raises(ValueError, match=r"\(row 1 of 2\)"):
        DOMAIN.check(np.array([POINT, point]))


def test_outer_limits_hold_the_domain_tightly():
    hod = DOMAIN.sample(4096, seed=0)[:, 2:]
    low, high = DOMAIN.outer_limits()
    assert (hod >= low[2:]).all()
    assert (hod <= high[2:]).all()
    np.testing.assert_allclose(hod.min(axis=0), low[2:], atol=0.15)
    np.testing.assert_allclose(hod.max(axis=0), high[2:], atol=0.15)


def test_dictionary_round_trip():
    assert Domain.from_dict(DOMAIN.to_dict()) == DOMAIN
