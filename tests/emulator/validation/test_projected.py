"""The comparison of projected statistics with galaxies: what it accepts, and what it does not."""

import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.physics.statistics import STATISTICS
from iaemu_likelihood.emulator.validation import projected
from iaemu_likelihood.emulator.validation.points import PROJECTED_POINTS

from iaemu_likelihood.cli.tables import show

RP_EDGES, PI_MAX = np.logspace(-0.5, 0.7, 5), 10.0


@pytest.mark.parametrize("n", [3, 8])
def test_deviations_are_standard_normal(n):
    rng, expected = np.random.default_rng(0), np.ones((4000, 3))
    draws = expected[:, None] + rng.normal(size=(4000, n, 3)) * [1.0, 2.0, 5.0]
    z, sigma, correlation = projected._scores(draws, expected)
    # Their squares scatter by sqrt(2 / 4000) about 1.
    np.testing.assert_allclose(np.mean(z**2, axis=0), 1.0, atol=0.1)
    assert abs(np.mean(np.abs(z) > 2) - 0.0455) < 0.01
    np.testing.assert_allclose(np.mean(sigma**2, axis=0) * n, [1, 4, 25], rtol=0.1)
    np.testing.assert_allclose(correlation, np.eye(3), atol=0.05)
    far_away, *_ = projected._scores(draws, expected + np.array([3.0, 6.0, 15.0]))
    assert (np.mean(far_away, axis=0) < -1.5).all()


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
        folder=tmp_path_factory.mktemp("populations"), progress=False,
    )  # fmt: skip


def test_galaxies_agree_with_the_expectation(check):
    numbers = check.numbers
    assert 0 < numbers["halotools"] < 0.1
    assert len(numbers["summary"]) == 5  # w_gg, and two axis ratios of the others
    for entry in numbers["summary"]:
        assert entry["chi2_per_bin"] < 1 + 3 * entry["scatter"]
        assert entry["max_abs_z"] < 4
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
