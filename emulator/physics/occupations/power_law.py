"""Satellites whose mean number is a power law of host mass above a threshold.

Every occupation here has them. Parameters with one name mean one thing, so they are defined once.
"""

from __future__ import annotations

import numpy as np
from iaemu_likelihood.emulator.physics.occupations.base import Array
from iaemu_likelihood.emulator.physics.parameters import Parameter

LOG_M0 = Parameter("logM0", r"\log_{10} M_0 / (h^{-1} M_\odot)", 0.2)
LOG_M1 = Parameter("logM1", r"\log_{10} M_1 / (h^{-1} M_\odot)", 0.05)
ALPHA = Parameter("alpha", r"\alpha", 0.05)


def power_law(logM: Array, M0: Array, M1: Array, alpha: Array) -> Array:
    """[(M - M_0) / M_1]^alpha above M_0, and 0 below, whatever the sign of alpha.

    Parameters
    ----------
    logM : ndarray, shape (m,) or (n, m)
        log10 of host masses, Msun/h.
    M0, M1, alpha : ndarray, shape (n, 1)
        Masses in Msun/h.

    Returns
    -------
    ndarray, shape (n, m)
    """
    x = (10**logM - M0) / M1
    number: Array = np.power(x, alpha, out=np.zeros_like(x), where=x > 0)
    return number
