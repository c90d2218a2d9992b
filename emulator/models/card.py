"""The card beside weights: card.yaml for programs, and CARD.md, made from it, for readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.models.weights import (
    CARD_FILE,
    WEIGHTS_FILE,
    bundled_weights,
    domain_of,
    user_weights,
    weights_folder,
)
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.tables import Table

RENDERED = "CARD.md"
LEARNING_CURVE = "learning_curve.png"
LIMITS = (
    "One cosmology and redshift: those of the halo catalogue. Three-dimensional correlations of all "
    "galaxies of a sample against all, averaged over the bins it was trained in. Outside its domain "
    "an emulator is not to be trusted, and says so unless told otherwise. The uncertainties are "
    "those of a box of the size of the halo catalogue's."
)


def write_card(folder: str | Path, card: Mapping[str, Any]) -> None:
    """Write card.yaml and CARD.md into a folder of weights; no file is ever half written.

    Parameters
    ----------
    folder : str or Path
    card : mapping
        Mappings, lists, texts and numbers only, as YAML takes them.
    """
    with atomic_write(Path(folder) / CARD_FILE) as unfinished:
        unfinished.write_text(yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True))
    with atomic_write(Path(folder) / RENDERED) as unfinished:
        unfinished.write_text(render_card(folder))


def weights_table() -> Table:
    """Table of all weights that load by name."""
    rows = []
    for name in dict.fromkeys([*bundled_weights(), *user_weights()]):
        folder = weights_folder(name)
        try:
            card = yaml.safe_load((folder / CARD_FILE).read_text())
            row = [name, card["kind"], card["halos"]["name"], _accuracy_in_short(card)]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            row = [name, "?", "?", f"unreadable card: {error}"]
        rows.append([*row, "bundled" if name in bundled_weights() else str(folder)])
    columns = ["name", "kind", "halo catalogue", "median |error| / |expectation|", "where"]
    return Table("Weights", columns, rows)


def _accuracy_in_short(card: Mapping[str, Any]) -> str:
    measured = card.get("accuracy", {}).get("expectation")
    if measured is None:
        return "not measured by this version"
    medians = {s: row["median_absolute_fractional_error"] for s, row in measured.items()}
    return ", ".join(f"{s} {100 * value:.2g} %" for s, value in medians.items())


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
                ["", *(column.replace("_", " ") for column in columns)],
                [[s, *(_shown(c, row.get(c)) for c in columns)] for s, row in rows.items()],
            )
        )
    return tables


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.3g} %" if "fractional_error" in name else f"{value:.4g}"


def render_card(folder: str | Path) -> str:
    """Text of CARD.md, from the card.yaml in a folder."""
    card = yaml.safe_load((Path(folder) / CARD_FILE).read_text())
    halos, strengths = card["halos"], _alignment(domain_of(card).space, " and ")
    note = f"{strengths}. Masses are log10 of Msun/h. Limits are linear between the rows."
    about = [
        ["halo catalogue", halos["name"]],
        ["its SHA-256", f"`{halos['sha256']}`"],
        ["redshift", f"{card['redshift']:g}"],
        ["made by", f"iaemu_likelihood {card['version']}"],
        [f"SHA-256 of {WEIGHTS_FILE}", f"`{card['weights_sha256']}`"],
        ["schema", str(card["schema"])],
        ["licence", card["license"]],
        ["to cite", ", ".join(card["citation"])],
    ]
    lines = [
        f"# Weights of kind `{card['kind']}`",
        card["description"],
        "## Where they come from",
        Table("", ["", ""], about).markdown(),
        "## Domain",
        domain_table(card).markdown(),
        f"{note} Limits: {card['domain_note']}." if "domain_note" in card else note,
    ]
    for name in ("accuracy", "calibration"):
        lines += [f"## {name.capitalize()}", *_measured(card.get(name))]
    lines += ["## Limits", LIMITS, "## Training"]
    if (Path(folder) / LEARNING_CURVE).exists():
        lines.append(f"![Learning curve]({LEARNING_CURVE})")
    config = yaml.safe_dump(card["training"], sort_keys=False, allow_unicode=True)
    lines.append(f"```yaml\n{config}```")
    return "\n\n".join(lines) + "\n"


def _measured(block: Mapping[str, Any] | None) -> list[str]:
    if block is None:
        return ["Not measured yet: `iaemu validate NAME --write-card`."]
    about = [
        f"`{value}`" if key == "command" else f"{key.replace('_', ' ')}: {value}"
        for key, value in block.items()
        if not isinstance(value, Mapping)
    ]
    return ["; ".join(about), *(table.markdown() for table in measured_tables(block))]
