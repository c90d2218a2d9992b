r"""The second moments of the noise in one bin, in the form in which networks learn them.

Moments between the templates of one statistic, and between the neighbourhoods of galaxies that make
up the shape noise, are *blocks* B of at most 3 x 3. They are positive definite by construction:
with x the variables of a block in their order, B follows from the regression of each variable on
those before it, :math:`x_i = \sum_{j<i} t_{ij} x_j + \epsilon_i`. The networks give the
coefficients of the regressions and the log-variances of the residuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iaemu_likelihood.emulator.backend import add_product, namespace
from iaemu_likelihood.emulator.physics.statistics import Statistic

# A component is a kind of galaxy and |m|. For each, there are two blocks: one of the quadrupole Q
# of the directions from a galaxy to its neighbours, and one of the two sums R of the axes of
# centrals and of satellites among the neighbours.
N_COMPONENTS = 6
SHAPE_BLOCKS = (1, 2) * N_COMPONENTS
# Which of Q, R and R (0, 1, 2) make up the shape noise of a statistic, by the axes of its kernel.
NEIGHBOURHOODS = {0: (), 1: (0,), 2: (1, 2)}
N_NEIGHBOURHOODS = 3
# Pairs of components, (kind, |m|, kind', |m'|), in the last term of the shape noise of two axes.
PAIRS = tuple(
    (t, m, u, n) for t in range(2) for u in range(t, 2) for m in range(3) for n in range(m if t == u else 0, 3)
)  # fmt: skip


def occupation_blocks(statistics: Sequence[Statistic]) -> tuple[int, ...]:
    """Sizes of the blocks of the occupation noise: the number of templates of each statistic."""
    return tuple(len(statistic.templates) for statistic in statistics)


def n_outputs(sizes: Sequence[int]) -> int:
    """Number of outputs per bin that describe blocks of these sizes."""
    return sum(k * (k + 1) // 2 for k in sizes)


def rows_of_block(size: int) -> tuple[list[int], list[int]]:
    """Rows of a block's outputs that are log-variances, and those that are coefficients."""
    variances = [i * (i + 1) // 2 for i in range(size)]
    return variances, [row for row in range(n_outputs((size,))) if row not in variances]


def block_stds(residuals: Sequence[Any], coefficients: Sequence[Any]) -> Any:
    """Standard deviations of the variables of one block, from tensors or arrays.

    Parameters
    ----------
    residuals : sequence of ndarray or torch.Tensor, shape (..., n_bins)
        Variance of the residual of each of k variables.
    coefficients : sequence of ndarray or torch.Tensor, shape (..., n_bins)
        The k (k - 1) / 2 coefficients of the regressions, one regression after another.

    Returns
    -------
    ndarray or torch.Tensor, shape (..., k, n_bins)
    """
    variances: list[Any] = []
    # For each variable so far, the factors of the residuals of those before it.
    factors: list[list[Any]] = []
    for i, variance in enumerate(residuals):
        row = list(coefficients[i * (i - 1) // 2 :][:i])
        for j in range(i):
            for k in range(j + 1, i):
                row[j] = add_product(row[j], row[k], factors[k][j])
            variance = add_product(variance, row[j] * row[j], residuals[j])
        factors.append(row)
        variances.append(variance)
    xp = namespace(variances[0])
    return xp.sqrt(xp.stack(variances, axis=-2))


def correlation_factors(loadings: Any) -> tuple[Any, Any]:
    """Factors of a correlation matrix, (..., n, k), and square root of the rest, (..., n).

    In every row the squares of the factors and of the rest add up to 1.
    """
    independent = 1 / namespace(loadings).sqrt(1 + (loadings * loadings).sum(-1))
    return loadings * independent[..., None], independent
