import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.mocks import checkpoints
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.statistics import OMEGA
from scipy.stats import truncnorm
from typer.testing import CliRunner

from iaemu_likelihood.cli import app
from iaemu_likelihood.likelihood.analytic_posterior import fixed_hod_posterior
from iaemu_likelihood.likelihood.core import CorrelationLikelihood, LikelihoodOptions
from iaemu_likelihood.likelihood.model import CorrelationModel
from iaemu_likelihood.sampling import calibration as sbc

HOD = np.array([12.54, 0.26, 12.68, 13.48, 1.0])
KINDS = ("none", "aleatoric")
N = 120


@pytest.fixture(scope="module")
def likelihoods():
    return {
        kind: CorrelationLikelihood(
            LikelihoodOptions(data_file="tng300.sample1", emulator_error=kind)
        )
        for kind in KINDS
    }


@pytest.fixture(scope="module")
def occupied():
    return CorrelationModel(Emulator.load(), [OMEGA.name]).at(torch.as_tensor(HOD)[None])


def model(occupied, likelihood, truth):
    """Mean and covariance, of emulator and data, at n alignment strengths."""
    (part,) = likelihood.data.parts
    moments = occupied(torch.as_tensor(truth), likelihood.errors)
    binned = occupied.binned(moments, part.statistics, part.r_edges, likelihood.errors)
    mean, covariance = (x if x is None else x.numpy() for x in likelihood.model([binned]))
    extra = 0 if covariance is None else covariance
    return mean, likelihood.data.covariance + extra


@pytest.fixture(scope="module")
def gaussian_mocks(occupied, likelihoods):
    """Of the emulator's own noise, so that the aleatoric covariance is the truth."""
    rng = np.random.default_rng(3)
    truth = rng.uniform(-1, 1, (N, 2))
    mean, covariance = model(occupied, likelihoods["aleatoric"], truth)
    white = rng.normal(size=(*mean.shape, 1))
    deviation = (np.linalg.cholesky(covariance) @ white)[..., 0]
    return sbc.Mocks(truth, mean, deviation)


@pytest.fixture(scope="module")
def calibration(gaussian_mocks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sbc, "draw_mocks", lambda *arguments: gaussian_mocks)
        return sbc.calibrate("sample1", N, errors=KINDS, n_nodes=48, progress=False, scatter="both")


def test_moments_and_distribution_of_marginals_against_truncated_gaussians():
    nodes, weights = np.polynomial.legendre.leggauss(48)
    low, high = np.array([[-0.2, 0.7]]), np.array([[0.6, 1.0]])
    exact = [truncnorm(-4, 4, 0.2, 0.1), truncnorm(-4, 2, 0.9, 0.05)]
    at = (low + high)[..., None] / 2 + (high - low)[..., None] / 2 * nodes
    mass = np.stack([f.pdf(x) for f, x in zip(exact, at[0], strict=True)]) * weights
    marginals = sbc.Marginals(low, high, (mass / mass.sum(-1, keepdims=True))[None])
    np.testing.assert_allclose(marginals.mean[0], [f.mean() for f in exact], rtol=1e-8)
    np.testing.assert_allclose(marginals.std[0], [f.std() for f in exact], rtol=1e-8)
    for mu in ([0.15, 0.98], [0.31, 0.84], [-0.5, 1.0]):
        expected = [f.cdf(x) for f, x in zip(exact, mu, strict=True)]
        np.testing.assert_allclose(marginals.cdf(np.array([mu]))[0], expected, atol=1e-9)


def test_posteriors_with_a_fixed_covariance_against_the_closed_form(
    occupied, likelihoods, gaussian_mocks
):
    one = likelihoods["none"]
    # P2 is 1 at mu = 1 and 0 at mu = 0.
    (omega_c, omega_s), covariance = model(occupied, one, np.eye(2))
    data = gaussian_mocks.data[:8]
    found = sbc.marginals({"none": one}, occupied, data, progress=False)["none"]
    for vector, mean, std in zip(data, found.mean, found.std, strict=True):
        exact = fixed_hod_posterior(omega_c, omega_s, vector, covariance)
        np.testing.assert_allclose(mean, exact.mean, atol=1e-4 * exact.std.min())
        np.testing.assert_allclose(std, exact.std, rtol=1e-4)


def test_posteriors_with_aleatoric_covariance_against_the_likelihood_itself(occupied, likelihoods):
    likelihood = likelihoods["aleatoric"]
    nodes, weights = np.polynomial.legendre.leggauss(160)
    grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1)
    # A posterior that is wide and far from the limits, so that nodes all over the square are enough.
    data, _ = model(occupied, likelihoods["none"], np.array([[0.1, -0.1]]))
    mean, covariance = model(occupied, likelihood, grid.reshape(-1, 2))
    residual = data - mean
    chi2 = np.einsum("ni,ni->n", residual, np.linalg.solve(covariance, residual[..., None])[..., 0])
    logs = (-0.5 * chi2 - 0.5 * np.linalg.slogdet(covariance)[1]).reshape(160, 160)
    density = np.exp(logs - logs.max()) * weights[:, None] * weights
    density /= density.sum()
    found = sbc.marginals({"a": likelihood}, occupied, data, progress=False)["a"]
    for i, marginal in enumerate((density.sum(1), density.sum(0))):
        expected = marginal @ nodes
        assert found.mean[0, i] == pytest.approx(expected, abs=1e-6)
        assert found.std[0, i] == pytest.approx(
            np.sqrt(marginal @ (nodes - expected) ** 2), rel=1e-5
        )


@pytest.mark.slow
def test_ranks_are_uniform_with_the_right_covariance_and_not_without(calibration):
    rows = calibration.numbers["emulator_error"]
    for row in rows["aleatoric"].values():
        assert row["chi2_probability"] > 0.01
        assert row["ks_probability"] > 0.01
        for level, scatter in calibration.numbers["expected_scatter_of_coverage"].items():
            assert row["coverage"][level] == pytest.approx(float(level), abs=3.5 * scatter)
        assert row["std_z"] == pytest.approx(1, abs=0.2)
    for row in rows["none"].values():
        assert row["coverage"]["0.683"] < 0.6
        assert row["coverage"]["0.954"] < 0.9
        assert row["std_z"] > 1.2


def test_mocks_without_the_scatter_of_a_catalogue_are_the_tabulated_expectation(
    likelihoods, occupied
):
    """Averaged from the paper's bins, it is near the networks' mean, which is from finer ones."""
    one = likelihoods["none"]
    mocks = sbc.expected_mocks("sample1", one, 400, 3)
    sigma = np.sqrt(np.diag(one.data.covariance))
    mean, _ = model(occupied, one, mocks.truth)
    assert np.sqrt(np.mean(((mocks.signal - mean) / sigma) ** 2)) < 0.15
    np.testing.assert_allclose((mocks.noise / sigma).std(axis=0), 1, atol=0.15)
    again = sbc.expected_mocks("sample1", one, 400, 3)
    np.testing.assert_array_equal(again.data, mocks.data)
    assert (np.abs(mocks.truth) < 1).all()


def test_posteriors_of_data_with_one_scatter_are_calibrated_without_the_aleatoric_term():
    found = sbc.calibrate("sample1", N, 1, errors=KINDS, n_nodes=48, progress=False)
    assert found.numbers["scatter"] == "data"
    for row in found.numbers["emulator_error"]["none"].values():
        assert row["ks_probability"] > 0.01
        assert row["std_z"] == pytest.approx(1, abs=0.2)
    for row in found.numbers["emulator_error"]["aleatoric"].values():
        assert row["std_z"] < 0.85
    assert "the noise of the data" in found.tables()[0].title
    assert "validate pulls" in found.sentences()[1]


def test_looking_first_elsewhere_finds_the_same_posterior(occupied, likelihoods, gaussian_mocks):
    data = gaussian_mocks.data[:2]
    arguments = {"none": likelihoods["none"]}, occupied, data
    everywhere = sbc.marginals(*arguments, progress=False)["none"]
    start = np.array([[-1.0, 0.5], [-0.9, 0.6]])
    found = sbc.marginals(*arguments, progress=False, start=start)["none"]
    np.testing.assert_allclose(found.mean, everywhere.mean, atol=1e-3 * everywhere.std.min())
    np.testing.assert_allclose(found.std, everywhere.std, rtol=1e-3)


def test_posteriors_of_mocks_do_not_depend_on_the_callers_state(likelihoods, gaussian_mocks):
    """And what the model has kept of them serves gradients, too."""
    one, data = {"none": likelihoods["none"]}, gaussian_mocks.data[:3]

    def found():
        occupied = CorrelationModel(Emulator.load(), [OMEGA.name]).at(torch.as_tensor(HOD)[None])
        return sbc.marginals(one, occupied, data, 24, progress=False)["none"], occupied

    expected, _ = found()
    with torch.inference_mode(), np.errstate(all="raise"):
        other, _ = found()
    np.testing.assert_array_equal(other.mean, expected.mean)
    mu = torch.full((1, 2), 0.5, dtype=torch.float64, requires_grad=True)
    (part,) = likelihoods["none"].data.parts
    _, occupied = found()
    occupied.binned(occupied(mu), part.statistics, part.r_edges)[0].sum().backward()
    assert mu.grad.isfinite().all()


def test_coverage_counts_central_intervals():
    ranks = np.array([0.1, 0.4, 0.5, 0.7, 0.99])
    np.testing.assert_allclose(sbc.coverage(ranks, [0.25, 0.5, 0.9, 1.0]), [0.4, 0.6, 0.8, 1.0])
    uniform = (np.arange(1000) + 0.5) / 1000
    summary = sbc.summary(uniform, np.zeros(1000))
    assert summary["chi2"] == 0
    assert summary["coverage"] == {"0.683": pytest.approx(0.683, abs=0.002), "0.954": 0.954}


def test_too_few_nodes_are_refused_before_mocks_are_drawn(monkeypatch):
    monkeypatch.setattr(sbc, "expected_mocks", None)
    with pytest.raises(ValueError, match=r"With 10 nodes ranks are known only to .*--nodes"):
        sbc.calibrate("sample1", N, errors=["none"], n_nodes=10, progress=False)


def test_what_cannot_be_calibrated_is_refused(small_halos_table, tmp_path):
    with pytest.raises(ValueError, match="No TNG300 sample 'sample4'"):
        sbc.calibrate("sample4")
    with pytest.raises(ValueError, match="n is 30; a histogram of 20 bins takes at least 100"):
        sbc.calibrate(n=30)
    for changed, message in (
        ({"seed": -1}, "seed must be a whole number of 0 or more; got -1"),
        ({"n_nodes": 0}, "n_nodes must be a whole number of 2 or more; got 0"),
        ({"n": 200.5}, "n must be a whole number of 0 or more; got 200.5"),
        ({"n": np.nan}, "n must be .* got nan"),
        ({"weights": "paper", "errors": ["both"]}, "got 'both'"),
        ({"scatter": "none"}, "scatter must be one of data, both; got 'none'"),
    ):
        with pytest.raises(ValueError, match=message):
            sbc.calibrate(**changed)
    small_halos_table.write(tmp_path / "small.ecsv")
    with pytest.raises(ValueError, match=r"trained on the halo catalogue 'bundled'.*--halos"):
        sbc.calibrate(halos=tmp_path / "small.ecsv")


def test_mocks_follow_from_seed_and_number_alone(likelihoods, small_halos, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SAVE_EVERY_S", 0.0)
    one = likelihoods["none"]

    def draw(n, seed=5, folder=None):
        return sbc.draw_mocks(small_halos, one, HOD, n, seed, folder, progress=False)

    whole = draw(6)
    assert (np.abs(whole.truth) < 1).all()
    assert whole.data.shape == (6, len(one.data.values))
    measure, done = sbc.measure, []

    def killed(*arguments):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(measure(*arguments))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(sbc, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            draw(6, folder=tmp_path)
    with monkeypatch.context() as patch:
        done.clear()
        patch.setattr(sbc, "measure", killed)  # three are left
        resumed = draw(6, folder=tmp_path)
    for mine, theirs in zip(dataclasses.astuple(resumed), dataclasses.astuple(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not np.isin(draw(2, seed=6).truth, whole.truth).any()
    with pytest.raises(ValueError, match="made with seed = 5, not 6"):
        draw(6, seed=6, folder=tmp_path)


def test_measurement_noise_has_the_covariance_of_the_data(likelihoods, small_halos, monkeypatch):
    one = likelihoods["none"]
    bins = np.zeros((1, len(one.data.values)))
    monkeypatch.setattr(sbc, "populate", lambda *arguments: None)
    monkeypatch.setattr(sbc, "measure", lambda *arguments: SimpleNamespace(correlations=bins))
    mocks = sbc.draw_mocks(small_halos, one, HOD, 2000, 0, progress=False)
    np.testing.assert_array_equal(mocks.data, mocks.noise)
    ratio = np.cov(mocks.noise.T) / np.sqrt(
        np.outer(np.diag(one.data.covariance), np.diag(one.data.covariance))
    )
    np.testing.assert_allclose(ratio, np.eye(bins.size), atol=0.15)


def test_a_bin_without_pairs_is_named(likelihoods, small_halos):
    few = np.array([14.5, 0.2, 15.0, 15.5, 1.0])
    with pytest.raises(ValueError, match=r"Mock 0 has \d+ galaxies and no pair.*omega"):
        sbc.draw_mocks(small_halos, likelihoods["none"], few, 1, 0, progress=False)


def test_command_prints_and_keeps_the_numbers(calibration, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        sbc, "calibrate", lambda *arguments, **more: asked.append((arguments, more)) or calibration
    )
    result = CliRunner().invoke(
        app,
        ["validate", "calibration", "--sample", "sample1", "--n", str(N), "--seed", "7",
         "--scatter", "both", "--emulator-error", "none", "--emulator-error", "aleatoric",
         "--checkpoints", str(tmp_path), "--json", str(tmp_path / "c.json"),
         "--figure", str(tmp_path / "c.png")],
        env={"COLUMNS": "200"},
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert asked == [
        (
            (
                "sample1",
                N,
                7,
                "templates",
                "bundled",
                ["none", "aleatoric"],
                64,
                tmp_path / "sample1",
            ),
            {"scatter": "both"},
        )
    ]
    assert "aleatoric" in result.output
    written = json.loads((tmp_path / "c.json").read_text())
    assert written.pop("command").startswith("iaemu validate calibration --sample sample1 --n 120")
    assert written == calibration.numbers
    assert (tmp_path / "c.png").stat().st_size > 10_000
