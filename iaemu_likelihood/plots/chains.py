"""Chains of any sampler as GetDist takes them. Chains are data: numbers, and text that means itself."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.cobaya.derived import galaxy_label
from iaemu_likelihood.cobaya.inputs import refuse_python_tags, updated_file
from iaemu_likelihood.plots.samplers import BURN_IN, is_cosmosis, read_cosmosis, read_hdf5

if TYPE_CHECKING:
    from getdist import MCSamples, ParamInfo

Array = NDArray[np.float64]


def load(source: str | Path, run: str | Path | None = None) -> MCSamples:
    """Load chains of Cobaya, NUTS, emcee, nautilus or CosmoSIS, whichever they are.

    Parameters
    ----------
    source : str or Path
        Output prefix of a run of Cobaya or of `iaemu nuts`; or a file: emcee's HDF5 backend,
        nautilus' checkpoint, or CosmoSIS' text.
    run : str or Path, optional
        Cobaya input that an HDF5 file samples: its files do not name their parameters.

    Raises
    ------
    FileNotFoundError
        If there are no such chains; those that there are, are named.
    ValueError
        If they are damaged, hold anything but finite numbers, or `run` is missing.
    """
    found = _load_any(Path(source), source, run)
    for parameter in found.paramNames.names:
        known = galaxy_label(parameter.name)
        # Runs of Cobaya ask for derived parameters by name alone.
        if known is not None and parameter.label in ("", parameter.name):
            parameter.label = known
    return found


def _load_any(path: Path, source: str | Path, run: str | Path | None) -> MCSamples:
    if path.is_file() and path.suffix in (".h5", ".hdf5"):
        return read_hdf5(path, run)
    if path.is_file() and is_cosmosis(path):
        return read_cosmosis(path)
    if not _files(source, ".") and _files(source, "_"):
        return load_nuts(source)
    return load_chains(source)


def shown_parameters(samples: MCSamples) -> list[str]:
    """Parameters to show: those that were sampled and vary, and derived ones of galaxies."""
    derived = [
        x.name for x in samples.paramNames.names if x.isDerived and galaxy_label(x.name) is not None
    ]
    return [*samples.paramNames.getRunningNames(), *derived]


def rows_of_chains(samples: MCSamples) -> list[slice]:
    """The rows of each chain, where samples are of several."""
    ends = samples.chain_offsets
    if ends is None:
        return [slice(0, samples.numrows)]
    return [slice(int(a), int(b)) for a, b in pairwise(ends)]


def load_chains(root: str | Path) -> MCSamples:
    """Load the chains of a Cobaya run by their prefix, without the first 30 % of each.

    Parameters
    ----------
    root : str or Path
        Output prefix of the run. One that is a folder, as in ``output: chains/``, ends with a slash.

    Raises
    ------
    FileNotFoundError
        If there are no chains with this prefix; those that there are, are named.
    ValueError
        If the prefix has chains of two runs, or a chain holds anything but finite numbers.
    """
    return _load(root, ".", BURN_IN)


def load_nuts(root: str | Path) -> MCSamples:
    """Load the chains of `iaemu_likelihood.sampling.nuts`, which hold no burn-in, by their root.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_chains`.
    """
    return _load(root, "_", 0.0)


def _load(root: str | Path, separator: str, burn_in: float) -> MCSamples:
    """Load chains ROOT + separator + number.txt."""
    from getdist import chains

    path = _absolute(root)
    mine, others = (_files(root, x) for x in (separator, "_" if separator == "." else "."))
    if not mine:
        raise FileNotFoundError(_no_chains(root, separator, others))
    if others and separator == "." and not path.endswith("/"):
        raise ValueError(  # as GetDist would read Cobaya's with the settings of the others
            f"The prefix {root} has chains of two runs, {Path(mine[0]).name} and "
            f"{Path(others[0]).name}. Move those of one."
        )
    if updated_file(path).is_file():
        refuse_python_tags(updated_file(path))
    before = chains.print_load_details
    chains.print_load_details = False
    try:
        samples = _described(path, burn_in)
        names = list(samples.paramNames.names)
        rows = _checked(mine, names)
        samples.readChains(list(rows))
    except Exception as error:  # GetDist raises many kinds
        raise ValueError(f"The chains {root} cannot be read: {error}") from error
    finally:
        chains.print_load_details = before
    # GetDist takes for fixed what the first chain holds fixed.
    kept = [each[round(burn_in * len(each)) :] for each in rows.values()]
    for i, parameter in enumerate(names, 2):
        values = np.concatenate([each[:, i] for each in kept])
        if samples.ranges.fixedValue(parameter.name) is not None and np.ptp(values) > 0:
            raise ValueError(
                f"{next(iter(rows))}, the longest chain, has not moved in {parameter.name}, and "
                "others have. Let it run on, or leave it out."
            )
    return samples


def _absolute(root: str | Path) -> str:
    return f"{Path(root).absolute()}{'/' if str(root).endswith('/') else ''}"


def _files(root: str | Path, separator: str) -> list[str]:
    """Chains ROOT + separator + number.txt."""
    from getdist import chains

    path = _absolute(root)
    if not updated_file(path).parent.is_dir():
        return []
    found: list[str] = chains.chainFiles(path, separator=separator, first_chain=1)
    return found


def _described(path: str, burn_in: float) -> MCSamples:
    """Names, labels and limits of parameters, without samples."""
    from getdist import MCSamples

    try:
        samples = MCSamples(path, settings={"ignore_rows": burn_in})
    except Exception as error:  # GetDist raises many kinds
        files = [
            str(updated_file(path)),
            *(f"{path}.{x}" for x in ("paramnames", "ranges", "properties.ini")),
        ]
        there = ", ".join(file for file in files if Path(file).is_file())
        raise ValueError(f"GetDist fails at {there}: {error}") from error
    if samples.paramNames is None:
        raise ValueError("neither .updated.yaml nor .paramnames names their parameters")
    return samples


def _no_chains(root: str | Path, separator: str, others: Sequence[str]) -> str:
    """That there are none with a prefix, and which there are; `others` have it, but are not ours."""
    there = []
    for folder in (Path(root), Path(root).parent):
        for file in folder.glob(f"*{separator}[0-9]*.txt"):
            match = re.fullmatch(rf"(.+){re.escape(separator)}\d+\.txt", file.name)
            there += [str(folder / match[1])] if match else []
        there += [f"{folder}/"] if separator == "." and (folder / "1.txt").is_file() else []
    near = get_close_matches(str(root), sorted(set(there)), n=5, cutoff=0.0)
    hint = f"There are {', '.join(near)}." if near else "There are none beside it either."
    if others:
        by = {".": "NUTS", "_": "Cobaya"}[separator]
        hint = f"{Path(others[0]).name} is a chain of {by}."
    pattern = f"{root}{'' if str(root).endswith('/') else separator}*.txt"
    return f"No chains {pattern}. Give the output prefix of a run, such as chains/tng300_sample1. {hint}"


def _checked(files: Sequence[str], names: Sequence[ParamInfo]) -> dict[str, Array]:
    """The rows of those chains that have begun, by their files, the longest first.

    Raises
    ------
    ValueError
        If none has, or one holds anything but finite numbers with positive weights.
    """
    columns = ["weight", "minuslogpost", *(x.name for x in names)]
    needed = [0, 1, *(i for i, x in enumerate(names, 2) if not x.isDerived)]
    found = {}
    for file in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # at a file that holds a header only
                rows = np.loadtxt(file, ndmin=2)
        except ValueError as error:
            reason = str(error).partition(";")[0].rstrip(".")  # without what numpy proposes
            raise ValueError(f"{file} is no table of numbers: {reason}.") from error
        if not rows.size:
            continue
        with Path(file).open() as lines:
            header = next(lines)
        if header.startswith("#") and header[1:].split() != columns:
            raise ValueError(
                f"{file} is of another run than what names its parameters: its columns are "
                f"{header[1:].split()}, and not {columns}."
            )
        if rows.shape[1] < len(columns):
            raise ValueError(
                f"{file} has {rows.shape[1]} columns; the run has {len(columns)}: "
                f"{', '.join(columns)}."
            )
        bad = ~np.isfinite(rows[:, needed])
        bad[:, 0] |= (rows[:, 0] < 0) | (not rows[:, 0].any())
        if bad.any():
            row, i = np.argwhere(bad)[0]
            raise ValueError(
                f"{file}: {columns[needed[i]]} of sample {row + 1} is {rows[row, needed[i]]:g}. A "
                "chain holds finite numbers and positive weights; remove that line."
            )
        found[file] = rows
    if not found:
        raise ValueError(f"{', '.join(files)}: no samples yet.")
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
