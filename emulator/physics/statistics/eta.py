r"""Orientation-orientation correlation function, eta(r) = <(e . e')^2> - 1/3, and its helicity parts.

With :math:`T = e e^T - 1/3` of one galaxy and T' of the other, eta is the mean of
:math:`T_{ab} T'_{ab}`. In a frame whose axes are the separation r and two directions across it, it is
a sum of three parts that rotations about r leave as they are: :math:`\eta_0 = \langle T_{rr} T'_{rr}
\rangle`, :math:`\eta_1 = \langle T_{r\theta} T'_{r\theta} \rangle`, and
:math:`\eta_2 = \langle (T_{\theta\theta} - T_{\phi\phi}) (T'_{\theta\theta} - T'_{\phi\phi})
\rangle`, with :math:`\eta = \frac{3}{2} \eta_0 + 4 \eta_1 + \eta_2`. Shapes on the sky are correlated
by other combinations of the three (`iaemu_likelihood.emulator.physics.statistics.projected`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.statistics.base import Array, PairKernel, Statistic


def _alignment(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> float:
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    bb = b[0] * b[0] + b[1] * b[1] + b[2] * b[2]
    ab = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return ab * ab - aa * bb / 3


def _helicity_0(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> float:
    aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    bb = b[0] * b[0] + b[1] * b[1] + b[2] * b[2]
    ar = a[0] * dx + a[1] * dy + a[2] * dz
    br = b[0] * dx + b[1] * dy + b[2] * dz
    return (ar * ar / r2 - aa / 3) * (br * br / r2 - bb / 3)


def _helicity_1(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> float:
    # (r T T' r - T_rr T'_rr) / 2, with the components of the axes along and across r.
    ab = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    ar_br = (a[0] * dx + a[1] * dy + a[2] * dz) * (b[0] * dx + b[1] * dy + b[2] * dz) / r2
    return ar_br * (ab - ar_br) / 2


def _by_halotools(positions: Array, axes: Array, r_edges: Array, box: float) -> Array:
    from halotools.mock_observables import ee_3d

    return np.asarray(ee_3d(positions, axes, positions, axes, r_edges, period=box))


ORIENTATION_ORIENTATION = PairKernel("orientation_orientation", n_axes=2, degree=2, term=_alignment)
HELICITY_0 = PairKernel("helicity_0", n_axes=2, degree=2, term=_helicity_0)
HELICITY_1 = PairKernel("helicity_1", n_axes=2, degree=2, term=_helicity_1)

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
ETA_0 = Statistic(
    name="eta_0",
    latex=r"\eta_0",
    unit="",
    about="part of helicity 0 of the orientation-orientation correlation",
    kernel=HELICITY_0,
    is_ratio=True,
)
ETA_1 = Statistic(
    name="eta_1",
    latex=r"\eta_1",
    unit="",
    about="part of helicity 1 of the orientation-orientation correlation",
    kernel=HELICITY_1,
    is_ratio=True,
)
