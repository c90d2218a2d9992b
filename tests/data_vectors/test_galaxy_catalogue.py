import logging
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from astropy import units
from astropy.table import MaskedColumn, Table, vstack
from iaemu_likelihood.data import sha256
from iaemu_likelihood.emulator.mocks import (
    HalotoolsIA,
    correlations,
    projected_jackknife,
    quadrupole_jackknife,
)
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.shapes import project
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS

from iaemu_likelihood.cli import main
from iaemu_likelihood.data_vectors.galaxy_catalogue import (
    AXIS,
    LINES_OF_SIGHT,
    POSITION,
    GalaxyCatalogue,
    log_edges,
)
from iaemu_likelihood.data_vectors.measurement import Measurement

POINT = [0.8, 0.3, 12.0, 0.26, 12.1, 12.9, 1.0]
BOX = 80.0


@pytest.fixture
def measure(tmp_path, monkeypatch, capsys):
    """The command of that name, run in the test's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    log = logging.getLogger("iaemu_likelihood.emulator")  # to which the command adds a handler
    monkeypatch.setattr(log, "handlers", [])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["iaemu", "measure", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=shown.out, stderr=shown.err)

    return run


@pytest.fixture(scope="module")
def mock(small_halos):
    galaxies = HalotoolsIA(small_halos).populate(POINT, seed=3)
    return Table({name: np.asarray(galaxies[name]) for name in (*POSITION, *AXIS)})


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    rows = np.hstack([rng.uniform(0, BOX, (300, 3)), rng.normal(size=(300, 3))])
    rows[:, 3:] /= np.linalg.norm(rows[:, 3:], axis=1, keepdims=True)
    return Table(rows, names=(*POSITION, *AXIS))


def read(table, tmp_path, name="galaxies.ecsv", box=BOX, **options):
    inside = {"path": "galaxies"} if name.endswith("hdf5") else {}
    table.write(tmp_path / name, overwrite=True, **inside)
    return GalaxyCatalogue.read(tmp_path / name, box, **options)


def write_plain_hdf5(table, path, group="/", units=None, **attributes):
    with h5py.File(path, "w") as file:
        node = file.require_group(group)
        for name in table.colnames:
            node[name] = np.asarray(table[name])
            if name in (units or {}):
                node[name].attrs["units"] = units[name]
        node.attrs.update(attributes)


def test_every_format_gives_the_same_catalogue(table, tmp_path):
    expected = np.stack([table[name] for name in (*POSITION, *AXIS)], axis=1)
    table.meta = {"Lbox": BOX}
    for name in ("g.ecsv", "g.csv", "g.fits", "g.hdf5", "G.H5"):
        if name.lower().endswith("5"):
            table.write(tmp_path / name, path="galaxies", serialize_meta=True, format="hdf5")
        else:
            table.write(tmp_path / name)
        got = GalaxyCatalogue.read(tmp_path / name, BOX if name == "g.csv" else None)
        np.testing.assert_allclose(np.hstack([got.positions, got.axes]), expected, rtol=1e-14)
        assert (got.name, got.box, got.n_normalised) == (name, BOX, 0)
        assert got.sha256 == sha256(tmp_path / name)
    write_plain_hdf5(table, tmp_path / "plain.hdf5", Lbox=[BOX] * 3)
    got = GalaxyCatalogue.read(tmp_path / "plain.hdf5")
    np.testing.assert_allclose(got.positions, expected[:, :3], rtol=0)
    assert got.box == BOX
    write_plain_hdf5(table, tmp_path / "group.hdf5", "a/b", box=BOX)
    got = GalaxyCatalogue.read(tmp_path / "group.hdf5", hdf5_path="a/b")
    np.testing.assert_allclose(got.positions, expected[:, :3], rtol=0)


def test_columns_are_found_by_name_in_any_order_and_type(table, tmp_path):
    expected = read(table, tmp_path)
    other = table[[*AXIS[::-1], *POSITION[::-1]]]
    other["label"] = "galaxy"
    for name in POSITION:
        other[name] = other[name].astype(">f4")
    got = read(other, tmp_path, "other.fits")
    np.testing.assert_allclose(got.positions, expected.positions, rtol=1e-6)
    np.testing.assert_allclose(got.axes, expected.axes, rtol=1e-14)
    other.rename_columns(other.colnames, [f"my_{name}" for name in other.colnames])
    names = {"position": [f"my_{k}" for k in POSITION], "axis": [f"my_{k}" for k in AXIS]}
    got = read(other, tmp_path, "mine.hdf5", **names)
    np.testing.assert_allclose(got.axes, expected.axes, rtol=1e-14)
    # x and z exchanged: another catalogue, rotated, with the same omega; axes left: not the same.
    edges = np.array([3.0, 10.0, 25.0])
    both = read(table, tmp_path, position=POSITION[::-1], axis=AXIS[::-1]).measure(edges)
    one = read(table, tmp_path, position=POSITION[::-1]).measure(edges)
    omega = expected.measure(edges).values["omega"]
    np.testing.assert_allclose(both.values["omega"], omega, atol=1e-12)
    assert np.abs(one.values["omega"] - omega).max() > 1e-4


def test_axes_of_other_lengths_are_normalised_and_counted(table, tmp_path):
    expected = read(table, tmp_path).axes
    for name in AXIS:
        table[name][:7] *= 3.0
        table[name][7] *= 1 + 1e-5  # rounding
        table[name].unit = "Mpc"  # the length says nothing
    got = read(table, tmp_path)
    assert got.n_normalised == 7
    np.testing.assert_allclose(got.axes, expected, rtol=1e-14)


@pytest.mark.filterwarnings("ignore:.*did not parse as fits unit")  # when the test writes it
@pytest.mark.parametrize(
    "unit", ["Mpc/h", "Mpc / h", "Mpc h-1", "h^-1 Mpc", "Mpc/littleh", "cMpc/h", "Mpc h**-1"]
)
def test_units_that_mean_mpc_over_h(table, tmp_path, unit):
    write_plain_hdf5(table, tmp_path / "g.hdf5", units=dict.fromkeys(POSITION, unit))
    assert GalaxyCatalogue.read(tmp_path / "g.hdf5", BOX).box == BOX
    for name in POSITION:
        table[name].unit = unit
    for name in ("g.ecsv", "g.fits"):
        assert read(table, tmp_path, name).box == BOX


@pytest.mark.filterwarnings("ignore:.*did not parse as fits unit")
@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("kpc/h", 1e3),
        ("ckpc/h", 1e3),
        ("Mpc", 1 / 0.7),
        ("kpc", 1e3 / 0.7),
        ("m", 3.0856775814914e22 / 0.7),
    ],
)
@pytest.mark.parametrize("name", ["g.ecsv", "g.fits", "g.hdf5"])
def test_units_of_positions_are_converted(table, tmp_path, name, unit, factor):
    expected = read(table, tmp_path, name).positions
    table["y"] *= factor
    table["y"].unit = unit
    for h in ("h", "HubbleParam", "H0"):
        meta = {h: 70.0 if h == "H0" else 0.7}
        if name == "g.hdf5":
            write_plain_hdf5(table, tmp_path / name, units={"y": unit}, **meta)
        else:
            table.meta = meta
            table.write(tmp_path / name, overwrite=True)
        got = GalaxyCatalogue.read(tmp_path / name, BOX).positions
        np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize("unit", ["Mpc", "kpc", "m"])
@pytest.mark.parametrize("name", ["g.ecsv", "g.fits", "g.hdf5"])
def test_units_without_h_take_the_h_of_the_file(table, tmp_path, name, unit):
    table["y"].unit = unit
    if name == "g.hdf5":
        write_plain_hdf5(table, tmp_path / name, units={"y": unit})
    else:
        table.write(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: y is in '{unit}', and its metadata do not s"):
        GalaxyCatalogue.read(tmp_path / name, BOX)


@pytest.mark.parametrize("unit", ["km/s", "Msun/h", "furlong", "mpc/h", "mag", "dex(Mpc)"])
def test_units_that_are_no_lengths_are_refused(table, tmp_path, unit):
    write_plain_hdf5(table, tmp_path / "g.hdf5", units={"z": unit})
    with pytest.raises(
        ValueError, match=r"g\.hdf5: z is in '.*'; expected 'Mpc/h', or a unit that"
    ):
        GalaxyCatalogue.read(tmp_path / "g.hdf5", BOX)


def test_units_of_quantities_and_of_the_box(table, tmp_path):
    expected = read(table, tmp_path).positions
    table.meta = {"h": 0.7, "Lbox": BOX / 0.7 * units.Mpc}
    for name in POSITION:
        table[name] = units.Quantity(table[name] / 0.7, units.Mpc)
    got = read(table, tmp_path, box=None)
    np.testing.assert_allclose(got.positions, expected, rtol=1e-14)
    assert got.box == pytest.approx(BOX, rel=1e-14)
    table.meta = {"h": 0.7, "Lbox": 1e3 * BOX, "units": {"Lbox": "kpc/h"}}
    assert read(table, tmp_path, box=None).box == BOX
    table.meta["h"] = 7.0
    with pytest.raises(ValueError, match="h in the metadata is 7; expected h, or H0 in km/s/Mpc"):
        read(table, tmp_path)


def test_units_of_axes_are_one(table, tmp_path):
    expected = read(table, tmp_path).axes
    table[AXIS[1]] *= 1000
    table[AXIS[0]].unit, table[AXIS[1]].unit, table[AXIS[2]].unit = "Mpc", "kpc", "Mpc"
    np.testing.assert_allclose(read(table, tmp_path).axes, expected, rtol=1e-13)
    table[AXIS[1]].unit = "s"
    with pytest.raises(ValueError, match="galaxy_axisA_y is in 's'; expected 'Mpc'"):
        read(table, tmp_path)


@pytest.mark.parametrize("h", [0.6774, 0.5, 0.8])
def test_sense_a_box_in_other_units_than_the_positions(table, tmp_path, h):
    for name in POSITION:
        table[name] *= h
    with pytest.raises(
        ValueError, match=r"do not fill the box, 0 to 80 Mpc/h: x from 0\.\d+ to \d+"
    ):
        read(table, tmp_path)


def test_sense_every_row_twice(table, tmp_path):
    """All rows again, a few again, and the same galaxies in another order."""
    rng = np.random.default_rng(1)
    for again, rows in (
        (table, "0 and 300"),
        (table[7:9], "7 and 300"),
        (table[rng.permutation(300)], r"0 and \d+"),
    ):
        with pytest.raises(ValueError, match=rf"rows {rows} are the same galaxy, with equal posit"):
            read(vstack([table, again]), tmp_path)
    # Coordinates with few digits are sometimes equal.
    for name in POSITION:
        table[name] = np.round(table[name])
    table["x"][3], table["y"][3], table["z"][3] = (table[name][4] for name in POSITION)
    assert len(read(table, tmp_path).positions) == 300


def test_sense_the_box_twice_with_different_values(table, tmp_path):
    table.meta = {"Lbox": 80.0, "LBOX": 90.0}
    with pytest.raises(
        ValueError, match=r"metadata say Lbox = 80.0 and LBOX = 90.0; remove the wr"
    ):
        read(table, tmp_path, box=None)
    table.meta = {"lbox": 80.0, "box": 90.0}
    with pytest.raises(ValueError, match=r"metadata say lbox = 80.0 and box = 90.0"):
        read(table, tmp_path, box=None)
    write_plain_hdf5(table, tmp_path / "g.hdf5", "a", Lbox=80.0)
    with h5py.File(tmp_path / "g.hdf5", "r+") as file:
        file.attrs["box"] = 90.0
    with pytest.raises(ValueError, match=r"metadata say Lbox = .*80.0.* and box = .*90.0"):
        GalaxyCatalogue.read(tmp_path / "g.hdf5", hdf5_path="a")
    table.meta = {"Lbox": 80.0, "LBOX": 80.0, "box": 80}
    assert read(table, tmp_path, box=None).box == 80.0


def test_positions_one_rounding_beyond_the_side_are_on_it(table, tmp_path):
    side = 0.1 + BOX
    table["x"][3] = np.nextafter(np.float32(side), np.float32(100))  # 7.6e-6 beyond
    table["y"][4] = -1e-6
    got = read(table, tmp_path, box=side).positions
    assert (got[3, 0], got[4, 1]) == (side, 0.0)
    table["y"][4] = -1e-3
    with pytest.raises(ValueError, match=r"y is -0.001 in row 4, outside the box"):
        read(table, tmp_path, box=side)


def test_boxes_that_are_not_from_zero_or_no_cubes_get_a_hint(table, tmp_path):
    centred = table.copy()
    for name in POSITION:
        centred[name] -= BOX / 2
    with pytest.raises(ValueError, match="seems to be centred on 0: add half its side"):
        read(centred, tmp_path)
    table["z"] *= 1.5
    with pytest.raises(ValueError, match="seems to be no cube: only cubic boxes can be used"):
        read(table, tmp_path)
    table.meta["Lbox"] = [80.0, 80.0, 120.0]
    with pytest.raises(
        ValueError, match=r"Lbox .* is \[80.0, 80.0, 120.0\]; .* equal ones, as of a c"
    ):
        read(table, tmp_path, box=None)


@pytest.mark.parametrize("name", ["g.ecsv", "g.fits", "g.hdf5", "plain.hdf5"])
def test_vector_columns_are_positions_and_axes(table, tmp_path, name):
    expected = read(table, tmp_path)
    vectors = Table({"Pos": np.stack([table[k] for k in POSITION], axis=1),
                     "Axis": np.stack([table[k] for k in AXIS], axis=1)})  # fmt: skip
    if name == "plain.hdf5":
        write_plain_hdf5(vectors, tmp_path / name, "Subhalo")
        got = GalaxyCatalogue.read(tmp_path / name, BOX, "Pos", "Axis", "Subhalo")
    else:
        got = read(vectors, tmp_path, name, position="Pos", axis="Axis")
    np.testing.assert_array_equal(got.positions, expected.positions)
    np.testing.assert_array_equal(got.axes, expected.axes)
    with pytest.raises(
        ValueError, match=r"x has shape \(300,\); expected three numbers per galaxy"
    ):
        read(table, tmp_path, position="x")
    vectors["Pos"][5, 2] = -3.0
    with pytest.raises(ValueError, match=r"Pos\[2\] is -3.0 in row 5, outside the box"):
        read(vectors, tmp_path, position="Pos", axis="Axis")


def test_csv_with_a_mark_of_its_byte_order(table, tmp_path):
    expected = read(table, tmp_path, "g.csv")
    text = (tmp_path / "g.csv").read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "m.csv").write_text(text, encoding=encoding)
        got = GalaxyCatalogue.read(tmp_path / "m.csv", BOX)
        np.testing.assert_array_equal(got.positions, expected.positions)


def test_names_with_a_tilde_are_below_the_home(table, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    read(table, tmp_path)
    assert GalaxyCatalogue.read("~/galaxies.ecsv", BOX).name == "galaxies.ecsv"


def test_under_the_hash_a_catalogue_holds_all_its_columns(table, tmp_path):
    write_plain_hdf5(table, tmp_path / "other.hdf5")
    write_plain_hdf5(table, tmp_path / "g.hdf5")
    with h5py.File(tmp_path / "g.hdf5", "r+") as file:
        del file["x"]
        file["x"] = h5py.ExternalLink("other.hdf5", "/x")
    with pytest.raises(
        ValueError, match=r"g\.hdf5.* /x is a link to '/x' in the file 'other.hdf5'"
    ):
        GalaxyCatalogue.read(tmp_path / "g.hdf5", BOX)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("y", np.nan, r"y is nan in row 4, outside the box, 0 to 80 Mpc/h; 1 such row"),
        ("x", np.inf, "x is inf in row 4"),
        ("z", -0.1, "z is -0.1 in row 4, outside the box"),
        ("z", 80.1, "z is 80.1 in row 4.*Check the box, the column and its unit"),
        (AXIS[1], np.nan, r"the axis \(galaxy_axisA_x, .*\) is \[.*nan.*\] in row 4; 1 row\(s\)"),
        (AXIS[1], np.inf, r"in row 4; 1 row\(s\) with a zero or not finite axis. Leave"),
    ],
)
def test_bad_values_name_column_and_row(table, tmp_path, column, value, message):
    table[column][4] = value
    with pytest.raises(ValueError, match=message):
        read(table, tmp_path)


def test_zero_axes_and_empty_cells(table, tmp_path):
    bad = table.copy()
    for name in AXIS:
        bad[name][[2, 9]] = 0
    with pytest.raises(ValueError, match=r"is \[0.0, 0.0, 0.0\] in row 2; 2 row\(s\) with a zero"):
        read(bad, tmp_path)
    for column, message in (("x", "x is nan in row 5"), (AXIS[0], "nan.* in row 5; 1 row")):
        masked = table.copy()
        masked[column] = MaskedColumn(masked[column], mask=np.arange(300) == 5)
        for name in ("g.csv", "g.ecsv", "g.fits"):
            with pytest.raises(ValueError, match=message):
                read(masked, tmp_path, name)


def test_swapped_and_wrong_columns(table, tmp_path):
    with pytest.raises(ValueError, match=r"galaxy_axisA_x is -.* outside the box"):
        read(table, tmp_path, position=AXIS, axis=POSITION)
    with pytest.raises(ValueError, match="need three different columns each"):
        read(table, tmp_path, position=("x", "y", "y"))
    with pytest.raises(ValueError, match=r"lacks the column\(s\) X; it has x, y, z, galaxy"):
        read(table, tmp_path, position=("X", "y", "z"))
    table["label"], table["vector"] = "galaxy", np.zeros((300, 2))
    with pytest.raises(ValueError, match=r"the column label does not hold numbers"):
        read(table, tmp_path, axis=("label", *AXIS[1:]))
    with pytest.raises(ValueError, match=r"vector has shape \(300, 2\); expected one number per"):
        read(table, tmp_path, axis=("vector", *AXIS[1:]))


def test_the_box(table, tmp_path):
    for box in (0.0, -80.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="expected a positive number"):
            read(table, tmp_path, box=box)
    with pytest.raises(ValueError, match=r"has no Lbox in its metadata: .* \(--box\)"):
        read(table, tmp_path, box=None)
    for box, message in (
        ("205 Mpc/h", "box in the metadata is '205 Mpc/h'; expected a finite number"),
        (True, "box in the metadata is True; expected a finite number"),
        (-3.0, "the side of the box is -3.0 Mpc/h; expected a positive number"),
        (80 * units.Mpc, "box is in 'Mpc', and its metadata do not say h"),
        (80 * units.s, "box is in 's'; expected 'Mpc/h'"),
    ):
        table.meta["box"] = box
        with pytest.raises(ValueError, match=message):
            read(table, tmp_path, box=None)


def test_files_that_cannot_be_read(table, tmp_path):
    with pytest.raises(FileNotFoundError, match="No galaxy catalogue at"):
        GalaxyCatalogue.read(tmp_path / "none.csv", BOX)
    (tmp_path / "g.pickle").write_bytes(b"")
    with pytest.raises(ValueError, match=r"unknown ending; expected .hdf5, .h5, .fits"):
        GalaxyCatalogue.read(tmp_path / "g.pickle", BOX)
    for name in ("g.hdf5", "g.fits", "g.ecsv"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(ValueError, match=f"{name} is not a readable .* table"):
            GalaxyCatalogue.read(tmp_path / name, BOX)
    with pytest.raises(ValueError, match="is not HDF5: there is no 'a' inside it"):
        read(table, tmp_path, hdf5_path="a")
    write_plain_hdf5(table, tmp_path / "g.hdf5", "a/b")
    with pytest.raises(ValueError, match="no 'c' inside; there are a"):
        GalaxyCatalogue.read(tmp_path / "g.hdf5", BOX, hdf5_path="c")
    with pytest.raises(ValueError, match=r"it has none. Name those .*, or their place inside"):
        GalaxyCatalogue.read(tmp_path / "g.hdf5", BOX)
    with h5py.File(tmp_path / "g.hdf5", "r+") as file:
        del file["a/b/x"]
        file["a/b/x"] = np.ones(3)
    with pytest.raises(ValueError, match=r"the columns differ in length: \{'x': 3, 'y': 300"):
        GalaxyCatalogue.read(tmp_path / "g.hdf5", BOX, hdf5_path="a/b")


def test_default_edges_are_those_of_the_emulator():
    np.testing.assert_array_equal(log_edges(0.1, 10**1.2, 20), R_EDGES)
    assert len(log_edges(1.0, 2.0, 100)) == 101
    numbers = (0, -3, 101, 10**9, 10**40)
    for bad in (
        (0.0, 1.0, 3), (-1.0, 1.0, 3), (1.0, 1.0, 3), (1.0, np.nan, 3), *((1.0, 2.0, n) for n in numbers),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="at least one, 100 at most, and 0 < r_min < r_max"):
            log_edges(*bad)


@pytest.mark.parametrize("periodic", [True, False])
def test_a_measurement_is_written_and_read_exactly(table, tmp_path, periodic):
    path = tmp_path / "m.ecsv"
    measured = read(table, tmp_path).measure(log_edges(4, 25, 4), 3, periodic)
    measured.write(path)
    assert not list(tmp_path.glob("*.part"))
    again = Measurement.read(path)
    for name in ("r_min", "r_max"):
        np.testing.assert_array_equal(getattr(again, name), getattr(measured, name))
    for name in ("values", "errors", "covariances"):
        got, expected = getattr(again, name), getattr(measured, name)
        assert list(got) == list(expected)
        for key in expected:
            np.testing.assert_array_equal(got[key], expected[key])
    assert (again.name, again.n_jackknife) == ("galaxies", 27)
    assert again.metadata["n_galaxies"] == 300
    assert (again.metadata["box"], again.metadata["n_side"]) == ("80 Mpc/h", 3)
    assert again.metadata["periodic"] is periodic
    assert again.metadata["catalogue_sha256"] == sha256(tmp_path / "galaxies.ecsv")
    full = again.covariance(list(DEFAULT_STATISTICS), "full")
    np.testing.assert_allclose(np.sqrt(np.diag(full)), np.concatenate(list(again.errors.values())))

    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="pass --overwrite to replace it"):
        measured.write(path)
    assert path.read_bytes() == before
    again.cut(4, 16).write(path, overwrite=True)
    assert len(Measurement.read(path).r_min) == 3


def test_only_some_statistics(table, tmp_path):
    galaxies, edges = read(table, tmp_path), log_edges(4, 25, 4)
    both = galaxies.measure(edges, 2, statistics=("eta", "xi"))
    whole = galaxies.measure(edges, 2)
    assert list(both.values) == list(both.errors) == ["eta", "xi"]
    for pair, block in both.covariances.items():
        np.testing.assert_allclose(block, whole.covariances[pair], rtol=1e-9, atol=1e-18)
    np.testing.assert_allclose(both.errors["eta"], whole.errors["eta"], rtol=1e-12)


def test_bundled_measurements_are_written_back(tmp_path):
    sample = Measurement.read("tng300.sample3")
    sample.write(tmp_path / "again.ecsv")
    again = Measurement.read(tmp_path / "again.ecsv")
    for metadata in (again.metadata, sample.metadata):
        metadata.pop("units")
    assert again.metadata == sample.metadata
    np.testing.assert_array_equal(
        again.covariance(["omega"], "full"), sample.covariance(["omega"], "full")
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["g.hdf5", "g.fits", "g.csv", "g.ecsv"])
def test_a_mock_of_known_parameters_end_to_end(mock, small_tabulation, measure, tmp_path, name):
    mock.meta = {"Lbox": BOX}
    hdf5 = {"path": "galaxies", "serialize_meta": True}
    mock.write(tmp_path / name, **(hdf5 if name == "g.hdf5" else {}))
    options = ["--box", BOX] if name == "g.csv" else []
    result = measure(name, *options, "--out", "m.ecsv", "--name", "mock")
    assert result.returncode == 0, result.stderr
    assert "mock: 3077 galaxies, errors from 27 jackknife regions" in result.stdout
    assert "12.303 to 15.849" in result.stdout
    assert result.stdout.endswith("m.ecsv\n")
    measured = Measurement.read(tmp_path / "m.ecsv")
    np.testing.assert_array_equal(measured.r_edges, R_EDGES)
    positions = np.stack([mock[k] for k in POSITION], axis=1)
    axes = np.stack([mock[k] for k in AXIS], axis=1)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)  # halotools leaves 1e-8
    direct = correlations(positions, axes, BOX)
    mu, hod = DEFAULT_SPACE.split(POINT)
    _, omega, _ = small_tabulation.templates(hod).correlations(*mu)
    assert tuple(measured.values) == DEFAULT_STATISTICS
    for name, values in measured.values.items():
        np.testing.assert_allclose(values, direct[name], rtol=1e-9, atol=1e-9)
    z = (measured.values["omega"] - omega) / measured.errors["omega"]
    assert 0.2 < np.mean(z**2) < 2
    assert np.abs(z).max() < 4


def test_options_and_errors_of_the_command(table, measure, tmp_path):
    table.rename_columns([*POSITION, *AXIS], list("abcdef"))
    for name in "def":
        table[name] *= 2
    write_plain_hdf5(table, tmp_path / "g.h5", "galaxies")
    columns = [v for k, c in zip(("x", "y", "z", "axis-x", "axis-y", "axis-z"), "abcdef", strict=True)
               for v in (f"--{k}", c)]  # fmt: skip
    options = [*columns, "--hdf5-path", "galaxies", "--box", BOX, "--out", "m.ecsv", "--r-min", 5,
               "--r-max", 20, "--bins", 3, "--jackknife", 2, "--no-periodic"]  # fmt: skip
    result = measure("g.h5", *options)
    assert result.returncode == 0, result.stderr
    assert "300 axes had another length than 1 and were normalised." in result.stdout
    measured = Measurement.read(tmp_path / "m.ecsv")
    assert (measured.name, measured.n_jackknife, len(measured.r_min)) == ("g", 8, 3)
    assert measured.metadata["periodic"] is False
    before = (tmp_path / "m.ecsv").read_bytes()
    for more, message in (
        ([], "m.ecsv exists; pass --overwrite to replace it."),
        (["--out", "g.h5", "--overwrite"], "g.h5 is the catalogue itself; give another --out."),
        (["--overwrite", "--r-max", 30], "must end below a third of the box, 26.6667 Mpc/h"),
        (
            ["--overwrite", "--r-min", 0.001],
            "2 of 3 bins hold no pair of galaxies: 0.001-0.02714, 0.02714-",
        ),
        (["--overwrite", "--jackknife", 6], "choose 2 to 5"),
    ):
        result = measure("g.h5", *options, *more)
        assert result.returncode == 1
        assert message in result.stderr
        assert "Traceback" not in result.stderr
        assert (tmp_path / "m.ecsv").read_bytes() == before


def test_the_command_takes_vector_columns_and_a_tilde(table, measure, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = read(table, tmp_path).measure(log_edges(5, 20, 3), 2)
    vectors = Table({"Pos": np.stack([table[k] for k in POSITION], axis=1),
                     "Axis": np.stack([table[k] for k in AXIS], axis=1)})  # fmt: skip
    write_plain_hdf5(vectors, tmp_path / "g.hdf5", "Subhalo", units={"Pos": "Mpc/h"}, BoxSize=1.0)
    result = measure("~/g.hdf5", "--position", "Pos", "--axis", "Axis", "--hdf5-path", "Subhalo", "--box",
                     BOX, "--out", "~/m.ecsv", "--r-min", 5, "--r-max", 20, "--bins", 3,
                     "--jackknife", 2)  # fmt: skip
    assert result.returncode == 0, result.stderr
    got = Measurement.read(tmp_path / "m.ecsv")
    for name, values in expected.values.items():
        np.testing.assert_array_equal(got.values[name], values)


RP_EDGES, PI_MAX = log_edges(2, 25, 3), 20.0


def with_shapes(table, side, q=0.5, ellipticity="distortion"):
    """Positions, and the shapes that galaxies show along a side of the box."""
    axes = np.stack([table[k] for k in AXIS], axis=1)
    shapes = project(axes, q, side, ellipticity)
    return Table([*(table[k] for k in POSITION), *shapes.T], names=(*POSITION, "e1", "e2"))


@pytest.mark.parametrize("line_of_sight", ["x", "y", "z", "all"])
def test_projected_statistics_of_axes_are_written_and_read_exactly(table, tmp_path, line_of_sight):
    galaxies = read(table, tmp_path, axis_ratio=0.5)
    measured = galaxies.measure_projected(RP_EDGES, PI_MAX, line_of_sight, n_side=2)
    sides = LINES_OF_SIGHT[line_of_sight]
    shapes = {side: project(galaxies.axes, 0.5, side) for side in sides}
    expected = projected_jackknife(galaxies.positions, shapes, BOX, RP_EDGES, PI_MAX, 2)
    assert tuple(measured.values) == ("w_gg", "w_gplus", "w_plusplus")
    for name, values in expected.items():
        np.testing.assert_array_equal(measured.values[name], values)
    assert measured.n_jackknife == expected.n_jackknife == (8 if line_of_sight == "all" else 4)
    measured.write(tmp_path / "m.ecsv")
    again = Measurement.read(tmp_path / "m.ecsv")
    assert again.conventions == measured.conventions == Conventions(PI_MAX, box=BOX)
    assert (again.separation, again.axis_ratio) == ("r_p", (0.5, 0.5))
    assert again.metadata["line_of_sight"] == ", ".join("xyz"[side] for side in sides)
    for name in ("values", "errors", "covariances"):
        for key, block in getattr(measured, name).items():
            np.testing.assert_array_equal(getattr(again, name)[key], block)
    whole = np.block([
        [again.covariances[a, b] for b in measured.values] for a in measured.values
    ])  # fmt: skip
    np.testing.assert_array_equal(whole, expected.covariance)


@pytest.mark.parametrize("side", [0, 1, 2])
@pytest.mark.parametrize("ellipticity", ["distortion", "epsilon"])
def test_shapes_on_the_sky_are_those_of_axes(table, tmp_path, side, ellipticity):
    table["q"] = np.linspace(0.3, 1, len(table))
    options = RP_EDGES, PI_MAX, "xyz"[side], ellipticity, False, 2
    of_axes = read(table, tmp_path, axis_ratio="q").measure_projected(*options)
    seen = read(with_shapes(table, side, table["q"], ellipticity), tmp_path, shape=("e1", "e2"))
    assert seen.axes is None
    of_shapes = seen.measure_projected(*options)
    for name, values in of_axes.values.items():
        np.testing.assert_allclose(of_shapes.values[name], values, rtol=1e-12)
        np.testing.assert_allclose(of_shapes.errors[name], of_axes.errors[name], rtol=1e-9)
    assert of_shapes.conventions == of_axes.conventions
    assert of_axes.conventions.ellipticity == ellipticity
    # Axis ratios that differ are no number that a model could take.
    assert of_axes.axis_ratio is None
    assert of_axes.metadata["mean_axis_ratio"] == pytest.approx(0.65)
    assert "mean_axis_ratio" not in of_shapes.metadata


@pytest.mark.parametrize("line_of_sight", ["y", "all"])
def test_responsivity_divides_each_shape(table, tmp_path, line_of_sight):
    galaxies = read(table, tmp_path, axis_ratio=0.5)
    plain, divided = (
        galaxies.measure_projected(RP_EDGES, PI_MAX, line_of_sight, None, choice, 2)
        for choice in (False, True)
    )
    e = [project(galaxies.axes, 0.5, side) for side in LINES_OF_SIGHT[line_of_sight]]
    R = 1 - np.mean([(one**2).sum(axis=1) for one in e]) / 2
    assert divided.conventions.responsivity == pytest.approx(R, rel=1e-14)
    assert plain.conventions.responsivity is None
    factors = {"w_gg": 1, "w_gplus": 1 / (2 * R), "w_plusplus": 1 / (2 * R) ** 2}
    for a, factor in factors.items():
        np.testing.assert_allclose(divided.values[a], factor * plain.values[a], rtol=1e-12)
        for b, other in factors.items():
            np.testing.assert_allclose(
                divided.covariances[a, b], factor * other * plain.covariances[a, b], rtol=1e-9
            )


@pytest.mark.parametrize("line_of_sight", ["x", "all"])
def test_a_quadrupole_is_written_and_read_exactly(table, tmp_path, line_of_sight):
    galaxies = read(table, tmp_path, axis_ratio=0.5)
    measured = galaxies.measure_quadrupole(RP_EDGES, line_of_sight, "epsilon", True, 2)
    sides, R = LINES_OF_SIGHT[line_of_sight], measured.conventions.responsivity
    shapes = {side: project(galaxies.axes, 0.5, side, "epsilon") / (2 * R) for side in sides}
    expected = quadrupole_jackknife(galaxies.positions, shapes, BOX, RP_EDGES, 2)
    np.testing.assert_allclose(measured.values["xi_gplus_2"], expected.xi_gplus_2, rtol=1e-12)
    measured.write(tmp_path / "m.ecsv")
    again = Measurement.read(tmp_path / "m.ecsv")
    assert (again.separation, again.conventions) == ("r", measured.conventions)
    assert again.conventions == Conventions(None, ellipticity="epsilon", responsivity=R, box=BOX)
    block = again.covariance(["xi_gplus_2"], "full")
    np.testing.assert_allclose(block, expected.covariance, rtol=1e-12)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("q", 0.0, r"q is 0.0 in row 7; expected the shorter .* above 0 and at most 1. 1 such row"),
        ("q", 1.2, "q is 1.2 in row 7"),
        ("q", np.nan, "q is nan in row 7"),
        ("e2", np.inf, r"the ellipticity \(e1, e2\) is \[.*, inf\] in row 7; 1 row\(s\) with a modulus"),
        ("e1", np.nan, r"the ellipticity \(e1, e2\) is \[nan, .*\] in row 7"),
        ("e1", 1.01, r"the ellipticity \(e1, e2\) is \[1.01, .*\] in row 7"),
    ],
)  # fmt: skip
def test_bad_shapes_name_column_and_row(table, tmp_path, column, value, message):
    table["q"] = np.full(len(table), 0.5)
    seen = with_shapes(table, 2)
    options = {"axis_ratio": "q"} if column == "q" else {"shape": ("e1", "e2")}
    bad = table if column == "q" else seen
    bad[column][7] = value
    with pytest.raises(ValueError, match=rf"galaxies\.ecsv: {message}"):
        read(bad, tmp_path, **options)


def test_what_projected_statistics_need(table, tmp_path):
    axes = read(table, tmp_path)
    with pytest.raises(ValueError, match=r"galaxies.ecsv has no axis ratios \(--axis-ratio, a col"):
        axes.measure_projected(RP_EDGES, PI_MAX)
    with pytest.raises(ValueError, match="line_of_sight is 'sky'; it must be one of x, y, z, all"):
        axes.measure_projected(RP_EDGES, PI_MAX, "sky")
    with pytest.raises(ValueError, match="ellipticity must be one of distortion, epsilon; got 'e'"):
        read(table, tmp_path, axis_ratio=0.5).measure_projected(RP_EDGES, PI_MAX, "z", "e")
    with pytest.raises(ValueError, match="pi_max is 40 Mpc/h; it must be above 0 and below half"):
        read(table, tmp_path, axis_ratio=0.5).measure_projected(RP_EDGES, 40.0, n_side=2)
    with pytest.raises(ValueError, match=r"axis_ratio is 2.0 in row 0; expected the shorter"):
        read(table, tmp_path, axis_ratio=2.0)
    for columns in (("e1",), ("e1", "e1"), ("e1", "x")):
        with pytest.raises(ValueError, match="shapes on the sky need two; got x, y, z, e1"):
            read(table, tmp_path, shape=columns)
    with pytest.raises(ValueError, match=r"lacks the column\(s\) e1, e2"):
        read(table, tmp_path, shape=("e1", "e2"))
    with pytest.raises(ValueError, match=r"lacks the column\(s\) q"):
        read(table, tmp_path, axis_ratio="q")
    table["q"] = np.ones((300, 2))
    with pytest.raises(ValueError, match=r"q has shape \(300, 2\); expected one number per galaxy"):
        read(table, tmp_path, axis_ratio="q")

    seen = read(with_shapes(table, 2), tmp_path, shape=("e1", "e2"))
    with pytest.raises(ValueError, match=r"How are the ellipticities of galaxies.ecsv defined?"):
        seen.measure_projected(RP_EDGES, PI_MAX)
    with pytest.raises(
        ValueError, match=r"seen along one line of sight: x, y or z. All three take"
    ):
        seen.measure_projected(RP_EDGES, PI_MAX, "all", "distortion")
    with pytest.raises(
        ValueError, match="was read for shapes on the sky; xi, omega, eta need axes"
    ):
        seen.measure(RP_EDGES)
    with pytest.raises(ValueError, match="Axis ratios belong to axes, not to shapes on the sky"):
        read(with_shapes(table, 2), tmp_path, shape=("e1", "e2"), axis_ratio=0.5)


def test_projected_statistics_by_the_command(mock, measure, tmp_path):
    mock["q"] = np.full(len(mock), 0.6)
    mock.meta = {"Lbox": BOX}
    mock.write(tmp_path / "g.ecsv")
    bins = ["--r-min", 0.5, "--r-max", 20, "--bins", 5]
    options = ["--out", "m.ecsv", "--projected", "--pi-max", PI_MAX, "--axis-ratio", "q", *bins]
    result = measure("g.ecsv", *options, "--jackknife", 4)
    assert result.returncode == 0, result.stderr
    assert "g: 3077 galaxies, errors from 16 jackknife regions" in result.stdout
    assert "r_p [Mpc/h]" in result.stdout
    measured = Measurement.read(tmp_path / "m.ecsv")
    galaxies = GalaxyCatalogue.read(tmp_path / "g.ecsv", axis_ratio=0.6)
    expected = galaxies.measure_projected(log_edges(0.5, 20, 5), PI_MAX, n_side=4)
    for name, values in expected.values.items():
        np.testing.assert_array_equal(measured.values[name], values)
    assert measured.conventions == Conventions(PI_MAX, box=BOX)
    assert measured.axis_ratio == (0.6, 0.6)
    # Centrals and satellites of this mock point along and towards their hosts.
    assert (measured.values["w_gplus"][:3] > 0).all()

    result = measure("g.ecsv", *options, "--line-of-sight", "all", "--responsivity", "--ellipticity",
                     "epsilon", "--jackknife", 3, "--axis-ratio", 0.6, "--overwrite")  # fmt: skip
    assert result.returncode == 0, result.stderr
    measured = Measurement.read(tmp_path / "m.ecsv")
    assert (measured.n_jackknife, measured.metadata["line_of_sight"]) == (27, "x, y, z")
    assert measured.conventions.ellipticity == "epsilon"
    assert 0.9 < measured.conventions.responsivity < 1

    seen = with_shapes(mock, 0, 0.6)
    seen.meta = {"Lbox": BOX}
    seen.write(tmp_path / "s.ecsv")
    shapes = [
        "--out",
        "s_m.ecsv",
        "--projected",
        "--pi-max",
        PI_MAX,
        "--e1",
        "e1",
        "--e2",
        "e2",
        *bins,
    ]
    more = ["--line-of-sight", "x", "--ellipticity", "distortion", "--jackknife", 4]
    result = measure("s.ecsv", *shapes, *more)
    assert result.returncode == 0, result.stderr
    expected = galaxies.measure_projected(log_edges(0.5, 20, 5), PI_MAX, "x", n_side=4)
    measured = Measurement.read(tmp_path / "s_m.ecsv")
    # halotools' axes are unit vectors to single precision.
    np.testing.assert_allclose(measured.values["w_gplus"], expected.values["w_gplus"], rtol=1e-5)

    result = measure("g.ecsv", "--out", "q.ecsv", "--quadrupole", "--axis-ratio", "q", *bins)
    assert result.returncode == 0, result.stderr
    measured = Measurement.read(tmp_path / "q.ecsv")
    assert (measured.separation, tuple(measured.values)) == ("r", ("xi_gplus_2",))
    assert (measured.n_jackknife, measured.axis_ratio) == (27, (0.6, 0.6))

    out = ["--out", "other.ecsv", *bins]
    for arguments, message in (
        (["g.ecsv", *out, "--pi-max", 20], "--projected and --pi-max, in Mpc/h, belong together."),
        (["g.ecsv", *out, *options[2:], "--quadrupole"], "--projected is in bins of r_p, --quadrupole in"),
        (["g.ecsv", *out, "--quadrupole", "--no-periodic"], "--projected and --quadrupole take a per"),
        (["g.ecsv", *out, "--e1", "a", "--responsivity"], "--e1, --responsivity can be given with"),
        (["g.ecsv", *out, "--projected"], "--projected and --pi-max, in Mpc/h, belong together."),
        (["g.ecsv", *out, *options[2:], "--no-periodic"], "--projected and --quadrupole take a periodic box: how many"),
        (["s.ecsv", *out, *shapes[2:7], *more], "Shapes on the sky take both --e1 and --e2."),
        (["s.ecsv", *out, *shapes[2:]], "How are the ellipticities of s.ecsv defined?"),
    ):  # fmt: skip
        result = measure(*arguments)
        assert result.returncode == 1
        assert message in " ".join(result.stderr.split())
        assert not (tmp_path / "other.ecsv").exists()
