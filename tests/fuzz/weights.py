"""Files of tensors: damaged, or edited by someone who puts the new hashes into the card."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import yaml
from iaemu_likelihood.emulator.models.weights import (
    CARD_FILE,
    CONTENT_HASH,
    TENSORS_HASH,
    WEIGHTS_FILE,
    content_sha256,
)
from safetensors.torch import load, save

from .cards import NAMES, Originals
from .cases import Case
from .changes import Rng, damaged, one


class Weights:
    """See the head of this module."""

    name = "weights"
    share = 8.0

    def __init__(self, folder: Path) -> None:
        self._originals = Originals()
        self._contents = {
            name: (path / WEIGHTS_FILE).read_bytes()
            for name, path in self._originals.folders.items()
        }

    def case(self, rng: Rng, folder: Path) -> Case:
        name = one(rng, NAMES)
        if rng.random() < 0.4:
            about, content = damaged(rng, self._contents[name])
            weights = self._originals.copy(name, folder, CARD_FILE)
            (weights / WEIGHTS_FILE).unlink()
            (weights / WEIGHTS_FILE).write_bytes(content)
            return self._originals.case(name, about, weights)
        tensors = load(self._contents[name])
        about = "; ".join(self._edited(tensors, rng) for _ in range(one(rng, [1, 1, 2])))
        weights = self._originals.copy(name, folder, "")
        content = save(tensors, metadata=one(rng, [None, {"format": "pt"}, {"kind": "paper"}]))
        (weights / WEIGHTS_FILE).write_bytes(content)
        card = yaml.safe_load((weights / CARD_FILE).read_text())
        card[TENSORS_HASH] = hashlib.sha256(content).hexdigest()
        card[CONTENT_HASH] = content_sha256(card)
        (weights / CARD_FILE).write_text(yaml.safe_dump(card, sort_keys=False))
        return self._originals.case(name, f"{about}, with new hashes", weights)

    def _edited(self, tensors: dict[str, torch.Tensor], rng: Rng) -> str:
        """Change the set of tensors or their form, not their numbers."""
        name = one(rng, sorted(tensors))
        kind = one(
            rng,
            [
                "drop",
                "drop",
                "rename",
                "more",
                "axis",
                "flat",
                "short",
                "double",
                "swap",
                "empty",
                "prefix",
            ],
        )
        x = tensors[name]
        if kind == "drop":
            del tensors[name]
        elif kind == "rename":
            tensors[one(rng, [f"{name}_", name.upper(), name[1:] or "x"])] = tensors.pop(name)
        elif kind == "more":
            tensors["another"] = torch.ones(3)
        elif kind == "axis":
            tensors[name] = x[None].clone()
        elif kind == "flat":
            tensors[name] = x.reshape(-1).clone()
        elif kind == "short":
            tensors[name] = x[: max(len(x) - 1, 0)].clone() if x.ndim else x
        elif kind == "double":
            tensors[name] = x.double()
        elif kind == "swap":
            # Of another shape: other numbers of the same shape are other weights.
            other = one(rng, sorted(key for key in tensors if tensors[key].shape != x.shape))
            tensors[name], tensors[other] = tensors[other].clone(), x.clone()
            return f"{name} and {other} swapped"
        elif kind == "empty":
            tensors[name] = torch.empty(0)
        else:
            group = name.split(".")[0]
            for key in [key for key in tensors if key.split(".")[0] == group]:
                del tensors[key]
            return f"without {group}.*"
        return f"{name}: {kind}"
