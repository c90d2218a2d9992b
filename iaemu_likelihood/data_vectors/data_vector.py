"""The data vector of a likelihood: measurements of samples, cut, with a covariance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.data_vectors.binning import bins_inside
from iaemu_likelihood.data_vectors.measurement import (
    Measurement,
    check_positive_definite,
    check_regions,
    column_of,
)
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.statistics import STATISTICS

Array = NDArray[np.float64]
Cut = float | Mapping[str, float]
# Columns that say which data point a row of a covariance is of.
LABELS = ("sample", "statistic", "r_min", "r_max")


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
    r_edges : tuple of float
        Edges of all bins between the lowest and the highest that any statistic keeps, Mpc/h.
    keep : ndarray of bool, shape (n_statistics, len(r_edges) - 1)
        Which of these bins each statistic keeps.
    """

    sample: str | None
    measured: Measurement
    statistics: tuple[str, ...]
    r_edges: tuple[float, ...]
    keep: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        measured: Measurement,
        sample: str | None,
        statistics: Sequence[str],
        r_min: Cut,
        r_max: Cut,
    ) -> Part:
        """Cut a measurement to the bins wholly inside the limits and the emulator's range."""
        measured.data_vector(statistics)  # raises if one is missing
        inside = []
        for name in statistics:
            low, high = (_limit(cut, name, statistics) for cut in (r_min, r_max))
            low, high = max(low, R_EDGES[0]), min(high, R_EDGES[-1])
            measured.cut(low, high)  # raises if no bin is left
            inside.append(bins_inside(measured.r_min, measured.r_max, low, high))
        used = np.flatnonzero(np.any(inside, axis=0))
        span = slice(int(used[0]), int(used[-1]) + 1)
        edges = (*measured.r_min[span].tolist(), float(measured.r_max[span][-1]))
        return cls(sample, measured, tuple(statistics), edges, np.array(inside)[:, span])

    @property
    def kept(self) -> Measurement:
        """The measurement between the first and the last of `r_edges`."""
        return self.measured.cut(self.r_edges[0], self.r_edges[-1])

    def bins(self) -> list[tuple[str, Array, Array]]:
        """Each statistic with the edges, (n, 2), of the bins that are kept and those dropped."""
        edges = np.stack([self.measured.r_min, self.measured.r_max], axis=1)
        found = []
        for name, keep in zip(self.statistics, self.keep, strict=True):
            kept = np.array([*pairwise(self.r_edges)])[keep]
            inside = bins_inside(edges[:, 0], edges[:, 1], kept[0, 0], kept[-1, 1])
            found.append((name, kept, edges[~inside]))
        return found

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


def _limit(cut: Cut, name: str, statistics: Sequence[str]) -> float:
    if not isinstance(cut, Mapping):
        return float(cut)
    unknown = [key for key in cut if key not in STATISTICS]
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
        values = np.concatenate(
            [part.kept.data_vector(part.statistics)[part.keep.ravel()] for part in parts]
        )
        if covariance_file is not None:
            points = [point for part in parts for point in part.points]
            matrix, n_jackknife = read_covariance(covariance_file, points)
        else:
            blocks = [
                part.kept.covariance(part.statistics, covariance, part.keep.ravel())
                for part in parts
            ]
            from scipy.linalg import block_diag

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


def read_covariance(
    path: str | Path, points: Sequence[tuple[str, str, float, float]]
) -> tuple[Array, int | None]:
    """Read the covariance of given data points from an ECSV table.

    The table has a row for each data point, in any order, with the columns ``sample`` (a label,
    empty if there is only one sample), ``statistic``, ``r_min``, ``r_max`` (Mpc/h) and
    ``covariance`` (the row of the matrix). Its metadata may hold ``n_jackknife``.
    `write_covariance` writes such a table.

    Parameters
    ----------
    path : str or Path
    points : sequence of (str, str, float, float)
        Sample, statistic, r_min and r_max of each data point.

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
        positive definite, or the number of regions does not exceed the number of points.
    """
    from astropy.table import Table

    if not Path(path).is_file():
        raise FileNotFoundError(f"No covariance at {path}.")
    try:
        table = Table.read(path, format="ascii.ecsv")
        labels = list(zip(*(table[column].tolist() for column in LABELS), strict=True))
        matrix = column_of(table, "covariance", path)
    except Exception as error:  # astropy raises many kinds for a damaged file
        raise ValueError(f"{path} is not a covariance with its labels: {error}") from error
    if matrix.shape != (len(labels), len(labels)):
        raise ValueError(
            f"{path}: covariance has shape {matrix.shape}, expected {(len(labels), len(labels))}."
        )
    rows = []
    for sample, statistic, low, high in points:
        found = [
            i
            for i, (of_sample, of_statistic, *edges) in enumerate(labels)
            if (of_sample or "", of_statistic) == (sample, statistic)
            and np.allclose(edges, (low, high), rtol=1e-6)
        ]
        if len(found) != 1:
            raise ValueError(
                f"{path} has {len(found)} rows for {statistic} of sample {sample or '(none)'} in "
                f"{low:.4g}-{high:.4g} Mpc/h; it needs one."
            )
        rows += found
    chosen = matrix[np.ix_(rows, rows)]
    n_jackknife = table.meta.get("n_jackknife")
    check_regions(n_jackknife, path, len(rows))
    names = [f"{s} {t} {low:.4g}-{high:.4g} Mpc/h" for s, t, low, high in points]
    check_positive_definite(chosen, str(path), names)
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
    meta: dict[str, Any] = {"units": {"r_min": "Mpc/h", "r_max": "Mpc/h"}}
    if n_jackknife is not None:
        meta["n_jackknife"] = n_jackknife
    table = Table({**columns, "covariance": covariance}, meta=meta)
    with atomic_write(Path(path)) as unfinished:
        table.write(unfinished, format="ascii.ecsv")
