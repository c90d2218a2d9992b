"""What the networks of the noise learn: second moments of single catalogues, per HOD point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.noise.blocks import (
    N_COMPONENTS,
    N_NEIGHBOURHOODS,
    PAIRS,
)
from iaemu_likelihood.emulator.noise.measured import TO_RANKS, Noise
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.physics.watson import axis_variances
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Smallest variance that is learned, relative to the shape noise in that bin at random axes: what is
# smaller does not show in the sum, and may be zero.
FLOOR = 1e-5


@dataclass(frozen=True)
class NoiseTargets:
    """Targets of the two networks of the noise, per HOD point.

    Attributes
    ----------
    statistics : tuple of Statistic
    occupation : ndarray, shape (n, n_outputs(occupation_blocks(statistics)), n_bins)
        Second moments of templates about their expectation: triangles of `occupation_blocks`.
    deviations : ndarray, shape (n, n_catalogues, n_templates, n_bins)
        Of the templates from their expectation; NaN in bins without pairs.
    shape : ndarray, shape (n, n_outputs(SHAPE_BLOCKS), n_bins)
        Triangles of `SHAPE_BLOCKS`.
    pairs : ndarray, shape (n, len(PAIRS), n_bins)
        In the order of `PAIRS`.
    cholesky : ndarray, shape (n, 6, 3 n_bins, 3 n_bins), float32
        Factors of the correlation matrices of (Q, R of centrals, R of satellites), bin after bin.
    counted : ndarray of bool, shape (n, n_bins)
        Bins that have pairs.
    """

    statistics: tuple[Statistic, ...]
    occupation: Array
    deviations: Array
    shape: Array
    pairs: Array
    cholesky: NDArray[np.float32]
    counted: NDArray[np.bool_]

    @classmethod
    def of(cls, noises: Iterable[Noise], expectation: Array) -> NoiseTargets:
        """From the noise of a few catalogues at each HOD point.

        Parameters
        ----------
        noises : iterable of Noise
            One per HOD point, such as those of `DataSet.noise`.
        expectation : ndarray, shape (n, n_templates, n_bins)
            Of their templates, at the same points.
        """
        n_bins = expectation.shape[-1]
        k, c = N_COMPONENTS, N_NEIGHBOURHOODS
        bins = np.arange(n_bins)
        deviations, shape, overlaps, cholesky = [], [], [], []
        for noise, expected in zip(noises, expectation, strict=True):
            deviations.append(noise.templates - expected)
            by_bin = noise.shape.reshape(k, c, n_bins, c, n_bins)[:, :, bins, :, bins]
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
        return cls._with_floor(
            noise.statistics, np.array(deviations), np.array(shape), pairs, np.array(cholesky)
        )

    @classmethod
    def _with_floor(
        cls,
        statistics: tuple[Statistic, ...],
        deviations: Array,
        shape: Array,
        pairs: Array,
        cholesky: NDArray[np.float32],
    ) -> NoiseTargets:
        """With small variances raised by the floor."""
        variance = float(axis_variances(0.0)[0])  # the same for every component
        # Q, R of centrals, R of satellites, and the product of the two.
        neighbourhoods = shape.reshape(len(shape), N_COMPONENTS, -1, shape.shape[-1])
        # For statistics of one axis and of two.
        one = FLOOR * variance * neighbourhoods[:, :, 0].sum(axis=1)
        two = FLOOR * variance**2 * pairs.sum(axis=1)
        floors = (np.zeros_like(one), one, two)
        moments = []
        first = 0
        with np.errstate(invalid="ignore"):
            for statistic in statistics:
                for i in range(len(statistic.templates)):
                    x = deviations[:, :, first + i]
                    moments.append(_mean(x**2) + floors[statistic.kernel.n_axes])
                    moments += [_mean(x * deviations[:, :, first + j]) for j in range(i)]
                first += len(statistic.templates)
        neighbourhoods[:, :, 0] += (one / variance)[:, None]
        neighbourhoods[:, :, 1] += (two / variance)[:, None]
        neighbourhoods[:, :, 2] += (two / variance)[:, None]
        pairs += (two / variance**2)[:, None]
        counted: NDArray[np.bool_] = np.any(np.isfinite(deviations).all(axis=2), axis=1)
        occupation: Array = np.stack(moments, axis=1)
        return cls(statistics, occupation, deviations, shape, pairs, cholesky, counted)


def _mean(values: Array) -> Array:
    """Mean over catalogues (axis 1) that have pairs; zero where none has."""
    counted = np.isfinite(values)
    return np.where(counted, values, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


def _cholesky_of_correlations(
    shape: Array, n_bins: int, least: float = 1e-3
) -> NDArray[np.float32]:
    """Of `Noise.shape`, shape (6, 3 n_bins, 3 n_bins), with the bins as the slow index."""
    n_rows = N_NEIGHBOURHOODS * n_bins
    order = np.arange(n_rows).reshape(-1, n_bins).T.ravel()
    matrices = shape.reshape(N_COMPONENTS, n_rows, n_rows)[:, order][:, :, order]
    sigma = np.sqrt(np.maximum(np.diagonal(matrices, axis1=1, axis2=2), 0))
    scale = np.where(sigma > 0, sigma, 1)
    correlations = matrices / (scale[:, :, None] * scale[:, None])
    i = np.arange(n_rows)
    correlations[:, i, i] = 1  # also in bins without pairs, which become independent
    # Perfect correlations, and means over different catalogues in different bins, leave eigenvalues
    # at or below zero.
    values, vectors = np.linalg.eigh(correlations)
    positive = np.maximum(values, least)[:, None] * vectors @ vectors.transpose(0, 2, 1)
    return np.linalg.cholesky(positive).astype(np.float32)
