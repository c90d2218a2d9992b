"""Galaxy catalogues on halos, by halotools-IA or fast, and statistics of any galaxy catalogue.

Fast mocks are in `iaemu_likelihood.emulator.mocks.fast`, which takes numba.
"""

from iaemu_likelihood.emulator.mocks.estimators import (
    Correlations,
    correlations,
    positions_and_axes,
)
from iaemu_likelihood.emulator.mocks.halotools_ia import HalotoolsIA
from iaemu_likelihood.emulator.mocks.jackknife import Jackknife, jackknife
from iaemu_likelihood.emulator.mocks.projected_jackknife import projected_jackknife
from iaemu_likelihood.emulator.mocks.quadrupole_jackknife import quadrupole_jackknife

__all__ = [
    "Correlations",
    "HalotoolsIA",
    "Jackknife",
    "correlations",
    "jackknife",
    "positions_and_axes",
    "projected_jackknife",
    "quadrupole_jackknife",
]
