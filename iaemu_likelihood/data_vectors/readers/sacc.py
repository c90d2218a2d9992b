"""SACC files, read and written by the library sacc.

SACC has no registered names for projected correlations, so that these are ours (`TYPES`), of the form
that SACC gives names. Data points have the tags ``rp``, ``rp_min`` and ``rp_max``, or ``r``, ``r_min`` and
``r_max``; metadata have ``length_unit`` and, by the same names as in our own files, how it was measured.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.data_vectors.conventions import AXIS_RATIO, written
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.data_vectors.readers.fits import open_fits
from iaemu_likelihood.data_vectors.readers.found import Found, Reading
from iaemu_likelihood.data_vectors.readers.given import NO_RESPONSIVITY, Given
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.physics.statistics import (
    ETA,
    OMEGA,
    W_GG,
    W_GPLUS,
    W_PLUSPLUS,
    XI,
    XI_GPLUS_2,
)
from iaemu_likelihood.emulator.reading import is_hdf5
from iaemu_likelihood.emulator.units import LENGTH

Array = NDArray[np.float64]

ABOUT = "SACC"
# SACC's type of data of each statistic.
TYPES = {
    W_GG.name: "galaxy_density_w",
    W_GPLUS.name: "galaxy_shearDensity_w_plus",
    W_PLUSPLUS.name: "galaxy_shear_w_plusplus",
    XI_GPLUS_2.name: "galaxy_shearDensity_xi_quadrupole",
    XI.name: "galaxy_density_xi_3d",
    OMEGA.name: "galaxy_axisDensity_omega",
    ETA.name: "galaxy_axis_eta",
}
TRACER = "galaxies"
# A key of the metadata with all that belongs to no field of `Given`, as JSON.
_MORE = "iaemu_metadata"
_SAID = (
    "pi_max", "ellipticity", "responsivity", "sign", "redshift_space", "box", "redshift", AXIS_RATIO,
    "n_jackknife",
)  # fmt: skip


def recognises(path: Path) -> bool:
    """Whether a file, HDF5 or FITS, was written by sacc."""
    if is_hdf5(path):
        from iaemu_likelihood.emulator.hdf5 import open_hdf5

        with open_hdf5(path) as file:
            return "sacc_hdf5_version" in file
    with open_fits(path) as hdus:
        return any("SACCFVER" in hdu.header or "SACCTYPE" in hdu.header for hdu in hdus)


def read(path: Path, given: Given) -> Reading:
    """Read the projected correlations of a SACC file, of those names that `TYPES` has.

    Parameters
    ----------
    path : Path
    given : Given
        ``inside`` is the pair of tracers, ``A,B``, if there are several.

    Raises
    ------
    ValueError
        If something is missing, ambiguous or inconsistent; the message says what.
    """
    file = _load(path)
    there = set(file.get_data_types())
    known = [s for s, name in TYPES.items() if name in there]
    wanted = given.statistics or tuple(known)
    if not wanted or not {*wanted} <= {*known}:
        raise ValueError(
            f"{path} has data of types {', '.join(sorted(there)) or '(none)'}; expected some of "
            f"{', '.join(f'{name} ({s})' for s, name in TYPES.items())}."
        )
    if not file.has_covariance():
        raise ValueError(f"{path} has no covariance, so that errors are not known.")
    tracers = _tracers(path, file, wanted, given.inside)
    at = {s: np.array(file.indices(TYPES[s], tracers), int) for s in wanted}
    missing = [s for s in wanted if not len(at[s])]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)} of {' and '.join(tracers)}.")
    tag, separations, edges, order = _bins(path, file, at)
    at = {s: at[s][order[s]] for s in wanted}
    matrix = np.asarray(file.covariance.dense, np.float64)
    blocks = {
        (a, b): matrix[np.ix_(at[a], at[b])] for a, b in combinations_with_replacement(wanted, 2)
    }
    metadata = {str(k): v for k, v in file.metadata.items()}
    more = _more(path, metadata)
    weight = more.pop("pi_weight", None)
    found = Found(
        path, ABOUT, separations,
        {s: np.array(file.mean, np.float64)[at[s]] for s in wanted},
        {s: np.sqrt(np.diag(blocks[s, s])) for s in wanted},
        blocks, _said(metadata) | {"pi_weight": weight}, edges, metadata=more,
    )  # fmt: skip
    name = given.name or metadata.get("name")
    reading = found.measurement(given if name is None else replace(given, name=str(name)))
    if reading.measurement.separation.replace("_", "") != tag:
        raise ValueError(
            f"{path}: {', '.join(wanted)} are tagged with {tag}; expected the other of r and rp."
        )
    return reading


def write(measured: Measurement, path: Path) -> None:
    """Write a measurement with its whole covariance as SACC, in FITS, which `read` reads back exactly.

    Raises
    ------
    ValueError
        If a statistic has no name in SACC, or only a part of the covariance is known.
    """
    import sacc

    unknown = [s for s in measured.values if s not in TYPES]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} have no type of data in SACC; there are {', '.join(TYPES)}."
        )
    file = sacc.Sacc()
    file.add_tracer("Misc", TRACER)
    tag = measured.separation.replace("_", "")
    for s, values in measured.values.items():
        for value, low, high in zip(values, measured.r_min, measured.r_max, strict=True):
            tags = {tag: (low + high) / 2, f"{tag}_min": low, f"{tag}_max": high}
            file.add_data_point(TYPES[s], (TRACER, TRACER), float(value), **tags)
    file.add_covariance(_covariance(measured))
    how = {} if measured.conventions is None else written(measured.conventions)
    own = {"name": measured.name, "n_jackknife": measured.n_jackknife, "length_unit": LENGTH}
    plain = {k: measured.metadata.get(k) for k in ("redshift", AXIS_RATIO)}
    if measured.conventions is not None and how["responsivity"] is None:
        how["responsivity"] = NO_RESPONSIVITY
    said = {k: v for k, v in (plain | how | own).items() if isinstance(v, str | int | float)}
    file.metadata = said
    more = {k: v for k, v in measured.metadata.items() if k not in {*how, *said, "units"}}
    weight = {k: v for k, v in how.items() if k == "pi_weight" and v is not None}
    file.metadata[_MORE] = json.dumps(more | weight, default=str)
    with atomic_write(path) as unfinished:
        file.save_fits(str(unfinished), overwrite=True)


def _covariance(measured: Measurement) -> Array:
    """The whole matrix, or the diagonal of the errors if there are no blocks at all."""
    names = list(measured.values)
    if not measured.covariances:
        return np.concatenate([measured.errors[s] for s in names]) ** 2
    blocks = {**{(b, a): x.T for (a, b), x in measured.covariances.items()}, **measured.covariances}
    missing = [f"{a} and {b}" for a in names for b in names if (a, b) not in blocks]
    if missing:
        raise ValueError(
            f"{measured.source} has no covariance of {missing[0]}, and SACC takes that of all data. Choose "
            "statistics whose covariance is known (--statistics)."
        )
    return np.block([[blocks[a, b] for b in names] for a in names])


def _load(path: Path) -> Any:
    import sacc

    if is_hdf5(path):
        from iaemu_likelihood.emulator.hdf5 import open_hdf5

        open_hdf5(path).close()  # raises if it takes data from other files
    try:
        return sacc.Sacc.load(str(path))
    except Exception as error:  # sacc raises many kinds for a damaged file
        raise ValueError(f"{path} is not a readable SACC file: {error}") from error


def _tracers(path: Path, file: Any, wanted: tuple[str, ...], inside: str | None) -> tuple[str, ...]:
    pairs = list(dict.fromkeys(x for s in wanted for x in file.get_tracer_combinations(TYPES[s])))
    chosen = [pair for pair in pairs if inside in (None, ",".join(pair))]
    if len(chosen) != 1:
        listed = "; ".join(",".join(pair) for pair in pairs)
        raise ValueError(
            f"{path} has data of several pairs of tracers; say --inside, one of {listed}."
        )
    return tuple(chosen[0])


def _bins(
    path: Path, file: Any, at: dict[str, NDArray[np.int_]]
) -> tuple[str, Array, Array | None, dict[str, NDArray[np.int_]]]:
    """Name of the tags, separations, edges if there are some, and the ascending order of each."""
    first = file.data[next(iter(at.values()))[0]].tags
    tag = next((name for name in ("rp", "r") if name in first or f"{name}_min" in first), None)
    if tag is None:
        raise ValueError(
            f"{path}: its data points have the tags {', '.join(first)}; expected rp or r."
        )
    edges, separations, order = [], [], {}
    for s, rows in at.items():
        tags = [file.data[i].tags for i in rows]
        keys = [f"{tag}_min", f"{tag}_max"]
        if all(key in one for one in tags for key in keys):
            low, high = (np.array([one[key] for one in tags], np.float64) for key in keys)
        else:
            low = high = np.array([one.get(tag, np.nan) for one in tags], np.float64)
        order[s] = np.argsort(low, kind="stable")
        separations.append(((low + high) / 2)[order[s]])
        edges.append(np.stack([low, high])[:, order[s]])
    alike = all(x.shape == edges[0].shape and np.allclose(x, edges[0]) for x in edges)
    if not alike or not np.isfinite(edges[0]).all():
        raise ValueError(f"{path}: {', '.join(at)} are in different bins; convert one at a time.")
    low, high = edges[0]
    if (low == high).all():
        return tag, separations[0], None, order
    if not np.allclose(low[1:], high[:-1], rtol=1e-6):
        raise ValueError(f"{path}: its bins leave gaps or overlap, which cannot be converted.")
    return tag, separations[0], np.append(low, high[-1]), order


def _said(metadata: dict[str, Any]) -> dict[str, Any]:
    found = {k: metadata[k] for k in _SAID if metadata.get(k) is not None}
    return {**found, "unit": metadata.get("length_unit")}


def _more(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    text = metadata.get(_MORE)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {_MORE} in the metadata is not JSON: {error}") from error
    return {str(k): v for k, v in found.items()} if isinstance(found, dict) else {}
