r"""The scatter of one galaxy catalogue about its expectation: the aleatoric covariance.

By the law of total variance it has two parts.

*Shape noise.* With the galaxies in their places, each axis is an independent Watson draw about its
reference axis a. Write its tensor :math:`e e^T - 1/3` as its mean, :math:`P_2(\mu)(a a^T - 1/3)`,
plus a fluctuation F, whose five components about a have the variances
`iaemu_likelihood.emulator.physics.watson.axis_variances`. Then, with
:math:`Q_{ib} = \sum_j (\hat r \hat r^T - 1/3)` over the neighbours j of galaxy i in bin b,
:math:`R_{ib} = \sum_j P_2(\mu_j)(a_j a_j^T - 1/3)` and N_b the number of ordered pairs,

- omega_b - <omega_b> = :math:`\sum_i F_i \cdot Q_{ib} / N_b`
- eta_b - <eta_b> = :math:`2 \sum_i F_i \cdot R_{ib} / N_b + \sum_{i \ne j} F_i \cdot F_j / N_b`

so second moments of Q and R, and in the last term Legendre moments of the angles between reference
axes, give the covariance at any mu_cen, mu_sat exactly. xi has no shape noise.

*Occupation noise.* The scatter of the conditional means, which are the templates of each catalogue,
between catalogues.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.halos.sites import GalaxySites
from iaemu_likelihood.emulator.mocks.fast import KINDS, Galaxies, Realisation, measure, populate
from iaemu_likelihood.emulator.mocks.pair_counts import shape_sums
from iaemu_likelihood.emulator.noise.blocks import N_NEIGHBOURHOODS, NEIGHBOURHOODS
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.occupations import ZHENG07, Occupation
from iaemu_likelihood.emulator.physics.statistics import (
    DEFAULT_STATISTICS,
    PerStatistic,
    Statistic,
    named,
)
from iaemu_likelihood.emulator.physics.templates import combine_templates
from iaemu_likelihood.emulator.physics.watson import axis_variances, p2
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

N_CATALOGUES = 10
# Galaxies per kind and catalogue whose surroundings are looked at for the shape noise.
N_PRIMARIES = 3000

# Axisymmetric 5 x 5 matrices with the same value at |m| = 0, at 1 (two) and at 2 (two), expanded in
# orthonormal ones of rank 0, 2 and 4. The trace of the product of two such matrices about
# different axes is the sum over ranks L of the products of coefficients and P_L(cos).
TO_RANKS = np.array([[1, 2, 2], [-2, -2, 4], [6, -8, 2]]) / np.sqrt([[5], [14], [70]])


@dataclass(frozen=True)
class Noise:
    """Covariance of one catalogue's statistics at given occupation parameters.

    Attributes
    ----------
    statistics : tuple of Statistic
    templates : ndarray, shape (n_catalogues, n_templates, n_bins)
        Of single catalogues.
    shape : ndarray, shape (2, 3, 3 n_bins, 3 n_bins)
        By kind of galaxy and \\|m\\|: second moments of (Q, R of centrals, R of satellites) per
        ordered pair.
    shape_pairs : ndarray, shape (2, 2, 3, n_bins)
        By the kinds of both galaxies and by rank 0, 2, 4: mean of 2 P_L / N_b, weighted by the
        share of such pairs.

    Raises
    ------
    ValueError
        If the shape noise of one of the statistics is not known.
    """

    statistics: tuple[Statistic, ...]
    templates: Array
    shape: Array
    shape_pairs: Array

    def __post_init__(self) -> None:
        check_shape_noise(self.statistics)

    def shape_covariance(self, mu_cen: float, mu_sat: float) -> Array:
        """At fixed places of the galaxies, shape (n_statistics n_bins, n_statistics n_bins)."""
        n_bins, n = self.templates.shape[-1], len(self.statistics)
        mu = np.array([mu_cen, mu_sat])
        variances = axis_variances(mu)  # by kind and |m|
        moments = np.einsum("tm,tmij->ij", variances, self.shape)
        # From (Q, R of centrals, R of satellites) to the statistics.
        factors = np.array([1, *(2 * p2(mu))])
        to = np.zeros((n, N_NEIGHBOURHOODS))
        for row, statistic in zip(to, self.statistics, strict=True):
            own = list(NEIGHBOURHOODS[statistic.kernel.n_axes])
            row[own] = factors[own]
        blocks = moments.reshape(N_NEIGHBOURHOODS, n_bins, N_NEIGHBOURHOODS, n_bins)
        covariance = np.einsum("xa,aibj,yb->xiyj", to, blocks, to)
        ranks = variances @ TO_RANKS.T
        pairs = np.einsum("tl,ul,tulb->b", ranks, ranks, self.shape_pairs)
        for i, statistic in enumerate(self.statistics):
            if statistic.kernel.n_axes == 2:
                covariance[i, :, i, :] += np.diag(pairs)
        return covariance.reshape(n * n_bins, n * n_bins)

    def occupation_covariance(self, mu_cen: float, mu_sat: float) -> Array:
        """Of the means over draws of the axes, (n_statistics n_bins, n_statistics n_bins)."""
        mu = np.array([[mu_cen, mu_sat]], np.float64)
        means = combine_templates(self.templates, mu, self.statistics)
        return _covariance(means.reshape(len(means), -1))

    def covariance(self, mu_cen: float, mu_sat: float) -> Array:
        """Aleatoric covariance of the statistics.

        Parameters
        ----------
        mu_cen, mu_sat : float
            Alignment strengths in [-1, 1].

        Returns
        -------
        ndarray, shape (n_statistics n_bins, n_statistics n_bins)
            Statistic after statistic. NaN in rows and columns of bins that fewer than two catalogues
            have pairs in.
        """
        occupation = self.occupation_covariance(mu_cen, mu_sat)
        return occupation + self.shape_covariance(mu_cen, mu_sat)

    def sigma(self, mu_cen: float, mu_sat: float) -> PerStatistic:
        """Aleatoric standard deviations of each statistic, shape (n_bins,)."""
        sigma = np.sqrt(np.diag(self.covariance(mu_cen, mu_sat)))
        parts = np.split(sigma, len(self.statistics))
        return PerStatistic({s.name: part for s, part in zip(self.statistics, parts, strict=True)})


def check_shape_noise(statistics: Iterable[Statistic]) -> None:
    """Raise a ValueError that names the statistics whose shape noise is not known."""
    unknown = [statistic.name for statistic in statistics if not statistic.has_shape_noise]
    if unknown:
        raise ValueError(
            f"How the draws of the axes scatter {', '.join(unknown)} is not known: leave them out "
            "of the statistics whose noise is asked for."
        )


def _covariance(samples: Array) -> Array:
    """Sample covariance over the first axis, each element over the samples that have both."""
    counted = np.isfinite(samples)
    n = counted.sum(axis=0)
    mean = np.where(counted, samples, 0).sum(axis=0) / np.maximum(n, 1)
    deviations = np.where(counted, samples - mean, 0)
    both = counted.T.astype(np.float64) @ counted
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(both > 1, deviations.T @ deviations / (both - 1), np.nan)


def shape_moments(
    galaxies: Galaxies,
    realisation: Realisation,
    box: float,
    r_edges: Array,
    n_primaries: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """`Noise.shape` and `Noise.shape_pairs` of one catalogue; zero in bins without pairs."""
    richness = np.bincount(galaxies.host)[galaxies.host].astype(np.float64)
    shape, fourth = shape_sums(galaxies.position, galaxies.reference, galaxies.kind, len(KINDS), box,
                               r_edges, richness, n_primaries, rng)  # fmt: skip
    per_pair = np.divide(
        1, realisation.n_pairs, out=np.zeros(len(r_edges) - 1), where=realisation.n_pairs > 0
    )
    number, second = realisation.by_kind, realisation.second
    legendre = (number, (3 * second - number) / 2, (35 * fourth - 30 * second + 3 * number) / 8)
    scale = np.tile(per_pair, N_NEIGHBOURHOODS)
    return shape * scale[:, None] * scale, 2 * np.stack(legendre, axis=2) * per_pair**2


def mean_moments(moments: list[tuple[Array, Array]], n_pairs: Array) -> tuple[Array, Array]:
    """Means of `shape_moments` over catalogues, each bin over those that have pairs in it.

    Parameters
    ----------
    moments : list
        Of what `shape_moments` gave for each catalogue.
    n_pairs : ndarray, shape (n_catalogues, n_bins)

    Returns
    -------
    shape, shape_pairs : ndarray
        See `Noise`; zero in bins that no catalogue has pairs in.
    """
    populated = (np.asarray(n_pairs) > 0).astype(np.float64)
    by_row = np.tile(populated, N_NEIGHBOURHOODS)
    shape = sum(shape for shape, _ in moments) / np.maximum(by_row.T @ by_row, 1)
    pairs = sum(pairs for _, pairs in moments) / np.maximum(populated.sum(axis=0), 1)
    return np.asarray(shape), np.asarray(pairs)


def noise_at(
    sites: GalaxySites,
    hod: ArrayLike,
    seed: int,
    n_catalogues: int = N_CATALOGUES,
    n_primaries: int = N_PRIMARIES,
    r_edges: ArrayLike = R_EDGES,
    occupation: Occupation = ZHENG07,
    statistics: Sequence[Statistic] = named(DEFAULT_STATISTICS),
) -> Noise:
    """Noise of one galaxy catalogue at any alignment strengths, from a few catalogues.

    Parameters
    ----------
    sites : GalaxySites
        Of the halo catalogue.
    hod : array_like, shape (n_parameters,)
        Of the occupation; by default logMmin, sigma_logM, logM0, logM1, alpha (masses: log10 of
        Msun/h).
    seed : int
    n_catalogues : int
        The occupation part of every variance has the relative error sqrt(2 / (n - 1)).
    n_primaries : int
        Galaxies per kind and catalogue whose surroundings are looked at.
    r_edges : array_like, shape (n_bins + 1,)
        Mpc/h.
    occupation : Occupation
    statistics : sequence of Statistic

    Returns
    -------
    Noise

    Raises
    ------
    ValueError
        If there are fewer than two catalogues, or the shape noise of a statistic is not known.
    """
    if n_catalogues < 2:
        raise ValueError(f"n_catalogues is {n_catalogues}; a scatter takes at least 2.")
    check_shape_noise(statistics)
    edges = np.asarray(r_edges, np.float64)
    no_alignment = np.zeros(len(KINDS))  # of axes that are drawn, but not looked at
    templates, n_pairs, moments = [], [], []
    for i in range(n_catalogues):
        rng = np.random.default_rng([seed, i])
        galaxies = populate(sites, hod, rng, occupation)
        found = measure(galaxies, no_alignment, sites.box, edges, rng, statistics)
        moments.append(shape_moments(galaxies, found, sites.box, edges, n_primaries, rng))
        templates.append(found.templates)
        n_pairs.append(found.n_pairs)
    return Noise(tuple(statistics), np.array(templates), *mean_moments(moments, np.array(n_pairs)))
