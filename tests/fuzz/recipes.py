"""Recipes of data sets, as a command or a script makes them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.datasets import Recipe
from iaemu_likelihood.emulator.physics.domain import DESIGNS
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

from .cases import Case
from .changes import Rng, odd, one
from .configurations import DOMAIN, as_numbers, real, senseless, statistics, whole

MOST = 10**6


def _fractions(x: Any) -> bool:
    return (
        isinstance(x, list | tuple)
        and len(x) == 3
        and all(map(real(0, 1), x))
        and abs(sum(x) - 1) < 1e-8
    )


def _edges(x: Any) -> bool:
    numbers = isinstance(x, list | tuple) and len(x) > 1 and all(map(real(0, limits=False), x))
    return numbers and bool((np.diff(x) > 0).all())


RULES: dict[str, Any] = {
    "kind": lambda x: x in ("expectation", "realisations", "halotools"),
    "n_points": whole(1), "seed": whole(0), "n_catalogues": whole(0), "halos": lambda x: isinstance(x, str),
    "design": lambda x: x in DESIGNS, "domain": DOMAIN, "noise": lambda x: isinstance(x, bool | np.bool_),
    "fractions": _fractions, "r_edges": _edges, "statistics": statistics,
    "occupation": lambda x: x == DEFAULT_SPACE.occupation.name,
    "alignment": lambda x: x == DEFAULT_SPACE.alignment.name,
}  # fmt: skip


class Recipes:
    """See the head of this module."""

    name = "recipes"
    share = 6.0

    def __init__(self, folder: Path) -> None:
        pass

    def case(self, rng: Rng, folder: Path) -> Case:
        kind = one(rng, ["expectation", "realisations", "halotools"])
        content: dict[str, Any] = {
            "kind": kind, "n_points": 40, "seed": 3, "n_catalogues": 0 if kind == "expectation" else 2,
            "noise": kind == "realisations",
        }  # fmt: skip
        for _ in range(one(rng, [1, 1, 2])):
            key = one(rng, RULES)
            content[key] = self._value(key, rng)
        about = ", ".join(f"{key} = {value!r}" for key, value in content.items())

        def run() -> Any:
            recipe = Recipe(**content)
            return recipe, recipe.parameters(), recipe.splits(), recipe.to_dict()

        def wrong(found: Any) -> str:
            recipe, theta, splits, kept = found
            values = {key: getattr(recipe, key) for key in RULES}
            bad = senseless(values, RULES)
            if bad:
                return f"accepted, but {bad}"
            for key, value in content.items():
                if as_numbers(values[key]) != as_numbers(value):
                    return f"{key} is {values[key]!r}, not {value!r}"
            if theta.shape != (recipe.n_points, len(recipe.space)) or not np.isfinite(theta).all():
                return "points that are none"
            if (
                kind != "halotools"
                and values["kind"] != "halotools"
                and not recipe.region.contains(theta).all()
            ):
                return "points outside the domain"
            number = np.bincount(splits, minlength=3)
            if (np.abs(number - np.multiply(recipe.fractions, recipe.n_points)) > 1).any():
                return f"splits of {number} points"
            again = Recipe(
                **kept | {"fractions": tuple(kept["fractions"]), "r_edges": tuple(kept["r_edges"])}
            )
            return "" if again.to_dict() == kept else "another recipe when it is read again"

        return Case(about, run, wrong)

    def _value(self, key: str, rng: Rng) -> Any:
        if key == "n_points":
            value = one(rng, [odd(rng), 1, 7, 1000, 99_999_999_999])
            number = isinstance(value, int | float) and math.isfinite(value)
            return value if not number or value < MOST else 10**30
        if key == "domain" and rng.random() < 0.7:
            inner = one(rng, [*DOMAIN, "mu", 1])
            values = [
                odd(rng),
                [12.0, 13.0],
                [13.0, 12.0],
                [12.0],
                [12.0, math.nan],
                [0.0, 20.0],
                "3e-3",
                0.2,
                3.0,
                -3.0,
            ]
            return {inner: one(rng, values)}
        if key == "fractions" and rng.random() < 0.7:
            return one(
                rng,
                [
                    (0.5, 0.5, 0.0),
                    (1.0, 0.0, 0.0),
                    (math.nan,) * 3,
                    (1.5, -0.5, 0.0),
                    (0.5, 0.5),
                    ("a", "b", "c"),
                    [0, 0, 1],
                ],
            )
        if key == "r_edges" and rng.random() < 0.7:
            return one(
                rng,
                [
                    (0.1, 1.0, 10.0),
                    (1.0, 0.1),
                    (0.0, 1.0),
                    (1.0,),
                    (0.1, math.nan, 1.0),
                    (0.1, math.inf),
                    (-1.0, 1.0),
                ],
            )
        if key == "statistics" and rng.random() < 0.7:
            return one(
                rng,
                [
                    ("xi",),
                    ("xi", "omega"),
                    ("omega",),
                    ("xi", "xi"),
                    "xi",
                    (),
                    ("gamma", "xi"),
                    (1,),
                    None,
                ],
            )
        if key in ("kind", "design", "halos") and rng.random() < 0.5:
            return one(
                rng, ["expectation", "realisations", "halotools", "sobol", "paper", "bundled"]
            )
        return odd(rng)
