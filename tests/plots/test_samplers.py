"""Chains of emcee, nautilus and CosmoSIS: all are of one posterior, whose answer is known."""

from importlib.resources import files

import emcee
import h5py
import nautilus
import numpy as np
import pytest

from iaemu_likelihood import posterior
from iaemu_likelihood.plots import load, predictions
from iaemu_likelihood.plots.samplers import BURN_IN
from iaemu_likelihood.tng300.table1 import exact_posterior

RUN = str(files("iaemu_likelihood.yaml_examples") / "tng300_sample1.yaml")
NAMES = ["mu_cen_sample1", "mu_sat_sample1"]
WALKERS, STEPS = 16, 200


@pytest.fixture(scope="module")
def post():
    return posterior(RUN)


@pytest.fixture(scope="module")
def exact():
    return exact_posterior("sample1")


@pytest.fixture(scope="module")
def emcee_file(post, tmp_path_factory):
    path = tmp_path_factory.mktemp("emcee") / "chain.h5"
    backend = emcee.backends.HDFBackend(path)
    sampler = emcee.EnsembleSampler(WALKERS, len(NAMES), post, vectorize=True, backend=backend)
    sampler.random_state = np.random.RandomState(1).get_state()
    sampler.run_mcmc(post.start(WALKERS, seed=1), STEPS)
    return path


@pytest.fixture(scope="module")
def nautilus_run(post, tmp_path_factory):
    path = tmp_path_factory.mktemp("nautilus") / "checkpoint.hdf5"
    sampler = nautilus.Sampler(
        post.prior_transform, post.log_likelihood, len(NAMES), n_live=200, vectorized=True,
        pass_dict=False, seed=1, filepath=path,
    )  # fmt: skip
    sampler.run(n_eff=500)
    return path, sampler


def as_cosmosis(path, points, log_posterior, sampler, extra="", **columns):
    """A chain as CosmoSIS' text output has it: names, the run's settings, numbers."""
    names = ["intrinsic_alignment_parameters--mu_cen", "intrinsic_alignment_parameters--mu_sat"]
    header = [
        "\t".join([*names, *columns, "prior", "post"]),
        f"sampler={sampler}",
        "n_varied=2",
        *(f"# {line}" for line in [
            "START_OF_PARAMS_INI", "[runtime]", f"sampler = {sampler}", "[emcee]",
            f"walkers = {WALKERS}", "END_OF_PARAMS_INI", "START_OF_VALUES_INI",
            "[intrinsic_alignment_parameters]", "mu_cen = -1.0 0.8 1.0",
            "mu_sat = -1.0 0.3 1.0  ; a comment", "[hod_parameters]", "logMmin = 12.54", extra,
            "END_OF_VALUES_INI",
        ]),
    ]  # fmt: skip
    rows = np.column_stack([points, *columns.values(), np.zeros(len(points)), log_posterior])
    np.savetxt(path, rows, header="\n".join(header), comments="#", delimiter="\t")
    return path


def test_emcee(emcee_file, exact):
    samples = load(emcee_file, RUN)
    assert [x.name for x in samples.paramNames.names] == NAMES
    kept = STEPS - round(BURN_IN * STEPS)
    assert samples.numrows == WALKERS * kept
    assert len(samples.getSeparateChains()) == WALKERS
    with h5py.File(emcee_file) as file:
        np.testing.assert_array_equal(
            samples.getSeparateChains()[3].samples, file["mcmc/chain"][-kept:, 3]
        )
    for i, name in enumerate(NAMES):
        assert samples.mean(name) == pytest.approx(exact.mean[i], abs=0.5 * exact.std[i])
        assert samples.ranges.getUpper(name) == 1


def test_nautilus(nautilus_run, exact):
    """Weighted as by nautilus itself."""
    path, sampler = nautilus_run
    samples = load(path, RUN)
    points, log_weights, _ = sampler.posterior()
    weights = np.exp(log_weights)
    mean = weights @ points
    np.testing.assert_allclose([samples.mean(name) for name in NAMES], mean, rtol=1e-6)
    std = np.sqrt(weights @ (points - mean) ** 2)
    np.testing.assert_allclose([samples.std(name) for name in NAMES], std, rtol=1e-4)
    assert samples.sampler == "nested"
    np.testing.assert_allclose(mean, exact.mean, atol=0.3 * exact.std.max())


def test_cosmosis(tmp_path, emcee_file, exact):
    """Steps of an ensemble, in which the walkers take turns."""
    with h5py.File(emcee_file) as file:
        chain, log_posterior = file["mcmc/chain"][:], file["mcmc/log_prob"][:]
    path = as_cosmosis(tmp_path / "a.txt", chain.reshape(-1, 2), log_posterior.ravel(), "emcee")
    samples = load(path)
    assert [x.name for x in samples.paramNames.names] == ["mu_cen", "mu_sat"]
    assert samples.parLabel("mu_cen") == r"\mu_\mathrm{cen}"
    assert (samples.ranges.getLower("mu_sat"), samples.ranges.getUpper("mu_sat")) == (-1, 1)
    theirs = load(emcee_file, RUN)
    np.testing.assert_allclose(samples.samples, theirs.samples, rtol=1e-15)
    np.testing.assert_allclose(samples.loglikes, theirs.loglikes, rtol=1e-15)


def test_cosmosis_weights(tmp_path):
    """Of nested samplers; a derived number is no parameter."""
    rng = np.random.default_rng(1)
    points, log_weight = rng.normal(0.5, 0.1, (300, 2)), rng.normal(-50, 1, 300)
    path = as_cosmosis(
        tmp_path / "a.txt", points, log_weight, "nautilus", DERIVED=points.sum(1), log_weight=log_weight
    )  # fmt: skip
    samples = load(path)
    weights = np.exp(log_weight) / np.exp(log_weight).sum()
    assert samples.paramNames.getRunningNames() == ["mu_cen", "mu_sat"]
    assert samples.mean("mu_cen") == pytest.approx(weights @ points[:, 0])
    assert samples.mean("DERIVED") == pytest.approx(weights @ points.sum(1))


def test_predictions_of_another_sampler_need_the_input(emcee_file):
    (fit,) = predictions(emcee_file, n=10, run=RUN)
    assert fit.chi2 == pytest.approx(8.3, abs=0.1)  # as the README's run
    with pytest.raises(ValueError, match=r"chain\.h5 does not name its parameters: .* --run RUN"):
        predictions(emcee_file)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: f.move("mcmc", "other"), "holds other; expected the group 'mcmc' of emcee"),
        (lambda f: f["mcmc/chain"].__setitem__((150, 2, 1), np.nan), "parameters of step 91 .* walker 3, are nan"),
        (lambda f: f["mcmc/log_prob"].__setitem__((199, 0), -np.inf), "log-posterior of step 140 .* -inf"),
        (lambda f: f["mcmc"].attrs.__setitem__("iteration", 0), "its chain has shape"),
        (lambda f: f["mcmc"].attrs.__delitem__("iteration"), "is damaged"),
    ],
)  # fmt: skip
def test_damaged_emcee_files_are_refused(emcee_file, tmp_path, edit, message):
    path = tmp_path / "chain.h5"
    path.write_bytes(emcee_file.read_bytes())
    with h5py.File(path, "a") as file:
        edit(file)
    with pytest.raises(ValueError, match=message):
        load(path, RUN)


def test_files_of_other_runs_are_refused(emcee_file):
    seven = RUN.replace("tng300_sample1", "tng300_all_parameters")
    with pytest.raises(ValueError, match="it has 2 parameters, but the run samples 7: mu_cen"):
        load(emcee_file, seven)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.replace("\tpost", "\tother", 1), "no column 'post'"),
        (lambda t: t + "1\t2\n", "is no table of numbers"),
        (lambda t: t.replace("\tprior\tpost", "\tpost", 1), "has 4 columns, but names 3"),
        (lambda t: "".join(x for x in t.splitlines(True) if x[0] == "#"), "no samples yet"),
        (lambda t: t.replace("2.500000000000000000e-01", "nan"), "anything but finite numbers"),
    ],
)
def test_damaged_cosmosis_files_are_refused(tmp_path, edit, message):
    points = np.full((20, 2), 0.25) + np.arange(20)[:, None] // 10 * 0.5
    path = as_cosmosis(tmp_path / "a.txt", points, -np.arange(20.0), "metropolis")
    path.write_text(edit(path.read_text()))
    with pytest.raises(ValueError, match=message):
        load(path)


def test_text_of_a_cosmosis_file_is_data(tmp_path):
    """Values that interpolate or are no numbers leave the bounds out; names with TeX are names."""
    extra = "%(x)s = ${HOME} $(touch pwned)"
    rng = np.random.default_rng(1)
    path = as_cosmosis(tmp_path / "a.txt", rng.normal(0.5, 0.1, (50, 2)), np.zeros(50), "m", extra)
    path.write_text(path.read_text().replace("--mu_sat", r"--\input{x}", 1))
    samples = load(path)
    assert samples.paramNames.getRunningNames() == ["mu_cen", "_input_x_"]
    assert samples.parLabel("_input_x_") == r"\mathrm{\_input\_x\_}"
