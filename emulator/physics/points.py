"""Parameters in the forms in which users have them: by name in tables, rows and mappings, or in arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def is_number(value: Any) -> bool:
    """Whether a value of a file is a number, which may be infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == value if isinstance(value, float) else abs(value) < 2**63


def by_name(parameters: Any, known: Sequence[str]) -> dict[Any, Any] | None:
    """The columns of a table, or the values of a row, by their names.

    Parameters
    ----------
    parameters : object
        A mapping, a structured array, a table or a row of astropy, pandas, polars or pyarrow, or a
        list of mappings or rows; or anything else.
    known : sequence of str
        Names of the parameters.

    Returns
    -------
    dict or None
        None if nothing in it has a name.

    Raises
    ------
    TypeError
        If a name appears twice, or the rows of a list have other names than those that are known.
    """
    names = _names(parameters)
    if names is not None:
        if len(set(names)) < len(names):
            raise TypeError(f"Each parameter is wanted once; got {', '.join(map(str, names))}.")
        return {name: parameters[name] for name in names}
    if not isinstance(parameters, list | tuple) or not parameters or _names(parameters[0]) is None:
        return None
    for number, row in enumerate(parameters):
        names = _names(row)
        if names is None:
            raise TypeError(f"Row 0 has names, but row {number} is {row!r}.")
        check_names(names, known, f" in row {number}")
    return {name: [row[name] for row in parameters] for name in known}


def _names(x: Any) -> list[Any] | None:
    """Names of columns or values; None if they have none."""
    if isinstance(x, Mapping):
        return list(x)
    fields = getattr(getattr(x, "dtype", None), "names", None)  # of a structured array
    if fields is not None or isinstance(x, np.ndarray | float | list | tuple):
        return None if fields is None else list(fields)
    for attribute in ("colnames", "column_names", "columns", "keys"):
        found = getattr(x, attribute, None)
        if found is not None:
            return list(found() if callable(found) else found)
    return None


def check_names(names: Sequence[Any], known: Sequence[str], where: str = "") -> None:
    """Raise a TypeError unless the names are those that are known, in any order."""
    missing = [name for name in known if name not in names]
    unknown = [str(name) for name in names if name not in known]
    if missing or unknown:
        raise TypeError(
            f"The parameters are {', '.join(known)}; missing{where}: {', '.join(missing) or 'none'}; "
            f"unknown: {', '.join(unknown) or 'none'}."
        )


def columns_of(named: Mapping[Any, Any], known: Sequence[str]) -> list[NDArray[Any]]:
    """Numbers by name, in the order of the names that are known.

    Parameters
    ----------
    named : mapping
        Numbers, or arrays of one shape, beside which numbers hold for all.
    known : sequence of str

    Returns
    -------
    list of ndarray
        All of one shape, each in its own precision.

    Raises
    ------
    TypeError
        As `check_names` and `numbers`.
    ValueError
        If arrays have different shapes.
    """
    check_names(list(named), known)
    each = [numbers(named[name], name) for name in known]
    if len({x.shape for x in each if x.ndim}) > 1:
        shapes = ", ".join(f"{name} {x.shape}" for name, x in zip(known, each, strict=True))
        raise ValueError(f"The parameters have different shapes: {shapes}.")
    return list(np.broadcast_arrays(*each))


def numbers(values: Any, what: str) -> NDArray[Any]:
    """Real numbers as an array in their own precision.

    Parameters
    ----------
    values : array_like
    what : str
        Name, for the message.

    Raises
    ------
    TypeError
        If they are not real numbers, have a unit, or some are masked.
    ValueError
        If rows have different lengths, or a number is too large.
    """
    if hasattr(values, "detach"):
        try:
            values = values.detach().cpu().numpy()
        except (TypeError, RuntimeError) as error:  # bfloat16, sparse, without numbers
            raise TypeError(f"{what}: the tensor cannot be taken as an array. {error}") from error
    unit, mask = (getattr(values, name, None) for name in ("unit", "mask"))
    if unit is not None and str(unit):
        raise TypeError(
            f"{what} in {unit}: give numbers without a unit; masses are log10 of Msun/h."
        )
    if mask is not None and not callable(mask) and np.any(mask):
        raise TypeError(f"{what}: some values are masked; leave them out.")
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{what} must be numbers, as many in each row. {error}") from error
    if found.dtype.kind == "O":
        odd = [x for x in found.flat if not isinstance(x, Real) or isinstance(x, bool)]
    else:
        odd = [] if found.dtype.kind in "iuf" else list(found.flat)
    if odd:
        raise TypeError(f"{what} must be real numbers; got {odd[0]!r} ({type(odd[0]).__name__}).")
    try:
        return found if found.dtype.kind == "f" else found.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"{what}: a number is too large. {error}") from error


def half_spacing(values: NDArray[Any]) -> Array | float:
    """Largest error by which numbers in less than double precision were rounded; else 0."""
    if values.dtype.itemsize >= np.dtype(np.float64).itemsize:
        return 0.0
    return np.spacing(np.abs(values)).astype(np.float64) / 2
