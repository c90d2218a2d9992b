"""From what a file holds, as it stands there, to a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.data import sha256
from iaemu_likelihood.data_vectors.conventions import AXIS_RATIO, SIGNS, TANGENTIAL, projected
from iaemu_likelihood.data_vectors.measurement import ANALYTIC, Measurement
from iaemu_likelihood.data_vectors.readers.given import (
    NO_RESPONSIVITY,
    Given,
    agreed,
    edges_of,
    missing,
)
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.shapes import DEFINITIONS
from iaemu_likelihood.emulator.physics.statistics import OBSERVABLES
from iaemu_likelihood.emulator.units import LENGTH, FileMetadata

Array = NDArray[np.float64]

# By as many standard errors w_g+ must be negative, in the mean, for its sign to be doubted.
DOUBTFUL = 2.0
_NEEDED = {
    "unit": "unit of its lengths: Mpc/h, or Mpc with --hubble",
    "h": "the Hubble parameter, H0 / (100 km/s/Mpc), that takes its unit to Mpc/h",
    "edges": "edges of its bins: the first and the last of logarithmic ones, as 0.1:20, or all of them "
    "with commas{}",
    "pi_max": "largest separation along the line of sight, to either side",
    "ellipticity": f"how ellipticities are defined: {' or '.join(DEFINITIONS)}; "
    "(a^2 - b^2) / (a^2 + b^2) or (a - b) / (a + b) of the image's axes",
    "responsivity": "R, if ellipticities were divided by 2 R, or none",
}


class Reading(NamedTuple):
    """A measurement, and what its user should know of how it was read.

    Attributes
    ----------
    measurement : Measurement
    notes : list of str
        Sentences.
    """

    measurement: Measurement
    notes: list[str]


@dataclass(frozen=True)
class Found:
    """What a file holds.

    Attributes
    ----------
    source : Path
    form : str
        Name of the format, for messages.
    separations : ndarray, shape (n_bins,)
        What the file gives for each bin, in its unit.
    values, errors : dict of str to ndarray, shape (n_bins,)
        By statistic.
    covariances : dict of (str, str) to ndarray, shape (n_bins, n_bins)
    said : dict
        What the file says of the fields of `Given`.
    edges : ndarray, shape (n_bins + 1,), or None
    midpoint : str or None
        How separations follow from edges, if the format says it; see `edges_of`.
    metadata : dict
        More that is worth keeping.
    notes : tuple of str
    """

    source: Path
    form: str
    separations: Array
    values: Mapping[str, Array]
    errors: Mapping[str, Array]
    covariances: Mapping[tuple[str, str], Array]
    said: Mapping[str, Any] = field(default_factory=dict)
    edges: Array | None = None
    midpoint: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def measurement(self, given: Given) -> Reading:
        """The measurement in our units and by our conventions.

        Raises
        ------
        ValueError
            If something is missing that the file does not say, with all options that would say it; if
            the file and what is given differ, or something is impossible.
        """
        said = self._agreed(given)
        integrated = any(one.is_integrated for one in projected(self.values))
        shapes = any(one.n_shapes for one in projected(self.values))
        if said["unit"] is not None:
            self._length(said["unit"], said["h"] or 1.0)  # raises if it is no unit of lengths
        needed = [
            *(["unit"] if said["unit"] is None else []),
            *(["h"] if said["h"] is None and _lacks_h(said["unit"]) else []),
            *(["edges"] if self.edges is None and given.edges is None else []),
            *(["pi_max"] if integrated and said["pi_max"] is None else []),
            *(["ellipticity"] if shapes and said["ellipticity"] is None else []),
            *(["responsivity"] if shapes and said["responsivity"] is None else []),
        ]
        if needed:
            hint = "" if self.midpoint is None else "; or log, for logarithmic ones"
            raise missing(
                self.source, self.form, {key: _NEEDED[key].format(hint) for key in needed}
            )
        edges = self.edges
        if edges is None:
            edges = edges_of(self.source, given.edges or "", self.separations, self.midpoint)
        if given.analytic and said["n_jackknife"] is not None:
            raise ValueError(
                f"{self.source}: its covariance is from {said['n_jackknife']} realisations, so that it is "
                "not analytic; leave --analytic out."
            )
        factor = self._length(said["unit"], said["h"])
        flipped = self._flipped(said["sign"])
        notes = [*self.notes]

        def scaled(x: Array, *of: str) -> Array:
            power = sum(OBSERVABLES[s].unit == LENGTH for s in of)
            odd = sum(s in flipped for s in of) % 2
            return np.asarray(x, np.float64) * (factor**power * (-1) ** odd)

        measured = Measurement(
            name=given.name or self.source.stem,
            r_min=edges[:-1] * factor,
            r_max=edges[1:] * factor,
            values={s: scaled(x, s) for s, x in self.values.items()},
            errors={s: np.abs(scaled(x, s)) for s, x in self.errors.items()},
            covariances={pair: scaled(x, *pair) for pair, x in self.covariances.items()},
            n_jackknife=said["n_jackknife"],
            metadata={
                **self.metadata,
                **{k: said[k] for k in ("redshift", AXIS_RATIO) if said[k] is not None},
                **({"covariance": ANALYTIC} if given.analytic else {}),
                "converted_from": self.source.name,
                "converted_sha256": sha256(self.source),
                "format": self.form,
                "version": version("iaemu_likelihood"),
            },
            conventions=_conventions(said, factor) if integrated or shapes else None,
        )
        if shapes and said["sign"] is None:
            notes.append(
                doubtful_sign(measured) or "Shapes along the separation are taken as positive."
            )
        if integrated and said["redshift_space"] is None and said["box"] is None:
            notes.append(
                "Distances are taken as without peculiar velocities; if they are from redshifts, say "
                "--redshift-space."
            )
        return Reading(measured, notes)

    def _agreed(self, given: Given) -> dict[str, Any]:
        keys = (
            "unit", "h", "pi_max", "ellipticity", "responsivity", "sign", "redshift_space", "box",
            "redshift", "axis_ratio", "n_jackknife",
        )  # fmt: skip
        said = {k: agreed(self.source, k, self.said.get(k), getattr(given, k)) for k in keys}
        said["pi_weight"] = self.said.get("pi_weight")  # which is no single option
        if said["sign"] not in (None, *SIGNS):
            raise ValueError(f"--sign must be {' or '.join(SIGNS)}; got {said['sign']!r}.")
        return said

    def _length(self, unit: str, h: float | None) -> float:
        """By which lengths are multiplied to be in Mpc/h."""
        metadata = FileMetadata(
            self.source, {"units": {"unit": unit}, **({} if h is None else {"h": h})}
        )
        return float(metadata.column({"unit": np.ones(1)}, "unit", LENGTH)[0])

    def _flipped(self, sign: str | None) -> set[str]:
        return {
            one.name for one in projected(self.values) if sign == TANGENTIAL and one.n_shapes == 1
        }


def _lacks_h(unit: str | None) -> bool:
    return unit is not None and "/h" not in unit.replace(" ", "").replace("littleh", "h")


def _conventions(said: Mapping[str, Any], factor: float) -> Conventions:
    ratio = said["responsivity"]
    return Conventions(
        None if said["pi_max"] is None else said["pi_max"] * factor,
        weight=tuple((pi * factor, w) for pi, w in said["pi_weight"] or ()),
        ellipticity=said["ellipticity"] or "distortion",
        responsivity=None if ratio == NO_RESPONSIVITY else ratio,
        redshift_space=bool(said["redshift_space"]),
        box=None if said["box"] is None else said["box"] * factor,
    )


def doubtful_sign(measured: Measurement) -> str:
    """A sentence if galaxies seem to point across the separation; else nothing."""
    for one in projected(measured.values):
        if one.n_shapes != 1:
            continue
        with np.errstate(all="ignore"):
            pull = measured.values[one.name] / measured.errors[one.name]
        pull = pull[np.isfinite(pull)]
        if len(pull) and pull.mean() < -DOUBTFUL:
            return (
                f"Warning: {one.name} is negative, in the mean by {-pull.mean():.1f} standard errors a "
                "bin. Galaxies that point at each other give a positive one; of tangential shears, as "
                "TreeCorr has them, say --sign tangential."
            )
    return ""


def selected(measured: Measurement, statistics: tuple[str, ...]) -> Measurement:
    """A measurement of some of its statistics; all when there are none.

    Raises
    ------
    ValueError
        If it has not all of them.
    """
    if not statistics:
        return measured
    unknown = [s for s in statistics if s not in measured.values]
    if unknown:
        raise ValueError(
            f"{measured.source} has no {', '.join(unknown)}; there are {', '.join(measured.values)}."
        )
    return replace(
        measured,
        values={s: measured.values[s] for s in statistics},
        errors={s: measured.errors[s] for s in statistics},
        covariances={
            (a, b): x for (a, b), x in measured.covariances.items() if {a, b} <= {*statistics}
        },
    )
