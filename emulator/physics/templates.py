r"""Statistics at any alignment strengths, as weighted sums of templates.

For an axis e drawn about a reference axis a,
:math:`\langle e e^T \rangle = 1/3 + P_2(\mu) (a a^T - 1/3)`, and different galaxies' axes are drawn
independently. So at fixed occupation parameters, with six templates that do not depend on the
alignment,

- xi = xi
- omega = P2(mu_cen) omega_c + P2(mu_sat) omega_s
- eta = P2(mu_cen)^2 eta_cc + P2(mu_cen) P2(mu_sat) eta_cs + P2(mu_sat)^2 eta_ss

and likewise for every statistic, with amplitudes of the degree of its templates. The numbers that
multiply templates are products of two *strengths*. `Alignment.strengths` gives these: 1, 1, then,
for each degree, the amplitudes of centrals and of satellites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.backend import constant, kind, namespace, silent
from iaemu_likelihood.emulator.physics.alignment import WATSON, Alignment
from iaemu_likelihood.emulator.physics.statistics import Source, Statistic, Template
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Statistics = tuple[Statistic, ...]
# Place of the 1 among the strengths.
ONE = 0


@cache
def templates_of(statistics: tuple[Source, ...]) -> tuple[Template, ...]:
    """Templates that make up statistics, one statistic after the other."""
    return tuple(template for statistic in statistics for template in statistic.templates)


@cache
def degrees_of(statistics: tuple[Source, ...]) -> tuple[int, ...]:
    """Degrees of the amplitudes that statistics need, ascending."""
    return tuple(sorted({degree for t in templates_of(statistics) for degree in t.degrees}))


def factors(template: Template, degrees: Sequence[int]) -> tuple[int, int]:
    """Places, among the strengths of all `degrees`, of the two that multiply a template."""
    each = zip(template.degrees, template.kinds, strict=True)
    places = [2 + 2 * list(degrees).index(degree) + kind for degree, kind in each]
    *_, first, second = ONE, ONE, *places
    return first, second


def bilinear(values: Any) -> Any:
    """Products of all pairs of numbers, (n, k) to (n, k k); weights are sums of these."""
    return (values[:, :, None] * values[:, None]).reshape(values.shape[0], -1)


def template_weights(
    products: Any, statistics: tuple[Source, ...], among: Statistics, degrees: tuple[int, ...]
) -> Any:
    """Factor of each template in each statistic.

    Parameters
    ----------
    products : ndarray or torch.Tensor, shape (n, k k)
        `bilinear` of the strengths of `degrees`.
    statistics : tuple of Statistic or Reweighted
    among : tuple of Statistic
        Statistics whose templates get a weight; templates of statistics that are only here have
        weight 0.
    degrees : tuple of int
        All degrees of `statistics`, and maybe others.

    Returns
    -------
    ndarray or torch.Tensor, shape (n, n_statistics, n_templates)
    """
    weights = products @ _selection(statistics, among, degrees, *kind(products))
    return weights.reshape(products.shape[0], len(statistics), -1)


@cache
def _selection(
    statistics: tuple[Source, ...], among: Statistics, degrees: tuple[int, ...], *kind: Any
) -> Any:
    """Matrix from products of strengths to weights, (k k, n_statistics n_templates)."""
    templates, k = templates_of(among), 2 + 2 * len(degrees)
    result = np.zeros((k, k, len(statistics), len(templates)))
    for i, statistic in enumerate(statistics):
        for template in statistic.templates:
            result[(*factors(template, degrees), i, templates.index(template.learned))] = 1
    return constant(result.reshape(k * k, -1), *kind)


def weighted_templates(weights: Any, templates: Any) -> Any:
    """Weighted sums of templates, (n_networks, n, t, n_bins), with weights (n, m, t)."""
    if isinstance(weights, np.ndarray):
        return weights @ templates
    import torch

    return torch.einsum("nmt,entb->enmb", weights, templates)


@silent
def combine_templates(
    templates: Any, mu: Any, statistics: Statistics, alignment: Alignment = WATSON
) -> Any:
    """Statistics from their templates; see the head of this module.

    Parameters
    ----------
    templates : ndarray or torch.Tensor, shape (n, n_templates, n_bins)
        Of `statistics`.
    mu : ndarray or torch.Tensor, shape (n, 2) or (1, 2)
        Alignment parameters.
    statistics : tuple of Statistic
    alignment : Alignment

    Returns
    -------
    ndarray or torch.Tensor, shape (n, n_statistics, n_bins)
    """
    parts, first = [], 0
    # One after the other, because in a bin without pairs some are NaN and others are not.
    for statistic in statistics:
        only, own = (statistic,), templates[:, first : first + len(statistic.templates)]
        degrees = degrees_of(only)
        products = bilinear(alignment.strengths(mu, degrees))
        parts.append(template_weights(products, only, only, degrees) @ own)
        first += len(statistic.templates)
    return namespace(templates).concatenate(parts, axis=1)


@dataclass(frozen=True)
class Templates:
    """Expectation of the templates of statistics at n occupations.

    Each template is an attribute with its name, such as ``xi`` and ``omega_c``.

    Attributes
    ----------
    statistics : tuple of Statistic
    values : ndarray, shape (n, n_templates, n_bins)
        In the order of `templates_of`; dimensionless.
    n_centrals, n_satellites : ndarray, shape (n,)
        Mean number of galaxies in the box.
    alignment : Alignment
        Its amplitudes multiply the templates: `WATSON`, or `INCLUDED` if they have been already.
    """

    statistics: Statistics
    values: Array
    n_centrals: Array
    n_satellites: Array
    alignment: Alignment = WATSON

    def __getattr__(self, name: str) -> Array:
        if name.startswith("__") or "statistics" not in self.__dict__:
            raise AttributeError(name)
        for i, template in enumerate(templates_of(self.statistics)):
            if template.name == name:
                return self.values[:, i]
        names = ", ".join(template.name for template in templates_of(self.statistics))
        raise AttributeError(f"no template {name!r}; there are {names}.")

    @property
    def n_galaxies(self) -> Array:
        """Mean number of galaxies in the box, shape (n,)."""
        return self.n_centrals + self.n_satellites

    def correlations(self, *mu: ArrayLike, **by_name: ArrayLike) -> tuple[Array, ...]:
        """Each statistic, shape (n, n_bins).

        Parameters
        ----------
        *mu, **by_name : array_like, shape (n,), or float
            The alignment's parameters in their order, or by name: mu_cen and mu_sat; none, if the
            amplitudes are included.

        Raises
        ------
        TypeError
            If they are others.
        """
        names = self.alignment.names
        given = dict(zip(names, mu, strict=False)) | by_name
        if set(given) != set(names) or len(mu) + len(by_name) != len(names):
            raise TypeError(
                f"These templates take {' and '.join(names) or 'no strengths, which they include'}; got "
                f"{len(mu)} number(s)" + "".join(f", {name}" for name in by_name) + "."
            )
        values = np.empty((len(self.values), 0))
        if names:
            at = np.broadcast_arrays(*(np.atleast_1d(given[name]) for name in names))
            values = np.stack(at, axis=1)
        self.alignment.check(values)
        found = combine_templates(
            self.values, values.astype(np.float64), self.statistics, self.alignment
        )
        return tuple(found.swapaxes(0, 1))


@dataclass(frozen=True)
class CrossTemplates(Templates):
    """Expectation of the templates of shapes of one sample about positions of another.

    Attributes
    ----------
    n_centrals, n_satellites : ndarray, shape (n,)
        Mean number of galaxies with shapes in the box.
    n_positions : ndarray, shape (n,)
        Mean number of galaxies with positions.
    """

    n_positions: Array = field(kw_only=True)
