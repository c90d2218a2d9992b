"""FITS files of TreeCorr: counts of pairs with randoms (NN), and tangential shears (NG).

Measured with the metric Rperp between ``min_rpar`` = -Pi_max and ``max_rpar`` = Pi_max, in one bin of the
line of sight. There xi is the mean over it, so w_gg = 2 Pi_max xi. The shear is a mean over pairs, and
tangential: :math:`w_{g+} = -\\gamma_t (2 \\Pi_\\mathrm{max} + w_{gg})`, with w_gg of the same two samples.
The sign is in the formula, so that what is read is radial.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.data_vectors.conventions import RADIAL
from iaemu_likelihood.data_vectors.readers.fits import columns_of, header_value, numbers, open_fits
from iaemu_likelihood.data_vectors.readers.found import Found, Reading
from iaemu_likelihood.data_vectors.readers.given import Given
from iaemu_likelihood.emulator.physics.statistics import W_GG, W_GPLUS, XI

Array = NDArray[np.float64]

ABOUT = "TreeCorr, FITS"
# The column that every table of TreeCorr has: nominal separations, the geometric middles of bins.
_NOMINAL = "r_nom"


class Pairs(NamedTuple):
    """What a file of TreeCorr holds: one correlation in bins of r_p."""

    path: Path
    kind: str  # NN or NG
    values: Array
    errors: Array
    covariance: Array | None
    separations: Array
    edges: Array | None
    pi_max: float
    var_method: str


def recognises(path: Path) -> bool:
    """Whether a FITS file has TreeCorr's columns."""
    with open_fits(path) as hdus:
        return any(_NOMINAL in columns_of(hdu) for hdu in hdus)


def read(path: Path, given: Given) -> Reading:
    """Read the clustering of TreeCorr, or with it (``counts``) the shear around galaxies.

    Parameters
    ----------
    path : Path
        NN, or NG.
    given : Given

    Raises
    ------
    ValueError
        If randoms, or the counts for a shear, are missing, the two files differ in their bins, the line
        of sight is not one bin from -Pi_max to Pi_max, or something else is not said.
    """
    first = _read(path, given.pi_max)
    if first.kind == "NN":
        clustering, shear = first, None
    elif given.counts is None:
        raise ValueError(
            f"{path} holds mean tangential shears per pair. w_g+ = -gamma_t (2 Pi_max + w_gg) takes "
            "w_gg of the same two samples, too: write their NN with its randoms, nn.write(file, rr=rr, "
            "dr=dr), and give that file with --nn."
        )
    else:
        clustering, shear = _read(given.counts, given.pi_max), first
        _check_alike(clustering, shear)
    length, n = 2 * clustering.pi_max, len(clustering.values)
    w_gg = length * clustering.values
    values = {W_GG.name: w_gg}
    jacobian = np.eye(n) * length
    if shear is not None:
        values[W_GPLUS.name] = -shear.values * (length + w_gg)
        jacobian = np.block(
            [
                [jacobian, np.zeros((n, n))],
                [np.diag(-shear.values * length), np.diag(-(length + w_gg))],
            ]
        )
    each = [one for one in (clustering, shear) if one is not None]
    covariance, is_joint = _covariance(each, given.covariance)
    matrix = jacobian @ covariance @ jacobian.T
    names = list(values)
    blocks = {
        (a, b): matrix[i * n : (i + 1) * n, j * n : (j + 1) * n]
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i <= j
    }
    errors = dict(zip(names, np.split(np.sqrt(np.diag(matrix)), len(names)), strict=True))
    notes = [
        f"Warning: errors of {one.path.name} are of shot noise and shape noise only (var_method is "
        f"{one.var_method}): measure with patches and var_method jackknife."
        for one in each
        if one.var_method == "shot" and given.covariance is None
    ]
    if not is_joint:
        blocks = {}
        if shear is not None:
            notes.append(
                "How the clustering and the shear covary is not in the files, so that there are errors "
                "only: --covariance takes treecorr.estimate_multi_cov([nn, ng], 'jackknife'), as text."
            )
        else:
            notes.append(
                "There is no covariance in the file, only errors: write it with write_cov=True."
            )
    said = {"pi_max": clustering.pi_max, "sign": RADIAL}
    found = Found(
        path, ABOUT, clustering.separations, values, errors, blocks, said, clustering.edges, "geometric",
        notes=tuple(notes),
    )  # fmt: skip
    return found.measurement(given)


def _read(path: Path, given_pi_max: float | None) -> Pairs:
    with open_fits(path) as hdus:
        tables = [hdu for hdu in hdus if _NOMINAL in columns_of(hdu)]
        if not tables:
            raise ValueError(f"{path} has no table of TreeCorr, with a column {_NOMINAL}.")
        table, names = tables[0], columns_of(tables[0])
        header = table.header
        kind = header_value(header, "CORR") or ("NG" if "gamT" in names else "NN")
        columns = {"NN": (XI.name, f"sigma_{XI.name}"), "NG": ("gamT", "sigma")}
        if kind not in columns:
            raise ValueError(f"{path} is TreeCorr's {kind}; expected NN, or NG with --nn.")
        lacks = [name for name in columns[kind] if name not in names]
        if lacks:
            raise ValueError(
                f"{path} has no {' and '.join(lacks)}, since its pairs were not compared with those of "
                "randoms: write it with nn.write(file, rr=rr, dr=dr)."
            )
        metric = header_value(header, "METRIC")
        if metric not in (None, "Rperp", "FisherRperp", "OldRperp"):
            raise ValueError(f"{path} was measured with the metric {metric}; expected Rperp.")
        values, errors = (numbers(table.data[name]) for name in columns[kind])
        matrix = next((numbers(hdu.data) for hdu in hdus if hdu.name.lower() == "cov"), None)
        if matrix is not None and matrix.shape != (len(values),) * 2:
            raise ValueError(
                f"{path}: its covariance has shape {matrix.shape} for {len(values)} bins."
            )
        return Pairs(
            path, kind, values, errors, matrix, numbers(table.data[_NOMINAL]), _edges(header),
            _pi_max(path, header, given_pi_max), str(header_value(header, "VAR_METHOD") or "shot"),
        )  # fmt: skip


def _edges(header: Any) -> Array | None:
    limits = [header_value(header, name) for name in ("MIN_SEP", "MAX_SEP", "NBINS")]
    kind = header_value(header, "BIN_TYPE") or "Log"
    if None in limits or kind not in ("Log", "Linear"):
        return None
    low, high, n = limits
    return np.asarray((np.geomspace if kind == "Log" else np.linspace)(low, high, int(n) + 1))


def _pi_max(path: Path, header: Any, given: float | None) -> float:
    low, high = (header_value(header, name) for name in ("MIN_RPAR", "MAX_RPAR"))
    if low is None and high is None and given is not None:
        return given
    if low is None or high is None or not np.isclose(-low, high) or not high > 0:
        raise ValueError(
            f"{path}: separations along the line of sight go from {low} to {high} (min_rpar, max_rpar); "
            "expected -Pi_max to Pi_max, as pairs at both sides count. If the file does not say it, give "
            "--pi-max."
        )
    return float(high)


def _check_alike(a: Pairs, b: Pairs) -> None:
    if a.kind != "NN":
        raise ValueError(f"--nn {a.path} is TreeCorr's {a.kind}; expected NN.")
    same_bins = len(a.separations) == len(b.separations) and np.allclose(
        a.separations, b.separations
    )
    if not same_bins or not np.isclose(a.pi_max, b.pi_max):
        raise ValueError(
            f"{a.path} and {b.path} are not of the same pairs: their bins, or Pi_max ({a.pi_max:g} and "
            f"{b.pi_max:g}), differ."
        )


def _covariance(each: list[Pairs], file: Path | None) -> tuple[Array, bool]:
    """Covariance of what the files hold, and whether it is one of all of them."""
    n = sum(len(one.values) for one in each)
    if file is not None:
        try:
            matrix = np.loadtxt(file, ndmin=2)
        except ValueError as error:
            raise ValueError(f"--covariance {file} is not a table of numbers: {error}") from error
        if matrix.shape != (n, n):
            raise ValueError(
                f"--covariance {file} has shape {matrix.shape}; expected ({n}, {n}): of the clustering, "
                "then of the shear."
            )
        with np.errstate(all="ignore"):
            ratio = np.sqrt(np.diag(matrix)) / np.concatenate([one.errors for one in each])
        if not ((ratio > 0.5) & (ratio < 2)).all():
            raise ValueError(
                f"--covariance {file}: its standard deviations are not those of the files within a factor "
                "of two. Is it of the same correlations, in the order clustering, shear?"
            )
        return matrix, True
    parts = [np.diag(one.errors**2) if one.covariance is None else one.covariance for one in each]
    from scipy.linalg import block_diag

    return np.asarray(block_diag(*parts)), len(each) == 1 and each[0].covariance is not None
