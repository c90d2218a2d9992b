"""What theory says of halos, by colossus: their number by mass, and their concentrations.

colossus computes both for its current cosmology, which is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from iaemu_likelihood.emulator.physics.linear_theory import Cosmology
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

MASS_FUNCTION, CONCENTRATION = "despali16", "diemer19"


def mass_function(mass: ArrayLike, redshift: float, cosmology: Cosmology) -> Array:
    """Number of halos per comoving volume and decade of virial mass (Despali et al. 2016).

    Parameters
    ----------
    mass : array_like, shape (n,)
        Msun/h.
    redshift : float
    cosmology : Cosmology

    Returns
    -------
    ndarray, shape (n,)
        (h/Mpc)^3.
    """
    from colossus.lss.mass_function import massFunction

    with _current(cosmology):
        per_e = massFunction(
            np.asarray(mass, np.float64), redshift, q_in="M", q_out="dndlnM", mdef="vir",
            model=MASS_FUNCTION,
        )  # fmt: skip
    return np.asarray(per_e * np.log(10))


def concentration(mass: ArrayLike, redshift: float, cosmology: Cosmology) -> Array:
    """Mean concentration, r_vir over the scale radius (Diemer & Joyce 2019).

    Parameters and errors as `mass_function`.

    Returns
    -------
    ndarray, shape (n,)
    """
    from colossus.halo.concentration import concentration as of_mass

    logs = np.log10(np.asarray(mass, np.float64))
    # The relation is smooth: an interpolation is exact to 1e-4, and takes no time for many halos.
    nodes = np.linspace(logs.min() - 0.01, logs.max() + 0.01, 200)
    with _current(cosmology):
        at_nodes = of_mass(10**nodes, "vir", redshift, model=CONCENTRATION)
    return np.interp(logs, nodes, at_nodes)


def virial_radius(mass: ArrayLike, overdensity: float, Om0: float) -> Array:
    """Comoving radius of a sphere, Mpc/h, that holds a mass at an overdensity.

    Parameters
    ----------
    mass : array_like
        Msun/h.
    overdensity : float
        In units of the mean density of matter.
    Om0 : float
        Density of matter today, over the critical density.
    """
    # 3 H0^2 / (8 pi G), in h^2 Msun / Mpc^3.
    density = 2.77536627e11 * Om0 * overdensity
    return np.cbrt(3 * np.asarray(mass, np.float64) / (4 * np.pi * density))


@contextmanager
def _current(cosmology: Cosmology) -> Iterator[None]:
    """Make a cosmology colossus' current one for a while; nothing is written to its cache."""
    from colossus.cosmology import cosmology as of_colossus

    before = of_colossus.current_cosmo
    own = of_colossus.Cosmology(
        name="halos", flat=True, Om0=cosmology.Om0, Ob0=cosmology.Ob0, H0=100 * cosmology.h,
        sigma8=cosmology.sigma8, ns=cosmology.ns, relspecies=False, persistence="",
    )  # fmt: skip
    of_colossus.current_cosmo = own
    try:
        yield
    finally:
        of_colossus.current_cosmo = before
