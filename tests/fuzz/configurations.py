"""Configurations of a training: YAML to numbers that make sense."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, STATISTICS
from iaemu_likelihood.emulator.training.configuration import DEFAULT_CONFIG, read_training_config

from .cards import changed
from .cases import Case
from .changes import Rng, damaged, one

Rule = Callable[[Any], bool]


def whole(low: int) -> Rule:
    """A whole number from a limit on."""
    return lambda x: isinstance(x, int) and not isinstance(x, bool) and x >= low


def real(low: float, high: float = math.inf, limits: bool = True) -> Rule:
    """A finite number between limits, which may be allowed themselves."""

    def rule(x: Any) -> bool:
        number = isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
        return number and (low <= x <= high if limits else low < x < high)

    return rule


def text(x: Any) -> bool:
    """Words."""
    return isinstance(x, str) and bool(x)


def halos(x: Any) -> bool:
    """One halo catalogue, or several."""
    return text(x) or (isinstance(x, list) and bool(x) and all(map(text, x)))


def pair(x: Any) -> bool:
    """Two increasing numbers."""
    number = real(-math.inf)
    return isinstance(x, list | tuple) and len(x) == 2 and all(map(number, x)) and x[0] < x[1]


def statistics(x: Any) -> bool:
    """Names of statistics, of which one counts pairs."""
    known = isinstance(x, list | tuple) and all(isinstance(s, str) and s in STATISTICS for s in x)
    return known and DEFAULT_STATISTICS[0] in x and len({*x}) == len(x)


DOMAIN: dict[str, Any] = {
    "logMmin": pair,
    "n_rmse": real(0, limits=False),
    "sigma_logM_min": real(0),
    "logM0_max": real(-math.inf),
}
NETWORK: dict[str, Any] = {
    "width": whole(1), "depth": whole(1), "epochs": whole(1), "batch": whole(1), "patience": whole(0),
    "weight_decay": real(0),
    "learning_rate": {"hidden": real(0, limits=False), "others": real(0, limits=False)},
}  # fmt: skip
MODEL: dict[str, Any] = {
    "kind": text, "halos": halos, "seed": whole(0), "domain": DOMAIN, "statistics": statistics,
    "occupation_model": lambda x: x == DEFAULT_SPACE.occupation.name,
    "alignment": lambda x: x == DEFAULT_SPACE.alignment.name,
}  # fmt: skip
RULES: dict[str, dict[str, Any]] = {
    "templates": {
        **MODEL, "least_galaxies": real(0), "note": lambda x: isinstance(x, str), "start": lambda x: isinstance(x, str), "validation": real(0, 1, limits=False), "n_points": whole(1), "n_networks": whole(2),
        "weight_xi": real(0), "weight_inside": real(0),
        "projected": NETWORK, "weight_projected": real(0, limits=False), "noise_weight": real(-math.inf), "n_noise_points": whole(0), "n_catalogues": whole(1),
        "n_factors": whole(1), "n_components": whole(1), "means": NETWORK, "occupation": NETWORK, "shape": NETWORK,
    },
    "paper": {
        **MODEL, "n_train": whole(1), "noise": text, "network": {"dropout": real(0, 1)}, "epochs": whole(1),
        "warm_up": real(0, 1), "beta": dict.fromkeys(DEFAULT_STATISTICS, real(0)), "batch": whole(1),
        "learning_rate": real(0, limits=False), "weight_decay": real(0), "gradient_clip": real(0),
        "schedule": {"factor": real(0), "steps": whole(1)}, "validate_every": whole(1), "patience": real(0),
        "n_passes": whole(2),
    },
}  # fmt: skip


# Keys that may be left empty.
OPTIONAL = {"projected"}


def senseless(content: Any, rules: dict[str, Any], where: str = "") -> str:
    """The first value that breaks its rule, in words; empty if there is none."""
    if not isinstance(content, dict):
        return f"{where.strip(': ')} is {content!r}"
    for key, value in content.items():
        rule = rules.get(key)
        if rule is None:
            return f"{where}{key} means nothing"
        if key in OPTIONAL and value is None:
            continue
        if isinstance(rule, dict):
            found = senseless(value, rule, f"{where}{key}: ")
            if found:
                return found
        elif not rule(value):
            return f"{where}{key} is {value!r}"
    return ""


def as_numbers(content: Any) -> Any:
    """Nested content in which a text that is a number counts as this number."""
    if isinstance(content, dict):
        return {key: as_numbers(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [as_numbers(value) for value in content]
    if isinstance(content, str):
        try:
            number = float(content)
        except ValueError:
            return content
        return number if math.isfinite(number) else content
    return content


class Configurations:
    """See the head of this module."""

    name = "configurations"
    share = 8.0

    def __init__(self, folder: Path) -> None:
        files = [DEFAULT_CONFIG, DEFAULT_CONFIG.with_name("paper.yaml")]
        self._texts = [file.read_bytes() for file in files]

    def case(self, rng: Rng, folder: Path) -> Case:
        path, text = folder / "config.yaml", one(rng, self._texts)
        if rng.random() < 0.4:
            about, content = damaged(rng, text)
        else:
            config = yaml.safe_load(text)
            about = "; ".join(changed(config, rng) for _ in range(one(rng, [1, 1, 2])))
            content = yaml.safe_dump(config, sort_keys=False).encode()
        path.write_bytes(content)

        def run() -> Any:
            config = read_training_config(path)
            limits = config.region.outer_limits()
            recipe = config.recipe("realisations", 10, n_catalogues=2, noise=False)
            return asdict(config), limits, recipe

        def wrong(found: Any) -> str:
            config, (low, high), recipe = found
            bad = senseless(config, RULES[config["kind"]])
            if bad:
                return f"accepted, but {bad}"
            given = as_numbers(yaml.safe_load(content))
            differing = [key for key in given if as_numbers(config.get(key)) != given[key]]
            if differing:
                return f"{', '.join(differing)} is not what the file says"
            if not (low < high).all():
                return "accepted, but the domain is empty"
            return "" if dict(recipe.domain) == config["domain"] else "another domain in the recipe"

        return Case(about, run, wrong)
