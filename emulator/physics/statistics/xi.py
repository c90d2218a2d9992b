"""Position-position correlation function, xi(r) = DD / RR - 1."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.statistics.base import Array, PairKernel, Statistic


def _one(dx: float, dy: float, dz: float, r2: float, a: Any, b: Any) -> float:
    return 1.0


def _by_halotools(positions: Array, axes: Array, r_edges: Array, box: float) -> Array:
    from halotools.mock_observables import tpcf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return np.asarray(tpcf(positions, r_edges, period=box))


PAIRS = PairKernel("pairs", n_axes=0, degree=0, term=_one)

XI = Statistic(
    name="xi",
    latex=r"\xi",
    unit="",
    about="position-position correlation function",
    kernel=PAIRS,
    is_ratio=False,
    measure=_by_halotools,
    learned_as_logarithm=True,
    has_shape_noise=True,
    plot_power=2,
)
