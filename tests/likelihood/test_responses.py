"""Responses of shapes: their names, priors and limits."""

import numpy as np
import pytest
import torch
from iaemu_likelihood.emulator.physics.shapes import largest_response, response

from iaemu_likelihood.likelihood.responses import check_responses, default_priors, response_names


def test_names_end_with_the_sample():
    assert response_names(None) == ["a2_cen", "a2_sat"]
    assert response_names("low") == ["a2_cen_low", "a2_sat_low"]


@pytest.mark.parametrize("ellipticity", ["distortion", "epsilon"])
def test_priors_are_20_per_cent_wide_and_end_where_responses_do(ellipticity):
    found = default_priors([0.5, 0.8], ellipticity, "low")
    for (name, info), q in zip(found.items(), (0.5, 0.8), strict=True):
        centre = float(response(q, 2, ellipticity))
        prior = info["prior"]
        assert name.startswith("a2_")
        assert name.endswith("_low")
        assert prior["loc"] == info["ref"]["loc"] == pytest.approx(centre, rel=1e-12)
        assert prior["scale"] == pytest.approx(0.2 * centre, rel=1e-12)
        limits = [prior["loc"] + prior["scale"] * prior[x] for x in ("a", "b")]
        assert limits == pytest.approx([0, largest_response(ellipticity)], abs=1e-12)


@pytest.mark.parametrize("ratio", [1.0, 0.09, -0.5, [0.5, 1.2], [0.5, 0.6, 0.7], "flat", np.nan])
def test_axis_ratios_that_make_no_prior_are_refused(ratio):
    with pytest.raises(ValueError, match=r"axis_ratio is .*at least 0.1 and below 1, or two such"):
        default_priors(ratio, "distortion", None)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_which_responses_are_possible(kind):
    largest = largest_response()
    values = kind(
        np.array([[0.5, 0.3], [0.0, 0.3], [0.5, -0.1], [largest, 0.1], [0.5, 1.01 * largest]])
    )
    found = check_responses(values, "distortion")
    assert found.tolist() == [True, False, False, True, False]
    assert check_responses(kind(np.array([[0.5, np.nan]])), "distortion").tolist() == [False]
