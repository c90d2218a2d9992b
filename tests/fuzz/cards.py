"""Cards of weights: YAML beside the tensors, on which predictions depend as well."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from iaemu_likelihood.data import FOLDER
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.weights import CARD_FILE, WEIGHTS_FILE

from .cases import Case
from .changes import Rng, damaged, odd, one

# As often as each is taken: `paper` takes long to load.
NAMES = ("templates", "templates", "templates", "paper")
# Two inside the domain, one on its edge, and one outside, where nothing may be predicted.
INSIDE = np.array([[0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 1.0], [-0.5, 0.1, 13.1, 0.45, 12.9, 14.0, 1.1],
                   [1.0, -1.0, 11.4, 0.3, 11.0, 12.5, 0.95]])  # fmt: skip
OUTSIDE = (0.8, 0.3, 12.54, 0.26, 12.68, 13.48, 3.0)


def fingerprint(emulator: Emulator) -> dict[str, Any]:
    """All that an emulator says at some points, by name."""
    p = emulator.predict(INSIDE, epistemic=False)
    epistemic = emulator.predict(INSIDE[0]).epistemic  # of many passes, where there is dropout
    found: dict[str, Any] = {
        "r": p.r,
        "edges": emulator.r_edges,
        "covariance": emulator.covariance(INSIDE),
    }
    for kind, part in (("mean", p), ("aleatoric", p.aleatoric), ("epistemic", epistemic)):
        found |= {f"{kind} {name}": values for name, values in (part or {}).items()}
    found["limits"] = np.array(emulator.domain.outer_limits())
    found["names"] = list(emulator.space.names)
    found["refuses"] = not emulator.domain.contains(OUTSIDE)
    return found


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What differs between two fingerprints by more than 1e-12 of the largest number."""
    parts = [
        key
        for key in {**wanted, **found}
        if key not in found
        or key not in wanted
        or np.shape(found[key]) != np.shape(wanted[key])
        or (
            not np.allclose(found[key], wanted[key], rtol=0, atol=1e-12 * np.abs(wanted[key]).max())
            if isinstance(wanted[key], np.ndarray)
            else found[key] != wanted[key]
        )
    ]
    return f"differs in {', '.join(parts)}" if parts else ""


@cache
class Originals:
    """The bundled weights, once, and what they predict."""

    def __init__(self) -> None:
        self.folders = {name: FOLDER / "weights" / name for name in set(NAMES)}
        self.wanted = {name: fingerprint(Emulator.load(name)) for name in set(NAMES)}

    def copy(self, name: str, folder: Path, link: str) -> Path:
        """A folder of weights of which one file, not to be changed, is the original itself."""
        copied = folder / "weights"
        copied.mkdir()
        for file in (CARD_FILE, WEIGHTS_FILE):
            if file == link:
                (copied / file).symlink_to(self.folders[name] / file)
            else:
                shutil.copy(self.folders[name] / file, copied / file)
        return copied

    def case(self, name: str, about: str, folder: Path) -> Case:
        """Whether weights that load predict as the originals do."""
        return Case(
            f"{name}: {about}",
            lambda: fingerprint(Emulator.load(folder)),
            lambda found: differences(found, self.wanted[name]),
        )


def places(content: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value of nested mappings and lists."""
    found = [way] if way else []
    if isinstance(content, dict):
        items: Any = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    else:
        return found
    return [*found, *(place for key, value in items for place in places(value, (*way, key)))]


def changed(content: Any, rng: Rng) -> str:
    """Change one value of nested mappings and lists, in place, and say which."""
    place = one(rng, places(content))
    *way, last = place
    inner = content
    for key in way:
        inner = inner[key]
    value, where = inner[last], ".".join(map(str, place))
    kinds = ["drop", "odd", "swap"] + ["number"] * 4 * isinstance(value, float | int)
    kind = one(rng, kinds)
    if kind == "drop":
        del inner[last]
        return f"without {where}"
    if kind == "odd":
        inner[last] = odd(rng)
    elif kind == "number":
        inner[last] = one(
            rng,
            [
                value + 1,
                value * (1 + 1e-6),
                -value,
                value * 10,
                value - 1,
                str(value),
                float(value),
            ],
        )
    else:
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        other = one(rng, keys)
        inner[last], inner[other] = inner[other], inner[last]
        return f"{where} and {other} swapped"
    return f"{where} is {inner[last]!r}"


class Cards:
    """See the head of this module."""

    name = "cards"
    share = 10.0

    def __init__(self, folder: Path) -> None:
        self._originals = Originals()
        self._texts = {
            name: (path / CARD_FILE).read_bytes() for name, path in self._originals.folders.items()
        }
        self._cards = {name: yaml.safe_load(text) for name, text in self._texts.items()}

    def case(self, rng: Rng, folder: Path) -> Case:
        name = one(rng, NAMES)
        weights = self._originals.copy(name, folder, WEIGHTS_FILE)
        if rng.random() < 0.4:
            about, content = damaged(rng, self._texts[name])
        else:
            # A copy: yaml is slow.
            card = (
                yaml.load(self._texts[name], yaml.CSafeLoader)
                if hasattr(yaml, "CSafeLoader")
                else yaml.safe_load(self._texts[name])
            )
            about = "; ".join(changed(card, rng) for _ in range(one(rng, [1, 1, 2])))
            content = yaml.safe_dump(card, sort_keys=bool(rng.integers(2))).encode()
        (weights / CARD_FILE).write_bytes(content)
        return self._originals.case(name, about, weights)
