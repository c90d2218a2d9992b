r"""The six templates that make up xi, omega and eta at any alignment strengths.

For an axis e drawn about a reference axis a,
:math:`\langle e e^T \rangle = 1/3 + P_2(\mu) (a a^T - 1/3)`, and different galaxies' axes are drawn
independently. So at fixed occupation parameters, with six templates that do not depend on the
alignment,

- xi = xi
- omega = P2(mu_cen) omega_c + P2(mu_sat) omega_s
- eta = P2(mu_cen)^2 eta_cc + P2(mu_cen) P2(mu_sat) eta_cs + P2(mu_sat)^2 eta_ss
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.networks.backend import constant, kind
from iaemu_likelihood.emulator.physics.watson import one_and_p2_series, p2
from numpy.typing import ArrayLike, NDArray

TEMPLATES = ("xi", "omega_c", "omega_s", "eta_cc", "eta_cs", "eta_ss")

# Those that make up xi, omega and eta.
TEMPLATES_OF = ((0,), (1, 2), (3, 4, 5))

# Each template's factors: of (1, P2(mu_cen), P2(mu_sat)), by number.
FACTORS_OF = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Templates:
    """Expectation of the three correlation functions, separated from the alignment strengths.

    Attributes
    ----------
    xi, omega_c, omega_s, eta_cc, eta_cs, eta_ss : ndarray, shape (n, n_bins)
        Dimensionless.
    n_centrals, n_satellites : ndarray, shape (n,)
        Mean number of galaxies in the box.
    """

    xi: Array
    omega_c: Array
    omega_s: Array
    eta_cc: Array
    eta_cs: Array
    eta_ss: Array
    n_centrals: Array
    n_satellites: Array

    @property
    def n_galaxies(self) -> Array:
        """Mean number of galaxies in the box, shape (n,)."""
        return self.n_centrals + self.n_satellites

    def stack(self) -> Array:
        """The six templates in the order of `TEMPLATES`, shape (n, 6, n_bins)."""
        return np.stack([getattr(self, name) for name in TEMPLATES], axis=1)

    def correlations(self, mu_cen: ArrayLike, mu_sat: ArrayLike) -> tuple[Array, Array, Array]:
        """xi, omega and eta, each of shape (n, n_bins), at alignment strengths of shape (n,)."""
        c, s = p2(np.atleast_1d(mu_cen))[:, None], p2(np.atleast_1d(mu_sat))[:, None]
        return combine_templates(self.stack(), c, s)


def combine_templates(templates: Any, p2_cen: Any, p2_sat: Any) -> tuple[Any, Any, Any]:
    """xi, omega and eta from the six templates; see the head of this module.

    Parameters
    ----------
    templates : ndarray or torch.Tensor, shape (..., 6, n_bins)
    p2_cen, p2_sat : ndarray or torch.Tensor, broadcast with shape (..., n_bins)
        P2(mu_cen) and P2(mu_sat).

    Returns
    -------
    xi, omega, eta : ndarray or torch.Tensor, shape (..., n_bins)
    """
    xi, omega_c, omega_s, eta_cc, eta_cs, eta_ss = (templates[..., i, :] for i in range(6))
    omega = p2_cen * omega_c + p2_sat * omega_s
    eta = p2_cen**2 * eta_cc + p2_cen * p2_sat * eta_cs + p2_sat**2 * eta_ss
    return xi, omega, eta


def weighted_templates(weights: Any, templates: Any) -> Any:
    """Sums of templates with weights (n, m, t): (n_networks, n, t, n_bins) to (..., n, m, n_bins)."""
    if isinstance(weights, np.ndarray):
        return weights @ templates
    import torch

    return torch.einsum("nmt,entb->enmb", weights, templates)


def bilinear(values: Any) -> Any:
    """Products of numbers (n, k) with each other, (n, k k), of which weights are sums."""
    return (values[:, :, None] * values[:, None]).reshape(len(values), -1)


# Which of (1, 1, P2(mu_cen), P2(mu_sat)) are (1, P2(mu_cen), P2(mu_sat)).
STRENGTHS = (0, 2, 3)


def strengths(mu: Any) -> Any:
    """(1, 1, P2(mu_cen), P2(mu_sat)), array or tensor, from mu_cen and mu_sat: (n, 2) to (n, 4)."""
    return one_and_p2_series(mu).swapaxes(1, 2).reshape(-1, 4)


def template_weights(
    products: Any,
    statistics: tuple[int, ...] = (0, 1, 2),
    templates: tuple[int, ...] = tuple(range(len(TEMPLATES))),
) -> Any:
    """What `combine_templates` multiplies the templates with.

    Parameters
    ----------
    products : ndarray or torch.Tensor, shape (n, 16)
        `bilinear` of `strengths`.
    statistics : tuple of int
        Some of xi, omega, eta (0, 1, 2).
    templates : tuple of int
        Some of `TEMPLATES`, by number.

    Returns
    -------
    ndarray or torch.Tensor, shape (n, n_statistics, n_templates)
    """
    weights = products @ _selection(statistics, templates, *kind(products))
    return weights.reshape(len(products), len(statistics), len(templates))


@cache
def _selection(statistics: tuple[int, ...], templates: tuple[int, ...], *kind: Any) -> Any:
    """From products of `strengths` to the weights of the templates, (16, n_statistics n_templates)."""
    result = np.zeros((4, 4, len(statistics), len(templates)))
    for i, statistic in enumerate(statistics):
        for k, template in enumerate(templates):
            if template in TEMPLATES_OF[statistic]:
                a, b = FACTORS_OF[template]
                result[STRENGTHS[a], STRENGTHS[b], i, k] = 1
    return constant(result.reshape(16, -1), *kind)
