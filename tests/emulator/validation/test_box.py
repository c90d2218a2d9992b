import json

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import GalaxySites
from iaemu_likelihood.emulator.mocks import jackknife
from iaemu_likelihood.emulator.mocks.fast import populate
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.weights import halos_of
from iaemu_likelihood.emulator.noise.box import BoxVariance, regress
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, named
from iaemu_likelihood.emulator.validation import box

HOD = np.array([12.0, 0.3, 12.1, 12.9, 1.0])
EDGES = np.array([0.3, 1.0, 3.0, 9.0])
STATISTICS = named(DEFAULT_STATISTICS)
WHAT = {"occupation": "zheng07", "halos_sha256": "0" * 64, "command": "iaemu validate box"}


@pytest.fixture(scope="module")
def sites(small_halos):
    return GalaxySites.of(small_halos)


def test_deviations_of_one_population_are_those_of_the_jackknife_of_its_reference_axes(sites):
    """With all strengths 1 a galaxy's axis is its reference axis, and templates add up."""
    templates, found = box.deviations(sites, HOD, 1, np.random.default_rng(4), EDGES)
    galaxies = populate(sites, HOD, np.random.default_rng(4))
    position = galaxies.position % sites.box
    expected = jackknife(position, galaxies.reference, sites.box, EDGES, box.N_SIDE)
    for name, rows in {"omega": slice(1, 3), "eta": slice(3, 6)}.items():
        np.testing.assert_allclose(
            templates[rows].sum(axis=0), expected[name], rtol=1e-9, atol=1e-12
        )
        sigma = np.sqrt((found[:, rows].sum(axis=1) ** 2).sum(axis=0))
        block = slice(*(list(expected).index(name) * 3 + np.array([0, 3])))
        theirs = np.sqrt(np.diag(expected.covariance)[block])
        np.testing.assert_allclose(sigma, theirs, rtol=1e-9)
    np.testing.assert_allclose(np.expm1(templates[0]), expected["xi"], rtol=1e-9)
    of_log = np.sqrt((found[:, 0] ** 2).sum(axis=0)) * (1 + expected["xi"])
    np.testing.assert_allclose(of_log, np.sqrt(np.diag(expected.covariance)[:3]), rtol=0.02)


def test_deviations_of_many_populations_have_less_of_the_scatter_of_catalogues(sites):
    """Halves of the populations share the halos: what they differ in is not of the box."""

    def halves(n):
        return [
            box.deviations(sites, HOD, n, np.random.default_rng([n, i]), EDGES)[1] for i in (0, 1)
        ]

    few, many = (((a - b) ** 2).sum() for a, b in (halves(1), halves(8)))
    assert many < few / 4  # 8 are expected
    a, b = halves(8)
    assert np.corrcoef(a[:, :2].ravel(), b[:, :2].ravel())[0, 1] > 0.7


def a_regression(rng, n_points=40, n_deviations=6):
    domain = Domain.of()
    _, hod = domain.space.split(domain.sample(n_points, 1))
    centre, scale = (hod.max(axis=0) + hod.min(axis=0)) / 2, np.ptp(hod, axis=0) / 2
    log_sigma, pattern = rng.normal(size=(7, 120)), rng.normal(size=(7, n_deviations * 120))
    return hod, BoxVariance(STATISTICS, R_EDGES, centre, scale, log_sigma, pattern, **WHAT)


def variance(deviations):
    """Of deviations, (n_deviations, n, ...)."""
    return (deviations**2).sum(axis=0)


def test_regression_finds_sigma_and_pattern_of_which_it_was_made():
    hod, truth = a_regression(np.random.default_rng(0))
    # Patterns are given back in units of sigma, so they must have this size to be linear.
    unit = truth.pattern.reshape(7, 6, 120)
    unit = unit / np.sqrt((unit**2).sum(axis=1, keepdims=True)) * np.eye(7)[0][:, None, None]
    truth = BoxVariance(STATISTICS, R_EDGES, truth.centre, truth.scale, truth.log_sigma,
                        unit.reshape(7, -1), **WHAT)  # fmt: skip
    exact = truth.of_templates(hod)
    found = regress(hod, exact.swapaxes(0, 1), np.zeros((40, 6, 20)), STATISTICS, R_EDGES, **WHAT)
    np.testing.assert_allclose(found.log_sigma, truth.log_sigma, atol=1e-9)
    np.testing.assert_allclose(found.of_templates(hod), exact, rtol=1e-6, atol=1e-12)


def test_noise_is_taken_from_the_variance_and_what_scatters_stays_in_it():
    """Whatever the regressions cannot hold, the variance over the points is right in the mean."""
    hod, truth = a_regression(np.random.default_rng(1))
    rng = np.random.default_rng(2)
    sigma = np.exp(truth.features(hod) @ truth.log_sigma).reshape(40, 1, 6, 20)
    drawn = sigma * rng.normal(size=(40, 6, 6, 20))
    for share in (0.0, 0.5):
        total = (drawn**2).sum(axis=1)
        found = regress(hod, drawn, share * total, STATISTICS, R_EDGES, **WHAT)
        ratio = (1 - share) * total / variance(found.of_templates(hod))
        np.testing.assert_allclose(ratio.mean(axis=0), 1, rtol=1e-9)


def test_bins_in_which_hardly_any_occupation_has_pairs_deviate_nowhere():
    hod, truth = a_regression(np.random.default_rng(3))
    deviations = truth.of_templates(hod).swapaxes(0, 1).copy()
    deviations[13:, :, 3, :4] = 0  # eta_cc, of which 13 points are too few for 7 terms
    found = regress(hod, deviations, np.zeros((40, 6, 20)), STATISTICS, R_EDGES, **WHAT)
    sigma = np.sqrt(variance(found.of_templates(hod)))
    assert sigma[:, 3, :4].max() < 1e-20
    assert sigma[:, 3, 4:].min() > 1e-3
    assert np.isfinite(found.pattern).all()


def test_files_hold_the_same_and_are_refused_when_changed(tmp_path):
    import h5py

    hod, truth = a_regression(np.random.default_rng(1))
    found = BoxVariance.read(truth.write(tmp_path / "box.hdf5"))
    np.testing.assert_allclose(
        found.of_templates(hod), truth.of_templates(hod), rtol=1e-5, atol=1e-5
    )
    assert (found.statistics, found.command) == (STATISTICS, "iaemu validate box")
    with h5py.File(tmp_path / "box.hdf5", "a") as file:
        file["pattern"][0, 0] += 1
    with pytest.raises(ValueError, match="was changed since it was written; estimate it again"):
        BoxVariance.read(tmp_path / "box.hdf5")
    with h5py.File(tmp_path / "box.hdf5", "a") as file:
        del file["scale"]
    with pytest.raises(ValueError, match="is not a sample variance of a box"):
        BoxVariance.read(tmp_path / "box.hdf5")
    with pytest.raises(FileNotFoundError):
        BoxVariance.read(tmp_path / "none.hdf5")


def test_bundled_estimate_is_for_the_halos_of_the_bundled_weights_only():
    halos = halos_of(Emulator.load().card, 0.0)
    found = BoxVariance.of(halos["sha256"], "zheng07")
    assert np.isfinite(found.pattern).all()
    with pytest.raises(ValueError, match=r"bundled halo catalogue .* zheng07 on halos ffff"):
        BoxVariance.of("f" * 64, "zheng07")


def test_estimate_of_a_small_box_goes_on_where_it_was_stopped(small_halos, tmp_path, monkeypatch):
    from iaemu_likelihood.emulator.mocks import checkpoints

    monkeypatch.setattr(checkpoints, "SAVE_EVERY_S", 0.0)
    domain = Domain.of(logMmin=(11.8, 12.3))
    settings = {"n_points": 16, "seed": 3, "progress": False, "galaxies": 1, "n_side": 2, "r_edges": EDGES,
                "tested": np.array([[0.8, 0.3, *HOD]])}  # fmt: skip
    whole = box.box_variance([small_halos], domain, **settings)
    original, done = box.deviations, []

    def killed(*arguments):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(1)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(box, "deviations", killed)
        with pytest.raises(KeyboardInterrupt):
            box.box_variance([small_halos], domain, folder=tmp_path, **settings)
    resumed = box.box_variance([small_halos], domain, folder=tmp_path, **settings)
    np.testing.assert_array_equal(resumed.variance.pattern, whole.variance.pattern)
    assert json.loads(json.dumps(whole.numbers)) == whole.numbers
    (table,) = whole.tables()
    assert [row[1] for row in table.rows] == ["xi", "omega", "eta"]


def test_what_is_no_second_box_and_too_few_points_are_refused(small_halos):
    domain = Domain.of(logMmin=(11.8, 12.3))
    with pytest.raises(ValueError, match="must be another box like"):
        box.box_variance([small_halos, small_halos], domain)
    with pytest.raises(ValueError, match="n_points is 13; 7 terms take 14 or more"):
        box.box_variance([small_halos], domain, n_points=13)
