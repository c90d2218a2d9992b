"""What a user says of a halo catalogue because its file does not, or to have less of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Units of what can be stated, and by which share file and user may differ: roundings.
UNITS = {"box": "Mpc/h", "redshift": "", "particle_mass": "Msun/h"}
ROUNDING = 2e-3


@dataclass(frozen=True)
class Stated:
    """What a user says of a file of halos.

    Attributes
    ----------
    box : float, optional
        Side of the box, Mpc/h, comoving.
    redshift : float, optional
    particle_mass : float, optional
        Msun/h.
    cosmology : str, optional
        ``flat LCDM Om0=0.307 Ob0=0.048 h=0.678 sigma8=0.823 ns=0.96``.
    satellites : str, optional
        ``"subhalos"`` or ``"nfw"``, see `HaloCatalogue.from_columns`.
    min_mass : float
        Msun/h; hosts that are lighter are left out, with their subhalos.
    """

    box: float | None = None
    redshift: float | None = None
    particle_mass: float | None = None
    cosmology: str | None = None
    satellites: str | None = None
    min_mass: float = 0.0

    @property
    def given(self) -> list[str]:
        """Names of what is stated."""
        return [name for name, value in vars(self).items() if value]

    def lighter(self, n_rows: int) -> dict[str, int]:
        """What is left out by `min_mass`, as `HaloCatalogue.dropped`."""
        reason = f"hosts lighter than {self.min_mass:.4g} Msun/h, and their subhalos"
        return {reason: n_rows} if n_rows else {}

    def number(self, name: str, found: float | None, source: str | Path) -> float:
        """A number that the file or the user must say.

        Parameters
        ----------
        name : str
            One of `UNITS`.
        found : float or None
            What the file says.
        source : str or Path
            The file, for messages.

        Raises
        ------
        ValueError
            If neither says it, or both do and differ.
        """
        unit, given = UNITS[name], getattr(self, name)
        option = f"--{name.replace('_', '-')}"
        if given is None and found is None:
            raise ValueError(
                f"{source} does not say its {name.replace('_', ' ')}. State it{unit and f', in {unit}'}: "
                f"{option}, or load_halos(..., {name}=...)."
            )
        if given is None:
            return float(found or 0.0)
        if found is None:
            return float(given)
        if abs(given - found) > ROUNDING * max(abs(found), name == "redshift"):
            raise ValueError(
                f"{source} says that its {name.replace('_', ' ')} is {found:g} {unit}".rstrip()
                + f", but {option} is {given:g}. Leave {option} out, or correct the file."
            )
        return float(found)

    def words(self, found: Mapping[str, float | None], source: str | Path) -> str | None:
        """The cosmology in words.

        Parameters
        ----------
        found : mapping of str to float or None
            What the file says, by the names Om0, Ob0, h, sigma8 and ns.
        source : str or Path
            The file, for messages.

        Raises
        ------
        ValueError
            If the file and the user differ in a number.
        """
        known = {name: value for name, value in found.items() if value is not None}
        if self.cosmology is None:
            numbers = " ".join(f"{name}={value:.6g}" for name, value in known.items())
            return f"flat LCDM {numbers}" if numbers else None
        for name, value in re.findall(r"(\w+) ?= ?([\d.]+)", self.cosmology):
            expected = known.get(name)
            if expected is not None and abs(float(value) - expected) > ROUNDING * expected:
                raise ValueError(
                    f"{source} says that {name} is {expected:g}, but --cosmology {value}. Correct one of "
                    "them."
                )
        return self.cosmology
