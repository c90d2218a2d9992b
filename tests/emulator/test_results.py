"""Results show themselves: in a line, in notebooks, and to astropy and xarray."""

import numpy as np
import pytest
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.models.projected import ProjectedPrediction
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.statistics import PerStatistic
from iaemu_likelihood.emulator.results import as_html
from iaemu_likelihood.emulator.tables import Table

from iaemu_likelihood import posterior
from iaemu_likelihood.data_vectors import Measurement

POINT = [0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0]
TEX = "<script>alert(1)</script> $\\href{javascript:x}{y}$"


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


@pytest.fixture
def prediction(emulator):
    return emulator.predict(POINT)


@pytest.fixture
def projected():
    edges, other = np.geomspace(0.1, 60, 6), np.geomspace(5, 50, 4)
    values = {"w_gg": np.arange(5.0), "w_gplus": np.ones(5), "xi_gplus_2": np.ones(3)}
    how = Conventions(60.0, ellipticity="epsilon")
    return ProjectedPrediction(values, edges, other, how, PerStatistic(values))


def test_one_line(emulator, prediction, projected):
    assert repr(prediction) == (
        "<Prediction: xi, omega, eta in 20 bins, r = 0.1144 to 14.08 Mpc/h, with aleatoric, epistemic "
        "errors>"
    )
    assert "in 3 points, 20 bins" in repr(emulator.predict([POINT] * 3, epistemic=False))
    assert "epistemic" not in repr(emulator.predict(POINT, epistemic=False))
    assert "w_gg, w_gplus in 5 bins, r_p" in repr(projected)
    assert "; xi_gplus_2 in 3 bins, r = " in repr(projected)
    measured = Measurement.read("tng300.sample1")
    assert repr(measured).startswith("<Measurement TNG300 sample 1: xi, omega, eta in 14 bins, r =")
    assert repr(emulator).startswith("<Emulator templates: xi, omega, eta")
    assert repr(emulator).endswith("logMmin, sigma_logM, logM0, logM1, alpha>")


def test_a_posterior_says_of_what_it_is():
    post = posterior(
        {
            "theory": {"iaemu_likelihood.IAEmu": {}},
            "likelihood": {"iaemu_likelihood.tng300.Sample1": {"sample": None}},
            "params": dict(zip(("logMmin", "sigma_logM", "logM0", "logM1", "alpha"), POINT[2:], strict=True)),
        }
    )  # fmt: skip
    assert repr(post).startswith("<Posterior of mu_cen, mu_sat: TNG300 sample 1: omega in 12 bins")
    assert "<td>mu_sat</td><td>-1</td><td>1</td>" in post._repr_html_()


def test_tables_hold_the_same_numbers(emulator, prediction):
    table = prediction.to_table()
    np.testing.assert_array_equal(table["omega_aleatoric"], prediction.aleatoric.omega)
    np.testing.assert_array_equal(table["r"], prediction.r)
    assert str(table["r"].unit) == "Mpc / littleh"
    assert table["omega"].description == "position-orientation correlation function"
    many = emulator.predict([POINT] * 3)
    np.testing.assert_array_equal(many.to_table()["xi"], many.xi.T)


def test_tables_of_a_measurement_are_read_back(tmp_path):
    measured = Measurement.read("tng300.sample1")
    measured.to_table().write(tmp_path / "a.ecsv")
    again = Measurement.read(tmp_path / "a.ecsv")
    for name, values in measured.values.items():
        np.testing.assert_array_equal(again.values[name], values)
        np.testing.assert_array_equal(again.errors[name], measured.errors[name])
    np.testing.assert_array_equal(again.r_max, measured.r_max)


def test_datasets_hold_the_same_numbers(emulator, projected):
    pytest.importorskip("xarray")
    many = emulator.predict([POINT] * 3)
    found = many.to_dataset()
    assert found.omega.dims == ("point", "r")
    np.testing.assert_array_equal(found.omega_epistemic, many.epistemic.omega)
    assert found.r.attrs["units"] == "Mpc/h"
    found = projected.to_dataset()
    assert (found.w_gg_epistemic.dims, found.xi_gplus_2_epistemic.dims) == (("rp",), ("r",))
    assert found.w_gg.attrs["units"] == "Mpc/h"
    measured = Measurement.read("tng300.sample1")
    found = measured.to_dataset()
    np.testing.assert_array_equal(found.omega_err.sel(r=slice(1, 2)), measured.errors["omega"][6:7])
    assert found.omega_err.attrs["long_name"].startswith("standard deviation: position")


def test_statistics_in_different_bins_have_no_table(projected):
    with pytest.raises(ValueError, match=r"in bins of r_p and r; take to_dataset\(\) instead"):
        projected.to_table()


def test_tensors_are_shown_as_numbers(emulator):
    import torch

    found = emulator(torch.tensor(POINT, dtype=torch.float64, requires_grad=True))
    expected = emulator.predict(POINT)
    np.testing.assert_allclose(found.to_table()["eta"], expected.to_table()["eta"], rtol=1e-10)


def test_text_of_files_is_no_html():
    for html in (
        as_html(TEX, [Table(TEX, [TEX], [[TEX]])]),
        Measurement(TEX, *np.array([[0.1], [1.0]]), {"xi": np.ones(1)}, {"xi": np.ones(1)})._repr_html_(),
    ):  # fmt: skip
        assert "<script>" not in html
        assert "$" not in html
        assert "&lt;script&gt;" in html


def test_notebooks_show_every_bin(prediction, projected, emulator):
    assert prediction._repr_html_().count("<tr>") == 21
    assert f"<td>{prediction.omega[7]:.4g}</td>" in prediction._repr_html_()
    assert projected._repr_html_().count("<table>") == 2
    assert "<td>11.40</td>" in emulator._repr_html_()
