"""Position-orientation correlation function, omega(r) = <(e . rhat)^2> - 1/3."""

from __future__ import annotations

from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.statistics.base import Array, PairKernel, Statistic


def _quadrupole(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> float:
    ar = a[0] * dx + a[1] * dy + a[2] * dz
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    return ar * ar / r2 - aa / 3


def _by_halotools(positions: Array, axes: Array, r_edges: Array, box: float) -> Array:
    from halotools.mock_observables import ed_3d

    return np.asarray(ed_3d(positions, axes, positions, r_edges, period=box))


POSITION_ORIENTATION = PairKernel("position_orientation", n_axes=1, degree=2, term=_quadrupole)

OMEGA = Statistic(
    name="omega",
    latex=r"\omega",
    unit="",
    about="position-orientation correlation function",
    kernel=POSITION_ORIENTATION,
    is_ratio=True,
    measure=_by_halotools,
    has_shape_noise=True,
)
