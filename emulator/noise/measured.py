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

*Occupation noise.* The scatter of the conditional means, which are the six templates of each
catalogue, between catalogues.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.halos.sites import Slots
from iaemu_likelihood.emulator.mocks.estimators import R_EDGES, STATISTICS
from iaemu_likelihood.emulator.mocks.fast import Galaxies, Realisation, measure, populate
from iaemu_likelihood.emulator.mocks.pair_counts import shape_sums
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
    """Covariance of one catalogue's xi, omega, eta at given occupation parameters.

    Attributes
    ----------
    templates : ndarray, shape (n_catalogues, 6, n_bins)
        The six templates of single catalogues.
    shape : ndarray, shape (2, 3, 3 n_bins, 3 n_bins)
        By kind of galaxy and \\|m\\|: second moments of (Q, R of centrals, R of satellites) per
        ordered pair.
    shape_pairs : ndarray, shape (2, 2, 3, n_bins)
        By the kinds of both galaxies and by rank 0, 2, 4: mean of 2 P_L / N_b, weighted by the
        share of such pairs.
    """

    templates: Array
    shape: Array
    shape_pairs: Array

    def shape_covariance(self, mu_cen: float, mu_sat: float) -> Array:
        """Of omega and eta at fixed places of the galaxies, shape (2 n_bins, 2 n_bins)."""
        n_bins = self.templates.shape[-1]
        strengths = p2([mu_cen, mu_sat])
        variances = axis_variances([mu_cen, mu_sat])  # by kind and |m|
        moments = np.einsum("tm,tmij->ij", variances, self.shape)
        # From (Q, R of centrals, R of satellites) to (omega, eta).
        to = np.zeros((2, 3))
        to[0, 0], to[1, 1:] = 1, 2 * strengths
        blocks = moments.reshape(3, n_bins, 3, n_bins)
        covariance = np.einsum("xa,aibj,yb->xiyj", to, blocks, to)
        ranks = variances @ TO_RANKS.T
        pairs = np.einsum("tl,ul,tulb->b", ranks, ranks, self.shape_pairs)
        covariance[1, :, 1, :] += np.diag(pairs)
        return covariance.reshape(2 * n_bins, 2 * n_bins)

    def occupation_covariance(self, mu_cen: float, mu_sat: float) -> Array:
        """Of the means of xi, omega and eta over draws of the axes, (3 n_bins, 3 n_bins)."""
        strengths = p2([mu_cen, mu_sat])
        means = np.concatenate(combine_templates(self.templates, *strengths), axis=-1)
        return _covariance(means)

    def covariance(self, mu_cen: float, mu_sat: float) -> Array:
        """Aleatoric covariance of (xi, omega, eta).

        Parameters
        ----------
        mu_cen, mu_sat : float
            Alignment strengths in [-1, 1].

        Returns
        -------
        ndarray, shape (3 n_bins, 3 n_bins)
            NaN in rows and columns of bins that fewer than two catalogues have pairs in.
        """
        n_bins = self.templates.shape[-1]
        total = self.occupation_covariance(mu_cen, mu_sat)
        total[n_bins:, n_bins:] += self.shape_covariance(mu_cen, mu_sat)
        return total

    def sigma(self, mu_cen: float, mu_sat: float) -> dict[str, Array]:
        """Aleatoric standard deviations by name of the statistic, shape (n_bins,) each."""
        sigma = np.sqrt(np.diag(self.covariance(mu_cen, mu_sat)))
        return dict(zip(STATISTICS, np.split(sigma, 3), strict=True))


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
    shape, fourth = shape_sums(galaxies.position, galaxies.reference, galaxies.kind, 2, box,
                               r_edges, richness, n_primaries, rng)  # fmt: skip
    per_pair = np.divide(
        1, realisation.n_pairs, out=np.zeros(len(r_edges) - 1), where=realisation.n_pairs > 0
    )
    number, second = realisation.by_kind, realisation.second
    legendre = (number, (3 * second - number) / 2, (35 * fourth - 30 * second + 3 * number) / 8)
    scale = np.tile(per_pair, 3)
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
    by_row = np.tile(populated, 3)
    shape = sum(shape for shape, _ in moments) / np.maximum(by_row.T @ by_row, 1)
    pairs = sum(pairs for _, pairs in moments) / np.maximum(populated.sum(axis=0), 1)
    return np.asarray(shape), np.asarray(pairs)


def noise_at(
    slots: Slots,
    hod: ArrayLike,
    seed: int,
    n_catalogues: int = N_CATALOGUES,
    n_primaries: int = N_PRIMARIES,
    r_edges: ArrayLike = R_EDGES,
) -> Noise:
    """Noise of one galaxy catalogue at any alignment strengths, from a few catalogues.

    Parameters
    ----------
    slots : Slots
        Of the halo catalogue.
    hod : array_like, shape (5,)
        logMmin, sigma_logM, logM0, logM1, alpha (masses: log10 of Msun/h).
    seed : int
    n_catalogues : int
        The occupation part of every variance has the relative error sqrt(2 / (n - 1)).
    n_primaries : int
        Galaxies per kind and catalogue whose surroundings are looked at.
    r_edges : array_like, shape (n_bins + 1,)
        Mpc/h.

    Returns
    -------
    Noise
    """
    if n_catalogues < 2:
        raise ValueError(f"n_catalogues is {n_catalogues}; a scatter takes at least 2.")
    edges = np.asarray(r_edges, np.float64)
    templates, n_pairs, moments = [], [], []
    for i in range(n_catalogues):
        rng = np.random.default_rng([seed, i])
        galaxies = populate(slots, np.asarray(hod, np.float64), rng)
        found = measure(galaxies, 0.0, 0.0, slots.box, edges, rng)
        moments.append(shape_moments(galaxies, found, slots.box, edges, n_primaries, rng))
        templates.append(found.templates)
        n_pairs.append(found.n_pairs)
    return Noise(np.array(templates), *mean_moments(moments, np.array(n_pairs)))
