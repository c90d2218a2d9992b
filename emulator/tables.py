"""Tables in which results are shown, on a terminal or in Markdown.

Text in them may come from files of others. It means itself: nothing in it is obeyed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

# Unicode's categories of controls, of formats such as the direction of writing, and of separators.
_NOT_SHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    r"""Text in which what a terminal would obey, or would not show, is written out, as ``\x1b``.

    Line feeds stay.
    """
    return "".join(
        repr(c)[1:-1] if c != "\n" and unicodedata.category(c) in _NOT_SHOWN else c for c in text
    )


def plus_minus(value: float, sigma: float) -> str:
    """A value to four digits and its standard deviation to two, without exponents where possible."""
    return f"{value:.4g} ± {float(f'{sigma:.2g}'):g}"


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
        return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text that neither ends a cell of a Markdown table, nor is HTML."""
    one_line = printable(" ".join(text.splitlines()))
    return one_line.replace("|", r"\|").replace("<", "&lt;")
