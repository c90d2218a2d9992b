"""What a run depends on, in a form that is the same in every process: functions by their source."""

from __future__ import annotations

import hashlib
import inspect
import pickle
from collections.abc import Mapping
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any

import numpy as np


def fingerprint(value: Any) -> Any:
    """Describe a value that JSON does not know, as ``json.dumps`` takes it for ``default``.

    Functions are described by their source, by the values that they take from outside themselves,
    and by their defaults, so that a function which would give other numbers is another.

    Raises
    ------
    ValueError
        If nothing but an address in memory is known of it.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    return _described(value, ())


def _described(value: Any, inside: tuple[Any, ...]) -> Any:
    """As `fingerprint`; functions that are being described, `inside`, are named only."""
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, FunctionType):
        if value in inside:
            return value.__qualname__
        try:
            source = inspect.getsource(value)
        except (OSError, TypeError) as error:
            raise _unknown(value) from error
        around = inspect.getclosurevars(value)
        used = {**around.globals, **around.nonlocals}
        used["defaults"] = [value.__defaults__, value.__kwdefaults__]
        return source, {k: _described(used[k], (*inside, value)) for k in sorted(used)}
    try:
        return hashlib.sha256(pickle.dumps(value, protocol=4)).hexdigest()
    except Exception as error:  # pickle raises many kinds
        raise _unknown(value) from error


def _unknown(value: Any) -> ValueError:
    return ValueError(
        f"The input holds {value!r}, whose source is not known, so a stopped run could not be told "
        "from one with another function. Write it as text ('lambda x: ...'), or define it in a file."
    )
