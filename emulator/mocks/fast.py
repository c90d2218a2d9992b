"""A fast halotools-IA: galaxy catalogues drawn on the slots of a halo catalogue, and measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.halos.sites import Slots, mean_centrals, mean_satellites
from iaemu_likelihood.emulator.mocks.estimators import Correlations, shell_volumes
from iaemu_likelihood.emulator.mocks.pair_counts import pair_sums
from iaemu_likelihood.emulator.physics.watson import draw_axes
from numpy.typing import NDArray

Array = NDArray[np.float64]

CENTRAL, SATELLITE = 0, 1


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
        Index of the host in `Slots`.
    n_overflow : int
        Number of satellites beyond their host's last slot.
    """

    position: Array
    reference: Array
    kind: NDArray[np.int64]
    host: NDArray[np.int64]
    n_overflow: int

    @property
    def numbers(self) -> tuple[int, int]:
        """Numbers of centrals and of satellites."""
        n_satellites = int(self.kind.sum())
        return len(self.kind) - n_satellites, n_satellites


def populate(slots: Slots, hod: Array, rng: np.random.Generator) -> Galaxies:
    """Draw galaxies the way halotools does, see `iaemu_likelihood.emulator.halos.sites`.

    Parameters
    ----------
    slots : Slots
    hod : ndarray, shape (5,)
        logMmin, sigma_logM, logM0, logM1, alpha (masses: log10 of Msun/h).
    rng : numpy.random.Generator

    Returns
    -------
    Galaxies
    """
    hod = np.asarray(hod, np.float64)[None]
    central = np.flatnonzero(rng.random(len(slots.logM)) < mean_centrals(slots.logM, hod)[0])
    number = rng.poisson(mean_satellites(slots.logM, hod)[0])
    return place(slots, central, number, rng)


def place(
    slots: Slots, central: NDArray[np.int64], number: NDArray[np.int64], rng: np.random.Generator
) -> Galaxies:
    """Put given numbers of galaxies in their places.

    Parameters
    ----------
    slots : Slots
    central : ndarray of int
        Hosts that have a central.
    number : ndarray of int, shape (n_hosts,)
        Satellites of each host.
    rng : numpy.random.Generator
        Of the places of satellites beyond the last slot.

    Returns
    -------
    Galaxies
    """
    taken = np.minimum(number, np.diff(slots.first_slot))
    over = number - taken
    host = np.repeat(np.arange(len(number)), taken)
    slot = np.arange(len(host)) + np.repeat(slots.first_slot[:-1] - np.cumsum(taken) + taken, taken)
    host_over = np.repeat(np.arange(len(number)), over)
    # Hosts ascend in mass, so the slots of a pool follow each other.
    edges = slots.first_slot[np.searchsorted(slots.pool_bin, np.arange(slots.pool_bin.max() + 2))]
    low, high = edges[slots.pool_bin[host_over]], edges[slots.pool_bin[host_over] + 1]
    slot_over = rng.integers(low, high)

    satellite_host = np.concatenate([host, host_over])
    satellite_slot = np.concatenate([slot, slot_over])
    by_host = np.argsort(satellite_host, kind="stable")
    satellite_host, satellite_slot = satellite_host[by_host], satellite_slot[by_host]
    position = slots.position[satellite_host] + slots.offset[satellite_slot]
    radial = slots.radial[satellite_slot]
    # A satellite at the very centre has no direction: any will do.
    nowhere = np.flatnonzero(~radial.any(axis=1))
    if len(nowhere):
        random = rng.normal(size=(len(nowhere), 3))
        radial[nowhere] = random / np.linalg.norm(random, axis=1, keepdims=True)
    return Galaxies(
        np.concatenate([slots.position[central], position % slots.box]),
        np.concatenate([slots.axis[central], radial]),
        np.repeat([CENTRAL, SATELLITE], [len(central), len(satellite_host)]),
        np.concatenate([central, satellite_host]),
        len(host_over),
    )


@dataclass(frozen=True)
class Realisation:
    """What one catalogue of galaxies measures.

    Attributes
    ----------
    correlations : Correlations
        Of the axes that were drawn.
    templates : ndarray, shape (6, n_bins)
        The six templates at the positions of these galaxies: their mean over draws of the axes.
    n_pairs : ndarray, shape (n_bins,)
        Ordered pairs.
    by_kind : ndarray, shape (2, 2, n_bins)
        The same by the kinds of both members.
    second : ndarray, shape (2, 2, n_bins)
        Sum over these of the squared cosine between the reference axes.
    """

    correlations: Correlations
    templates: Array
    n_pairs: Array
    by_kind: Array
    second: Array


def measure(
    galaxies: Galaxies,
    mu_cen: float,
    mu_sat: float,
    box: float,
    r_edges: Array,
    rng: np.random.Generator,
) -> Realisation:
    """Draw axes and measure, all galaxies against all galaxies.

    Parameters
    ----------
    galaxies : Galaxies
    mu_cen, mu_sat : float
        Alignment strengths in [-1, 1].
    box : float
        Mpc/h, periodic.
    r_edges : ndarray, shape (n_bins + 1,)
        Mpc/h.
    rng : numpy.random.Generator
        Of the axes.

    Returns
    -------
    Realisation
        In a bin without pairs xi is -1 and everything else NaN.
    """
    n_centrals, _ = galaxies.numbers
    axes = [
        draw_axes(part, mu, rng)
        for part, mu in zip(
            np.split(galaxies.reference, [n_centrals]), (mu_cen, mu_sat), strict=True
        )
    ]
    sums = pair_sums(galaxies.position, galaxies.reference, galaxies.kind, 2, box, r_edges,
                     drawn=np.concatenate(axes))  # fmt: skip
    by_kind = sums["pairs"] + sums["pairs"].swapaxes(0, 1)
    second = sums["oriented"] + sums["oriented"].swapaxes(0, 1)
    carried = (sums["carried_first"] + sums["carried_second"].swapaxes(0, 1)).sum(axis=1)
    n_pairs = by_kind.sum(axis=(0, 1))
    oriented = second - by_kind / 3
    random = len(galaxies.kind) ** 2 * shell_volumes(r_edges) / box**3
    with np.errstate(divide="ignore", invalid="ignore"):
        xi = n_pairs / random - 1
        templates = np.stack(
            [
                xi,
                *(carried - by_kind.sum(axis=1) / 3) / n_pairs,
                oriented[CENTRAL, CENTRAL] / n_pairs,
                2 * oriented[CENTRAL, SATELLITE] / n_pairs,
                oriented[SATELLITE, SATELLITE] / n_pairs,
            ]
        )
        omega = sums["drawn_carried"].sum(axis=(0, 1)) / n_pairs - 1 / 3
        eta = 2 * sums["drawn_oriented"].sum(axis=(0, 1)) / n_pairs - 1 / 3
    return Realisation(
        Correlations(xi, omega, eta, len(galaxies.kind)), templates, n_pairs, by_kind, second
    )
