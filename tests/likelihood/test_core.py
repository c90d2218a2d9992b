"""The emulator in the bins of data, its covariances there, and what a likelihood makes of them."""

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS

from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.likelihood.core import (
    EMULATOR_ERRORS,
    CorrelationLikelihood,
    LikelihoodOptions,
)
from iaemu_likelihood.likelihood.model import CorrelationModel

KINDS = ("aleatoric", "epistemic")
# mu_cen, mu_sat, and TNG300's first sample.
THETA = torch.tensor([[0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0]], dtype=torch.float64)
EDGES = tuple(Measurement.read("tng300.sample1").cut(0.1, 15.85).r_edges.tolist())


@pytest.fixture(scope="module", params=["templates", "paper"])
def emulator(request):
    return Emulator.load(request.param)


def moments_of(emulator, theta, statistics, r_edges, errors=()):
    with torch.no_grad():
        at = CorrelationModel(emulator, DEFAULT_STATISTICS).at(theta[:, 2:])
        return at.binned(at(theta[:, :2], errors), statistics, r_edges, errors)


@pytest.mark.slow
def test_rebinned_covariance_is_that_of_rebinned_catalogues():
    # Each drawn catalogue averaged with its own pair counts, as a measurement would be. The model's
    # map has the mean ones; what this leaves out must be small.
    emulator = Emulator.load()
    n = 8_000
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        mean = emulator(THETA, epistemic=False)
        noise = torch.cat(
            [emulator.draw_noise(THETA.expand(500, 7), generator) for _ in range(n // 500)]
        ).numpy()
    xi, omega, eta = (
        x.numpy() + noise[:, i] for i, x in enumerate((mean.xi, mean.omega, mean.eta))
    )
    drawn = np.hstack(PairWeightedBinning(emulator.r_edges, EDGES)(xi, omega, eta))
    known = (x[0].numpy() for x in (mean.xi, mean.omega, mean.eta))
    expected = np.hstack(PairWeightedBinning(emulator.r_edges, EDGES)(*known))
    _, covariances = moments_of(emulator, THETA, DEFAULT_STATISTICS, EDGES, ("aleatoric",))
    covariance = covariances["aleatoric"][0].numpy()
    sigma = np.sqrt(np.diag(covariance))
    # Means: within the error of 8,000 draws, and what is of second order in the noise of xi.
    np.testing.assert_array_less(np.abs(drawn.mean(0) - expected), 0.05 * sigma)
    np.testing.assert_allclose(drawn.std(0), sigma, rtol=0.03)
    correlation = covariance / np.outer(sigma, sigma)
    assert np.abs(np.corrcoef(drawn.T) - correlation).max() < 0.04


def test_mean_is_the_prediction_rebinned_in_the_order_asked_for(emulator):
    occupied = emulator.at(THETA[:, 2:].numpy(), emulator.statistics)
    fine = occupied(THETA[:, :2].numpy(), emulator.statistics)[0][0]
    edges = emulator.fine_edges[: emulator.n_fine() + 1]
    _, omega, eta = PairWeightedBinning(edges, EDGES)(occupied.excess[0], fine[1], fine[2])
    p = emulator.predict(THETA[0].numpy())
    mean, _ = moments_of(emulator, THETA, ("eta", "omega"), EDGES)
    np.testing.assert_allclose(mean[0], np.concatenate([eta, omega]), rtol=1e-9)
    mean, _ = moments_of(emulator, THETA, ("eta", "xi"), None)
    np.testing.assert_allclose(mean[0], np.concatenate([p.eta, p.xi]), rtol=1e-9)


def test_covariances_of_own_bins_are_the_emulators(emulator):
    _, covariances = moments_of(emulator, THETA, ("eta", "xi"), None, KINDS)
    p = emulator.predict(THETA[0].numpy())
    for kind in KINDS:
        sigma = getattr(p, kind)
        diagonal = covariances[kind][0].diagonal().sqrt().numpy()
        np.testing.assert_allclose(diagonal, np.concatenate([sigma.eta, sigma.xi]), rtol=1e-6)
    whole = emulator.covariance(THETA[0].numpy())
    rows = np.r_[40:60, 0:20]
    np.testing.assert_allclose(covariances["aleatoric"][0], whole[np.ix_(rows, rows)], atol=1e-15)


def test_many_points_at_once_are_single_points(emulator):
    theta = torch.as_tensor(emulator.domain.sample(6, seed=4))
    for statistics, edges in (
        (("omega",), EDGES),
        (("eta", "xi", "omega"), EDGES),
        (("xi",), None),
    ):
        mean, covariances = moments_of(emulator, theta, statistics, edges, KINDS)
        for i in range(len(theta)):
            one, each = moments_of(emulator, theta[i : i + 1], statistics, edges, KINDS)
            # The paper's network computes in float32.
            np.testing.assert_allclose(mean[i], one[0], rtol=1e-5, atol=1e-7)
            for kind in KINDS:
                scale = each[kind][0].diagonal().sqrt()
                difference = (covariances[kind][i] - each[kind][0]).abs()
                assert (difference <= 1e-5 * scale[:, None] * scale).all()


def test_one_row_of_many_is_that_point(emulator):
    theta = torch.as_tensor(emulator.domain.sample(3, seed=4))
    with torch.no_grad():
        at = CorrelationModel(emulator, ("xi", "omega")).at(theta[:, 2:])
        moments = at(theta[:, :2], KINDS)
        for statistics in (("omega",), ("xi",), ("omega", "xi")):
            mean, covariances = at.binned(moments, statistics, EDGES, KINDS)
            for row in range(3):
                one, each = at.binned(moments, statistics, EDGES, ("epistemic",), row)
                np.testing.assert_allclose(one[0], mean[row], rtol=1e-12)
                expected = covariances["epistemic"][row]
                np.testing.assert_allclose(each["epistemic"][0], expected, rtol=1e-10, atol=1e-20)
                assert set(each) == {"epistemic"}


def test_one_occupation_with_many_strengths(emulator):
    mu = torch.tensor([[0.1, 0.2], [-0.5, 0.9], [1.0, -1.0]], dtype=torch.float64)
    with torch.no_grad():
        at = CorrelationModel(emulator, DEFAULT_STATISTICS).at(THETA[:, 2:])
        mean, covariances = at.binned(at(mu, KINDS), ("omega", "eta"), EDGES, KINDS)
    theta = torch.cat([mu, THETA[:, 2:].expand(3, 5)], dim=1)
    expected, each = moments_of(emulator, theta, ("omega", "eta"), EDGES, KINDS)
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-7)
    for kind in KINDS:
        np.testing.assert_allclose(
            covariances[kind].diagonal(dim1=1, dim2=2), each[kind].diagonal(dim1=1, dim2=2), rtol=1e-4
        )  # fmt: skip


def test_occupation_is_kept_until_it_changes(emulator):
    model = CorrelationModel(emulator, ("omega",))
    first = model.at(THETA[:, 2:])
    assert model.at(THETA[:, 2:].clone()) is first
    moved = THETA[:, 2:].clone()
    moved[0, -1] += 1e-9
    assert model.at(moved) is not first
    # Nothing with a graph behind it is kept.
    assert model.at(moved.requires_grad_()) is not model.at(moved)


def likelihood(**options):
    return CorrelationLikelihood(LikelihoodOptions(data_file="tng300.sample1", **options))


@pytest.mark.parametrize("error", EMULATOR_ERRORS)
def test_emulator_error_is_what_is_added(emulator, error):
    cuts = {"r_min": {"xi": 1.0, "omega": 0.3}, "r_max": {"xi": 1000.0, "omega": 5.0}}
    core = likelihood(statistics=["xi", "omega"], emulator_error=error, normalized=True, **cuts)
    (part,) = core.data.parts
    keep = part.keep.ravel()
    _, covariances = moments_of(emulator, THETA, part.statistics, part.r_edges, KINDS)
    expected = sum((covariances[k][0].numpy()[np.ix_(keep, keep)] for k in EMULATOR_ERRORS[error]), np.zeros((12, 12)))  # fmt: skip
    moments = moments_of(emulator, THETA, part.statistics, part.r_edges, core.errors)
    mean, covariance = core.model([moments])
    if error == "none":
        assert covariance is None
    else:
        np.testing.assert_allclose(covariance[0], expected, rtol=1e-9, atol=1e-18)
    total = core.data.covariance + expected
    residual = mean[0].numpy() - core.data.values
    log_likelihood, chi2 = core([moments])
    assert float(chi2) == pytest.approx(residual @ np.linalg.solve(total, residual), rel=1e-9)
    log_determinant = np.linalg.slogdet(2 * np.pi * total)[1]
    assert float(log_likelihood) == pytest.approx(-(float(chi2) + log_determinant) / 2, rel=1e-9)
    said = " ".join(core.describe())
    assert ("covariance is added" in said) == (error != "none")


def test_scatter_of_a_mean_of_catalogues_in_another_volume():
    options = {"emulator_error": "total", "n_realisations": 4, "volume_factor": 3.0}
    core = likelihood(**options)
    moments = moments_of(Emulator.load(), THETA, ("omega",), EDGES, KINDS)
    _, covariance = core.model([moments])
    expected = 0.75 * moments[1]["aleatoric"] + moments[1]["epistemic"]
    np.testing.assert_allclose(covariance, expected, rtol=1e-12)
    assert "aleatoric, times 0.75" in " ".join(core.describe())


def test_samples_are_independent_in_the_emulators_covariance():
    core = CorrelationLikelihood(
        LikelihoodOptions(
            data_file=["tng300.sample1", "tng300.sample2"],
            sample=["sample1", "sample2"],
            r_min=1.0,
            emulator_error="total",
        )
    )
    theta = torch.cat([THETA, THETA + 0.05])
    each = [
        moments_of(Emulator.load(), theta[i : i + 1], ("omega",), part.r_edges, KINDS)
        for i, part in enumerate(core.data.parts)
    ]
    mean, covariance = core.model(each)
    np.testing.assert_array_equal(mean[0], np.concatenate([m[0][0] for m in each]))
    for i, (_, kinds) in enumerate(each):
        block = slice(6 * i, 6 * i + 6)
        np.testing.assert_array_equal(covariance[0, block, block], (kinds["aleatoric"] + kinds["epistemic"])[0])  # fmt: skip
    assert (covariance[0, :6, 6:] == 0).all()
    # So the joint log-likelihood is the sum of both.
    alone = [
        CorrelationLikelihood(
            LikelihoodOptions(data_file=f"tng300.{s}", sample=s, r_min=1.0, emulator_error="total")
        )([moments])[0]
        for s, moments in zip(core.options.samples, each, strict=True)
    ]
    assert float(core(each)[0]) == pytest.approx(float(sum(alone)), rel=1e-12)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("n_realisations", float("inf")), ("n_realisations", 2.0), ("n_realisations", True),
        ("n_realisations", "3"), ("volume_factor", float("nan")), ("volume_factor", "3e-3"),
        ("r_min", float("nan")), ("r_min", True), ("r_max", "3e-3"),
        ("r_min", {"omega": float("nan")}), ("r_max", {"omega": "1"}),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused_by_the_name_of_the_option(option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        LikelihoodOptions("tng300.sample1", **{option: value})
