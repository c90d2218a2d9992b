from itertools import pairwise

import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation import mesh, two_halo
from iaemu_likelihood.emulator.expectation.kernels import Kernels
from iaemu_likelihood.emulator.expectation.mesh import Modes, mesh_sums
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
from iaemu_likelihood.emulator.halos import load_halos
from iaemu_likelihood.emulator.halos.catalogue import AXES, POSITION
from iaemu_likelihood.emulator.mocks.pair_counts import kernel_sums
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.statistics import ETA, OMEGA, PAIRS, XI

R_EDGES = 10 ** np.arange(1.2, 1.81, 0.1)


def silent(steps, label):
    return iter(steps)


@pytest.mark.parametrize("degree", [0, 2])
def test_bessel_sums_of_a_known_spectrum(degree):
    """P(k) = exp(-k^2 s^2), whose moments xi^(l)(r) are integrals over all k."""
    from scipy.integrate import quad
    from scipy.special import spherical_jn

    size, modes = 6.0, Modes.of(250.0)
    power = modes.weight * np.exp(-((modes.k * size) ** 2))
    found = sum(
        of_bins * power[shell].sum()
        for shell, of_bins in zip(modes.shells(), modes.bessel(R_EDGES, degree), strict=True)
    )

    def moment(r):
        def integrand(k):
            return k**2 / (2 * np.pi**2) * np.exp(-((k * size) ** 2)) * spherical_jn(degree, k * r)

        return (-1) ** (degree // 2) * quad(integrand, 0, 1.5, limit=200)[0]

    expected = [
        quad(lambda r: moment(r) * 3 * r**2, a, b, epsabs=1e-12)[0] / (b**3 - a**3)
        for a, b in pairwise(R_EDGES)
    ]
    # The box repeats itself, which the quadrupole's long tail feels.
    np.testing.assert_allclose(
        found / shell_volumes(R_EDGES), expected, atol=5e-3 * np.abs(expected).max()
    )


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
    kernels = Kernels.of((XI, OMEGA, ETA))
    counted, _ = kernel_sums(
        list(kernels.kernels[1:]),
        position,
        axis,
        np.zeros(len(position), np.int64),
        1,
        box,
        R_EDGES,
    )
    values = np.stack([np.ones(len(position)), np.zeros(len(position))])
    population = np.zeros(len(position), np.int64)
    (sums,) = mesh_sums(position, axis, values, population, 1, box, kernels, R_EDGES, silent)
    random = len(position) ** 2 * shell_volumes(R_EDGES) / box**3
    noise = np.sqrt(2 / random)
    # Sums are over unordered pairs; the second function, whose weights are 0, adds nothing.
    assert (sums[:, 1] == 0).all()
    assert (sums[:, :, 1] == 0).all()
    pairs, first, last, both = sums[:, 0, 0].T
    scatter = {PAIRS: 1.0, OMEGA.kernel: 0.3, ETA.kernel: 0.3}
    for kernel, found in ((PAIRS, 2 * pairs), (OMEGA.kernel, first + last), (ETA.kernel, 2 * both)):
        difference = (found - counted[kernel][0, 0]) / random
        assert (np.abs(difference) < 2 * noise * scatter[kernel]).all(), kernel.name
    # And there is something to agree on.
    assert (2 * pairs / random - 1 > 10 * noise)[:3].all()
    assert ((first + last) / random > 5 * noise * 0.3)[:3].all()


def test_populations_functions_and_carriers_are_told_apart():
    """Blocks of pairs of populations against sums of one population with those weights alone."""
    rng, box, n = np.random.default_rng(0), 80.0, 400
    position, axis = rng.uniform(0, box, (n, 3)), rng.normal(size=(n, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    population, values = rng.integers(0, 3, n), rng.uniform(0.5, 1, (2, n))
    kernels, edges = Kernels.of((XI, OMEGA)), R_EDGES[:4]
    options = box, kernels, edges, silent
    sums = mesh_sums(position, axis, values, population, 3, *options)

    def alone(weights):
        """Number of pairs, and sum of the quadrupole of both, of weights on all points."""
        of_all = np.stack([weights, 0 * weights])
        found = mesh_sums(position, axis, of_all, 0 * population, 1, *options)[0, :, 0, 0]
        return np.stack([found[:, 0], found[:, 1] + found[:, 2]])

    p, q = 0, 2
    row = sums[q * (q + 1) // 2 + p]
    for f, g in np.ndindex(2, 2):
        a, b = values[f] * (population == p), values[g] * (population == q)
        expected = (alone(a + b) - alone(a - b)) / 2
        np.testing.assert_allclose(row[:, f, g, 0], expected[0], rtol=1e-4)
        carried = row[:, f, g, 1] + row[:, f, g, 2]
        np.testing.assert_allclose(carried, expected[1], atol=1e-4 * expected[0].max())
    # Without the axes of the second population, only the first can carry.
    of_first = np.where((population == p)[:, None], axis, 0)
    without = mesh_sums(position, of_first, values, population, 3, *options)
    found = without[q * (q + 1) // 2 + p]
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
        "intervals_per_bin": 4,
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

    kernel = PairKernel("fourth", n_axes=1, degree=4, term=lambda dx, dy, dz, r2, a, b: 0.0)
    toy = Statistic("toy", "t", "", "a toy", kernel, is_ratio=False)
    with pytest.raises(ValueError, match="pairs of toy can only be counted"):
        mesh.check_on_mesh((XI, toy))
    mesh.check_on_mesh((XI, OMEGA, ETA))
    with pytest.raises(ValueError, match=r"half of it \(40 Mpc/h\)"):
        Tabulation.build(small_halos, [1.0, 10.0, 15.0, 50.0], progress=False)
