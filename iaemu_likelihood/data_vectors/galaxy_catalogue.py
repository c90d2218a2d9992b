"""A user's galaxy catalogue: reading, checking, and measuring it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iaemu_likelihood.data import sha256
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.emulator.boxes import check_filled, check_side, first_repeat, inside, side_of
from iaemu_likelihood.emulator.mocks import (
    Jackknife,
    jackknife,
    projected_jackknife,
    quadrupole_jackknife,
)
from iaemu_likelihood.emulator.mocks.jackknife import MAX_BINS
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.shapes import DEFINITIONS, project
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS
from iaemu_likelihood.emulator.reading import FORMATS, expanded, read_table
from iaemu_likelihood.emulator.units import LENGTH, NUMBER, FileMetadata

Array = NDArray[np.float64]

POSITION = ("x", "y", "z")
AXIS = ("galaxy_axisA_x", "galaxy_axisA_y", "galaxy_axisA_z")
# Lines of sight, each as the coordinates that galaxies are seen along.
LINES_OF_SIGHT = {"x": (0,), "y": (1,), "z": (2,), "all": (0, 1, 2)}
# Axes whose length is as close to 1 as this count as unit vectors that were rounded.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class GalaxyCatalogue:
    """Positions of galaxies in a cubic box, and their axes or their shapes on the sky.

    Attributes
    ----------
    name : str
        Name of the file.
    positions : ndarray, shape (n_galaxies, 3)
        Mpc/h, in [0, box].
    axes : ndarray, shape (n_galaxies, 3), or None
        Unit vectors; None if the file was read for shapes on the sky.
    box : float
        Side of the box, Mpc/h.
    n_normalised : int
        Number of axes whose length in the file is not 1.
    sha256 : str
        SHA-256 of the file.
    axis_ratios : ndarray, shape (n_galaxies,), or None
        Shorter over longer axis of each galaxy, a spheroid, if they are known.
    shapes : ndarray, shape (n_galaxies, 2), or None
        Ellipticities e_+ and e_x on the sky, if the file was read for them.
    """

    name: str
    positions: Array
    axes: Array | None
    box: float
    n_normalised: int
    sha256: str
    axis_ratios: Array | None = None
    shapes: Array | None = None

    @classmethod
    def read(
        cls,
        path: str | Path,
        box: float | None = None,
        position: str | Sequence[str] = POSITION,
        axis: str | Sequence[str] = AXIS,
        hdf5_path: str | None = None,
        axis_ratio: str | float | None = None,
        shape: Sequence[str] | None = None,
    ) -> GalaxyCatalogue:
        """Read a catalogue from HDF5, FITS, CSV or ECSV.

        Parameters
        ----------
        path : str or Path
            The file; its ending names the format. HDF5 may hold a table or one dataset per column.
        box : float, optional
            Side of the box, Mpc/h; by default the file's metadata ``Lbox`` or ``box``.
        position, axis : str or sequence of 3 str
            Names of the columns of the positions, Mpc/h, and of the major axes, of any length: three
            each, or one column of shape (n_galaxies, 3).
        hdf5_path : str, optional
            Path of the table, or of the group of datasets, inside an HDF5 file; by default the only
            table, or the root.
        axis_ratio : str or float, optional
            The column of the galaxies' axis ratios, shorter over longer, or one number for all.
        shape : sequence of 2 str, optional
            Columns of the ellipticities e_+ and e_x on the sky, which are then read instead of axes.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file cannot be read, lacks a column or the box, is in a unit that cannot be
            converted to Mpc/h, or holds an impossible value. The message names the column and the
            first such row, counted from 0.

        Notes
        -----
        Positions and box are comoving. Other units than Mpc/h that the file declares are converted;
        see `iaemu_likelihood.emulator.units`.
        """
        path = expanded(path)
        if not path.is_file():
            raise FileNotFoundError(f"No galaxy catalogue at {path}.")
        kind = FORMATS.get(path.suffix.lower())
        if kind is None:
            raise ValueError(f"{path} has an unknown ending; expected {', '.join(FORMATS)}.")
        if hdf5_path is not None and kind != "hdf5":
            raise ValueError(f"{path} is not HDF5: there is no {hdf5_path!r} inside it.")
        groups = [(name,) if isinstance(name, str) else tuple(name) for name in (position, axis)]
        if shape is not None:
            if axis_ratio is not None:
                raise ValueError(
                    "Axis ratios belong to axes, not to shapes on the sky; leave them out."
                )
            groups[1] = tuple(shape)
        names = [name for group in groups for name in group]
        sizes = (1, 3), (1, 3) if shape is None else (2,)
        counts = all(len(group) in size for group, size in zip(groups, sizes, strict=True))
        if not counts or len({*names}) < len(names):
            what = "Positions and axes need three different columns each, or one column of shape (n, 3)"
            if shape is not None:
                what += "; shapes on the sky need two"
            raise ValueError(f"{what}; got {', '.join(names)}.")
        if isinstance(axis_ratio, str):
            names.append(axis_ratio)
        columns, metadata = read_table(path, hdf5_path)
        missing = [name for name in names if name not in columns]
        if missing:
            raise ValueError(
                f"{path} lacks the column(s) {', '.join(missing)}; it has "
                f"{', '.join(columns) or 'none'}. Name those of the positions and axes"
                f"{', or their place inside the file' if kind == 'hdf5' else ''}."
            )
        if box is None:
            box = side_of(metadata, "Lbox", "box")
        if box is None:
            raise ValueError(
                f"{path} has no Lbox in its metadata: give the side of the box (--box)."
            )
        check_side(box, path)
        of_position, of_shape = groups
        # Axes of any length may have any unit, but only one.
        own = metadata.unit_of(of_shape[0], columns[of_shape[0]]) or NUMBER
        x = _components(metadata, columns, of_position, LENGTH)
        e = _components(metadata, columns, of_shape, own if shape is None else NUMBER)
        ratios = _axis_ratios(metadata, columns, axis_ratio, len(next(iter(x.values()))))
        rows = {name: len(column) for name, column in (x | e | ratios).items()}
        if len(set(rows.values())) > 1:
            raise ValueError(f"{path}: the columns differ in length: {rows}.")
        x = inside(x, box, path)
        check_filled(x, box, path)
        repeat = first_repeat(*x.values(), *e.values())
        if repeat is not None:
            raise ValueError(
                f"{path}: rows {repeat[0]} and {repeat[1]} are the same galaxy, with equal positions "
                "and axes. Leave the repeated rows out."
            )
        vectors = np.stack([*e.values()], axis=-1)
        with np.errstate(over="ignore", invalid="ignore"):
            length = np.linalg.norm(vectors, axis=1)
        if shape is None:
            bad = ~((length > 0) & (length < np.inf))
            what, why = "axis", "zero or not finite axis"
        else:
            bad = ~(length <= 1)
            what, why = "ellipticity", "modulus that is not finite or above 1"
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{path}: the {what} ({', '.join(e)}) is {vectors[row].tolist()} in row {row}; "
                f"{bad.sum()} row(s) with a {why}. Leave these galaxies out."
            )
        return cls(
            name=path.name,
            positions=np.stack([*x.values()], axis=-1),
            axes=vectors / length[:, None] if shape is None else None,
            box=box,
            n_normalised=int((np.abs(length - 1) > _ROUNDING).sum()) if shape is None else 0,
            sha256=sha256(path),
            axis_ratios=next(iter(ratios.values()), None),
            shapes=None if shape is None else vectors,
        )

    def measure(
        self,
        r_edges: ArrayLike,
        n_side: int = 3,
        periodic: bool = True,
        name: str | None = None,
        statistics: Iterable[str] = DEFAULT_STATISTICS,
    ) -> Measurement:
        """Measure statistics with their joint jackknife covariance.

        Parameters
        ----------
        r_edges : array_like, shape (n_bins + 1,)
            Mpc/h; the last must be below a third of the box.
        n_side : int
            Jackknife regions per side of the box, 2 to 5.
        periodic : bool
            Whether the box is periodic.
        name : str, optional
            Name of the measurement; by default the file's name without its ending.
        statistics : iterable of str
            Names of statistics.

        Returns
        -------
        Measurement
            With all covariance blocks, and with its origin in its metadata.

        Raises
        ------
        ValueError
            As `jackknife`.
        """
        if self.axes is None:
            raise ValueError(
                f"{self.name} was read for shapes on the sky; {', '.join(statistics)} need axes."
            )
        edges = np.asarray(r_edges, np.float64)
        result = jackknife(self.positions, self.axes, self.box, edges, n_side, periodic, statistics)
        how = {
            "box": f"{self.box:.12g} Mpc/h",
            "periodic": periodic,
            "n_side": n_side,
            "n_axes_normalised": self.n_normalised,
        }
        return self._measurement(name, edges, result, how)

    def measure_projected(
        self,
        rp_edges: ArrayLike,
        pi_max: float,
        line_of_sight: str = "z",
        ellipticity: str | None = None,
        responsivity: bool = False,
        n_side: int | None = None,
        name: str | None = None,
    ) -> Measurement:
        """Measure w_gg, w_g+ and w_++ in the periodic box, with their joint jackknife covariance.

        Parameters
        ----------
        rp_edges : array_like, shape (n_bins + 1,)
            Mpc/h; the last must be below a third of the box.
        pi_max : float
            Largest separation along the line of sight, to either side, Mpc/h; below half of the box.
        line_of_sight : str
            A key of `LINES_OF_SIGHT`. The other two coordinates span the sky, and shapes refer to
            the first that follows it in cyclic order: x, y for z; y, z for x; z, x for y. ``all``
            takes the mean over three, for galaxies with axes.
        ellipticity : str, optional
            How it is defined, one of `DEFINITIONS`: of shapes in the catalogue, which must be said, or
            of those that its galaxies show, ``distortion`` by default.
        responsivity : bool
            Whether to divide ellipticities by 2 R, with R = <1 - e^2 / 2> of these galaxies.
        n_side : int, optional
            Jackknife regions per side: columns along one line of sight, 10 by default, or cubes for
            all, 5 by default.
        name : str, optional
            Name of the measurement; by default the file's name without its ending.

        Returns
        -------
        Measurement
            With all covariance blocks, and with its conventions and its origin.

        Raises
        ------
        ValueError
            If galaxies have neither shapes nor axes with axis ratios, an argument is unknown or
            missing; also as `projected_jackknife`.
        """
        views, conventions, how = self._seen(line_of_sight, ellipticity, responsivity, pi_max)
        edges = np.asarray(rp_edges, np.float64)
        result = projected_jackknife(self.positions, views, self.box, edges, pi_max, n_side)
        return self._measurement(name, edges, result, how, conventions)

    def measure_quadrupole(
        self,
        r_edges: ArrayLike,
        line_of_sight: str = "z",
        ellipticity: str | None = None,
        responsivity: bool = False,
        n_side: int = 3,
        name: str | None = None,
    ) -> Measurement:
        """Measure the quadrupole of positions and shapes, with its jackknife covariance.

        Parameters
        ----------
        r_edges : array_like, shape (n_bins + 1,)
            Mpc/h; the last must be below a third of the box.
        line_of_sight, ellipticity, responsivity, name
            As in `measure_projected`.
        n_side : int
            Jackknife cubes per side, 2 to 5.

        Returns
        -------
        Measurement
            In bins of r.

        Raises
        ------
        ValueError
            As `measure_projected` and `quadrupole_jackknife`.
        """
        views, conventions, how = self._seen(line_of_sight, ellipticity, responsivity)
        edges = np.asarray(r_edges, np.float64)
        result = quadrupole_jackknife(self.positions, views, self.box, edges, n_side)
        return self._measurement(name, edges, result, how, conventions)

    def _seen(
        self,
        line_of_sight: str,
        ellipticity: str | None,
        responsivity: bool,
        pi_max: float | None = None,
    ) -> tuple[dict[int, Array], Conventions, dict[str, Any]]:
        """Ellipticities by the line of sight, how they are measured, and more of it as metadata."""
        if line_of_sight not in LINES_OF_SIGHT:
            raise ValueError(
                f"line_of_sight is {line_of_sight!r}; it must be one of {', '.join(LINES_OF_SIGHT)}."
            )
        sides = LINES_OF_SIGHT[line_of_sight]
        definition = ellipticity or next(iter(DEFINITIONS))
        how: dict[str, Any] = {
            "periodic": True,
            "line_of_sight": ", ".join("xyz"[side] for side in sides),
        }
        if self.shapes is not None:
            if ellipticity is None:
                raise ValueError(
                    f"How are the ellipticities of {self.name} defined? Give ellipticity, one of "
                    f"{', '.join(DEFINITIONS)}."
                )
            if len(sides) > 1:
                raise ValueError(
                    f"The shapes of {self.name} are seen along one line of sight: x, y or z. All "
                    "three take axes and axis ratios."
                )
            views = {sides[0]: self.shapes}
        elif self.axes is not None and self.axis_ratios is not None:
            q = self.axis_ratios
            views = {side: project(self.axes, q, side, definition) for side in sides}
            alike = (q == q[0]).all()
            how |= {"axis_ratio": float(q[0])} if alike else {"mean_axis_ratio": float(q.mean())}
        else:
            raise ValueError(
                f"{self.name} has no axis ratios (--axis-ratio, a column or a number), by which its "
                "galaxies' axes become shapes on the sky; or give columns of such shapes (--e1, --e2)."
            )
        squares = np.mean([(e**2).sum(axis=1).mean() for e in views.values()])
        conventions = Conventions(
            None if pi_max is None else float(pi_max),
            ellipticity=definition,
            responsivity=float(1 - squares / 2) if responsivity else None,
            box=self.box,
        )
        how |= {"box": self.box, "rms_ellipticity": float(np.sqrt(squares))}
        factor = conventions.shape_factor
        return {side: e * factor for side, e in views.items()}, conventions, how

    def _measurement(
        self,
        name: str | None,
        edges: Array,
        result: Jackknife,
        how: Mapping[str, Any],
        conventions: Conventions | None = None,
    ) -> Measurement:
        errors = np.split(np.sqrt(np.diag(result.covariance)), len(result))
        n_bins = len(edges) - 1
        blocks = result.covariance.reshape(len(result), n_bins, len(result), n_bins)
        return Measurement(
            name=name or Path(self.name).stem,
            r_min=edges[:-1],
            r_max=edges[1:],
            values=dict(result),
            errors=dict(zip(result, errors, strict=True)),
            covariances={
                (a, b): blocks[i, :, j] for i, a in enumerate(result) for j, b in enumerate(result)
            },
            n_jackknife=result.n_jackknife,
            metadata={
                **how,
                "n_galaxies": result.n_galaxies,
                "catalogue": self.name,
                "catalogue_sha256": self.sha256,
                "version": version("iaemu_likelihood"),
            },
            conventions=conventions,
        )


def log_edges(r_min: float, r_max: float, n_bins: int) -> Array:
    """Edges of logarithmic bins, shape (n_bins + 1,), Mpc/h."""
    if not (0 < r_min < r_max < np.inf and 0 < n_bins <= MAX_BINS):
        raise ValueError(
            f"{n_bins} bins from {r_min:g} to {r_max:g} Mpc/h: expected at least one, {MAX_BINS} at "
            "most, and 0 < r_min < r_max."
        )
    return np.logspace(np.log10(r_min), np.log10(r_max), n_bins + 1)


def _components(
    metadata: FileMetadata, columns: Mapping[str, Any], names: Sequence[str], unit: str
) -> dict[str, Array]:
    """The three components that one column or three hold, each of shape (n_galaxies,)."""
    values = {name: metadata.column(columns, name, unit).astype(np.float64) for name in names}
    shape = (3,) if len(names) == 1 else ()
    for name, column in values.items():
        if column.shape[1:] != shape:
            expected = "three numbers" if shape else "one number"
            raise ValueError(
                f"{metadata.source}: {name} has shape {column.shape}; expected {expected} per galaxy. "
                "Name three columns, or one of shape (n, 3)."
            )
    if not shape:
        return values
    [(name, vectors)] = values.items()
    return {f"{name}[{i}]": vectors[:, i] for i in range(3)}


def _axis_ratios(
    metadata: FileMetadata, columns: Mapping[str, Any], given: str | float | None, n: int
) -> dict[str, Array]:
    """Axis ratios of n galaxies by the name of their column, checked; empty if there are none."""
    if given is None:
        return {}
    if isinstance(given, str):
        name, ratios = given, metadata.column(columns, given, NUMBER).astype(np.float64)
        if ratios.ndim != 1:
            raise ValueError(
                f"{metadata.source}: {name} has shape {ratios.shape}; expected one number per galaxy."
            )
    else:
        name, ratios = "axis_ratio", np.full(n, float(given))
    bad = ~((ratios > 0) & (ratios <= 1))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{metadata.source}: {name} is {ratios[row]} in row {row}; expected the shorter over the "
            f"longer axis, above 0 and at most 1. {bad.sum()} such row(s)."
        )
    return {name: ratios}
