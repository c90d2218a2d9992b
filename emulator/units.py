"""What a file says about its numbers: metadata, and the units of columns, by astropy.

Lengths and masses are in Mpc/h and Msun/h, and lengths are comoving: no redshift of a file is used to
convert them. An h in a unit is the Hubble parameter, which astropy calls littleh; where a length or
a mass is meant, an hour, as which astropy reads the text ``Mpc/h``, is taken for it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache, cached_property, reduce
from operator import mul
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Where files keep h, in any case. A value from 20 to 200 is H0 in km/s/Mpc.
HUBBLE = (
    "h",
    "littleh",
    "little_h",
    "h0",
    "hubble",
    "hubbleparam",
    "hubble_param",
    "hubble_constant",
)
LENGTH, MASS, SPEED, NUMBER = "Mpc/h", "Msun/h", "km/s", "1"
_PER_MPC = "km/s/Mpc"


def product(*texts: str) -> str:
    """The product of units, as text; an empty text is a unit without a dimension."""
    given = [text for text in texts if text not in ("", NUMBER)]
    if len(given) < 2:
        return next(iter(given), NUMBER)
    from astropy import units

    return str(reduce(mul, map(units.Unit, given)))


def for_astropy(unit: str) -> str:
    """A unit in which the Hubble parameter is called as by astropy, to which h is an hour."""
    return re.sub(r"\bh(?=\d*\b)", "littleh", unit.replace("/h", " / h"))


def knowing_littleh() -> AbstractContextManager[Any]:
    """A context in which astropy knows the unit littleh, the Hubble parameter.

    Of an unknown one it looks for similar names among all units, each time that a column has it: most
    of the time that a table takes.
    """
    from astropy import units

    known = "littleh" in units.get_current_unit_registry().registry
    return nullcontext() if known else units.add_enabled_units([_littleh()])


@cache
def _littleh() -> Any:
    from astropy import units

    return units.def_unit("littleh")


class FileMetadata:
    """The metadata of a file, and the numbers of its columns in the units that are wanted.

    Units are those of the columns themselves, or those that ``units``, a mapping from the name of a
    column or of a number to a unit, gives in the metadata. Without either a number is in the unit
    that is wanted. Lengths and masses without h are converted with h of the metadata, whose names
    are in `HUBBLE`.

    Parameters
    ----------
    source : str or Path
        The file, for messages.
    *found : mapping of str to object
        Metadata of the file and of its parts.
    """

    def __init__(self, source: str | Path, *found: Mapping[Any, Any]) -> None:
        self.source = source
        self._found = [(str(key), value) for one in found for key, value in one.items()]

    @property
    def all(self) -> dict[str, Any]:
        """Everything by its key, unchecked."""
        return dict(self._found)

    def get(self, *names: str) -> Any:
        """The value of a key that has one of these names, in any case; None if there is none.

        Raises
        ------
        ValueError
            If there are several, and they differ.
        """
        return self._find(names)[1]

    def number(self, *names: str, unit: str = NUMBER) -> float | None:
        """One finite number of the metadata in a unit; None if no key has one of these names.

        Several equal numbers, such as the sides of a cube, count as one.

        Raises
        ------
        ValueError
            If it is something else, or its unit cannot be converted; also as `get`.
        """
        key, value = self._find(names)
        if value is None:
            return None
        given = np.asarray(value)
        numbers = given.dtype.kind in "iuf" and given.ndim < 2 and given.size > 0
        if not numbers or not np.isfinite(given).all():
            raise ValueError(
                f"{self.source}: {key} in the metadata is {value!r}; expected a finite number."
            )
        if (given != given.flat[0]).any():
            raise ValueError(
                f"{self.source}: {key} in the metadata is {value!r}; expected one number, or equal "
                "ones, as of a cube."
            )
        return float(given.flat[0]) * self._factor(key, value, unit)

    def column(self, columns: Any, name: str, unit: str) -> NDArray[Any]:
        """Numbers of a column in a unit; empty cells are NaN.

        Parameters
        ----------
        columns : astropy.table.Table, or mapping of str to array_like
        name : str
        unit : str

        Returns
        -------
        ndarray
            In the machine's byte order; of the column's own type if that is a floating-point type
            and nothing is converted, else of double precision.

        Raises
        ------
        ValueError
            If the column does not hold numbers, declares two different units, or one that cannot be
            converted.
        """
        column = columns[name]
        values: Any = np.ma.asarray(column)
        if values.dtype.kind not in "iuf":
            raise ValueError(
                f"{self.source}: the column {name} does not hold numbers, but {values.dtype}."
            )
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        plain = np.asarray(values.filled(np.nan))
        plain = plain.astype(plain.dtype.newbyteorder("="), copy=False)
        factor = self._factor(name, column, unit)
        return plain if factor == 1 else plain * np.float64(factor)

    def unit_of(self, name: str, value: Any) -> str | None:
        """The unit of a column or number, as text; None if the file declares none."""
        return next(iter(self._units_of(name, value)), None)

    @cached_property
    def h(self) -> float | None:
        """The Hubble parameter; None if the metadata do not say it."""
        found = {}
        for name in HUBBLE:
            plain = self.unit_of(*self._find((name,))) in (None, NUMBER)
            number = self.number(name, unit=NUMBER if plain else _PER_MPC)
            if number is None:
                continue
            found[name] = number / 100 if 20 <= number <= 200 else number
            if not 0.2 <= found[name] <= 2:
                raise ValueError(
                    f"{self.source}: {name} in the metadata is {number:g}; expected h, or H0 in "
                    f"{_PER_MPC}."
                )
        if found and max(found.values()) > 1.001 * min(found.values()):
            raise ValueError(f"{self.source}: its metadata say different values of h: {found}.")
        return next(iter(found.values()), None)

    def _find(self, names: tuple[str, ...]) -> tuple[str, Any]:
        wanted = {name.lower() for name in names}
        keys = [pair for pair in self._found if pair[0].lower() in wanted]
        if not keys:
            return names[0], None
        (first, expected), *others = keys
        for key, value in others:
            if not np.array_equal(value, expected):
                raise ValueError(
                    f"{self.source}: its metadata say {first} = {expected!r} and {key} = {value!r}; "
                    "remove the wrong one."
                )
        text = isinstance(expected, bytes)
        return first, expected.decode(errors="replace") if text else expected

    def _units_of(self, name: str, value: Any) -> list[str]:
        listed = self.get("units")
        if listed is not None and not isinstance(listed, Mapping):
            raise ValueError(
                f"{self.source}: units in the metadata is {listed!r}; expected the unit of each "
                "column by its name."
            )
        own, other = getattr(value, "unit", None), (listed or {}).get(name)
        # A unit without a dimension is an empty text.
        return [str(unit) or NUMBER for unit in (own, other) if unit is not None]

    def _factor(self, name: str, value: Any, wanted: str) -> float:
        """What numbers that go by a name are multiplied with to be in a unit."""
        found = {text: _conversion(text, wanted) for text in self._units_of(name, value)}
        for text, conversion in found.items():
            if conversion is None:
                raise ValueError(
                    f"{self.source}: {name} is in {text!r}; expected {wanted!r}, or a unit that can "
                    "be converted to it. Correct the unit, or convert the numbers."
                )
        if len({*found.values()}) > 1:
            raise ValueError(
                f"{self.source}: {name} is in {' and in '.join(map(repr, found))}, by the column and by "
                "units of the metadata; remove the wrong one."
            )
        factor, power = next((x for x in found.values() if x is not None), (1.0, 0))
        if power == 0:
            return factor
        if self.h is None:
            raise ValueError(
                f"{self.source}: {name} is in {next(iter(found))!r}, and its metadata do not say h, "
                f"which takes it to {wanted!r}. Add h to the metadata, or convert the numbers: h is "
                "H0 / (100 km/s/Mpc)."
            )
        return factor * self.h**power


def _conversion(text: str, wanted: str) -> tuple[float, int] | None:
    """The factor from one unit to another, and the power of h that it takes besides.

    None if there is no such factor.
    """
    if text.replace(" ", "") == wanted.replace(" ", ""):
        return 1.0, 0
    from astropy import units

    # ckpc, kpccm: comoving, as all lengths here. Other texts with a c, such as cm, stay.
    plain = re.sub(r"\bc(?=[kMG]?pc\b)|(?<=pc)cm\b", "", text.replace("littleh", "h"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", units.UnitsWarning)  # of slashes, km/s/Mpc
            given, target = units.Unit(plain), units.Unit(wanted)
    except (ValueError, TypeError):
        return None
    # Lower-case mpc is a thousandth of a parsec, but hardly what is meant.
    if not isinstance(given, units.UnitBase) or any(x.name == "mpc" for x in given.bases):
        return None
    power = 0
    if units.hour in target.bases:
        # The same without h, which a unit that is given may have in another power, or not at all.
        own, theirs = (_power(unit, units.hour) for unit in (target, given))
        given, target = given * units.hour**-theirs, target * units.hour**-own
        power = theirs - own
    return (given.to(target), power) if given.is_equivalent(target) else None


def _power(unit: Any, base: Any) -> int:
    return sum(n for one, n in zip(unit.bases, unit.powers, strict=True) if one == base)
