"""The learned noise: its algebra against `Noise`, and its losses against closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.datasets import DataSet, Recipe, make_dataset
from iaemu_likelihood.emulator.networks.perceptron import hidden, side_by_side
from iaemu_likelihood.emulator.noise.blocks import (
    PAIRS,
    SHAPE_BLOCKS,
    block_stds,
    correlation_factors,
    occupation_blocks,
    rows_of_block,
)
from iaemu_likelihood.emulator.noise.learned import NoiseModel, Strengths
from iaemu_likelihood.emulator.noise.losses import block_loss, factor_loss
from iaemu_likelihood.emulator.noise.targets import NoiseTargets
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, ETA, OMEGA, XI, named
from iaemu_likelihood.emulator.physics.watson import (
    axis_variances,
    one_p2_and_axis_variances_series,
    p2,
)

STATISTICS = named(DEFAULT_STATISTICS)
MU = [(0.8, 0.3), (-0.6, 0.95), (0.1, -0.9), (0.0, 0.0)]
N_BINS = 20


@pytest.fixture(scope="module")
def realisations(small_halos_table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    small_halos_table.write(folder / "small.ecsv")
    recipe = Recipe("realisations", 3, 5, 12, halos=str(folder / "small.ecsv"),
                    domain={"logMmin": [11.6, 12.0], "logM0_max": 12.5})  # fmt: skip
    return DataSet.read(make_dataset(recipe, folder / "noise.hdf5", progress=False))


@pytest.fixture(scope="module")
def moments(realisations):
    noises = [realisations.noise(point) for point in range(len(realisations))]
    return NoiseTargets.of(noises, realisations.columns["templates"].astype(float).mean(axis=1))


def outputs_of(blocks):
    """Outputs that stand for these blocks, (size, size, n_bins)."""
    rows = []
    for block in blocks:
        for i in range(len(block)):
            before = block[:i, :i].transpose(2, 0, 1)
            cross = block[i, :i].T[..., None]
            t = np.linalg.solve(before, cross)[..., 0] if i else np.zeros((block.shape[-1], 0))
            residual = block[i, i] - np.einsum("bi,ib->b", t, block[i, :i])
            rows += [np.log(residual), *t.T]
    return np.array(rows)


def squares(triangles, sizes):
    """Symmetric blocks from rows of triangles whose diagonal comes first in its row."""
    blocks, at = [], 0
    for size in sizes:
        block = np.empty((size, size, triangles.shape[-1]))
        for i in range(size):
            block[i, i] = triangles[at]
            for j in range(i):
                block[i, j] = block[j, i] = triangles[at + 1 + j]
            at += 1 + i
        blocks.append(block)
    return blocks


@pytest.fixture(scope="module")
def perfect(moments):
    """A model whose networks give the moments of the first point whatever their input."""
    loadings = np.zeros(6 * N_BINS * 2)
    occupation = outputs_of(squares(moments.occupation[0], occupation_blocks(STATISTICS))).ravel()
    shape = outputs_of(squares(moments.shape[0], SHAPE_BLOCKS)).ravel()
    shape = np.concatenate([shape, np.log(moments.pairs[0]).ravel()])
    i, j = np.tril_indices(3 * N_BINS)
    tensors = {}
    for part, values, rest in (("occupation", occupation, loadings), ("shape", shape, np.zeros(1))):
        tensors[f"{part}.offset"] = torch.as_tensor(values)
        tensors[f"{part}.scale"] = torch.ones(len(values), dtype=torch.float64)
        n_out = len(values) + len(rest)
        for k, size in enumerate([(5, 4), (4, n_out)]):
            tensors[f"{part}.weights.{k}"] = torch.zeros(size, dtype=torch.float64)
            tensors[f"{part}.biases.{k}"] = torch.zeros(1, size[1], dtype=torch.float64)
    tensors["shape.components"] = torch.zeros(1, 6 * len(i), dtype=torch.float64)
    tensors["shape.centre"] = torch.as_tensor(moments.cholesky[0][:, i, j]).double().flatten()
    return NoiseModel(tensors, STATISTICS, N_BINS)


@pytest.mark.slow
@pytest.mark.parametrize("mu", MU)
def test_the_closed_form_equals_the_noise_it_was_made_of(perfect, realisations, mu):
    noise = realisations.noise(0)
    x, strengths = torch.zeros(1, 5, dtype=torch.float64), torch.tensor([mu], dtype=torch.float64)
    n = len(noise.templates)
    counted = np.isfinite(noise.templates).all(axis=(0, 1))
    assert counted.sum() > 12
    expected = noise.occupation_covariance(*mu) * (n - 1) / n
    expected += noise.shape_covariance(*mu)
    sigma = perfect.at(x).sigma(Strengths.of(strengths))[0].numpy()
    np.testing.assert_allclose(
        sigma[:, counted] ** 2, np.diag(expected).reshape(3, -1)[:, counted], rtol=5e-4
    )
    # Correlations of the shape noise, whose factors are blurred by 1e-3; those of the occupation
    # are left out on both sides at random axes, where it has none but in xi.
    covariance = perfect.at(x).covariance(Strengths.of(strengths))[0].numpy()
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), sigma.ravel(), rtol=1e-10)
    assert np.linalg.eigvalsh(covariance).min() > -1e-12 * covariance.max()
    if mu == (0.0, 0.0):
        rows = np.concatenate(
            [N_BINS + np.flatnonzero(counted), 2 * N_BINS + np.flatnonzero(counted)]
        )
        a, b = (m[np.ix_(rows, rows)] for m in (covariance, expected))
        scale = np.sqrt(np.outer(np.diag(b), np.diag(b)))
        np.testing.assert_allclose(a / scale, b / scale, atol=2e-3)


@pytest.mark.slow
def test_draws_have_the_covariance(perfect):
    x = torch.zeros(20_000, 5, dtype=torch.float64)
    mu = torch.tensor([[0.5, 0.7]], dtype=torch.float64).expand(len(x), 2)
    generator = torch.Generator().manual_seed(1)
    draws = torch.cat([perfect.at(a).draw(Strengths.of(b), generator) for a, b in zip(x.split(500), mu.split(500), strict=True)])  # fmt: skip
    expected = perfect.at(x[:1]).covariance(Strengths.of(mu[:1]))[0]
    scale = torch.outer(expected.diagonal().sqrt(), expected.diagonal().sqrt())
    found = torch.cov(draws.flatten(1).T)
    assert (found / scale - expected / scale).abs().max() < 6 / np.sqrt(len(x))
    again = perfect.at(x[:500]).draw(Strengths.of(mu[:500]), torch.Generator().manual_seed(1))
    torch.testing.assert_close(again, draws[:500], rtol=0, atol=0)


def test_one_occupation_serves_many_strengths_and_some_statistics(perfect):
    mu = torch.tensor([[0.5, 0.7], [-0.2, 0.9], [1.0, -1.0]], dtype=torch.float64)
    at = Strengths.of(mu)
    x = torch.zeros(3, 5, dtype=torch.float64)
    one, many = perfect.at(x[:1]), perfect.at(x)
    torch.testing.assert_close(one.sigma(at), many.sigma(at))
    whole = many.covariance(at)
    torch.testing.assert_close(one.covariance(at), whole)
    some = [*range(N_BINS), *range(2 * N_BINS, 3 * N_BINS)]
    for noise in (perfect.at(x[:1], (XI, ETA)), perfect.at(x, (XI, ETA))):
        torch.testing.assert_close(noise.covariance(at), whole[:, some][:, :, some])
        torch.testing.assert_close(noise.sigma(at), one.sigma(at)[:, [0, 2]])
    # In the order of the weights, whatever the order they are asked for in.
    torch.testing.assert_close(one.sigma(at)[:, [0, 2]], perfect.at(x, (ETA, XI)).sigma(at))
    for i, statistic in enumerate((XI, OMEGA, ETA)):
        (of_one,) = perfect.at(x, (statistic,)).covariance(at)[None]
        rows = slice(i * N_BINS, (i + 1) * N_BINS)
        torch.testing.assert_close(of_one, whole[:, rows, rows])
    a, b = (noise.draw(at, torch.Generator().manual_seed(4)) for noise in (one, many))
    torch.testing.assert_close(a, b)


def test_two_networksside_by_side_have_the_features_of_each():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(3, 5, generator=generator)

    def network(width, depth):
        sizes = [5] + [width] * depth
        weights = [torch.randn(a, b, generator=generator) for a, b in itertools.pairwise(sizes)]
        return weights, [torch.randn(1, width, generator=generator) for _ in range(depth)]

    for first, second in (((4, 3), (6, 3)), ((4, 1), (6, 3)), ((4, 3), (6, 2))):
        both = network(*first), network(*second)
        expected = torch.cat([hidden(x, *each) for each in both], 1)
        torch.testing.assert_close(hidden(x, *side_by_side(*both)), expected)


def test_variances_are_those_of_the_blocks():
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 4):
        x = rng.normal(size=(10, size, N_BINS)) * 3.0 ** np.arange(size)[:, None]
        block = np.einsum("nib,njb->ijb", x, x)
        outputs = torch.as_tensor(outputs_of([block]))
        own, coefficients = rows_of_block(size)
        rows = outputs[own].exp().unbind(0), outputs[coefficients].unbind(0)
        np.testing.assert_allclose(
            block_stds(*rows).numpy() ** 2, np.einsum("iib->ib", block), rtol=1e-10
        )


def test_the_block_loss_is_least_at_the_moments():
    rng = np.random.default_rng(3)
    sizes = (1, 2, 3)
    x = rng.normal(size=(50, 3, 3, 2))
    blocks = [np.einsum("nib,njb->ijb", x[:, :k, k - 1], x[:, :k, k - 1]) / 50 for k in sizes]
    moments = np.concatenate(
        [[b[i, j] for i in range(len(b)) for j in (i, *range(i))] for b in blocks]
    )
    moments = torch.as_tensor(moments)[None]
    best = torch.as_tensor(outputs_of(blocks))[None].requires_grad_()
    loss = block_loss(best, moments, sizes).sum()
    # Twice the negative log-likelihood: log determinant plus dimension.
    expected = sum(np.linalg.slogdet(b.transpose(2, 0, 1))[1].sum() + 2 * len(b) for b in blocks)
    assert loss.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(loss, best)
    assert gradient.abs().max() < 1e-10
    assert block_loss(best + 0.1, moments, sizes).sum() > loss


def test_the_factor_loss_is_that_of_a_gaussian():
    generator = torch.Generator().manual_seed(2)
    loadings = torch.randn(4, 7, 2, generator=generator, dtype=torch.float64)
    z = torch.randn(4, 5, 7, generator=generator, dtype=torch.float64)
    z[1, 2, 3] = torch.nan  # a bin without pairs in one catalogue
    found = factor_loss(loadings, z)
    for point in range(4):
        used = torch.isfinite(z[point]).all(0)
        factors, own = correlation_factors(loadings[point])
        correlation = factors @ factors.T + torch.diag(own**2)
        torch.testing.assert_close(correlation.diagonal(), torch.ones(7, dtype=torch.float64))
        gaussian = torch.distributions.MultivariateNormal(
            torch.zeros(int(used.sum()), dtype=torch.float64), correlation[used][:, used]
        )
        expected = -2 * gaussian.log_prob(z[point][:, used]).mean() / used.sum() - np.log(2 * np.pi)
        assert found[point].item() == pytest.approx(expected.item())


def test_p2_and_axis_variances_of_tensors_and_their_gradients():
    mu = torch.linspace(-1, 1, 41, dtype=torch.float64)
    found = one_p2_and_axis_variances_series(mu)
    assert (found[:, 0] == 1).all()
    np.testing.assert_allclose(found[:, 1], p2(mu.numpy()), atol=1e-12)
    np.testing.assert_allclose(found[:, 2:], axis_variances(mu.numpy()), atol=1e-12)
    single = one_p2_and_axis_variances_series(mu.float())
    torch.testing.assert_close(single.double(), found, rtol=0, atol=2e-6)
    inner = mu[1:-1].clone().requires_grad_()
    torch.testing.assert_close(one_p2_and_axis_variances_series(inner).detach(), found[1:-1])
    assert torch.autograd.gradcheck(one_p2_and_axis_variances_series, (inner,))


def test_the_pairs_count_every_combination_once():
    weights = torch.rand(2, 3, dtype=torch.float64)
    assert len(PAIRS) == len(set(PAIRS)) == 21
    total = sum(
        weights[t, m] * weights[u, n] * (1 if (t, m) == (u, n) else 2) for t, m, u, n in PAIRS
    )
    assert total.item() == pytest.approx(weights.sum().item() ** 2)
