import json

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue, load_halos
from iaemu_likelihood.emulator.mocks import checkpoints, jackknife
from iaemu_likelihood.emulator.mocks.fast import drawn_axes, populate

from iaemu_likelihood.sampling import pulls as module
from iaemu_likelihood.sampling.pulls import (
    OCTANTS,
    SETTINGS,
    WHOLE,
    measure_parts,
    pulls,
    pulls_plot,
)

SAMPLE = ["sample1"]
SOME = ("none, full", "aleatoric, full, hartlap")


@pytest.fixture(scope="module")
def galaxies(small_halos):
    sites, rng = GalaxySites.of(small_halos), np.random.default_rng(2)
    found = populate(sites, [11.61, 0.26, 11.8, 12.6, 1.0], rng)
    return found.position, drawn_axes(found, [0.5, 0.1], rng), sites.box


def test_parts_are_measured_as_catalogues_of_their_own(galaxies):
    x, e, box = galaxies
    edges = np.array([0.5, 2.0, 5.0, 9.0])
    rows = measure_parts(x, e, box, edges, 2)
    assert rows.shape == (9, 3 + 9)
    expected = jackknife(x, e, box, edges, 2, True, ["omega"])
    np.testing.assert_array_equal(rows[8], np.append(expected["omega"], expected.covariance))
    # The octant at high x and low y and z is the fifth.
    inside = (x[:, 0] >= box / 2) & (x[:, 1] < box / 2) & (x[:, 2] < box / 2)
    moved = x[inside] - [box / 2, 0, 0]
    expected = jackknife(moved, e[inside], box / 2, edges, 2, False, ["omega"])
    np.testing.assert_allclose(rows[4, :3], expected["omega"], rtol=1e-12)
    np.testing.assert_allclose(rows[4, 3:], expected.covariance.ravel(), rtol=1e-9)


@pytest.fixture(scope="module")
def mirrored():
    """The bundled catalogue seen in a mirror, to any code another one, large enough to be split."""
    halos = load_halos("bundled")
    columns = {**halos.columns, "halo_x": (halos.box - halos.columns["halo_x"]) % halos.box}
    columns["halo_axisA_x"] = -columns["halo_axisA_x"]
    return HaloCatalogue.from_columns(
        "mirrored", columns, halos.box, halos.redshift, halos.particle_mass, halos.subhalo_mass_bins
    )


@pytest.fixture(scope="module")
def result(mirrored, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pulls")
    arguments = {"n": 2, "seed": 5, "r_min": 0.5, "n_side": 3, "samples": SAMPLE, "settings": SOME,
                 "folder": folder, "progress": False}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "SAVE_EVERY_S", 0.0)
        measured, done = module.measure_parts, []

        def killed(*given):
            if done:
                raise KeyboardInterrupt
            done.append(measured(*given))
            return done[-1]

        patch.setattr(module, "measure_parts", killed)
        with pytest.raises(KeyboardInterrupt):
            pulls(mirrored, **arguments)
        done.clear()  # one more is left
        return pulls(mirrored, **arguments)


def test_pulls_have_every_volume_way_to_fit_and_parameter(result):
    rows = result.numbers["pulls"]
    assert len(rows) == 2 * len(SOME) * 2
    for row in rows:
        assert row["n"] == {OCTANTS: 16, WHOLE: 2}[row["volume"]]
        assert np.isfinite(row["rms"])
        assert set(row["coverage"]) == {"0.683", "0.954"}
    by = {(r["volume"], r["setting"], r["parameter"]): r for r in rows}
    # A covariance with another term, and scaled up, gives smaller pulls.
    wide, narrow = (by[OCTANTS, name, "mu_cen"]["rms"] for name in reversed(SOME))
    assert wide < 0.9 * narrow
    assert by[WHOLE, "none, full", "mu_cen"]["rms_error"] is None
    assert json.loads(json.dumps(result.numbers)) == result.numbers
    assert result.numbers["samples"]["sample1"] == rows


def test_tables_and_figure_show_them(result, tmp_path):
    octants, whole = result.tables()
    assert len(octants.rows) == len(whole.rows) == 4
    assert "16 fits" in octants.title
    figure = pulls_plot(result)
    figure.savefig(tmp_path / "pulls.png")
    assert (tmp_path / "pulls.png").stat().st_size > 5_000


def test_errors_of_the_rms_are_those_of_parts_left_out():
    z = np.random.default_rng(0).normal(size=(8, 400))
    assert module._rms(z) == pytest.approx(1, abs=0.05)
    # Parts are independent here, so the error is that of 3200 numbers.
    assert module._error(z) == pytest.approx(1 / np.sqrt(2 * z.size), rel=0.6)
    assert module._error(z * 0 + np.arange(1, 9)[:, None]) > 0.5
    assert module._error(z[:1]) is None


def test_the_halos_of_the_training_and_unknown_samples_are_refused(small_halos):
    with pytest.raises(ValueError, match=r"trained on the halo catalogue 'bundled' itself"):
        pulls(load_halos("bundled"))
    with pytest.raises(ValueError, match="samples must be some of sample1, sample2, sample3"):
        pulls(small_halos, samples=["sample4"])
    with pytest.raises(ValueError, match="n must be a whole number of 1 or more"):
        pulls(small_halos, n=0)
    assert len(SETTINGS) == 9
