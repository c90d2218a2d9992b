"""What a run that was stopped left: states of NUTS chains, and catalogues drawn so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.mocks.checkpoints import draw_with_checkpoints

from iaemu_likelihood.sampling.nuts import _Checkpoint

from .cases import Case
from .changes import Rng, damaged, one

CHAIN = Path(__file__).parents[1] / "reference/begun/nuts_begun.nuts/chain_1.npz"


def edited(content: dict[str, np.ndarray], rng: Rng) -> str:
    """Change the set of arrays, or the form of one."""
    name = one(rng, sorted(content))
    kind = one(rng, ["drop", "rename", "axis", "short", "text", "object", "more", "nan"])
    x = content[name]
    if kind == "drop":
        del content[name]
    elif kind == "rename":
        content[f"{name}_"] = content.pop(name)
    elif kind == "axis":
        content[name] = x[None]
    elif kind == "short" and x.ndim:
        content[name] = x[:-1]
    elif kind == "text":
        content[name] = x.astype("U")
    elif kind == "object":
        content[name] = np.array([None, {"a": 1}], object)
    elif kind == "nan" and x.dtype.kind == "f":
        content[name] = np.full_like(x, np.nan)
    else:
        kind = "more"
        content["another"] = np.ones(3)
    return f"{name}: {kind}"


class Checkpoints:
    """See the head of this module."""

    name = "checkpoints"
    share = 6.0

    def __init__(self, folder: Path) -> None:
        self._chain = CHAIN.read_bytes()
        with np.load(CHAIN, allow_pickle=False) as file:
            self._state = dict(file)
        self._key = str(self._state["key"])
        self._origin = {
            "point": np.arange(7.0),
            "seed": 3,
            "halos": "a" * 64,
            "statistics": ("xi", "omega"),
        }
        self._draws = np.random.default_rng(0).normal(size=(1, 4, 3, 5))
        self._drawn(folder, lambda index, i: self._draws[index, i])
        (file,) = folder.glob("*.npz")
        self._mocks = file.name, file.read_bytes()
        with np.load(file, allow_pickle=False) as content:
            self._kept = dict(content)

    def _drawn(self, folder: Path, catalogue: Any) -> np.ndarray:
        return draw_with_checkpoints(catalogue, 4, [self._origin], folder, "mocks", False)

    def case(self, rng: Rng, folder: Path) -> Case:
        of_chain = rng.random() < 0.5
        name, content = (CHAIN.name, self._chain) if of_chain else self._mocks
        path = folder / name
        if rng.random() < 0.6:
            about, content = damaged(rng, content)
            path.write_bytes(content)
        else:
            arrays = dict(self._state if of_chain else self._kept)
            about = edited(arrays, rng)
            np.savez(path, **arrays)
        if of_chain:
            return Case(
                f"chain: {about}", lambda: _Checkpoint(path, self._key).read(), self._wrong_state
            )

        def again(index: int, i: int) -> np.ndarray:
            # What is missing is drawn again.
            return self._draws[index, i]

        return Case(f"mocks: {about}", lambda: self._drawn(folder, again), self._wrong_draws)

    def _wrong_state(self, found: dict[str, np.ndarray]) -> str:
        differing = [
            key
            for key, x in self._state.items()
            if key not in found
            or not np.array_equal(found[key].astype(x.dtype), x, equal_nan=x.dtype.kind == "f")
        ]
        return f"differs in {', '.join(differing)}" if differing else ""

    def _wrong_draws(self, found: np.ndarray) -> str:
        return "" if np.array_equal(found, self._draws) else "other catalogues"
