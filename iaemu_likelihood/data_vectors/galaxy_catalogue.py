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
from iaemu_likelihood.emulator.mocks import jackknife
from iaemu_likelihood.emulator.mocks.jackknife import MAX_BINS
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS
from iaemu_likelihood.emulator.reading import FORMATS, expanded, read_table
from iaemu_likelihood.emulator.units import LENGTH, NUMBER, FileMetadata

Array = NDArray[np.float64]

POSITION = ("x", "y", "z")
AXIS = ("galaxy_axisA_x", "galaxy_axisA_y", "galaxy_axisA_z")
# Axes whose length is as close to 1 as this count as unit vectors that were rounded.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class GalaxyCatalogue:
    """Positions and axes of galaxies in a cubic box.

    Attributes
    ----------
    name : str
        Name of the file.
    positions : ndarray, shape (n_galaxies, 3)
        Mpc/h, in [0, box].
    axes : ndarray, shape (n_galaxies, 3)
        Unit vectors.
    box : float
        Side of the box, Mpc/h.
    n_normalised : int
        Number of axes whose length in the file is not 1.
    sha256 : str
        SHA-256 of the file.
    """

    name: str
    positions: Array
    axes: Array
    box: float
    n_normalised: int
    sha256: str

    @classmethod
    def read(
        cls,
        path: str | Path,
        box: float | None = None,
        position: str | Sequence[str] = POSITION,
        axis: str | Sequence[str] = AXIS,
        hdf5_path: str | None = None,
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
        names = [name for group in groups for name in group]
        if any(len(group) not in (1, 3) for group in groups) or len({*names}) < len(names):
            raise ValueError(
                "Positions and axes need three different columns each, or one column of shape "
                f"(n, 3); got {', '.join(names)}."
            )
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
        of_position, of_axis = groups
        # Axes of any length may have any unit, but only one.
        own = metadata.unit_of(of_axis[0], columns[of_axis[0]]) or NUMBER
        x = _components(metadata, columns, of_position, LENGTH)
        e = _components(metadata, columns, of_axis, own)
        rows = {name: len(column) for name, column in (x | e).items()}
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
        axes = np.stack([*e.values()], axis=-1)
        with np.errstate(over="ignore", invalid="ignore"):
            length = np.linalg.norm(axes, axis=1)
        bad = ~((length > 0) & (length < np.inf))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{path}: the axis ({', '.join(e)}) is {axes[row].tolist()} in row {row}; "
                f"{bad.sum()} row(s) with a zero or not finite axis. Leave these galaxies out."
            )
        return cls(
            name=path.name,
            positions=np.stack([*x.values()], axis=-1),
            axes=axes / length[:, None],
            box=box,
            n_normalised=int((np.abs(length - 1) > _ROUNDING).sum()),
            sha256=sha256(path),
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
        edges = np.asarray(r_edges, np.float64)
        result = jackknife(self.positions, self.axes, self.box, edges, n_side, periodic, statistics)
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
                "box": f"{self.box:.12g} Mpc/h",
                "periodic": periodic,
                "n_side": n_side,
                "n_galaxies": result.n_galaxies,
                "n_axes_normalised": self.n_normalised,
                "catalogue": self.name,
                "catalogue_sha256": self.sha256,
                "version": version("iaemu_likelihood"),
            },
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
