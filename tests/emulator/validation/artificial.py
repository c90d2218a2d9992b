"""An emulator with known errors, and data sets drawn from known distributions."""

import numpy as np
from iaemu_likelihood.emulator.datasets import DataSet
from iaemu_likelihood.emulator.models import Prediction
from iaemu_likelihood.emulator.physics.bins import R_EDGES, bin_centres
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import (
    DEFAULT_STATISTICS,
    PerStatistic,
    named,
)
from iaemu_likelihood.emulator.physics.templates import combine_templates

STATISTICS = named(DEFAULT_STATISTICS)
N_BINS = len(R_EDGES) - 1
# Scatter of one catalogue, fractions of the truth: of xi, omega, eta.
SCATTER = np.array([0.05, 0.2, 0.3])
# Bins of a catalogue move together by this correlation coefficient.
CORRELATION = 0.5


def truth(theta):
    """Smooth in the parameters, and nowhere zero but at mu = 0; shape (n, 3, n_bins)."""
    mu, hod = DEFAULT_SPACE.split(theta)
    return combine_templates(truth_templates(hod), mu, STATISTICS)


def truth_templates(hod):
    shape = (bin_centres(R_EDGES) ** -1.5)[None, None]
    size = np.array([10.0, 0.1, 0.05, 0.01, 0.01, 0.01])[:, None]
    return (1 + 0.2 * np.sin(hod.sum(axis=1)))[:, None, None] * size * shape


def covariance(theta, factor=1.0):
    one = np.full((N_BINS, N_BINS), CORRELATION) + (1 - CORRELATION) * np.eye(N_BINS)
    sigma = factor * SCATTER[:, None] * np.abs(truth(theta))
    flat = sigma.reshape(len(theta), -1)
    return flat[:, :, None] * np.kron(np.eye(len(STATISTICS)), one) * flat[:, None]


def by_statistic(values):
    """From (n, 3, n_bins)."""
    return PerStatistic(dict(zip(DEFAULT_STATISTICS, values.swapaxes(0, 1), strict=True)))


class ArtificialEmulator:
    """Predicts the truth times (1 + error) and its scatter times a factor.

    The epistemic sigma is that of which the error is a Gaussian draw.
    """

    def __init__(self, error=0.0, scatter=0.0, factor=1.0, aleatoric=True, kind="templates"):
        self.error, self.scatter, self.factor, self.aleatoric = error, scatter, factor, aleatoric
        self.domain, self.r_edges = Domain.of(), R_EDGES
        self.space, self.statistics, self.redshift = DEFAULT_SPACE, STATISTICS, 0.0
        self.card = {"kind": kind, "halos": {"name": "artificial", "sha256": "a" * 64}}

    def predict(self, theta):
        points = np.atleast_2d(theta)
        exact = truth(points)
        seed = int(1e6 * np.abs(points).sum()) % 2**31
        noise = self.scatter * np.random.default_rng(seed).normal(size=exact.shape)
        values = exact * (1 + self.error + noise)
        sigma = self.factor * SCATTER[:, None] * np.abs(exact)
        spread = max(self.scatter, 1e-12) * np.abs(exact)
        shape = np.shape(theta)[:-1]  # of one point or many

        def shaped(values):
            each = by_statistic(values)
            return PerStatistic({s: x.reshape(*shape, N_BINS) for s, x in each.items()})

        aleatoric = shaped(sigma) if self.aleatoric else None
        return Prediction(bin_centres(R_EDGES), shaped(values), aleatoric, shaped(spread))

    def covariance(self, theta):
        return covariance(theta, self.factor)


def data_sets(n=600, n_drawn=60, n_catalogues=20, seed=7):
    """Expectation and realisations, the first bins of the first points without pairs."""
    theta = Domain.of().sample(n, seed)
    rng = np.random.default_rng(seed)
    attributes = {"halos": "artificial", "halos_sha256": "a" * 64, "redshift": 0.0}
    split = np.full(n, 2)
    _, hod = DEFAULT_SPACE.split(theta)
    expectation = DataSet("expectation", hod, split, R_EDGES,
                          {"templates": truth_templates(hod)}, attributes)  # fmt: skip
    drawn = theta[:n_drawn]
    roots = np.linalg.cholesky(covariance(drawn))
    normal = rng.normal(size=(n_drawn, n_catalogues, len(STATISTICS) * N_BINS))
    draws = (normal @ roots.transpose(0, 2, 1)).reshape(n_drawn, n_catalogues, -1, N_BINS)
    draws += truth(drawn)[:, None]
    draws[0, :3, 1:, 0] = np.nan
    realisations = DataSet("realisations", drawn, split[:n_drawn], R_EDGES,
                           {"correlations": draws}, attributes)  # fmt: skip
    return expectation, realisations
