"""Tables of others."""

import numpy as np
import pytest
from astropy.table import Table
from iaemu_likelihood.emulator.reading import expanded, read_table

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
        ("- {Lbox: 80.0}", "- {Lbox: 80.0}\n# - {Lbox: 90.0}", "header has 'Lbox' 2 times"),
        ("{a: 1, b", "{a: 1, a: 2, b", "header has 'a' 2 times"),
        ("unit: kpc / h,", "unit: kpc / h, unit: Mpc,", "header has 'unit' 2 times"),
    ],
)
def test_sense_a_key_twice_is_refused(tmp_path, old, new, message):
    (tmp_path / "t.ecsv").write_text(ECSV.replace(old, new))
    with pytest.raises(ValueError, match=rf"t\.ecsv is not a readable ECSV table: its {message}"):
        read_table(tmp_path / "t.ecsv")


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


def test_names_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    assert str(expanded("~nobody-of-this-name/a")) == "~nobody-of-this-name/a"
    assert str(expanded("a~b")) == "a~b"
