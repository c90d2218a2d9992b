"""Whether a cosmology that somebody states is that of a model, which knows one only.

Cosmologies are stated as objects of astropy or colossus, as mappings of numbers, or by the parameters of
a run, whose names and conventions differ: Om0, omegam or omega_m; H0 = 67 or h0 = 0.67.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.linear_theory import Cosmology
from iaemu_likelihood.emulator.physics.points import is_number

# Numbers that differ by less, relative, are the same. The releases of Planck differ by as much.
SAME = 0.02
# What a flat universe with a cosmological constant has, which `Cosmology` does not say; differences of
# these are absolute.
FLAT = {"Ok0": 0.0, "w0": -1.0, "wa": 0.0}
# Names in lower case, of astropy, colossus, CAMB, CLASS, Cobaya and CosmoSIS.
NAMES = {
    "Om0": ("om0", "omegam", "omega_m", "omega_matter", "omm"),
    "Ob0": ("ob0", "omegab", "omega_b0"),
    "h": ("h", "h0", "hubble"),
    "sigma8": ("sigma8", "sigma_8"),
    "ns": ("ns", "n_s"),
    "Ok0": ("ok0", "omegak", "omega_k", "omk"),
    "w0": ("w0", "w", "w0_fld"),
    "wa": ("wa", "wa_fld"),
}
# Physical densities, whose sum over h^2 is that of matter.
DARK_MATTER = ("omch2", "omegach2", "omega_cdm")
BARYONS = ("ombh2", "omegabh2")
# Above this, H0 is in km/s/Mpc.
_LARGEST_H = 2.0


def numbers_of(stated: Any) -> dict[str, float]:
    """The numbers of a cosmology that is stated, by the names of `Cosmology` and of `FLAT`.

    Parameters
    ----------
    stated : mapping or object
        Numbers by any of `NAMES`, in any case; or an object that has some of them as attributes, such as
        a cosmology of astropy or colossus.

    Raises
    ------
    ValueError
        If a name or a value is not known, or an object has nothing of it.
    """
    if isinstance(stated, Mapping):
        given = {str(name): value for name, value in stated.items()}
        unknown = [name for name in given if _known(name) is None]
        if unknown:
            raise ValueError(
                f"cosmology has {', '.join(unknown)}; its numbers are {', '.join(NAMES)}, or by other "
                "usual names, such as omegam."
            )
    else:
        names = [*(f.name for f in fields(Cosmology) if f.name != "h"), "H0", *FLAT]
        given = {name: getattr(stated, name, None) for name in names}
        given = {name: value for name, value in given.items() if value is not None}
        if not given.get("Ob0", 1):
            del given["Ob0"]  # astropy's, where nobody has said it
    found = {}
    for name, value in given.items():
        number = getattr(value, "value", value)  # of a quantity of astropy
        if isinstance(number, np.generic | np.ndarray) and np.ndim(number) == 0:
            number = number.item()
        if not is_number(number):
            raise ValueError(f"cosmology: {name} is {value!r}; it must be a number.")
        key = str(_known(name))
        found[key] = _in_units(key, float(number))
    if not found:
        raise ValueError(
            f"cosmology is {stated!r}; give an object of astropy or colossus, or a mapping such as "
            "{'Om0': 0.31}."
        )
    return found


def refuse_other_cosmology(stated: Any, own: str | None) -> None:
    """Raise a ValueError if a cosmology is not that of a model.

    Parameters
    ----------
    stated : mapping or object
        As for `numbers_of`. What it leaves out may be anything.
    own : str or None
        That of the model, in words; see `Cosmology.from_words`.
    """
    numbers = numbers_of(stated)
    known = {**asdict(Cosmology.from_words(own)), **FLAT}
    others = [
        f"{name} = {value:g}, and not {known[name]:g}"
        for name, value in numbers.items()
        if not _is_same(name, value, known[name])
    ]
    if others:
        raise ValueError(
            f"The cosmology has {', '.join(others)}. These weights know one cosmology only, {own}. Leave "
            "it out to predict in theirs, or make weights of halos in yours; docs/cosmology.md says how."
        )


def cosmology_warnings(parameters: Mapping[str, tuple[float, float]], own: str | None) -> list[str]:
    """A sentence for each parameter of a run that takes the density of matter from that of a model.

    Parameters
    ----------
    parameters : mapping of str to (float, float)
        Limits of all parameters by name; equal ones of fixed parameters.
    own : str or None
        Cosmology of the model, in words. If they do not say its numbers, nothing can be said.
    """
    try:
        known = Cosmology.from_words(own).Om0
    except ValueError:
        return []
    limits = {name.lower(): x for name, x in parameters.items()}
    stated = {
        name: limits for name, limits in parameters.items() if _known(name) == "Om0"
    } or _from_densities(limits)
    found = []
    for name, (low, high) in stated.items():
        if _is_same("Om0", low, known) and _is_same("Om0", high, known):
            continue
        how = f"is {low:.4g} in this run"
        if low < high:
            between = f", from {low:.4g} to {high:.4g}" if np.isfinite([low, high]).all() else ""
            how = f"varies in this run{between}"
        found.append(
            f"{name} {how}, but the emulator predicts for Omega_m = {known:g}, that of its halos, "
            "whatever the run's is. docs/cosmology.md says what other cosmologies take."
        )
    return found


def _known(name: str) -> str | None:
    """The name among `NAMES` by which a number is known."""
    return next((key for key, names in NAMES.items() if name.lower() in names), None)


def _in_units(key: str, value: float) -> float:
    return value / 100 if key == "h" and value > _LARGEST_H else value


def _is_same(name: str, value: float, known: float) -> bool:
    return abs(value - known) <= SAME * (1.0 if name in FLAT else known)


def _from_densities(
    limits: Mapping[str, tuple[float, float]],
) -> dict[str, tuple[float, float]]:
    """The density of matter from physical ones and h, where all three are parameters."""

    def of(names: tuple[str, ...]) -> tuple[float, float] | None:
        return next((limits[name] for name in names if name in limits), None)

    # CLASS calls the physical density of baryons what others call that over the critical one.
    baryons = of((*BARYONS, "omega_b"))
    dark, h = of(DARK_MATTER), of(NAMES["h"])
    if dark is None or baryons is None or h is None:
        return {}
    low, high = (_in_units("h", x) for x in h)
    return {"Omega_m": ((dark[0] + baryons[0]) / high**2, (dark[1] + baryons[1]) / low**2)}
