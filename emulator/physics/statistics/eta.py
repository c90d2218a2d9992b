"""Orientation-orientation correlation function, eta(r) = <(e . e')^2> - 1/3."""

from __future__ import annotations

from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.statistics.base import Array, PairKernel, Statistic


def _alignment(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> float:
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    bb = b[0] * b[0] + b[1] * b[1] + b[2] * b[2]
    ab = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return ab * ab - aa * bb / 3


def _by_halotools(positions: Array, axes: Array, r_edges: Array, box: float) -> Array:
    from halotools.mock_observables import ee_3d

    return np.asarray(ee_3d(positions, axes, positions, axes, r_edges, period=box))


ORIENTATION_ORIENTATION = PairKernel("orientation_orientation", n_axes=2, degree=2, term=_alignment)

ETA = Statistic(
    name="eta",
    latex=r"\eta",
    unit="",
    about="orientation-orientation correlation function",
    kernel=ORIENTATION_ORIENTATION,
    is_ratio=True,
    measure=_by_halotools,
    has_shape_noise=True,
)
