"""Changes that any file may suffer, and values that nobody expects."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

Rng = np.random.Generator

ODD_TEXTS = (
    "",
    " ",
    "nan",
    "-inf",
    "[/b]",
    "[bold]",
    "lambda: 1",
    "../x",
    "0x10",
    "1e400",
    "µ",
    "{}",
)
ODD_NUMBERS = (0, -1, 1, 2**31, -(2**63), 10**30, 0.5, -0.0, 1e-300, 1e300)
# With which a heap of texts begins in an HDF5 file.
HEAP = b"GCOL"
NOT_FINITE = (float("nan"), float("inf"), float("-inf"))


def one(rng: Rng, choices: Any) -> Any:
    """One of some choices."""
    choices = list(choices)
    return choices[rng.integers(len(choices))]


def odd(rng: Rng) -> Any:
    """A value of a type or size that nobody expects."""
    return one(
        rng,
        [
            *ODD_TEXTS,
            *ODD_NUMBERS,
            *NOT_FINITE,
            None,
            True,
            False,
            [],
            {},
            [1, 2],
            {"a": 1},
            [[0.1]],
        ],
    )


def damaged(rng: Rng, content: bytes) -> tuple[str, bytes]:
    """A file after an accident: its bytes are not all what they were.

    Returns
    -------
    about : str
    content : bytes
    """
    n = len(content)
    at = int(rng.integers(n))
    length = int(min(n - at, 2 ** rng.integers(0, 9)))
    kind = one(rng, ["bit", "bit", "bit", "byte", "cut", "drop", "twice", "zeros", "noise", "swap"])
    data = bytearray(content)
    if kind == "bit":
        bit = int(rng.integers(8))
        data[at] ^= 1 << bit
        return f"bit {bit} of byte {at} flipped", bytes(data)
    if kind == "byte":
        data[at] = int(rng.integers(256))
        return f"byte {at} is now {data[at]}", bytes(data)
    if kind == "cut":
        return f"cut after {at} of {n} bytes", content[:at]
    where = f"{length} bytes from {at}"
    if kind == "drop":
        del data[at : at + length]
    elif kind == "twice":
        data[at:at] = content[at : at + length]
    elif kind == "zeros":
        data[at : at + length] = bytes(length)
    elif kind == "noise":
        data[at : at + length] = rng.bytes(length)
    else:
        other = int(rng.integers(n))
        data[at], data[other] = data[other], data[at]
        where = f"bytes {at} and {other}"
    return f"{where}: {kind}", bytes(data)


def damaged_hdf5(rng: Rng, content: bytes) -> tuple[str, bytes]:
    """As `damaged`, but not inside a global heap, where HDF5's library then may search for ever."""
    starts = [found.start() for found in re.finditer(HEAP, content)]
    heaps = [slice(at, at + int.from_bytes(content[at + 8 : at + 16], "little")) for at in starts]
    while True:
        about, new = damaged(rng, content)
        if all(new[x] == content[x] or not new[x].startswith(HEAP) for x in heaps):
            return about, new


def same(found: Any, wanted: Any, rtol: float = 1e-9) -> bool:
    """Whether numbers agree, relative to the largest, and hold NaN at the same places."""
    found, wanted = np.asarray(found, float), np.asarray(wanted, float)
    if found.shape != wanted.shape:
        return False
    finite = np.isfinite(wanted)
    if not np.array_equal(found[~finite], wanted[~finite], equal_nan=True):
        return False
    scale = np.abs(wanted[finite]).max(initial=0.0)
    return bool((np.abs(found[finite] - wanted[finite]) <= rtol * scale).all())
