"""What is summed over pairs for given statistics, and the templates that the sums add to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.statistics import PAIRS, PairKernel, Statistic
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Kernels:
    """Kernels that are summed together over pairs of galaxies.

    A pair adds one number for each kernel, or two for a kernel of one axis: what the first galaxy
    carries, and what the second carries. The other kernels are symmetric.

    A kernel of n axes has n + 1 templates, by the number of these axes that satellites carry.

    Attributes
    ----------
    kernels : tuple of PairKernel
        Pairs come first.
    """

    kernels: tuple[PairKernel, ...]

    @classmethod
    def of(cls, statistics: tuple[Statistic, ...]) -> Kernels:
        """Those that statistics need; pairs always, as ratios and volumes do."""
        return cls(tuple(dict.fromkeys((PAIRS, *(s.kernel for s in statistics)))))

    @property
    def names(self) -> list[str]:
        """Of the kernels."""
        return [kernel.name for kernel in self.kernels]

    @property
    def n_axes(self) -> Indices:
        """Of each kernel."""
        return np.array([kernel.n_axes for kernel in self.kernels])

    # ------------------------------------------------------------ sums

    @property
    def n_sums(self) -> int:
        """How many numbers a pair adds."""
        return len(self.kernels) + len(self.one_axis)

    @cached_property
    def one_axis(self) -> Indices:
        """Which kernels have one axis."""
        return np.flatnonzero(self.n_axes == 1)

    @cached_property
    def first(self) -> Indices:
        """Of each kernel, which of the sums is the only one or what the first galaxy carries."""
        return self.last - (self.n_axes == 1)

    @cached_property
    def last(self) -> Indices:
        """Of each kernel, which of the sums is the only one or what the second galaxy carries."""
        return np.cumsum(np.where(self.n_axes == 1, 2, 1)) - 1

    @cached_property
    def exchanged(self) -> Indices:
        """Of each of the sums, which it becomes when the galaxies of a pair change places."""
        places = np.arange(self.n_sums)
        places[self.first], places[self.last] = self.last, self.first
        return places

    @property
    def degree_of_first(self) -> Indices:
        """Of each of the sums, the degree to which the first galaxy's axis enters."""
        degrees = np.zeros(self.n_sums, np.int64)
        degrees[self.first] = [kernel.degree for kernel in self.kernels]
        return degrees

    def sums_of(self, kernels: Kernels) -> Indices:
        """Which of the sums are those of some of the kernels, in their order."""
        places = [self.kernels.index(kernel) for kernel in kernels.kernels]
        return np.concatenate([np.arange(self.first[k], self.last[k] + 1) for k in places])

    def of_both(self, sums: NDArray[Any]) -> NDArray[Any]:
        """What both galaxies carry, of each kernel: (..., n_sums) to (..., n_kernels)."""
        return np.add.reduceat(sums, self.first, axis=-1)

    # ------------------------------------------------------------ templates

    @property
    def n_templates(self) -> int:
        """Of all kernels."""
        return int(np.sum(self.n_axes + 1))

    @cached_property
    def of_centrals(self) -> Indices:
        """Template to which two centrals add, of each kernel."""
        return self.of_satellites - self.n_axes

    @cached_property
    def of_satellites(self) -> Indices:
        """Template to which two satellites add, of each kernel."""
        return np.cumsum(self.n_axes + 1) - 1

    def templates_of(self, kernel: PairKernel) -> range:
        """Which of the templates are those of a kernel."""
        k = self.kernels.index(kernel)
        return range(self.of_centrals[k], self.of_satellites[k] + 1)

    @cached_property
    def of_mixed(self) -> Indices:
        """Template to which a central and then a satellite add, of each of the sums."""
        templates = np.zeros(self.n_sums, np.int64)
        templates[self.first] = self.of_centrals
        templates[self.last] = self.of_centrals + np.minimum(self.n_axes, 1)
        return templates
