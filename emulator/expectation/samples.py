"""Samples of galaxies: all of a population, or a part of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.expectation.layout import Array
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Occupation
from numpy.typing import ArrayLike

# A number in [0, 1], or a function of log10 of host masses (Msun/h), shape (m,), to as many.
Fraction = float | Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Population:
    """All galaxies that an occupation draws together.

    Two objects are two populations, which are drawn independently, even with the same parameters.

    Attributes
    ----------
    hod : array_like, shape (n_parameters,) or (n, n_parameters)
        Occupation parameters (masses: log10 of Msun/h).
    occupation : Occupation
    """

    hod: ArrayLike
    occupation: Occupation = ZHENG07


@dataclass(frozen=True, eq=False)
class Sample:
    """Galaxies of a population, taken or not by their kind and by the mass of their host.

    Given its host's mass, a galaxy is taken or left independently of all other galaxies.

    Attributes
    ----------
    population : Population
    fraction_centrals, fraction_satellites : float or callable
        Probability that one is taken: a number in [0, 1], or a function of log10 of host masses
        (Msun/h), shape (m,), to as many.
    """

    population: Population
    fraction_centrals: Fraction = 1.0
    fraction_satellites: Fraction = 1.0

    def fractions(self, logM: Array) -> Array:
        """Of centrals and of satellites in hosts of given mass.

        Parameters
        ----------
        logM : ndarray, shape (m,)
            log10 of host masses, Msun/h.

        Returns
        -------
        ndarray, shape (2, m)

        Raises
        ------
        ValueError
            If a function gives another shape, or a fraction is not in [0, 1].
        """
        found = np.empty((2, len(logM)))
        for i, name in enumerate(("fraction_centrals", "fraction_satellites")):
            fraction = getattr(self, name)
            values = np.asarray(fraction(logM) if callable(fraction) else fraction, np.float64)
            if values.shape not in ((), logM.shape):
                raise ValueError(
                    f"{name} gives an array of shape {values.shape} at {len(logM)} masses; expected "
                    f"{logM.shape}."
                )
            bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
            if len(bad):
                where = f" at 10^{logM[bad[0]]:.2f} Msun/h" if values.ndim else ""
                raise ValueError(
                    f"{name} is {values.flat[bad[0]]:.6g}{where}; it must be in [0, 1]."
                )
            found[i] = values
        return found
