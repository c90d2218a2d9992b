"""What surveys measure: conventions in the metadata of a file, and galaxies with shapes to w_gg and w_g+."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.physics.statistics import W_GG, W_GPLUS

from iaemu_likelihood.data_vectors.galaxy_catalogue import AXIS, POSITION, GalaxyCatalogue
from iaemu_likelihood.data_vectors.measurement import Measurement

from .cases import Case, Refused
from .catalogues import Catalogue, damage, not_finite, retyped, write
from .changes import Rng, odd, one, same
from .galaxies import BOX, EDGES, N, small_catalogue
from .measurements import Sheet

PI_MAX = 8.0
META = {
    "pi_max": 60.0,
    "pi_weight": [[0.0, 1.0], [30.0, 0.5]],
    "ellipticity": "distortion",
    "responsivity": 0.9,
    "redshift_space": True,
    "box": 205.0,
    "sign": "tangential",
    "axis_ratio": [0.5, 0.8],
}
# Other values than those above, some of which make sense.
OTHERS = {
    "pi_max": [100, -60.0, 0.0, "60", "60 Mpc/h", [60.0, 60.0]],
    "pi_weight": [None, [[0, 1]], [[1.0, 2.0], [0.0, 1.0]], [[0.0, 1.0, 2.0]], [[-1.0, 1.0]], "1"],
    "ellipticity": ["epsilon", "Distortion", "e", ["distortion"], 1],
    "responsivity": [None, 1.0, 0.0, 1.7, "0.9"],
    "redshift_space": [False, "yes", 1, None],
    "box": [None, 500, 0.0, "205 Mpc/h"],
    "sign": ["radial", "Radial", "plus", None, -1, True],
    "axis_ratio": [None, 0.6, 1, 1.2, 0, [0.5], [0.5, 0.6, 0.7], [0.5, "0.6"], "0.6"],
}


def number(value: Any) -> Any:
    """A number, or what equal numbers are; what else it is."""
    listed = value if isinstance(value, list) and value else [value]
    return listed[0] if all(x == listed[0] for x in listed) else value


class Surveys:
    """See the head of this module."""

    name = "surveys"
    share = 6.0

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        shapes = rng.uniform(-0.6, 0.6, (2, N))
        self._columns = {
            **small_catalogue(),
            "q": rng.uniform(0.3, 1, N),
            **dict(zip(("e1", "e2"), shapes, strict=True)),
        }

    def case(self, rng: Rng, folder: Path) -> Case:
        return (self._metadata if rng.random() < 0.5 else self._galaxies)(rng, folder)

    def _metadata(self, rng: Rng, folder: Path) -> Case:
        edges = np.geomspace(0.1, 30, 5)
        names = [f"{W_GG.name}", W_GG.error_name, f"{W_GPLUS.name}", W_GPLUS.error_name]
        columns = [edges[:-1], edges[1:], *(np.arange(1.0, 5) + i for i in range(4))]
        sheet = Sheet(
            ["rp_min", "rp_max", *names],
            [[repr(x) for x in column.tolist()] for column in columns],
            meta=dict(META),
        )
        key = one(rng, META)
        if rng.random() < 0.2:
            del sheet.meta[key]
            about = f"without {key}"
        else:
            sheet.meta[key] = new = one(rng, OTHERS[key]) if rng.random() < 0.6 else odd(rng)
            about = f"{key} is {new!r}"
        path = folder / "survey.ecsv"
        path.write_text(sheet.text())
        meta = sheet.meta

        def wrong(found: Measurement) -> str:
            how, of_axes = found.conventions, meta.get("axis_ratio")
            if how is None:
                return "no conventions"
            weight = meta.get("pi_weight")
            sign = {"radial": 1, None: 1, "tangential": -1}.get(meta.get("sign"))
            listed = of_axes if isinstance(of_axes, list) else [of_axes]
            said = {
                "pi_max": (how.pi_max, number(meta.get("pi_max"))),
                "responsivity": (how.responsivity, number(meta.get("responsivity"))),
                "box": (how.box, number(meta.get("box"))),
                "pi_weight": (how.weight, tuple(map(tuple, weight)) if weight else ()),
                "ellipticity": (how.ellipticity, meta.get("ellipticity")),
                "redshift_space": (how.redshift_space, meta.get("redshift_space") or False),
                "sign": (found.values[W_GPLUS.name][0], 3.0 * (sign or np.nan)),
                "axis_ratio": (found.axis_ratio, None if of_axes is None else (listed[0], listed[-1])),
            }  # fmt: skip
            wrongly = [f"{k} is {got!r}, not {meant!r}" for k, (got, meant) in said.items()
                       if got != meant or isinstance(meant, bool) != isinstance(got, bool)]  # fmt: skip
            ranges = how.pi_max and 0 < how.pi_max < np.inf and 0 < (how.responsivity or 1) <= 1
            return "; ".join(wrongly) or ("" if ranges else "impossible conventions")

        return Case(about, lambda: Measurement.read(path), wrong)

    def _galaxies(self, rng: Rng, folder: Path) -> Case:
        c = Catalogue(self._columns, {"Lbox": BOX})
        of_axes = rng.random() < 0.5
        used = ("q",) if of_axes else ("e1", "e2")
        kind = one(rng, ["nothing", "dropped", "type", "not finite", "range", "unit", "rows"])
        about = f"{kind} of {', '.join(used)}"
        name, row = one(rng, used), int(rng.integers(N))
        if kind == "dropped":
            del c.columns[name]
            c.refuse(f"without {name}")
        elif kind == "type":
            about = retyped(c, rng, used)
        elif kind == "not finite":
            about = not_finite(c, rng, used)
        elif kind == "range":
            value = one(rng, [1.5, -2.0] if not of_axes else [0.0, -0.5, 1.01])
            c.set(name, row, value)
            about = c.refuse(f"{name} is {value} in row {row}")
        elif kind == "unit":
            c.units[name] = unit = one(rng, ["Mpc/h", "deg", "", "percent"])
            if unit in ("Mpc/h", "deg"):
                c.refuse(f"{name} in {unit}")
            elif unit == "percent":
                c.columns[name] = c.columns[name] * 100
            about = f"{name} in {unit!r}"
        elif kind == "rows":
            c.rows(rng.permutation(N))
        path = folder / f"galaxies{one(rng, ['.hdf5', '.ecsv'])}"
        try:
            about += f" ({path.suffix} {write(c, path, rng)})"
        except Exception:  # a format that cannot hold it
            c = Catalogue(self._columns, {"Lbox": BOX})
            path = folder / "galaxies.ecsv"
            write(c, path, rng)
        line_of_sight = one(rng, ["x", "y", "z", "all"] if of_axes else ["x", "y", "z"])
        options: dict[str, Any] = {"axis_ratio": "q"} if of_axes else {"shape": ("e1", "e2")}

        def run() -> Measurement:
            galaxies = GalaxyCatalogue.read(path, **options)
            return galaxies.measure_projected(EDGES, PI_MAX, line_of_sight, "distortion", n_side=2)

        if rng.random() < 0.15:
            about += f"; {damage(path, rng)[0]}"
            return Case(about, lambda: GalaxyCatalogue.read(path, **options), lambda found: "")

        def wrong(found: Measurement) -> str:
            try:
                meant = c.expected()
            except Refused as reason:
                return f"accepted, but {reason}"
            sides = range(3) if line_of_sight == "all" else ["xyz".index(line_of_sight)]
            each = [by_hand(meant, of_axes, side) for side in sides]
            for i, statistic in enumerate((W_GG, W_GPLUS)):
                expected = np.mean([values[i] for values in each], axis=0)
                if not same(found.values[statistic.name], expected, max(c.rtol, 1e-7)):
                    return f"{statistic.name} is {found.values[statistic.name]}, by hand {expected}"
            return ""

        return Case(f"{about}, along {line_of_sight}", run, wrong)


def by_hand(columns: dict[str, np.ndarray], of_axes: bool, side: int) -> tuple[Any, Any]:
    """w_gg and w_g+ from all ordered pairs in a periodic box."""
    position, axes = (np.stack([columns[k] for k in names], axis=1) for names in (POSITION, AXIS))
    first, second = (side + 1) % 3, (side + 2) % 3
    if of_axes:
        # The image of a spheroid is the inverse of the shape's tensor's part on the sky.
        axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        q = columns["q"][:, None, None]
        tensor = q**2 * np.eye(3) + (1 - q**2) * axes[:, :, None] * axes[:, None, :]
        xx, yy = tensor[:, first, first], tensor[:, second, second]
        e = np.stack([xx - yy, 2 * tensor[:, first, second]], axis=1) / (xx + yy)[:, None]
    else:
        e = np.stack([columns["e1"], columns["e2"]], axis=1)
    step = position[None] - position[:, None]
    step -= BOX * np.round(step / BOX)
    rp = np.hypot(step[..., first], step[..., second])
    np.fill_diagonal(rp, np.inf)
    angle = 2 * np.arctan2(step[..., second], step[..., first])
    plus = e[:, :1] * np.cos(angle) + e[:, 1:] * np.sin(angle)
    w_gg, w_gplus = [], []
    for low, high in pairwise(EDGES):
        inside = (rp > low) & (rp <= high) & (np.abs(step[..., side]) <= PI_MAX)
        random = len(e) ** 2 / BOX**3 * np.pi * (high**2 - low**2)
        w_gg.append(inside.sum() / random - 2 * PI_MAX)
        w_gplus.append(plus[inside].sum() / random)
    return np.array(w_gg), np.array(w_gplus)
