"""The card beside weights: card.yaml for programs, and CARD.md, made from it, for readers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from iaemu_likelihood.data import FOLDER
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.models.weights import (
    CONTENT_HASH,
    FIRST_WITH_HASH,
    FIRST_WITH_NOISE,
    SCHEMA,
    TENSORS_HASH,
    WEIGHTS_FILE,
    card_path,
    content_sha256,
    domain_of,
    named_weights,
    read_card,
    redshifts_of,
)
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.tables import Table

RENDERED = "CARD.md"
LEARNING_CURVE = "learning_curve.png"
LIMITS = (
    "One cosmology: that of the halo catalogue. Three-dimensional correlations of all "
    "galaxies of a sample against all, averaged over the bins it was trained in. Outside its domain "
    "an emulator is not to be trusted, and says so unless told otherwise. The uncertainties are "
    "those of a box of the size of the halo catalogue's."
)


class _Plain(yaml.SafeDumper):
    """YAML without aliases, which a card may not have."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_card(folder: str | Path, card: Mapping[str, Any]) -> None:
    """Write card.yaml, with its hash, and CARD.md into a folder; no file is ever half written.

    Parameters
    ----------
    folder : str or Path
        Or the file of a tabulation, beside which only the first of both is written.
    card : mapping
        Mappings, lists, texts and numbers only, as YAML takes them.
    """
    hashed = dict(card) | {CONTENT_HASH: content_sha256(card)}
    with atomic_write(card_path(Path(folder))) as unfinished:
        text = yaml.dump(hashed, Dumper=_Plain, sort_keys=False, allow_unicode=True)
        unfinished.write_text(text, encoding="utf-8")
    if Path(folder).is_file():
        return
    with atomic_write(Path(folder) / RENDERED) as unfinished:
        unfinished.write_text(render_card(folder), encoding="utf-8")


def seal(folder: str | Path) -> str:
    """Write the card of an older version anew, as it is, with the hash that new cards have.

    Parameters
    ----------
    folder : str or Path
        Of weights; their tensors stay as they are.

    Returns
    -------
    str
        The hash.

    Raises
    ------
    ValueError
        If the card has a hash and was changed.
    """
    card = read_card(Path(folder))
    if FIRST_WITH_NOISE <= card["schema"] < FIRST_WITH_HASH:
        card["schema"] = SCHEMA
    write_card(folder, card)
    return content_sha256(card)


def weights_table() -> Table:
    """Table of all weights that load by name; what cannot be read is said in its row."""
    rows = []
    for name, folder in named_weights():
        try:
            card = read_card(folder)
            row = [name, card["kind"], card["halos"]["name"], _accuracy_in_short(card)]
        except (OSError, ValueError) as error:
            row = [name, "?", "?", f"unreadable card: {error}"]
        rows.append([*row, "bundled" if folder.is_relative_to(FOLDER) else str(folder)])
    columns = ["name", "kind", "halo catalogue", "median |error| / |expectation|", "where"]
    return Table("Weights", columns, rows)


def _accuracy_in_short(card: Mapping[str, Any]) -> str:
    measured = card.get("accuracy", {}).get("expectation")
    rows = measured.items() if isinstance(measured, Mapping) else ()
    key = "median_absolute_fractional_error"
    medians = {s: row.get(key) for s, row in rows if isinstance(row, Mapping)}
    known = [f"{s} {100 * x:.2g} %" for s, x in medians.items() if isinstance(x, int | float)]
    return ", ".join(known) or "not measured by this version"


def domain_table(card: Mapping[str, Any]) -> Table:
    """Table of the limits of the occupation parameters at three values of the first parameter."""
    domain = domain_of(card)
    low, high = domain.bands.first
    at = np.array([low, (low + high) / 2, high])
    rows = [
        [f"{first:.2f}", *(f"{a:.2f} to {b:.2f}" for a, b in zip(lower, upper, strict=True))]
        for first, lower, upper in zip(at, *domain.occupation_limits(at), strict=True)
    ]
    return Table(f"Domain ({_alignment(domain.space)})", domain.space.occupation.names, rows)


def _alignment(space: ParameterSpace, last: str = ", ") -> str:
    low, high = space.alignment.limits
    return f"{last.join(space.alignment.names)} in [{low:g}, {high:g}]"


def verdict(accuracy: Mapping[str, Any]) -> str:
    """How many targets of their validation weights meet, in a sentence, and which they miss.

    Parameters
    ----------
    accuracy : mapping
        The block of a card; those of older versions do not say it, and give an empty text.
    """
    met, missed = (accuracy.get(f"targets_{word}") for word in ("met", "missed"))
    return f"{met} targets met{f'; missed: {missed}' if missed else ''}." if met else ""


def _heading(name: str) -> str:
    """Name of a measure over its column, where values of fractional errors are in per cent."""
    words = name.replace("_", " ").replace("absolute fractional error", "|error|")
    return words.replace("signed fractional error", "error")


def measured_tables(block: Mapping[str, Any], name: str = "") -> list[Table]:
    """Tables of a card's block ``accuracy`` or ``calibration``; their titles begin with `name`."""
    parts = {name: entry for name, entry in block.items() if isinstance(entry, Mapping)}
    # In cards of schema 1, a block is a single part.
    if not any(isinstance(entry, Mapping) for part in parts.values() for entry in part.values()):
        parts = {"": parts}
    tables = []
    for title, part in parts.items():
        nested = all(isinstance(entry, Mapping) for entry in part.values())
        rows = part if nested else {"": part}
        columns = list(next(iter(rows.values()), {}))
        tables.append(
            Table(
                ": ".join(text for text in (name, title.replace("_", " ")) if text),
                ["", *map(_heading, columns)],
                [[s, *(_shown(c, row.get(c)) for c in columns)] for s, row in rows.items()],
            )
        )
    return tables


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if not isinstance(value, int | float):
        return str(value)
    return f"{100 * value:.3g} %" if "fractional_error" in name else f"{value:.4g}"


def render_card(folder: str | Path) -> str:
    """Text of CARD.md, from the card.yaml in a folder."""
    card = read_card(Path(folder))
    halos, strengths = card["halos"], _alignment(domain_of(card).space, " and ")
    note = f"{strengths}. Masses are log10 of Msun/h. Limits are linear between the rows."
    about = [
        ["halo catalogue", _prose(halos["name"])],
        ["its SHA-256", _code(halos["sha256"])],
        ["redshift", _redshifts(card)],
        ["made by", f"iaemu_likelihood {_prose(card['version'])}"],
        [f"SHA-256 of {WEIGHTS_FILE}", _code(card[TENSORS_HASH])],
        ["SHA-256 of all that decides predictions", _code(card[CONTENT_HASH])],
        ["schema", str(card["schema"])],
        ["licence", _prose(card["license"])],
        ["to cite", _prose(", ".join(card["citation"]))],
    ]
    lines = [
        f"# Weights of kind {_code(card['kind'])}",
        _prose(card["description"]),
        "## Where they come from",
        Table("", ["", ""], about).markdown(),
        "## Domain",
        domain_table(card).markdown(),
        *_limits_by_redshift(card),
        f"{note} Limits: {_prose(card['domain_note'])}." if "domain_note" in card else note,
    ]
    for name in ("accuracy", "calibration"):
        lines += [f"## {name.capitalize()}", *_measured(card.get(name))]
    for at, blocks in card.get("other_redshifts", {}).items():
        for name, block in blocks.items():
            lines += [f"## {name.capitalize()} at {_prose(at)}", *_measured(block)]
    lines += ["## Limits", " ".join(filter(None, [LIMITS, _prose(card.get("note", ""))]))]
    lines.append("## Training")
    if (Path(folder) / LEARNING_CURVE).exists():
        lines.append(f"![Learning curve]({LEARNING_CURVE})")
    config = yaml.safe_dump(card["training"], sort_keys=False, allow_unicode=True)
    fence = _longer_than_in(config, 3)
    lines.append(f"{fence}yaml\n{config}{fence}")
    return "\n\n".join(lines) + "\n"


def _redshifts(card: Mapping[str, Any]) -> str:
    """The redshifts that weights know, and those of the halo catalogues."""
    known = redshifts_of(card)
    if not known.are_several:
        return f"{known.values[0]:g}"
    low, high = known.ends
    return f"{low:g} to {high:g}, from snapshots at {', '.join(f'{z:g}' for z in known.values)}"


def _limits_by_redshift(card: Mapping[str, Any]) -> list[str]:
    """The upper end of the domain's first parameter at each redshift, if it depends on it."""
    if "redshifts" not in card:
        return []
    known, first = redshifts_of(card), domain_of(card).space.occupation.names[0]
    table = Table(
        "", ["redshift", f"{first} at most"],
        [[f"{z:g}", f"{x:.2f}"] for z, x in zip(known.values, known.highest, strict=True)],
    )  # fmt: skip
    least = card["training"].get("least_galaxies")
    why = f", so that a box holds {least:g} galaxies at least" if least else ""
    return [table.markdown(), f"The limit is linear in ln(1 + z) between the rows{why}."]


def _measured(block: Mapping[str, Any] | None) -> list[str]:
    if block is None:
        return ["Not measured yet: `iaemu validate NAME --write-card`."]
    about = [
        _code(str(value)) if key == "command" else _prose(f"{key.replace('_', ' ')}: {value}")
        for key, value in block.items()
        if not isinstance(value, Mapping)
    ]
    tables = [
        Table(_prose(title), [*map(_prose, columns)], [[*map(_prose, row)] for row in rows])
        for title, columns, rows in measured_tables(block)
    ]
    return ["; ".join(about), *(table.markdown() for table in tables)]


def _prose(text: str) -> str:
    """Text of a card in one line, in which nothing is code, a link or HTML."""
    one_line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"[\\`\[]", r"\\\g<0>", one_line)


def _code(text: str) -> str:
    """Text of a card as code within a line."""
    one_line = " ".join(text.split())
    fence = _longer_than_in(one_line, 1)
    space = " " if "`" in one_line else ""
    return f"{fence}{space}{one_line}{space}{fence}"


def _longer_than_in(text: str, shortest: int) -> str:
    """More backquotes than there are side by side in a text."""
    return "`" * max(shortest, *(len(x) + 1 for x in re.findall("`+", text)), 0)
