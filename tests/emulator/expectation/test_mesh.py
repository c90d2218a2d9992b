from itertools import pairwise

import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation import mesh, two_halo
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.mesh import mesh_sums
from iaemu_likelihood.emulator.expectation.modes import COMPONENTS, Modes
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.halos.rows import AXES, POSITION
from iaemu_likelihood.emulator.mocks.pair_counts import kernel_sums
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.statistics import ETA, ETA_0, ETA_1, OMEGA, PAIRS, XI
from scipy.special import spherical_jn

R_EDGES = 10 ** np.arange(1.2, 1.81, 0.1)


def silent(steps, label):
    return iter(steps)


@pytest.mark.parametrize("degree", [0, 2, 4])
def test_bessel_sums_of_a_known_spectrum(degree):
    """P(k) = exp(-k^2 s^2), whose moments xi^(l)(r) are integrals over all k."""
    from scipy.integrate import quad

    size, modes = 6.0, Modes.of(250.0)
    power = modes.weight * np.exp(-((modes.k * size) ** 2))
    of_shells = [power[shell].sum() for shell in modes.shells()]
    found = modes.bessel(R_EDGES, degree) @ of_shells

    def moment(r):
        def integrand(k):
            return k**2 / (2 * np.pi**2) * np.exp(-((k * size) ** 2)) * spherical_jn(degree, k * r)

        return quad(integrand, 0, 1.5, limit=200)[0]

    expected = [
        quad(lambda r: moment(r) * 3 * r**2, a, b, epsabs=1e-12)[0] / (b**3 - a**3)
        for a, b in pairwise(R_EDGES)
    ]
    # The box repeats itself, which the long tails of higher degrees feel.
    tolerance = {0: 5e-3, 2: 5e-3, 4: 2e-2}[degree]
    np.testing.assert_allclose(
        found / shell_volumes(R_EDGES), expected, atol=tolerance * np.abs(expected).max()
    )


@pytest.mark.parametrize("statistic", [ETA, ETA_0, ETA_1], ids=lambda s: s.name)
def test_a_plane_wave_of_axes(statistic):
    """The kernel's mean over the directions of r, by quadrature, for axes whose modes are known."""
    rng = np.random.default_rng(3)
    modes = Modes.of(40.0)
    at = 200
    k = modes.k[at] * modes.direction[at]
    a, b = rng.normal(size=(2, 3))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    tensors = [[x[i] * x[j] - (i == j) / 3 for i, j in COMPONENTS] for x in (a, b)]
    products = [
        sum((basis[:, :, at] @ tensors[0]) * (basis[:, :, at] @ tensors[1]))
        for basis in modes.bases
    ]
    mu, weight = np.polynomial.legendre.leggauss(40)
    azimuth = 2 * np.pi * np.arange(80) / 80
    for r in (3.0, 17.0):
        mean = 0.0
        for cosine, w in zip(mu, weight / 2, strict=True):
            across = np.sqrt(1 - cosine**2)
            for angle in azimuth:
                x = r * np.array([across * np.cos(angle), across * np.sin(angle), cosine])
                mean += w / 80 * statistic.kernel.term(*x, r * r, a, b) * np.cos(k @ x)
        bessel = spherical_jn([0, 2, 4], modes.k[at] * r)
        expected = products @ mesh.bessel_factors(statistic.kernel) @ bessel
        assert mean == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert np.abs(expected) > 1e-4


@pytest.fixture(scope="module")
def hosts():
    """Hosts above 3e12 Msun/h of the bundled catalogue: position, axis, box."""
    halos = load_halos()
    columns = halos.columns
    chosen = (columns["halo_upid"] == -1) & (columns["halo_mvir"] > 3e12)
    stack = [np.stack([columns[k][chosen] for k in names], axis=1) for names in (POSITION, AXES)]
    position, axis = (x.astype(np.float64) for x in stack)
    return position % halos.box, axis, halos.box


def test_mesh_and_counts_agree(hosts):
    """Of every pair density, within what shot noise does to smoothed edges of bins."""
    position, axis, box = hosts
    kernels = Kernels.of((XI, OMEGA, ETA, ETA_0, ETA_1))
    counted, _ = kernel_sums(
        list(kernels.kernels[1:]),
        position,
        axis,
        np.zeros(len(position), np.int64),
        1,
        box,
        R_EDGES,
    )
    everywhere = [(np.arange(len(position)), np.ones((len(position), 1)))]
    (sums,) = mesh_sums(position, axis, everywhere, box, kernels, R_EDGES, silent)
    random = len(position) ** 2 * shell_volumes(R_EDGES) / box**3
    noise = np.sqrt(2 / random)
    # Sums are over unordered pairs.
    pairs, first, last, *tensors = sums.T
    # With the standard deviation of a pair's term, of random axes.
    cases = [(PAIRS, 2 * pairs, 1.0), (OMEGA.kernel, first + last, 0.3)]
    for statistic, both, spread in zip(
        (ETA, ETA_0, ETA_1), tensors, (0.3, 0.09, 0.06), strict=True
    ):
        cases.append((statistic.kernel, 2 * both, spread))
    for kernel, found, spread in cases:
        difference = (found - counted[kernel][0, 0]) / random
        assert (np.abs(difference) < 2.5 * noise * spread).all(), kernel.name
    # And there is something to agree on.
    assert (2 * pairs / random - 1 > 10 * noise)[:3].all()
    assert ((first + last) / random > 5 * noise * 0.3)[:3].all()


def test_functions_and_carriers_are_told_apart():
    """Pairs of functions, of one group and of two, against sums of one function with their weights."""
    rng, box, n = np.random.default_rng(0), 80.0, 400
    position, axis = rng.uniform(0, box, (n, 3)), rng.normal(size=(n, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    values = rng.uniform(0.5, 1, (n, 3))
    first_points, second_points = np.arange(150), np.arange(150, n)
    groups = [
        (first_points, values[first_points, :1]),
        (second_points, values[second_points, 1:]),
    ]
    functions = np.zeros((3, n))
    functions[0, first_points] = values[first_points, 0]
    functions[1:, second_points] = values[second_points, 1:].T
    options = box, Kernels.of((XI, OMEGA)), R_EDGES[:4], silent
    sums = mesh_sums(position, axis, groups, *options)

    def alone(weights):
        """Number of pairs, and sum of the quadrupole of both, of weights on all points."""
        (found,) = mesh_sums(position, axis, [(np.arange(n), weights[:, None])], *options)
        return np.stack([found[:, 0], found[:, 1] + found[:, 2]])

    for i, j in ((0, 1), (0, 2), (1, 2)):
        row = sums[j * (j + 1) // 2 + i]
        a, b = functions[i], functions[j]
        expected = (alone(a + b) - alone(a - b)) / 2
        np.testing.assert_allclose(row[:, 0], expected[0], rtol=1e-4)
        carried = row[:, 1] + row[:, 2]
        np.testing.assert_allclose(carried, expected[1], atol=1e-4 * expected[0].max())
    # Without the axes of the second group, only the first can carry.
    of_first = np.where(np.arange(n)[:, None] < 150, axis, 0)
    found, row = mesh_sums(position, of_first, groups, *options)[1], sums[1]
    np.testing.assert_allclose(found[..., 1], row[..., 1], atol=1e-4 * row.max())
    np.testing.assert_array_equal(found[..., 2], 0)
    assert np.abs(row[..., 2]).max() > 1e-3 * row.max()


@pytest.mark.slow
def test_a_tabulation_beyond_the_counts(small_halos, monkeypatch):
    """Expectations of the same bins by counting and on the mesh."""
    edges = np.array([5.0, 10.0, 15.0, 20.0, 26.0])
    hod = [11.5, 0.26, 11.5, 12.8, 1.0]
    options = {
        "progress": False,
        "interval_dex": 0.2,
        "statistics": (XI.name, OMEGA.name),
    }
    found = Tabulation.build(small_halos, edges, **options).templates(hod)
    monkeypatch.setattr(two_halo, "MESH_FROM", np.inf)
    counted = Tabulation.build(small_halos, edges, **options).templates(hod)
    n_pairs = counted.n_galaxies**2 * shell_volumes(edges) / small_halos.box**3 / 2
    noise = 1 / np.sqrt(n_pairs)
    for name in (t.name for s in (XI, OMEGA) for t in s.templates):
        difference = getattr(found, name)[0] - getattr(counted, name)[0]
        np.testing.assert_allclose(difference[:2], 0, atol=1e-7)
        assert (np.abs(difference[2:]) < 3 * noise[2:]).all(), name
    assert (counted.xi[0] > 10 * noise).all()


def test_what_cannot_be_on_the_mesh_is_said_before_the_work(small_halos):
    from iaemu_likelihood.emulator.physics.statistics import PairKernel, Statistic

    kernel = PairKernel("fourth", n_axes=2, degree=4, term=lambda dx, dy, dz, r2, a, b: 0.0)
    toy = Statistic("toy", "t", "", "a toy", kernel, is_ratio=False)
    with pytest.raises(ValueError, match="pairs of toy can only be counted"):
        mesh.check_on_mesh((XI, toy))
    mesh.check_on_mesh((XI, OMEGA, ETA))
    with pytest.raises(ValueError, match=r"half of it \(40 Mpc/h\)"):
        Tabulation.build(small_halos, [1.0, 10.0, 15.0, 50.0], progress=False)
