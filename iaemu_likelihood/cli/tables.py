"""How commands show results: the tables and sentences that these give of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from iaemu_likelihood.emulator.tables import Table


def show(tables: Iterable[Table]) -> None:
    """Print tables."""
    from rich.console import Console
    from rich.table import Table as RichTable

    for table in tables:
        shown = RichTable(*table.columns, title=table.title, title_justify="left")
        for row in table.rows:
            shown.add_row(*row)
        Console().print(shown)


def say(lines: Iterable[str]) -> None:
    """Print sentences, one a line."""
    for line in lines:
        typer.echo(line)


def write_numbers(path: Path | None, numbers: Mapping[str, Any]) -> None:
    """Write the numbers of a result as JSON, if a file is given."""
    from iaemu_likelihood.emulator.atomic import write_json

    if path is not None:
        write_json(dict(numbers), path)
