"""Few functions of host mass and rank, of which any halo occupation is a sum.

How often sites are occupied depends on few numbers: the mean number of satellites is a smooth function
of host mass, and that number, being Poisson distributed, decides for all ranks. So pairs in different
hosts, which are bilinear in occupations, are summed for pairs of *functions* in place of pairs of sites.
Functions are the leading singular vectors of many occupations that differ as much as those of galaxies
may, found one range of host mass after the other. Sites count by their number and by how strongly
their hosts cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from iaemu_likelihood.emulator.expectation.layout import Array, Indices, Layout
from numpy.typing import NDArray
from scipy.special import erf

# Width of the ranges of host mass that have functions of their own.
GROUP_DEX = 0.4
# Of an occupation that is left out, the root mean square in units of the scatter of Poisson numbers.
TOLERANCE = 0.02
N_EXAMPLES = 1500


@dataclass(frozen=True)
class Basis:
    """Functions on sets of sites, which are sorted by group; each function is one group's.

    Attributes
    ----------
    first_set, first_function : ndarray, shape (n_groups + 1,)
        Where the sets and the functions of each group begin.
    metric : ndarray, shape (n_sets,)
        Weight of each set, in which the functions of a group are orthonormal.
    values : ndarray, shape (sum over groups of sets times functions,)
        Of the functions on the sets of their group: (sets, functions) of one group after the other.
    """

    first_set: Indices
    first_function: Indices
    metric: Array
    values: NDArray[np.float32]

    @classmethod
    def of(
        cls, examples: Array, fixed: Array, metric: Array, group: Indices, tolerance: float
    ) -> Basis:
        """The functions of which examples are sums.

        Parameters
        ----------
        examples : ndarray, shape (n, n_sets)
            Occupations.
        fixed : ndarray, shape (m, n_sets)
            What the functions of each group give exactly.
        metric : ndarray, shape (n_sets,)
        group : ndarray, shape (n_sets,)
            Of each set, ascending from 0.
        tolerance : float
            Root mean square of what the functions leave out; with 0, each set has its own function.
        """
        first_set = np.searchsorted(group, np.arange(group[-1] + 2))
        root = np.sqrt(metric)
        # In units of the scatter of Poisson numbers.
        scaled = examples * root / np.sqrt(np.maximum(examples @ metric, 1e-300))[:, None]
        squares, vectors = [], []
        for low, high in pairwise(first_set):
            exact = np.linalg.qr((fixed[:, low:high] * root[low:high]).T)[0].T
            rest = scaled[:, low:high]
            rest = rest - (rest @ exact.T) @ exact
            # Of the smaller of both matrices of products.
            if high - low < len(rest):
                power, v = np.linalg.eigh(rest.T @ rest)
                v = v.T
            else:
                power, u = np.linalg.eigh(rest @ rest.T)
                v = (u.T @ rest) / np.sqrt(np.maximum(power, 1e-300))[:, None]
            squares.append(np.clip(power[::-1], 0, None) / len(rest))
            vectors.append((exact, v[::-1]))
        ascending = np.sort(np.concatenate(squares))
        left_out = int((np.cumsum(ascending) <= tolerance**2).sum())
        smallest = np.append(ascending, np.inf)[left_out]
        values, n_functions = [], []
        for (low, high), square, (exact, others) in zip(
            pairwise(first_set), squares, vectors, strict=True
        ):
            found = np.concatenate([exact, others[: (square >= smallest).sum()]])
            if tolerance == 0 or len(found) >= high - low:
                found = np.eye(high - low)
            values.append((found / root[low:high]).T.ravel())
            n_functions.append(len(found))
        first_function = np.concatenate([[0], np.cumsum(n_functions)])
        return cls(first_set, first_function, metric, np.concatenate(values).astype(np.float32))

    @classmethod
    def exact(cls, occupations: Array, size: Array) -> Basis:
        """Functions of which given occupations, (n, n_sets), are sums, and no others; in one group."""
        return cls.of(occupations, occupations, size, np.zeros(len(size), np.int64), np.inf)

    @classmethod
    def of_centrals(cls, layout: Layout, tolerance: float = TOLERANCE, seed: int = 0) -> Basis:
        """Functions on the mass intervals of a layout: of all that vary smoothly with log mass."""
        rng, x = np.random.default_rng(seed), layout.logM
        n = N_EXAMPLES
        where = rng.uniform(x[0] - 0.5, x[-1], n)[:, None]
        width = np.exp(rng.uniform(np.log(0.05), np.log(1.5), n))[:, None]
        examples = 0.5 * (1 + erf((x - where) / width))
        # Half of them are peaks.
        examples[::2] *= 1 - erf((x - where[::2] - 2 * width[1::2][: len(where[::2])]) / width[::2])
        metric = layout.n_hosts * clustering(x)
        return cls.of(examples, np.stack([np.ones_like(x), x]), metric, _groups(x), tolerance)

    @classmethod
    def of_satellites(cls, layout: Layout, tolerance: float = TOLERANCE, seed: int = 0) -> Basis:
        """Functions on the cells of a layout: of all satellites whose mean is a power law of mass.

        The power laws may end at a mass, and may be suppressed as that of centrals is.
        """
        rng, x, n = np.random.default_rng(seed), layout.logM, N_EXAMPLES
        M0, M1 = (10 ** rng.uniform(low, 14.2, n)[:, None] for low in (10.0, 11.8))
        alpha = rng.uniform(0.4, 1.6, n)[:, None]
        mean = np.clip((10**x - M0) / M1, 0, None) ** alpha
        where, width = rng.uniform(11, 14.2, n)[:, None], rng.uniform(0.05, 1, n)[:, None]
        mean[::3] *= (0.5 * (1 + erf((x - where) / width)))[::3]
        examples, _ = layout.occupied(mean)
        of_cell = x[layout.cell_interval]
        overflow = np.zeros(layout.n_cells)
        overflow[layout.cell_of_class] = 1
        fixed = np.stack([1 - overflow, overflow, (1 - overflow) * of_cell, overflow * of_cell])
        metric = layout.cell_size * clustering(of_cell)
        return cls.of(examples, fixed, metric, _groups(of_cell), tolerance)

    @property
    def n_functions(self) -> int:
        """Of all groups."""
        return int(self.first_function[-1])

    @property
    def n_groups(self) -> int:
        """How many groups of sets there are."""
        return len(self.first_set) - 1

    def of_group(self, group: int) -> NDArray[np.float32]:
        """Values of the functions of a group, (sets, functions)."""
        sizes = np.diff(self.first_set) * np.diff(self.first_function)
        start = int(sizes[:group].sum())
        n_functions = int(self.first_function[group + 1] - self.first_function[group])
        return self.values[start : start + int(sizes[group])].reshape(-1, n_functions)

    def projections(self) -> list[Array]:
        """What multiplies occupations to give coefficients: (sets, functions) of each group."""
        return [
            self.metric[low:high, None] * self.of_group(group)
            for group, (low, high) in enumerate(pairwise(self.first_set))
        ]

    def coefficients(self, occupations: Array) -> NDArray[np.float32]:
        """Of the functions in given occupations, (n_points, n_sets) to (n_points, n_functions)."""
        weighted = (occupations * self.metric).astype(np.float32)
        return np.concatenate(
            [
                weighted[:, low:high] @ self.of_group(group)
                for group, (low, high) in enumerate(pairwise(self.first_set))
            ],
            axis=1,
        )


def clustering(logM: Array) -> Array:
    """Roughly the bias of hosts."""
    return 1 + 10 ** (0.6 * (logM - 14))


def _groups(logM: Array) -> Indices:
    """Group of each of ascending masses, numbered without gaps."""
    group = np.floor((logM - logM[0]) / GROUP_DEX).astype(np.int64)
    return np.unique(group, return_inverse=True)[1].reshape(-1)
