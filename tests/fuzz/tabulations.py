"""Tabulated pair sums: a file to the templates at some occupations."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from iaemu_likelihood.emulator.expectation import Tabulation
from iaemu_likelihood.emulator.halos import HaloCatalogue

from .cases import Case
from .changes import Rng, damaged_hdf5, odd, one, same
from .halos import BOX, metadata, small_catalogue

EDGES = np.geomspace(0.5, 15, 4)
OCCUPATIONS = [[12.5, 0.3, 12.0, 13.2, 1.0], [13.0, 0.2, 12.5, 13.9, 0.9]]


def small_tabulation(path: Path) -> Tabulation:
    """The tabulation of the small halo catalogue, in a file."""
    halos = HaloCatalogue.from_columns(
        "small", small_catalogue(), BOX, 0.0, 3.8e9, metadata()["subhalo_mass_bins"]
    )
    Tabulation.build(halos, EDGES, progress=False).write(path)
    return Tabulation.read(path)


def edited(path: Path, rng: Rng) -> str:
    """Change the content of an HDF5 file by its own library."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(
            lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None
        )
        name = one(rng, names)
        kind = one(
            rng, ["drop", "rename", "short", "link", "attribute", "no attribute", "number", "more"]
        )
        x = file[name][()]
        if kind == "drop":
            del file[name]
        elif kind == "rename":
            file.move(name, f"{name}_")
        elif kind == "short" and np.ndim(x):
            del file[name]
            file[name] = x[:-1]
        elif kind == "link":
            other = path.with_name("outside.hdf5")
            with h5py.File(other, "w") as outside:
                outside["x"] = x
            del file[name]
            file[name] = h5py.ExternalLink(other.name, "x")
        elif kind in ("attribute", "no attribute") and len(file.attrs):
            key = one(rng, sorted(file.attrs))
            del file.attrs[key]
            if kind == "attribute":
                value = odd(rng)
                file.attrs[key] = (
                    "{}" if value is None or value == {} or isinstance(value, dict) else value
                )
            return f"{kind} {key}"
        elif kind == "number" and np.size(x):
            flat = np.ravel(x).copy()
            i = int(rng.integers(len(flat)))
            with np.errstate(all="ignore"):
                flat[i] = flat[i] * 2 + 1
            del file[name]
            file[name] = flat.reshape(np.shape(x))
        else:
            kind, file["another"] = "more", np.ones(3)
    return f"{name}: {kind}"


def altered(content: bytes, path: Path, rng: Rng) -> str:
    """Write an HDF5 file after an accident or an edit; says which."""
    if rng.random() < 0.5:
        about, content = damaged_hdf5(rng, content)
        path.write_bytes(content)
        return about
    path.write_bytes(content)
    try:
        return edited(path, rng)
    except (TypeError, ValueError, OverflowError, KeyError):  # what HDF5 cannot hold
        path.write_bytes(content)
        return "nothing"


class Tabulations:
    """See the head of this module."""

    name = "tabulations"
    share = 6.0

    def __init__(self, folder: Path) -> None:
        path = folder / "tabulation.hdf5"
        self._expected = self._templates(small_tabulation(path))
        self._content = path.read_bytes()

    def _templates(self, tabulation: Tabulation) -> dict[str, np.ndarray]:
        found = tabulation.templates(OCCUPATIONS)
        numbers = {
            "values": found.values,
            "centrals": found.n_centrals,
            "satellites": found.n_satellites,
        }
        return {
            **numbers,
            "edges": tabulation.r_edges,
            "box": np.array(tabulation.box),
            "seed": np.array(tabulation.seed),
        }

    def case(self, rng: Rng, folder: Path) -> Case:
        path = folder / "tabulation.hdf5"
        about = altered(self._content, path, rng)

        def wrong(found: dict[str, np.ndarray]) -> str:
            differing = [k for k, x in self._expected.items() if not same(found[k], x, 1e-12)]
            return f"differs in {', '.join(differing)}" if differing else ""

        return Case(about, lambda: self._templates(Tabulation.read(path)), wrong)
