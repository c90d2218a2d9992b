"""Parameter points of `points.yaml`, at which the forward model is compared with catalogues."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import yaml
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace

_content = yaml.safe_load(Path(__file__).with_name("points.yaml").read_text())
_noise, _projected = _content["noise"], _content["projected"]

# All of the default space, shape (n, n_parameters).
CHECK_POINTS = np.stack([DEFAULT_SPACE.array(point) for point in _content["points"]])
# By occupation, in the order of a space with it.
POINTS_OF = {DEFAULT_SPACE.occupation.name: CHECK_POINTS} | {
    name: np.stack([ParameterSpace.named(name).array(point) for point in points])
    for name, points in _content["of_occupation"].items()
}
# By alignment, with the default occupation.
POINTS_OF_ALIGNMENT = {DEFAULT_SPACE.alignment.name: CHECK_POINTS} | {
    name: np.stack([ParameterSpace.named(alignment=name).array(point) for point in points])
    for name, points in _content["of_alignment"].items()
}
# Samples of shapes and positions, as they are written, by how the two are related.
TWO_SAMPLES = _content["two_samples"]
# Occupation parameters, (n, n_occupation), and alignments, (n, n_alignment), of the noise.
NOISE_POINTS = DEFAULT_SPACE.split(CHECK_POINTS[_noise["occupation_of"]])[1]
NOISE_MU = np.array([[mu[name] for name in DEFAULT_SPACE.alignment.names] for mu in _noise["mu"]])
# Where the noise is compared with halotools-IA, (n_parameters,).
HALOTOOLS_POINT = CHECK_POINTS[_noise["halotools"]]
# Every occupation of projected statistics with every alignment, (n, n_parameters).
PROJECTED_POINTS = np.stack(
    [
        DEFAULT_SPACE.array(mu | occupation)
        for occupation, mu in product(_projected["occupation"], _projected["mu"])
    ]
)
