"""Pairs of galaxies that differ, against a slow sum over all places where galaxies may be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation import Population, Sample, Tabulation
from iaemu_likelihood.emulator.physics.alignment import WATSON, WATSON_MASS
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.watson import legendre
from scipy.special import eval_legendre
from scipy.stats import poisson

from .test_tabulation import BOX, EDGES, HOD, tiny_catalogue, zheng07

NAMES = ("xi", "omega", "eta", "omega_4")
OTHER = [11.8, 0.2, 11.5, 13.4, 1.0]
MU = np.array([0.5, -0.4, 0.6, 0.9])


def fraction(logM):
    """Of centrals, falling from 0.9 to 0.15."""
    return 0.9 - 0.3 * (logM - 11.5)


def other_fraction(logM):
    """Of satellites."""
    return 1 / (1 + np.exp(13 - logM))


def amplitude(kind, degree):
    """Of mass-dependent strengths, written differently from the package."""
    return lambda logM: legendre(np.tanh(np.arctanh(MU[kind]) + MU[2 + kind] * (logM - 13)), degree)


AMPLITUDES = {degree: [amplitude(kind, degree) for kind in (0, 1)] for degree in (2, 4)}


@dataclass(frozen=True)
class Places:
    """Points where galaxies of a population may be; a place of several points has one galaxy."""

    host: np.ndarray
    logM: np.ndarray
    kind: np.ndarray
    place: np.ndarray
    probability: np.ndarray  # of a galaxy in the place
    share: np.ndarray  # of the point in the place
    position: np.ndarray
    axis: np.ndarray

    @classmethod
    def of(cls, halos, hod, n_max=40):
        table, rows, points = halos.columns, [], []
        hosts = np.flatnonzero(table["halo_upid"] == -1)
        for h in hosts:
            centre = np.array([table[f"halo_{x}"][h] for x in "xyz"])
            axis = np.array([table[f"halo_axisA_{x}"][h] for x in "xyz"])
            logM = np.log10(table["halo_mvir"][h])
            p, n = zheng07(logM, hod)
            rows.append((h, logM, 0, len(rows), p, 1.0))
            points.append((centre, axis))
            subs = np.flatnonzero(table["halo_upid"] == table["halo_id"][h])
            subs = subs[np.argsort(-table["halo_mpeak"][subs])]
            offset = np.stack([table[f"halo_{x}"][subs] for x in "xyz"], axis=1) - centre
            offset -= BOX * np.round(offset / BOX)
            radial = offset / np.linalg.norm(offset, axis=1, keepdims=True)
            for k in range(1, n_max):
                where = [k - 1] if k <= len(subs) else range(len(subs))
                place = len(rows)
                rows += [(h, logM, 1, place, poisson.sf(k - 1, n), 1 / len(where)) for _ in where]
                points += [(centre + offset[i], radial[i]) for i in where]
        host, logM, kind, place, probability, share = map(np.array, zip(*rows, strict=True))
        return cls(
            host, logM, kind, place, probability, share, *map(np.array, zip(*points, strict=True))
        )

    def weights(self, of_kinds):
        """Of two functions of log mass, that of each point's kind."""
        return np.where(self.kind == 0, *(f(self.logM) for f in of_kinds))

    def number(self, of_kinds):
        return (self.probability * self.share * self.weights(of_kinds)).sum()


ALL = (np.ones_like, np.ones_like)


def direct(first, second, taken=ALL, also_taken=ALL, amplitudes=None):
    """Sums over ordered pairs, by the kinds of both, (2, 2, n_bins); one population is one object."""
    joint = first.probability[:, None] * second.probability
    if first is second:
        both = (
            (first.kind[:, None] == 1) & (second.kind == 1) & (first.host[:, None] == second.host)
        )
        # In one host, satellites are there in order of rank.
        joint = np.where(both, np.minimum(first.probability[:, None], second.probability), joint)
        joint[first.place[:, None] == second.place] = 0
    joint *= first.share[:, None] * second.share
    d = second.position - first.position[:, None]
    d -= BOX * np.round(d / BOX)
    r = np.linalg.norm(d, axis=2)
    i, j = np.nonzero((r > EDGES[0]) & (r <= EDGES[-1]) & (joint > 0))
    along = np.sum(first.axis[i] * d[i, j], axis=1) / r[i, j]
    mutual = np.sum(first.axis[i] * second.axis[j], axis=1)
    u, v = first.weights(taken)[i], second.weights(also_taken)[j]
    of_degree = dict.fromkeys((0, 2, 4), (np.ones(len(i)), np.ones(len(i))))
    if amplitudes is not None:
        of_degree = {
            degree: (first.weights(f)[i], second.weights(f)[j]) for degree, f in amplitudes.items()
        }
    values = {
        "xi": np.ones(len(i)),
        "omega": of_degree[2][0] * (along**2 - 1 / 3),
        "omega_4": of_degree[4][0] * eval_legendre(4, along),
        "eta": of_degree[2][0] * of_degree[2][1] * (mutual**2 - 1 / 3),
    }
    at = first.kind[i], second.kind[j], np.searchsorted(EDGES, r[i, j]) - 1
    sums = {name: np.zeros((2, 2, len(EDGES) - 1)) for name in values}
    for name, value in values.items():
        np.add.at(sums[name], at, joint[i, j] * u * v * value)
    return sums


@pytest.fixture(scope="module")
def tiny():
    return tiny_catalogue()


@pytest.fixture(scope="module")
def table(tiny):
    return Tabulation.build(tiny, EDGES, progress=False, tolerance=0, statistics=NAMES)


def assert_means(found, sums, n_first, n_second, carriers=(0, 1)):
    """Templates against direct sums; only some kinds of galaxies have shapes."""
    random = n_first * n_second * shell_volumes(EDGES) / BOX**3
    pairs = sums["xi"].sum(axis=(0, 1))
    np.testing.assert_allclose(found.xi[0], pairs / random - 1, rtol=2e-6, atol=2e-6)
    for name in ("omega", "omega_4"):
        for kind, suffix in enumerate("cs"):
            expected = sums[name][kind].sum(axis=0) / pairs
            assert (np.abs(expected).max() > 1e-3) == (kind in carriers)
            got = getattr(found, f"{name}_{suffix}")[0]
            np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("overflow", [False, True])
def test_mass_dependent_strengths_equal_the_sum_over_all_pairs(tiny, table, overflow):
    hod = [11.6, 0.2, 11.5, 13.1, 1.2] if overflow else HOD
    there = Places.of(tiny, hod)
    sums = direct(there, there, amplitudes=AMPLITUDES)
    found = table.aligned_templates(MU, hod)
    n = there.number(ALL)
    assert found.n_galaxies[0] == pytest.approx(n, rel=1e-9)
    assert_means(found, sums, n, n)
    eta, pairs = sums["eta"], sums["xi"].sum(axis=(0, 1))
    for name, expected in (
        ("eta_cc", eta[0, 0]), ("eta_cs", eta[0, 1] + eta[1, 0]), ("eta_ss", eta[1, 1]),
    ):  # fmt: skip
        np.testing.assert_allclose(getattr(found, name)[0], expected / pairs, atol=2e-6)
    # With the amplitudes in them, statistics are the sums of templates.
    _, omega, eta, _ = found.correlations()
    np.testing.assert_allclose(omega, found.omega_c + found.omega_s, rtol=1e-12)
    np.testing.assert_allclose(eta, found.eta_cc + found.eta_cs + found.eta_ss, rtol=1e-12)


@pytest.mark.slow
def test_without_slopes_strengths_are_factors(table):
    hod = HOD + np.random.default_rng(0).uniform(-0.1, 0.1, (40, 5))  # more than one batch
    constant = [0.7, -0.3]
    expected = table.templates(hod).correlations(*constant)
    for alignment, mu in ((WATSON_MASS, [*constant, 0, 0]), (WATSON, constant)):
        found = table.aligned_templates(mu, hod, alignment).correlations()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("aligned", [False, True])
def test_part_of_a_population_equals_the_sum_over_all_pairs(tiny, table, aligned):
    """Shapes and positions may share galaxies, which are no pairs with themselves."""
    everything = Population(HOD)
    shapes = Sample(everything, fraction, other_fraction)
    positions = Sample(everything, 0.8, lambda logM: 1 - other_fraction(logM))
    there = Places.of(tiny, HOD)
    taken = fraction, other_fraction
    also_taken = (lambda logM: 0.8 + 0 * logM), (lambda logM: 1 - other_fraction(logM))
    sums = direct(there, there, taken, also_taken, AMPLITUDES if aligned else None)
    found = table.cross_templates(shapes, positions, mu=MU if aligned else None)
    n, n_positions = there.number(taken), there.number(also_taken)
    assert found.n_galaxies[0] == pytest.approx(n, rel=1e-9)
    assert found.n_positions[0] == pytest.approx(n_positions, rel=1e-9)
    assert_means(found, sums, n, n_positions)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["shapes", "positions"])
def test_separate_populations_equal_the_sum_over_all_pairs(tiny, table, who):
    """One of them without satellites: their pairs in one host are those of a central."""
    fractions = {"shapes": (1.0, 1.0), "positions": (1.0, 1.0)}
    fractions[who] = (0.7, 0.0)
    taken, also_taken = (
        [lambda logM, f=f: f + 0 * logM for f in fractions[part]] for part in fractions
    )
    first, second = Places.of(tiny, HOD), Places.of(tiny, OTHER)
    sums = direct(first, second, taken, also_taken)
    found = table.cross_templates(
        Sample(Population(HOD), *fractions["shapes"]),
        Sample(Population(OTHER), *fractions["positions"]),
    )
    carriers = (0,) if who == "shapes" else (0, 1)
    assert_means(found, sums, first.number(taken), second.number(also_taken), carriers)


@pytest.mark.slow
def test_a_sample_with_itself_is_one_sample(table):
    everything = Sample(Population(HOD))
    found, one = table.cross_templates(everything, everything), table.templates(HOD)
    for name in ("xi", "omega_c", "omega_s", "omega_4_c", "omega_4_s"):
        np.testing.assert_allclose(getattr(found, name), getattr(one, name), rtol=1e-5, atol=1e-6)
    assert found.n_positions == pytest.approx(found.n_galaxies)
    np.testing.assert_allclose(
        found.correlations(0.7, 0.2)[1], one.correlations(mu_sat=0.2, mu_cen=0.7)[1], rtol=1e-5
    )
    for wrong in ({"mu_cen": 0.7}, {"mu_cen": 0.7, "mu": 0.2}):
        with pytest.raises(TypeError, match=r"take mu_cen and mu_sat; got 0 number\(s\), mu_cen"):
            one.correlations(**wrong)


@pytest.mark.slow
def test_points_are_independent(table):
    hod = HOD + np.random.default_rng(1).uniform(-0.1, 0.1, (35, 5))
    shapes = Sample(Population(hod), fraction, 0.0)
    found = table.cross_templates(shapes, Sample(Population(OTHER)), mu=MU)
    for i in (0, 31, 32, 34):
        alone = table.cross_templates(
            Sample(Population(hod[i]), fraction, 0.0), Sample(Population(OTHER)), mu=MU
        )
        np.testing.assert_allclose(found.values[i], alone.values[0], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_what_cannot_be_known_is_refused_by_name(table):
    everything, other = Population(HOD), Population(HOD)
    with pytest.raises(ValueError, match="both put satellites on the subhalos of hosts of 10"):
        table.cross_templates(Sample(everything), Sample(other))
    with pytest.raises(ValueError, match="eta correlates shapes with shapes"):
        table.cross_templates(Sample(everything), Sample(everything), statistics=["eta"])
    with pytest.raises(ValueError, match="eta_0 correlates shapes"):
        table.cross_templates(Sample(everything), Sample(everything), statistics=["eta_0"])
    with pytest.raises(ValueError, match="omega_4 is not tabulated"):
        table.coarser(EDGES, ["xi", "omega"]).cross_templates(
            Sample(everything), Sample(everything), statistics=["omega_4"]
        )
    with pytest.raises(ValueError, match=r"fraction_centrals is 1\.2; it must be in \[0, 1\]"):
        table.cross_templates(Sample(everything, 1.2), Sample(everything))
    with pytest.raises(ValueError, match=r"fraction_satellites is 1\.5 at 10\^11\.50"):
        table.cross_templates(Sample(everything, 1.0, lambda x: 13 - x), Sample(everything))
    with pytest.raises(ValueError, match="gives an array of shape"):
        table.cross_templates(Sample(everything, lambda x: x[1:] * 0), Sample(everything))
    with pytest.raises(ValueError, match="have 2 and 3 points"):
        table.aligned_templates(np.tile(MU, (2, 1)), np.tile(HOD, (3, 1)))
    with pytest.raises(ValueError, match="has the parameters mu_cen, mu_sat, slope_cen, slope_sat"):
        table.aligned_templates([0.5, 0.2], HOD)
    with pytest.raises(ValueError, match=r"slope_sat = 1\.5 is outside \[-1, 1\]"):
        table.aligned_templates([0.5, 0.2, 0, 1.5], HOD)
    with pytest.raises(TypeError, match="take no strengths, which they include; got 2"):
        table.aligned_templates(MU, HOD).correlations(0.5, 0.2)


def test_the_example_of_the_page(small_tabulation, tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs/two_samples.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    small_tabulation.write(tmp_path / "tabulation.hdf5")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    # The red sample has the satellites of heavier hosts, and more neighbours about as far as these reach.
    one, *_ = names["table"].templates(names["hod"]).correlations(0.8, 0.3)
    assert (names["xi"][0, 7:11] > one[0, 7:11]).all()
