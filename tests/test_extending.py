"""A statistic and an occupation from outside, from halos to a log-posterior.

Nothing else in the package changes for them: this file is the example of CONTRIBUTING.md.
"""

from dataclasses import replace

import numpy as np
import pytest
from cobaya.model import get_model
from iaemu_likelihood.emulator import Emulator
from iaemu_likelihood.emulator.datasets import DataSet
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import GalaxySites
from iaemu_likelihood.emulator.mocks import correlations
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.occupations import OCCUPATIONS, Bands, Occupation
from iaemu_likelihood.emulator.physics.parameters import Parameter
from iaemu_likelihood.emulator.physics.statistics import (
    STATISTICS,
    XI,
    PairKernel,
    Statistic,
    named,
)
from iaemu_likelihood.emulator.physics.watson import draw_axes, legendre
from iaemu_likelihood.emulator.training.configuration import read_training_config
from iaemu_likelihood.emulator.training.run import train

from iaemu_likelihood import posterior
from iaemu_likelihood.data_vectors import Measurement

pytestmark = pytest.mark.slow

# ---------------------------------------------------------------- a statistic


def hexadecapole(dx, dy, dz, r2, a, b):
    """P_4 of the cosine between the first galaxy's axis and the separation."""
    t2 = (a[0] * dx + a[1] * dy + a[2] * dz) ** 2 / r2
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    return (35 * t2 * t2 - 30 * t2 * aa + 3 * aa * aa) / 8


H4 = Statistic(
    name="h4",
    latex="H_4",
    unit="",
    about="mean P_4 between an axis and the separation",
    kernel=PairKernel("hexadecapole", n_axes=1, degree=4, term=hexadecapole),
    is_ratio=True,
)

# ---------------------------------------------------------------- an occupation


class Step(Occupation):
    """Every host above a mass has a central, and satellites follow a power law."""

    name = "step"
    parameters = (
        Parameter("logMmin", r"\log M_\mathrm{min}", 0.05),
        Parameter("logM0", r"\log M_0", 0.1),
        Parameter("logM1", r"\log M_1", 0.05),
        Parameter("alpha", r"\alpha", 0.05),
    )

    def mean_centrals(self, logM, hod):
        return (logM >= hod[:, :1]).astype(float)

    def mean_satellites(self, logM, hod):
        M0, M1, alpha = 10 ** hod[:, 1:2], 10 ** hod[:, 2:3], hod[:, 3:4]
        return np.clip((10**logM - M0) / M1, 0, None) ** alpha

    def bands(self, logMmin=(11.6, 12.2), logM1=(12.8, 13.4)):
        return Bands.box(logMmin, (11.5, 12.0), logM1, (0.9, 1.1))


# ---------------------------------------------------------------- both, all the way

NAMES = (XI.name, H4.name)
POINT = np.array([0.9, 0.6, 11.9, 11.8, 13.1, 1.0])


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STATISTICS, H4.name, H4)
        patch.setitem(OCCUPATIONS, Step.name, Step())
        yield


@pytest.fixture(scope="module")
def weights(small_halos_table, tmp_path_factory, _registered):
    """From a small box to weights, with a few epochs."""
    folder = tmp_path_factory.mktemp("extended")
    small_halos_table.write(folder / "small.ecsv")
    whole = read_training_config()
    config = replace(
        whole,
        halos=str(folder / "small.ecsv"),
        occupation_model=Step.name,
        statistics=list(NAMES),
        domain={},
        n_points=512,
        n_networks=2,
        n_noise_points=0,
        least_galaxies=0.0,
        note="",
        start="",
        projected=None,
        means=replace(
            whole.means, width=24, depth=2, epochs=40, batch=64,
            learning_rate={"hidden": 0.03, "others": 0.02},
        ),
    )  # fmt: skip
    return train(config, folder / "weights", progress=False)


@pytest.fixture(scope="module")
def emulator(weights):
    return Emulator.load(weights)


def test_the_expectation_is_the_mean_of_mocks(weights, small_halos):
    """Counted by the statistic's own kernel in catalogues, with axes that are drawn."""
    table = Tabulation.read(weights / "tabulation.hdf5", small_halos.sha256)
    table = table.coarser(R_EDGES, NAMES)
    occupation, sites = OCCUPATIONS[Step.name], GalaxySites.of(small_halos)
    mu, hod = POINT[:2], POINT[2:]
    expected = np.concatenate(table.templates(hod, occupation=occupation).correlations(*mu))
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        galaxies = populate(sites, hod, rng, occupation)
        catalogue = measure(galaxies, mu, sites.box, table.r_edges, rng, named(NAMES))
        found.append(catalogue.correlations)
    error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    z = (np.mean(found, axis=0) - expected) / error
    assert np.abs(z).max() < 5
    assert (z**2).mean() < 2
    # It is there to be seen, in many bins by many standard errors.
    assert (np.abs(expected[1]) > 4 * error[1]).sum() >= 8


def test_amplitudes_are_those_of_its_degree(weights, small_halos):
    """Satellites at the mean misalignment of mu: P_4, not P_2, multiplies the template."""
    table = Tabulation.read(weights / "tabulation.hdf5", small_halos.sha256)
    templates = table.templates(POINT[2:], occupation=OCCUPATIONS[Step.name])
    _, found = templates.correlations(0.0, 0.6)
    np.testing.assert_allclose(found, legendre(0.6, 4) * templates.h4_s, rtol=1e-9)
    rng = np.random.default_rng(1)
    t = draw_axes(np.tile([0.0, 0.0, 1.0], (200_000, 1)), 0.6, rng)[:, 2]
    drawn = np.mean((35 * t**4 - 30 * t**2 + 3) / 8)
    assert legendre(0.6, 4) == pytest.approx(drawn, abs=0.005)


def test_it_is_measured_in_any_catalogue():
    """Two galaxies along z, one of them pointing at the other, the other across."""
    positions = np.array([[5.0, 5.0, 5.0], [5.0, 5.0, 6.0]])
    axes = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    found = correlations(positions, axes, 30.0, [0.5, 2.0], NAMES)
    assert found.h4[0] == pytest.approx((1 + 3 / 8) / 2)


def test_the_emulator_predicts_it(emulator, weights):
    assert emulator.space.names == ("mu_cen", "mu_sat", "logMmin", "logM0", "logM1", "alpha")
    assert not emulator.has_noise
    data = DataSet.read(weights / "expectation.hdf5").select("validation")
    theta = emulator.space.join(np.tile(POINT[:2], (len(data), 1)), data.parameters)
    p = emulator.predict(theta)
    assert p.h4.shape == (len(data), len(emulator.r_edges) - 1)
    assert p.aleatoric is None
    c, s = legendre(POINT[:2], 4)
    _, *templates = emulator.binning(*data.columns["templates"].swapaxes(0, 1))
    truth = c * templates[0] + s * templates[1]
    error, scatter = np.std(p.h4 - truth, axis=0), np.std(truth, axis=0)
    assert np.median(error / scatter) < 0.5
    with pytest.raises(ValueError, match=r"logMmin = 13 is outside .* \[11.6, 12.2\]"):
        emulator.predict([*POINT[:2], 13.0, *POINT[3:]])


def test_cobaya_has_a_posterior_of_it(emulator, weights, tmp_path):
    p = emulator.predict(POINT)
    keep = np.isfinite(p.h4)
    assert keep.all()
    sigma = 0.1 * np.abs(p.h4) + 1e-3
    data = Measurement(
        "toy", emulator.r_edges[:-1], emulator.r_edges[1:], {H4.name: p.h4 + sigma}, {H4.name: sigma}
    )  # fmt: skip
    data.write(tmp_path / "toy.ecsv")
    info = {
        "theory": {"iaemu_likelihood.IAEmu": {"weights": str(weights)}},
        "likelihood": {
            "toy": {
                "class": "iaemu_likelihood.IACorrelations",
                "data_file": str(tmp_path / "toy.ecsv"),
                "statistics": [H4.name],
                "emulator_error": "none",
            }
        },
        "params": {"logM0": 11.8, "logM1": 13.1, "alpha": 1.0},
    }
    model = get_model(info)
    assert list(model.parameterization.sampled_params()) == ["mu_cen", "mu_sat", "logMmin"]
    found = model.logposterior(dict(zip(("mu_cen", "mu_sat", "logMmin"), POINT, strict=False)))
    # Every bin is one standard deviation off.
    assert found.loglike == pytest.approx(-len(sigma) / 2)
    assert found.logprior == pytest.approx(-np.log(2 * 2 * 0.6))
    batched = posterior(info)
    value, gradient = batched.value_and_gradient(POINT[:3])
    assert value == pytest.approx(found.logpost)
    step = 1e-5 * np.eye(3)
    numeric = [(batched(POINT[:3] + h) - batched(POINT[:3] - h)) / 2e-5 for h in step]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4 * np.abs(gradient).max())
    # With the occupation fixed there is a closed form, whose amplitudes are of degree 4.
    fixed = posterior({**info, "params": {**info["params"], "logMmin": POINT[2]}})
    assert fixed.closed_form is not None
    assert fixed.log_likelihood(POINT[:2]) == pytest.approx(found.loglike)


def test_a_run_may_have_samples_of_both_weights(emulator, weights, tmp_path):
    """Of another occupation, statistic and degree, and without noise, beside the bundled weights."""
    p = emulator.predict(POINT)
    sigma = 0.1 * np.abs(p.h4) + 1e-3
    data = Measurement(
        "toy", emulator.r_edges[:-1], emulator.r_edges[1:], {H4.name: p.h4 + sigma}, {H4.name: sigma}
    )  # fmt: skip
    data.write(tmp_path / "toy.ecsv")
    zheng07 = {"logMmin": 12.54, "sigma_logM": 0.26, "logM0": 12.68, "logM1": 13.48, "alpha": 1.0}

    def run(emulator_error, **params):
        common = {"class": "iaemu_likelihood.IACorrelations"}
        return {
            "theory": {"iaemu_likelihood.IAEmu": {"samples": {
                "step": {"weights": str(weights)}, "zheng07": None,
            }}},
            "likelihood": {
                "toy": {
                    **common, "data_file": str(tmp_path / "toy.ecsv"), "statistics": [H4.name],
                    "sample": "step", "emulator_error": "none",
                },
                "tng300": {
                    **common, "data_file": "tng300.sample1", "sample": "zheng07",
                    "emulator_error": emulator_error,
                },
            },
            "params": {
                "logM0_step": 11.8, "logM1_step": 13.1, "alpha_step": 1.0,
                **{f"{name}_zheng07": x for name, x in zheng07.items()}, **params,
            },
        }  # fmt: skip

    model = get_model(run("aleatoric"))
    names = list(model.parameterization.sampled_params())
    assert names == [
        "mu_cen_step",
        "mu_sat_step",
        "logMmin_step",
        "mu_cen_zheng07",
        "mu_sat_zheng07",
    ]
    point = np.array([*POINT[:3], 0.8, 0.3])
    found = model.logposterior(dict(zip(names, point, strict=True)))
    alone = get_model({
        "theory": {"iaemu_likelihood.IAEmu": None},
        "likelihood": {"iaemu_likelihood.tng300.Sample1": {"sample": None, "emulator_error": "aleatoric"}},
        "params": zheng07,
    })  # fmt: skip
    expected = alone.loglike({"mu_cen": 0.8, "mu_sat": 0.3})[0]
    assert found.loglike == pytest.approx(expected - len(sigma) / 2)
    batched = posterior(run("aleatoric"))
    value, gradient = batched.value_and_gradient(point)
    assert value == pytest.approx(found.logpost)
    step = 1e-5 * np.eye(5)
    numeric = [(batched(point + h) - batched(point - h)) / 2e-5 for h in step]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4 * np.abs(gradient).max())
    # In closed form, with amplitudes of both degrees.
    fixed = posterior(run("none", logMmin_step=POINT[2]))
    assert fixed.closed_form is not None
    assert fixed.closed_form.degrees == (2, 4)
    point = point[[0, 1, 3, 4]]
    direct = get_model(run("none", logMmin_step=POINT[2]))
    assert fixed.log_likelihood(point) == pytest.approx(direct.loglike(point)[0])
