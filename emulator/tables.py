"""Tables in which results are shown, on a terminal or in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """A table of text.

    Attributes
    ----------
    title : str
    columns : sequence of str
    rows : sequence of sequence of str
        Each as long as `columns`.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As a Markdown table, with the title in its corner if the first column has no name."""
        first, *others = self.columns
        lines = [[first or self.title, *others], ["---"] * len(self.columns), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
