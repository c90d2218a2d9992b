"""How projected statistics were measured, as the metadata of their file say it.

The keys are ``pi_max`` (Mpc/h), ``pi_weight`` (pairs of Pi, in Mpc/h, and W), ``ellipticity``,
``responsivity``, ``redshift_space``, ``sign`` and ``axis_ratio``; `Conventions` has their meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.shapes import DEFINITIONS
from iaemu_likelihood.emulator.physics.statistics import PROJECTED, ProjectedStatistic
from iaemu_likelihood.emulator.units import LENGTH, FileMetadata

# Alignment along the separation is positive, or, as of TreeCorr's tangential shear, negative.
RADIAL, TANGENTIAL = "radial", "tangential"
SIGNS = RADIAL, TANGENTIAL
AXIS_RATIO = "axis_ratio"
# Keys of the metadata, and what `Conventions` calls them.
_ATTRIBUTES = {
    "pi_max": "pi_max",
    "pi_weight": "weight",
    "ellipticity": "ellipticity",
    "responsivity": "responsivity",
    "redshift_space": "redshift_space",
    "box": "box",
}


def projected(statistics: Iterable[str]) -> list[ProjectedStatistic]:
    """Those of some statistics, by their names, that are projected."""
    return [PROJECTED[name] for name in statistics if name in PROJECTED]


def read_conventions(metadata: FileMetadata, statistics: Iterable[str]) -> Conventions | None:
    """The conventions of a file's statistics; None if none of them is projected.

    That there is a pi_max, where one is needed, is for `check_conventions`.

    Parameters
    ----------
    metadata : FileMetadata
    statistics : iterable of str
        Those in the file.

    Raises
    ------
    ValueError
        If a key is missing or has an impossible value; the message names the file and the key.
    """
    found = projected(statistics)
    if not found:
        return None
    given: dict[str, Any] = {
        "pi_max": metadata.number("pi_max", unit=LENGTH),
        "pi_weight": _weight(metadata),
        "ellipticity": metadata.get("ellipticity"),
        "responsivity": metadata.number("responsivity"),
        "redshift_space": metadata.get("redshift_space"),
        "box": metadata.number("box", unit=LENGTH),
    }
    shapes = [one.name for one in found if one.n_shapes]
    if shapes and given["ellipticity"] is None:
        raise ValueError(
            f"{metadata.source}: {shapes[0]} needs ellipticity in the metadata, how it is defined: "
            f"{' or '.join(DEFINITIONS)}."
        )
    checked: dict[str, Any] = {"pi_max": None}
    for key, value in given.items():
        if value is None:
            continue
        checked[_ATTRIBUTES[key]] = value
        try:
            Conventions(**{"pi_max": None, _ATTRIBUTES[key]: value})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{metadata.source}: {key} in the metadata: {error}") from error
    return Conventions(**checked)


def check_conventions(
    conventions: Conventions | None, statistics: Iterable[str], source: str
) -> None:
    """Raise a ValueError if projected statistics, by their names, lack conventions or pi_max."""
    for one in projected(statistics):
        if conventions is None:
            raise ValueError(
                f"{source}: {one.name} needs conventions, which say how it was measured."
            )
        if one.is_integrated and conventions.pi_max is None:
            raise ValueError(
                f"{source}: {one.name} needs pi_max, the largest separation along the line of sight, to "
                "either side, in Mpc/h; in a file it is in the metadata."
            )


def read_sign(metadata: FileMetadata) -> str:
    """One of `SIGNS`; radial if the metadata do not say it.

    Raises
    ------
    ValueError
        If it is something else.
    """
    sign = metadata.get("sign")
    if sign is None:
        return RADIAL
    if sign not in SIGNS:
        raise ValueError(
            f"{metadata.source}: sign in the metadata is {sign!r}; expected {RADIAL} (alignment along "
            f"the separation is positive) or {TANGENTIAL} (it is negative)."
        )
    return str(sign)


def written(conventions: Conventions) -> dict[str, Any]:
    """Conventions as metadata, which `read_conventions` reads back."""
    values: dict[str, Any] = {
        key: getattr(conventions, attribute) for key, attribute in _ATTRIBUTES.items()
    }
    return values | {
        "pi_weight": [list(pair) for pair in conventions.weight] or None,
        "sign": RADIAL,
    }


def axis_ratio_of(metadata: Mapping[str, Any], source: str) -> tuple[float, float] | None:
    """Axis ratios of centrals and satellites; None if the metadata do not say them.

    Parameters
    ----------
    metadata : mapping of str to object
        With a number, or two, under ``axis_ratio``.
    source : str
        Where they come from, for messages.

    Raises
    ------
    ValueError
        If they are something else, or outside (0, 1].
    """
    found = metadata.get(AXIS_RATIO)
    if found is None:
        return None
    numbers = found if isinstance(found, list | tuple) else [found]
    real = all(isinstance(q, int | float) and not isinstance(q, bool) for q in numbers)
    if not real or len(numbers) not in (1, 2) or not all(0 < q <= 1 for q in numbers):
        raise ValueError(
            f"{source}: {AXIS_RATIO} in the metadata is {found!r}; expected the shorter over the "
            "longer axis of the galaxies, above 0 and at most 1, or two such numbers: of centrals and "
            "of satellites."
        )
    return float(numbers[0]), float(numbers[-1])


def _weight(metadata: FileMetadata) -> tuple[tuple[float, float], ...] | None:
    given = metadata.get("pi_weight")
    if given is None:
        return None
    try:
        table = np.array(given, np.float64)
    except (ValueError, TypeError):
        table = np.empty(0)
    if table.ndim != 2 or table.shape[1] != 2 or not len(table):
        raise ValueError(
            f"{metadata.source}: pi_weight in the metadata is {given!r}; expected a list of pairs "
            "[Pi, W], with Pi in Mpc/h."
        )
    pi = metadata.column({"pi_weight": table[:, 0]}, "pi_weight", LENGTH)
    return tuple(zip(pi.tolist(), table[:, 1].tolist(), strict=True))
