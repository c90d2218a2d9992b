"""The bars that weights are held to, and the paper's numbers beside them: `targets.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_content = yaml.safe_load(Path(__file__).with_name("targets.yaml").read_text())

# The paper's truth is the mean of so many catalogues.
N_PAPER: int = _content["realisations_of_the_truth"]
# By statistic: values of larger |fractional error| are left out of the paper's statistics.
PAPER_OUTLIERS: dict[str, float] = _content["outliers"]


def targets(numbers: Mapping[str, Any], statistics: Sequence[str]) -> list[dict[str, Any]]:
    """The numbers that decide, beside their bars and the paper's.

    Parameters
    ----------
    numbers : mapping
        `iaemu_likelihood.emulator.validation.weights.Validation.numbers`.
    statistics : sequence of str

    Returns
    -------
    list of dict
        name, value, bar (lowest and highest, or None where there is none), met (None without a
        bar), paper (what it reports, as text). Numbers that these weights do not have are left out.
    """
    kind = numbers["data"]["kind"]
    rows: list[dict[str, Any]] = []
    for target in _content["targets"]:
        bar = target["bars"].get(kind)
        for name in statistics:
            if name not in target.get("statistics", statistics):
                continue
            value = _number(numbers, target["number"].format(statistic=name))
            if value is not None:
                rows.append(
                    {
                        "name": f"{name}: {target['measure']}",
                        "value": float(value),
                        "bar": bar,
                        "met": None if bar is None else bool(bar[0] <= float(value) <= bar[1]),
                        "paper": target.get("paper", {}).get(name, ""),
                    }
                )
    return rows


def judged(found: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """How many targets are met, and which are missed.

    Parameters
    ----------
    found : sequence of mapping
        As from `targets`.

    Returns
    -------
    met : str
        ``n of m``, of the targets that have a bar.
    missed : str
        Names, values and bars of the others; empty if all are met.
    """
    with_bar = [target for target in found if target["met"] is not None]
    missed = [target for target in with_bar if not target["met"]]
    named = (
        f"{x['name']} is {x['value']:.4g}, not {x['bar'][0]:g} to {x['bar'][1]:g}" for x in missed
    )
    return f"{len(with_bar) - len(missed)} of {len(with_bar)}", "; ".join(named)


def _number(numbers: Mapping[str, Any], path: str) -> Any:
    """What stands at keys joined by dots, or None where a key is missing."""
    value: Any = numbers
    for key in path.split("."):
        if key not in value:
            return None
        value = value[key]
    return value
