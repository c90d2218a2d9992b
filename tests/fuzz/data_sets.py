"""Data sets of the training: a file to arrays."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.datasets import DataSet
from iaemu_likelihood.emulator.datasets.schema import SHA256
from iaemu_likelihood.emulator.digest import digest

from .cases import Case
from .changes import Rng, damaged_hdf5
from .tabulations import altered


class DataSets:
    """See the head of this module."""

    name = "data_sets"
    share = 6.0

    def __init__(self, folder: Path) -> None:
        path = bundled("validation/halotools.hdf5")
        # From before files held a hash of their numbers: it has checksums only.
        self._old = path.read_bytes()
        sealed = folder / "sealed.hdf5"
        sealed.write_bytes(self._old)
        with h5py.File(sealed, "r+") as file:
            columns = {name: file[name][()] for name in file}
            file.attrs[SHA256] = digest(columns, dict(file.attrs))
        self._new = sealed.read_bytes()
        self._expected = self._arrays(sealed)

    def _arrays(self, path: Path) -> dict[str, np.ndarray]:
        data = DataSet.read(path)
        about = {
            "kind": data.kind,
            "statistics": [s.name for s in data.statistics],
            "space": data.space.names,
        }
        words = {k: x for k, x in data.attributes.items() if k != SHA256}
        words |= {**about, "shown": " ".join(data.sentences())}
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
        if rng.random() < 0.3:
            about, content = damaged_hdf5(rng, self._old)
            about = f"without a hash: {about}"
            path.write_bytes(content)
        else:
            about = altered(self._new, path, rng)

        def wrong(found: dict[str, np.ndarray]) -> str:
            differing = [
                key
                for key, x in self._expected.items()
                if key not in found
                or not np.array_equal(found[key], x, equal_nan=np.asarray(x).dtype.kind == "f")
            ]
            return f"differs in {', '.join(differing)}" if differing else ""

        return Case(about, lambda: self._arrays(path), wrong)
