"""The card beside weights: card.yaml for programs, and CARD.md, rendered from it, for readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.mocks.estimators import STATISTICS
from iaemu_likelihood.emulator.models.base import CARD_FILE, WEIGHTS_FILE
from iaemu_likelihood.emulator.physics.parameters import HOD_PARAMETERS, Domain
from iaemu_likelihood.emulator.validation.metrics import ACCURACY, GAUSSIAN_COVERAGE

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


def add_validation(folder: str | Path, numbers: Mapping[str, Any], command: str) -> None:
    """Put the headline numbers of a validation into the card of a folder of weights.

    Parameters
    ----------
    folder : str or Path
    numbers : mapping
        `iaemu_likelihood.emulator.validation.weights.Validation.numbers`.
    command : str
        That gives these numbers.
    """
    card = yaml.safe_load((Path(folder) / CARD_FILE).read_text())
    write_card(folder, card | headline(numbers, command))


def headline(numbers: Mapping[str, Any], command: str) -> dict[str, Any]:
    """The blocks ``accuracy`` and ``calibration`` of a card, numbers to four digits."""

    def each(block: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
        return {s: {key: _rounded(block[s][key]) for key in keys} for s in STATISTICS}

    def covered(block: Mapping[str, Any], name: str) -> dict[str, Any]:
        return {
            s: {f"{name}_{k}_sigma": _rounded(block[s][name][str(k)]) for k in GAUSSIAN_COVERAGE}
            for s in STATISTICS
        }

    data, mean = numbers["data"], numbers["ten_realisations"]
    unit, in_sigma = list(numbers["sigma_units"].items())[-1]
    calibration: dict[str, Any] = {"command": command}
    if "calibration" in numbers:
        found = numbers["calibration"]
        single = covered(found, "coverage")
        for s, entry in single.items():
            entry["bias_of_sigma_dex"] = _rounded(numbers["aleatoric"][s]["bias_dex"])
            entry["crps_relative"] = _rounded(found[s]["crps_relative"])
            entry["chi2_per_degree"] = _rounded(found[s]["chi2"]["per_degree"])
        calibration["single_catalogues"] = single
        calibration["all_statistics_together"] = {
            "chi2_per_degree": _rounded(found["chi2"]["per_degree"]),
            "fraction_beyond_95": _rounded(found["chi2"]["fraction_beyond_95"]),
        }
    calibration["epistemic"] = covered(numbers["epistemic"], "coverage")
    return {
        "accuracy": {
            "command": command,
            "version": data["version"],
            "n_points": data["n_points"],
            "n_points_with_realisations": data["n_points_with_realisations"],
            "seed": data["seed"],
            "expectation": each(numbers["expectation"]["all"], ACCURACY),
            "ten_realisations": each(mean["emulator"]["all"], ACCURACY),
            "perfect_against_ten_realisations": each(mean["perfect"]["all"], ACCURACY),
            f"error_in_{unit}_sigma": each(in_sigma, ("median", "p95", "p99")),
        },
        "calibration": calibration,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def domain_table(card: Mapping[str, Any]) -> Table:
    """Header and rows: limits of the occupation parameters at three logMmin."""
    domain = Domain.from_dict(card["domain"])
    low, high = domain.logMmin
    at = np.array([low, (low + high) / 2, high])
    rows = [
        [f"{m:.2f}", *(f"{a:.2f} to {b:.2f}" for a, b in zip(lower, upper, strict=True))]
        for m, lower, upper in zip(at, *domain.bounds(at), strict=True)
    ]
    return list(HOD_PARAMETERS), rows


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
    halos = card["halos"]
    note = "mu_cen and mu_sat in [-1, 1]; masses are log10 of Msun/h; between the rows, linear."
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
