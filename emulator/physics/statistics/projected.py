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

The terms of degree 4 of w_++ follow from the templates of degree 2
(`iaemu_likelihood.emulator.physics.statistics.degree_four`). They matter where satellites are flat and
point at their host almost exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from iaemu_likelihood.emulator.physics.shapes import harmonic
from iaemu_likelihood.emulator.physics.statistics.base import (
    CENTRAL,
    SATELLITE,
    Observable,
    Reweighted,
    Source,
    Statistic,
)
from iaemu_likelihood.emulator.physics.statistics.degree_four import (
    MIXED,
    SATELLITES,
    angular,
    shares,
)
from iaemu_likelihood.emulator.physics.statistics.eta import ETA, ETA_0, ETA_1
from iaemu_likelihood.emulator.physics.statistics.omega import OMEGA, OMEGA_4
from iaemu_likelihood.emulator.physics.statistics.xi import XI
from numpy.polynomial.polynomial import Polynomial
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Squares of the cosine and the sine of the angle between the separation and the line of sight.
_COS2, _SIN2 = Polynomial([0.0, 0.0, 1.0]), Polynomial([1.0, 0.0, -1.0])


@dataclass(frozen=True, eq=False)
class Term:
    """A pair density in the integrand of a projected statistic, and what it is multiplied by.

    Attributes
    ----------
    source : Statistic or Reweighted
        Its values times 1 + xi are the density.
    angular : Polynomial
        A function of mu_r; for bins of r, its mean.
    radial : callable, optional
        A function of the separation in Mpc/h, (n,) to (n,); 1 when left out.
    """

    source: Source
    angular: Polynomial
    radial: Callable[[Array], Array] | None = None


@dataclass(frozen=True, eq=False)
class ProjectedStatistic(Observable):
    """A correlation function of positions and of shapes on the sky.

    Attributes
    ----------
    name, latex, unit, about, plot_power
        As of every `Observable`; the name is a key in
        `iaemu_likelihood.emulator.physics.statistics.PROJECTED`.
    terms : tuple of Term
    n_shapes : int
        How many of the two galaxies' shapes enter: 0, 1 or 2.
    is_integrated : bool
        Whether it is integrated along the line of sight and given in bins of r_p. Otherwise it is
        given in bins of r.
    """

    terms: tuple[Term, ...]
    n_shapes: int
    is_integrated: bool = True

    @property
    def sources(self) -> tuple[Source, ...]:
        """What it is made of."""
        return tuple(dict.fromkeys(term.source for term in self.terms))

    @property
    def learned(self) -> tuple[Statistic, ...]:
        """Statistics whose templates it is made of."""
        return tuple(dict.fromkeys(source.of for source in self.sources))


def _of_degree_4() -> Iterator[Term]:
    """Terms of w_++ to which one axis of a pair adds with degree 4, or both do."""
    for degrees, of_centre in MIXED.items():
        kinds = zip((CENTRAL, SATELLITE), degrees, strict=True)
        name = "eta_0_c{}_s{}".format(*degrees)
        yield Term(
            Reweighted(name, ETA_0, "eta_0_cs", tuple(kinds)),
            9 / 4 * angular(*degrees, 0),
            partial(_at, of_centre),
        )
    for degrees, of_satellites in SATELLITES.items():
        # Either satellite may be the one of degree 4.
        orders = len({*degrees})
        eta, eta_0, eta_1 = (
            Reweighted(
                f"{statistic.name}_s{degrees[0]}_s{degrees[1]}", statistic, f"{statistic.name}_ss",
                tuple((SATELLITE, degree) for degree in degrees),
            )
            for statistic in (ETA, ETA_0, ETA_1)
        )  # fmt: skip
        for m in range(min(degrees) + 1):
            of_0, of_1, of_2 = of_satellites[:, m].T
            factor = orders * angular(*degrees, m)
            # eta_2 is eta - 3/2 eta_0 - 4 eta_1.
            yield Term(eta, factor, partial(_at, of_2))
            yield Term(eta_0, factor, partial(_at, of_0 - 3 / 2 * of_2))
            yield Term(eta_1, factor, partial(_at, of_1 - 4 * of_2))


def _at(of_nodes: Array, r: Array) -> Array:
    """A coefficient at separations in Mpc/h, from those at the nodes."""
    found: Array = shares(r) @ of_nodes
    return found


W_GG = ProjectedStatistic(
    name="w_gg",
    latex=r"w_\mathrm{gg}",
    unit="Mpc/h",
    about="projected position-position correlation function",
    terms=(Term(XI, Polynomial([1.0])),),
    n_shapes=0,
)
W_GPLUS = ProjectedStatistic(
    name="w_gplus",
    latex=r"w_\mathrm{g+}",
    unit="Mpc/h",
    about="projected position-shape correlation function, positive for radial alignment",
    terms=(Term(OMEGA, 1.5 * _SIN2), Term(OMEGA_4, harmonic(4) * _SIN2)),
    n_shapes=1,
)
_HELICITY_2 = (1 + _COS2) ** 2 / 4
W_PLUSPLUS = ProjectedStatistic(
    name="w_plusplus",
    latex=r"w_{++}",
    unit="Mpc/h",
    about="projected shape-shape correlation function",
    terms=(
        Term(ETA, _HELICITY_2),
        Term(ETA_0, 9 / 4 * _SIN2**2 - 3 / 2 * _HELICITY_2),
        Term(ETA_1, 4 * _COS2 * _SIN2 - 4 * _HELICITY_2),
        *_of_degree_4(),
    ),
    n_shapes=2,
)
XI_GPLUS_2 = ProjectedStatistic(
    name="xi_gplus_2",
    latex=r"\tilde\xi_{\mathrm{g+},2}",
    unit="",
    about="quadrupole of the position-shape correlation function",
    terms=(Term(OMEGA, Polynomial([0.5])),),
    n_shapes=1,
    is_integrated=False,
)
