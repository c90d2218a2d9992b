"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def writable(path: Path | None) -> Path | None:
    """Refuse a file that could not be written, before the work whose result it is to hold."""
    from iaemu_likelihood.emulator.atomic import check_writable

    if path is None:
        return None
    file = path.resolve()  # a link stays what it is
    if file.exists() and not file.is_file() and not file.is_dir():
        raise ValueError(f"{path} is no file; give the name of one.")
    check_writable(file)
    return file


def drawable(path: Path | None) -> Path | None:
    """Refuse a figure that could not be written, before the work that it is to show."""
    if path is not None:
        from iaemu_likelihood.plots import check_format

        check_format(path.suffix.removeprefix("."))
    return writable(path)


JsonOption = Annotated[
    Path | None,
    typer.Option("--json", help="Write every number to this file.", callback=writable),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot", help="Draw it to this file; the suffix is the format.", callback=drawable
    ),
]
HalosOption = Annotated[
    str,
    typer.Option(
        help="bundled, or bolplanck, bolplanck@0.5, ... (halotools' cache), or a file of halos: see "
        "iaemu halos --help."
    ),
]
TabulationOption = Annotated[
    Path, typer.Option(help="Tabulation of the halo catalogue; built if there is no such file.")
]
OccupationOption = Annotated[
    str | None,
    typer.Option(
        help="zheng07, desi_lrg or desi_elg, where the weights are a tabulation.",
        show_default="that of the weights",
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(help="'local' (a Dask worker per core), or the address of a Dask scheduler."),
]
DevicesOption = Annotated[
    int, typer.Option(help="GPUs, or processes on a CPU, that train together.")
]
ConfigArgument = Annotated[
    Path | None, typer.Argument(help="YAML file; that of the bundled weights when left out.")
]
