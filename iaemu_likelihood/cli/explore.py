"""Command that shows an emulator in the browser: explore."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import typer

from iaemu_likelihood.cli.options import writable
from iaemu_likelihood.cli.tables import say


def explore(
    weights: Annotated[
        str, typer.Argument(help="Name or folder of weights of the kind templates.")
    ] = "templates",
    redshift: Annotated[
        list[float] | None,
        typer.Option(
            help="Redshift of the page; several make a slider, and each the page larger. "
            "That of the weights when left out.",
            show_default=False,
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Write the page to this file, HTML, and open nothing.", callback=writable
        ),
    ] = None,
) -> None:
    """Move the parameters and see the correlation functions, in your browser.

    The page holds the weights and computes by itself: it needs no server and no network, and can be
    sent to others. Its address says the parameters, so that a link leads back to what it shows.

    Example: iaemu explore

    Example: iaemu explore --redshift 0 --redshift 0.625
    """
    from iaemu_likelihood.explorer import write_explorer

    path = export or Path(mkdtemp(prefix="iaemu-")) / "explorer.html"
    file = write_explorer(path, weights, redshift or ())
    say([str(file)])
    if export is None and not webbrowser.open(file.as_uri()):
        say(["No browser was found on this machine; open the file in one."])
