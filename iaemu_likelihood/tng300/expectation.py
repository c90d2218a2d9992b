"""The tabulated expectation at the occupation of the TNG300 samples, which no network has made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.statistics import OMEGA, XI

Array = NDArray[np.float64]


def expected_omega(sample: str, r_edges: Sequence[float]) -> list[Array]:
    """The two templates of omega from the tabulation at a sample's occupation.

    Parameters
    ----------
    sample : str
    r_edges : sequence of float, (n_bins + 1,)
        Mpc/h.

    Returns
    -------
    list of ndarray, shape (n_bins,)
    """
    from astropy.table import Table as AstropyTable

    table = AstropyTable.read(bundled("tng300/expectation.ecsv"), format="ascii.ecsv")
    rows = table[table["sample"] == sample]
    edges = np.append(rows["r_min"], rows["r_max"][-1])
    omega = [rows[template.name].value for template in OMEGA.templates]
    _, *found = PairWeightedBinning(edges, tuple(r_edges))(rows[XI.name].value, *omega)
    return found
