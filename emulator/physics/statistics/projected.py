r"""What surveys measure: correlation functions of positions and of shapes on the sky.

Each is a sum of integrals over the pair densities of statistics in three dimensions, in real space
exactly. With the separation (r_p, Pi) across and along the line of sight, :math:`r^2 = r_p^2 +
\Pi^2` and :math:`\mu_r = \Pi / r`, it is

.. math:: w(r_p) = \int d\Pi\, W(\Pi) \sum_s (1 + \xi(r))\, s(r)\, f_s(\mu_r)

for statistics s of axes, and the integral of xi itself for w_gg. Ellipticities on the sky respond to
axes as `iaemu_likelihood.emulator.physics.shapes` says, so that every amplitude A_l of a kind of
galaxies is multiplied by its response a_l. The derivation is that of rotational invariance: a drawn
axis keeps, of each degree l, the direction of the separation alone, so with
:math:`T_2 = 1 - \mu_r^2`,

- w_g+ = a_2 D_2 T_2 + a_4 D_4 T_4, integrated; D_2 = 3/2 (1 + xi) omega, D_4 = (1 + xi) omega_4
- w_++ = a_2^2 (9/4 T_2^2 eta_0 + 4 mu_r^2 T_2 eta_1 + (1 + mu_r^2)^2 / 4 eta_2)(1 + xi), integrated
- xi_g+,2 = a_2 / 3 D_2, the quadrupole of Singh et al. 2024 (arXiv:2307.02545), in bins of r

Of shape-shape correlations, the terms of degree 4 are left out. They matter where satellites are
flat and point at their host almost exactly, and w_++ is then too small; `iaemu validate projected`
compares it with galaxies that are spheroids.
"""

from __future__ import annotations

from dataclasses import dataclass

from iaemu_likelihood.emulator.physics.shapes import harmonic
from iaemu_likelihood.emulator.physics.statistics.base import Observable, Statistic
from iaemu_likelihood.emulator.physics.statistics.eta import ETA, ETA_0, ETA_1
from iaemu_likelihood.emulator.physics.statistics.omega import OMEGA, OMEGA_4
from iaemu_likelihood.emulator.physics.statistics.xi import XI
from numpy.polynomial.polynomial import Polynomial

# Squares of the cosine and the sine of the angle between the separation and the line of sight.
_COS2, _SIN2 = Polynomial([0.0, 0.0, 1.0]), Polynomial([1.0, 0.0, -1.0])


@dataclass(frozen=True, eq=False)
class ProjectedStatistic(Observable):
    """A correlation function of positions and of shapes on the sky.

    Attributes
    ----------
    name, latex, unit, about, plot_power
        As of every `Observable`; the name is a key in
        `iaemu_likelihood.emulator.physics.statistics.PROJECTED`.
    terms : tuple of (Statistic, Polynomial)
        Statistics of axes, and by which function of mu_r their pair densities are multiplied; for
        bins of r, the mean of that function.
    n_shapes : int
        How many of the two galaxies' shapes enter: 0, 1 or 2.
    is_integrated : bool
        Whether it is integrated along the line of sight and given in bins of r_p. Otherwise it is
        given in bins of r.
    """

    terms: tuple[tuple[Statistic, Polynomial], ...]
    n_shapes: int
    is_integrated: bool = True

    @property
    def sources(self) -> tuple[Statistic, ...]:
        """Statistics that it is made of."""
        return tuple(statistic for statistic, _ in self.terms)


W_GG = ProjectedStatistic(
    name="w_gg",
    latex=r"w_\mathrm{gg}",
    unit="Mpc/h",
    about="projected position-position correlation function",
    terms=((XI, Polynomial([1.0])),),
    n_shapes=0,
)
W_GPLUS = ProjectedStatistic(
    name="w_gplus",
    latex=r"w_\mathrm{g+}",
    unit="Mpc/h",
    about="projected position-shape correlation function, positive for radial alignment",
    terms=((OMEGA, 1.5 * _SIN2), (OMEGA_4, harmonic(4) * _SIN2)),
    n_shapes=1,
)
_HELICITY_2 = (1 + _COS2) ** 2 / 4
W_PLUSPLUS = ProjectedStatistic(
    name="w_plusplus",
    latex=r"w_{++}",
    unit="Mpc/h",
    about="projected shape-shape correlation function",
    terms=(
        (ETA, _HELICITY_2),
        (ETA_0, 9 / 4 * _SIN2**2 - 3 / 2 * _HELICITY_2),
        (ETA_1, 4 * _COS2 * _SIN2 - 4 * _HELICITY_2),
    ),
    n_shapes=2,
)
XI_GPLUS_2 = ProjectedStatistic(
    name="xi_gplus_2",
    latex=r"\tilde\xi_{\mathrm{g+},2}",
    unit="",
    about="quadrupole of the position-shape correlation function",
    terms=((OMEGA, Polynomial([0.5])),),
    n_shapes=1,
    is_integrated=False,
)
