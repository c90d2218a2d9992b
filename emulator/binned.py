"""Statistics with their errors in bins of separation, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.backend import as_array
from iaemu_likelihood.emulator.physics.statistics import OBSERVABLES
from iaemu_likelihood.emulator.units import LENGTH
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Errors of measured values; those of predicted ones have the names of what they are of.
MEASURED = "err"


@dataclass(frozen=True)
class Binned:
    """Statistics in the same bins.

    Attributes
    ----------
    separation : str
        What the bins are of: ``r`` or ``r_p``.
    centres : ndarray, shape (n_bins,)
        Arithmetic centres, Mpc/h.
    values : mapping of str to ndarray, shape (n_bins,) or (n, n_bins)
        By statistic; for n points.
    errors : mapping of str to mapping of str to ndarray
        Standard deviations, by what they are of (`MEASURED`, aleatoric, epistemic), then as `values`.
    edges : tuple of ndarray, shape (n_bins,), optional
        Lower and upper edges, Mpc/h.
    """

    separation: str
    centres: Array
    values: Mapping[str, Array]
    errors: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    edges: tuple[Array, Array] | None = None

    @classmethod
    def of(
        cls,
        separation: str,
        centres: Any,
        values: Mapping[str, Any],
        edges: tuple[Array, Array] | None = None,
        **errors: Mapping[str, Any] | None,
    ) -> Binned:
        """The same from arrays or tensors; errors that are None are left out."""
        given = {of: each for of, each in errors.items() if each is not None}
        arrays = {of: {k: as_array(each[k]) for k in values} for of, each in given.items()}
        return cls(
            separation,
            as_array(centres),
            {k: as_array(x) for k, x in values.items()},
            arrays,
            edges,
        )

    @property
    def lengths(self) -> dict[str, Array]:
        """Edges and centres by the names of their columns: r_min, r_max, r or rp_min, rp_max, rp."""
        name = self.separation.replace("_", "")
        found = {} if self.edges is None else dict(zip((f"{name}_min", f"{name}_max"), self.edges, strict=True))  # fmt: skip
        return {**found, name: self.centres}

    @property
    def columns(self) -> dict[str, Array]:
        """Values and errors by the names of their columns: omega, omega_err, omega_aleatoric, ..."""
        errors = {f"{name}_{of}": x for of, each in self.errors.items() for name, x in each.items()}
        return {**self.values, **errors}

    def unit(self, column: str) -> str:
        """Unit of one of `lengths` or `columns`; empty if it has none."""
        observable = OBSERVABLES.get(self._statistic(column))
        return LENGTH if column in self.lengths else "" if observable is None else observable.unit

    def about(self, column: str) -> str:
        """What a column holds, in words."""
        name = self._statistic(column)
        observable = OBSERVABLES.get(name)
        of = column.removeprefix(name).strip("_")
        what = {"": "", MEASURED: "standard deviation: "}.get(of, f"{of} standard deviation: ")
        return what + (name if observable is None else observable.about)

    def _statistic(self, column: str) -> str:
        names = (
            n for n in self.values if column == n or column.removeprefix(f"{n}_") in self.errors
        )
        return next(names, column)
