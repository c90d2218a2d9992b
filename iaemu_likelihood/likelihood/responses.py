"""How strongly galaxies' shapes on the sky respond to their axes: nuisance parameters of the data.

The response a_2 (`iaemu_likelihood.emulator.physics.shapes`) multiplies the alignment strength, so a
position-shape correlation alone cannot tell the two apart. What is known of shapes, such as an axis
ratio, gives a_2 only roughly: the rms ellipticity of triaxial galaxies, or of a mixture, gives it too
large. Therefore the responses are sampled by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from iaemu_likelihood.emulator.physics.parameters import Parameter
from iaemu_likelihood.emulator.physics.shapes import largest_response, response

RESPONSES = (
    Parameter("a2_cen", r"a_{2,\mathrm{cen}}", 0.05, positive=True),
    Parameter("a2_sat", r"a_{2,\mathrm{sat}}", 0.05, positive=True),
)
# Standard deviation of the default prior, relative to its centre.
WIDTH = 0.2


def response_names(sample: str | None) -> list[str]:
    """Names of the two parameters of a sample, with its label, if it has one, as suffix."""
    return [f"{x.name}_{sample}" if sample else x.name for x in RESPONSES]


def default_priors(
    axis_ratio: float | Sequence[float], ellipticity: str, sample: str | None
) -> dict[str, dict[str, Any]]:
    """Priors of the responses, in the form of Cobaya's inputs.

    Parameters
    ----------
    axis_ratio : float or (float, float)
        Of galaxies, or of centrals and satellites, taken as prolate.
    ellipticity : str
        One of `iaemu_likelihood.emulator.physics.shapes.DEFINITIONS`.
    sample : str or None
        Label of the sample.

    Returns
    -------
    dict of str to dict
        Gaussian priors about the responses to these axis ratios, `WIDTH` wide, between 0 and the
        response to axis ratio 0.1.

    Raises
    ------
    ValueError
        If these are not one or two numbers from 0.1 to 1, of which 1 does not count.
    """
    try:
        ratios = np.broadcast_to(np.asarray(axis_ratio, np.float64), 2)
    except (TypeError, ValueError):
        ratios = np.full(2, np.nan)
    if not ((ratios >= 0.1) & (ratios < 1)).all():
        raise ValueError(
            f"axis_ratio is {axis_ratio!r}; expected the shorter over the longer axis of the galaxies, "
            "at least 0.1 and below 1, or two such numbers: of centrals and of satellites."
        )
    centres = response(ratios, 2, ellipticity)
    largest, found = largest_response(ellipticity), {}
    for name, parameter, centre in zip(
        response_names(sample), RESPONSES, centres.tolist(), strict=True
    ):
        scale = WIDTH * centre
        limits = {"a": -centre / scale, "b": (largest - centre) / scale}
        found[name] = {
            "prior": {"dist": "truncnorm", "loc": centre, "scale": scale, **limits},
            "ref": {"dist": "norm", "loc": centre, "scale": scale / 10},
            "proposal": parameter.proposal,
            "latex": parameter.latex,
        }
    return found


def check_responses(values: Any, ellipticity: str) -> Any:
    """Which points have possible responses, (n, 2) to (n,) of bool."""
    return ((values > 0) & (values <= largest_response(ellipticity))).all(axis=1)
