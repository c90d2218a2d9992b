"""Position-orientation correlation function, omega(r) = <(e . rhat)^2> - 1/3, and its next degree."""

from __future__ import annotations

from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.statistics.base import Array, PairKernel, Statistic


def _quadrupole(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> float:
    ar = a[0] * dx + a[1] * dy + a[2] * dz
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    return ar * ar / r2 - aa / 3


def _hexadecapole(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> float:
    ar = a[0] * dx + a[1] * dy + a[2] * dz
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    square = ar * ar / r2
    return (35 * square * square - 30 * square * aa + 3 * aa * aa) / 8


def _by_halotools(positions: Array, axes: Array, r_edges: Array, box: float) -> Array:
    from halotools.mock_observables import ed_3d

    return np.asarray(ed_3d(positions, axes, positions, r_edges, period=box))


POSITION_ORIENTATION = PairKernel("position_orientation", n_axes=1, degree=2, term=_quadrupole)
POSITION_ORIENTATION_4 = PairKernel(
    "position_orientation_4", n_axes=1, degree=4, term=_hexadecapole
)

OMEGA = Statistic(
    name="omega",
    latex=r"\omega",
    unit="",
    about="position-orientation correlation function",
    kernel=POSITION_ORIENTATION,
    is_ratio=True,
    measure=_by_halotools,
    has_shape_noise=True,
    plot_power=0.5,
)
OMEGA_4 = Statistic(
    name="omega_4",
    latex=r"H_4",
    unit="",
    about="mean of P_4(e . rhat), the next degree of the position-orientation correlation",
    kernel=POSITION_ORIENTATION_4,
    is_ratio=True,
)
