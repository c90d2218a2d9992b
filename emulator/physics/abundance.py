"""How many host halos of which mass there are, and so the mean number of galaxies.

An occupation gives mean numbers of centrals and satellites at a host's mass. Summed over the hosts of
a box, they are the exact expectation of the number of galaxies in it, whatever places satellites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.backend import silent
from iaemu_likelihood.emulator.physics.occupations import Occupation
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]

# Width of the bins of mass, dex. Each stands at the mean of its hosts, so that only the curvature of
# an occupation within a bin is missed: less than 1e-4 of the number of galaxies.
WIDTH = 0.01
# Names of the tensors in a file of weights.
_LOG_MASS, _DENSITY = HOST_TENSORS = "host_log10_mass", "host_density"


@dataclass(frozen=True)
class HostAbundance:
    """Number densities of host halos in narrow bins of mass.

    Attributes
    ----------
    log_mass : ndarray, shape (m,)
        Mean log10 of the masses in each bin, Msun/h, ascending.
    density : ndarray, shape (m,)
        Hosts in each bin, (h/Mpc)^3.

    Raises
    ------
    ValueError
        If these are not finite numbers, masses ascending and densities positive.
    """

    log_mass: Array
    density: Array

    def __post_init__(self) -> None:
        x, n = self.log_mass, self.density
        if (
            x.ndim != 1
            or x.shape != n.shape
            or not len(x)
            or not (np.isfinite(x).all() and (np.diff(x) > 0).all())
            or not (np.isfinite(n) & (n > 0)).all()
        ):
            raise ValueError(
                f"{_LOG_MASS} and {_DENSITY} must be ascending masses, and a positive density for each."
            )

    @classmethod
    def of(cls, log_mass: ArrayLike, box: float) -> HostAbundance:
        """Count hosts.

        Parameters
        ----------
        log_mass : array_like, shape (n_hosts,)
            log10 of the masses of all hosts of a box, Msun/h.
        box : float
            Side of the box, Mpc/h.
        """
        masses = np.sort(np.asarray(log_mass, np.float64))
        bins = np.floor(masses / WIDTH).astype(int)
        bins -= bins[0]
        number = np.bincount(bins)
        mean = np.bincount(bins, masses)[number > 0] / number[number > 0]
        return cls(mean, number[number > 0] / box**3)

    @classmethod
    def mean(cls, several: Sequence[HostAbundance]) -> HostAbundance:
        """Of several boxes."""
        masses = np.concatenate([each.log_mass for each in several])
        densities = np.concatenate([each.density for each in several]) / len(several)
        log_mass, place = np.unique(masses, return_inverse=True)
        return cls(log_mass, np.bincount(place, densities).astype(np.float64))

    @classmethod
    def between(cls, several: Sequence[HostAbundance], weights: ArrayLike) -> HostAbundance:
        """At a redshift between snapshots: the mass above which there are as many hosts is linear.

        Parameters
        ----------
        several : sequence of HostAbundance
        weights : array_like, shape (n_snapshots,)
            Of each in the interpolation; they add up to 1.
        """
        shares = np.asarray(weights, np.float64)
        nearest = several[int(np.argmax(shares))]
        found = sum(
            share * hosts.mass_above(nearest.log_number)
            for share, hosts in zip(shares, several, strict=True)
        )
        return cls(np.asarray(found), nearest.density)

    @cached_property
    def log_number(self) -> Array:
        """ln of the number density of heavier hosts, and half of those of the same bin; descending."""
        result: Array = np.log(np.cumsum(self.density[::-1])[::-1] - self.density / 2)
        return result

    def mass_above(self, log_number: Array) -> Array:
        """log10 of the mass above which there are so many hosts, Msun/h; the inverse of `log_number`."""
        return np.interp(log_number, self.log_number[::-1], self.log_mass[::-1])

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], prefix: str = "") -> HostAbundance | None:
        """From the tensors of a file of weights; None if they hold no hosts."""
        names = (f"{prefix}{_LOG_MASS}", f"{prefix}{_DENSITY}")
        found = [tensors[name].double().numpy() for name in names if name in tensors]
        return cls(*found) if len(found) == 2 else None

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """For a file of weights, by names that begin with `prefix`."""
        import torch

        return {
            f"{prefix}{_LOG_MASS}": torch.tensor(self.log_mass),
            f"{prefix}{_DENSITY}": torch.tensor(self.density),
        }

    def galaxies(self, occupation: Occupation, hod: Any) -> Any:
        """Mean number densities of centrals and of satellites, differentiably.

        Parameters
        ----------
        occupation : Occupation
        hod : ndarray or torch.Tensor, shape (n, n_occupation), float64
            Masses are log10 of Msun/h.

        Returns
        -------
        ndarray or torch.Tensor, shape (n, 2)
            (h/Mpc)^3.

        Raises
        ------
        ValueError
            As `Occupation.means`: if more than one central is expected in a host, for one.
        """

        if isinstance(hod, np.ndarray):
            means = occupation.means(self.log_mass, hod)
            return np.stack([each @ self.density for each in means], axis=1)
        from iaemu_likelihood.emulator.numeric import Numeric

        occupation.means(self.log_mass, hod.detach().cpu().numpy())  # refuses what is impossible

        @silent
        def function(points: Array) -> Array:
            # Also a step beside a point, where more than one central may be expected.
            each = (occupation.mean_centrals, occupation.mean_satellites)
            return np.stack([mean(self.log_mass, points) @ self.density for mean in each], axis=1)

        return Numeric.apply(hod, function)
