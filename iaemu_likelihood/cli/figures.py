"""The command that draws chains: plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iaemu_likelihood.cli.options import JsonOption, writable
from iaemu_likelihood.cli.tables import draw, say, show, write_numbers


def plot(
    chains: Annotated[
        list[str],
        typer.Argument(
            help="Prefixes of runs (chains/tng300_sample1), or files of emcee, nautilus, CosmoSIS."
        ),
    ],
    suffix: Annotated[str, typer.Option(help="Format: png, pdf, ...")] = "png",
    run: Annotated[
        Path | None,
        typer.Option(help="Cobaya input that chains sample, if Cobaya did not make them."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="Prefix of the figures; beside the first chain when left out."),
    ] = None,
    parameters: Annotated[
        str,
        typer.Option(
            help="Parameters of the corner plot, joined by commas, derived ones such as b_g included; "
            "all sampled ones when left out."
        ),
    ] = "",
    latex: Annotated[
        Path | None,
        typer.Option(help="Write the constraints to this file, as a table.", callback=writable),
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Draw chains over each other, and the data against their predictions; print constraints.

    Chains of Cobaya, `iaemu nuts`, emcee (HDF5 backend), nautilus (checkpoint) and CosmoSIS (text)
    are recognised. Those of different samples share panels. R-1 is of several chains, or of the
    halves of one. HDF5 files do not name parameters, and only Cobaya's chains say what to predict:
    others need --run. An input of Cobaya may hold Python, PREFIX.updated.yaml too: use only those
    that you trust; chains are data.

    Example: iaemu plot chains/tng300_sample1 chains/tng300_sample2 chains/tng300_sample3
    """
    from functools import partial

    from iaemu_likelihood.emulator.atomic import atomic_write
    from iaemu_likelihood.plots import (
        check_format,
        constraints_of,
        corner_figure,
        has_input,
        latex_table,
        prediction_figure,
    )

    check_format(suffix)
    found = constraints_of(chains, run)
    show([each.table() for each in found])
    if latex is not None:
        with atomic_write(latex) as unfinished:
            unfinished.write_text(latex_table(found))
        say([str(latex)])
    write_numbers(json_file, {"chains": [each.numbers for each in found]})
    chosen = [name.strip() for name in parameters.split(",") if name.strip()]
    figures = [partial(corner_figure, parameters=chosen)]
    without = [chain for chain in chains if run is None and not has_input(chain)]
    if without:
        say([f"No prediction: give the Cobaya input of {', '.join(without)} by --run RUN.yaml."])
    else:
        figures.append(prediction_figure)
    if not draw(*(partial(f, *chains, suffix=suffix, run=run, out=out) for f in figures)):
        raise SystemExit(1)
