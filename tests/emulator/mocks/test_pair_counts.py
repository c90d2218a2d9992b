"""Pair loops against direct sums over all pairs."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from iaemu_likelihood.emulator.mocks import pair_counts
from iaemu_likelihood.emulator.mocks.pair_counts import (
    CellGrid,
    kernel_sums,
    pair_sums,
    plain_sums,
    shape_sums,
    tensor,
)
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, STATISTICS, named
from scipy.spatial import cKDTree

BOX = 40.0
KERNELS = [statistic.kernel for statistic in STATISTICS.values()]
EDGES = np.array([0.5, 1.0, 2.5, 6.0, 12.0])


def points(n=300, seed=0):
    rng = np.random.default_rng(seed)
    position = rng.uniform(0, BOX, (n, 3))
    position[n // 2 :] = (position[: n - n // 2] + rng.normal(0, 1.0, (n - n // 2, 3))) % BOX
    axis, drawn = rng.normal(size=(2, n, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return position, axis, drawn, rng.integers(0, 3, n)


def separations(position, periodic=True):
    d = position[None] - position[:, None]
    if periodic:
        d -= BOX * np.round(d / BOX)
    return d, np.linalg.norm(d, axis=2)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(
    "edges", [EDGES, np.linspace(3.0, 12.0, 700)], ids=["few bins", "narrow bins"]
)
def test_pair_sums_equal_a_direct_sum(periodic, edges):
    position, axis, drawn, kind = points()
    got = pair_sums(position, axis, kind, 3, BOX, edges, drawn, periodic)
    d, r = separations(position, periodic)
    with np.errstate(invalid="ignore"):
        rhat = d / r[..., None]
    carried = np.einsum("ik,ijk->ij", axis, rhat) ** 2
    drawn_carried = np.einsum("ik,ijk->ij", drawn, rhat) ** 2
    for b in range(len(edges) - 1):
        inside = (r > edges[b]) & (r <= edges[b + 1])
        for t in range(3):
            i, j = np.nonzero(inside & (kind[:, None] == t))
            # Which member of a pair is the first is not defined: join both halves.
            assert (got["pairs"][t].sum(0) + got["pairs"][:, t].sum(0))[b] == len(i)
            both = got["carried_first"][t].sum(0) + got["carried_second"][:, t].sum(0)
            np.testing.assert_allclose(both[b], carried[i, j].sum(), atol=1e-10)
        i, j = np.nonzero(inside)
        total = {name: values.sum(axis=(0, 1))[b] for name, values in got.items()}
        np.testing.assert_allclose(total["drawn_carried"], drawn_carried[i, j].sum(), atol=1e-10)
        for name, e in (("oriented", axis), ("drawn_oriented", drawn)):
            direct = (np.einsum("ik,ik->i", e[i], e[j]) ** 2).sum() / 2
            np.testing.assert_allclose(total[name], direct, atol=1e-10)


def test_a_distance_at_an_edge_belongs_to_the_bin_below():
    position = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0], [1.0, 1.0, 3.5], [1.0, 1.0, 13.0]])
    axis = np.eye(3)[[0, 1, 2, 0]]
    got = pair_sums(position, axis, np.zeros(4, int), 1, BOX, EDGES)["pairs"][0, 0]
    # Distances 1, 2.5, 12, 1.5, 11, 9.5.
    np.testing.assert_array_equal(got, [1, 2, 0, 3])


def test_more_points_in_a_cell_than_in_a_block():
    rng = np.random.default_rng(3)
    position = 5 + rng.normal(0, 0.4, (1500, 3))
    axis = rng.normal(size=(1500, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    got = pair_sums(position, axis, np.zeros(1500, int), 1, BOX, EDGES)
    _, r = separations(position)
    for b in range(len(EDGES) - 1):
        inside = (r > EDGES[b]) & (r <= EDGES[b + 1])
        assert got["pairs"][0, 0, b] == inside.sum() / 2


def test_no_points_have_no_pairs():
    nothing = np.empty((0, 3))
    got = pair_sums(nothing, nothing, np.empty(0, int), 2, BOX, EDGES)
    assert all((values == 0).all() for values in got.values())


@pytest.mark.slow
@pytest.mark.parametrize("periodic", [True, False])
def test_the_plain_loop_sums_what_the_tuned_one_does(periodic):
    position, axis, drawn, kind = points(1000)
    geometry = (kind, 3, BOX, EDGES)
    by_kind, of_drawn = kernel_sums((), position, axis, *geometry, drawn, periodic)
    assert set(by_kind) == set(of_drawn) == {s.kernel for s in named(DEFAULT_STATISTICS)}
    for kernel in by_kind:
        plain = plain_sums(kernel, position, axis, *geometry, periodic)
        np.testing.assert_allclose(by_kind[kernel], plain, rtol=1e-12, atol=1e-10)
        plain = plain_sums(kernel, position, drawn, *geometry, periodic).sum(axis=(0, 1))
        np.testing.assert_allclose(of_drawn[kernel], plain, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("others", [False, True], ids=["same axes", "drawn axes"])
def test_another_kernel_against_a_direct_sum(hexadecapole, periodic, others):
    position, axis, drawn, kind = points()
    axis[7] = 0.0  # a point without an axis carries nothing
    arguments = (position, axis, kind, 3, BOX, EDGES, drawn if others else None, periodic)
    by_kind, of_drawn = (sums[hexadecapole] for sums in kernel_sums((hexadecapole,), *arguments))
    d, r = separations(position, periodic)
    with np.errstate(invalid="ignore"):
        rhat = d / r[..., None]

    def direct(e):
        c, e2 = np.einsum("ik,ijk->ij", e, rhat), np.sum(e**2, axis=1)[:, None]
        return (35 * c**4 - 30 * c**2 * e2 + 3 * e2**2) / 8

    term, of_others = direct(axis), direct(drawn if others else axis)
    for b in range(len(EDGES) - 1):
        inside = (r > EDGES[b]) & (r <= EDGES[b + 1])
        for t in range(3):
            for u in range(3):
                i, j = np.nonzero(inside & (kind[:, None] == t) & (kind == u))
                np.testing.assert_allclose(by_kind[t, u, b], term[i, j].sum(), atol=1e-10)
        np.testing.assert_allclose(of_drawn[b], of_others[inside].sum(), atol=1e-10)
        assert np.abs(of_drawn[b]) > 0.1


def test_tensors_multiply_like_squared_cosines():
    _, a, b, _ = points(50)
    product = np.sum(tensor(a) * tensor(b), axis=1)
    np.testing.assert_allclose(product, np.sum(a * b, axis=1) ** 2 - 1 / 3, atol=1e-14)


def direct_shape_sums(position, axis, kind, n_kinds):
    """From 3 x 3 tensors and the vectors Q a, without any frame."""
    d, r = separations(position)
    n, n_bins = len(position), len(EDGES) - 1
    identity = np.eye(3) / 3
    blocks = np.zeros((n, 1 + n_kinds, n_bins, 3, 3))
    fourth = np.zeros((n_kinds, n_kinds, n_bins))
    for i in range(n):
        for j in range(n):
            b = np.searchsorted(EDGES, r[i, j], side="left") - 1
            if i == j or not 0 <= b < n_bins:
                continue
            rhat = d[i, j] / r[i, j]
            blocks[i, 0, b] += np.outer(rhat, rhat) - identity
            blocks[i, 1 + kind[j], b] += np.outer(axis[j], axis[j]) - identity
            fourth[kind[i], kind[j], b] += (axis[i] @ axis[j]) ** 4
    x = blocks.reshape(n, -1, 3, 3)
    along = np.einsum("ik,iukl,il->iu", axis, x, axis)
    turned = np.einsum("iukl,il->iuk", x, axis)
    m0 = 1.5 * np.einsum("iu,iv->iuv", along, along)
    m1 = 2 * (np.einsum("iuk,ivk->iuv", turned, turned) - np.einsum("iu,iv->iuv", along, along))
    m2 = np.einsum("iukl,ivkl->iuv", x, x) - m0 - m1
    each = np.stack([m0, m1, m2], axis=1)
    return np.array([each[kind == t].sum(axis=0) for t in range(n_kinds)]), fourth


def test_shape_sums_equal_a_direct_sum():
    position, axis, _, kind = points(80)
    rng = np.random.default_rng(0)
    got = shape_sums(position, axis, kind, 3, BOX, EDGES, np.ones(80), 1000, rng)
    for found, expected in zip(got, direct_shape_sums(position, axis, kind, 3), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_some_primaries_stand_for_all():
    position, axis, _, kind = points(400)
    richness = np.random.default_rng(1).uniform(1, 5, 400)

    def sums(n, seed):
        rng = np.random.default_rng(seed)
        return shape_sums(position, axis, kind, 3, BOX, EDGES, richness, n, rng)

    everything = sums(1000, 0)
    for k in range(2):
        draws = np.array([sums(40, seed)[k] for seed in range(200)])
        error = draws.std(axis=0) / np.sqrt(200)
        z = (draws.mean(axis=0) - everything[k])[error > 0] / error[error > 0]
        # Thousands of correlated numbers: no bias would show as anything like this.
        assert np.abs(np.mean(z)) < 0.5
        assert np.sqrt(np.mean(z**2)) < 1.5


def test_sums_do_not_depend_on_the_number_of_threads(hexadecapole):
    position, axis, drawn, kind = points(500)
    threads = numba.get_num_threads()
    results = []
    for n in (1, threads):
        numba.set_num_threads(n)
        rng = np.random.default_rng(0)
        results.append(
            [
                *pair_sums(position, axis, kind, 3, BOX, EDGES, drawn).values(),
                plain_sums(hexadecapole, position, axis, kind, 3, BOX, EDGES),
                *shape_sums(position, axis, kind, 3, BOX, EDGES, np.ones(500), 50, rng),
            ]
        )
    numba.set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("allowed", [7, 8, 20])
def test_fewer_cells_give_the_same_sums(monkeypatch, periodic, allowed):
    position, axis, drawn, kind = points()
    edges = np.array([0.3, 1.0, 2.0])
    arguments = (position, axis, kind, 3, BOX, edges, drawn, periodic)
    assert CellGrid.of(position, BOX, edges[-1]).n_cells == 60
    expected, _ = kernel_sums(KERNELS, *arguments)
    monkeypatch.setattr(pair_counts, "_MANY_CELLS", allowed)
    assert CellGrid.of(position, BOX, edges[-1]).n_cells == allowed
    got, _ = kernel_sums(KERNELS, *arguments)
    assert expected[STATISTICS["xi"].kernel].sum() > 100
    for kernel, values in expected.items():
        np.testing.assert_allclose(got[kernel].sum(axis=0), values.sum(axis=0), atol=1e-10)


def test_memory_follows_the_points_not_the_ratio_of_box_and_separation():
    """1 Mpc/h in 2 Gpc/h: 6,000 cells per side, whose list alone would take more than a terabyte."""
    rng = np.random.default_rng(2)
    box, edges = 2000.0, np.array([0.1, 0.5, 1.0])
    centre = rng.uniform(0, box, (3000, 3))
    position = np.concatenate([centre, (centre + rng.normal(0, 0.4, centre.shape)) % box])
    axis = rng.normal(size=position.shape)
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    got = pair_sums(position, axis, np.zeros(6000, np.int64), 1, box, edges)["pairs"][0, 0]
    pairs = cKDTree(position, boxsize=box).count_neighbors(cKDTree(position, boxsize=box), edges)
    np.testing.assert_array_equal(got, np.diff(pairs) / 2)
