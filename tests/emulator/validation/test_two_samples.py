"""Expected correlations of two samples against halotools-IA, in a small box."""

from __future__ import annotations

import numpy as np
import pytest
from iaemu_likelihood.emulator.expectation import Sample
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.validation.expectation import expectation_against_halotools
from iaemu_likelihood.emulator.validation.points import POINTS_OF_ALIGNMENT, TWO_SAMPLES
from iaemu_likelihood.emulator.validation.two_samples import TwoSamples, samples_against_halotools

# Lighter hosts than those of the points, of which a small box has few.
HOD = {"logMmin": 11.9, "sigma_logM": 0.3, "logM0": 12.0, "logM1": 12.9, "alpha": 1.0}


def case(kind, index):
    content = TWO_SAMPLES[kind][index] | {"occupation": HOD}
    if "of_positions" in content:
        content["of_positions"] = HOD | {"logMmin": 11.7, "logM1": 13.1}
    return TwoSamples.of(content)


def test_cases_are_of_one_population_or_two():
    for kind, n in (("subset", 1), ("separate", 2)):
        for content in TWO_SAMPLES[kind]:
            assert len(TwoSamples.of(content).populations) == n


@pytest.mark.slow
def test_two_samples_agree_with_halotools_and_wrong_ones_do_not(
    small_halos, small_tabulation, monkeypatch
):
    cases = [case("subset", 1), case("separate", 0), case("separate", 1)]
    arguments = (small_halos, small_tabulation, cases, 16)
    points = samples_against_halotools(*arguments, progress=False, n_noise=80).numbers["points"]
    for point in points:
        for name in ("xi", "omega"):
            assert point[name]["probability"] > 1e-3, (name, point)
    # The whole population in the place of a part of it.
    whole = Sample(cases[0].positions.population)
    found = small_tabulation.cross_templates(whole, whole, ["xi", "omega"], cases[0].mu)
    wrong = np.concatenate(found.correlations())
    monkeypatch.setattr(TwoSamples, "expected", lambda self, tabulation: wrong)
    (point,) = samples_against_halotools(
        *arguments[:2], cases[:1], 16, progress=False, n_noise=80
    ).numbers["points"]
    assert min(point[name]["probability"] for name in ("xi", "omega")) < 1e-3


@pytest.mark.slow
def test_strengths_by_mass_agree_with_halotools(small_halos, small_tabulation):
    space = ParameterSpace.named(alignment="watson_mass")
    points = POINTS_OF_ALIGNMENT["watson_mass"].copy()
    points[:, space.n_alignment :] = list(HOD.values())
    summary = expectation_against_halotools(
        small_halos, small_tabulation, n=16, points=points, progress=False, n_noise=80, space=space
    ).numbers["summary"]
    for name, values in summary.items():
        assert values["smallest_probability"] > 1e-3, (name, summary)
