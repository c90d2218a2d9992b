from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.cosmology.units import littleh
from astropy.table import QTable, Table
from iaemu_likelihood.data import bundled

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
        ({**HOD, "drop": 1.0}, "logMmin, sigma_logM, logM0, logM1, alpha, and nothing else; got .*drop"),
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
