r"""Satellites of halos without subhalos, on NFW profiles.

The profile is that of Navarro, Frenk & White (1997, arXiv:astro-ph/9611107): within a radius r of a halo
with concentration c there is the share m(c r / r_vir) / m(c) of its satellites,

.. math:: m(y) = \ln(1 + y) - y / (1 + y).

It is spherical, and ends at the virial radius; this is halotools' `NFWPhaseSpace`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import lambertw
from scipy.stats import qmc

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

# halotools moves concentrations to the limits of this range, and takes the next node above each. All of
# ours are nodes, so that both draw from the same profiles.
CONCENTRATIONS = np.geomspace(2.0, 20.0, 80)

# Hosts in so narrow a range of mass, in dex, are represented by points about some of them.
POOL_DEX = 0.05
# At most so many hosts, with at least so many points each, and so many points in all.
POOL_HOSTS, HOST_POINTS, POOL_POINTS = 64, 256, 4096
# In sums over pairs in different hosts, a host is represented by points in proportion to its mass
# (Msun/h), in threes unless one is enough.
MASS_PER_POINT, MAX_POINTS = 5e11, 510
# Steps of sequences that fill a line and a cube evenly (Roberts 2018): powers of the roots of x^2 = x + 1
# and of x^4 = x + 1.
_GOLDEN = 0.6180339887498949
_STEPS = 1.2207440846057596 ** -np.arange(1.0, 4.0)


def points_of(mass: Array) -> Indices:
    """How many points represent the satellites of hosts of these masses, Msun/h."""
    wanted = np.ceil(mass / MASS_PER_POINT).astype(np.int64)
    return np.clip(np.where(wanted > 1, 3 * -(-wanted // 3), 1), 1, MAX_POINTS)


def on_nodes(concentration: ArrayLike) -> Array:
    """The nearest of `CONCENTRATIONS`, in their logarithm, for each of an array."""
    logs = np.log(CONCENTRATIONS)
    step = logs[1] - logs[0]
    nearest = np.rint((np.log(np.asarray(concentration, np.float64)) - logs[0]) / step)
    return CONCENTRATIONS[np.clip(nearest, 0, len(logs) - 1).astype(np.int64)]


def enclosed(y: ArrayLike) -> Array:
    """m(y), see the head of this module."""
    y = np.asarray(y, np.float64)
    return np.log1p(y) - y / (1 + y)


def radius_of(share: ArrayLike, concentration: ArrayLike) -> Array:
    """Radius, in units of the virial radius, that encloses a share of a profile, 0 to 1."""
    c = np.asarray(concentration, np.float64)
    # Next to 0, where the inverse has its branch point, a rounding would leave its domain.
    m = np.maximum(np.asarray(share, np.float64) * enclosed(c), 1e-14)
    # m(y) = x - ln x - 1 with x = 1 / (1 + y), whose inverse is Lambert's function.
    x = -lambertw(-np.exp(-m - 1)).real
    return (1 / x - 1) / c


@dataclass(frozen=True)
class Profiles:
    """NFW profiles of halos.

    Attributes
    ----------
    rvir : ndarray, shape (n,)
        Virial radii, Mpc/h, comoving.
    concentration : ndarray, shape (n,)
        rvir over the scale radius; each one of `CONCENTRATIONS`.
    """

    rvir: Array
    concentration: Array

    def offsets(self, halo: Indices, rng: np.random.Generator) -> Array:
        """Places of satellites, drawn independently.

        Parameters
        ----------
        halo : ndarray of int, shape (n,)
            Whose profile each is drawn from.
        rng : numpy.random.Generator

        Returns
        -------
        ndarray, shape (n, 3)
            From the halo's centre, Mpc/h.
        """
        return self._at(halo, rng.random((len(halo), 3)))

    def even_offsets(self, halo: Indices, seed: int) -> Array:
        """As `offsets`, but those of one halo spread evenly over its profile.

        Three that follow each other lie in directions at right angles, so that their axes, which are
        radial, have no mean orientation, as those of all satellites of a sphere.

        Parameters
        ----------
        halo : ndarray of int, shape (n,)
            Ascending.
        seed : int
        """
        number = np.bincount(halo, minlength=len(self.rvir))
        rank = np.arange(len(halo)) - np.repeat(np.cumsum(number) - number, number)
        shift = np.random.default_rng(seed).random((len(number), 4))[halo]
        share = (shift[:, 3] + rank * _GOLDEN) % 1
        turned = (shift[:, :3] + (rank // 3)[:, None] * _STEPS) % 1
        # One column of a matrix of rotation, whose quaternion is uniform (Shoemake 1992).
        s, c = np.sqrt(turned[:, 0]), np.sqrt(1 - turned[:, 0])
        first, second = 2 * np.pi * turned[:, 1], 2 * np.pi * turned[:, 2]
        x, y, z, w = c * np.sin(first), c * np.cos(first), s * np.sin(second), s * np.cos(second)
        columns = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)],
                [2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)],
                [2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        direction = columns[rank % 3, :, np.arange(len(rank))]
        radius = self.rvir[halo] * radius_of(share, self.concentration[halo])
        return radius[:, None] * direction

    def pool(self, halos: Indices, seed: int) -> tuple[Array, Indices]:
        """Points that represent the profiles of halos of one mass, spread evenly over each.

        Parameters
        ----------
        halos : ndarray of int, shape (n_halos,)
            In ascending mass; some of them are taken, evenly.
        seed : int

        Returns
        -------
        offset : ndarray, shape (n, 3)
            From a halo's centre, Mpc/h; points of one halo follow each other.
        first : ndarray of int, shape (n_taken + 1,)
            Where the points of each halo that is taken begin.
        """
        n_taken = min(POOL_HOSTS, len(halos))
        taken = halos[((np.arange(n_taken) + 0.5) * len(halos) / n_taken).astype(np.int64)]
        n_points = max(HOST_POINTS, -(-POOL_POINTS // n_taken))
        cube = qmc.LatinHypercube(3, rng=np.random.default_rng(seed))
        uniform = np.concatenate([cube.random(n_points) for _ in taken])
        return (
            self._at(np.repeat(taken, n_points), uniform),
            n_points * np.arange(n_taken + 1),
        )

    def _at(self, halo: Indices, uniform: Array) -> Array:
        radius = self.rvir[halo] * radius_of(uniform[:, 0], self.concentration[halo])
        z, azimuth = 2 * uniform[:, 1] - 1, 2 * np.pi * uniform[:, 2]
        across = np.sqrt(1 - z**2)
        direction = np.stack([across * np.cos(azimuth), across * np.sin(azimuth), z], axis=-1)
        return radius[:, None] * direction
