"""The types and ranges of the fields of recipes and configurations, which come from files and commands."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import yaml
from annotated_types import Interval
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

# Text is not a number, True is not 1, and nan is no value.
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
# Of a tuple, whose place a list of JSON or YAML may take.
OR_LIST = Field(strict=False)

Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Share = Annotated[float, Interval(ge=0, le=1)]
InnerShare = Annotated[float, Interval(gt=0, lt=1)]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; it is read as data, whatever tags it has.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no YAML, or something else than a mapping.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        given = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds no mapping of keys to values.")
    return given


def check_fields(record: Any) -> None:
    """See that the fields of a dataclass are of the types, and in the ranges, of its annotations.

    A whole number may stand for a float.

    Parameters
    ----------
    record : dataclass

    Raises
    ------
    ValueError
        That names every field that is not, its value, and what it should be.
    """
    kind: Any = type(record)
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    try:
        _model(kind).model_validate(values)
    except ValidationError as error:
        raise ValueError("; ".join(map(_in_words, error.errors())) + ".") from None


@lru_cache
def _model(kind: Any) -> type[BaseModel]:
    hints = get_type_hints(kind, include_extras=True)
    content: dict[str, Any] = {field.name: (hints[field.name], ...) for field in fields(kind)}
    return create_model(kind.__name__, __config__=STRICT, **content)


def _in_words(error: Any) -> str:
    """One of pydantic's errors."""
    where = ": ".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"{where} is missing"
    if error["type"] == "extra_forbidden":
        return f"{where} is unknown"
    value, message = error["input"], error["msg"].removeprefix("Input ")
    return f"{where} is {value!r}; it {message}{number_hint(value)}"


def number_hint(value: Any) -> str:
    """How YAML takes a number with an exponent, if a text is one; else nothing."""
    found = re.fullmatch(r"([+-]?[\d.]+)[eE]([+-]?\d+)", value) if isinstance(value, str) else None
    if found is None:
        return ""
    digits, exponent = found.groups()
    written = f"{digits if '.' in digits else digits + '.0'}e{int(exponent):+d}"
    return f" (YAML takes {value} as text: write {written})"
