"""How strongly galaxies' axes follow their reference axes, as a function of a few parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.backend import constant, kind, namespace
from iaemu_likelihood.emulator.physics import watson
from iaemu_likelihood.emulator.physics.parameters import Parameter
from numpy.typing import NDArray


class Alignment:
    r"""The Dimroth-Watson distribution, with one strength of centrals and one of satellites.

    Misalignment angles t have a density proportional to :math:`\exp(\kappa \cos^2 t)`,
    :math:`\kappa = \tan(\pi\mu/2)` (Van Alfen et al. 2024, arXiv:2311.07374): from mu = -1,
    perpendicular, through 0, random, to 1, parallel. A central's reference axis is its host halo's
    major axis, a satellite's the direction from the host's centre.

    Attributes
    ----------
    name : str
        Key in `ALIGNMENTS`.
    parameters : tuple of Parameter
        The strength of centrals and that of satellites.
    limits : tuple of float
        Smallest and largest meaningful value of each parameter.
    depends_on_mass : bool
        Whether strengths vary with the mass of the host halo. Then they are no factors of templates.
    gives_factors : bool
        Whether its amplitudes multiply templates.
    """

    name = "watson"
    parameters: tuple[Parameter, ...] = (
        Parameter("mu_cen", r"\mu_\mathrm{cen}", 0.03, (0.6, 0.05)),
        Parameter("mu_sat", r"\mu_\mathrm{sat}", 0.05, (0.2, 0.05)),
    )
    limits = (-1.0, 1.0)
    depends_on_mass = False
    gives_factors = True

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in their order."""
        return tuple(parameter.name for parameter in self.parameters)

    def strengths(self, mu: Any, degrees: Sequence[int]) -> Any:
        """The numbers by which templates are multiplied, differentiable to any order.

        Parameters
        ----------
        mu : ndarray or torch.Tensor, shape (n, 2)
            Values outside the limits give NaN.
        degrees : sequence of int
            2, 4 or both.

        Returns
        -------
        ndarray or torch.Tensor, shape (n, 2 + 2 n_degrees)
            1, 1; then, for each degree l, the amplitudes A_l of centrals and of satellites.
        """
        values = watson.legendre_series(mu, (0, *degrees))
        return values.swapaxes(1, 2).reshape(values.shape[0], -1)

    def strengths_and_variances(self, mu: Any) -> Any:
        """As `strengths` for degree 2, followed by the variances of the axis components.

        Returns
        -------
        ndarray or torch.Tensor, shape (n, 10)
            1, A_2 and `iaemu_likelihood.emulator.physics.watson.axis_variances`, each for centrals
            and then for satellites.
        """
        values = watson.one_p2_and_axis_variances_series(mu)
        return values.swapaxes(1, 2).reshape(values.shape[0], -1)

    def mu_in(self, parameters: Any, logM: Any) -> Any:
        """The strengths in hosts of given mass.

        Parameters
        ----------
        parameters : ndarray or torch.Tensor, shape (n, n_parameters)
        logM : ndarray or torch.Tensor, shape (m,)
            log10 of host masses, Msun/h.

        Returns
        -------
        ndarray or torch.Tensor, shape (n, 2, m)
            mu of centrals and of satellites.
        """
        return parameters[:, :, None] + 0 * logM

    def amplitudes(self, parameters: Any, logM: Any, degrees: Sequence[int]) -> Any:
        """The amplitudes A_l in hosts of given mass, (n, 2, m, n_degrees); arguments as `mu_in`."""
        return watson.legendre_series(self.mu_in(parameters, logM), tuple(degrees))

    def check(self, mu: NDArray[np.float64]) -> None:
        """Raise a ValueError that names the first value outside the limits.

        Parameters
        ----------
        mu : ndarray, shape (n, n_parameters)
        """
        low, high = self.limits
        bad = ~((mu >= low) & (mu <= high))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(
                f"{self.names[column]} = {mu[row, column]} is outside [{low:g}, {high:g}]."
            )


class MassDependent(Alignment):
    r"""The Dimroth-Watson distribution with strengths that vary with the mass of the host halo.

    The inverse hyperbolic tangent of mu is linear in log mass, for centrals and for satellites:

    .. math:: \operatorname{artanh} \mu(M) = \operatorname{artanh} \mu + s \log_{10}(M / M_p)

    with the pivot :math:`M_p = 10^{13}` Msun/h. So mu(M) stays between -1 and 1 and is smooth in all
    parameters; mu is the strength at the pivot, and with a slope s of 0 the strength everywhere. For
    small mu, s is the change of mu per decade of mass. It is mu that varies, not the amplitude A_2,
    because the amplitudes of all degrees follow from mu, and because its range is symmetric.

    The factors of templates are constants, so that networks, which learn templates, do not know this
    alignment. `iaemu_likelihood.emulator.expectation.Tabulation.aligned_templates` does.
    """

    name = "watson_mass"
    parameters = (
        *Alignment.parameters,
        Parameter("slope_cen", r"s_\mathrm{cen}", 0.05, (0.0, 0.05)),
        Parameter("slope_sat", r"s_\mathrm{sat}", 0.05, (0.0, 0.05)),
    )
    depends_on_mass = True
    gives_factors = False
    pivot = 13.0

    def mu_in(self, parameters: Any, logM: Any) -> Any:
        """The strengths in hosts of given mass; see `Alignment.mu_in`."""
        mu, slope = (parameters[:, [i, i + 1], None] for i in (0, 2))
        # The addition theorem, which needs no artanh of a mu of 1.
        change = namespace(slope).tanh(slope * (logM - self.pivot))
        return (mu + change) / (1 + mu * change)

    def strengths(self, mu: Any, degrees: Sequence[int]) -> Any:
        """Raise a ValueError: amplitudes of this alignment are no factors of templates."""
        raise ValueError(
            f"The alignment {self.name} depends on host mass, so its amplitudes do not multiply "
            f"templates: take {WATSON.name}, or the templates of a tabulation at given strengths "
            "(Tabulation.aligned_templates)."
        )

    def strengths_and_variances(self, mu: Any) -> Any:
        """Raise a ValueError, as `strengths`."""
        return self.strengths(mu, (2,))


class Included(Alignment):
    """For templates that were multiplied by their amplitudes already: without parameters."""

    name = "included"
    parameters = ()
    gives_factors = False

    def strengths(self, mu: Any, degrees: Sequence[int]) -> Any:
        """Ones, shape (n, 2 + 2 n_degrees), for `mu` of shape (n, 0)."""
        return constant(np.ones((len(mu), 2 + 2 * len(degrees))), *kind(mu))


WATSON = Alignment()
WATSON_MASS = MassDependent()
INCLUDED = Included()

ALIGNMENTS: dict[str, Alignment] = {
    alignment.name: alignment for alignment in (WATSON, WATSON_MASS)
}
