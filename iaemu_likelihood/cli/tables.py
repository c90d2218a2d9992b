"""How commands show results: the tables and sentences that these give of themselves.

Names in them may come from files, so that text is shown as it is, whatever a terminal would make of
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from iaemu_likelihood.emulator.tables import Table, printable


def show(tables: Iterable[Table]) -> None:
    """Print tables."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    def text(cell: str) -> Text:
        return Text(printable(cell))  # unlike a string, it has no markup

    for table in tables:
        shown = RichTable(title=text(table.title), title_justify="left")
        for column in table.columns:
            shown.add_column(text(column))
        for row in table.rows:
            shown.add_row(*map(text, row))
        Console().print(shown)


def say(lines: Iterable[str], error: bool = False) -> None:
    """Print sentences, one a line; errors in red, to where errors go."""
    for line in lines:
        typer.secho(printable(line), fg="red" if error else None, err=error)


def draw(*figures: Callable[[], Path]) -> bool:
    """Draw figures and print their paths; say of each that fails why. Return whether all are there.

    For the end of a command, so that a figure never costs what the command has found.
    """
    reasons: dict[str, None] = {}  # each once
    for figure in figures:
        try:
            say([str(figure())])
        except Exception as error:  # whatever a plotting library raises
            reasons[f"Error: {str(error) or type(error).__name__}"] = None
    say(reasons, error=True)
    return not reasons


def write_numbers(path: Path | None, numbers: Mapping[str, Any]) -> None:
    """Write the numbers of a result as JSON, if a file is given."""
    from iaemu_likelihood.emulator.atomic import write_json

    if path is not None:
        write_json(dict(numbers), path)
