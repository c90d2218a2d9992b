"""Correlation function of matter, against which the paper screens its training points."""

from __future__ import annotations

import numpy as np
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.physics.bins import bin_centres
from iaemu_likelihood.emulator.physics.statistics import XI
from numpy.typing import NDArray

TABLE = "matter/xi_matter.ecsv"


def xi_matter(r_edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-linear correlation function of matter at z = 0 in Bolshoi-Planck's cosmology.

    Parameters
    ----------
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h, from 0.06 to 31.

    Returns
    -------
    ndarray, shape (n_bins,)
        At the centres of the bins. `data/matter/make.py` made the table (CAMB's halofit, Takahashi
        et al. 2012, arXiv:1208.2701).
    """
    from astropy.table import Table

    table = Table.read(bundled(TABLE), format="ascii.ecsv")
    r, at = np.asarray(table["r"]), bin_centres(r_edges)
    if at.min() < r[0] or at.max() > r[-1]:
        raise ValueError(
            f"xi of matter is tabulated from {r[0]:g} to {r[-1]:g} Mpc/h; the bins' centres go from "
            f"{at.min():g} to {at.max():g} Mpc/h."
        )
    return np.exp(np.interp(np.log(at), np.log(r), np.log(table[XI.name])))
