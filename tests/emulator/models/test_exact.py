"""Exact models: projected statistics against integrals that are known, and tabulations as models."""

import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.exact import (
    ExactlyOccupied,
    project_exactly,
)
from iaemu_likelihood.emulator.models.projected import ProjectedMap, Universe
from iaemu_likelihood.emulator.models.weights import card_path, identity, read_card, weights_sha256
from iaemu_likelihood.emulator.physics.alignment import WATSON
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.occupations import DESI_ELG, DESI_LRG, ZHENG07
from iaemu_likelihood.emulator.physics.shapes import next_response
from iaemu_likelihood.emulator.physics.statistics import PROJECTED, STATISTICS, named
from iaemu_likelihood.emulator.physics.templates import Templates, templates_of
from scipy.integrate import quad

BOX, PI_MAX = 100.0, 20.0
EDGES, RP_EDGES = np.logspace(-1, 1.5, 51), np.array([1.0, 2.0, 5.0])
CONVENTIONS = Conventions(PI_MAX, box=BOX)
MU, RESPONSES = np.array([[0.8, 0.3], [-0.4, 0.9]]), np.array([[0.6, 0.2]])
NAMES = "w_gg", "w_gplus", "w_plusplus"


def templates(**values):
    """Two occupations, with some templates constant in r and all others 0."""
    statistics = tuple(STATISTICS.values())
    found = np.zeros((2, len(templates_of(statistics)), len(EDGES) - 1))
    for i, template in enumerate(templates_of(statistics)):
        found[:, i] = values.get(template.name, 0.0)
    return Templates(statistics, found, np.ones(2), np.ones(2))


def project(of, responses=RESPONSES, names=NAMES):
    universe = Universe(None, 0.0, BOX)
    maps = [ProjectedMap(PROJECTED[x], RP_EDGES, CONVENTIONS, EDGES, universe) for x in names]
    return project_exactly(of, MU, maps, CONVENTIONS, responses)


def mean_over_bins(angular):
    """Of the integral of a function of mu_r along the line of sight."""

    def column(rp):
        along = quad(lambda pi: angular(pi / np.hypot(rp, pi)), -PI_MAX, PI_MAX)[0]
        return 2 * np.pi * rp * along

    bins = pairwise(RP_EDGES)
    return np.array([quad(column, a, b)[0] / (np.pi * (b**2 - a**2)) for a, b in bins])


def test_shapes_respond_as_their_kind_of_galaxy():
    c, s = 2.0, -0.5
    strengths = WATSON.strengths(MU, (2, 4))
    a2, a4 = strengths[:, 2:4] * RESPONSES, strengths[:, 4:6] * next_response(RESPONSES)
    found = project(templates(xi=1.0, omega_c=c, omega_s=s))[1]
    # Twice, as there are 1 + xi pairs.
    integral = mean_over_bins(lambda mu: 2 * 1.5 * (1 - mu**2))
    np.testing.assert_allclose(found, np.outer(a2 @ [c, s], integral), rtol=1e-4)
    found = project(templates(omega_4_c=c, omega_4_s=s))[1]
    integral = mean_over_bins(lambda mu: (7 * mu**2 - 1) * (1 - mu**2))
    np.testing.assert_allclose(found, np.outer(a4 @ [c, s], integral), rtol=1e-4)
    # Pairs of centrals have no terms of degree 4.
    found = project(templates(eta_0_cc=1.0))[2]
    angular = mean_over_bins(lambda mu: 9 / 4 * (1 - mu**2) ** 2 - 3 / 8 * (1 + mu**2) ** 2)
    np.testing.assert_allclose(found, np.outer(a2[:, 0] ** 2, angular), rtol=1e-4)


def test_positions_need_no_shapes():
    (found,) = project(templates(xi=0.25), responses=None, names=NAMES[:1])
    np.testing.assert_allclose(found, 0.25 * 2 * PI_MAX, rtol=1e-4)


def test_without_responses_these_are_the_statistics_of_axes():
    rng = np.random.default_rng(0)
    of = templates()
    of.values[:] = rng.normal(size=of.values.shape)
    found, _ = ExactlyOccupied(of)(MU, of.statistics)
    np.testing.assert_allclose(found.swapaxes(0, 1), of.correlations(*MU.T), rtol=1e-12)


def test_a_bin_without_pairs_adds_nothing():
    of = templates(xi=-1.0, omega_c=np.nan, eta_cc=np.nan)
    for found, expected in zip(project(of), (-2 * PI_MAX, 0.0, 0.0), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-12)


def test_what_is_missing_is_said():
    some = named(["xi", "omega"])
    of = Templates(some, np.zeros((2, 3, len(EDGES) - 1)), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match=r"w_gplus are made of omega_4.*xi, omega\. Tabulate"):
        project(of, names=["w_gplus"])
    with pytest.raises(ValueError, match="not the scatter of single catalogues"):
        ExactlyOccupied(of)(MU, some, ("aleatoric",))
    _, errors = ExactlyOccupied(of)(MU, some, ("epistemic",))
    assert not errors["epistemic"].any()


# ------------------------------------------------------------ a tabulation as a model

POINT = [0.8, 0.3, 12.0, 0.26, 12.1, 13.0, 1.0]
# Inside the domains of the occupations, where a small box has galaxies.
OCCUPIED = {
    ZHENG07: POINT,
    DESI_LRG: [0.8, 0.3, 12.5, 0.4, 0.6, 13.4, 1.0, 0.8],
    DESI_ELG: [0.8, 0.3, 11.7, 0.08, 0.3, 4.0, 11.6, 13.0, 0.8, 0.5],
}


@pytest.fixture(scope="module")
def exact(exact_file):
    return Emulator.load(exact_file)


def expected(tabulation, theta, occupation=ZHENG07):
    """The tabulation's own statistics, (n_statistics, n, n_bins)."""
    points = np.atleast_2d(theta)
    of = tabulation.templates(points[:, 2:], occupation=occupation)
    return np.array(of.correlations(*points[:, :2].T))


@pytest.mark.parametrize("occupation", OCCUPIED, ids=lambda x: x.name)
def test_any_occupation_is_that_of_the_tabulation(exact_file, small_tabulation, occupation):
    emulator = Emulator.load(exact_file, occupation.name)
    theta = OCCUPIED[occupation]
    assert emulator.domain.contains(theta)
    found = np.array(list(emulator.predict(theta).values()))
    truth = expected(small_tabulation, theta, occupation)[:, 0]
    # Of few galaxies in a small box the scatter is some 10 %.
    np.testing.assert_allclose(1 + found[0], 1 + truth[0], rtol=3e-3)
    np.testing.assert_allclose(found[1:], truth[1:], atol=1e-3)
    galaxies = emulator.need_hosts().galaxies(occupation, np.array([theta[2:]]))
    of = small_tabulation.templates(theta[2:], occupation=occupation)
    numbers = np.array([[of.n_centrals[0], of.n_satellites[0]]]) / small_tabulation.box**3
    np.testing.assert_allclose(galaxies, numbers, rtol=1e-12)


def test_outside_the_domain_it_is_exact_too(exact, small_tabulation):
    outside = [*POINT[:5], 12.5, 1.6]
    with pytest.raises(ValueError, match=r"alpha = 1\.6 is outside"):
        exact.predict(outside)
    both = exact.predict([outside, POINT], extrapolate=True)
    found = np.array(list(both.values()))
    truth = expected(small_tabulation, outside)[:, 0]
    np.testing.assert_allclose(1 + found[:, 0], 1 + truth, rtol=2e-5)
    alone = np.array(list(exact.predict(POINT).values()))
    np.testing.assert_allclose(found[:, 1], alone, rtol=1e-4, atol=1e-5)


def test_one_point_many_and_tensors_agree(exact):
    points = exact.domain.sample(150, 1)
    many = exact.predict(points)
    with torch.no_grad():
        tensors = exact(torch.as_tensor(points))
    for name in many:
        np.testing.assert_allclose(tensors[name].numpy(), many[name], rtol=1e-5, atol=1e-6)
        for row in (0, 77, 149):
            one = exact.predict(points[row])[name]
            np.testing.assert_allclose(1 + one, 1 + many[name][row], rtol=1e-4)


def test_it_is_certain_and_knows_no_scatter(exact):
    found = exact.predict(POINT)
    assert found.aleatoric is None
    assert not exact.has_noise
    assert all((x == 0).all() for x in found.epistemic.values())
    with pytest.raises(ValueError, match="emulator_error: none"):
        exact.covariance(POINT)
    with pytest.raises(ValueError, match=r"w_gg need xi up to 79\.43.*iaemu tabulate"):
        exact.predict_projected(POINT, [1.0, 2.0], 20.0)
    with pytest.raises(ValueError, match="these weights know z = 0 only"):
        exact.at_redshift(0.5)


def test_gradients_of_pair_sums_are_their_slopes(small_fine_tabulation, exact):
    """In double precision, of all sums, along a change of all occupations."""
    coarse = small_fine_tabulation.coarser(
        small_fine_tabulation.r_edges[::8], ["xi", "omega", "eta"]
    )
    hod = np.array([POINT[2:], [12.6, 0.3, 12.4, 13.6, 1.1]])
    means = [torch.as_tensor(x) for x in ZHENG07.means(exact.need_hosts().log_mass, hod)]
    rng = np.random.default_rng(0)
    change = [torch.as_tensor(0.1 * rng.random(x.shape)) * x for x in means]
    for combinations in (exact._combinations, None):
        sums = coarse.compact(combinations, torch.device("cpu"), torch.float64)
        weights = 1 / sums(*means)
        assert torch.isfinite(weights).all()

        def total(step, sums=sums, weights=weights):
            return (
                weights * sums(*(x + step * d for x, d in zip(means, change, strict=True)))
            ).sum((1, 2))

        step = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
        (found,) = torch.autograd.grad(total(step).sum(), step)
        h = 1e-4
        slope = (total(torch.full((2, 1), h)) - total(torch.full((2, 1), -h))) / (2 * h)
        np.testing.assert_allclose(found[:, 0], slope.detach(), rtol=1e-6)


def test_predictions_have_gradients_in_every_parameter(exact):
    theta = torch.tensor([POINT], dtype=torch.float64, requires_grad=True)

    def total(x):
        found = exact(x)
        return (found.xi[:, 8:] * 0.1 + found.omega[:, 8:] * 3 + found.eta[:, 8:] * 7).sum()

    (found,) = torch.autograd.grad(total(theta), theta)
    steps = 1e-3 * torch.eye(7, dtype=torch.float64)
    with torch.no_grad():
        slopes = [(total(theta + d) - total(theta - d)) / 2e-3 for d in steps]
    # logM0 moves a threshold past intervals of mass one by one.
    np.testing.assert_allclose(found[0], slopes, rtol=5e-3, atol=5e-3 * float(found.abs().max()))
    assert (found != 0).all()


def test_impossible_numbers_of_galaxies_are_named_or_not_finite(exact_file):
    emulator = Emulator.load(exact_file, "desi_lrg")
    theta = [*OCCUPIED[DESI_LRG][:-1], 1.3]
    with pytest.raises(ValueError, match=r"desi_lrg expects 1\.3 centrals"):
        emulator.predict(theta, extrapolate=True)
    occupied = emulator.at(np.array([theta[2:]]), emulator.statistics)
    mean, _ = occupied(np.array([theta[:2]]), emulator.statistics)
    assert np.isnan(mean).all()


def test_its_card_is_beside_it(exact_file, small_fine_tabulation, small_halos, tmp_path):
    moved = shutil.copy(exact_file, tmp_path / "other.hdf5")
    with pytest.raises(
        FileNotFoundError, match=r"other\.hdf5 has no card beside it.*iaemu tabulate"
    ):
        Emulator.load(moved)
    shutil.copy(card_path(exact_file), card_path(moved))
    card = read_card(moved)
    assert identity(card) == weights_sha256(exact_file)
    assert card["halos"]["sha256"] == small_halos.sha256
    lrg = read_card(moved, "desi_lrg")
    assert lrg["domain"]["logM_cut"] == [12.4, 13.5]
    assert identity(lrg) == weights_sha256(exact_file, "desi_lrg") != identity(card)
    edges = small_fine_tabulation.r_edges[::2]
    small_fine_tabulation.coarser(edges, ["xi", "omega", "eta"]).write(moved, overwrite=True)
    with pytest.raises(ValueError, match=r"is not the tabulation that .*card\.yaml describes"):
        Emulator.load(moved)


def test_only_a_tabulation_takes_any_occupation(exact_file, tmp_path):
    with pytest.raises(ValueError, match=r"were trained on zheng07.*iaemu tabulate"):
        Emulator.load("templates", "desi_lrg")
    with pytest.raises(ValueError, match="No occupation 'lrg'; there are zheng07"):
        Emulator.load(exact_file, "lrg")
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(card_path(exact_file), folder / "card.yaml")
    with pytest.raises(ValueError, match="exact beside a tabulation, and only there"):
        Emulator.load(folder)
