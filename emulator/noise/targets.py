"""What a data set of realisations says about the noise: the targets of its networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.datasets.dataset import DataSet
from iaemu_likelihood.emulator.noise.learned import OCCUPATION_BLOCKS, PAIRS, n_outputs
from iaemu_likelihood.emulator.noise.measured import TO_RANKS
from iaemu_likelihood.emulator.physics.watson import axis_variances
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Smallest variance that is learned, relative to the shape noise of omega or eta in that bin at
# random axes: what is smaller does not show in the sum, and may be zero.
FLOOR = 1e-5


@dataclass(frozen=True)
class Moments:
    """What a data set of realisations says about the noise, per HOD point.

    Attributes
    ----------
    occupation : ndarray, shape (n, 10, n_bins)
        Second moments of templates about their expectation: triangles of `OCCUPATION_BLOCKS`.
    deviations : ndarray, shape (n, n_catalogues, 6, n_bins)
        Of the templates from their expectation; NaN in bins without pairs.
    shape : ndarray, shape (n, 24, n_bins)
        Triangles of `SHAPE_BLOCKS`.
    pairs : ndarray, shape (n, 21, n_bins)
        In the order of `PAIRS`.
    cholesky : ndarray, shape (n, 6, 3 n_bins, 3 n_bins), float32
        Factors of the correlation matrices of (Q, R of centrals, R of satellites), bin after bin.
    counted : ndarray of bool, shape (n, n_bins)
        Bins that have pairs.
    """

    occupation: Array
    deviations: Array
    shape: Array
    pairs: Array
    cholesky: NDArray[np.float32]
    counted: NDArray[np.bool_]

    @classmethod
    def of(cls, data: DataSet, expectation: Array) -> Moments:
        """From realisations with noise, and the expectation (n, 6, n_bins) of their templates."""
        n_bins = expectation.shape[-1]
        deviations: Array = data.columns["templates"].astype(np.float64) - expectation[:, None]
        counted: NDArray[np.bool_] = np.any(np.isfinite(deviations).all(axis=2), axis=1)
        shape, overlaps, cholesky = [], [], []
        for point in range(len(data)):
            noise = data.noise(point)
            bins = np.arange(n_bins)
            by_bin = noise.shape.reshape(6, 3, n_bins, 3, n_bins)[:, :, bins, :, bins]
            by_bin = by_bin.transpose(1, 2, 3, 0)  # kind and |m|, row, column, bin
            shape.append([x for b in by_bin for x in (b[0, 0], b[1, 1], b[2, 2], b[2, 1])])
            by_pair = np.einsum("lm,ln,tulb->tmunb", TO_RANKS, TO_RANKS, noise.shape_pairs)
            overlaps.append(
                [
                    by_pair[t, m, u, n] + ((t, m) != (u, n)) * by_pair[u, n, t, m]
                    for t, m, u, n in PAIRS
                ]
            )
            cholesky.append(_cholesky_of_correlations(noise.shape, n_bins))
        # Ranks 2 and 4 come from different galaxies: where pairs are few, sums may be negative.
        pairs: Array = np.maximum(np.array(overlaps), 0)
        moments = cls(np.empty(0), deviations, np.array(shape), pairs, np.array(cholesky), counted)
        return moments._with_floor()

    def _with_floor(self) -> Moments:
        """Occupation moments, and small variances raised by the floor."""
        variance = float(axis_variances(0.0)[0])  # the same for every component
        shape, pairs = self.shape.copy(), self.pairs.copy()
        omega = FLOOR * variance * shape[:, 0::4].sum(axis=1)
        eta = FLOOR * variance**2 * pairs.sum(axis=1)
        occupation = np.empty((len(shape), n_outputs(OCCUPATION_BLOCKS), shape.shape[-1]))
        at, first = 0, 0
        with np.errstate(invalid="ignore"):
            for size, floor in zip(OCCUPATION_BLOCKS, (0 * eta, omega, eta), strict=True):
                for i in range(size):
                    x = self.deviations[:, :, first + i]
                    occupation[:, at] = _mean(x**2) + floor
                    for j in range(i):
                        occupation[:, at + 1 + j] = _mean(x * self.deviations[:, :, first + j])
                    at += 1 + i
                first += size
        shape[:, 0::4] += (omega / variance)[:, None]
        shape[:, 1::4] += (eta / variance)[:, None]
        shape[:, 2::4] += (eta / variance)[:, None]
        pairs += (eta / variance**2)[:, None]
        return Moments(occupation, self.deviations, shape, pairs, self.cholesky, self.counted)


def _mean(values: Array) -> Array:
    """Mean over catalogues (axis 1) that have pairs; zero where none has."""
    counted = np.isfinite(values)
    return np.where(counted, values, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


def _cholesky_of_correlations(
    shape: Array, n_bins: int, least: float = 1e-3
) -> NDArray[np.float32]:
    """Of `Noise.shape`, shape (6, 3 n_bins, 3 n_bins), with the bins as the slow index."""
    order = np.arange(3 * n_bins).reshape(3, n_bins).T.ravel()
    matrices = shape.reshape(6, 3 * n_bins, 3 * n_bins)[:, order][:, :, order]
    sigma = np.sqrt(np.maximum(np.diagonal(matrices, axis1=1, axis2=2), 0))
    scale = np.where(sigma > 0, sigma, 1)
    correlations = matrices / (scale[:, :, None] * scale[:, None])
    i = np.arange(3 * n_bins)
    correlations[:, i, i] = 1  # also in bins without pairs, which become independent
    # Perfect correlations, and means over different catalogues in different bins, leave eigenvalues
    # at or below zero.
    values, vectors = np.linalg.eigh(correlations)
    positive = np.maximum(values, least)[:, None] * vectors @ vectors.transpose(0, 2, 1)
    return np.linalg.cholesky(positive).astype(np.float32)
