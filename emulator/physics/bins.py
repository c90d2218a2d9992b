"""Bins of separation, and the volumes of their shells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Edges of the paper's bins (IAEmu, arXiv:2504.05235), Mpc/h.
R_EDGES = np.logspace(-1, 1.2, 21)


def shell_volumes(r_edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Volumes of the spherical shells between `r_edges` (Mpc/h), in (Mpc/h)^3."""
    return 4 / 3 * np.pi * np.diff(r_edges**3)


def bin_centres(r_edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Arithmetic means of neighbouring edges, Mpc/h, as in the paper."""
    return (r_edges[1:] + r_edges[:-1]) / 2
