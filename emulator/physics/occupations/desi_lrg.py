"""DESI's luminous red galaxies: Yuan et al. 2024, MNRAS 530, 947 (arXiv:2306.06314)."""

from __future__ import annotations

import numpy as np
from iaemu_likelihood.emulator.physics.occupations.base import Array, Bands, Occupation
from iaemu_likelihood.emulator.physics.occupations.power_law import ALPHA, LOG_M1, power_law
from iaemu_likelihood.emulator.physics.parameters import Parameter
from scipy.special import erfc


class DesiLRG(Occupation):
    """Centrals follow an error function of log mass, times a completeness.

    Satellites follow a power law of mass, times the mean number of centrals. So the completeness
    f_ic multiplies both numbers once. The names are those of AbacusHOD, f_ic that of the paper.
    """

    name = "desi_lrg"
    parameters = (
        Parameter("logM_cut", r"\log_{10} M_\mathrm{cut} / (h^{-1} M_\odot)", 0.05),
        Parameter("sigma", r"\sigma", 0.03, positive=True),
        Parameter("kappa", r"\kappa", 0.1, positive=True),
        LOG_M1,
        ALPHA,
        Parameter("f_ic", r"f_\mathrm{ic}", 0.05, positive=True),
    )

    def mean_centrals(self, logM: Array, hod: Array) -> Array:
        """f_ic / 2 erfc[log10(M_cut / M) / (sqrt(2) sigma)], their equation 4."""
        logM_cut, sigma, f_ic = hod[:, :1], hod[:, 1:2], hod[:, 5:6]
        number: Array = f_ic / 2 * erfc((logM_cut - logM) / (np.sqrt(2) * sigma))
        return number

    def mean_satellites(self, logM: Array, hod: Array) -> Array:
        """[(M - kappa M_cut) / M_1]^alpha times the mean number of centrals, their equation 5."""
        M0, M1, alpha = hod[:, 2:3] * 10 ** hod[:, :1], 10 ** hod[:, 3:4], hod[:, 4:5]
        return power_law(logM, M0, M1, alpha) * self.mean_centrals(logM, hod)

    def bands(
        self,
        logM_cut: tuple[float, float] = (12.4, 13.5),
        sigma: tuple[float, float] = (0.05, 1.0),
        kappa: tuple[float, float] = (0.05, 1.5),
        logM1: tuple[float, float] = (13.0, 14.5),
        alpha: tuple[float, float] = (0.5, 1.5),
        f_ic: tuple[float, float] = (0.1, 1.0),
    ) -> Bands:
        """Ranges that do not depend on each other, log10(Msun/h) for masses.

        Notes
        -----
        Those of logM_cut, sigma, logM1 and alpha are the priors with which HODDIES, a code for
        DESI's galaxies (A. Rocher), fits them.
        """
        return Bands.box(logM_cut, sigma, kappa, logM1, alpha, f_ic)


DESI_LRG = DesiLRG()
