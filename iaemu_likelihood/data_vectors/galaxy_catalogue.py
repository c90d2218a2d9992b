"""A user's galaxy catalogue: reading, checking, and measuring it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iaemu_likelihood.data import sha256
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.emulator.mocks import jackknife
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS

Array = NDArray[np.float64]

POSITION = ("x", "y", "z")
AXIS = ("galaxy_axisA_x", "galaxy_axisA_y", "galaxy_axisA_z")
FORMATS = {
    ".hdf5": "hdf5",
    ".h5": "hdf5",
    ".fits": "fits",
    ".fit": "fits",
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
}
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
        position: Sequence[str] = POSITION,
        axis: Sequence[str] = AXIS,
        hdf5_path: str | None = None,
    ) -> GalaxyCatalogue:
        """Read a catalogue from HDF5, FITS, CSV or ECSV.

        Parameters
        ----------
        path : str or Path
            The file; its ending names the format. HDF5 may hold a table or one dataset per column.
        box : float, optional
            Side of the box, Mpc/h; by default the file's metadata ``Lbox`` or ``box``.
        position, axis : sequence of 3 str
            Names of the columns of the positions, Mpc/h, and of the major axes, of any length.
        hdf5_path : str, optional
            Path of the table, or of the group of datasets, inside an HDF5 file; by default the only
            table, or the root.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file cannot be read, lacks a column or the box, is in another unit than Mpc/h,
            or holds an impossible value. The message names the column and the first such row,
            counted from 0.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"No galaxy catalogue at {path}.")
        names = [*position, *axis]
        if len(set(names)) < len(POSITION) + len(AXIS):
            raise ValueError(f"Six different columns are needed; got {', '.join(names)}.")
        columns, metadata = _read_table(path, names, hdf5_path)
        for name in position:
            _check_unit(columns[name], f"{path}: {name}")
        if box is None:
            box = _box_of(metadata, path)
        elif not 0 < box < np.inf:
            raise ValueError(f"The box is {box} Mpc/h; expected a positive number.")
        values = {name: _numbers(columns[name], f"{path}: {name}") for name in names}
        rows = {name: len(column) for name, column in values.items()}
        if len(set(rows.values())) > 1:
            raise ValueError(f"{path}: the columns differ in length: {rows}.")
        for name in position:
            column = values[name]
            bad = ~((column >= 0) & (column <= box))
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                raise ValueError(
                    f"{path}: {name} is {column[row]} in row {row}, outside the box, 0 to {box:g} "
                    f"Mpc/h; {bad.sum()} such row(s). Check the box, the column and its unit."
                )
        axes = np.stack([values[name] for name in axis], axis=-1)
        with np.errstate(over="ignore"):
            length = np.linalg.norm(axes, axis=1)
        bad = ~((length > 0) & (length < np.inf))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{path}: the axis ({', '.join(axis)}) is {axes[row].tolist()} in row {row}; "
                f"{bad.sum()} row(s) with a zero or not finite axis. Leave these galaxies out."
            )
        return cls(
            name=path.name,
            positions=np.stack([values[name] for name in position], axis=-1),
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
    if not (0 < r_min < r_max < np.inf and n_bins > 0):
        raise ValueError(
            f"{n_bins} bins from {r_min:g} to {r_max:g} Mpc/h: expected at least one, and "
            "0 < r_min < r_max."
        )
    return np.logspace(np.log10(r_min), np.log10(r_max), n_bins + 1)


def _read_table(
    path: Path, names: Sequence[str], hdf5_path: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns by name, and metadata."""
    from astropy.table import Table
    from astropy.units import UnitsWarning

    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path} has an unknown ending; expected {', '.join(FORMATS)}.")
    if hdf5_path is not None and kind != "hdf5":
        raise ValueError(f"{path} is not HDF5: there is no {hdf5_path!r} inside it.")
    try:
        with warnings.catch_warnings():
            # astropy warns about littleh, which `_check_unit` accepts.
            warnings.simplefilter("ignore", UnitsWarning)
            if kind == "hdf5":
                columns, metadata = _read_hdf5(path, hdf5_path)
            else:
                table = Table.read(path, format=kind)
                columns, metadata = dict(table.items()), dict(table.meta)
    except Exception as error:  # astropy raises many kinds for a damaged file
        raise ValueError(f"{path} cannot be read as {kind}: {error}") from error
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has "
            f"{', '.join(columns) or 'none'}. Name those of the positions and axes"
            f"{', or their place inside the file' if kind == 'hdf5' else ''}."
        )
    return columns, metadata


def _read_hdf5(path: Path, hdf5_path: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    import h5py
    from astropy.table import Column, Table

    with h5py.File(path) as file:
        if hdf5_path is None:
            found = {name: data for name, data in file.items() if isinstance(data, h5py.Dataset)}
            tables = [name for name, data in found.items() if data.dtype.names]
            hdf5_path = tables[0] if len(tables) == 1 else "/"
        if hdf5_path not in file:
            raise ValueError(f"no {hdf5_path!r} inside; there are {', '.join(file)}.")
        node, attributes = file[hdf5_path], dict(file.attrs)
        if isinstance(node, h5py.Group):
            columns = {
                name: Column(data[()], unit=data.attrs.get("unit", data.attrs.get("units")))
                for name, data in node.items()
                if isinstance(data, h5py.Dataset) and data.ndim == 1
            }
            return columns, {**attributes, **node.attrs}
    table = Table.read(path, format="hdf5", path=hdf5_path)
    return dict(table.items()), {**attributes, **table.meta}


def _box_of(metadata: Mapping[str, Any], path: Path) -> float:
    found = {str(key).lower(): value for key, value in metadata.items()}
    value = found.get("lbox", found.get("box"))
    if value is None:
        raise ValueError(f"{path} has no Lbox in its metadata: give the side of the box (--box).")
    _check_unit(value, f"{path}: the box in the metadata")
    try:
        sides = np.unique(np.asarray(value, np.float64))
    except (TypeError, ValueError):
        sides = np.empty(0)
    if len(sides) != 1 or not 0 < sides[0] < np.inf:
        raise ValueError(
            f"{path}: the box in the metadata is {value!r}; expected a positive number, the side "
            "of a cube in Mpc/h. Give it with --box."
        )
    return float(sides[0])


def _check_unit(values: Any, label: str) -> None:
    unit = str(getattr(values, "unit", None) or "")
    # astropy takes the h of Mpc/h for an hour, which does no harm here.
    plain = re.sub(r"[\s*^().]", "", unit).lower().replace("littleh", "h")
    if not re.fullmatch(r"|c?mpc(/h|h-1)|h-1c?mpc", plain):
        raise ValueError(
            f"{label} is in {unit!r}; expected Mpc/h. Convert the values (kpc/h: divide by 1000; "
            "Mpc: multiply by h = H0 / (100 km/s/Mpc)) and set or remove the unit."
        )


def _numbers(column: Any, label: str) -> Array:
    try:
        # Masked values, such as empty cells of a CSV file, become NaN.
        values = np.asarray(np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{label} holds {column.dtype}, not numbers.") from error
    if values.ndim != 1:
        raise ValueError(
            f"{label} has shape {values.shape}; expected one number per galaxy: split it."
        )
    return values
