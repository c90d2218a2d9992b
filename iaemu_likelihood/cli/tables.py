"""How commands show results: the tables and sentences that these give of themselves.

Names in them may come from files, so that text is shown as it is, whatever a terminal would make of
it.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from iaemu_likelihood.emulator.tables import Table, printable

if TYPE_CHECKING:
    from iaemu_likelihood.emulator.results import Result

# Cells that begin like this are a number with what belongs to it.
NUMBER = re.compile(r"[-+]?\.?\d.{,30}")
# Characters that a table has beside its cells: between and around all columns, and for each.
FRAME, PADDING = 1, 3


def show(tables: Iterable[Table]) -> None:
    """Print tables that are no wider than the terminal, or than 80 characters where there is none.

    Cells are wrapped between words, and numbers are not. Columns that have no place beside the others
    follow below, with the first column again.
    """
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    def text(cell: str) -> Text:
        return Text(printable(cell))  # unlike a string, it has no markup

    console = Console()
    for table in tables:
        if table.title:
            console.print(text(table.title))
        for columns in _side_by_side(table, console.width):
            shown = RichTable()
            for (name, *_), width in zip(columns, _widths(columns, console.width), strict=True):
                shown.add_column(text(name), width=width, overflow="fold")
            for row in zip(*(cells for _, *cells in columns), strict=True):
                shown.add_row(*map(text, row))
            console.print(shown)


def _side_by_side(table: Table, width: int) -> Iterator[list[list[str]]]:
    """Columns of a table, each with its name and cells, in as many groups as the width takes."""
    first, *others = (
        [name, *cells] for name, *cells in zip(table.columns, *table.rows, strict=True)
    )
    group = [first]
    for column in others:
        if len(group) > 1 and sum(map(_least, [*group, column])) + FRAME > width:
            yield group
            group = [first]
        group.append(column)
    yield group


def _least(column: Sequence[str]) -> int:
    """The width of a column that breaks no word and no number, its padding included."""
    pieces = [[cell] if NUMBER.fullmatch(cell) else cell.split() for cell in map(printable, column)]
    return max((len(piece) for words in pieces for piece in words), default=0) + PADDING


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """Widths of columns side by side: what each needs, and a share of what is left."""
    wanted = [max(len(printable(cell)) for cell in column) for column in columns]
    widths = [min(_least(column), width - FRAME) - PADDING for column in columns]
    if sum(widths) + PADDING * len(widths) + FRAME > width:  # two columns, the second of long words
        widths[-1] = max(width - FRAME - PADDING * len(widths) - sum(widths[:-1]), 1)
    for _ in range(width - FRAME - PADDING * len(widths) - sum(widths)):
        _, narrowest = max(
            (want / max(has, 1), i)
            for i, (want, has) in enumerate(zip(wanted, widths, strict=True))
        )
        if widths[narrowest] >= wanted[narrowest]:
            break
        widths[narrowest] += 1
    return widths


def say(lines: Iterable[str], error: bool = False) -> None:
    """Print sentences, one a line; errors in red, to where errors go.

    On a terminal, lines are wrapped between words; elsewhere they stay whole, for other programs.
    """
    stream = sys.stderr if error else sys.stdout
    for line in lines:
        shown = printable(line)
        if stream.isatty():
            shown = _wrapped(shown)
        if error:
            typer.secho(shown, fg="red", err=True)
        else:
            typer.echo(shown)


def _wrapped(text: str) -> str:
    """Text whose lines have a place on the terminal, if their words have."""
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) or line
        for line in text.split("\n")
    )


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


def draw_result(result: Result, path: Path | None) -> None:
    """Draw a result, if a file is given, and print its path."""
    if path is not None:
        from iaemu_likelihood.plots import write_figure

        draw(lambda: write_figure(result.plot(), path))


def write_numbers(path: Path | None, numbers: Mapping[str, Any]) -> None:
    """Write the numbers of a result as JSON, if a file is given."""
    from iaemu_likelihood.emulator.atomic import write_json

    if path is not None:
        write_json(dict(numbers), path)
