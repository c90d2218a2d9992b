"""HDF5 files of MeasureIA: projected correlations and multipoles with their jackknife.

Layout by MeasureIA 0.6: ``[Snapshot_N/]w_g_plus/NAME`` with ``NAME_rp``, arithmetic middles of the bins;
``NAME_jackknife_cov_K`` of K regions, and the correlations without each region in ``NAME_jkK``; the
grids in r_p and Pi that are summed in ``w/xi_g_plus`` and so on. Neither the unit of lengths is in it
(Mpc/h of boxes; Mpc of light cones unless they were measured with ``over_h=True``), nor the definition of
ellipticities, nor the responsivity by which they were divided.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.data_vectors.conventions import RADIAL
from iaemu_likelihood.data_vectors.readers.found import Found, Reading
from iaemu_likelihood.data_vectors.readers.given import Given
from iaemu_likelihood.emulator.physics.statistics import W_GG, W_GPLUS, W_PLUSPLUS, XI, XI_GPLUS_2

Array = NDArray[np.float64]

ABOUT = "MeasureIA, HDF5"
# Of each statistic the group of its values, and for projected ones that of the grid.
PROJECTED_GROUPS = {
    W_GG.name: ("w_gg", "w/xi_gg"),
    W_GPLUS.name: ("w_g_plus", "w/xi_g_plus"),
    W_PLUSPLUS.name: ("w_plus_plus", "w/xi_plus_plus"),
}
MULTIPOLE_GROUPS = {
    XI.name: ("multipoles_gg", "multipoles/xi_gg"),
    XI_GPLUS_2.name: ("multipoles_g_plus", "multipoles/xi_g_plus"),
}
GROUPS = PROJECTED_GROUPS | MULTIPOLE_GROUPS


def recognises(path: Path) -> bool:
    """Whether an HDF5 file has the groups of MeasureIA."""
    from iaemu_likelihood.emulator.hdf5 import open_hdf5

    with open_hdf5(path) as file:
        return bool(_parents(file))


def read(path: Path, given: Given) -> Reading:
    """Read a file of MeasureIA.

    Parameters
    ----------
    path : Path
    given : Given
        ``inside`` is NAME, or GROUP/NAME, if there are several; ``statistics`` may name xi and
        xi_gplus_2, the multipoles.

    Raises
    ------
    ValueError
        If something is missing, ambiguous or inconsistent; the message says what.
    """
    from iaemu_likelihood.emulator.hdf5 import open_hdf5

    with open_hdf5(path) as file:
        root, name = _one(path, file, given.inside)
        return _read(path, root, name, given).measurement(given)


def _parents(file: Any) -> list[str]:
    """Groups that hold measurements: the root, or those of snapshots."""
    top = {group for group, _ in GROUPS.values()}
    inner = [key for key in file if key.startswith("Snapshot_") and not top.isdisjoint(file[key])]
    return ([""] if not top.isdisjoint(file) else []) + inner


def _one(path: Path, file: Any, inside: str | None) -> tuple[Any, str]:
    """The group and the name of the measurement."""
    there: dict[str, tuple[Any, str]] = {}
    for parent in _parents(file):
        root = file[parent] if parent else file
        for group, _ in GROUPS.values():
            for name in root.get(group, ()):
                if f"{name}_rp" in root[group] or f"{name}_r" in root[group]:
                    there["/".join(filter(None, (parent, name)))] = root, name
    found = [key for key in there if inside in (None, key, there[key][1])]
    if len(found) != 1:
        why = "several measurements" if inside is None else f"not one measurement {inside!r}"
        raise ValueError(f"{path} has {why}; say --inside, one of {', '.join(there) or '(none)'}.")
    return there[found[0]]


def _read(path: Path, root: Any, name: str, given: Given) -> Found:
    groups = {s: x for s, x in GROUPS.items() if name in root.get(x[0], ())}
    integrated = [s for s in groups if s in PROJECTED_GROUPS]
    notes = []
    wanted = given.statistics or tuple(integrated or groups)
    if not {*wanted} <= {*groups}:
        raise ValueError(f"{path}: {name} has {', '.join(groups)}; got {', '.join(wanted)}.")
    if {*wanted} < {*groups}:
        left = ", ".join(s for s in groups if s not in wanted)
        notes.append(f"Left out: {left}. --statistics chooses others.")
    n_regions = _regions(path, {s: root[groups[s][0]] for s in wanted}, name, given.n_jackknife)
    values, errors, blocks, samples, middles = {}, {}, {}, {}, []
    said: dict[str, Any] = {"n_jackknife": n_regions, "sign": RADIAL}
    for s in wanted:
        group = root[groups[s][0]]
        values[s] = np.array(group[name], np.float64)
        middles.append(
            np.array(group[f"{name}_rp" if s in integrated else f"{name}_r"], np.float64)
        )
        blocks[s, s] = np.array(group[f"{name}_jackknife_cov_{n_regions}"], np.float64)
        errors[s] = np.sqrt(np.diag(blocks[s, s]))
        realisations = group.get(f"{name}_jk{n_regions}", {})
        each = [realisations.get(f"{name}_{i}") for i in range(n_regions)]
        if None not in each:
            samples[s] = np.array(each, np.float64)
        if s in integrated:
            pi_max = _pi_max(path, root[groups[s][1]], name, values[s])
            said["pi_max"] = pi_max
            if s == W_GG.name and _is_raised(root[groups[s][1]], name):
                values[s] -= 4 * pi_max
                notes.append(
                    "w_gg was written by a version of MeasureIA that adds 1 to DD/RR instead of "
                    "subtracting it (0.2.1): 4 Pi_max is subtracted."
                )
    if not all(np.array_equal(x, middles[0]) for x in middles):
        raise ValueError(
            f"{path}: {', '.join(wanted)} are in different bins; convert one at a time."
        )
    for a, b in combinations_with_replacement(samples, 2):
        block = _jackknife(samples[a], samples[b])
        if a == b and not np.allclose(
            block, blocks[a, a], rtol=1e-6, atol=1e-9 * np.abs(block).max()
        ):
            raise ValueError(
                f"{path}: the covariance of {a} is not (n - 1) / n times the sum over its {n_regions} "
                "jackknife realisations, which are in the file, too. Measure it again."
            )
        blocks[a, b] = block
    if len(wanted) > 1 and len(samples) < len(wanted):
        notes.append(f"Covariances between {', '.join(wanted)} are not in the file.")
    return Found(
        path,
        ABOUT,
        middles[0],
        values,
        errors,
        blocks,
        said,
        midpoint="arithmetic",
        notes=tuple(notes),
    )


def _regions(path: Path, groups: dict[str, Any], name: str, given: int | None) -> int:
    """The number of jackknife regions, of which all statistics have a covariance."""
    prefix = f"{name}_jackknife_cov_"
    there = [
        {int(k.removeprefix(prefix)) for k in group if k.startswith(prefix)}
        for group in groups.values()
    ]
    common = set.intersection(*there)
    chosen = common if given is None else common & {given}
    if len(chosen) != 1:
        listed = ", ".join(map(str, sorted(common)))
        what = f"of {listed} regions; say --n-jackknife" if common else "of all of its statistics"
        raise ValueError(
            f"{path}: {name} has {'no' if not chosen else 'several'} jackknife covariances {what}. The "
            "likelihood needs one: MeasureIA measures it with num_jk."
        )
    return chosen.pop()


def _pi_max(path: Path, grid: Any, name: str, w: Array) -> float:
    """Pi_max of bins in Pi whose middles the grid has, after a look at the sum over them."""
    pi = np.array(grid[f"{name}_pi"], np.float64)
    width = (pi[-1] - pi[0]) / (len(pi) - 1) if len(pi) > 1 else 2 * abs(pi[0])
    even = np.allclose(np.diff(pi), width, rtol=1e-6) and np.isclose(pi[0], -pi[-1], rtol=1e-6)
    total = np.array(grid[name], np.float64).sum(axis=1) * width
    if not even or not np.allclose(
        total, w, rtol=1e-6, atol=1e-9 * np.abs(w).max(), equal_nan=True
    ):
        raise ValueError(
            f"{path}: {grid.name.lstrip('/')}/{name} summed over its bins of Pi is not the projected "
            "correlation that the file has. Measure it again."
        )
    return float(pi[-1] + width / 2)


def _is_raised(grid: Any, name: str) -> bool:
    """Whether xi_gg is DD/RR + 1, as one version wrote."""
    pairs = grid.get(f"{name}_DD")
    random = grid.get(f"{name}_RR_gg", grid.get(f"{name}_RR"))
    if pairs is None or random is None:
        return False
    with np.errstate(all="ignore"):
        excess = np.array(grid[name]) - np.array(pairs) / np.array(random)
    known = np.isfinite(excess)
    return bool(known.any() and np.allclose(excess[known], 1.0, rtol=1e-6))


def _jackknife(a: Array, b: Array) -> Array:
    """Covariance of correlations that each leave one region out, (n, n_bins) each."""
    n = len(a)
    return np.asarray((n - 1) / n * (a - a.mean(0)).T @ (b - b.mean(0)))
