"""Units that files declare: what is converted, by how much, and what is refused."""

import numpy as np
import pytest
from astropy import units
from astropy.cosmology.units import littleh
from astropy.table import Column, MaskedColumn
from iaemu_likelihood.emulator.units import LENGTH, MASS, NUMBER, SPEED, FileMetadata, product

H = 0.6774


@pytest.mark.parametrize(
    ("unit", "wanted", "factor"),
    [
        *(
            (text, LENGTH, 1.0)
            for text in ("Mpc/h", "h^-1 Mpc", "Mpc/littleh", "cMpc/h", "Mpccm/h")
        ),
        *((text, LENGTH, 1e-3) for text in ("kpc/h", "ckpc/h", "kpc h-1", "kpccm/h")),
        ("Mpc", LENGTH, H),
        ("kpc", LENGTH, 1e-3 * H),
        ("cm", LENGTH, H / 3.0856775814913674e24),
        ("Mpc/h2", LENGTH, 1 / H),
        ("Mpc2/h2", "Mpc2/h2", 1.0),
        ("kpc2/h2", "Mpc2/h2", 1e-6),
        ("Mpc2", "Mpc2/h2", H**2),
        ("Mpc2/h", "Mpc2/h2", H),
        ("Msun/h", MASS, 1.0),
        ("1e10 Msun/h", MASS, 1e10),
        ("10^10 Msun", MASS, 1e10 * H),
        ("g", MASS, H / 1.988409870698051e33),
        ("km/s", SPEED, 1.0),
        ("m/s", SPEED, 1e-3),
        ("km/h", SPEED, 1 / 3600),  # here an hour is one
        ("percent", NUMBER, 1e-2),
        ("%", NUMBER, 1e-2),
        ("1", NUMBER, 1.0),
    ],
)
def test_units_by_column_and_by_metadata(unit, wanted, factor):
    values = np.array([1.0, 2.5])
    by_column = FileMetadata("f", {"h": H}).column({"x": Column(values, unit=unit)}, "x", wanted)
    by_metadata = FileMetadata("f", {"H0": 100 * H, "units": {"x": unit}})
    for got in (by_column, by_metadata.column({"x": values}, "x", wanted)):
        np.testing.assert_allclose(got, factor * values, rtol=1e-9)
        if factor == 1:
            np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize(
    ("quantity", "wanted", "value"),
    [
        (80 * units.Mpc / littleh, LENGTH, 80.0),
        (80e3 * units.kpc / littleh, LENGTH, 80.0),
        (80 * units.Mpc, LENGTH, 80.0 * H),
        (2e10 * units.solMass / littleh, MASS, 2e10),
    ],
)
def test_units_of_astropy(quantity, wanted, value):
    found = FileMetadata("f", {"Value": quantity, "little_h": H})
    assert found.number("value", unit=wanted) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("mpc/h", LENGTH),  # a thousandth of a parsec, which nobody means
        ("Mpc/s", LENGTH),
        ("Mpc2/h", LENGTH),
        ("code_length", LENGTH),
        ("dex(solMass)", MASS),
        ("mag", NUMBER),
        ("h", NUMBER),
        ("km", SPEED),
        ("(", LENGTH),
        ("", LENGTH),
        ("1", MASS),
    ],
)
def test_units_that_are_refused_name_column_and_unit(unit, wanted):
    found = FileMetadata("f.fits", {"h": H, "units": {"x": unit}})
    with pytest.raises(
        ValueError, match=rf"f\.fits: x is in .*; expected '{wanted}', or a unit that"
    ):
        found.column({"x": np.ones(2)}, "x", wanted)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            {},
            "do not say h, which takes it to 'Mpc/h'. Add h to the metadata, or convert the numbers",
        ),
        ({"h": 68.0, "hubble": 0.7}, "different values of h: {'h': 0.68, 'hubble': 0.7}"),
        ({"h": "0.7"}, "h in the metadata is '0.7'; expected a finite number"),
        ({"h": np.nan}, "h in the metadata is nan; expected a finite number"),
        ({"HUBBLE": 0.0}, "hubble in the metadata is 0; expected h, or H0 in km/s/Mpc"),
        ({"h": 0.7, "H": 0.68}, "metadata say h = 0.7 and H = 0.68; remove the wrong one"),
    ],
)
def test_units_without_h_need_one_value_of_it(metadata, message):
    found = FileMetadata("f", {"units": {"x": "Mpc"}, **metadata})
    with pytest.raises(ValueError, match=message):
        found.column({"x": np.ones(2)}, "x", LENGTH)


def test_h_as_a_quantity():
    h = FileMetadata("f", {"H0": 67.74 * units.km / units.s / units.Mpc}).h
    assert h == pytest.approx(H)
    assert FileMetadata("f", {"h0": H, "HubbleParam": 67.74}).h == pytest.approx(H)
    assert FileMetadata("f", {"h": H * units.one, "units": {"h": "1"}}).h == H


def test_numbers_keep_their_type_but_not_their_byte_order():
    for kind in ("<f4", ">f4", "<f8", ">f8"):
        got = FileMetadata("f").column({"x": np.array([1.5, 2.5], kind)}, "x", LENGTH)
        assert got.dtype == np.dtype(kind).newbyteorder("=")
        assert got.dtype.isnative
        assert got.tolist() == [1.5, 2.5]
    masked = MaskedColumn([1, 2], mask=[True, False])
    got = FileMetadata("f").column({"x": masked}, "x", LENGTH)
    np.testing.assert_array_equal(got, [np.nan, 2.0])


def test_units_without_a_dimension_are_none_of_a_length():
    for x in (Column([0.5], unit=""), Column([0.5], unit=units.dimensionless_unscaled)):
        with pytest.raises(ValueError, match="f: x is in '1'; expected 'Mpc/h', or a unit that"):
            FileMetadata("f").column({"x": x}, "x", LENGTH)


@pytest.mark.parametrize("values", [[[0.1]], [[1.0, 1.0]], []])
def test_sense_one_number_is_one(values):
    with pytest.raises(ValueError, match=r"f: x in the metadata is .*; expected a finite number"):
        FileMetadata("f", {"x": values}).number("x")
    assert FileMetadata("f", {"x": [80.0, 80.0]}).number("x") == 80.0


@pytest.mark.parametrize("values", [["1", "2"], [True, False], [1j, 2j], [None, 2.0]])
def test_what_is_no_number_is_refused(values):
    with pytest.raises(ValueError, match="f: the column x does not hold numbers, but "):
        FileMetadata("f").column({"x": np.array(values)}, "x", LENGTH)
    with pytest.raises(ValueError, match=r"f: x in the metadata is .*; expected a finite number"):
        FileMetadata("f", {"x": values}).number("x")


def test_keys_are_found_in_any_case_and_may_not_differ():
    found = FileMetadata("f", {"LBOX": 80.0}, {"Lbox": 80.0, "name": b"bytes"})
    assert found.number("Lbox", "box") == 80.0
    assert (found.get("NAME"), found.get("none"), found.number("none")) == ("bytes", None, None)
    with pytest.raises(
        ValueError, match=r"f: its metadata say LBOX = 80.0 and lbox = \[80.0, 90.0\]"
    ):
        FileMetadata("f", {"LBOX": 80.0}, {"lbox": [80.0, 90.0]}).number("Lbox")
    # A key that nobody asks for may.
    FileMetadata("f", {"author": "a", "Author": "b", "x": 1}).number("x")


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((), NUMBER),
        (("", ""), NUMBER),
        ((LENGTH,), LENGTH),
        ((LENGTH, ""), LENGTH),
        ((NUMBER, LENGTH), LENGTH),
        ((LENGTH, LENGTH), "Mpc2 / h2"),
    ],
)
def test_products_of_units(factors, expected):
    assert product(*factors) == expected
