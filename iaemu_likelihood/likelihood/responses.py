"""How strongly galaxies' shapes on the sky respond to their axes: nuisance parameters of the data.

The response a_2 (`iaemu_likelihood.emulator.physics.shapes`) multiplies the alignment strength, so a
position-shape correlation alone cannot tell the two apart. What is known of shapes, such as an axis
ratio, gives a_2 only roughly: the rms ellipticity of triaxial galaxies, or of a mixture, gives it 16 to
50 % too large. Therefore the responses are sampled by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from iaemu_likelihood.emulator.physics.shapes import largest_response, response

NAMES = ("a2_cen", "a2_sat")
_LATEX = (r"a_2^\mathrm{cen}", r"a_2^\mathrm{sat}")
# Standard deviation of the default prior, relative to its centre.
WIDTH = 0.2


def response_names(sample: str | None) -> list[str]:
    """Names of the two parameters of a sample, with its label, if it has one, as suffix."""
    return [f"{name}_{sample}" if sample else name for name in NAMES]


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
        If an axis ratio is impossible.
    """
    centres = np.broadcast_to(response(axis_ratio, 2, ellipticity), 2)
    largest, found = largest_response(ellipticity), {}
    for name, latex, centre in zip(response_names(sample), _LATEX, centres.tolist(), strict=True):
        scale = WIDTH * centre
        limits = {"a": -centre / scale, "b": (largest - centre) / scale}
        found[name] = {
            "prior": {"dist": "truncnorm", "loc": centre, "scale": scale, **limits},
            "ref": {"dist": "norm", "loc": centre, "scale": scale / 10},
            "proposal": scale / 2,
            "latex": latex,
        }
    return found


def check_responses(values: Any, ellipticity: str) -> Any:
    """Which points have possible responses, (n, 2) to (n,) of bool."""
    return ((values > 0) & (values <= largest_response(ellipticity))).all(axis=1)
