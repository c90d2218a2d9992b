"""Functions that stand for occupations: what they give, and what they leave out."""

from itertools import pairwise

import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation.basis import Basis
from iaemu_likelihood.emulator.expectation.layout import Layout
from iaemu_likelihood.emulator.halos import GalaxySites
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.occupations import OCCUPATIONS, ZHENG07
from iaemu_likelihood.emulator.physics.space import ParameterSpace

TOLERANCE = 0.02


@pytest.fixture(scope="module")
def layout(small_halos):
    return Layout.of(GalaxySites.of(small_halos))


@pytest.fixture(scope="module")
def bases(layout):
    return Basis.of_centrals(layout, TOLERANCE), Basis.of_satellites(layout, TOLERANCE)


def occupied(layout, occupation, hod):
    """Centrals on the intervals and satellites on the cells of a layout."""
    satellites, _ = layout.occupied(occupation.mean_satellites(layout.logM, hod))
    return occupation.mean_centrals(layout.logM, hod), satellites


def rebuilt(basis, occupation):
    coefficients = basis.coefficients(occupation)
    return np.concatenate(
        [
            coefficients[:, low:high] @ basis.of_group(group).T
            for group, (low, high) in enumerate(pairwise(basis.first_function))
        ],
        axis=1,
    )


def test_functions_are_orthonormal_and_few(bases):
    for basis in bases:
        for group, (low, high) in enumerate(pairwise(basis.first_set)):
            values = basis.of_group(group).astype(np.float64)
            products = (values * basis.metric[low:high, None]).T @ values
            np.testing.assert_allclose(products, np.eye(len(products)), atol=1e-4)
    assert bases[0].n_functions < 60
    assert bases[1].n_functions < 400 < len(bases[1].metric) / 10


@pytest.mark.parametrize("name", OCCUPATIONS)
def test_occupations_are_sums_of_functions(name, layout, bases):
    """Of every kind, though none of them was among the examples; and none is over- or under-counted."""
    occupation = OCCUPATIONS[name]
    unit = np.random.default_rng(2).uniform(-1, 1, (200, len(occupation.parameters)))
    hod = Domain.of(ParameterSpace(occupation=occupation)).from_unit(unit)
    for basis, exact, size in zip(
        bases, occupied(layout, occupation, hod), (layout.n_hosts, layout.cell_size), strict=True
    ):
        number = exact @ size
        hod_with_some = number > 30
        difference = (rebuilt(basis, exact) - exact)[hod_with_some]
        scatter = np.sqrt(exact @ basis.metric)[hod_with_some]
        left_out = np.sqrt(difference**2 @ basis.metric) / scatter
        assert np.median(left_out) < 1.5 * TOLERANCE
        miscounted = np.abs(difference @ size) / np.sqrt(number[hod_with_some])
        assert np.quantile(miscounted, 0.95) < 0.01


def test_without_tolerance_nothing_is_left_out(layout):
    few = layout.logM < layout.logM[0] + 0.1
    metric, occupation = layout.n_hosts[few].astype(float), np.exp(layout.logM[few] * 3)[None]
    group = np.zeros(few.sum(), np.int64)
    whole = Basis.of(occupation, np.ones_like(occupation), metric, group, 0)
    other = np.random.default_rng(0).uniform(size=occupation.shape)
    np.testing.assert_allclose(rebuilt(whole, other), other, rtol=1e-5)
    # And a basis for one occupation gives that one, but no other.
    exact = Basis.exact(occupation, metric)
    assert exact.n_functions == 1
    np.testing.assert_allclose(rebuilt(exact, occupation), occupation, rtol=1e-5)
    assert not np.allclose(rebuilt(exact, other), other, rtol=0.1)


def test_occupation_of_cells_by_counting(layout):
    """Subhalos of one rank and satellites beyond the last against Poisson probabilities."""
    from scipy.stats import poisson

    mean = ZHENG07.mean_satellites(layout.logM, np.array([[12.0, 0.3, 11.9, 12.6, 1.0]]))
    in_cells, pairs = layout.occupied(mean)
    for interval in (0, layout.n_intervals // 2, layout.n_intervals - 1):
        n = mean[0, interval]
        ranks = np.arange(layout.first_rank[interval], layout.first_rank[interval + 1])
        cell = layout.cell_of_rank[ranks]
        occupied = poisson.sf(np.arange(len(ranks)), n)
        for c in np.unique(cell):
            of_cell = np.average(occupied[cell == c], weights=layout.n_subhalos[ranks[cell == c]])
            assert in_cells[0, c] == pytest.approx(of_cell, rel=1e-9, abs=1e-12)
        k = np.arange(1, 400)
        for c in range(layout.first_class[interval], layout.first_class[interval + 1]):
            beyond = np.clip(k - layout.richness[c], 0, None)
            probability = poisson.pmf(k, n)
            expected = beyond @ probability, (beyond * (beyond - 1)) @ probability
            found = in_cells[0, layout.cell_of_class[c]], pairs[0, c]
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
