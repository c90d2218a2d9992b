"""Training configurations: YAML files into dataclasses, with errors that name the keys."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

T = TypeVar("T")


def read_config(kind: type[T], path: str | Path) -> T:
    """Read a YAML file into a dataclass.

    Parameters
    ----------
    kind : type
        A dataclass; fields that are dataclasses themselves are read from nested mappings.
    path : str or Path

    Raises
    ------
    ValueError
        If the file is no mapping, or has unknown or missing keys; the message names them.
    """
    return _build(kind, read_yaml(path), str(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file that holds a mapping."""
    try:
        given = yaml.safe_load(Path(path).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds no mapping of keys to values.")
    return given


def _build(kind: type[T], given: Any, where: str) -> T:
    assert is_dataclass(kind)
    if not isinstance(given, dict):
        raise ValueError(f"{where} must be a mapping; got {given!r}.")
    known = {field.name: field for field in fields(kind)}
    required = {
        k for k, f in known.items() if f.default is MISSING and f.default_factory is MISSING
    }
    unknown, missing = set(given) - set(known), required - set(given)
    if unknown or missing:
        raise ValueError(
            f"{where}: unknown keys: {', '.join(sorted(map(str, unknown))) or 'none'}; "
            f"missing keys: {', '.join(sorted(missing)) or 'none'}."
        )
    types = get_type_hints(kind)
    return kind(
        **{
            name: _build(types[name], value, f"{where}: {name}")
            if is_dataclass(types[name])
            else value
            for name, value in given.items()
        }
    )
