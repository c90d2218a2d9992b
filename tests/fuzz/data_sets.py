"""Data sets of the training: a file to arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.datasets import DataSet

from .cases import Case
from .changes import Rng
from .tabulations import altered


class DataSets:
    """See the head of this module."""

    name = "data_sets"
    share = 6.0

    def __init__(self, folder: Path) -> None:
        path = bundled("validation/halotools.hdf5")
        self._content, self._expected = path.read_bytes(), self._arrays(path)

    def _arrays(self, path: Path) -> dict[str, np.ndarray]:
        data = DataSet.read(path)
        about = {
            "kind": data.kind,
            "statistics": [s.name for s in data.statistics],
            "space": data.space.names,
        }
        words = {**data.attributes, **about, "shown": " ".join(data.sentences())}
        return {
            **data.columns,
            "parameters": data.parameters,
            "split": data.split,
            "r_edges": data.r_edges,
            "hod": data.hod,
            **{f"attribute {key}": np.array(str(value)) for key, value in words.items()},
        }

    def case(self, rng: Rng, folder: Path) -> Case:
        path = folder / "data.hdf5"
        about = altered(self._content, path, rng)

        def wrong(found: dict[str, np.ndarray]) -> str:
            differing = [
                key
                for key, x in self._expected.items()
                if key not in found
                or not np.array_equal(found[key], x, equal_nan=np.asarray(x).dtype.kind == "f")
            ]
            return f"differs in {', '.join(differing)}" if differing else ""

        return Case(about, lambda: self._arrays(path), wrong)
