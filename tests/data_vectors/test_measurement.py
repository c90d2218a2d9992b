from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
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
        ("omega", np.nan, "omega is nan in bin 4; expected a finite"),
        ("omega_err", 0.0, "omega_err is 0.0 in bin 4; expected a positive, finite"),
        ("xi_err", -1.0, "xi_err is -1.0 in bin 4"),
        ("r_max", 0.9, "bins must follow each other without gaps"),
    ],
)
def test_bad_values_name_column_and_bin(table, tmp_path, column, value, message):
    table[column][4] = value
    with pytest.raises(ValueError, match=message):
        read(table, tmp_path)


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
    bad[6, 6] = -1e-6
    assert "omega bin 6" in message_of(bad)
    assert "expected (14, 14)" in message_of(good[:, :10])


def test_missing_columns_files_and_wrong_units(table, tmp_path):
    missing = table.copy()
    del missing["omega_err"]
    with pytest.raises(ValueError, match="lacks omega_err"):
        read(missing, tmp_path)
    kiloparsec = table.copy()
    kiloparsec.meta["units"] = {"r_min": "kpc/h"}
    with pytest.raises(ValueError, match="r_min is in 'kpc/h'; give it in 'Mpc/h'"):
        read(kiloparsec, tmp_path)
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
        ({**HOD, "alpha": "lambda: __import__('os').abort()"}, "alpha of hod .* is 'lambda: __imp"),
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


@pytest.mark.parametrize("name", ["two\nlines", ["a", "list"], 3.0, "", "\x1b[2J"])
def test_data_are_no_code_a_name_is_one_line_of_text(table, tmp_path, name):
    table.meta["name"] = name
    with pytest.raises(ValueError, match=r"m\.ecsv: its name is .*; expected one line of text"):
        read(table, tmp_path)


def test_a_cut_that_leaves_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"no bin lies wholly between 1 and 1.1 Mpc/h"):
        Measurement.read("tng300.sample1").cut(1.0, 1.1)
