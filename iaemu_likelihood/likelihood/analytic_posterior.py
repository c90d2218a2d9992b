"""The exact posterior of the alignment strengths at fixed occupation parameters.

With the occupation fixed, omega = P2(mu_cen) omega_c + P2(mu_sat) omega_s is linear in
q = (P2(mu_cen), P2(mu_sat)). A Gaussian likelihood of omega with a fixed covariance is then a
Gaussian in q, known in closed form, and with a flat prior in mu the posterior is that Gaussian
seen through q(mu) on [-1, 1]^2. Every sampler must agree with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from iaemu_likelihood.emulator.backend import silent
from iaemu_likelihood.emulator.physics.watson import p2

Array = NDArray[np.floating[Any]]

# Of four times as many draws as are wanted.
MAX_ROUNDS = 1000


@dataclass(frozen=True)
class FixedHODPosterior:
    """Posterior of mu_cen and mu_sat with flat priors in [-1, 1].

    Attributes
    ----------
    q_mean : ndarray, shape (2,)
        Best-fitting (P2(mu_cen), P2(mu_sat)); it may lie outside the range that mu can reach.
    q_covariance : ndarray, shape (2, 2)
    mean, std : ndarray, shape (2,)
        Posterior means and standard deviations of mu_cen and mu_sat.
    chi2_min : float
        chi^2 at `q_mean`.
    """

    q_mean: Array
    q_covariance: Array
    mean: Array
    std: Array
    chi2_min: float

    @silent
    def sample(self, n: int, seed: int) -> Array:
        """Independent draws of mu_cen and mu_sat, shape (n, 2), by rejection sampling.

        With a flat prior in mu, draws of q from the Gaussian have weights d mu / d q, or zero where
        q is outside the range that mu can reach.

        Raises
        ------
        ValueError
            If hardly any draw of q is inside this range.
        """
        rng = np.random.default_rng(seed)
        fine = np.linspace(-1, 1, 20_001)
        values = p2(fine)
        slope = np.gradient(values, fine)
        # Weights are largest where P2 is flattest.
        near = [
            np.abs(values - m) < 8 * np.sqrt(v)
            for m, v in zip(self.q_mean, np.diag(self.q_covariance), strict=True)
        ]
        lowest = [slope[x].min() if x.any() else slope.min() for x in near]
        kept: list[Array] = []
        count = 0
        for _ in range(MAX_ROUNDS):
            q = rng.multivariate_normal(self.q_mean, self.q_covariance, size=4 * n)
            inside = ((q >= values[0]) & (q <= values[-1])).all(axis=1)
            q = q[inside]
            accept = np.prod(
                [low / np.interp(x, values, slope) for low, x in zip(lowest, q.T, strict=True)],
                axis=0,
            )
            q = q[rng.random(len(q)) < accept]
            kept.append(np.interp(q, values, fine))
            count += len(q)
            if count >= n:
                return np.concatenate(kept)[:n]
        raise ValueError(
            f"Only {count} of {4 * n * MAX_ROUNDS} draws are inside the range that mu_cen and mu_sat "
            f"can reach; the best-fitting P2, {self.q_mean}, is too far outside."
        )


@silent
def fixed_hod_posterior(
    omega_c: Array, omega_s: Array, data: Array, covariance: Array, n_nodes: int = 1000
) -> FixedHODPosterior:
    """Compute the posterior.

    Parameters
    ----------
    omega_c, omega_s : ndarray, shape (n,)
        Templates in the bins of the data.
    data : ndarray, shape (n,)
        Measured omega.
    covariance : ndarray, shape (n, n)
    n_nodes : int
        Number of Gauss-Legendre nodes per dimension for the moments of mu.
    """
    design = np.stack([omega_c, omega_s], axis=-1)
    factor = cho_factor(covariance, lower=True)
    fisher = design.T @ cho_solve(factor, design)
    q_mean = np.linalg.solve(fisher, design.T @ cho_solve(factor, data))
    residual = data - design @ q_mean

    mu, weight = np.polynomial.legendre.leggauss(n_nodes)
    dc, ds = p2(mu)[:, None] - q_mean[0], p2(mu)[None, :] - q_mean[1]
    exponent = -0.5 * (fisher[0, 0] * dc**2 + 2 * fisher[0, 1] * dc * ds + fisher[1, 1] * ds**2)
    density = np.exp(exponent - exponent.max()) * weight[:, None] * weight[None, :]
    density /= density.sum()
    marginals = density.sum(axis=1), density.sum(axis=0)
    mean = np.array([m @ mu for m in marginals])
    std = np.sqrt([m @ (mu - centre) ** 2 for m, centre in zip(marginals, mean, strict=True)])
    q_covariance = np.linalg.inv(fisher)
    return FixedHODPosterior(
        q_mean, q_covariance, mean, std, float(residual @ cho_solve(factor, residual))
    )
