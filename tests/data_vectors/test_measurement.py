from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.cosmology.units import littleh
from astropy.table import QTable, Table
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.shapes import mean_square

from iaemu_likelihood.data_vectors.measurement import Measurement

HOD = {"alpha": 1.0, "logM0": 12.68, "logM1": 13.48, "logMmin": 12.54, "sigma_logM": 0.26}


@pytest.fixture
def table():
    return Table.read(bundled("tng300/sample3.ecsv"))


def read(table, tmp_path):
    table.write(tmp_path / "m.ecsv", overwrite=True)
    return Measurement.read(tmp_path / "m.ecsv")


@pytest.mark.parametrize("k", [1, 2, 3])
def test_bundled_samples(k):
    m = Measurement.read(f"tng300.sample{k}")
    assert m.r_min.shape == (14,)
    np.testing.assert_allclose(m.r_edges, np.logspace(-1, 1.5, 15), rtol=1e-6)
    assert m.n_jackknife == 27
    assert set(m.values) == {"xi", "omega", "eta"}
    assert any("2311.07374" in citation for citation in m.metadata["citation"])
    cut = m.cut(0.1, 15.85)
    assert len(cut.r_min) == 12
    np.testing.assert_array_equal(cut.covariance(["omega"]), np.diag(m.errors["omega"][:12] ** 2))


@pytest.mark.parametrize(
    ("name", "redshift", "density", "published"),
    [
        # First and last of w_gg, third of w_g+ with its error, and a covariance between the two.
        ("projected_z0", 0, 0.0133, (279.775, -0.729604, 1.17616, 0.062067, 0.20874)),
        ("projected_z0300", 0.3, 0.0133, (249.105, -0.643771, 1.10075, 0.0716853, 0.377775)),
        ("projected_z0625", 0.625, 0.013, (215.612, -0.543225, 1.25871, 0.0700314, 0.135727)),
        ("projected_z1000", 1, 0.0123, (201.65, -0.428195, 1.29085, 0.0746107, 0.175414)),
    ],
)
def test_bundled_projected_statistics(name, redshift, density, published):
    m = Measurement.read(f"tng300.{name}")
    np.testing.assert_allclose(m.r_edges, np.geomspace(0.1, 68, 13), rtol=1e-5)
    assert m.separation == "r_p"
    assert m.metadata["redshift"] == redshift
    assert m.metadata["number_density"] == density
    assert m.conventions == Conventions(pi_max=68.0, ellipticity="distortion", box=205.0)
    assert any("2009.10735" in citation for citation in m.metadata["citation"])
    found = (
        *m.values["w_gg"][[0, -1]],
        m.values["w_gplus"][2],
        m.errors["w_gplus"][2],
        m.covariances["w_gg", "w_gplus"][0, 2],
    )
    assert found == published
    full = m.covariance(["w_gg", "w_gplus", "w_plusplus"], "full")  # 64 regions for 36 points
    errors = np.concatenate(list(m.errors.values()))
    np.testing.assert_allclose(np.sqrt(np.diag(full)), errors, rtol=1e-5)
    # The axis ratio is that of prolate galaxies with the published rms of a component.
    rms = {0: 0.148, 0.3: 0.154, 0.625: 0.161, 1: 0.168}[redshift]
    assert mean_square(m.axis_ratio[0]) == pytest.approx(2 * rms**2, rel=0.01)


def test_full_covariance_of_sample_3():
    m = Measurement.read("tng300.sample3").cut(0.1, 15.85)
    full = m.covariance(["omega"], "full")
    np.testing.assert_allclose(np.sqrt(np.diag(full)), m.errors["omega"], rtol=1e-6)
    assert full[0, 1] != 0
    with pytest.raises(ValueError, match="holds no covariance of xi and xi"):
        m.covariance(["xi"], "full")
    with pytest.raises(ValueError, match="holds no covariance of omega and omega"):
        Measurement.read("tng300.sample1").covariance(["omega"], "full")
    with pytest.raises(ValueError, match="needs n_jackknife"):
        replace(m, n_jackknife=None).covariance(["omega"], "full")
    with pytest.raises(ValueError, match="12 jackknife regions cannot give"):
        replace(m, n_jackknife=12).covariance(["omega"], "full")


def test_data_vector_of_several_statistics():
    m = Measurement.read("tng300.sample2")
    vector = m.data_vector(["eta", "xi"])
    np.testing.assert_array_equal(vector[:14], m.values["eta"])
    np.testing.assert_array_equal(vector[14:], m.values["xi"])
    assert m.covariance(["eta", "xi"]).shape == (28, 28)
    with pytest.raises(ValueError, match="xi, omega, eta; got gamma"):
        m.data_vector(["gamma"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("omega", np.nan, r"omega bin 4 \(0.5179 to 0.7814 Mpc/h\) is nan; expected a finite"),
        ("omega_err", 0.0, r"omega_err bin 4 \(.*\) is 0.0; expected a positive, finite"),
        ("omega_err", -1.0, r"omega_err bin 4 \(.*\) is -1.0"),
        # Their squares, or the inverses of these, are 0, infinite, or have lost digits.
        ("omega_err", 1e-162, r"omega_err bin 4 \(.*\) is 1e-162; .*can be squared \(1e-140 to 1e"),
        ("omega", 1e200, r"omega bin 4 \(.*\) is 1e\+200; expected a finite number, below 1e\+140"),
        ("omega_err", 1e-155, r"omega_err bin 4 \(.*\) is 1e-155"),
        ("omega_err", 1e200, r"omega_err bin 4 \(.*\) is 1e\+200"),
    ],
)
def test_sense_bad_values_name_column_and_bin(table, tmp_path, column, value, message):
    table[column][4] = value
    measured = read(table, tmp_path)
    with pytest.raises(ValueError, match=message):
        measured.data_vector(["omega"]), measured.covariance(["omega"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("r_max", 0.9, "ascending order without overlap"),
        ("r_max", 0.1, "ascending order without overlap"),
        ("r_min", np.nan, "r_min is nan in bin 4; expected a finite number, 0 or more"),
        ("r_min", -0.2, "r_min is -0.2 in bin 4"),
        ("r_max", np.inf, "r_max is inf in bin 4"),
    ],
)
def test_sense_bad_bins_are_named(table, tmp_path, column, value, message):
    table[column][4] = value
    with pytest.raises(ValueError, match=rf"m\.ecsv: .*{message}"):
        read(table, tmp_path)


def test_sense_a_measurement_has_rows(table, tmp_path):
    del table["omega_omega_cov"]
    with pytest.raises(ValueError, match=r"m\.ecsv has no rows"):
        read(table[:0], tmp_path)


def test_edges_with_gaps():
    whole = Measurement.read("tng300.sample1")
    assert whole.r_edges.tolist() == [*whole.r_min, whole.r_max[-1]]
    rows = [0, 1, 4, 5]
    some = Measurement(
        "some",
        whole.r_min[rows],
        whole.r_max[rows],
        {"xi": whole.values["xi"][rows]},
        {"xi": whole.errors["xi"][rows]},
    )
    first, last = whole.r_min, whole.r_max
    assert some.r_edges.tolist() == [first[0], first[1], last[1], first[4], first[5], last[5]]


def test_covariances_that_are_none(table, tmp_path):
    good = np.array(table["omega_omega_cov"])

    def message_of(matrix):
        table["omega_omega_cov"] = matrix
        with pytest.raises(ValueError, match="covariance") as caught:
            read(table, tmp_path).covariance(["omega"], "full")
        return str(caught.value)

    bad = good.copy()
    bad[3, 5] = bad[5, 3] = 2 * np.sqrt(good[3, 3] * good[5, 5])
    assert "not positive definite" in message_of(bad)
    assert "omega bin 5" in message_of(bad)
    bad = good.copy()
    bad[2, 7] *= 3
    assert "not symmetric between omega bin 2" in message_of(bad)
    bad = good.copy()
    for variance in (-1e-6, 0.0, 1e-310, 1e300):
        bad[6, 6] = variance
        assert f"1e+280), at omega bin 6 (1.179 to 1.778 Mpc/h): {variance:g}." in message_of(bad)
    assert "expected (14, 14)" in message_of(good[:, :10])


def test_missing_columns_and_files(table, tmp_path):
    missing = table.copy()
    del missing["omega_err"]
    with pytest.raises(ValueError, match="lacks omega_err"):
        read(missing, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Bundled: tng300.sample1"):
        Measurement.read(tmp_path / "none.ecsv")
    (tmp_path / "broken.ecsv").write_text("# %ECSV 1.0\n# ---\nnonsense")
    with pytest.raises(ValueError, match="not a readable ECSV table"):
        Measurement.read(tmp_path / "broken.ecsv")


def test_data_are_no_code_the_occupation_of_a_bundled_sample():
    assert Measurement.read("tng300.sample1").hod == HOD


def test_data_are_no_code_a_file_without_an_occupation(table, tmp_path):
    del table.meta["hod"]
    assert read(table, tmp_path).hod == {}


@pytest.mark.parametrize(
    ("hod", "message"),
    [
        ({**HOD, "alpha": "lambda: __import__('os').abort()"}, "alpha of hod .* is .lambda: __imp"),
        ({**HOD, "alpha": "1e1"}, "alpha of hod in the metadata is '1e1'; expected a finite number"),
        ({**HOD, "logM1": True}, "logM1 of hod in the metadata is True; expected a finite number"),
        ({**HOD, "logM1": float("nan")}, "logM1 of hod in the metadata is nan"),
        ({**HOD, "logM1": 10**400}, "logM1 of hod in the metadata is 1000"),
        ({**HOD, "logM0": {"value": 12.0}}, "logM0 of hod in the metadata is {'value': 12.0}"),
        ({**HOD, "drop": 1.0}, "logMmin, sigma_logM, logM0, logM1, alpha; .* and nothing else; got .*drop"),
        ({"alpha": 1.0}, "a number for each of logMmin, sigma_logM, .*; got 'alpha'"),
        ("external", "and nothing else; got 'external'"),
        ([1.0, 2.0], r"and nothing else; got \[1.0, 2.0\]"),
    ],
)  # fmt: skip
def test_data_are_no_code_an_occupation_is_numbers_by_name(table, tmp_path, hod, message):
    table.meta["hod"] = hod
    measured = read(table, tmp_path)
    with pytest.raises(ValueError, match=rf"m\.ecsv: .*{message}"):
        _ = measured.hod


@pytest.mark.parametrize("name", [["a", "list"], 3.0, "", "\x1b[2J"])
def test_data_are_no_code_a_name_is_one_line_of_text(table, tmp_path, name):
    table.meta["name"] = name
    with pytest.raises(ValueError, match=r"m\.ecsv: its name is .*; expected one line of text"):
        read(table, tmp_path)
    with pytest.raises(ValueError, match=r"sample1\.ecsv: its name is 'two.*lines'"):
        replace(Measurement.read("tng300.sample1"), name="two\nlines")


def same(one, other, rtol=1e-14):
    for name in ("r_min", "r_max"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol)
    for name in ("values", "errors", "covariances"):
        for key, expected in getattr(other, name).items():
            np.testing.assert_allclose(getattr(one, name)[key], expected, rtol=rtol)


def declare(table, columns, unit, by):
    """Say by a column or by the metadata that it is in another unit."""
    for column in columns:
        others = {name: x for name, x in table.meta["units"].items() if name != column}
        table.meta["units"] = others if by == "column" else {**others, column: unit}
        table[column].unit = unit if by == "column" else None


@pytest.mark.parametrize("by", ["column", "metadata"])
def test_units_of_a_measurement_are_converted(table, tmp_path, by):
    """Bins in Mpc and in kpc/h, values in per cent: as declared by columns and by metadata."""
    expected = Measurement.read("tng300.sample3")
    kiloparsec = table.copy()
    for column in ("r_min", "r_max"):
        kiloparsec[column] *= 1000
    declare(kiloparsec, ("r_min", "r_max"), "kpc/h", by)
    same(read(kiloparsec, tmp_path), expected)

    megaparsec = table.copy()
    for column in ("r_min", "r_max"):
        megaparsec[column] /= 0.6774
    declare(megaparsec, ("r_min", "r_max"), "Mpc", by)
    with pytest.raises(
        ValueError, match=r"r_min is in 'Mpc', and its metadata do not say h.*Add h"
    ):
        read(megaparsec, tmp_path)
    for name, value in (("h", 0.6774), ("H0", 67.74), ("HubbleParam", 0.6774)):
        megaparsec.meta[name] = value
        same(read(megaparsec, tmp_path), expected)
    megaparsec.meta["h"] = 0.7
    with pytest.raises(ValueError, match=r"different values of h: .*'h': 0.7.*'h0': 0.6774"):
        read(megaparsec, tmp_path)

    percent = table.copy()
    percent["omega"] *= 100
    percent["omega_err"] *= 100
    percent["omega_omega_cov"] *= 1e4
    declare(percent, ("omega", "omega_err"), "percent", by)
    declare(percent, ("omega_omega_cov",), "percent2", by)
    same(read(percent, tmp_path), expected)


@pytest.mark.parametrize("unit", ["km/s", "Msun/h", "mpc/h", "Mpc2", "furlongs", "dex(Mpc)", "1"])
def test_units_of_bins_that_cannot_be_converted_are_refused(table, tmp_path, unit):
    declare(table, ["r_max"], unit, "metadata")
    with pytest.raises(ValueError, match=r"m\.ecsv: r_max is in '.*'; expected 'Mpc/h', or a unit"):
        read(table, tmp_path)


def test_units_in_conflict_are_refused(table, tmp_path):
    table["r_min"].unit = "kpc/h"
    with pytest.raises(
        ValueError, match=r"r_min is in 'kpc / h' and in 'Mpc/h', by the column and"
    ):
        read(table, tmp_path)
    table["r_min"].unit = "Mpc/h"
    same(read(table, tmp_path), Measurement.read("tng300.sample3"))
    table.meta["units"] = "Mpc/h"
    with pytest.raises(
        ValueError, match="units in the metadata is 'Mpc/h'; expected the unit of eac"
    ):
        read(table, tmp_path)


def test_units_that_are_written_are_read_by_astropy_and_here(tmp_path):
    measured = Measurement.read("tng300.sample3")
    measured.write(tmp_path / "m.ecsv")
    same(Measurement.read(tmp_path / "m.ecsv"), measured, rtol=0)
    with units.add_enabled_units([littleh]):
        column = Table.read(tmp_path / "m.ecsv")["r_min"]
    assert column.unit == units.Mpc / littleh
    # Converted by another program, the file says so.
    with units.add_enabled_units([littleh]):
        theirs = QTable.read(tmp_path / "m.ecsv")
        for name in ("r_min", "r_max", "r"):
            theirs[name] = theirs[name].to(units.kpc / littleh)
    del theirs.meta["units"]
    theirs.write(tmp_path / "theirs.ecsv")
    same(Measurement.read(tmp_path / "theirs.ecsv"), measured)


@pytest.mark.parametrize("name", ["tng300.sample1", "tng300.sample3"])
def test_names_that_are_ambiguous_list_both(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    expected = Measurement.read("tng300.sample2")
    expected.write(tmp_path / name)
    with pytest.raises(
        ValueError, match=rf"tng300/{name[-7:]}\.ecsv, and the file {tmp_path}/{name}"
    ):
        Measurement.read(name)
    same(Measurement.read(tmp_path / name), expected)
    same(Measurement.read("tng300.sample2"), expected)


def test_names_with_a_tilde_are_below_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Measurement.read("tng300.sample2").write(tmp_path / "mine.ecsv")
    assert Measurement.read("~/mine.ecsv").file == str(tmp_path / "mine.ecsv")
    with pytest.raises(FileNotFoundError, match="No measurement at ~nobody-of-this-name/mine"):
        Measurement.read("~nobody-of-this-name/mine.ecsv")


def test_sense_a_key_of_the_metadata_twice_is_refused(table, tmp_path):
    path = tmp_path / "m.ecsv"
    read(table, tmp_path)
    text = path.read_text()
    twice = text.replace("- {n_jackknife: 27}", "- {n_jackknife: 27}\n# - {n_jackknife: 270}")
    assert twice != text
    path.write_text(twice)
    with pytest.raises(
        ValueError, match=r"m\.ecsv .*the key 'n_jackknife' is there 2 times; remove"
    ):
        Measurement.read(path)
    table.meta["N_jackknife"] = 270
    with pytest.raises(
        ValueError, match="n_jackknife = 27 and N_jackknife = 270; remove the wrong"
    ):
        read(table, tmp_path)


def test_a_cut_that_leaves_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"no bin lies wholly between 1 and 1.1 Mpc/h"):
        Measurement.read("tng300.sample1").cut(1.0, 1.1)


def survey(statistics=("w_gg", "w_gplus", "w_plusplus"), **changes):
    """A measurement of projected statistics with a covariance of all of them."""
    rng = np.random.default_rng(0)
    n, edges = 4, np.geomspace(0.1, 31.4, 5)
    root = rng.normal(size=(len(statistics) * n, 50))
    blocks = (root @ root.T / 50).reshape(len(statistics), n, len(statistics), n)
    errors = {s: np.sqrt(np.diag(blocks[i, :, i])) for i, s in enumerate(statistics)}
    return Measurement(**{
        "name": "survey",
        "r_min": edges[:-1],
        "r_max": edges[1:],
        "values": {s: rng.normal(size=n) for s in statistics},
        "errors": errors,
        "covariances": {
            (a, b): blocks[i, :, j]
            for i, a in enumerate(statistics)
            for j, b in enumerate(statistics)
        },
        "n_jackknife": 50,
        "metadata": {"axis_ratio": [0.5, 0.8], "citation": "nobody"},
        "conventions": Conventions(60.0, ((0.0, 1.0), (45.1, 0.3)), "epsilon", 0.87, True),
        **changes,
    })  # fmt: skip


def edited(tmp_path, change, statistics=("w_gg", "w_gplus", "w_plusplus")):
    """Write the survey, change its table, and read it."""
    survey(statistics).write(tmp_path / "s.ecsv", overwrite=True)
    table = Table.read(tmp_path / "s.ecsv")
    change(table)
    return read(table, tmp_path)


@pytest.mark.parametrize(
    "conventions",
    [
        Conventions(60.0, ((0.0, 1.0), (45.1, 0.3)), "epsilon", 0.87, True),
        Conventions(np.pi, (), "distortion", box=205.0),
    ],
)
def test_projected_statistics_are_written_and_read_exactly(tmp_path, conventions):
    measured = survey(conventions=conventions)
    measured.write(tmp_path / "s.ecsv")
    again = Measurement.read(tmp_path / "s.ecsv")
    same(again, measured, rtol=0)
    assert again.conventions == conventions
    assert again.axis_ratio == (0.5, 0.8)
    assert again.metadata["sign"] == "radial"
    assert (again.separation, again.edge_columns) == ("r_p", ("rp_min", "rp_max"))
    assert tuple(again.values) == ("w_gg", "w_gplus", "w_plusplus")
    [table] = again.tables()
    assert table.columns[0] == "r_p [Mpc/h]"
    # A second time around nothing has changed.
    again.write(tmp_path / "t.ecsv")
    third = Measurement.read(tmp_path / "t.ecsv")
    same(third, again, rtol=0)
    assert (third.conventions, third.metadata) == (conventions, again.metadata)
    with units.add_enabled_units([littleh]):
        columns = Table.read(tmp_path / "s.ecsv")
    assert columns["w_gplus_err"].unit == columns["rp_max"].unit == units.Mpc / littleh
    assert columns["w_gg_w_gplus_cov"].unit == (units.Mpc / littleh) ** 2


def test_a_quadrupole_is_in_bins_of_r(tmp_path):
    conventions = Conventions(None, ellipticity="distortion")
    measured = survey(("xi", "xi_gplus_2"), conventions=conventions)
    measured.write(tmp_path / "s.ecsv")
    again = Measurement.read(tmp_path / "s.ecsv")
    same(again, measured, rtol=0)
    assert (again.separation, again.conventions) == ("r", conventions)
    assert Measurement.read("tng300.sample3").conventions is None
    assert Measurement.read("tng300.sample3").separation == "r"


def test_units_of_projected_statistics_are_converted(tmp_path):
    h = 0.7
    expected = survey()

    def in_kpc(table):
        del table.meta["units"]
        table.meta["h"] = h
        for name in table.colnames:
            squared = name.endswith("_cov")
            table[name] = np.array(table[name]) * (1000 / h) ** (1 + squared)
            table[name].unit = "kpc2" if squared else "kpc"
        table.meta["units"] = {"pi_max": "kpc", "pi_weight": "Mpc"}
        table.meta["pi_max"] *= 1000 / h
        table.meta["pi_weight"] = [[pi / h, weight] for pi, weight in table.meta["pi_weight"]]

    found = edited(tmp_path, in_kpc)
    same(found, expected)
    assert found.conventions.pi_max == pytest.approx(60.0)
    np.testing.assert_allclose(found.conventions.weight, expected.conventions.weight, rtol=1e-14)
    # What is written is in our units.
    found.write(tmp_path / "again.ecsv")
    same(Measurement.read(tmp_path / "again.ecsv"), found, rtol=0)
    assert Measurement.read(tmp_path / "again.ecsv").conventions == found.conventions

    def dimensionless(table):
        del table.meta["units"]
        table["w_gplus"].unit = "percent"

    with pytest.raises(ValueError, match=r"w_gplus is in '.*'; expected 'Mpc/h'"):
        edited(tmp_path, dimensionless)

    def lengths(table):
        del table.meta["units"]
        table["w_gplus_w_gplus_cov"].unit = "Mpc / littleh"

    with pytest.raises(ValueError, match=r"w_gplus_w_gplus_cov is in '.*'; expected 'Mpc2 / h2'"):
        edited(tmp_path, lengths)


def test_tangential_shapes_are_turned_to_radial_ones(tmp_path):
    def tangential(table):
        table.meta["sign"] = "tangential"

    found, expected = edited(tmp_path, tangential), survey()
    signs = {"w_gg": 1, "w_gplus": -1, "w_plusplus": 1}
    for a, sign in signs.items():
        np.testing.assert_array_equal(found.values[a], sign * expected.values[a])
        np.testing.assert_array_equal(found.errors[a], expected.errors[a])
        for b in signs:
            factor = sign * signs[b]
            np.testing.assert_array_equal(
                found.covariances[a, b], factor * expected.covariances[a, b]
            )
    # Once read, it is radial.
    assert found.metadata["sign"] == "radial"
    found.write(tmp_path / "radial.ecsv")
    same(Measurement.read(tmp_path / "radial.ecsv"), found, rtol=0)

    statistics = ("xi", "xi_gplus_2")
    of_r, expected = edited(tmp_path, tangential, statistics), survey(statistics)
    np.testing.assert_array_equal(of_r.values["xi_gplus_2"], -expected.values["xi_gplus_2"])
    np.testing.assert_array_equal(of_r.values["xi"], expected.values["xi"])


def test_bins_of_r_and_of_r_p_do_not_mix(tmp_path):
    with pytest.raises(
        ValueError, match=r"w_gg in bins of r_p, but xi in bins of r; give them as two"
    ):
        survey(("xi", "w_gg"))

    def add(table):
        table["omega"] = table["omega_err"] = 0.1

    with pytest.raises(ValueError, match=r"m\.ecsv: w_gg, w_gplus.* but omega in bins of r; give"):
        edited(tmp_path, add)

    def of_r(table):
        table.rename_columns(["rp_min", "rp_max"], ["r_min", "r_max"])

    with pytest.raises(ValueError, match=r"m\.ecsv lacks rp_min, rp_max; it has r_min, r_max"):
        edited(tmp_path, of_r)

    def both(table):
        table["r_min"] = table["rp_min"]

    with pytest.raises(
        ValueError, match=r"bins of r and of r_p \(r_min, rp_max, rp_min\).* remove"
    ):
        edited(tmp_path, both)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pi_max", None, "w_gg needs pi_max, the largest separation along the line of sight"),
        ("pi_max", -60.0, "pi_max in the metadata: pi_max is -60.0; expected a positive number"),
        ("pi_max", "far", "pi_max in the metadata is 'far'; expected a finite number"),
        ("pi_max", [60.0, 100.0], r"pi_max in the metadata is \[60.0, 100.0\]; expected one number"),
        ("pi_weight", [60.0, 1.0], r"pi_weight in the metadata is \[60.0, 1.0\]; expected a list of"),
        ("pi_weight", [], r"pi_weight in the metadata is \[\]; expected a list of pairs"),
        ("pi_weight", [["a", "b"]], r"pi_weight in the metadata is \[\['a', 'b'\]\]; expected a list"),
        ("pi_weight", [[10.0, 1.0], [5.0, 1.0]], "pi_weight in the metadata: weight must be pairs of"),
        ("pi_weight", [[-1.0, 1.0]], "pi_weight in the metadata: weight must be pairs of Pi"),
        ("ellipticity", None, "w_gplus needs ellipticity in the metadata, how it is defined: distortion"),
        ("ellipticity", "shear", "ellipticity in the metadata: ellipticity is 'shear'; it must be one of"),
        ("ellipticity", ["distortion"], "ellipticity in the metadata: "),
        ("responsivity", 2.0, "responsivity in the metadata: responsivity is 2.0; expected R, above 0"),
        ("responsivity", True, "responsivity in the metadata is True; expected a finite number"),
        ("redshift_space", "yes", "redshift_space in the metadata: redshift_space is 'yes'; it must be"),
        ("box", -205.0, "box in the metadata: box is -205.0; expected"),
        ("sign", "inward", "sign in the metadata is 'inward'; expected radial .* or tangential"),
        ("sign", ["radial"], r"sign in the metadata is \['radial'\]; expected radial"),
        ("axis_ratio", 1.5, "axis_ratio in the metadata is 1.5; expected the shorter over the longer"),
        ("axis_ratio", 0, "axis_ratio in the metadata is 0; expected"),
        ("axis_ratio", [0.5, 0.6, 0.7], r"axis_ratio in the metadata is \[0.5, 0.6, 0.7\]"),
        ("axis_ratio", [], r"axis_ratio in the metadata is \[\]; expected"),
        ("axis_ratio", "0.5", "axis_ratio in the metadata is '0.5'; expected"),
        ("axis_ratio", float("nan"), "axis_ratio in the metadata is nan; expected"),
    ],
)  # fmt: skip
def test_conventions_that_make_no_sense_are_named(tmp_path, key, value, message):
    def change(table):
        table.meta[key] = value

    with pytest.raises(ValueError, match=rf"m\.ecsv: {message}"):
        edited(tmp_path, change)


def test_positions_alone_need_no_ellipticity(tmp_path):
    def without(table):
        for key in ("ellipticity", "responsivity", "redshift_space", "sign", "pi_weight"):
            del table.meta[key]
        table.meta["axis_ratio"] = 0.6

    found = edited(tmp_path, without, ("w_gg",))
    assert found.conventions == Conventions(60.0)
    assert found.axis_ratio == (0.6, 0.6)


def test_a_measurement_of_projected_statistics_says_how():
    with pytest.raises(ValueError, match="survey: w_gg needs conventions, which say how it was"):
        survey(conventions=None)
    with pytest.raises(ValueError, match="survey: w_gg needs pi_max"):
        survey(conventions=Conventions(None))


def test_messages_say_r_p(tmp_path):
    with pytest.raises(ValueError, match=r"bins of r_p go from 0.1 to 31.4 Mpc/h"):
        survey().cut(40.0, 50.0)
    edges = np.array([0.1, 1.0, 0.5, 3.0])
    with pytest.raises(ValueError, match=r"without overlap; got rp_min = .*, rp_max = "):
        survey(r_min=edges)
    with pytest.raises(ValueError, match=r"rp_min is -1.0 in bin 0"):
        survey(r_min=np.array([-1.0, 1.0, 2.0, 3.0]))
