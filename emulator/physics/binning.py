"""From bins of separation to others, weighted by pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from iaemu_likelihood.emulator.backend import ArrayOrTensor, constant, kind
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.float64]

# Edges written with eight digits must still match edges that were computed.
_TOLERANCE = 1e-6


class PairWeightedBinning:
    """Average pair densities, and means over pairs, over other bins of separation.

    A pair density such as 1 + xi adds up between bins when it is multiplied by the volumes dV of
    their shells. A mean over pairs f, such as omega or eta, adds up when it is multiplied by the
    numbers of pairs, (1 + xi) dV. So the cumulative sums of xi dV and f (1 + xi) dV are known
    exactly at the emulator's edges. A cubic spline in log r through them gives them at any other
    edge, and differences between new edges give the new bins. This is a linear map from the
    emulator's bins, exact wherever edges coincide.

    Parameters
    ----------
    from_edges : array_like, shape (n + 1,)
        Edges of the known bins, Mpc/h.
    to_edges : array_like, shape (m + 1,)
        Edges of the new bins, Mpc/h, inside the range of `from_edges`.

    Raises
    ------
    ValueError
        If `to_edges` do not increase or reach beyond `from_edges`.
    """

    def __init__(self, from_edges: ArrayLike, to_edges: ArrayLike) -> None:
        known, wanted = np.asarray(from_edges, np.float64), np.asarray(to_edges, np.float64)
        if wanted.ndim != 1 or len(wanted) < 2 or not (np.diff(wanted) > 0).all():
            raise ValueError(f"Bin edges must be at least two increasing numbers; got {wanted}.")
        low, high = known[0] * (1 - _TOLERANCE), known[-1] * (1 + _TOLERANCE)
        if wanted[0] < low or wanted[-1] > high:
            raise ValueError(
                f"Bins from {wanted[0]:.6g} to {wanted[-1]:.6g} Mpc/h reach beyond the known range, "
                f"{known[0]:.6g} to {known[-1]:.6g} Mpc/h; cut the measurement to it."
            )
        self.is_identity = len(known) == len(wanted) and bool((known == wanted).all())
        volume, new_volume = np.diff(known**3), np.diff(wanted**3)
        cumulative = np.vstack([np.zeros(len(known) - 1), np.tril(np.ones((len(known) - 1,) * 2))])
        x = np.log(known)
        spline = CubicSpline(x, cumulative)
        matrix = np.diff(spline(np.clip(np.log(wanted), x[0], x[-1])), axis=0).T
        # The volume is known at any edge, so only the excess over it needs the spline.
        self._constants = volume, volume[:, None] * matrix / new_volume, matrix / new_volume
        self._as_kinds: dict[tuple[Any, Any], tuple[Any, ...]] = {}

    def _as(self, excess: ArrayOrTensor) -> Any:
        of = kind(excess)
        if of not in self._as_kinds:
            self._as_kinds[of] = tuple(constant(x, *of) for x in self._constants)
        return self._as_kinds[of]

    def of_density(self, excess: ArrayOrTensor) -> ArrayOrTensor:
        """The linear map of xi, or of any other pair density less its mean.

        Parameters
        ----------
        excess : ndarray or torch.Tensor, shape (..., n), float64
            xi; the map does not depend on it.

        Returns
        -------
        ndarray or torch.Tensor, shape (n, m)
            To be multiplied from the right.
        """
        return self._as(excess)[1]

    def of_ratio(self, excess: ArrayOrTensor) -> ArrayOrTensor:
        """The linear map of omega, eta, or any other mean over pairs.

        Parameters
        ----------
        excess : ndarray or torch.Tensor, shape (..., n), float64
            xi, from which the number of pairs follows.

        Returns
        -------
        ndarray or torch.Tensor, shape (..., n, m)
            To be multiplied from the right.
        """
        volume, of_density, matrix = self._as(excess)
        pairs = ((1 + excess) * volume)[..., None]
        new_pairs = 1 + excess @ of_density  # per volume
        return pairs * matrix / new_pairs[..., None, :]

    def means(self, excess: ArrayOrTensor, values: ArrayOrTensor) -> ArrayOrTensor:
        """Means over pairs, such as omega and eta, in the new bins.

        Parameters
        ----------
        excess : ndarray or torch.Tensor, shape (..., n)
            xi, from which the number of pairs follows.
        values : ndarray or torch.Tensor, shape (..., k, n)
            k of them, in the known bins.

        Returns
        -------
        ndarray or torch.Tensor, shape (..., k, m)
        """
        volume, of_density, matrix = self._as(excess)
        pairs = (1 + excess) * volume
        new_pairs = 1 + excess @ of_density  # per volume
        return (values * pairs[..., None, :]) @ matrix / new_pairs[..., None, :]

    def __call__(self, xi: ArrayLike, *means: ArrayLike) -> tuple[Array, ...]:
        """Rebin xi and any number of means over the same pairs.

        Parameters
        ----------
        xi : array_like, shape (..., n)
        *means : array_like, shape (..., n)
            Such as omega and eta.

        Returns
        -------
        tuple of ndarray, shape (..., m)
            In the order of the arguments.
        """
        known: Any = np.asarray(xi, np.float64)
        others = (np.asarray(f, np.float64)[..., None, :] for f in means)
        rebinned: Any = [self.means(known, f)[..., 0, :] for f in others]
        return known @ self.of_density(known), *rebinned


def bins_inside(r_min: Array, r_max: Array, low: float, high: float) -> NDArray[np.bool_]:
    """Which bins [r_min, r_max] lie wholly between `low` and `high` (all Mpc/h)."""
    return (r_min >= low * (1 - _TOLERANCE)) & (r_max <= high * (1 + _TOLERANCE))
