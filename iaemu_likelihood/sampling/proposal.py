"""Mean and covariance of a posterior, with which a chain begins near its end.

A posterior whose occupation is free is far from Gaussian: it has ridges, and it is cut off at the edges
of the emulator's domain, so that the inverse of the Fisher matrix is no guide to its width. In the
unbounded numbers of `iaemu_likelihood.sampling.unconstrained` it has one peak and no edges. There,
draws are made about the maximum, weighted by the posterior, and the next draws follow their mean and
covariance. All draws are kept, each weighted by the mean of all proposals (adaptive multiple importance
sampling: Cornuet, Marin, Mira & Robert 2012, arXiv:0907.1254).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import multivariate_t

from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.sampling.optimum import high_points
from iaemu_likelihood.sampling.posterior import Posterior
from iaemu_likelihood.sampling.potential import potential_of
from iaemu_likelihood.sampling.unconstrained import Unconstrained

Array = NDArray[np.float64]

# Draws of a round, most rounds, and the effective number of draws that is enough.
N_DRAWS, MAX_ROUNDS, ENOUGH = 1000, 12, 1500
# Degrees of freedom of the proposals, whose tails must not be thinner than the posterior's.
DEGREES_OF_FREEDOM = 5
# Below this effective number the covariance is only rough.
FEW = 200
# Weight of the last covariance beside the new one, in effective draws for each parameter.
KEPT = 4


@dataclass(frozen=True)
class Proposal:
    """Where a posterior is, and how wide.

    Attributes
    ----------
    names : list of str
    mean : ndarray, shape (d,)
    covariance : ndarray, shape (d, d)
    n_effective : float
        Effective number of draws behind both.
    priors : mapping
        Priors of the parameters, as Cobaya has them.
    points : ndarray, shape (n, d)
        All draws, for moments of functions of the parameters.
    weights : ndarray, shape (n,)
        Of the draws; their sum is 1.
    """

    names: list[str]
    mean: Array
    covariance: Array
    n_effective: float
    priors: Mapping[str, Any]
    points: Array
    weights: Array

    def write(self, path: str | Path) -> Path:
        """Write the covariance in Cobaya's form, for the option `covmat` of its samplers."""
        with atomic_write(path) as unfinished:
            np.savetxt(unfinished, self.covariance, fmt="%.8e", header=" ".join(self.names))
        return Path(path)

    def lines(self, covmat: str | Path) -> str:
        """What an input needs for Cobaya's mcmc to begin here, in YAML.

        Parameters
        ----------
        covmat : str or Path
            File of the covariance.
        """
        # Along the others' ridges, so that chains begin where the posterior is high.
        widths = np.diag(np.linalg.inv(self.covariance)) ** -0.5
        params = {
            name: {
                "prior": self.priors[name],
                "ref": {"dist": "norm", "loc": _rounded(loc, 6), "scale": _rounded(scale, 2)},
            }
            for name, loc, scale in zip(self.names, self.mean, widths, strict=True)
        }
        options = {"params": params, "sampler": {"mcmc": {"covmat": str(covmat)}}}
        return str(yaml.safe_dump(options, sort_keys=False, default_flow_style=None, width=80))

    def tables(self) -> list[Table]:
        """Table with a row for each parameter."""
        rows = [
            [name, f"{mean:.4g} ± {sigma:.2g}"]
            for name, mean, sigma in zip(
                self.names, self.mean, np.diag(self.covariance) ** 0.5, strict=True
            )
        ]
        title = f"Posterior, from {self.n_effective:.0f} effective draws"
        return [Table(title, ["parameter", "mean ± sigma"], rows)]

    def sentences(self) -> list[str]:
        """What there is to know before this is used; nothing if all is well."""
        if self.n_effective >= FEW:
            return []
        return [
            f"Only {self.n_effective:.0f} effective draws: the posterior is unlike a single peak, and "
            "this covariance is rough. A chain will still have to learn its own."
        ]


def _rounded(x: float, digits: int) -> float:
    return float(f"{x:.{digits}g}")


def find_proposal(target: Posterior, seed: int = 0) -> Proposal:
    """Find the mean and covariance of a posterior.

    Parameters
    ----------
    target : Posterior
    seed : int

    Raises
    ------
    ValueError
        As `Posterior.start`.
    """
    potential, constrain = potential_of(target)
    peak, width = _peak(target, potential, constrain, seed)
    rng = np.random.default_rng([seed, 1])
    mean, covariance = peak, width
    proposals: list[Any] = []
    z, points, log_density = np.empty((0, len(peak))), np.empty((0, len(peak))), np.empty(0)
    for _ in range(MAX_ROUNDS):
        proposals.append(multivariate_t(mean, covariance, DEGREES_OF_FREEDOM))
        new = proposals[-1].rvs(N_DRAWS, random_state=rng).reshape(N_DRAWS, -1)
        mapped, jacobians = _mapped(constrain, new)
        z, points = np.concatenate([z, new]), np.concatenate([points, mapped])
        log_density = np.concatenate([log_density, target(mapped) + jacobians])
        log_weights = log_density - logsumexp([q.logpdf(z) for q in proposals], axis=0)
        weights = np.exp(log_weights - logsumexp(log_weights))
        n_effective = 1 / (weights**2).sum()
        mean, found = _moments(z, weights)
        kept = KEPT * len(peak)
        covariance = (n_effective * found + kept * covariance) / (n_effective + kept)
        if n_effective > ENOUGH:
            break
    priors = {name: target.identity["params"][name]["prior"] for name in target.names}
    moments = _moments(points, weights)
    return Proposal(target.names, *moments, float(n_effective), priors, points, weights)


def _peak(
    target: Posterior, potential: Any, constrain: Unconstrained, seed: int
) -> tuple[Array, Array]:
    """The maximum of the density of unbounded numbers, and the inverse of the curvature there."""

    def value_and_slope(z: Array) -> tuple[float, Array]:
        with torch.enable_grad():
            leaf = torch.tensor(z, requires_grad=True)
            value = potential({"z": leaf})
            (slope,) = torch.autograd.grad(value, leaf)
        return float(value.detach()), slope.numpy()

    starts = [constrain.inverse(point).numpy() for point in high_points(target, seed)]
    found = [minimize(value_and_slope, z, jac=True) for z in starts]
    peak: Array = min(found, key=lambda fit: fit.fun).x
    steps = 1e-3 * np.eye(len(peak))
    each = [value_and_slope(peak + h)[1] - value_and_slope(peak - h)[1] for h in steps]
    curvature = np.array(each) / 2e-3
    sizes, axes = np.linalg.eigh((curvature + curvature.T) / 2)
    return peak, (axes / np.maximum(sizes, 1e-3)) @ axes.T


def _mapped(constrain: Unconstrained, z: Array) -> tuple[Array, Array]:
    """Parameters at unbounded numbers, (n, d), and logarithms of the Jacobians, (n,)."""
    with torch.no_grad():
        each = [constrain(row) for row in torch.from_numpy(z)]
    points, jacobians = zip(*each, strict=True)
    return torch.stack(points).numpy(), torch.stack(jacobians).numpy()


def _moments(x: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and covariance of points (n, d) with weights whose sum is 1."""
    mean = weights @ x
    return mean, (weights[:, None] * (x - mean)).T @ (x - mean)
