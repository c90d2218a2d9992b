"""What a measurement needs and a file may not say, as its user says it; and the bins from their middles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# No responsivity was divided out, said in words, since leaving it out says nothing.
NO_RESPONSIVITY = "none"
# How the separation that a file gives for a bin follows from its edges.
MIDPOINTS = {
    "arithmetic": lambda low, high: (low + high) / 2,
    "geometric": lambda low, high: np.sqrt(low * high),
}
# As close the middles of bins are to those that a file gives, of the bin's width.
_CLOSE = 1e-4


@dataclass(frozen=True)
class Given:
    """What a user says of a file. Lengths are in the unit of the file.

    Attributes
    ----------
    edges : str or None
        Edges of the bins: ``LOW:HIGH``, the first and the last of logarithmic bins as many as the file
        has; all of them with commas; or ``log`` or ``linear``, if the file's format says how the
        separations that it gives follow from such bins.
    unit : str or None
        Of lengths: ``Mpc/h``, ``Mpc``, ``kpc/h``, ...
    h : float or None
        The Hubble parameter, for a unit without h.
    pi_max : float or None
        Largest separation along the line of sight, to either side.
    ellipticity, sign : str or None
        As in the metadata of a measurement; see `iaemu_likelihood.data_vectors.conventions`.
    responsivity : float or str or None
        R, if ellipticities were divided by 2 R; ``none`` if they were not.
    redshift_space : bool or None
    box : float or None
        Side of the periodic box that the galaxies fill.
    redshift : float or None
    axis_ratio : float or None
        Shorter over longer axis of the galaxies.
    n_jackknife : int or None
        Number of regions behind the covariance.
    analytic : bool or None
        Whether the covariance is analytic instead, of no number of realisations.
    name : str or None
        Of the measurement.
    inside : str or None
        Which measurement of a file that holds several.
    statistics : tuple of str
        Those to read; all, or all in bins of r_p, when empty.
    counts : Path or None
        For TreeCorr's shears, the file of the counts of the same pairs.
    covariance : Path or None
        For TreeCorr, a table of numbers: the joint covariance, of the clustering, then of the shear.
    """

    edges: str | None = None
    unit: str | None = None
    h: float | None = None
    pi_max: float | None = None
    ellipticity: str | None = None
    sign: str | None = None
    responsivity: float | str | None = None
    redshift_space: bool | None = None
    box: float | None = None
    redshift: float | None = None
    axis_ratio: float | None = None
    n_jackknife: int | None = None
    analytic: bool | None = None
    name: str | None = None
    inside: str | None = None
    statistics: tuple[str, ...] = ()
    counts: Path | None = None
    covariance: Path | None = None

    @property
    def options(self) -> list[str]:
        """Options of the command that are given."""
        return [
            option_of(one.name) for one in fields(self) if getattr(self, one.name) not in (None, ())
        ]


def option_of(name: str) -> str:
    """What the command calls one of these."""
    return {"h": "--hubble", "counts": "--nn"}.get(name, f"--{name.replace('_', '-')}")


def agreed(source: Path, name: str, said: Any, given: Any) -> Any:
    """What a file says, or what is given where it says nothing.

    Raises
    ------
    ValueError
        If both say something else.
    """
    if said is None or given is None:
        return given if said is None else said
    numbers = isinstance(said, float | int) and isinstance(given, float | int)
    same = np.isclose(said, given, rtol=1e-6) if numbers else said == given
    if not same:
        raise ValueError(
            f"{source} says {name} = {said}, but {option_of(name)} {given} is given; leave it out, or "
            "correct the file."
        )
    return said


def edges_of(source: Path, text: str, separations: Array, midpoint: str | None) -> Array:
    """Edges of bins, shape (n + 1,).

    Parameters
    ----------
    source : Path
        The file, for messages.
    text : str
        As `Given.edges`.
    separations : ndarray, shape (n,)
        What the file gives for the bins.
    midpoint : str or None
        One of `MIDPOINTS`; None if the format does not say it.

    Raises
    ------
    ValueError
        If the text is none of these, or the bins do not have these separations.
    """
    n = len(separations)
    if text in ("log", "linear"):
        edges = _reconstructed(source, text, separations, midpoint)
    else:
        parts = text.split(":" if ":" in text else ",")
        try:
            numbers = np.array([float(part) for part in parts])
        except ValueError:
            numbers = np.empty(0)
        good = len(numbers) > 1 and np.isfinite(numbers).all() and (np.diff(numbers) > 0).all()
        if not good or (":" in text and (len(numbers) != 2 or not numbers[0] > 0)):
            raise ValueError(
                f"--edges is {text!r}; expected LOW:HIGH for logarithmic bins, all edges with commas, "
                "ascending, or log or linear."
            )
        edges = np.geomspace(numbers[0], numbers[1], n + 1) if ":" in text else numbers
    if len(edges) != n + 1:
        raise ValueError(f"--edges has {len(edges) - 1} bins, but {source} has {n}.")
    low, high = edges[:-1], edges[1:]
    inside = (separations >= low) & (separations <= high)
    if midpoint is not None:
        inside = np.abs(MIDPOINTS[midpoint](low, high) - separations) <= _CLOSE * (high - low)
    if not inside.all():
        i = int(np.flatnonzero(~inside)[0])
        where = "within" if midpoint is None else f"as the {midpoint} mean of the edges of"
        raise ValueError(
            f"--edges {text} does not fit {source}: it gives {separations[i]:.6g} for bin {i}, expected "
            f"{where} {low[i]:.6g} to {high[i]:.6g}."
        )
    return edges


def _reconstructed(source: Path, kind: str, separations: Array, midpoint: str | None) -> Array:
    if midpoint is None or len(separations) < 2 or (kind, midpoint) == ("linear", "geometric"):
        raise ValueError(
            f"--edges {kind}: how the separations in {source} follow from the edges of its bins is not "
            "known. Give the first and the last edge, LOW:HIGH, or all with commas."
        )
    if kind == "linear":
        half = np.diff(separations).mean() / 2
        return np.append(separations - half, separations[-1] + half)
    ratio = (separations[-1] / separations[0]) ** (1 / (len(separations) - 1))
    first = 2 / (1 + ratio) if midpoint == "arithmetic" else ratio**-0.5
    return separations[0] * first * ratio ** np.arange(len(separations) + 1)


def missing(source: Path, what: str, needed: Mapping[str, str]) -> ValueError:
    """An error that lists the options that a file needs, by name, with what each is."""
    lines = [f"\n  {option_of(name)}  {about}" for name, about in needed.items()]
    return ValueError(f"{source} ({what}) does not say, so give:{''.join(lines)}")
