r"""How harmonics of degree 4 of two galaxies' axes are correlated along a line of sight.

The harmonic :math:`T_l` of an axis, which the ellipticity on the sky responds to
(`iaemu_likelihood.emulator.physics.shapes`), is in the frame of the separation

.. math:: T_l = \sum_m g_{lm}(\mu_r)\, P_l^{(m)}(\cos\alpha) \sin^m\!\alpha \cos m\beta,

with the angle alpha between axis and separation, the azimuth beta about the separation, the m-th
derivative of a Legendre polynomial, and the cosine mu_r of the angle between separation and line of
sight. The mean over pairs of a product of two harmonics is therefore a sum over m of
:math:`g_{lm} g_{km} E_{lk,m}`, where :math:`E_{lk,m}` is the mean of
:math:`P_l^{(m)} P_k^{(m)} (\sin\alpha \sin\alpha')^m \cos m(\beta - \beta')`, times 1/2 for m > 0.

Those of degree 2 are tabulated: :math:`E_{22,0} = 9/4\, \eta_0`, and :math:`9\, \eta_1` and :math:`9\, \eta_2`
for m = 1 and 2. Those in which a degree is 4 count for pairs in one host, where a satellite points at the
centre, so that its axis and the separation say where the other galaxy is: two satellites and the centre
lie in one plane. Therefore they follow from those of degree 2 by coefficients that depend on the separation
and hardly on which halos are occupied. `degree_four.yaml` holds these coefficients, and `python
benchmarks/degree_four.py` measures them and their error.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from numpy.polynomial.polynomial import Polynomial
from numpy.typing import NDArray

Array = NDArray[np.float64]

_COS2 = Polynomial([0.0, 0.0, 1.0])
# g_lm by degree, for each m, as functions of mu_r; for odd m without the factor mu_r (1 - mu_r^2)^(1/2).
_IN_FRAME = {
    2: (1 - _COS2, Polynomial([2 / 3]), (1 + _COS2) / 6),
    4: (
        (1 - _COS2) * (7 * _COS2 - 1),
        2 / 5 * (7 * _COS2 - 4),
        (1 - 6 * _COS2 + 7 * _COS2**2) / 15,
        _COS2 / 15,
        (1 - _COS2**2) / 120,
    ),
}

_TABLE = yaml.safe_load(Path(__file__).with_name("degree_four.yaml").read_text())
# Separations between which coefficients are linear in log r, Mpc/h. At the last they are 0, as pairs are of
# different hosts there.
NODES: Array = np.array(_TABLE["r"])
# By the degrees of both axes. Of two satellites: of E_lk,m in eta_0, eta_1 and eta_2,
# (n_nodes - 1, n_m, 3).
SATELLITES = {
    (2, 4): np.array(_TABLE["satellites"]["degrees 2 and 4"]),
    (4, 4): np.array(_TABLE["satellites"]["degrees 4 and 4"]),
}
# Of a central and a satellite, in this order: of E_lk,0 in 9/4 eta_0, (n_nodes - 1,); for other m
# it is 0.
MIXED = {
    (2, 4): np.array(_TABLE["central and satellite"]["degrees 2 and 4"]),
    (4, 2): np.array(_TABLE["central and satellite"]["degrees 4 and 2"]),
    (4, 4): np.array(_TABLE["central and satellite"]["degrees 4 and 4"]),
}


def angular(first: int, second: int, m: int) -> Polynomial:
    """g_lm g_km as a function of mu_r; see the head of this module.

    Parameters
    ----------
    first, second : int
        Degrees l and k, 2 or 4.
    m : int
        From 0 to the smaller degree.
    """
    product = _IN_FRAME[first][m] * _IN_FRAME[second][m]
    return product * _COS2 * (1 - _COS2) if m % 2 else product


def shares(r: Array) -> Array:
    """Shares of the nodes' coefficients in those at separations between them.

    Parameters
    ----------
    r : ndarray, shape (n,)
        Mpc/h.

    Returns
    -------
    ndarray, shape (n, n_nodes - 1)
        Those of the first node below it.
    """
    log_r, log_nodes = np.log(r), np.log(NODES)
    columns = [np.interp(log_r, log_nodes, one) for one in np.eye(len(NODES))[:-1]]
    return np.stack(columns, axis=1)
