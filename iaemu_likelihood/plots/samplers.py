"""Chains in the files of emcee, nautilus and CosmoSIS.

They are read as arrays and text: nothing in them is unpickled or evaluated.
"""

from __future__ import annotations

import configparser
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.emulator.physics.alignment import ALIGNMENTS
from iaemu_likelihood.emulator.physics.occupations import OCCUPATIONS
from iaemu_likelihood.emulator.physics.parameters import Parameter
from iaemu_likelihood.likelihood.responses import RESPONSES

if TYPE_CHECKING:
    from getdist import MCSamples

    from iaemu_likelihood.sampling.posterior import Posterior

Array = NDArray[np.float64]

# Share of a Markov chain's beginning that is left out, as of Cobaya's chains.
BURN_IN = 0.3
# Groups that hold a chain, in emcee's and nautilus' files.
EMCEE, NAUTILUS = "mcmc", "sampler"
# Columns of CosmoSIS that are no parameters, and those of them that weight samples.
LOG_POSTERIOR, LOG_WEIGHT = "post", "log_weight"
WEIGHTS = ("weight", LOG_WEIGHT)
NO_PARAMETERS = (
    *WEIGHTS,
    LOG_POSTERIOR,
    "prior",
    "like",
    "old_weight",
    "old_post",
    "old_log_weight",
)
# CosmoSIS' nested samplers, whose points are independent.
NESTED = ("multinest", "polychord", "nautilus", "nestle")


def known_parameters() -> dict[str, Parameter]:
    """The parameters of every alignment and occupation, and the responses of shapes, by name."""
    alignments = (p for kind in ALIGNMENTS.values() for p in kind.parameters)
    occupations = (p for kind in OCCUPATIONS.values() for p in kind.parameters)
    return {parameter.name: parameter for parameter in (*alignments, *occupations, *RESPONSES)}


def read_hdf5(path: Path, run: str | Path | None) -> MCSamples:
    """Chains of emcee's `HDFBackend`, or points of nautilus' checkpoint (``filepath``).

    Parameters
    ----------
    path : Path
    run : str, Path or None
        The Cobaya input whose `iaemu_likelihood.posterior` was sampled. It names the parameters, and
        has the prior by which nautilus' points are mapped.

    Raises
    ------
    ValueError
        If `run` is missing or has another number of parameters, the file holds no such chain, or
        numbers in it are not finite.
    """
    from iaemu_likelihood.cobaya.inputs import model_of, read_input
    from iaemu_likelihood.emulator.hdf5 import open_hdf5
    from iaemu_likelihood.sampling.posterior import Posterior

    with open_hdf5(path) as file:
        kind = next((name for name in (EMCEE, NAUTILUS) if name in file), None)
        if kind is None:
            raise ValueError(
                f"{path} holds {', '.join(file) or 'nothing'}; expected the group {EMCEE!r} of emcee's "
                f"HDFBackend or {NAUTILUS!r} of nautilus' checkpoint."
            )
        if run is None:
            raise ValueError(
                f"{path} does not name its parameters: give the Cobaya input that it samples by --run "
                "RUN.yaml (in Python by run=)."
            )
        post = Posterior(model_of(read_input(run), debug=logging.ERROR))
        try:
            return (_emcee if kind == EMCEE else _nautilus)(file[kind], post)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _emcee(group: Any, post: Posterior) -> MCSamples:
    n = int(group.attrs["iteration"])  # the file has room for more
    chain, log_posterior = (np.asarray(group[x][:n], float) for x in ("chain", "log_prob"))
    if chain.ndim != 3 or log_posterior.shape != chain.shape[:2] or not chain.size:
        raise ValueError(
            f"its chain has shape {chain.shape} and log_prob {log_posterior.shape}; expected steps, "
            "walkers and parameters."
        )
    _check_number(chain.shape[2], post)
    kept = slice(round(BURN_IN * n), None)
    chain, log_posterior = chain[kept], log_posterior[kept]
    _check_finite(chain, "parameters")
    _check_finite(log_posterior, "log-posterior")
    walkers = range(chain.shape[1])
    return post.getdist(
        [chain[:, i] for i in walkers], log_posterior=[log_posterior[:, i] for i in walkers]
    )


def _nautilus(group: Any, post: Posterior) -> MCSamples:
    """Points of all shells, each with the volume of its shell divided by their number."""
    n, log_volume = (np.atleast_1d(group.attrs[x]) for x in ("shell_n", "shell_log_v"))
    # What explored the prior may have been left out since.
    left_out = group.attrs["_discard_exploration"] and group.attrs["explored"]
    first = np.atleast_1d(group.attrs["shell_end_exp"]) if left_out else np.zeros(len(n), int)
    cube, log_likelihood = (
        np.concatenate(
            [np.asarray(group[f"{x}_{i}"][start:], float) for i, start in enumerate(first)]
        )
        for x in ("points", "log_l")
    )
    if cube.ndim != 2 or log_likelihood.shape != cube.shape[:1] or n.sum() != len(cube):
        raise ValueError(f"{len(cube)} points, but {len(log_likelihood)} likelihoods.")
    _check_number(cube.shape[1], post)
    log_weight = np.repeat(log_volume - np.log(np.maximum(n, 1)), n) + log_likelihood
    inside = np.isfinite(log_weight)  # others have no weight
    if not inside.any():
        raise ValueError("no point has a likelihood above zero.")
    points = post.prior_transform(cube[inside])
    weights = np.exp(log_weight[inside] - log_weight[inside].max())
    log_posterior = log_likelihood[inside] + post.log_prior(points)
    return post.getdist(points, weights=weights, log_posterior=log_posterior, sampler="nested")


def _check_number(n: int, post: Posterior) -> None:
    if n != len(post.names):
        raise ValueError(
            f"it has {n} parameters, but the run samples {len(post.names)}: {', '.join(post.names)}."
        )


def _check_finite(values: Array, what: str) -> None:
    if not np.isfinite(values).all():
        where = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{what} of step {where[0] + 1} after the burn-in, walker {where[1] + 1}, are "
            f"{values[tuple(where)]}. A chain holds finite numbers."
        )


def is_cosmosis(path: Path) -> bool:
    """Whether a file begins as CosmoSIS' text does: with names of columns, section--parameter."""
    with path.open("rb") as file:
        start = file.readline(100_000)
    return start.startswith(b"#") and b"--" in start


def read_cosmosis(path: Path) -> MCSamples:
    """A chain of CosmoSIS' text output; parameters are named without their sections.

    Markov chains lose their beginning, walkers of an ensemble become chains of their own, and bounds
    of priors are those of the values that CosmoSIS copies into the file.

    Raises
    ------
    ValueError
        If the file has no posterior, is damaged, or holds anything but finite numbers.
    """
    from getdist import MCSamples

    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    header = [line for line in lines if line.startswith("#")]
    columns = [name.strip() for name in header[0].removeprefix("#").split("\t")]
    if len(columns) == 1:
        columns = header[0].removeprefix("#").split()
    lower = [name.lower() for name in columns]
    if LOG_POSTERIOR not in lower:
        raise ValueError(f"{path} has no column {LOG_POSTERIOR!r}: {', '.join(columns)}.")
    try:
        rows = np.array([line.split() for line in lines if line and line[0] != "#"], float)
    except ValueError as error:
        raise ValueError(f"{path} is no table of numbers: {error}") from error
    if not rows.size:
        raise ValueError(f"{path}: no samples yet.")
    if rows.shape[1] != len(columns):
        raise ValueError(f"{path} has {rows.shape[1]} columns, but names {len(columns)}.")
    values = dict(zip(lower, rows.T, strict=True))
    log_posterior, weights = values[LOG_POSTERIOR], np.ones(len(rows))
    if LOG_WEIGHT in values:
        weights = np.exp(values[LOG_WEIGHT] - values[LOG_WEIGHT].max())
    elif WEIGHTS[0] in values:
        weights = values[WEIGHTS[0]]
    # CosmoSIS writes other derived numbers in capitals; parameters are sampled.
    taken = [x for x in columns if x.lower() not in NO_PARAMETERS]
    sampled = _number(header, "n_varied") or len(taken)
    sampler = _text(header, "sampler")
    names = _names(taken)
    points = np.stack([values[x.lower()] for x in taken], axis=1)
    good = np.isfinite(log_posterior) & (weights > 0)  # where the likelihood failed, it is -inf
    if not good.any() or not np.isfinite(points[good]).all() or not (weights >= 0).all():
        raise ValueError(f"{path} holds anything but finite numbers and positive weights.")
    labels, ranges = [], _bounds(header, dict(zip(taken, names, strict=True)))
    for i, name in enumerate(names):
        known = known_parameters().get(name)
        labels.append(known.latex if known else rf"\mathrm{{{name}}}".replace("_", r"\_"))
        names[i] = name if i < sampled else f"{name}*"  # derived, to GetDist
    options: dict[str, Any] = {"names": names, "labels": labels, "ranges": ranges}
    if sampler in NESTED or (weights != weights[0]).any():
        return MCSamples(
            samples=points[good], weights=weights[good], loglikes=-log_posterior[good],
            sampler="nested", **options,
        )  # fmt: skip
    # The walkers of an ensemble take turns.
    n_walkers = max(_number(header, "walkers"), 1) if sampler == "emcee" else 1
    chains = [np.flatnonzero(good[i::n_walkers]) * n_walkers + i for i in range(n_walkers)]
    chains = [rows[round(BURN_IN * len(rows)) :] for rows in chains]
    return MCSamples(
        samples=[points[rows] for rows in chains],
        loglikes=[-log_posterior[rows] for rows in chains],
        **options,
    )


def _text(header: list[str], key: str) -> str:
    """Value of ``key = value`` in the comments of CosmoSIS; empty if it is not there."""
    pattern = re.compile(rf"#+\s*{key}\s*=\s*(\S+)")
    return next((match[1] for line in header if (match := pattern.fullmatch(line.strip()))), "")


def _number(header: list[str], key: str) -> int:
    found = _text(header, key)
    return int(found) if found.isdecimal() else 0


def _names(columns: list[str]) -> list[str]:
    """Names without their sections, which stay where they alone distinguish two."""
    short = [re.sub(r"\W", "_", name.rpartition("--")[2]) for name in columns]
    whole = [re.sub(r"\W", "_", name) for name in columns]
    # CosmoSIS does not care about capitals; the names of parameters here do.
    known = {name.lower(): name for name in known_parameters()}
    return [
        known.get(s.lower(), s) if short.count(s) == 1 else w
        for s, w in zip(short, whole, strict=True)
    ]


def _bounds(header: list[str], names: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Lowest and highest values of the parameters, from the copy of the values' file."""
    marks = [i for i, line in enumerate(header) if "_OF_VALUES_INI" in line]
    if len(marks) != 2:
        return {}
    values = configparser.ConfigParser(
        strict=False, interpolation=None, inline_comment_prefixes=(";", "#")
    )
    text = [line.removeprefix("##").strip() for line in header[marks[0] + 1 : marks[1]]]
    try:
        values.read_string("\n".join(text))
    except configparser.Error:
        return {}
    found = {}
    for column, name in names.items():
        section, _, key = column.partition("--")
        try:
            low, _, high = map(float, values.get(section, key, fallback="").split())
        except ValueError:
            continue
        found[name] = low, high
    return found
