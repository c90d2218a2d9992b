"""Bins of separation, and the volumes of their shells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Edges of the paper's bins (IAEmu, arXiv:2504.05235), Mpc/h.
R_EDGES = np.logspace(-1, 1.2, 21)
# Finer bins, two to each of the paper's, from which those of any data follow; and, from their end on,
# bins that reach as far as projected statistics need (to 112 Mpc/h).
NEAR_EDGES = np.logspace(-1, 1.2, 41)
NEAR_EDGES[::2] = R_EDGES
FAR_EDGES = np.concatenate([NEAR_EDGES, 10 ** (1.2 + 0.05 * np.arange(1, 18))])


def shell_volumes(r_edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Volumes of the spherical shells between `r_edges` (Mpc/h), in (Mpc/h)^3."""
    return 4 / 3 * np.pi * np.diff(r_edges**3)


def bin_centres(r_edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Arithmetic means of neighbouring edges, Mpc/h, as in the paper."""
    return (r_edges[1:] + r_edges[:-1]) / 2
