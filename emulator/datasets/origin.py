"""What a data set was made from, and whether two of them agree."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from iaemu_likelihood.emulator.datasets import sources
from iaemu_likelihood.emulator.datasets.recipe import LATER, Recipe
from iaemu_likelihood.emulator.datasets.schema import SCHEMA

Origin = dict[str, Any]


def origin_of(recipe: Recipe) -> Origin:
    """All that the bytes of a data set follow from."""
    return {
        "recipe": recipe.to_dict(),
        "halos_sha256": sources.snapshots(recipe.catalogues).sha256,
        "schema": SCHEMA,
        "version": version("iaemu_likelihood"),
    }


def differences(found: Origin, wanted: Origin) -> str:
    """In words, what two origins differ in; an empty text if they agree."""
    old, new = ({**LATER, **origin, **origin.get("recipe", {})} for origin in (found, wanted))
    differing = [k for k in new if k != "recipe" and old.get(k) != new[k]]
    return ", ".join(f"{k} = {old.get(k)!r} (now {new[k]!r})" for k in differing)


def read_origin(path: Path, text: str | bytes) -> Origin:
    """An origin from the JSON of a file.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}). Delete this file and run again.") from error


def check_origin(where: Path, found: Origin, wanted: Origin) -> None:
    """Raise a ValueError that says what differs, if anything does."""
    differing = differences(found, wanted)
    if differing:
        raise ValueError(
            f"{where} was made with {differing}. Choose another file, or delete it to start again."
        )
