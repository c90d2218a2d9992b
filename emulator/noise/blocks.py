r"""The second moments that networks learn of the noise, in every bin, and how they are written down.

Moments between the templates of one statistic, and between the neighbourhoods of galaxies that make
up the shape noise, are *blocks* B of at most 3 x 3, positive definite by construction: with x a
block's variables in their order, B follows from the regression of each on those before it,
:math:`x_i = \sum_{j<i} t_{ij} x_j + \epsilon_i`, whose coefficients and log-variances the networks
give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iaemu_likelihood.emulator.backend import add_product, namespace
from iaemu_likelihood.emulator.physics.statistics import Statistic

# Of the neighbourhood of a galaxy, for each kind of galaxy and |m|: the quadrupole Q of the
# directions to its neighbours; and the sums R of the axes of centrals and of satellites among them.
N_COMPONENTS = 6
SHAPE_BLOCKS = (1, 2) * N_COMPONENTS
# What the shape noise of a statistic is made of, by the number of axes of its kernel: Q, R, R.
NEIGHBOURHOODS = {0: (), 1: (0,), 2: (1, 2)}
N_NEIGHBOURHOODS = 3
# Pairs of kinds and of |m|, |m'| in the last term of the shape noise of two axes: each is a positive
# number.
PAIRS = tuple(
    (t, m, u, n) for t in range(2) for u in range(t, 2) for m in range(3) for n in range(m if t == u else 0, 3)
)  # fmt: skip


def occupation_blocks(statistics: Sequence[Statistic]) -> tuple[int, ...]:
    """Sizes of the blocks of the occupation noise: the number of templates of each statistic."""
    return tuple(len(statistic.templates) for statistic in statistics)


def n_outputs(sizes: Sequence[int]) -> int:
    """Numbers per bin that blocks of these sizes take."""
    return sum(k * (k + 1) // 2 for k in sizes)


def rows_of_block(size: int) -> tuple[list[int], list[int]]:
    """Which of a block's outputs are log-variances, and which coefficients, in their order."""
    variances = [i * (i + 1) // 2 for i in range(size)]
    return variances, [row for row in range(n_outputs((size,))) if row not in variances]


def block_stds(residuals: Sequence[Any], coefficients: Sequence[Any]) -> Any:
    """Standard deviations of one block's variables; of tensors, or of arrays.

    Parameters
    ----------
    residuals : sequence of shape (..., n_bins)
        Variance of what is left of each of k variables by the regression on those before it.
    coefficients : sequence of shape (..., n_bins)
        Of the regressions, one after another: k (k - 1) / 2.

    Returns
    -------
    ndarray or torch.Tensor, shape (..., k, n_bins)
    """
    variances: list[Any] = []
    # Of each variable so far, what multiplies the residuals of those before it.
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
    """Factors of a correlation matrix, (..., n, k), and its independent part, (..., n).

    Both are the square roots that add up to 1: factors**2 summed + independent**2 = 1.
    """
    independent = 1 / namespace(loadings).sqrt(1 + (loadings * loadings).sum(-1))
    return loadings * independent[..., None], independent
