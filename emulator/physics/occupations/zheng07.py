"""The paper's occupation: Zheng, Coil & Zehavi 2007 (arXiv:astro-ph/0703457)."""

from __future__ import annotations

from typing import Any

import numpy as np
from iaemu_likelihood.emulator.backend import silent
from iaemu_likelihood.emulator.physics.occupations.base import Array, Bands, Occupation
from iaemu_likelihood.emulator.physics.occupations.power_law import ALPHA, LOG_M0, LOG_M1, power_law
from iaemu_likelihood.emulator.physics.parameters import Parameter
from scipy.special import erf

# Their Table 1, SDSS samples, from faint to bright.
SDSS_SAMPLES = {
    "logMmin": (11.35, 11.46, 11.60, 11.75, 12.02, 12.30, 12.79, 13.38, 14.22),
    "sigma_logM": (0.25, 0.24, 0.26, 0.28, 0.26, 0.21, 0.39, 0.51, 0.77),
    "logM0": (11.20, 10.59, 11.49, 11.69, 11.38, 11.84, 11.92, 13.94, 14.00),
    "logM1": (12.40, 12.68, 12.83, 13.01, 13.31, 13.58, 13.94, 13.91, 14.69),
    "alpha": (0.83, 0.97, 1.02, 1.06, 1.06, 1.12, 1.15, 1.04, 0.87),
}


class Zheng07(Occupation):
    """Centrals follow an error function of log mass, satellites a power law of mass."""

    name = "zheng07"
    parameters = (
        Parameter("logMmin", r"\log_{10} M_\mathrm{min} / (h^{-1} M_\odot)", 0.05),
        Parameter("sigma_logM", r"\sigma_{\log M}", 0.03, positive=True),
        LOG_M0,
        LOG_M1,
        ALPHA,
    )
    # Templates bend most at both ends of logMmin, at small sigma_logM and at large logM0 and alpha.
    # Compared with uniform points, an interpolation through 8,192 of these has a 3 % larger median
    # error, but a 10 % smaller 95th percentile and a 29 % smaller largest error
    # (`benchmarks/design.py`).
    design_density = {
        "logMmin": (0.85, 0.0, 0.45),
        "sigma_logM": (1.0, -0.2),
        "logM0": (1.0, 0.35),
        "alpha": (1.0, 0.2),
    }

    def mean_centrals(self, logM: Array, hod: Array) -> Array:
        return 0.5 * (1 + erf((logM - hod[:, :1]) / hod[:, 1:2]))

    def mean_satellites(self, logM: Array, hod: Array) -> Array:
        """As in halotools' `Zheng07Sats`, not multiplied by the probability of a central."""
        M0, M1, alpha = 10 ** hod[:, 2:3], 10 ** hod[:, 3:4], hod[:, 4:5]
        return power_law(logM, M0, M1, alpha)

    def bands(
        self,
        logMmin: tuple[float, float] = (11.4, 14.0),
        n_rmse: float = 4.0,
        sigma_logM_min: float = 0.05,
        logM0_max: float = 14.0,
    ) -> Bands:
        """The paper's domain: bands of +-4 RMSE around fits to Zheng et al. 2007, Table 1.

        Parameters
        ----------
        logMmin : tuple of float
            Range of logMmin, log10(Msun/h).
        n_rmse : float
            Half-width of the bands in units of the RMSE of each linear fit.
        sigma_logM_min : float
            The band of sigma_logM reaches negative values at small logMmin, where the error
            function would fill light hosts and empty heavy ones; the band is cut here.
        logM0_max : float
            The band of logM0 reaches masses above that of any host in a 250 Mpc/h box, where no
            satellites are left and the small-scale bins have no pairs; the band is cut at the
            largest value of the table it was fitted to.

        Notes
        -----
        Bands: IAEmu, arXiv:2504.05235. The two cuts are ours.
        """
        first, *others = self.names
        x = np.array(SDSS_SAMPLES[first])
        fits = []
        for name in others:
            y = np.array(SDSS_SAMPLES[name])
            slope, intercept = np.polyfit(x, y, 1)
            rmse = np.sqrt(np.mean((y - intercept - slope * x) ** 2))
            fits.append((float(slope), float(intercept), n_rmse * float(rmse)))
        inf = float("inf")
        minimum, maximum = (sigma_logM_min, -inf, -inf, -inf), (inf, logM0_max, inf, inf)
        slopes, intercepts, half_widths = zip(*fits, strict=True)
        return Bands(logMmin, slopes, intercepts, half_widths, minimum, maximum)

    @silent
    def halotools_components(self) -> tuple[Any, Any]:
        from halotools.empirical_models import Zheng07Cens, Zheng07Sats

        return Zheng07Cens(), Zheng07Sats()


ZHENG07 = Zheng07()
