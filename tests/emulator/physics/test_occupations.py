import re
from math import erf, erfc, exp, log10, pi, sqrt
from pathlib import Path

import numpy as np
import pytest
from iaemu_likelihood.emulator.halos import GalaxySites
from iaemu_likelihood.emulator.halos.readers import READERS
from iaemu_likelihood.emulator.mocks import HalotoolsIA
from iaemu_likelihood.emulator.mocks.fast import populate
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.occupations import DESI_ELG, DESI_LRG, OCCUPATIONS, ZHENG07
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from iaemu_likelihood.emulator.validation.expectation import expectation_against_halotools
from iaemu_likelihood.emulator.validation.points import POINTS_OF
from scipy.stats import chi2

POINTS = {
    "zheng07": [12.0, 0.26, 12.1, 12.9, 1.0],
    "desi_lrg": [12.5, 0.3, 0.6, 13.2, 1.1, 0.8],
    "desi_elg": [11.65, 0.09, 0.25, 4.0, 11.4, 12.9, 0.7, 0.4],
}
DESI = ("desi_lrg", "desi_elg")
LOG_MASS = np.linspace(11.0, 15.2, 43)


# ---------------------------------------------------------------- formulas


def test_luminous_red_galaxies_follow_their_formula():
    """Of single numbers, with masses in place of their logarithms, as the paper writes it."""
    log_cut, sigma, kappa, log_M1, alpha, f_ic = POINTS["desi_lrg"]
    M_cut, M1 = 10**log_cut, 10**log_M1
    centrals, satellites = DESI_LRG.means(LOG_MASS, POINTS["desi_lrg"])
    for M, central, satellite in zip(10**LOG_MASS, centrals[0], satellites[0], strict=True):
        expected = f_ic / 2 * erfc(log10(M_cut / M) / (sqrt(2) * sigma))
        assert central == pytest.approx(expected, rel=1e-9)
        above = max((M - kappa * M_cut) / M1, 0)
        assert satellite == pytest.approx(above**alpha * expected, rel=1e-9)
    # Half of the complete sample at the cut; as many satellites as centrals one M_1 above kappa M_cut.
    masses = np.log10([M_cut, kappa * M_cut, kappa * M_cut + M1])
    centrals, satellites = DESI_LRG.means(masses, POINTS["desi_lrg"])
    assert centrals[0, 0] == pytest.approx(f_ic / 2)
    assert satellites[0, 1] == pytest.approx(0, abs=1e-15)
    assert satellites[0, 2] == pytest.approx(centrals[0, 2])


def test_luminous_red_galaxies_are_zheng07_with_satellites_that_follow_centrals():
    log_cut, sigma, kappa, log_M1, alpha, _ = POINTS["desi_lrg"]
    same = [log_cut, sqrt(2) * sigma, log_cut + log10(kappa), log_M1, alpha]
    theirs, power = ZHENG07.means(LOG_MASS, same)
    for f_ic in (1.0, 0.4):
        centrals, satellites = DESI_LRG.means(LOG_MASS, [*POINTS["desi_lrg"][:5], f_ic])
        np.testing.assert_allclose(centrals, f_ic * theirs, rtol=1e-9)
        np.testing.assert_allclose(satellites, f_ic * theirs * power, rtol=1e-9, atol=1e-300)


def test_emission_line_galaxies_follow_their_formula():
    log_Mc, A_c, sigma, gamma, log_M0, log_M1, alpha, A_s = POINTS["desi_elg"]
    centrals, satellites = DESI_ELG.means(LOG_MASS, POINTS["desi_elg"])
    for M, central, satellite in zip(10**LOG_MASS, centrals[0], satellites[0], strict=True):
        x = log10(M / 10**log_Mc)
        gaussian = A_c / (sqrt(2 * pi) * sigma) * exp(-(x**2) / (2 * sigma**2))
        expected = gaussian * (1 + erf(gamma * x / (sqrt(2) * sigma)))
        assert central == pytest.approx(expected, rel=1e-8, abs=1e-16)
        above = max((M - 10**log_M0) / 10**log_M1, 0)
        assert satellite == pytest.approx(A_s * above**alpha, rel=1e-9)
    (at_Mc,), _ = DESI_ELG.means(np.array([log_Mc]), POINTS["desi_elg"])
    assert at_Mc == pytest.approx(A_c / (sqrt(2 * pi) * sigma))
    _, (one_above,) = DESI_ELG.means(np.log10([10**log_M0 + 10**log_M1]), POINTS["desi_elg"])
    assert one_above == pytest.approx(A_s)


@pytest.mark.parametrize("gamma", [-3.0, 0.0, 1.0, 8.0])
def test_emission_line_centrals_are_a_skew_normal_distribution(gamma):
    """Of log mass, whose integral is A_c and whose mean is known, whatever the asymmetry."""
    log_Mc, A_c, sigma, _, *others = POINTS["desi_elg"]
    logM = np.linspace(log_Mc - 4, log_Mc + 4, 8001)
    (number,), _ = DESI_ELG.means(logM, [log_Mc, A_c, sigma, gamma, *others])
    assert np.trapezoid(number, logM) == pytest.approx(A_c, rel=1e-6)
    mean = np.trapezoid(number * logM, logM) / A_c
    shift = sigma * gamma / sqrt(1 + gamma**2) * sqrt(2 / pi)
    assert mean == pytest.approx(log_Mc + shift, abs=1e-6)


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 1.2])
@pytest.mark.parametrize("name", OCCUPATIONS)
def test_there_are_no_satellites_below_their_threshold_whatever_the_slope(name, alpha):
    occupation = OCCUPATIONS[name]
    hod = np.array(POINTS[name])
    hod[occupation.names.index("alpha")] = alpha
    _, (satellites,) = occupation.means(np.array([10.0, 11.0, 14.0, 15.0]), hod)
    assert (satellites[:2] == 0).all()
    assert (satellites[2:] > 0).all()
    assert (satellites[3] < satellites[2]) == (alpha < 0)


def test_abacushod_has_the_same_formulas():
    """An independent implementation, with which the collaboration populates AbacusSummit."""
    theirs = pytest.importorskip(
        "abacusnbody.hod.GRAND_HOD", reason="abacusutils is not installed", exc_type=ImportError
    )
    masses = 10**LOG_MASS
    log_cut, sigma, kappa, log_M1, alpha, ic = POINTS["desi_lrg"]
    shape = log_cut, 10**log_cut, 10**log_M1, sigma, alpha, kappa
    expected = [
        [ic * theirs.n_cen_LRG(M, log_cut, sigma) for M in masses],
        [ic * theirs.n_sat_LRG_modified(M, *shape) for M in masses],
    ]
    found = DESI_LRG.means(LOG_MASS, POINTS["desi_lrg"])
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-6)
    # Quenched, they have a floor of 1 / (2 Q) at high mass, which is left out there, too.
    log_Mc, A_c, sigma, gamma, log_M0, log_M1, alpha, A_s = POINTS["desi_elg"]
    Q = 100.0
    kappa = 10 ** (log_M0 - log_Mc)
    expected = [
        [theirs.N_cen_ELG_v1(M, A_c + 1 / Q, Q, log_Mc, sigma, gamma) for M in masses],
        [theirs.N_sat_elg(M, 10**log_Mc, kappa, 10**log_M1, alpha, A_s) for M in masses],
    ]
    found = DESI_ELG.means(LOG_MASS, POINTS["desi_elg"])
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-6, atol=1e-15)


# ---------------------------------------------------------------- what cannot be


@pytest.fixture(scope="module")
def sites(small_halos):
    return GalaxySites.of(small_halos)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("desi_elg", {"A_c": 0.9}, r"2\.5\d* centrals .*A_c = 0.9, .*in \[0, 1\]. A host has one"),
        ("desi_elg", {"sigma_M": 0.01}, r"6\.\d* centrals .*sigma_M = 0.01, .*in \[0, 1\]"),
        (
            "desi_lrg",
            {"f_ic": 1.3},
            r"1\.3 centrals .*logM_cut = 12.5, .*f_ic = 1.3; .*in \[0, 1\]",
        ),
        ("desi_elg", {"A_s": -0.1}, r"-\d.* satellites .*A_s = -0.1; .*finite and not negative"),
        ("zheng07", {"logM1": -400.0}, r"inf satellites .*logM1 = -400, .*finite and not negative"),
        ("desi_lrg", {"sigma": 0.0}, r"sigma is 0\.0 \(row 0 of 1\); expected a positive number"),
        ("desi_elg", {"gamma": np.nan}, r"gamma is nan \(row 0 of 1\); expected a finite number"),
    ],
)
def test_numbers_that_cannot_be_are_refused_wherever_galaxies_are(
    name, changes, words, sites, small_halos
):
    space = ParameterSpace.named(name)
    hod = list((dict(zip(space.occupation.names, POINTS[name], strict=True)) | changes).values())
    with pytest.raises(ValueError, match=words):
        populate(sites, hod, np.random.default_rng(0), space.occupation)
    with pytest.raises(ValueError, match=words):
        sites.mean_number(hod, space.occupation)
    if name != "zheng07" and np.isfinite(hod).all():
        with pytest.raises(ValueError, match=words):
            HalotoolsIA(small_halos, space).populate([0.5, 0.5, *hod], seed=0)


def test_the_host_and_the_point_are_named():
    hod = np.tile(POINTS["desi_elg"], (3, 1))
    hod[1, 1] = 0.9
    with pytest.raises(ValueError, match=r"in a host of 10\^11\.80 Msun/h .*\(row 1 of 3\)"):
        DESI_ELG.means(np.array([11.5, 11.8, 13.0]), hod)


@pytest.mark.parametrize("name", OCCUPATIONS)
def test_every_point_of_the_default_domain_can_be(name):
    domain = Domain.of(ParameterSpace.named(name))
    hod = domain.space.split(domain.sample(2048, seed=0))[1]
    corners = domain.from_unit(
        np.array(np.meshgrid(*[[-1.0, 1.0]] * hod.shape[1])).T.reshape(-1, hod.shape[1])
    )
    centrals, _ = OCCUPATIONS[name].means(
        np.linspace(10.5, 15.5, 101), np.concatenate([hod, corners])
    )
    assert centrals.max() > 0.5


@pytest.mark.parametrize("name", OCCUPATIONS)
def test_points_in_use_are_in_the_default_domain(name):
    domain = Domain.of(ParameterSpace.named(name))
    assert domain.contains([0.5, 0.5, *POINTS[name]])
    assert domain.contains(POINTS_OF[name]).all()


def test_parameters_with_one_name_are_one_parameter():
    """Chains are labelled by names, so two labels for one name would be wrong in one of them."""
    found = {}
    for occupation in OCCUPATIONS.values():
        for parameter in occupation.parameters:
            assert found.setdefault(parameter.name, parameter) == parameter


@pytest.mark.parametrize("name", DESI)
def test_parameters_of_another_occupation_are_refused_by_name(name):
    hod = dict(zip(OCCUPATIONS[name].names, POINTS[name], strict=True))
    words = rf".* are the parameters of the occupation {name}; here it is zheng07, .*'occupation_model: {name}'"
    with pytest.raises(TypeError, match=words):
        DEFAULT_SPACE.array(mu_cen=0.5, mu_sat=0.5, **hod)
    space = ParameterSpace.named(name)
    np.testing.assert_array_equal(
        space.array(mu_cen=0.5, mu_sat=0.6, **hod), [0.5, 0.6, *POINTS[name]]
    )
    with pytest.raises(TypeError, match=r"missing: mu_cen"):
        space.array(mu_sat=0.5, **hod)


# ---------------------------------------------------------------- galaxies


def _chi2_of_numbers(occupation, hod, sites, centrals, satellites, n):
    """Of galaxies in bins of host mass, with at least 20 expected: probabilities of a larger chi^2.

    `centrals` and `satellites` are log10 of the masses of their hosts, in n catalogues.
    """
    (p,), (m,) = occupation.means(sites.logM, hod)
    edges = np.append(np.arange(11.0, 13.6, 0.2), 16.0)
    result = []
    for found, mean, variance in ((centrals, p, p * (1 - p)), (satellites, m, m)):
        expected, spread = (
            n * np.histogram(sites.logM, edges, weights=x)[0] for x in (mean, variance)
        )
        counted, _ = np.histogram(found, edges)
        used = expected >= 20
        assert used.sum() >= 5
        pulls = (counted - expected)[used] / np.sqrt(spread[used])
        result.append(chi2.sf((pulls**2).sum(), used.sum()))
        assert counted[expected == 0].sum() == 0
    return result


@pytest.mark.parametrize("name", DESI)
def test_mocks_have_the_mean_numbers_by_mass(name, sites, small_halos):
    space, hod, n = ParameterSpace.named(name), POINTS[name], 10
    model = HalotoolsIA(small_halos, space)
    tables = [model.populate([0.8, 0.3, *hod], seed) for seed in range(n)]
    kinds = np.concatenate([np.asarray(t["gal_type"]) for t in tables])
    masses = np.log10(np.concatenate([np.asarray(t["halo_mvir"]) for t in tables]))
    of_halotools = [masses[kinds == kind] for kind in ("centrals", "satellites")]
    drawn = [populate(sites, hod, np.random.default_rng(s), space.occupation) for s in range(n)]
    masses = np.concatenate([sites.logM[g.host] for g in drawn])
    kinds = np.concatenate([g.kind for g in drawn])
    for found in (of_halotools, [masses[kinds == kind] for kind in (0, 1)]):
        probabilities = _chi2_of_numbers(space.occupation, hod, sites, *found, n)
        assert min(probabilities) > 1e-3


@pytest.mark.parametrize("name", DESI)
def test_the_tabulated_expectation_is_the_mean_of_halotools_mocks(
    name, small_tabulation, small_halos
):
    """With the covariance of one catalogue, its correlations between bins included."""
    space = ParameterSpace.named(name)
    point = np.array([[0.8, 0.5, *POINTS[name]]])
    found = expectation_against_halotools(
        small_halos, small_tabulation, 40, 3, point, progress=False, n_noise=40, space=space
    )
    for entry in found.numbers["summary"].values():
        assert entry["smallest_probability"] > 1e-3
        assert entry["chi2_per_bin"] < 2.5


def test_the_tabulation_refuses_more_than_one_central(small_tabulation):
    hod = np.array([POINTS["desi_elg"]] * 2)
    hod[1, 1] = 0.9
    with pytest.raises(ValueError, match=r"centrals in a host of .*A_c = 0.9, .*\(row 1 of 2\)"):
        small_tabulation.templates(hod, occupation=DESI_ELG)


def test_a_part_of_the_galaxies_clusters_like_all_beyond_halos(small_tabulation):
    """Within them it does not, because satellites fill subhalos in order."""
    *others, _ = POINTS["desi_lrg"]
    found = small_tabulation.templates([[*others, 0.9], [*others, 0.3]], occupation=DESI_LRG)
    n = found.n_centrals + found.n_satellites
    assert n[0] == pytest.approx(3 * n[1])
    xi, *_ = found.correlations(0.8, 0.3)
    change = np.abs((1 + xi[1]) / (1 + xi[0]) - 1)
    assert change[R_EDGES[:-1] > 2.5].max() < 0.03
    assert change[R_EDGES[1:] < 1].max() > 0.1


def test_the_example_of_the_page_on_occupations(
    small_tabulation, small_halos, tmp_path, monkeypatch
):
    """In a small box, which stands for the bundled catalogue."""
    page = (Path(__file__).parents[3] / "docs/occupations.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(READERS, "bundled", lambda: small_halos)
    small_tabulation.write("tabulation.hdf5")
    names: dict = {}
    exec(example, names)
    expected = names["number"]
    assert abs(len(names["mock"]) - expected) < 5 * sqrt(expected)
    for values in (names["xi"], names["omega"], names["eta"]):
        assert values.shape == (1, 20)
