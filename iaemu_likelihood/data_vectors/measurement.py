"""Measured correlation functions with their errors: files, scale cuts and checks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.data import bundled
from iaemu_likelihood.data_vectors.conventions import (
    TANGENTIAL,
    axis_ratio_of,
    check_conventions,
    projected,
    read_conventions,
    read_sign,
    written,
)
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.binned import Binned
from iaemu_likelihood.emulator.physics.binning import bins_inside
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.occupations import OCCUPATIONS
from iaemu_likelihood.emulator.physics.statistics import OBSERVABLES
from iaemu_likelihood.emulator.reading import expanded, read_table
from iaemu_likelihood.emulator.results import Result
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.emulator.units import LENGTH, NUMBER, FileMetadata, for_astropy, product

Array = NDArray[np.float64]

COVARIANCES = ("diagonal", "full")
# What metadata say under `covariance` of one that was estimated from no number of realisations.
ANALYTIC = "analytic"
# Bundled measurements: tng300.sample1 is tng300/sample1.ecsv. Those of projected statistics are named
# by a thousand times the redshift.
TNG300_SAMPLES = ("sample1", "sample2", "sample3")
TNG300_PROJECTED = ("projected_z0", "projected_z0300", "projected_z0625", "projected_z1000")
BUNDLED = {f"tng300.{name}": f"tng300/{name}.ecsv" for name in (*TNG300_SAMPLES, *TNG300_PROJECTED)}

# Edges as close as this are the same.
_TOLERANCE = 1e-6
# By this factor a covariance's standard deviations may differ from the errors.
_AGREEMENT = 2.0
# Between these, squares, their inverses and chi^2 have all digits in double precision.
_SMALLEST, _LARGEST = 1e-140, 1e140


def measurement_path(source: str | Path) -> Path:
    """Path of a measurement that is given by a bundled name (``tng300.sample1``) or by a path.

    Raises
    ------
    ValueError
        If there is a file of the name of a bundled measurement.
    """
    path, name = expanded(source), str(source)
    if name in BUNDLED and path.is_file():
        raise ValueError(
            f"{name} is both a measurement that comes with the package, {bundled(BUNDLED[name])}, and "
            f"the file {path.resolve()}. Give the file's whole path, or rename it."
        )
    if name.startswith("tng300.") and not path.is_file():
        return bundled(BUNDLED.get(name, name))
    return path


def check_regions(n_jackknife: Any, name: str | Path, n_data: int = 0) -> None:
    """Raise a ValueError unless n_jackknife is a whole number above 1 and n_data, or None."""
    whole = isinstance(n_jackknife, Integral) and not isinstance(n_jackknife, bool)
    if n_jackknife is not None and not (whole and n_jackknife > 1):
        raise ValueError(
            f"{name}: n_jackknife is {n_jackknife!r}; it must be a whole number above 1."
        )
    if n_jackknife is not None and n_jackknife <= n_data:
        raise ValueError(
            f"{name}: {n_jackknife} jackknife regions cannot give an invertible covariance of "
            f"{n_data} data points."
        )


@dataclass(frozen=True, repr=False)
class Measurement(Result):
    """Correlation functions of a galaxy sample in bins of separation.

    All are either in bins of r, or integrated along the line of sight and in bins of r_p.

    Attributes
    ----------
    name : str
    r_min, r_max : ndarray, shape (n_bins,)
        Bin edges, Mpc/h: of r, or of r_p if the statistics are integrated (`separation`).
    values, errors : dict of str to ndarray, shape (n_bins,)
        Values and standard deviations by statistic, in the unit of each.
    covariances : dict of (str, str) to ndarray, shape (n_bins, n_bins)
        Covariance blocks that the file holds, by pair of statistics.
    n_jackknife : int or None
        Number of regions behind the errors and covariances; None if it is not known.
    metadata : dict
        Everything else in the file's metadata: simulation, selection, hod, citation, ... Nothing of
        it is checked; `hod` and `axis_ratio` give what they say of the galaxies, checked.
    file : str
        Path of the file that it was read from, for messages; empty if there is none.
    conventions : Conventions or None
        How projected statistics were measured; None if there are none.
    """

    name: str
    r_min: Array
    r_max: Array
    values: Mapping[str, Array]
    errors: Mapping[str, Array]
    covariances: Mapping[tuple[str, str], Array] = field(default_factory=dict)
    n_jackknife: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    conventions: Conventions | None = None

    @classmethod
    def read(cls, source: str | Path) -> Measurement:
        """Read a measurement from ECSV.

        Parameters
        ----------
        source : str or Path
            Name of a bundled measurement, of those in `BUNDLED`, ``tng300.sample1`` for one; or the
            path of a table.
            Its columns are r_min, r_max, or for statistics that are integrated along the line of
            sight rp_min, rp_max (Mpc/h, comoving), the value and error of one or more statistics
            (``omega``, ``omega_err``), and optionally covariance blocks (``omega_omega_cov``, of
            shape (n_bins,) per row). Its metadata may hold ``name``, ``n_jackknife``, and ``hod``;
            with projected statistics they must say how these were measured, see
            `iaemu_likelihood.data_vectors.conventions`. Other units that it declares are converted;
            see `iaemu_likelihood.emulator.units`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If a column is missing, does not hold numbers, or has a wrong shape or a unit that cannot
            be converted, bins overlap, or are of r for one statistic and of r_p for another, the
            metadata do not say how a projected statistic was measured, or there is a file of the name
            of a bundled measurement. Values and errors are judged when they are used: by
            `data_vector` and `covariance`.

        Notes
        -----
        Where the metadata say ``sign: tangential``, statistics of one galaxy's shape are multiplied
        by -1, so that alignment along the separation is positive.
        """
        path = measurement_path(source)
        if not path.is_file():
            raise FileNotFoundError(f"No measurement at {path}. Bundled: {', '.join(BUNDLED)}.")
        table, metadata = read_table(path, kind="ascii.ecsv")
        present = [s for s in OBSERVABLES if s in table]
        edges = _edge_columns(_separation(present, str(path)))
        needed = [*edges, *(OBSERVABLES[s].error_name for s in present)]
        missing = [column for column in needed if column not in table]
        if missing or not present:
            raise ValueError(
                f"{path} lacks {', '.join(missing) or 'any of ' + ', '.join(OBSERVABLES)}; "
                f"it has {', '.join(table)}."
            )
        other = [name for name in {*_edge_columns("r"), *_edge_columns("r_p")} if name in table]
        if {*other} - {*edges}:
            raise ValueError(
                f"{path} has bins of r and of r_p ({', '.join(sorted(other))}), but "
                f"{', '.join(present)} can be in those of one only, {' and '.join(edges)}: remove the "
                "others."
            )
        conventions = read_conventions(metadata, present)
        flipped: set[str] = set()
        if conventions is not None and read_sign(metadata) == TANGENTIAL:
            flipped = {one.name for one in projected(present) if one.n_shapes == 1}

        def column(name: str, unit: str, *of: str) -> Array:
            values = metadata.column(table, name, unit).astype(np.float64)
            return -values if sum(s in flipped for s in of) == 1 else values

        unit = {s: _unit(s) for s in present}
        name = metadata.get("name")
        return cls(
            name=path.stem if name is None else name,
            r_min=column(edges[0], LENGTH),
            r_max=column(edges[1], LENGTH),
            values={s: column(s, unit[s], s) for s in present},
            errors={s: column(OBSERVABLES[s].error_name, unit[s]) for s in present},
            covariances={
                (a, b): column(f"{a}_{b}_cov", _unit(a, b), a, b)
                for a in present
                for b in present
                if f"{a}_{b}_cov" in table
            },
            n_jackknife=metadata.get("n_jackknife"),
            metadata=_replaced(metadata, conventions),
            file=str(path),
            conventions=conventions,
        )

    def write(self, path: str | Path, overwrite: bool = False) -> None:
        """Write an ECSV table, which `read` reads back exactly.

        Parameters
        ----------
        path : str or Path
        overwrite : bool
            Whether to replace an existing file.

        Raises
        ------
        FileExistsError
            If the file exists and is not to be replaced.
        """
        from astropy.table import Column, Table

        path = expanded(path)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists; pass --overwrite to replace it.")
        prefix = self.separation.replace("_", "")
        numbers: dict[str, Array] = {
            **dict(zip(self.edge_columns, (self.r_min, self.r_max), strict=True)),
            prefix: (self.r_min + self.r_max) / 2,
        }
        units = dict.fromkeys(numbers, LENGTH)
        for s in self.values:
            both = {s: self.values[s], OBSERVABLES[s].error_name: self.errors[s]}
            numbers |= both
            units |= dict.fromkeys(both, _unit(s))
        for (a, b), block in self.covariances.items():
            numbers[f"{a}_{b}_cov"] = block
            units[f"{a}_{b}_cov"] = _unit(a, b)
        how = {} if self.conventions is None else written(self.conventions)
        meta = {**self.metadata, **how, "name": self.name, "units": units}
        if self.n_jackknife is not None:
            meta["n_jackknife"] = self.n_jackknife
        with atomic_write(path) as unfinished:
            # astropy writes the shortest text that reads back as the same number.
            # To astropy the h of Mpc/h is an hour.
            columns = {
                name: x if units[name] == NUMBER else Column(x, unit=for_astropy(units[name]))
                for name, x in numbers.items()
            }
            Table(columns, meta=meta).write(unfinished, format="ascii.ecsv")

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isprintable() or not self.name.strip():
            raise ValueError(
                f"{self.file or 'A measurement'}: its name is {self.name!r}; expected one line of text."
            )
        check_regions(self.n_jackknife, self.source)
        n = len(self.r_min)
        if n == 0:
            raise ValueError(f"{self.source} has no rows: there is nothing to compare with.")
        check_conventions(self.conventions, self.values, self.source)
        if self.conventions is not None:
            _ = self.axis_ratio  # raises if it makes no sense
        edges = dict(zip(self.edge_columns, (self.r_min, self.r_max), strict=True))
        errors = {OBSERVABLES[name].error_name: self.errors[name] for name in self.values}
        columns = {**edges, **self.values, **errors}
        for name, column in columns.items():
            if column.shape != (n,):
                raise ValueError(
                    f"{self.source}: {name} has shape {column.shape}, expected ({n},)."
                )
        for name, column in edges.items():
            bad = ~((column >= 0) & (column < np.inf))
            if bad.any():
                i = int(np.flatnonzero(bad)[0])
                raise ValueError(
                    f"{self.source}: {name} is {column[i]} in bin {i}; expected a finite number, 0 or "
                    "more."
                )
        if (
            not (self.r_max > self.r_min).all()
            or not (self.r_min[1:] >= self.r_max[:-1] * (1 - _TOLERANCE)).all()
        ):
            listed = ", ".join(f"{name} = {column}" for name, column in edges.items())
            raise ValueError(
                f"{self.source}: bins must follow each other in ascending order without overlap; "
                f"got {listed}."
            )
        for key, block in self.covariances.items():
            if block.shape != (n, n):
                raise ValueError(
                    f"{self.source}: the covariance of {key[0]} and {key[1]} has shape {block.shape}, "
                    f"expected ({n}, {n})."
                )

    @property
    def label(self) -> str:
        """Its name."""
        return self.name

    def binned(self) -> list[Binned]:
        """Values with their errors, and the edges of the bins."""
        edges = self.r_min, self.r_max
        return [
            Binned.of(
                self.separation, (self.r_min + self.r_max) / 2, self.values, edges, err=self.errors
            )
        ]

    @property
    def source(self) -> str:
        """Where it comes from, for messages: its file, or its name if there is none."""
        return self.file or self.name

    @property
    def separation(self) -> str:
        """What the bins are of: ``r``, or ``r_p`` if the statistics are integrated."""
        return _separation(self.values, self.source)

    @property
    def edge_columns(self) -> tuple[str, str]:
        """Names of the columns of the bins' edges in a file."""
        return _edge_columns(self.separation)

    @property
    def axis_ratio(self) -> tuple[float, float] | None:
        """Axis ratios of centrals and satellites; None if the metadata do not say them.

        Raises
        ------
        ValueError
            If ``axis_ratio`` of the metadata is not a number in (0, 1], or two.
        """
        return axis_ratio_of(self.metadata, self.source)

    @property
    def redshift(self) -> float | None:
        """The redshift that the metadata say; None if they say none, or no single number."""
        found = self.metadata.get("redshift")
        if not isinstance(found, Real) or isinstance(found, bool):
            return None
        return float(found) if -1 < float(found) < np.inf else None

    @property
    def hod(self) -> dict[str, float]:
        """The occupation at which it was made, by parameter; empty if the metadata hold none.

        Raises
        ------
        ValueError
            If ``hod`` of the metadata is anything else than a finite number for each parameter of
            one of `OCCUPATIONS`.
        """
        found = self.metadata.get("hod")
        if found is None:
            return {}
        known = [occupation.names for occupation in OCCUPATIONS.values()]
        listed = "; or ".join(", ".join(names) for names in known)
        if not isinstance(found, Mapping) or not any(set(found) == set(names) for names in known):
            got = ", ".join(map(repr, found)) if isinstance(found, Mapping) else repr(found)
            raise ValueError(
                f"{self.source}: hod in the metadata must hold a number for each of {listed}, and "
                f"nothing else; got {got}."
            )
        for name, value in found.items():
            real = isinstance(value, Real) and not isinstance(value, bool)
            if not real or not abs(value) <= sys.float_info.max:  # nor a NaN
                raise ValueError(
                    f"{self.source}: {name} of hod in the metadata is {value!r}; expected a finite "
                    "number."
                )
        return {name: float(value) for name, value in found.items()}

    @property
    def r_edges(self) -> Array:
        """Edges of the bins and of the gaps between them, shape (n_bins + n_gaps + 1,), Mpc/h."""
        gap = self.r_min[1:] > self.r_max[:-1] * (1 + _TOLERANCE)
        return np.sort(np.concatenate([self.r_min, self.r_max[:-1][gap], self.r_max[-1:]]))

    def cut(self, low: float, high: float) -> Measurement:
        """Keep the bins wholly between `low` and `high`, Mpc/h.

        Raises
        ------
        ValueError
            If no bin is left.
        """
        keep = bins_inside(self.r_min, self.r_max, low, high)
        if not keep.any():
            raise ValueError(
                f"{self.source}: no bin lies wholly between {low:g} and {high:g} Mpc/h; the bins of "
                f"{self.separation} go from {self.r_min[0]:g} to {self.r_max[-1]:g} Mpc/h."
            )
        return replace(
            self,
            r_min=self.r_min[keep],
            r_max=self.r_max[keep],
            values={k: v[keep] for k, v in self.values.items()},
            errors={k: v[keep] for k, v in self.errors.items()},
            covariances={k: v[np.ix_(keep, keep)] for k, v in self.covariances.items()},
        )

    def tables(self) -> list[Table]:
        """Table of values and errors in each bin."""
        about = []
        if "n_galaxies" in self.metadata:
            about.append(f"{self.metadata['n_galaxies']} galaxies")
        if self.n_jackknife is not None:
            about.append(f"errors from {self.n_jackknife} jackknife regions")
        rows = [
            [
                f"{low:.3f} to {high:.3f}",
                *(f"{x[i]:.4g} ± {self.errors[name][i]:.2g}" for name, x in self.values.items()),
            ]
            for i, (low, high) in enumerate(zip(self.r_min, self.r_max, strict=True))
        ]
        title = ": ".join([self.name, *([", ".join(about)] if about else [])])
        return [Table(title, [f"{self.separation} [Mpc/h]", *self.values], rows)]

    def data_vector(
        self, statistics: Sequence[str], keep: NDArray[np.bool_] | None = None
    ) -> Array:
        """Values of the statistics one after the other, checked to be finite.

        Parameters
        ----------
        statistics : sequence of str
        keep : ndarray of bool, shape (n_statistics * n_bins,), optional
            Data points to keep; all when left out. Others may hold anything.

        Returns
        -------
        ndarray, shape (n,)
            For the n data points that are kept.

        Raises
        ------
        ValueError
            If a statistic is missing, or a value is not finite.
        """
        unknown = [s for s in statistics if s not in self.values]
        if unknown or not statistics:
            raise ValueError(
                f"statistics must be one or more of those in {self.source}, "
                f"{', '.join(self.values)}; got {', '.join(statistics) or 'none'}."
            )
        values = self._chosen(self.values, statistics, keep)
        points = self._points(statistics, keep)
        good = np.abs(values) <= _LARGEST
        self._judge(good, values, points, f"a finite number, below {_LARGEST:g}")
        return values

    def covariance(
        self,
        statistics: Sequence[str],
        kind: str = "diagonal",
        keep: NDArray[np.bool_] | None = None,
    ) -> Array:
        """Covariance of `data_vector`, checked to be positive definite.

        Parameters
        ----------
        statistics : sequence of str
        kind : str
            ``diagonal`` takes the published errors, ``full`` the covariance blocks of the file.
        keep : ndarray of bool, shape (n_statistics * n_bins,), optional
            Data points to keep; all when left out.

        Returns
        -------
        ndarray, shape (n, n)
            For the n data points that are kept.

        Raises
        ------
        ValueError
            If an error is not positive or beyond what double precision can square, a block is
            missing, the number of jackknife regions is not known or does not exceed the number of
            data points, or the matrix is not symmetric and positive definite or contradicts the
            errors.
        """
        if kind not in COVARIANCES:
            raise ValueError(f"covariance must be one of {', '.join(COVARIANCES)}; got {kind!r}.")
        errors = self._chosen(self.errors, statistics, keep)
        if kind == "diagonal":
            good = (errors >= _SMALLEST) & (errors <= _LARGEST)
            points = self._points([OBSERVABLES[s].error_name for s in statistics], keep)
            expected = (
                "a positive, finite number, and one that can be squared "
                f"({_SMALLEST:g} to {_LARGEST:g})"
            )
            self._judge(good, errors, points, expected)
            return np.diag(errors**2)
        if self.n_jackknife is None and self.metadata.get("covariance") != ANALYTIC:
            raise ValueError(
                f"{self.source}: a full covariance needs n_jackknife in the file's metadata, or there "
                f"covariance: {ANALYTIC}, if it was not estimated from realisations."
            )
        check_regions(self.n_jackknife, self.source, len(errors))
        rows = np.flatnonzero(np.ones(len(statistics) * len(self.r_min)) if keep is None else keep)
        blocks = [[self._block(a, b) for b in statistics] for a in statistics]
        matrix = np.block(blocks)[np.ix_(rows, rows)]
        check_covariance(matrix, errors, self.source, self._points(statistics, keep))
        return matrix

    def _chosen(
        self,
        columns: Mapping[str, Array],
        statistics: Sequence[str],
        keep: NDArray[np.bool_] | None,
    ) -> Array:
        values = np.concatenate([columns[s] for s in statistics])
        return values if keep is None else values[keep]

    def _judge(
        self, good: NDArray[np.bool_], values: Array, points: Sequence[str], expected: str
    ) -> None:
        for i in np.flatnonzero(~good).tolist():
            raise ValueError(f"{self.source}: {points[i]} is {values[i]}; expected {expected}.")

    def _points(self, columns: Sequence[str], keep: NDArray[np.bool_] | None) -> list[str]:
        """Names of the data points of some columns, for messages."""
        names = [
            f"{name} bin {i} ({low:.4g} to {high:.4g} Mpc/h)"
            for name in columns
            for i, (low, high) in enumerate(zip(self.r_min, self.r_max, strict=True))
        ]
        return names if keep is None else [names[i] for i in np.flatnonzero(keep)]

    def _block(self, a: str, b: str) -> Array:
        """Covariance of two statistics, shape (n_bins, n_bins)."""
        if (a, b) in self.covariances:
            return self.covariances[a, b]
        if (b, a) in self.covariances:
            return self.covariances[b, a].T
        raise ValueError(
            f"{self.source} holds no covariance of {a} and {b} (column {a}_{b}_cov); use covariance: "
            "diagonal."
        )


def _separation(statistics: Iterable[str], source: str) -> str:
    """What the bins of all statistics are of, r or r_p; a ValueError if they differ."""
    names = list(statistics)
    integrated = {one.name for one in projected(names) if one.is_integrated}
    others = [name for name in names if name not in integrated]
    if integrated and others:
        raise ValueError(
            f"{source}: {', '.join(sorted(integrated))} in bins of r_p, but {', '.join(others)} in bins "
            "of r; give them as two measurements, in files of their own."
        )
    return "r_p" if integrated else "r"


def _edge_columns(separation: str) -> tuple[str, str]:
    prefix = separation.replace("_", "")
    return f"{prefix}_min", f"{prefix}_max"


def _unit(*statistics: str) -> str:
    """Unit of a statistic, or of the covariance of two."""
    return product(*(OBSERVABLES[s].unit for s in statistics))


def _replaced(metadata: FileMetadata, conventions: Conventions | None) -> dict[str, Any]:
    """All metadata, with conventions as they are written here."""
    if conventions is None:
        return metadata.all
    how = written(conventions)
    return {key: value for key, value in metadata.all.items() if key.lower() not in how} | how


def check_covariance(matrix: Array, errors: Array, name: str, points: Sequence[str]) -> None:
    """Raise a ValueError that names the first data point where a covariance fails.

    It must be symmetric and positive definite, and not contradict the errors.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
    errors : ndarray, shape (n,)
        Standard deviations of the data points; those that are not positive and finite are passed over.
    name : str
        Name of the measurement or file, for the message.
    points : sequence of str
        Names of the n data points.
    """
    from scipy.linalg.lapack import dpotrf

    diagonal = np.diag(matrix)
    ordinary = (diagonal >= _SMALLEST**2) & (diagonal <= _LARGEST**2)
    bad = ~np.isfinite(matrix).all(axis=1) | ~ordinary
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{name}: the covariance has a NaN, or a variance that is not positive or beyond what can "
            f"be inverted ({_SMALLEST**2:g} to {_LARGEST**2:g}), at {points[i]}: {diagonal[i]:g}."
        )
    scale = np.sqrt(np.outer(diagonal, diagonal))
    asymmetry = np.abs(matrix - matrix.T) / scale
    if asymmetry.max() > 1e-6:
        i, j = (int(k) for k in np.unravel_index(np.argmax(asymmetry), asymmetry.shape))
        raise ValueError(
            f"{name}: the covariance is not symmetric between {points[i]} and {points[j]}."
        )
    _, failed = dpotrf(matrix / scale)
    if failed:
        raise ValueError(
            f"{name}: the covariance is not positive definite from its row {failed} on, "
            f"{points[failed - 1]}."
        )
    with np.errstate(all="ignore"):
        ratio = np.sqrt(diagonal) / errors
    known = (errors > 0) & (errors < np.inf)
    contradicts = known & ~((ratio >= 1 / _AGREEMENT) & (ratio <= _AGREEMENT))
    if contradicts.any():
        i = int(np.flatnonzero(contradicts)[0])
        raise ValueError(
            f"{name}: by the covariance the standard deviation of {points[i]} is "
            f"{np.sqrt(diagonal[i]):.4g}, by the errors it is {errors[i]:.4g}; correct one of them. Is "
            "this a matrix of correlations, or in another unit?"
        )
