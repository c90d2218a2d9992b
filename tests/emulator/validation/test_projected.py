"""The comparison of projected statistics with galaxies: what it accepts, and what it does not."""

import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.physics.statistics import STATISTICS
from iaemu_likelihood.emulator.validation import projected
from iaemu_likelihood.emulator.validation.points import PROJECTED_POINTS

from iaemu_likelihood.cli.tables import show

RP_EDGES, PI_MAX = np.logspace(-0.5, 0.7, 5), 10.0
FAR = np.array([False, False, True])


def random_catalogue(n=3000, box=60.0):
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(n, 3))
    return rng.uniform(0, box, (n, 3)), axes / np.linalg.norm(axes, axis=1, keepdims=True), 0.6, box


def test_both_estimators_agree():
    arguments = *random_catalogue(), np.array([1.0, 3.0, 8.0]), 12.0
    a, b = projected.counted(*arguments), projected.estimated(*arguments)
    assert a.shape == (3, 3, 2)
    np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    assert np.abs(a[1] - a[0]).min() > 1e-4


def test_halotools_leaves_out_pairs_at_equal_depth():
    position, axes, ratio, box = random_catalogue(200)
    arguments = axes, ratio, box, np.array([1.0, 8.0]), 12.0
    flat = position * [1, 1, 0]
    assert projected.counted(flat, *arguments)[2, 0, 0] > 0
    assert projected.estimated(flat, *arguments)[2, 0, 0] == pytest.approx(-24)  # no pair
    apart = flat + [[0, 0, 1e-6]] * np.arange(200)[:, None]
    np.testing.assert_allclose(
        *(f(apart, *arguments) for f in (projected.counted, projected.estimated))
    )


def draws(n, of_box, seed):
    """Of many points; the expectation, and populations of boxes whose sides differ in the last bin."""
    rng, n_points = np.random.default_rng(seed), 4000
    expected = np.ones((n_points, 3))
    sides = of_box * rng.normal(size=(n_points, 1, 3, 1)) * FAR
    populations = rng.normal(size=(n_points, n, 1, 3))
    both = expected[:, None, None] + populations + 0.5 * rng.normal(size=(n_points, n, 3, 3))
    return both + sides, expected


@pytest.mark.parametrize("n", [3, 8])
def test_deviations_are_standard_normal(n):
    found, expected = draws(n, 3.0, 0)
    z, sigma, correlation = projected._scores(found, expected, FAR)
    # Their squares scatter by sqrt(2 / 4000) about 1.
    np.testing.assert_allclose(np.mean(z**2, axis=0)[:2], 1.0, atol=0.1)
    assert abs(np.mean(np.abs(z[:, :2]) > 2) - 0.0455) < 0.01
    # Lines of sight of these boxes are drawn for each point, as if they had infinitely many.
    true = np.sqrt((1 + 0.25 / 3) / n + np.array([0, 0, 3.0]))
    np.testing.assert_allclose(np.mean(sigma**2, axis=0), true**2, rtol=0.1)
    np.testing.assert_allclose(correlation, np.eye(3), atol=0.05)
    not_far, *_ = projected._scores(found, expected, np.zeros(3, bool))
    assert np.mean(not_far[:, 2] ** 2) > 2


def test_a_wrong_expectation_is_far_away():
    found, expected = draws(8, 0.0, 1)
    z, *_ = projected._scores(found, expected + 3.0, FAR)
    assert (np.median(z, axis=0) < -4).all()


def test_how_far_chi2_of_correlated_bins_may_lie_from_1():
    rng, correlation = np.random.default_rng(2), np.array([[1, 0.9], [0.9, 1.0]])
    z = rng.multivariate_normal(np.zeros(2), correlation, (5000, 12))
    edges = np.array([1.0, 2.0, 3.0])
    found = [projected._summary(one, np.ones(2, bool), edges, correlation) for one in z]
    chi2 = [one["chi2_per_bin"] for one in found]
    np.testing.assert_allclose(np.std(chi2), found[0]["scatter"], rtol=0.05)


@pytest.fixture(scope="module")
def tabulation(small_halos):
    edges = np.logspace(-0.5, np.log10(12.0), 26)
    return Tabulation.build(
        small_halos, edges, progress=False, interval_dex=0.05, statistics=STATISTICS
    )


@pytest.fixture(scope="module")
def check(small_halos, tabulation, tmp_path_factory):
    return projected.projected_against_halotools(
        small_halos, tabulation, 6, 0, PROJECTED_POINTS[2:4], RP_EDGES, PI_MAX,
        folder=tmp_path_factory.mktemp("populations"), progress=False, anisotropic_from=0.0,
    )  # fmt: skip


def test_galaxies_agree_with_the_expectation(check):
    numbers = check.numbers
    assert 0 < numbers["halotools"] < 0.1
    assert len(numbers["summary"]) == 5  # w_gg, and two axis ratios of the others
    for entry in numbers["summary"]:
        assert entry["chi2_per_bin"] < 2.5
        assert entry["max_abs_z"] < 3.5
    # There is something to agree on, more of it in flatter galaxies.
    for point in numbers["points"]:
        flat, round_ = point["compared"][1:3]
        assert flat["axis_ratio"] < round_["axis_ratio"]
        assert max(np.divide(flat["expected"], flat["standard_error"])) > 5
        assert flat["expected"][0] > 1.5 * round_["expected"][0]


def test_tables_fit_a_terminal(check, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    show(check.tables())
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for text in ("0.316 to 5.01", "0.316-0.631", "q = 0.8", "chi^2 by bin"):
        assert text in shown


def test_what_cannot_be_compared_is_said_before_the_work(small_halos, tabulation):
    def compare(n=2, table=tabulation, **options):
        projected.projected_against_halotools(
            small_halos, table, n, 0, PROJECTED_POINTS[:1], RP_EDGES, PI_MAX, **options
        )

    with pytest.raises(ValueError, match="n is 1; a standard error takes 2"):
        compare(1)
    with pytest.raises(ValueError, match="n_halotools is 3; it must be from 1 to n, 2"):
        compare(n_halotools=3)
    few = tabulation.coarser(tabulation.r_edges, ["xi", "omega"])
    with pytest.raises(ValueError, match=r"are made of .*Tabulate all of them"):
        compare(table=few)
