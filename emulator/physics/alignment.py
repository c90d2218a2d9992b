"""How strongly galaxies' axes follow their reference axes, as a function of a few parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
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
    """

    name = "watson"
    parameters = (
        Parameter("mu_cen", r"\mu_\mathrm{cen}", 0.03, (0.6, 0.05)),
        Parameter("mu_sat", r"\mu_\mathrm{sat}", 0.05, (0.2, 0.05)),
    )
    limits = (-1.0, 1.0)

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

    def check(self, mu: NDArray[np.float64]) -> None:
        """Raise a ValueError that names the first value, shape (n, 2), outside the limits."""
        low, high = self.limits
        bad = ~((mu >= low) & (mu <= high))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(
                f"{self.names[column]} = {mu[row, column]} is outside [{low:g}, {high:g}]."
            )


WATSON = Alignment()

ALIGNMENTS: dict[str, Alignment] = {WATSON.name: WATSON}
