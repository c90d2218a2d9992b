"""Reading the input of a Cobaya run, and refusing files that changed since it began."""

from __future__ import annotations

from collections.abc import Mapping
from logging import Logger
from pathlib import Path
from typing import Any

from cobaya.log import LoggedError
from cobaya.yaml import InputImportError, InputSyntaxError, yaml_load_file

# Blocks of a Cobaya input that define the model.
BLOCKS = ("theory", "likelihood", "params", "prior", "packages_path")


def read_input(run: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Read a Cobaya input as ``cobaya-run`` does.

    Parameters
    ----------
    run : str, Path or mapping
        A YAML file, or its content.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the input is not YAML, is for post-processing, or lacks a block that a run needs.
    """
    name = "The input" if isinstance(run, Mapping) else str(run)
    info: Any = run
    if not isinstance(run, Mapping):
        if not Path(run).is_file():
            raise FileNotFoundError(f"No file {run}. Give the input of a run, such as RUN.yaml.")
        try:
            info = yaml_load_file(str(run))
        except (InputImportError, InputSyntaxError, UnicodeDecodeError) as error:
            raise ValueError(f"{name} is not readable YAML. {error}") from error
    if isinstance(info, Mapping) and "post" in info:
        raise ValueError(f"{name} is post-processing; give the input of the run that it is for.")
    missing = [
        block
        for block in ("theory", "likelihood", "params")
        if not isinstance(info, Mapping) or not isinstance(info.get(block), Mapping)
    ]
    if missing:
        raise ValueError(f"{name} is no input of a Cobaya run: it lacks {', '.join(missing)}.")
    return dict(info)


def refuse_change(log: Logger, what: str, source: Any, found: str, begun_with: str) -> None:
    """Raise a LoggedError if data or weights are not those with which a run was begun.

    Parameters
    ----------
    log : logging.Logger
    what, source : str
        Kind and name of the files, for the message.
    found, begun_with : str
        The hashes.
    """
    if found != begun_with:
        message = (
            f"The {what} {source!r} ({found[:12]}...) are not those of this run "
            f"({begun_with[:12]}...). Restore them, or start a new chain."
        )
        raise LoggedError(log, "%s", message)
