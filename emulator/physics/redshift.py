"""Redshift as an argument of models that were made from several snapshots of a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.points import is_number
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Redshifts that differ by less are the same.
SAME_REDSHIFT = 1e-6


def coordinate(redshift: ArrayLike) -> Array:
    """ln(1 + z), in which models go from one snapshot to the next."""
    return np.log1p(np.asarray(redshift, np.float64))


@dataclass(frozen=True)
class Redshifts:
    """Redshifts of the snapshots that a model was made from, and its domain at each.

    Attributes
    ----------
    values : tuple of float
        Ascending.
    highest : tuple of float
        Upper end of the domain's first occupation parameter at each of them; linear in `coordinate`
        between.

    Raises
    ------
    ValueError
        If these are not ascending numbers, and as many limits.
    """

    values: tuple[float, ...]
    highest: tuple[float, ...]

    def __post_init__(self) -> None:
        if (
            not self.values
            or len(self.values) != len(self.highest)
            or not all(np.diff(self.values) > SAME_REDSHIFT)
            or not self.values[0] > -1
        ):
            raise ValueError(
                f"redshifts are {self.values}, with the upper limits {self.highest}; they must be "
                "ascending numbers, and a limit for each."
            )

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest."""
        return self.values[0], self.values[-1]

    @property
    def are_several(self) -> bool:
        """Whether there is more than one."""
        return len(self.values) > 1

    def unit(self, redshift: ArrayLike) -> Array:
        """Coordinates in [-1, 1], of the shape of the redshifts: an input of networks."""
        low, high = coordinate(self.ends)
        return (2 * coordinate(redshift) - (low + high)) / (high - low)

    def from_unit(self, unit: ArrayLike) -> Array:
        """Inverse of `unit`."""
        low, high = coordinate(self.ends)
        found = np.expm1((low + high + np.asarray(unit) * (high - low)) / 2)
        return np.clip(found, *self.ends)

    def weights(self, redshift: ArrayLike) -> Array:
        """Weight of each snapshot in a linear interpolation, shape (n, n_values).

        Parameters
        ----------
        redshift : array_like, shape (n,)
        """
        at = coordinate(np.atleast_1d(redshift))
        nodes = coordinate(self.values)
        return np.stack([np.interp(at, nodes, row) for row in np.eye(len(nodes))], axis=1)

    def highest_at(self, redshift: ArrayLike) -> Array:
        """Upper end of the domain's first occupation parameter, of the shape of the redshifts."""
        return np.interp(coordinate(redshift), coordinate(self.values), self.highest)

    def domain(self, domain: Domain, redshift: float) -> Domain:
        """The part of a domain in which a model is valid at a redshift."""
        low, high = domain.bands.first
        first = low, min(high, float(self.highest_at(redshift)))
        return replace(domain, bands=replace(domain.bands, first=first))

    def narrowed(self, domain: Domain, hod: Array, redshift: Array) -> Array:
        """Points of a domain, moved into its part at the redshift of each.

        Parameters
        ----------
        domain : Domain
        hod : ndarray, shape (n, n_occupation)
        redshift : ndarray, shape (n,)
        """
        unit = domain.to_unit(hod)
        low, high = domain.bands.first
        share = (np.minimum(self.highest_at(redshift), high) - low) / (high - low)
        unit[:, 0] = (unit[:, 0] + 1) * share - 1
        return domain.from_unit(unit)

    def to_dict(self) -> dict[str, list[float]]:
        """For a card."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Any) -> Redshifts:
        """Inverse of `to_dict`.

        Raises
        ------
        ValueError
            If it is not a mapping with two lists of numbers.
        """
        names = ("values", "highest")
        if not isinstance(content, Mapping) or set(content) != set(names):
            raise ValueError(f"redshifts is {content!r}; it must be a mapping of {names} to lists.")
        for name in names:
            if not (isinstance(content[name], list) and all(map(is_number, content[name]))):
                raise ValueError(f"redshifts: {name} is {content[name]!r}; it must list numbers.")
        return cls(*(tuple(map(float, content[name])) for name in names))
