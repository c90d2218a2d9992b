"""DESI's emission-line galaxies: Rocher et al. 2023, JCAP 10, 016 (arXiv:2306.06319)."""

from __future__ import annotations

import numpy as np
from iaemu_likelihood.emulator.physics.occupations.base import Array, Bands, Occupation
from iaemu_likelihood.emulator.physics.occupations.power_law import ALPHA, LOG_M0, LOG_M1, power_law
from iaemu_likelihood.emulator.physics.parameters import Parameter
from scipy.special import erf


class DesiELG(Occupation):
    """Centrals avoid heavy hosts (modified high-mass-quenched model), satellites do not.

    The probability of a central rises steeply about a mass and falls as a Gaussian of log mass, and
    satellites follow a power law of mass, whether their host has a central or not. The names are
    those of the paper.
    """

    name = "desi_elg"
    parameters = (
        Parameter("logM_c", r"\log_{10} M_c / (h^{-1} M_\odot)", 0.05),
        Parameter("A_c", r"A_c", 0.005, positive=True),
        Parameter("sigma_M", r"\sigma_M", 0.03, positive=True),
        Parameter("gamma", r"\gamma", 0.5),
        LOG_M0,
        LOG_M1,
        ALPHA,
        Parameter("A_s", r"A_s", 0.05),
    )

    def mean_centrals(self, logM: Array, hod: Array) -> Array:
        """A_c / (sqrt(2 pi) sigma_M) exp(-x^2 / 2) [1 + erf(gamma x / sqrt(2))].

        Here x = log10(M / M_c) / sigma_M; their equation 3.4.
        """
        logM_c, A_c, sigma_M, gamma = (hod[:, i : i + 1] for i in range(4))
        x = (logM - logM_c) / sigma_M
        gaussian = A_c / (np.sqrt(2 * np.pi) * sigma_M) * np.exp(-(x**2) / 2)
        number: Array = gaussian * (1 + erf(gamma * x / np.sqrt(2)))
        return number

    def mean_satellites(self, logM: Array, hod: Array) -> Array:
        """A_s [(M - M_0) / M_1]^alpha."""
        M0, M1, alpha, A_s = 10 ** hod[:, 4:5], 10 ** hod[:, 5:6], hod[:, 6:7], hod[:, 7:8]
        return A_s * power_law(logM, M0, M1, alpha)

    def bands(
        self,
        logM_c: tuple[float, float] = (11.4, 12.2),
        A_c: tuple[float, float] = (0.01, 0.1),
        sigma_M: tuple[float, float] = (0.1, 1.0),
        gamma: tuple[float, float] = (1.0, 8.0),
        logM0: tuple[float, float] = (11.1, 12.0),
        logM1: tuple[float, float] = (12.5, 13.5),
        alpha: tuple[float, float] = (0.3, 1.5),
        A_s: tuple[float, float] = (0.01, 1.0),
    ) -> Bands:
        """Ranges that do not depend on each other, log10(Msun/h) for masses.

        Notes
        -----
        Those of logM_c, gamma and alpha are the priors with which HODDIES, the code of the paper's
        first author, fits these galaxies. A_c and sigma_M are such that nowhere more than one
        central is expected in a host: the number is below 2 A_c / (sqrt(2 pi) sigma_M).
        """
        return Bands.box(logM_c, A_c, sigma_M, gamma, logM0, logM1, alpha, A_s)


DESI_ELG = DesiELG()
