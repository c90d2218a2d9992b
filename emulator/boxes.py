"""Points in a cubic box: checks that a file's numbers make sense together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.units import LENGTH, FileMetadata
from numpy.typing import NDArray

# By so much of the side a position may lie beyond it: a few roundings of single precision.
_ROUNDING = 4 * float(np.finfo(np.float32).eps)
# Points that reach this share of the side fill it in any case.
_FULL = 0.95
# Points come in groups. Of the cells of a coarse grid about them, so many per side, that hold some, one
# in so many counts as an independent point. If such points would leave as much room with less than this
# probability, the box is not theirs.
_CELLS, _PER_POINT, _LOG_PROBABILITY = 16, 4, -np.log(1e6)


def side_of(metadata: FileMetadata, *names: str) -> float | None:
    """Side of the box, Mpc/h, that metadata hold under one of these names; None if they do not.

    Raises
    ------
    ValueError
        If it is not a positive number, or the box is no cube.
    """
    side = metadata.number(*names, unit=LENGTH)
    if side is not None:
        check_side(side, metadata.source)
    return side


def check_side(side: float, source: str | Path) -> None:
    """Raise a ValueError unless the side of a box is positive and finite."""
    if not 0 < side < np.inf:
        raise ValueError(
            f"{source}: the side of the box is {side} Mpc/h; expected a positive number."
        )


def inside(
    columns: Mapping[str, NDArray[Any]], side: float, source: str | Path
) -> dict[str, NDArray[Any]]:
    """Positions in [0, side], those beyond it by a rounding of single precision moved onto its faces.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (n,)
        The three coordinates by their names, Mpc/h.
    side : float
        Of the box, Mpc/h.
    source : str or Path
        Where they come from, for messages.

    Raises
    ------
    ValueError
        If a position is outside.
    """
    margin = _ROUNDING * side
    for name, column in columns.items():
        bad = ~((column >= -margin) & (column <= side + margin))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{source}: {name} is {column[row]} in row {row}, outside the box, 0 to {side:g} "
                f"Mpc/h; {bad.sum()} such row(s). {_hint(columns, side)}Check the box, the column and "
                "its unit."
            )
    return {name: np.clip(column, 0, side) for name, column in columns.items()}


def inside_array(
    position: NDArray[np.float64], side: float, source: str | Path
) -> NDArray[np.float64]:
    """As `inside`, for an array of shape (n, 3)."""
    columns = dict(zip("xyz", position.T, strict=True))
    return np.stack([*inside(columns, side, source).values()], axis=-1)


def check_filled(columns: Mapping[str, NDArray[Any]], side: float, source: str | Path) -> None:
    """Raise a ValueError if points do not fill their box: then both are in different units.

    Parameters
    ----------
    columns, side, source
        As in `inside`.
    """
    if any(len(column) < 2 for column in columns.values()):
        return
    extents = {name: (column.min(), column.max()) for name, column in columns.items()}
    cell: Any = 0
    for column, (low, high) in zip(columns.values(), extents.values(), strict=True):
        place = (column - low) * (_CELLS / max(high - low, np.finfo(np.float32).tiny))
        cell = cell * _CELLS + np.minimum(place.astype(np.int64), _CELLS - 1)
    independent = np.count_nonzero(np.bincount(cell)) / _PER_POINT
    log_probability = 0.0
    for low, high in extents.values():
        share = max((high - low) / side, np.finfo(np.float32).tiny)
        if share < _FULL and independent > 1:
            # That independent points lie within some share of the side.
            log_share = (independent - 1) * np.log(share)
            log_probability += min(np.log(independent) + log_share, 0.0)
    if log_probability < _LOG_PROBABILITY:
        listed = ", ".join(
            f"{name} from {low:g} to {high:g}" for name, (low, high) in extents.items()
        )
        raise ValueError(
            f"{source}: the positions do not fill the box, 0 to {side:g} Mpc/h: {listed}. Give the side "
            "in the unit of the positions (Mpc/h, not Mpc), and points from a whole cube."
        )


def _hint(columns: Mapping[str, NDArray[Any]], side: float) -> str:
    low, high = (np.array([f(x) for x in columns.values()]) for f in (np.min, np.max))
    if (low < 0).any() and (low >= -side / 2).all() and (high <= side / 2).all():
        return "The box seems to be centred on 0: add half its side to the positions. "
    beyond = high > 1.05 * side
    if beyond.any() and not beyond.all():
        return "The box seems to be no cube: only cubic boxes can be used. "
    return ""


def first_repeat(*columns: NDArray[Any]) -> tuple[int, int] | None:
    """The first two rows that are equal in all columns, each of shape (n,); None if there are none."""
    if len(columns[0]) < 2:
        return None
    order = np.argsort(columns[0], kind="stable")
    equal = np.diff(columns[0][order]) == 0
    # Few rows share the first column, unless something is wrong.
    rows = np.sort(order[np.append(equal, False) | np.append(False, equal)])
    if not len(rows):
        return None
    order = rows[np.lexsort([column[rows] for column in columns])]
    equal = np.all([np.diff(column[order]) == 0 for column in columns], axis=0)
    at = np.flatnonzero(equal)
    if not len(at):
        return None
    first = at[np.argmin(order[at])]
    return int(order[first]), int(order[first + 1])
