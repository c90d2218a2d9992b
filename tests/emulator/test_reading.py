"""Tables of others."""

import h5py
import numpy as np
import pytest
from astropy import units
from astropy.cosmology.units import littleh
from astropy.table import Column, Table
from iaemu_likelihood.emulator.reading import expanded, read_table
from iaemu_likelihood.emulator.units import LENGTH

ECSV = """# %ECSV 1.0
# ---
# datatype:
# - {name: x, unit: kpc / h, datatype: float64}
# - {name: y, datatype: float64}
# meta: !!omap
# - {Lbox: 80.0}
# - {more: {a: 1, b: [1, 2]}}
# schema: astropy-2.0
x y
1.0 2.0
3.0 4.0
"""


@pytest.mark.parametrize("name", ["t.ecsv", "t.csv", "t.fits", "t.hdf5", "t.vot"])
def test_every_format_gives_the_same_numbers(tmp_path, name):
    table = Table({"x": [1.5, 2.5], "v": [[1.0, 2.0], [3.0, 4.0]]})
    if name == "t.csv":
        table.remove_column("v")
    options = {"t.hdf5": {"path": "a"}, "t.vot": {"format": "votable"}}.get(name, {})
    table.write(tmp_path / name, **options)
    columns, metadata = read_table(tmp_path / name)
    for column in table.colnames:
        np.testing.assert_array_equal(metadata.column(columns, column, "1"), table[column])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_of_byte_order_are_no_part_of_a_name(tmp_path, encoding):
    for name, text in (("t.csv", "x,y\n1,2\n3,4\n"), ("t.ecsv", ECSV)):
        (tmp_path / name).write_text(text, encoding=encoding)
        columns, _ = read_table(tmp_path / name)
        assert list(columns) == ["x", "y"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "- {Lbox: 80.0}",
            "- {Lbox: 80.0}\n# - {Lbox: 90.0}",
            "the key 'Lbox' is there 2 times; re",
        ),
        ("{a: 1, b", "{a: 1, a: 2, b", "the key 'a' is there 2 times"),
        ("unit: kpc / h,", "unit: kpc / h, unit: Mpc,", "the key 'unit' is there 2 times"),
    ],
)
def test_sense_a_key_twice_is_refused(tmp_path, old, new, message):
    (tmp_path / "t.ecsv").write_text(ECSV.replace(old, new))
    with pytest.raises(ValueError, match=rf"t\.ecsv is not a readable ECSV table: {message}"):
        read_table(tmp_path / "t.ecsv")


@pytest.mark.parametrize("again", ["x", "y"])
def test_sense_a_column_twice_is_refused(tmp_path, again):
    header = ECSV.replace(
        "{name: y,", f"{{name: {again}, format: f, datatype: float64}}\n# - {{name: y,"
    )
    (tmp_path / "t.ecsv").write_text(
        header.replace("x y\n1.0", f"x {again} y\n1.0 5.0").replace("3.0", "3.0 6.0")
    )
    with pytest.raises(
        ValueError, match=rf"t\.ecsv .*: the column '{again}' is there 2 times; remove"
    ):
        read_table(tmp_path / "t.ecsv")
    (tmp_path / "t.csv").write_text(f"\nx, y,{again}\n1,2,3\n")
    with pytest.raises(
        ValueError, match=rf"t\.csv .*: the column '{again}' is there 2 times; remove"
    ):
        read_table(tmp_path / "t.csv")


def test_a_key_without_a_value_is_none(tmp_path):
    table = Table({"x": [1.0]}, meta={"Lbox": None, "h": 0.7})
    for name in ("t.fits", "t.ecsv"):
        table.write(tmp_path / name)
        _, metadata = read_table(tmp_path / name)
        assert (metadata.number("Lbox"), metadata.number("h")) == (None, 0.7)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.abort []",
        "!!python/name:os.abort",
        "!astropy.units.Unit {unit: !!python/name:os.abort }",
        "!numpy.ndarray {buffer: 1, dtype: O, order: C, shape: [1]}",
        "&a [*a]",
    ],
)
def test_data_are_no_code_tags_of_a_header(tmp_path, value):
    """They are refused by astropy's reader, whose loader is a safe one, or stay plain lists."""
    (tmp_path / "t.ecsv").write_text(ECSV.replace("{a: 1, b: [1, 2]}", value))
    if value == "&a [*a]":
        read_table(tmp_path / "t.ecsv")
        return
    with pytest.raises(ValueError, match=r"t\.ecsv is not a readable ECSV table"):
        read_table(tmp_path / "t.ecsv")


@pytest.mark.parametrize("n", range(1, len(ECSV) - 20, 13))
def test_no_raw_traceback_for_a_header_that_ends_early(tmp_path, n):
    (tmp_path / "t.ecsv").write_text(ECSV[:n])
    with pytest.raises(ValueError, match=r"t\.ecsv is not a readable ECSV table: ") as caught:
        read_table(tmp_path / "t.ecsv")
    assert "unpack" not in str(caught.value)
    assert "object" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["linked.hdf5", "linked.hdf", "linked"])
def test_under_the_hash_whatever_an_hdf5_file_is_called(tmp_path, name):
    Table({"x": [1.0, 2.0]}).write(tmp_path / "other.hdf5", path="a")
    with h5py.File(tmp_path / name, "w") as file:
        file["a"] = h5py.ExternalLink("other.hdf5", "/a")
    with pytest.raises(ValueError, match=r"/a is a link to '/a' in the file 'other\.hdf5'"):
        read_table(tmp_path / name)
    (tmp_path / "other.hdf5").rename(tmp_path / name)
    columns, _ = read_table(tmp_path / name)
    assert columns["x"].tolist() == [1.0, 2.0]


def test_names_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    assert str(expanded("~nobody-of-this-name/a")) == "~nobody-of-this-name/a"
    assert str(expanded("a~b")) == "a~b"


@pytest.mark.parametrize("enabled", [[], [littleh]])
def test_a_unit_with_littleh_is_one_that_astropy_knows(enabled, tmp_path):
    """Among thousands of names it would look for one like it, for every column."""
    path = tmp_path / "table.ecsv"
    with units.add_enabled_units([littleh]):
        Table({"r": Column([1.0, 2.0], unit="Mpc / littleh")}).write(path)
    with units.add_enabled_units(enabled):
        columns, metadata = read_table(path)
    assert isinstance(columns["r"].unit, units.CompositeUnit)
    np.testing.assert_array_equal(metadata.column(columns, "r", LENGTH), [1.0, 2.0])
