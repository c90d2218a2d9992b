"""Fast mocks: galaxy catalogues drawn as halotools-IA draws them, on arrays, and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.halos.sites import GalaxySites, directions
from iaemu_likelihood.emulator.mocks.pair_counts import kernel_sums
from iaemu_likelihood.emulator.physics.alignment import WATSON, Alignment
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Occupation
from iaemu_likelihood.emulator.physics.statistics import (
    CENTRAL,
    DEFAULT_STATISTICS,
    PAIRS,
    SATELLITE,
    Statistic,
    named,
)
from iaemu_likelihood.emulator.physics.statistics.eta import ORIENTATION_ORIENTATION
from iaemu_likelihood.emulator.physics.watson import draw_axes
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

KINDS = (CENTRAL, SATELLITE)


@dataclass(frozen=True)
class Galaxies:
    """Galaxies of one draw, without their axes: centrals first, then satellites host by host.

    Attributes
    ----------
    position : ndarray, shape (n, 3)
        Mpc/h, in [0, box].
    reference : ndarray, shape (n, 3)
        Unit vectors about which the axes are drawn: the host's major axis for a central, the
        direction from the host's centre for a satellite.
    kind : ndarray of int, shape (n,)
        `CENTRAL` or `SATELLITE`.
    host : ndarray of int, shape (n,)
        Index of the host in `GalaxySites`.
    n_overflow : int
        Number of satellites beyond their host's last subhalo.
    """

    position: Array
    reference: Array
    kind: NDArray[np.int64]
    host: NDArray[np.int64]
    n_overflow: int

    @property
    def numbers(self) -> tuple[int, int]:
        """Numbers of centrals and of satellites."""
        n_centrals, n_satellites = np.bincount(self.kind, minlength=len(KINDS))
        return int(n_centrals), int(n_satellites)


def populate(
    sites: GalaxySites,
    hod: ArrayLike,
    rng: np.random.Generator,
    occupation: Occupation = ZHENG07,
) -> Galaxies:
    """Draw galaxies the way halotools does, see `iaemu_likelihood.emulator.halos.sites`.

    Parameters
    ----------
    sites : GalaxySites
    hod : array_like, shape (n_parameters,)
        Of the occupation.
    rng : numpy.random.Generator
    occupation : Occupation

    Returns
    -------
    Galaxies
    """
    (p_central,), (n_satellites,) = occupation.means(sites.logM, hod)
    central = np.flatnonzero(rng.random(len(sites.logM)) < p_central)
    number = rng.poisson(n_satellites)
    return place(sites, central, number, rng)


def place(
    sites: GalaxySites,
    central: NDArray[np.int64],
    number: NDArray[np.int64],
    rng: np.random.Generator,
) -> Galaxies:
    """Put given numbers of galaxies in their places.

    Parameters
    ----------
    sites : GalaxySites
    central : ndarray of int
        Hosts that have a central.
    number : ndarray of int, shape (n_hosts,)
        Satellites of each host.
    rng : numpy.random.Generator
        Of the places of satellites beyond the last subhalo.

    Returns
    -------
    Galaxies
    """
    first = sites.first_subhalo
    on_own = np.minimum(number, np.diff(first))
    beyond = number - on_own
    host = np.repeat(np.arange(len(number)), on_own)
    subhalo = np.arange(len(host)) + np.repeat(first[:-1] - np.cumsum(on_own) + on_own, on_own)
    host_beyond = np.repeat(np.arange(len(number)), beyond)
    if sites.profiles is None:
        pool = sites.pool_bin[host_beyond]
        drawn = rng.integers(sites.first_of_pool[pool], sites.first_of_pool[pool + 1])
        offset_beyond, radial_beyond = sites.pool_offset[drawn], sites.pool_radial[drawn]
    else:
        offset_beyond = sites.profiles.offsets(host_beyond, rng)
        radial_beyond = directions(offset_beyond)

    satellite_host = np.concatenate([host, host_beyond])
    by_host = np.argsort(satellite_host, kind="stable")
    satellite_host = satellite_host[by_host]
    offset = np.concatenate([sites.offset[subhalo], offset_beyond])[by_host]
    radial = np.concatenate([sites.radial[subhalo], radial_beyond])[by_host]
    position = sites.position[satellite_host] + offset
    # A satellite at the very centre has no direction: any will do.
    nowhere = np.flatnonzero(~radial.any(axis=1))
    if len(nowhere):
        random = rng.normal(size=(len(nowhere), 3))
        radial[nowhere] = random / np.linalg.norm(random, axis=1, keepdims=True)
    return Galaxies(
        np.concatenate([sites.position[central], position % sites.box]),
        np.concatenate([sites.axis[central], radial]),
        np.repeat(KINDS, [len(central), len(satellite_host)]),
        np.concatenate([central, satellite_host]),
        len(host_beyond),
    )


def drawn_axes(
    galaxies: Galaxies,
    mu: Sequence[float] | Array,
    rng: np.random.Generator,
    alignment: Alignment = WATSON,
    logM: Array | None = None,
) -> Array:
    """Draw the axes of all galaxies, unit vectors of shape (n, 3).

    Parameters
    ----------
    galaxies : Galaxies
    mu : sequence of float, shape (n_alignment,)
        Parameters of the alignment: strengths of centrals and of satellites, in [-1, 1].
    rng : numpy.random.Generator
    alignment : Alignment
    logM : ndarray, shape (n_hosts,), optional
        log10 of the masses of all hosts, Msun/h, on which strengths may depend.
    """
    n_centrals, _ = galaxies.numbers
    references = np.split(galaxies.reference, [n_centrals])
    strengths: Sequence[float] | list[Array] | Array = mu
    if alignment.depends_on_mass:
        assert logM is not None
        in_hosts = alignment.mu_in(np.asarray(mu, np.float64)[None], logM)[0]
        hosts = np.split(galaxies.host, [n_centrals])
        strengths = [of_kind[host] for of_kind, host in zip(in_hosts, hosts, strict=True)]
    axes = [draw_axes(part, s, rng) for part, s in zip(references, strengths, strict=True)]
    return np.concatenate(axes)


@dataclass(frozen=True)
class Realisation:
    """What one catalogue of galaxies measures.

    Attributes
    ----------
    correlations : ndarray, shape (n_statistics, n_bins)
        Of the axes that were drawn.
    templates : ndarray, shape (n_templates, n_bins)
        At the positions of these galaxies: the mean of the statistics over draws of the axes.
    n_pairs : ndarray, shape (n_bins,)
        Ordered pairs.
    by_kind : ndarray, shape (2, 2, n_bins)
        The same by the kinds of both members.
    second : ndarray, shape (2, 2, n_bins)
        Sum over these of the squared cosine between the reference axes.
    """

    correlations: Array
    templates: Array
    n_pairs: Array
    by_kind: Array
    second: Array


def measure(
    galaxies: Galaxies,
    mu: Sequence[float] | Array,
    box: float,
    r_edges: Array,
    rng: np.random.Generator,
    statistics: Sequence[Statistic] = named(DEFAULT_STATISTICS),
    alignment: Alignment = WATSON,
    logM: Array | None = None,
) -> Realisation:
    """Draw axes and measure, all galaxies against all galaxies.

    Parameters
    ----------
    galaxies, mu, alignment, logM
        As in `drawn_axes`.
    box : float
        Mpc/h, periodic.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    rng : numpy.random.Generator
        Of the axes.
    statistics : sequence of Statistic

    Returns
    -------
    Realisation
        In a bin without pairs xi is -1 and means over pairs are NaN.
    """
    by_kind, of_drawn = kernel_sums(
        [statistic.kernel for statistic in statistics], galaxies.position, galaxies.reference,
        galaxies.kind, len(KINDS), box, r_edges,
        drawn=drawn_axes(galaxies, mu, rng, alignment, logM),
    )  # fmt: skip
    n_pairs = of_drawn[PAIRS]
    random = len(galaxies.kind) ** 2 * shell_volumes(r_edges) / box**3
    correlations = [s.from_ordered_pairs(of_drawn[s.kernel], n_pairs, random) for s in statistics]
    templates = [
        s.from_ordered_pairs(carried_by(template.kinds, by_kind[s.kernel]), n_pairs, random)
        for s in statistics
        for template in s.templates
    ]
    return Realisation(
        np.array(correlations),
        np.array(templates),
        n_pairs,
        by_kind[PAIRS],
        by_kind[ORIENTATION_ORIENTATION] + by_kind[PAIRS] / 3,
    )


def carried_by(kinds: tuple[int, ...], sums: Array) -> Array:
    """Sums over the ordered pairs whose axes are of these kinds, from sums by kind."""
    orders = {kinds, kinds[::-1]}
    return np.sum([sums[order].reshape(-1, sums.shape[-1]).sum(axis=0) for order in orders], axis=0)
