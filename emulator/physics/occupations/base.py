"""The interface of halo occupation distributions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from sys import float_info
from typing import Any, ClassVar

import numpy as np
from iaemu_likelihood.emulator.physics.parameters import Parameter
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bands:
    """A region of occupation parameters: a range of the first, and bands around lines in it.

    Attributes
    ----------
    first : tuple of float
        Range of the first parameter.
    slope, intercept, half_width : tuple of float
        Bands of the other parameters, in their order: each lies within `half_width` of
        intercept + slope times the first.
    minimum, maximum : tuple of float
        Limits on the same parameters that cut the bands.
    """

    first: tuple[float, float]
    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    half_width: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]

    @classmethod
    def box(cls, first: tuple[float, float], *others: tuple[float, float]) -> Bands:
        """Ranges that do not depend on each other, one for each parameter."""
        lower, upper = zip(*others, strict=True)
        flat = (0.0,) * len(others)
        middle = tuple((low + high) / 2 for low, high in others)
        half = tuple((high - low) / 2 for low, high in others)
        return cls(first, flat, middle, half, lower, upper)


class Occupation(ABC):
    """Mean numbers of centrals and satellites of a host halo of given mass.

    Centrals are Bernoulli and satellites Poisson distributed about these means, as in halotools.
    An occupation is stateless: its parameters come with every call.

    Attributes
    ----------
    name : str
        Key in `iaemu_likelihood.emulator.physics.occupations.OCCUPATIONS`.
    parameters : tuple of Parameter
        In the order of every array of them. Masses are log10 of Msun/h.
    design_density : mapping of str to tuple of float
        Density of a training set's points along some of the parameters, each mapped to x in
        [-1, 1]: coefficients of 1, x, x^2. Points are uniform in the other parameters.
    """

    name: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]]
    design_density: ClassVar[Mapping[str, tuple[float, ...]]] = {}

    @abstractmethod
    def mean_centrals(self, logM: Array, hod: Array) -> Array:
        """Probability of a central.

        Parameters
        ----------
        logM : ndarray, shape (m,) or (n, m)
            log10 of host masses, Msun/h; the same for all points, or each point's own.
        hod : ndarray, shape (n, n_parameters)

        Returns
        -------
        ndarray, shape (n, m)
        """

    @abstractmethod
    def mean_satellites(self, logM: Array, hod: Array) -> Array:
        """Mean number of satellites, with parameters and shapes as in `mean_centrals`."""

    @abstractmethod
    def bands(self) -> Bands:
        """Region in which an emulator is trained; arguments are keys of a recipe's ``domain``."""

    def means(self, logM: Array, hod: ArrayLike) -> tuple[Array, Array]:
        """Mean numbers of centrals and of satellites, checked: what galaxies are drawn from.

        Parameters
        ----------
        logM : ndarray, shape (m,) or (n, m)
            log10 of host masses, Msun/h.
        hod : array_like, shape (n_parameters,) or (n, n_parameters)

        Returns
        -------
        centrals, satellites : ndarray, shape (n, m)

        Raises
        ------
        ValueError
            If the parameters are no points of this occupation (see `points`), a probability of a
            central is not in [0, 1], or a number of satellites is negative or not finite.
        """
        points = self.points(hod)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # which are named below
            centrals = self.mean_centrals(logM, points)
            satellites = self.mean_satellites(logM, points)
        self._check("centrals", centrals, 1.0, logM, points)
        self._check("satellites", satellites, float_info.max, logM, points)
        return centrals, satellites

    def _check(self, kind: str, number: Array, most: float, logM: Array, points: Array) -> None:
        """Refuse mean numbers that are not in [0, most], the worst by name."""
        if number.min() >= 0 and number.max() <= most:
            return
        excess = np.where(number < 0, -number, number - most)
        row, host = np.unravel_index(np.argmax(excess), excess.shape)
        values = zip(self.names, points[row], strict=True)
        raise ValueError(
            f"{self.name} expects {number[row, host]:.4g} {kind} in a host of "
            f"10^{np.broadcast_to(logM, number.shape)[row, host]:.2f} "
            f"Msun/h at {', '.join(f'{name} = {value:.6g}' for name, value in values)}"
            + (f" (row {row} of {len(points)})" if len(points) > 1 else "")
            + f"; the mean number of {kind} must be {'in [0, 1]' if most == 1 else 'finite and not negative'}."
            + (" A host has one central at most." if most == 1 else "")
        )

    def halotools_components(self) -> tuple[Any, Any] | None:
        """halotools' own occupation components of centrals and of satellites, if it has them.

        If not, `iaemu_likelihood.emulator.mocks.HalotoolsIA` makes components of `means`.
        """
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in their order."""
        return tuple(parameter.name for parameter in self.parameters)

    def points(self, hod: ArrayLike) -> Array:
        """Occupation parameters as an array of points, checked.

        Parameters
        ----------
        hod : array_like, shape (n_parameters,) or (n, n_parameters)

        Returns
        -------
        ndarray, shape (n, n_parameters)

        Raises
        ------
        ValueError
            If the shape is wrong, or a value is not finite, or not positive though it must be.
        """
        points = np.atleast_2d(np.asarray(hod, np.float64))
        if points.ndim != 2 or points.shape[1] != len(self.parameters) or not len(points):
            raise ValueError(
                f"Expected {', '.join(self.names)}, shape ({len(self.names)},) or "
                f"(n, {len(self.names)}); got {np.shape(hod)}."
            )
        positive = np.array([parameter.positive for parameter in self.parameters])
        bad = ~np.isfinite(points) | (positive & ~(points > 0))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            kind = "a positive number" if positive[column] else "a finite number"
            raise ValueError(
                f"{self.names[column]} is {points[row, column]} (row {row} of {len(points)}); "
                f"expected {kind}."
            )
        return points
