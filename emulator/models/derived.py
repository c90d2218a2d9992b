r"""What follows from a model of galaxies beside its correlation functions, to be compared with others'.

The number density and the share of satellites are sums of the occupation over the hosts of the halo
catalogue. The bias and the amplitude of intrinsic alignments are those of linear theory in the same
box, at separations r of `MATCHED`, 20 to 79 Mpc/h: with :math:`D_2 = \frac{3}{2} (1 + \xi) \omega`,

.. math:: \xi = b_g^2\, \xi_m, \quad
    a_2 D_2 = b_g A_\mathrm{IA} \frac{C_1 \rho_c \Omega_m}{D(z)}\, \xi_m^{(2)},

where :math:`\xi_m^{(2)} = \int \frac{k^2 dk}{2 \pi^2} P(k)\, j_2(k r)`. The second is the linear
alignment model of Hirata & Seljak 2004 (arXiv:astro-ph/0406275) for galaxies that point towards each
other, whose amplitude is positive. P(k) is linear, so A_IA is that of a fit with linear power at such
separations; at smaller ones, where the alignment is nonlinear, fits find larger amplitudes.
`docs/derived.md` shows how both depend on the range, and what one box is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iaemu_likelihood.emulator.backend import at_least, constant, kind
from iaemu_likelihood.emulator.models.projected import strength_responses
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.linear_theory import amplitude
from iaemu_likelihood.emulator.physics.shapes import square_of_response
from iaemu_likelihood.emulator.physics.statistics import OMEGA, XI
from iaemu_likelihood.emulator.physics.templates import degrees_of

# C_1 times the critical density, without a unit, by which A_IA is defined: the number of Joachimi et
# al. 2011 (arXiv:1008.3491) that most measurements use. C_1 is 5e-14 Mpc^3 / (h^2 Msun), which times
# the critical density, 2.775e11 h^2 Msun/Mpc^3, is `C1_RHO_CRIT_EXACT`, as CosmoSIS and CCL have it.
# An amplitude in their normalisation is smaller by the ratio of the two.
C1_RHO_CRIT = 0.0134
C1_RHO_CRIT_EXACT = 0.01388
# What they are uncertain by, relative, as the box of the training is one of many: about the difference
# of two boxes of (250 Mpc/h)^3 (`benchmarks/derived.py`) over the square root of two. Estimated from
# a single pair, it is worth a factor of two.
BOX_ERROR = {"b_g": 0.02, "A_IA": 0.05, "A_IA_e": 0.05}


@dataclass(frozen=True)
class Derived:
    """A derived parameter.

    Attributes
    ----------
    name, latex, about : str
    of_large_scales, of_shapes : bool
        Whether it needs correlations at large separations, and how shapes respond.
    """

    name: str
    latex: str
    about: str
    of_large_scales: bool = False
    of_shapes: bool = False


DERIVED = {
    each.name: each
    for each in (
        Derived("n_gal", r"n_\mathrm{gal} / (h^3 \mathrm{Mpc}^{-3})", "number density, (h/Mpc)^3"),
        Derived("f_sat", r"f_\mathrm{sat}", "share of satellites among the galaxies"),
        Derived("b_g", r"b_\mathrm{g}", "linear bias", of_large_scales=True),
        Derived(
            "A_IA",
            r"A_\mathrm{IA}",
            "linear alignment amplitude of the shear, e / (2 R), that shapes imitate",
            of_large_scales=True,
            of_shapes=True,
        ),
        Derived(
            "A_IA_e",
            r"A_\mathrm{IA}^{e}",
            "the same of ellipticities, not divided by 2 R",
            of_large_scales=True,
            of_shapes=True,
        ),
    )
}


class DerivedModel:
    """Derived parameters of an emulator.

    Parameters
    ----------
    emulator : iaemu_likelihood.emulator.models.base.Emulator
    names : sequence of str
        Some of `DERIVED`.

    Raises
    ------
    ValueError
        If a name is unknown, or the weights do not hold what a parameter needs.
    """

    def __init__(self, emulator: Any, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in DERIVED]
        if unknown:
            raise ValueError(
                f"No derived parameter {', '.join(unknown)}; there are {', '.join(DERIVED)}."
            )
        self.names, self._emulator = tuple(names), emulator
        self.of_shapes = any(DERIVED[name].of_shapes for name in names)
        self.of_large_scales = any(DERIVED[name].of_large_scales for name in names)
        if {"n_gal", "f_sat"} & {*names} or self.of_shapes:
            emulator.need_hosts()
        if self.of_large_scales:
            try:
                theory = emulator.universe.theory(emulator.universe.box)
                self._functionals = {
                    degree: amplitude(theory, emulator.fine_edges, degree) for degree in (0, 2)
                }
            except ValueError as error:
                wanted = [name for name in names if DERIVED[name].of_large_scales]
                raise ValueError(f"{', '.join(wanted)} cannot be derived: {error}") from error
            # At z > 0 the linear power of the box has D^2 in it already, and the alignment D.
            self._per_amplitude = C1_RHO_CRIT * theory.cosmology.Om0 / theory.growth

    def __call__(
        self,
        hod: Any,
        mu: Any = None,
        responses: Any = None,
        conventions: Conventions | None = None,
        occupied: Any = None,
    ) -> dict[str, Any]:
        """Compute them, differentiably, without checking the domain.

        Parameters
        ----------
        hod : ndarray or torch.Tensor, shape (n, n_occupation), float64
        mu : ndarray or torch.Tensor, shape (n, n_alignment), float64, optional
            Needed where shapes are.
        responses : ndarray or torch.Tensor, shape (n, 2) or (1, 2), optional
            a_2 of centrals and of satellites; needed where shapes are.
        conventions : Conventions, optional
            Of the shapes. Where they hold no responsivity R, it is 1 - <e^2> / 2 of prolate galaxies
            with these responses.
        occupied : Occupied, optional
            The emulator at `hod` in all fine bins, with xi and omega, if it is there already.

        Returns
        -------
        dict of str to ndarray or torch.Tensor, shape (n,)
        """
        found: dict[str, Any] = {}
        emulator = self._emulator
        if emulator.hosts is not None:
            densities = emulator.hosts.galaxies(emulator.space.occupation, hod)
            found["n_gal"] = densities.sum(1)
            found["f_sat"] = densities[:, 1] / found["n_gal"]
        if self.of_large_scales:
            if occupied is None:
                occupied = emulator.at(hod, (XI, OMEGA), len(emulator.fine_edges) - 1)
            excess = occupied.excess
            bias_squared = excess @ constant(self._functionals[0], *kind(excess))
            found["b_g"] = at_least(bias_squared, 0.0) ** 0.5
        if self.of_shapes:
            conventions = conventions or Conventions(None)
            factors = strength_responses(responses, degrees_of((OMEGA,)), conventions.ellipticity)
            mean, _ = occupied(mu, (OMEGA,), (), factors)
            density = 1.5 * (1 + excess) * mean[:, 0]
            of_tides = density @ constant(self._functionals[2], *kind(density))
            found["A_IA_e"] = of_tides / (found["b_g"] * self._per_amplitude)
            found["A_IA"] = found["A_IA_e"] * _shear_factor(responses, found["f_sat"], conventions)
        return {name: found[name] for name in self.names}


def _shear_factor(responses: Any, satellites: Any, conventions: Conventions) -> Any:
    """By which an ellipticity is multiplied to be a shear, (n,) or a number."""
    if conventions.ellipticity != "distortion":
        return 1.0  # the mean of (a - b) / (a + b) is the shear
    if conventions.responsivity is not None:
        return 0.5 / conventions.responsivity
    squares = square_of_response(responses)
    mean = (1 - satellites) * squares[:, 0] + satellites * squares[:, 1]
    return 0.5 / (1 - mean / 2)
