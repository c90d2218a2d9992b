"""The card beside weights: card.yaml for programs, and CARD.md, rendered from it, for readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.models.weights import CARD_FILE, WEIGHTS_FILE
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, Statistic, named

# Header and rows.
Table = tuple[list[str], list[list[str]]]

RENDERED = "CARD.md"
LEARNING_CURVE = "learning_curve.png"
LIMITS = (
    "One cosmology and redshift: those of the halo catalogue. Three-dimensional correlations of all "
    "galaxies of a sample against all, averaged over the bins it was trained in. Outside its domain "
    "an emulator is not to be trusted, and says so unless told otherwise. The uncertainties are "
    "those of a box of the size of the halo catalogue's."
)


def write_card(folder: str | Path, card: Mapping[str, Any]) -> None:
    """Write card.yaml into a folder of weights, and CARD.md from it; each whole or not at all.

    Parameters
    ----------
    folder : str or Path
    card : mapping
        Of what YAML knows: mappings, lists, texts and numbers.
    """
    with atomic_write(Path(folder) / CARD_FILE) as unfinished:
        unfinished.write_text(yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True))
    with atomic_write(Path(folder) / RENDERED) as unfinished:
        unfinished.write_text(render_card(folder))


def space_of(card: Mapping[str, Any]) -> ParameterSpace:
    """Parameters of weights; those of the paper where their card does not say."""
    return ParameterSpace.named(**{k: card[k] for k in ("occupation", "alignment") if k in card})


def statistics_of(card: Mapping[str, Any]) -> tuple[Statistic, ...]:
    """Statistics of weights; those of the paper where their card does not say."""
    return named(card.get("statistics", DEFAULT_STATISTICS))


def domain_table(card: Mapping[str, Any]) -> Table:
    """Header and rows: limits of the occupation parameters at three values of the first."""
    space = space_of(card)
    domain = Domain.from_dict(card["domain"], space)
    low, high = domain.bands.first
    at = np.array([low, (low + high) / 2, high])
    rows = [
        [f"{first:.2f}", *(f"{a:.2f} to {b:.2f}" for a, b in zip(lower, upper, strict=True))]
        for first, lower, upper in zip(at, *domain.occupation_limits(at), strict=True)
    ]
    return list(space.occupation.names), rows


def measured_tables(block: Mapping[str, Any]) -> list[Table]:
    """Header and rows of each part of the block ``accuracy`` or ``calibration``."""
    parts = {name: entry for name, entry in block.items() if isinstance(entry, Mapping)}
    # Before schema 2, a block was one part.
    if not any(isinstance(entry, Mapping) for part in parts.values() for entry in part.values()):
        parts = {"": parts}
    tables = []
    for name, part in parts.items():
        nested = all(isinstance(entry, Mapping) for entry in part.values())
        rows = part if nested else {"": part}
        columns = list(next(iter(rows.values()), {}))
        header = [text.replace("_", " ") for text in (name, *columns)]
        tables.append(
            (header, [[s, *(_shown(c, row.get(c)) for c in columns)] for s, row in rows.items()])
        )
    return tables


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.3g} %" if "fractional_error" in name else f"{value:.4g}"


def render_card(folder: str | Path) -> str:
    """CARD.md of the card.yaml in a folder."""
    card = yaml.safe_load((Path(folder) / CARD_FILE).read_text())
    halos, alignment = card["halos"], space_of(card).alignment
    low, high = alignment.limits
    note = (
        f"{' and '.join(alignment.names)} in [{low:g}, {high:g}]; masses are log10 of Msun/h; between "
        "the rows, linear."
    )
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
        _markdown((["", ""], about)),
        "## Domain",
        _markdown(domain_table(card)),
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
    return ["; ".join(about), *map(_markdown, measured_tables(block))]


def _markdown(table: Table) -> str:
    header, rows = table
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
