"""Projected statistics from exact templates, against integrals that are known."""

from itertools import pairwise

import numpy as np
import pytest
from iaemu_likelihood.emulator.models.exact import ExactlyOccupied, project_exactly
from iaemu_likelihood.emulator.models.projected import ProjectedMap, Universe
from iaemu_likelihood.emulator.physics.alignment import WATSON
from iaemu_likelihood.emulator.physics.conventions import Conventions
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
    found = project(templates(eta_0_cs=1.0))[2]
    angular = mean_over_bins(lambda mu: 9 / 4 * (1 - mu**2) ** 2 - 3 / 8 * (1 + mu**2) ** 2)
    np.testing.assert_allclose(found, np.outer(a2[:, 0] * a2[:, 1], angular), rtol=1e-4)


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
    with pytest.raises(ValueError, match="no epistemic error"):
        ExactlyOccupied(of)(MU, some, ("epistemic",))
