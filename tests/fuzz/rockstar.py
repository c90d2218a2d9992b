"""Text of Rockstar and Consistent-Trees: a file of another code to the sites where galaxies may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from iaemu_likelihood.emulator.halos.rows import AXES, POSITION, VELOCITY

from .cases import Case
from .catalogues import Catalogue, damage
from .changes import ODD_TEXTS, Rng, one
from .halos import BOX, N_HOSTS, N_SUBHALOS, Halos, metadata, small_catalogue, without

# Names of the columns there, of which the first are needed.
NAMES = {
    "id": "halo_id", "upid": "halo_upid", "mvir": "halo_mvir", "rvir": "halo_rvir",
    **dict(zip(("x", "y", "z"), POSITION, strict=True)),
    **dict(zip(("vx", "vy", "vz"), VELOCITY, strict=True)),
    **dict(zip(("A[x]", "A[y]", "A[z]"), AXES, strict=True)),
    "mpeak": "halo_mpeak",
}  # fmt: skip
NEEDED = tuple(NAMES)[:-1]
COMMENTS = {
    "a": "#a = 1.000000",
    "cosmology": "#Om = 0.300000; Ol = 0.700000; h = 0.700000",
    "mass": "#Particle mass: 3.8e9 Msun/h",
    "box": f"#Box size: {BOX} Mpc/h",
}


class Text:
    """What a file says, before it is written.

    Attributes
    ----------
    names : list of str
        Of the columns, as the first line has them.
    cells : list of list of str
    comments : dict of str to str
    """

    def __init__(self, c: Catalogue) -> None:
        self.names = list(NAMES)
        self.comments = dict(COMMENTS)
        columns = [c.columns[name] for name in NAMES.values()]
        self.cells = [
            [repr(int(x)) if x.dtype.kind == "i" else f"{x:.17g}" for x in row]
            for row in zip(*columns, strict=True)
        ]

    def column(self, name: str) -> int:
        return self.names.index(name)

    def write(self, path: Path) -> None:
        lines = ["#" + " ".join(self.names), *self.comments.values()]
        path.write_text("\n".join([*lines, *map(" ".join, self.cells)]) + "\n")


def _order(t: Text, c: Catalogue, rng: Rng) -> str:
    order = rng.permutation(len(t.names))
    t.names = [t.names[i] for i in order]
    t.cells = [[row[i] for i in order] for row in t.cells]
    return "columns in another order"


def _spelling(t: Text, c: Catalogue, rng: Rng) -> str:
    kind = one(rng, ["upper case", "numbered", "others between"])
    if kind == "upper case":
        t.names = [name.upper() for name in t.names]
    elif kind == "numbered":
        t.names = [f"{name}({i})" for i, name in enumerate(t.names)]
    else:
        t.names = [x for name in t.names for x in (f"other_{name}", name)]
        t.cells = [[x for cell in row for x in ("-1", cell)] for row in t.cells]
    return f"names: {kind}"


def _lacking(t: Text, c: Catalogue, rng: Rng) -> str:
    name = one(rng, NEEDED)
    place = t.column(name)
    if rng.random() < 0.5:
        del t.names[place]
        for row in t.cells:
            del row[place]
        return c.refuse(f"without {name}")
    t.names.append(name)
    t.cells = [[*row, row[place]] for row in t.cells]
    return c.refuse(f"{name} twice")


def _cell(t: Text, c: Catalogue, rng: Rng) -> str:
    name, row = one(rng, NEEDED), int(rng.integers(N_HOSTS))
    value = one(rng, [x for x in ODD_TEXTS if x.strip()])
    t.cells[row][t.column(name)] = value
    if value == "nan" and NAMES[name] in AXES:
        without(c, row)
        return f"{name} is nan in row {row}"
    return c.refuse(f"{name} is {value!r} in row {row}")


def _short(t: Text, c: Catalogue, rng: Rng) -> str:
    row, kept = int(rng.integers(len(t.cells))), int(rng.integers(1, len(NEEDED)))
    t.cells[row] = t.cells[row][:kept]
    return c.refuse(f"row {row} ends after {kept} columns")


def _radii(t: Text, c: Catalogue, rng: Rng) -> str:
    factor = one(rng, [1e3, 1e6, 1e-3])
    place = t.column("rvir")
    for row in t.cells:
        row[place] = f"{float(row[place]) * factor:.17g}"
    return "rvir in kpc/h" if factor == 1e3 else c.refuse(f"rvir times {factor:g}")


def _comment(t: Text, c: Catalogue, rng: Rng) -> str:
    key = one(rng, ["a", "mass", "box"])
    kind = one(rng, ["missing", "other unit", "kpc/h", "no number"])
    if kind == "kpc/h" and key == "box":
        t.comments[key] = f"#Box size: {BOX * 1000} kpc/h"
        return "box in kpc/h"
    if kind == "missing":
        del t.comments[key]
        return c.refuse(f"without {key}")
    if kind == "no number":
        t.comments[key] = t.comments[key].split("=" if key == "a" else ":")[0] + ": unknown"
        return c.refuse(f"{key} is no number")
    if key == "a":
        t.comments[key] = "#a = 0.0"
        return c.refuse("a is 0")
    t.comments[key] = t.comments[key].replace("Mpc/h", "pc").replace("Msun/h", "g")
    return c.refuse(f"{key} in another unit")


def _parents(t: Text, c: Catalogue, rng: Rng) -> str:
    kind = one(rng, ["own", "gone", "all hosts gone"])
    place, row = t.column("upid"), N_HOSTS + int(rng.integers(N_SUBHALOS))
    if kind == "own":
        t.cells[row][place] = t.cells[row][t.column("id")]
        return c.refuse(f"row {row} is its own parent")
    if kind == "gone":
        t.cells[row][place] = "999999"
        if c.meant is not None:
            keep = np.arange(N_HOSTS + N_SUBHALOS) != row
            c.meant = {name: values[keep] for name, values in c.meant.items()}
        return f"the host of row {row} is not in the file"
    for row_ in t.cells[:N_HOSTS]:
        row_[place] = "999999"
    return c.refuse("no host")


def _ids(t: Text, c: Catalogue, rng: Rng) -> str:
    row, other = (int(x) for x in rng.choice(N_HOSTS, 2, replace=False))
    t.cells[row][t.column("id")] = t.cells[other][t.column("id")]
    return c.refuse(f"rows {row} and {other} have the same id")


def _far(t: Text, c: Catalogue, rng: Rng) -> str:
    row, name = int(rng.integers(N_HOSTS)), one(rng, ["x", "y", "z"])
    value = one(rng, [-0.1 * BOX, 1.1 * BOX, 1e9])
    t.cells[row][t.column(name)] = f"{value:g}"
    return c.refuse(f"{name} is {value:g} in row {row}")


def _nothing(t: Text, c: Catalogue, rng: Rng) -> str:
    return "nothing"


CHANGES = (
    _order, _spelling, _lacking, _cell, _cell, _short, _radii, _comment, _comment, _parents, _parents, _ids,
    _far, _nothing,
)  # fmt: skip


class Rockstar(Halos):
    """See the head of this module."""

    name = "rockstar"
    share = 4.0

    def __init__(self, folder: Path) -> None:
        self._columns = small_catalogue()

    def case(self, rng: Rng, folder: Path) -> Case:
        c = Catalogue(self._columns, metadata())
        c.said |= {"redshift": 0.0, "particle_mass": 3.8e9}
        text = Text(c)
        about = one(rng, CHANGES)(text, c, rng)
        path = folder / "hlist.list"
        text.write(path)
        if rng.random() < 0.2:
            about += f"; {damage(path, rng)[0]}"
            return Case(about, lambda: self._read(path), self._senseless)
        return Case(about, lambda: self._read(path), lambda found: self._wrong(found, c))
