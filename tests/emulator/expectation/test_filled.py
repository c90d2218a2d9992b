"""Sums over the cells that are occupied, against those over all."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.expectation.basis import Basis
from iaemu_likelihood.emulator.expectation.filled import Cells
from iaemu_likelihood.emulator.expectation.layout import Layout
from iaemu_likelihood.emulator.halos import GalaxySites
from iaemu_likelihood.emulator.physics.occupations import ZHENG07

HOD = np.array([[12.54, 0.26, 12.68, 13.48, 1.0], [12.1, 0.5, 11.9, 13.2, 0.9]])


@pytest.fixture(scope="module")
def layout(small_halos):
    return Layout.of(GalaxySites.of(small_halos))


@pytest.fixture(scope="module")
def basis(layout):
    return Basis.of_satellites(layout)


def test_leading_cells_are_the_occupied_ones(layout, basis):
    cells = Cells(layout, basis)
    mean = ZHENG07.mean_satellites(layout.logM, HOD)
    usual, pairs = layout.occupied(mean)
    held, same_pairs = cells.layout.occupied(mean)
    np.testing.assert_array_equal(pairs, same_pairs)
    # The same by cell, in another order.
    np.testing.assert_array_equal(np.concatenate(cells.by_group(usual.T)).T, held)
    interval = np.concatenate(cells.by_group(layout.cell_interval))
    np.testing.assert_array_equal(interval, cells.layout.cell_interval)

    taken, sizes = cells.filled(torch.as_tensor(held))
    occupied = (held > 1e-9).any(axis=0)
    assert np.delete(held, taken, axis=1).max() < 1e-9
    assert occupied.sum() <= len(taken) < 1.3 * occupied.sum() < 0.7 * layout.n_cells
    for part, (low, high) in zip(taken.split(sizes), pairwise(basis.first_set), strict=True):
        np.testing.assert_array_equal(part, low + np.arange(len(part)))
        assert len(part) <= high - low


def test_sums_and_gradients_are_those_over_all_cells(layout, basis):
    cells = Cells(layout, basis)
    held = torch.as_tensor(
        cells.layout.occupied(ZHENG07.mean_satellites(layout.logM, HOD))[0]
    ).requires_grad_()
    common = np.random.default_rng(0).normal(size=(layout.n_cells, 3))
    tables = [
        torch.as_tensor(np.concatenate(parts, axis=1))
        for parts in zip(cells.by_group(common), cells.functions(basis), strict=True)
    ]
    filled = cells.filled(held)
    of_all, of_groups = filled.sums(held[:, filled.cells], tables, 3)
    usual = layout.occupied(ZHENG07.mean_satellites(layout.logM, HOD))[0]
    np.testing.assert_allclose(of_all.detach(), usual @ common, rtol=1e-7, atol=1e-6)
    expected = basis.coefficients(usual)
    np.testing.assert_allclose(of_groups.detach(), expected, rtol=1e-4, atol=1e-4)

    weights = torch.linspace(-1, 1, of_groups.shape[1], dtype=torch.float64)
    (found,) = torch.autograd.grad(of_all.sum() + (of_groups @ weights).sum(), held)
    columns = weights.split([table.shape[1] - 3 for table in tables])
    slopes = torch.cat(
        [table[:, :3].sum(1) + table[:, 3:] @ w for table, w in zip(tables, columns, strict=True)]
    )
    # Cells that are left out have no slope; they would move the sums in the last digit only.
    kept = (found != 0).any(dim=0)
    assert kept.sum() < 0.7 * layout.n_cells
    np.testing.assert_allclose(found[:, kept], slopes[kept].expand(2, -1), rtol=1e-10)
