"""Labels in the mathematical notation of matplotlib, as text with subscripts and superscripts."""

from __future__ import annotations

import re
from unicodedata import lookup

_SYMBOLS = {"log": "log", "odot": "☉", "tilde": "", "mathrm": "", ",": " ", " ": " "}
_TOKEN = re.compile(r"\\([A-Za-z]+|.) ?|([_^{}])|([^\\_^{}]+)")

# "sub", "sup" or "" for a part on the line, and its text.
Part = tuple[str, str]


def parts(latex: str) -> list[Part]:
    r"""Parts of a label, each on the line, below or above it.

    Parameters
    ----------
    latex : str
        With or without $, such as ``\mu_\mathrm{cen}``.

    Returns
    -------
    list of (str, str)
        Where a part stands (``""``, ``"sub"`` or ``"sup"``) and its text.

    Raises
    ------
    ValueError
        If it has a command that is not known here.

    Examples
    --------
    >>> parts(r"\mu_\mathrm{cen}")
    [('', 'μ'), ('sub', 'cen')]
    """
    found: list[Part] = []
    where, pending, depth = "", "", 0

    def add(text: str) -> None:
        if found and found[-1][0] == where:
            found[-1] = where, found[-1][1] + text
        elif text:
            found.append((where, text))

    for command, control, plain in _TOKEN.findall(latex.replace("$", "")):
        if control in ("_", "^"):
            pending = "sub" if control == "_" else "sup"
        elif control == "{":
            if pending:
                where, pending, depth = pending, "", 1
            elif depth:
                depth += 1
        elif control == "}":
            if depth:
                depth -= 1
                where = where if depth else ""
        else:
            text = _symbol(command, latex) if command else plain
            if pending and text:
                # Without braces only the first character is lowered or raised.
                where, pending = pending, ""
                add(text[0])
                where, text = "", text[1:]
            add(text)
    return found


def _symbol(command: str, latex: str) -> str:
    if command in _SYMBOLS:
        return _SYMBOLS[command]
    try:
        return lookup(f"GREEK SMALL LETTER {command}")
    except KeyError:
        raise ValueError(
            f"the page cannot show \\{command}, which is in the label {latex}"
        ) from None
