"""The data vector of a likelihood: measurements of samples, cut, with a covariance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iaemu_likelihood.data import bundled
from iaemu_likelihood.data_vectors.measurement import (
    Measurement,
    check_covariance,
    check_regions,
)
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.physics.binning import bins_inside
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.statistics import OBSERVABLES, STATISTICS
from iaemu_likelihood.emulator.reading import expanded, read_table
from iaemu_likelihood.emulator.units import LENGTH, NUMBER, product

Array = NDArray[np.float64]
Cut = float | Mapping[str, float]
Limits = Callable[[str], tuple[float, float]]
# Columns that say which data point a row of a covariance is of; edges are of r or of r_p.
TEXTS, EDGES = ("sample", "statistic"), ("r_min", "r_max")
LABELS = (*TEXTS, *EDGES)
# Bundled covariances between measurements, by the names that stand for them.
COVARIANCES = {"tng300.projected_w_gplus": "tng300/projected_w_gplus_covariance.ecsv"}


@dataclass(frozen=True)
class Part:
    """The part of a data vector that comes from one sample.

    Attributes
    ----------
    sample : str or None
        Its label.
    measured : Measurement
        In all its bins.
    statistics : tuple of str
    chosen : ndarray of bool, shape (n_statistics, n_bins)
        Which of the measurement's bins each statistic keeps.
    """

    sample: str | None
    measured: Measurement
    statistics: tuple[str, ...]
    chosen: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        measured: Measurement,
        sample: str | None,
        statistics: Sequence[str],
        r_min: Cut,
        r_max: Cut,
        limits: Limits | None = None,
    ) -> Part:
        """Cut a measurement to the bins wholly inside two limits.

        Parameters
        ----------
        measured : Measurement
        sample : str or None
        statistics : sequence of str
        r_min, r_max : float or mapping of str to float
            Scale cuts, Mpc/h, in r or r_p as the bins are: one for all statistics, or one for each.
        limits : callable, optional
            Lowest and highest separation (Mpc/h) at which a statistic, by its name, is known
            besides; `known_range` when left out.

        Raises
        ------
        ValueError
            If a statistic keeps no bin, or a cut is missing.
        """
        chosen = []
        for name in statistics:
            low, high = (_limit(cut, name, statistics) for cut in (r_min, r_max))
            lowest, highest = (limits or known_range)(name)
            low, high = max(low, lowest), min(high, highest)
            measured.cut(low, high)  # raises if no bin is left
            chosen.append(bins_inside(measured.r_min, measured.r_max, low, high))
        return cls(sample, measured, tuple(statistics), np.array(chosen))

    @cached_property
    def values(self) -> Array:
        """The data points, shape (n,): statistic after statistic."""
        return self.measured.data_vector(self.statistics, self.chosen.ravel())

    @property
    def errors(self) -> Array:
        """Their errors, shape (n,)."""
        each = zip(self.statistics, self.chosen, strict=True)
        return np.concatenate([self.measured.errors[name][chosen] for name, chosen in each])

    def covariance(self, kind: str) -> Array:
        """Their covariance, shape (n, n); see `Measurement.covariance`."""
        return self.measured.covariance(self.statistics, kind, self.chosen.ravel())

    @cached_property
    def kept(self) -> Measurement:
        """The measurement between the lowest and the highest bin that any statistic keeps."""
        used = np.flatnonzero(self.chosen.any(axis=0))
        return self.measured.cut(self.measured.r_min[used[0]], self.measured.r_max[used[-1]])

    @cached_property
    def r_edges(self) -> tuple[float, ...]:
        """Edges of all bins of `kept` and of the gaps between them, Mpc/h."""
        return tuple(self.kept.r_edges.tolist())

    @cached_property
    def keep(self) -> NDArray[np.bool_]:
        """Which of these each statistic keeps, shape (n_statistics, len(r_edges) - 1); no gaps."""
        keep = np.zeros((len(self.statistics), len(self.r_edges) - 1), bool)
        used = np.flatnonzero(self.chosen.any(axis=0))
        keep[:, np.searchsorted(self.r_edges, self.measured.r_min[used])] = self.chosen[:, used]
        return keep

    def bins(self) -> list[tuple[str, Array, Array]]:
        """Each statistic with the edges, (n, 2), of the bins that are kept and those dropped."""
        edges = np.stack([self.measured.r_min, self.measured.r_max], axis=1)
        each = zip(self.statistics, self.chosen, strict=True)
        return [(name, edges[chosen], edges[~chosen]) for name, chosen in each]

    @property
    def points(self) -> list[tuple[str, str, float, float]]:
        """Sample, statistic, and edges in Mpc/h of each data point."""
        sample = self.sample or ""
        return [(sample, name, *edges) for name, kept, _ in self.bins() for edges in kept.tolist()]

    def describe(self) -> str:
        """One sentence for each statistic: which bins are kept, and which are dropped."""
        lines = []
        for name, kept, dropped in self.bins():
            listed = "; ".join(f"{low:.4g}-{high:.4g} Mpc/h" for low, high in dropped)
            lines.append(
                f"{name} in {len(kept)} bins, {kept[0, 0]:.4g} to {kept[-1, 1]:.4g} Mpc/h; "
                f"dropped {listed or 'none'}"
            )
        return f"{self.measured.name}: " + ". ".join(lines) + "."


def known_range(statistic: str) -> tuple[float, float]:
    """Separations, Mpc/h, between which the emulator's bins lie; any for projected statistics.

    What these need of the emulator depends on their conventions, too.
    """
    return (R_EDGES[0], R_EDGES[-1]) if statistic in STATISTICS else (0.0, np.inf)


def _limit(cut: Cut, name: str, statistics: Sequence[str]) -> float:
    if not isinstance(cut, Mapping):
        return float(cut)
    unknown = [key for key in cut if key not in OBSERVABLES]
    if unknown or name not in cut:
        raise ValueError(
            f"Scale cuts are one number, or one for each of {', '.join(statistics)}; got {dict(cut)}."
        )
    return float(cut[name])


@dataclass(frozen=True)
class DataVector:
    """Data points of all samples: sample after sample, and within these statistic after statistic.

    Attributes
    ----------
    parts : tuple of Part
    values : ndarray, shape (n,)
    covariance : ndarray, shape (n, n)
        Positive definite.
    n_jackknife : int or None
        Number of regions behind the covariance; None if it is diagonal or the number is not known.
    """

    parts: tuple[Part, ...]
    values: Array
    covariance: Array
    n_jackknife: int | None

    @classmethod
    def of(
        cls, parts: Sequence[Part], covariance: str, covariance_file: str | Path | None = None
    ) -> DataVector:
        """Put the parts together.

        Parameters
        ----------
        parts : sequence of Part
        covariance : str
            ``diagonal`` takes the errors, ``full`` the covariance blocks of each file.
        covariance_file : str or Path, optional
            File with a covariance of all data points, which is used instead; see
            `read_covariance`.

        Raises
        ------
        ValueError
            If a covariance is missing or not positive definite, or it was estimated from no more
            regions than there are data points.
        """
        values = np.concatenate([part.values for part in parts])
        if covariance_file is not None:
            points = [point for part in parts for point in part.points]
            errors = np.concatenate([part.errors for part in parts])
            matrix, n_jackknife = read_covariance(covariance_file, points, errors)
        else:
            from scipy.linalg import block_diag

            blocks = [part.covariance(covariance) for part in parts]
            matrix, n_jackknife = block_diag(*blocks), None
            if covariance == "full":
                # Samples are taken as independent, so the least number of regions counts.
                n_jackknife = min(part.measured.n_jackknife or 0 for part in parts) or None
        return cls(tuple(parts), values, matrix, n_jackknife)

    @property
    def points(self) -> list[tuple[str, str, float, float]]:
        """Sample, statistic, and edges in Mpc/h of each data point."""
        return [point for part in self.parts for point in part.points]

    @property
    def condition_number(self) -> float:
        """Condition number of the correlation matrix."""
        scale = np.sqrt(np.diag(self.covariance))
        return float(np.linalg.cond(self.covariance / np.outer(scale, scale)))


def covariance_path(source: str | Path) -> Path:
    """Path of a covariance that is given by a name of `COVARIANCES` or by a path."""
    name = str(source)
    return bundled(COVARIANCES[name]) if name in COVARIANCES else expanded(source)


def read_covariance(
    path: str | Path,
    points: Sequence[tuple[str, str, float, float]],
    errors: ArrayLike | None = None,
) -> tuple[Array, int | None]:
    """Read the covariance of given data points from an ECSV table.

    The table has a row for each data point, in any order, with the columns ``sample`` (a label,
    empty if there is only one sample), ``statistic``, ``r_min``, ``r_max`` (Mpc/h; of r, or of r_p for
    statistics that are integrated along the line of sight) and ``covariance`` (the row of the matrix,
    in the units of the statistics). Its metadata may hold ``n_jackknife``.
    `write_covariance` writes such a table.

    Parameters
    ----------
    path : str or Path
        Or a name of `COVARIANCES`.
    points : sequence of (str, str, float, float)
        Sample, statistic, r_min and r_max of each data point.
    errors : array_like, shape (n,), optional
        Standard deviations of the data points, which the covariance must not contradict.

    Returns
    -------
    covariance : ndarray, shape (n, n)
    n_jackknife : int or None

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds another table, a point is missing or in several rows, the matrix is not
        positive definite or contradicts the errors by more than a factor of two, or the number of
        regions does not exceed the number of points.
    """
    path = covariance_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No covariance at {path}. Bundled: {', '.join(COVARIANCES)}.")
    table, metadata = read_table(path, kind="ascii.ecsv")
    missing = [column for column in (*LABELS, "covariance") if column not in table]
    if missing:
        raise ValueError(
            f"{path} is not a covariance with its labels: it lacks {', '.join(missing)}."
        )
    names = [table[column].tolist() for column in TEXTS]
    edges = [metadata.column(table, column, LENGTH).tolist() for column in EDGES]
    labels = list(zip(*names, *edges, strict=True))
    units = {OBSERVABLES[statistic].unit for _, statistic, *_ in points}
    # Rows of different units have none in common.
    unit = product(*units, *units) if len(units) == 1 else NUMBER
    matrix = metadata.column(table, "covariance", unit).astype(np.float64)
    if matrix.shape != (len(labels), len(labels)):
        raise ValueError(
            f"{path}: covariance has shape {matrix.shape}, expected {(len(labels), len(labels))}."
        )
    rows = []
    for sample, statistic, low, high in points:
        found = [
            i
            for i, (of_sample, of_statistic, *limits) in enumerate(labels)
            if (of_sample or "", of_statistic) == (sample, statistic)
            and np.allclose(limits, (low, high), rtol=1e-6)
        ]
        if len(found) != 1:
            raise ValueError(
                f"{path} has {len(found)} rows for {statistic} of sample {sample or '(none)'} in "
                f"{low:.4g}-{high:.4g} Mpc/h; it needs one."
            )
        rows += found
    chosen = matrix[np.ix_(rows, rows)]
    n_jackknife = metadata.get("n_jackknife")
    check_regions(n_jackknife, path, len(rows))
    names = [f"{s} {t} {low:.4g}-{high:.4g} Mpc/h" for s, t, low, high in points]
    sigma = np.full(len(rows), np.nan) if errors is None else np.asarray(errors, np.float64)
    check_covariance(chosen, sigma, str(path), names)
    return chosen, n_jackknife


def write_covariance(
    path: str | Path,
    points: Sequence[tuple[str, str, float, float]],
    covariance: Array,
    n_jackknife: int | None = None,
) -> None:
    """Write a table that `read_covariance` reads, with parameters as there."""
    from astropy.table import Table

    columns: dict[str, Any] = dict(zip(LABELS, zip(*points, strict=True), strict=True))
    meta: dict[str, Any] = {"units": dict.fromkeys(EDGES, LENGTH)}
    if n_jackknife is not None:
        meta["n_jackknife"] = n_jackknife
    table = Table({**columns, "covariance": covariance}, meta=meta)
    with atomic_write(expanded(path)) as unfinished:
        table.write(unfinished, format="ascii.ecsv")
