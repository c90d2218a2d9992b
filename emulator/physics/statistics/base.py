r"""Statistics of galaxy catalogues, made of sums over pairs.

A galaxy catalogue is a set of points with axes, and everything measured in it is made of *pair
densities*: a *kernel*, summed over the pairs at a separation, in units of the number of pairs that
unclustered points would have. The kernel of degree 0 is 1, and its density is 1 + xi. Other kernels
depend on the axis of one galaxy or of both. A statistic is a linear map of a pair density, or the
ratio of two: omega and eta are means over pairs, so ratios to 1 + xi.

Axes are drawn independently about reference axes, with one strength for centrals and one for
satellites. A drawn axis carries a Legendre moment of degree l with the amplitude
:math:`A_l(\mu) = \langle P_l(\cos t) \rangle`. The expectation of a kernel over the draws is
therefore a sum of *templates*, one for each choice of the kinds of galaxies whose axes enter, times
the amplitudes of these kinds; templates do not depend on the alignment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.bins import shell_volumes
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Kinds of galaxies, as numbers, and what they add to the names of templates.
CENTRAL, SATELLITE = 0, 1
SUFFIXES = ("c", "s")


@dataclass(frozen=True, eq=False)
class PairKernel:
    """A function of two galaxies that is summed over pairs.

    Attributes
    ----------
    name : str
    n_axes : int
        How many of the two galaxies' axes enter: 0, 1 or 2.
    degree : int
        Degree of the Legendre moment of each axis that enters: 0, 2 or 4.
    term : callable
        term(dx, dy, dz, r2, a, b), a function that numba can compile. It takes the separation from
        the first galaxy to the second (Mpc/h), its square, and the two axes, arrays of length 3.
        With one axis, this is the axis of the first galaxy, `a`; otherwise the two galaxies can be
        exchanged. In each axis that enters, the term is a spherical harmonic of `degree` alone,
        because misalignment changes each degree by another factor. It must be 0 for an axis that
        is 0.
    """

    name: str
    n_axes: int
    degree: int
    term: Callable[[float, float, float, float, Any, Any], float]


@dataclass(frozen=True, eq=False)
class Template:
    """A part of a statistic that does not depend on the alignment.

    Attributes
    ----------
    name : str
    kinds : tuple of int
        Kinds of the galaxies whose axes enter; the amplitudes of these kinds multiply the template.
    degrees : tuple of int
        Degree of each of these amplitudes.
    source : Template, optional
        The template whose values this one has, if it differs from that in its amplitudes only.
    """

    name: str
    kinds: tuple[int, ...]
    degrees: tuple[int, ...]
    source: Template | None = None

    @property
    def learned(self) -> Template:
        """The template of a `Statistic` whose values this one has."""
        return self if self.source is None else self.source


@dataclass(frozen=True, eq=False)
class Observable:
    """What is measured of galaxies in bins of separation.

    Attributes
    ----------
    name : str
        Key in `iaemu_likelihood.emulator.physics.statistics.OBSERVABLES`.
    latex : str
        Symbol, without $.
    unit : str
        Empty if it has none.
    about : str
        What it is, in words.
    plot_power : float
        Power of the separation by which values are multiplied in figures, so that their errors can
        be seen.
    """

    name: str
    latex: str
    unit: str
    about: str
    plot_power: float = field(default=1, kw_only=True)

    @property
    def error_name(self) -> str:
        """Name of the column of a measurement's standard deviation."""
        return f"{self.name}_err"


@dataclass(frozen=True, eq=False)
class Statistic(Observable):
    """A correlation function of galaxies in three dimensions.

    Attributes
    ----------
    name, latex, unit, about, plot_power
        As of every `Observable`; the name is a key in
        `iaemu_likelihood.emulator.physics.statistics.STATISTICS`.
    kernel : PairKernel
    is_ratio : bool
        Whether it is a mean over pairs: the density of its kernel over that of pairs. Otherwise it
        is the density of its kernel, less that of unclustered points.
    measure : callable, optional
        measure(positions, axes, r_edges, box): the statistic of all galaxies in a periodic box, by
        another library. When it is left out, this package sums the kernel over pairs.
    learned_as_logarithm : bool
        Whether networks learn log(1 + template); templates then have to be above -1.
    has_shape_noise : bool
        Whether `iaemu_likelihood.emulator.noise` can compute the shape noise of this statistic.
    """

    kernel: PairKernel
    is_ratio: bool
    measure: Callable[[Array, Array, Array, float], Array] | None = None
    learned_as_logarithm: bool = False
    has_shape_noise: bool = False

    @cached_property
    def templates(self) -> tuple[Template, ...]:
        """One template for each combination of the kinds of galaxies whose axes enter."""
        found = []
        for kinds in combinations_with_replacement(range(len(SUFFIXES)), self.kernel.n_axes):
            name = "_".join([self.name, "".join(SUFFIXES[k] for k in kinds)]).rstrip("_")
            found.append(Template(name, kinds, (self.kernel.degree,) * len(kinds)))
        return tuple(found)

    @property
    def of(self) -> Statistic:
        """The statistic whose templates these are: itself; see `Reweighted`."""
        return self

    def from_sums(self, total: Any, pairs: Any, n_galaxies: Any, r_edges: Array, box: float) -> Any:
        """The statistic from sums over unordered pairs in a periodic box.

        Parameters
        ----------
        total : ndarray, shape (..., n_bins)
            Sum of the kernel; with one axis, over both orders of the two galaxies.
        pairs : ndarray, shape (..., n_bins)
            Number of pairs.
        n_galaxies : ndarray, shape (...) or float
        r_edges : ndarray, shape (n_bins + 1,)
            Mpc/h.
        box : float
            Mpc/h.

        Returns
        -------
        ndarray, shape (..., n_bins)
        """
        number = np.asarray(n_galaxies, np.float64)[..., None]
        random = number**2 * shell_volumes(r_edges) / box**3
        ordered = total if self.kernel.n_axes == 1 else 2 * total
        return self.from_ordered_pairs(ordered, 2 * pairs, random)

    def from_ordered_pairs(self, total: Any, pairs: Any, random: Any) -> Any:
        """The statistic from sums over ordered pairs, in which each galaxy of a pair is first once.

        Parameters
        ----------
        total : ndarray, shape (..., n_bins)
            Sum of the kernel.
        pairs : ndarray, shape (..., n_bins)
            Number of pairs.
        random : ndarray, shape (..., n_bins)
            Number of pairs that unclustered points would have.

        Returns
        -------
        ndarray, shape (..., n_bins)
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.is_ratio:
                return total / pairs
            return total / random - (1.0 if self.kernel.n_axes == 0 else 0.0)

    def to_bins(self, binning: Any, excess: Any) -> Any:
        """The linear map from the model's bins to others.

        Parameters
        ----------
        binning : iaemu_likelihood.emulator.physics.binning.PairWeightedBinning
        excess : ndarray or torch.Tensor, shape (..., n)
            xi in the model's bins, from which the number of pairs follows.

        Returns
        -------
        ndarray or torch.Tensor, shape (n, m) or (..., n, m)
            To be multiplied from the right.
        """
        return binning.of_ratio(excess) if self.is_ratio else binning.of_density(excess)


@dataclass(frozen=True, eq=False)
class Reweighted:
    """One template of a statistic with other amplitudes, for sums that a closed form relates to it.

    Attributes
    ----------
    name : str
    of : Statistic
    template : str
        Name of the template.
    axes : tuple of (int, int)
        Kind and degree of each amplitude that multiplies it.
    """

    name: str
    of: Statistic
    template: str
    axes: tuple[tuple[int, int], ...]

    @cached_property
    def templates(self) -> tuple[Template, ...]:
        """The one template."""
        (source,) = (t for t in self.of.templates if t.name == self.template)
        kinds, degrees = zip(*self.axes, strict=True)
        return (Template(self.name, kinds, degrees, source),)


# What the templates of a sum of pair densities belong to.
Source = Statistic | Reweighted
