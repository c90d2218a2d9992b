import numpy as np
import pytest
from iaemu_likelihood.emulator.mocks import (
    HalotoolsIA,
    correlations,
    jackknife,
    positions_and_axes,
)
from iaemu_likelihood.emulator.mocks.jackknife import region_volumes
from iaemu_likelihood.emulator.physics.bins import R_EDGES, shell_volumes
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, STATISTICS, Statistic

POINT = [0.8, 0.3, 12.0, 0.26, 12.1, 12.9, 1.0]
BOX = 80.0


@pytest.fixture(scope="module")
def mock(small_halos):
    return positions_and_axes(HalotoolsIA(small_halos).populate(POINT, seed=3))


def random_galaxies(n=400, box=30.0, seed=0):
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(n, 3))
    return rng.uniform(0, box, (n, 3)), axes / np.linalg.norm(axes, axis=1, keepdims=True)


def brute_force(x, e, box, edges, n_side, periodic, volumes):
    """Delete-one jackknife over all ordered pairs, one sample after the other."""
    d = x[:, None] - x
    if periodic:
        d -= box * np.round(d / box)
    r = np.linalg.norm(d, axis=2)
    first, second = np.nonzero((r > edges[0]) & (r <= edges[-1]))
    bins = np.searchsorted(edges, r[first, second]) - 1
    rhat = d[first, second] / r[first, second, None]
    carried = np.sum(e[first] * rhat, axis=1) ** 2
    oriented = np.sum(e[first] * e[second], axis=1) ** 2
    label = np.floor(x * n_side / box).astype(int) @ [n_side**2, n_side, 1]

    def statistics(region):
        keep = label[first] != region
        n = np.bincount(bins[keep], minlength=len(edges) - 1)
        kept_regions = np.arange(n_side**3) != region
        density = np.sum(label != region) / (box**3 * np.mean(kept_regions))
        xi = n / (density**2 * volumes[kept_regions].sum(axis=0)) - 1
        omega = np.bincount(bins[keep], carried[keep]) / n - 1 / 3
        eta = np.bincount(bins[keep], oriented[keep]) / n - 1 / 3
        return np.concatenate([xi, omega, eta])

    samples = np.array([statistics(k) for k in range(n_side**3)])
    return statistics(-1), np.cov(samples.T, bias=True) * (n_side**3 - 1)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("n_side", [2, 3])
def test_against_deleting_one_region_after_the_other(periodic, n_side):
    x, e = random_galaxies()
    edges = np.array([1.0, 2.5, 5.0, 9.9])
    volumes = region_volumes(edges, 30.0, n_side, periodic)
    values, covariance = brute_force(x, e, 30.0, edges, n_side, periodic, volumes)
    got = jackknife(x, e, 30.0, edges, n_side, periodic)
    np.testing.assert_allclose(np.concatenate(list(got.values())), values, atol=1e-10)
    np.testing.assert_allclose(got.covariance, covariance, rtol=1e-8, atol=1e-10)
    assert (got.n_galaxies, got.n_jackknife) == (400, n_side**3)


def test_values_are_those_of_halotools(mock):
    x, e = mock
    expected = correlations(x, e, BOX)
    got = jackknife(x, e, BOX, R_EDGES)
    assert tuple(got) == tuple(expected) == DEFAULT_STATISTICS
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-9, atol=1e-9)
    random = len(x) ** 2 * shell_volumes(R_EDGES) / BOX**3
    np.testing.assert_allclose(2 * got.n_pairs, (1 + expected.xi) * random, rtol=1e-9)
    np.testing.assert_array_equal(got.covariance, got.covariance.T)


@pytest.mark.parametrize("periodic", [True, False])
def test_any_statistics_in_any_order(monkeypatch, hexadecapole, periodic):
    x, e = random_galaxies()
    edges = np.array([1.0, 2.5, 5.0, 9.9])
    for name, is_ratio in (("four", True), ("density", False)):
        monkeypatch.setitem(
            STATISTICS, name, Statistic(name, "", "", "", hexadecapole, is_ratio)
        )  # fmt: skip
    names = ("density", "omega", "four", "xi")
    got = jackknife(x, e, 30.0, edges, 2, periodic, names)
    assert tuple(got) == names
    # The density is the ratio times the number of pairs over that of unclustered points.
    np.testing.assert_allclose(got.density, got.four * (1 + got.xi), rtol=1e-10)
    usual = jackknife(x, e, 30.0, edges, 2, periodic)
    np.testing.assert_array_equal(got.omega, usual.omega)
    blocks = got.covariance.reshape(4, 3, 4, 3)
    expected = usual.covariance.reshape(3, 3, 3, 3)
    np.testing.assert_allclose(blocks[1, :, 3], expected[1, :, 0], rtol=1e-10)
    np.testing.assert_allclose(blocks[3, :, 3], expected[0, :, 0], rtol=1e-10)
    if periodic:
        counted = correlations(x, e, 30.0, edges, names)
        for name in names:
            np.testing.assert_allclose(got[name], counted[name], rtol=1e-9, atol=1e-12)
    # Leaving out a region, by hand: both ends of a pair count it.
    label = np.floor(x * 2 / 30.0).astype(int) @ [4, 2, 1]
    d = x[:, None] - x
    if periodic:
        d -= 30.0 * np.round(d / 30.0)
    r = np.linalg.norm(d, axis=2)
    first, second = np.nonzero((r > edges[0]) & (r <= edges[-1]))
    c = np.sum(e[first] * d[first, second], axis=1) / r[first, second]
    term, bins = (35 * c**4 - 30 * c**2 + 3) / 8, np.searchsorted(edges, r[first, second]) - 1
    samples = np.array([
        np.bincount(bins[keep], term[keep]) / np.bincount(bins[keep])
        for keep in (label[first] != k for k in range(8))
    ])  # fmt: skip
    np.testing.assert_allclose(blocks[2, :, 2], np.cov(samples.T, bias=True) * 7, rtol=1e-8)


@pytest.mark.slow
def test_errors_of_xi_are_those_of_halotools(mock):
    with np.errstate():
        from halotools.mock_observables import tpcf_jackknife

    x, e = mock
    edges = np.array([1.0, 2.0, 4.0, 7.0])
    randoms = np.random.default_rng(1).uniform(0, BOX, (60_000, 3))
    with np.errstate(all="ignore"):  # importing these changes numpy's error state for good
        xi, covariance = tpcf_jackknife(
            x, randoms, edges, Nsub=3, period=BOX, estimator="Natural", num_threads=2
        )
    got = jackknife(x, e, BOX, edges)
    n = len(xi)
    block = got.covariance[:n, :n]
    errors, expected = np.sqrt(np.diag(block)), np.sqrt(np.diag(covariance))
    # Twice as many randoms halve the differences.
    np.testing.assert_allclose(got.xi, xi, rtol=0.01)
    np.testing.assert_allclose(errors, expected, rtol=0.05)
    np.testing.assert_allclose(
        block / np.outer(errors, errors), covariance / np.outer(expected, expected), atol=0.05
    )


@pytest.mark.parametrize("n_side", [2, 3, 5])
def test_window_of_the_whole_cube_has_a_closed_form(n_side):
    edges = np.append(R_EDGES, [20.0, 26.6])
    x = edges / BOX
    # The integral of 4 pi r^2 (1 - 3 x / 2 + 2 x^2 / pi - x^3 / (4 pi)), x = r / box.
    cumulative = x**3 / 3 - 3 * x**4 / 8 + 2 * x**5 / (5 * np.pi) - x**6 / (24 * np.pi)
    expected = 4 * np.pi * BOX**6 * np.diff(cumulative)
    volumes = region_volumes(edges, BOX, n_side, periodic=False)
    np.testing.assert_allclose(volumes.sum(axis=0), expected, rtol=1e-12)
    # Regions that differ only by a rotation or reflection of the cube are alike.
    cube = volumes.reshape(n_side, n_side, n_side, -1)
    for other in (cube[::-1], cube.transpose(1, 0, 2, 3), cube.transpose(2, 0, 1, 3)):
        np.testing.assert_allclose(cube, other, rtol=1e-4)
    full = region_volumes(edges, BOX, n_side, periodic=True)
    assert (volumes <= full * (1 + 1e-12)).all()
    np.testing.assert_allclose(full.sum(axis=0), shell_volumes(edges) * BOX**3)


@pytest.mark.parametrize("n_side", [3, 5])
def test_window_of_regions_against_random_points(n_side):
    rng = np.random.default_rng(4)
    n, box, edges = 1_000_000, 30.0, np.array([6.0, 9.9])
    x = rng.uniform(0, box, (n, 3))
    step = rng.normal(size=(n, 3))
    step *= (rng.uniform(*edges**3, n) ** (1 / 3) / np.linalg.norm(step, axis=1))[:, None]
    inside = np.all((x + step >= 0) & (x + step <= box), axis=1)
    label = np.floor(x * n_side / box).astype(int) @ [n_side**2, n_side, 1]
    tried = np.bincount(label)
    share = np.bincount(label, inside) / tried
    full = region_volumes(edges, box, n_side, periodic=True)[:, 0]
    expected = region_volumes(edges, box, n_side, periodic=False)[:, 0] / full
    sigma = np.sqrt(expected * (1 - expected) / tried) + 1e-12
    z = (share - expected) / sigma
    assert np.abs(z[expected < 1 - 1e-9]).max() < 4.5
    np.testing.assert_array_equal(share[expected > 1 - 1e-9], 1)


@pytest.mark.parametrize("periodic", [True, False])
def test_unclustered_points_have_no_correlations(periodic):
    x, e = random_galaxies(8000, BOX, seed=5)
    edges = np.geomspace(2.0, 26.0, 7)
    got = jackknife(x, e, BOX, edges, 3, periodic)
    values = np.concatenate(list(got.values()))
    assert np.mean(values**2 / np.diag(got.covariance)) < 2
    assert np.abs(got.xi).max() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("periodic", [True, False])
def test_errors_of_omega_and_eta_agree_with_the_scatter_of_many_catalogues(periodic):
    # Not those of xi: of points without clustering this jackknife overestimates them, because
    # samples differ in their mean density.
    edges = np.array([2.0, 4.0, 6.0])
    runs = [
        jackknife(*random_galaxies(1500, 30.0, seed), 30.0, edges, 3, periodic)
        for seed in range(200)
    ]
    values = np.array([np.concatenate([g.omega, g.eta]) for g in runs])
    n_bins = len(edges) - 1
    errors = np.sqrt(np.mean([np.diag(g.covariance)[n_bins:] for g in runs], axis=0))
    np.testing.assert_allclose(errors / values.std(axis=0), 1, atol=0.15)


def test_a_galaxy_on_the_face_of_a_periodic_box_is_at_zero():
    x, e = random_galaxies()
    x[0, 1] = x[1, 2] = 30.0
    wrapped = x.copy()
    wrapped[0, 1] = wrapped[1, 2] = 0.0
    edges = np.array([1.0, 4.0, 9.0])
    a, b = jackknife(x, 3 * e, 30.0, edges, 2), jackknife(wrapped, e, 30.0, edges, 2)
    np.testing.assert_allclose(a.covariance, b.covariance, rtol=1e-10)
    jackknife(x, e, 30.0, edges, 2, periodic=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_side": 1}, "1 jackknife regions per side; choose 2 to 5"),
        ({"n_side": 6}, "choose 2 to 5"),
        ({"box": -30.0}, "the side of the box is -30.0 Mpc/h; expected a positive number"),
        ({"box": np.nan}, "the side of the box is nan"),
        ({"box": 25.0}, r"Galaxies: x is 29\.\d+ in row 3, outside the box, 0 to 25 Mpc/h; 66 such row"),
        ({"box": 200.0}, "Galaxies: the positions do not fill the box, 0 to 200 Mpc/h: x from 0.13"),
        ({"r_edges": [5.0]}, "Expected 1 to 100 bins"),
        ({"r_edges": np.linspace(1, 9, 102)}, "Expected 1 to 100 bins"),
        ({"r_edges": [0.0, 5.0]}, "must be positive and increase"),
        ({"r_edges": [5.0, 4.0]}, "must be positive and increase"),
        ({"r_edges": [1.0, np.nan]}, "must be positive and increase"),
        ({"r_edges": [1.0, 10.0]}, "reach to 10 Mpc/h, but must end below a third of the box, 10"),
        ({"r_edges": [1e-4, 1e-3, 9.0]}, "1 of 2 bins hold no pair of galaxies: 0.0001-0.001 Mpc/h. Use fewer"),
        ({"axes": np.zeros((400, 3))}, "Axes must be finite and not zero"),
        ({"axes": np.ones((400, 2))}, r"shape \(n, 3\); got \(400, 3\) and \(400, 2\)"),
        ({"n_side": 5, "few": 124}, "124 galaxies are too few for 125 jackknife regions"),
    ],
)  # fmt: skip
def test_bad_arguments(change, message):
    x, e = random_galaxies()
    change = dict(change)
    few = change.pop("few", len(x))
    arguments = {"positions": x[:few], "axes": e[:few], "box": 30.0, "r_edges": [1.0, 5.0]}
    with pytest.raises(ValueError, match=message):
        jackknife(**arguments | change)


def test_a_bin_that_one_sample_lacks_is_an_error():
    x, e = random_galaxies()
    close = (np.linalg.norm(x[:, None] - x, axis=2) < 0.5).sum(axis=1) > 1
    x, e = x[~close], e[~close]
    x[1] = x[0] = 0.5  # all pairs of the first bin lie in one region
    x[1, 0] += 0.1
    with pytest.raises(ValueError, match=r"hold no pair when one .* left out: 0.05-0.2 Mpc/h. Use"):
        jackknife(x, e, 30.0, [0.05, 0.2, 5.0, 9.0], 2)


def test_sense_a_region_without_galaxies_is_an_error():
    x, e = random_galaxies()
    hollow = ((x < 9) | (x > 21)).any(axis=1)  # more than the region in the middle
    with pytest.raises(ValueError, match="1 of the 27 jackknife regions hold none of the 3"):
        jackknife(x[hollow], e[hollow], 30.0, [1.0, 5.0])


def test_positions_in_single_precision_may_lie_a_rounding_beyond_the_side():
    x, e = random_galaxies()
    side = 30.1
    x[0], x[1] = (np.float32(side), 3.0, 4.0), (-1e-7, 5.0, 6.0)
    assert x[0, 0] > side
    on_faces = np.clip(x, 0, side)
    for periodic in (True, False):
        got = jackknife(x.astype(np.float32), e, side, [1.0, 5.0], periodic=periodic)
        expected = jackknife(on_faces, e, side, [1.0, 5.0], periodic=periodic)
        np.testing.assert_allclose(got.omega, expected.omega, rtol=1e-4)
        np.testing.assert_array_equal(got.n_pairs, expected.n_pairs)
    np.testing.assert_allclose(
        correlations(x, e, side, [1.0, 5.0]).xi, correlations(on_faces, e, side, [1.0, 5.0]).xi
    )
    x[1, 0] = -1.0
    for measure in (jackknife, correlations):
        with pytest.raises(ValueError, match=r"Galaxies: x is -1.0 in row 1, outside the box"):
            measure(x, e, side, [1.0, 5.0])
