"""What belongs to a projected statistic: how a survey integrated along the line of sight and saw shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.shapes import DEFINITIONS
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Conventions:
    """How projected statistics were measured.

    Shapes that point along the separation count as positive, as everywhere in this package; TreeCorr's
    tangential shear is the negative of that.

    Attributes
    ----------
    pi_max : float or None
        Largest separation along the line of sight, to either side, Mpc/h; None where nothing is
        integrated, as of the quadrupole alone.
    weight : tuple of (float, float)
        W(Pi) at ascending Pi >= 0, Mpc/h, from which it is interpolated linearly and beyond which it
        is constant; the same to both sides. Empty where W is 1, up to `pi_max` in either case.
    ellipticity : str
        One of `iaemu_likelihood.emulator.physics.shapes.DEFINITIONS`.
    responsivity : float or None
        R, if ellipticities were divided by 2 R; None if they were not.
    redshift_space : bool
        Whether distances along the line of sight come from redshifts, with peculiar velocities.
    box : float or None
        Side of the periodic box that the galaxies fill, Mpc/h, which has no longer modes; None for a
        survey.

    Raises
    ------
    ValueError
        If a value is impossible; the message names it.
    """

    pi_max: float | None
    weight: tuple[tuple[float, float], ...] = ()
    ellipticity: str = "distortion"
    responsivity: float | None = None
    redshift_space: bool = False
    box: float | None = None

    def __post_init__(self) -> None:
        if self.pi_max is not None and not _positive(self.pi_max):
            raise ValueError(f"pi_max is {self.pi_max!r}; expected a positive number of Mpc/h.")
        if self.ellipticity not in DEFINITIONS:
            raise ValueError(
                f"ellipticity is {self.ellipticity!r}; it must be one of {', '.join(DEFINITIONS)}."
            )
        if self.responsivity is not None and not (
            _positive(self.responsivity) and self.responsivity <= 1
        ):
            raise ValueError(
                f"responsivity is {self.responsivity!r}; expected R, above 0 and at most 1, by which "
                "ellipticities were divided as e / (2 R)."
            )
        if not isinstance(self.redshift_space, bool):
            raise ValueError(
                f"redshift_space is {self.redshift_space!r}; it must be true or false."
            )
        if self.box is not None and not _positive(self.box):
            raise ValueError(f"box is {self.box!r}; expected a positive number of Mpc/h, or none.")
        self._check_weight()

    def _check_weight(self) -> None:
        if not self.weight:
            return
        try:
            table = np.array(self.weight, np.float64)
        except (TypeError, ValueError):
            table = np.empty(0)
        if (
            table.ndim != 2
            or table.shape[1] != 2
            or not np.isfinite(table).all()
            or table[0, 0] < 0
            or not (np.diff(table[:, 0]) > 0).all()
        ):
            raise ValueError(
                "weight must be pairs of Pi (Mpc/h, from 0 on, ascending) and W, finite numbers; got "
                f"{self.weight!r}."
            )

    @property
    def shape_factor(self) -> float:
        """By which each shape of a galaxy was multiplied: 1 / (2 R), or 1."""
        return 1.0 if self.responsivity is None else 0.5 / self.responsivity

    @property
    def line_of_sight(self) -> Callable[[Array], Array] | None:
        """W as a function of Pi >= 0 (Mpc/h); None where it is 1."""
        if not self.weight:
            return None
        at, weight = np.array(self.weight, np.float64).T
        return lambda pi: np.interp(pi, at, weight)


def _positive(value: Any) -> bool:
    real = isinstance(value, Real) and not isinstance(value, bool)
    return bool(real and 0 < value < np.inf)
