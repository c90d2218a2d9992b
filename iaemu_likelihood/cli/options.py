"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[Path | None, typer.Option("--json", help="Write every number to this file.")]
HalosOption = Annotated[
    str, typer.Option(help="bundled, bolplanck (halotools' cache), or a file of halos.")
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
