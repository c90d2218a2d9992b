"""A small run of the fuzz suite, and whether the suite would notice a fault.

`python -m tests.fuzz` is the long run.
"""

from pathlib import Path

import numpy as np
import pytest
from iaemu_likelihood.emulator.physics.bins import bin_centres

from iaemu_likelihood.data_vectors.measurement import Measurement

from . import suite
from .cases import DIFFERENT, RAW, REFUSED, RIGHT, Case, tried

# Without these the example is made, or a case is tried, in seconds.
SLOW = ("galaxies", "surveys", "tabulations", "runs", "commands", "posteriors")


def check(results):
    """All that is not as it should be, as commands that repeat it."""
    failing = [result.reproducer for result in results if result.failed]
    assert not failing, "\n".join(failing)
    return results


def test_a_few_cases_of_each_quick_target():
    quick = [name for name in suite.TARGETS if name not in SLOW]
    ends = {x.outcome for name in quick for x in check(list(suite.fuzz(4, seed=3, only=name)))}
    assert ends == {REFUSED, RIGHT}


@pytest.mark.slow
def test_hundreds_of_cases_of_all_targets():
    results = check(list(suite.fuzz(300, seed=4)))
    assert {result.target for result in results} == {*suite.TARGETS}


def test_a_case_depends_on_seed_target_and_index_alone():
    name = "recipes"
    some = list(suite.fuzz(12, seed=5, only=name))
    (again,) = suite.fuzz(1, seed=5, only=name, case=11)
    assert (again.about, again.outcome, again.said) == (
        some[11].about,
        some[11].outcome,
        some[11].said,
    )
    others = list(suite.fuzz(12, seed=6, only=name))
    assert [x.about for x in some] != [x.about for x in others]


class Artificial:
    """A target whose cases are given."""

    name = "artificial"
    share = 1.0

    def __init__(self, run, wrong=lambda found: ""):
        self._case = Case("a change", run, wrong)

    def case(self, rng, folder):
        return self._case


def error(message, kind=ValueError):
    """A call that ends with an error."""

    def run():
        raise kind(message)

    return run


def refused():
    """What the product refuses on purpose."""
    return Measurement.read("tng300.sample4")


def unforeseen():
    """An operation inside the product that fails."""
    return bin_centres(np.array(["a", "b"]))


@pytest.mark.parametrize(
    ("run", "wrong", "outcome"),
    [
        (lambda: 1, lambda found: "", RIGHT),
        (lambda: 1, lambda found: "it is 1, not 2", DIFFERENT),
        (lambda: 1, lambda found: found["x"], DIFFERENT),
        (refused, lambda found: "accepted", REFUSED),
        (unforeseen, lambda found: "", RAW),
        (lambda: np.log(np.zeros(1)), lambda found: "", RAW),
        (lambda: {}["x"], lambda found: "", RAW),
        (lambda: float("x"), lambda found: "", RAW),
        (error("", OSError), lambda found: "", RAW),
        (error("<class 'int'> has no attribute 'x'"), lambda found: "", RAW),
        (lambda: Path("/nowhere/at/all").read_bytes(), lambda found: "", REFUSED),
    ],
)  # fmt: skip
def test_each_end_is_recognised(run, wrong, outcome, tmp_path):
    result = tried(Artificial(run, wrong), 0, 0, tmp_path)
    assert result.outcome == outcome, result.said
    assert result.failed == (outcome in (RAW, DIFFERENT))


def test_the_table_fits_a_terminal(capsys):
    suite.table(list(suite.fuzz(3, only="recipes")))
    shown = capsys.readouterr().out
    assert "silently different" in shown
    assert max(map(len, shown.splitlines())) <= 80
