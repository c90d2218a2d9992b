"""One hash of the numbers of a file, however the file keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def digest(arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]) -> str:
    """SHA-256 of named arrays and attributes, as hexadecimal digits.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Of numbers.
    attributes : mapping of str to str, number, or sequence of these
        An array in place of a sequence, or a number of numpy, makes no difference.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If something else is among them.
    """
    for name, values in arrays.items():
        if values.dtype.kind not in "biuf":
            raise TypeError(f"{name} holds no numbers")
    described = {name: (values.dtype.str, values.shape) for name, values in sorted(arrays.items())}
    plain = {name: np.asarray(value).tolist() for name, value in sorted(attributes.items())}
    found = hashlib.sha256(json.dumps([described, plain]).encode())
    for name in described:
        found.update(np.ascontiguousarray(arrays[name]).data)
    return found.hexdigest()


def joint_sha256(hashes: Sequence[str]) -> str:
    """The only one of some hashes, or the hash of all."""
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
