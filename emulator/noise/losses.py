"""What the networks of the noise are trained with: Gaussian likelihoods of second moments."""

from __future__ import annotations

import torch
from torch import Tensor


def block_loss(outputs: Tensor, moments: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Twice the negative Gaussian log-likelihood of second moments, per block and bin.

    Parameters
    ----------
    outputs : torch.Tensor, shape (n, n_outputs(sizes), n_bins)
    moments : torch.Tensor, shape (n, n_outputs(sizes), n_bins)
        Lower triangles of the measured blocks, row after row, the diagonal first in its row.
    sizes : tuple of int

    Returns
    -------
    torch.Tensor, shape (n, sum(sizes), n_bins)
    """
    terms, at = [], 0
    for size in sizes:
        first = at
        for i in range(size):
            own = moments[:, at]
            t = [outputs[:, at + 1 + j] for j in range(i)]
            residual = own
            for j in range(i):
                residual = residual - 2 * t[j] * moments[:, at + 1 + j]
                for k in range(i):
                    high, low = max(j, k), min(j, k)
                    start = first + high * (high + 1) // 2
                    residual = residual + t[j] * t[k] * moments[:, start + (0 if high == low else 1 + low)]  # fmt: skip
            terms.append(outputs[:, at] + residual * torch.exp(-outputs[:, at]))
            at += 1 + i
    return torch.stack(terms, 1)


def factor_loss(loadings: Tensor, z: Tensor) -> Tensor:
    """Twice the negative log-likelihood, per number, of standardised draws under a factor model.

    Parameters
    ----------
    loadings : torch.Tensor, shape (n, n_numbers, k)
        Of numbers with unit residual variance; see `correlation_factors`.
    z : torch.Tensor, shape (n, n_draws, n_numbers)
        Of unit variance; NaN where there is nothing.
    """
    counted = torch.isfinite(z).all(1)  # numbers of a point that all its draws have
    loadings = loadings * counted[..., None]
    residual = 1 / (1 + loadings.square().sum(-1))
    y = torch.where(counted[:, None], z, 0) / residual.sqrt()[:, None]
    inner = torch.eye(loadings.shape[-1]) + loadings.mT @ loadings
    cholesky = torch.linalg.cholesky(inner)
    solved = torch.linalg.solve_triangular(cholesky, loadings.mT @ y.mT, upper=False)
    quadratic = y.square().sum(-1) - solved.square().sum(1)
    log_determinant = 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1) + residual.log().sum(-1)
    return (log_determinant[:, None] + quadratic).mean(1) / counted.sum(-1).clamp(min=1)
