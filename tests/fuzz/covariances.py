"""Covariances of several statistics and samples: a file of their own, with labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS

from iaemu_likelihood.data_vectors import read_covariance

from .cases import Case, Refused
from .changes import Rng, damaged, one, same
from .measurements import Sheet, any_case, changed, dressed, read_plainly, worth_of_lengths

EDGES = np.geomspace(0.5, 10.0, 5)
NAMES = ("sample", "statistic", "r_min", "r_max", "covariance")
# A change of labels that a measurement does not have.
LABELS = ("", "sample1", "sample2", "SAMPLE1", "xi", "omega", "nan")


def by_hand(content: bytes, points: list[tuple[str, str, float, float]]) -> np.ndarray:
    """The covariance of some points, from the text of a file; Refused if it makes no sense."""
    meta, columns, units = read_plainly(content)
    if not set(NAMES) <= set(columns):
        raise Refused("no column of some")
    lengths = []
    for name in NAMES[2:4]:
        worth = {worth_of_lengths(meta).get(unit) for unit in units[name]} or {1.0}
        if None in worth or len(worth) > 1 or columns[name].dtype.kind != "f":
            raise Refused(f"{name} in {units[name]}")
        lengths.append(columns[name] * worth.pop())
    matrix = columns["covariance"]
    if matrix.dtype.kind != "f" or matrix.shape != (len(columns["sample"]),) * 2:
        raise Refused("no matrix")
    if units["covariance"] - {"", "1"}:
        raise Refused("a covariance in a unit")
    rows = []
    for sample, statistic, *edges in points:
        labels = zip(columns["sample"], columns["statistic"], *lengths, strict=True)
        found = [
            i
            for i, (a, b, *limits) in enumerate(labels)
            if (str(a), str(b)) == (sample, statistic) and np.allclose(limits, edges, rtol=1e-6)
        ]
        if len(found) != 1:
            raise Refused(f"{len(found)} rows of {statistic}")
        rows += found
    chosen = matrix[np.ix_(rows, rows)]
    n = any_case(meta, "n_jackknife")
    if n is not None and (type(n) is not int or n <= len(rows)):
        raise Refused("too few regions")
    if not np.isfinite(chosen).all() or not (np.diag(chosen) > 0).all():
        raise Refused("numbers that are none")
    scale = np.sqrt(np.diag(chosen))
    correlation = chosen / np.outer(scale, scale)
    if np.abs(correlation - correlation.T).max() > 1e-6 or np.linalg.eigvalsh(correlation)[0] <= 0:
        raise Refused("no covariance")
    return chosen


class Covariances:
    """See the head of this module."""

    name = "covariances"
    share = 5.0

    def __init__(self, folder: Path) -> None:
        bins = list(zip(EDGES[:-1].tolist(), EDGES[1:].tolist(), strict=True))
        self._points = [
            (sample, statistic, *edges)
            for sample in LABELS[1:3]
            for statistic in DEFAULT_STATISTICS[:1]
            for edges in bins
        ]
        root = np.random.default_rng(0).normal(size=(len(self._points), 40))
        self._matrix = root @ root.T / 40

    def case(self, rng: Rng, folder: Path) -> Case:
        path = folder / "c.ecsv"
        columns = [list(map(str, column)) for column in zip(*self._points, strict=True)]
        sheet = Sheet(
            list(NAMES),
            [*columns, [json.dumps(row.tolist()) for row in self._matrix]],
            types={
                "sample": {"datatype": "string"},
                "statistic": {"datatype": "string"},
                "covariance": {"datatype": "string", "subtype": f"float64[{len(self._matrix)}]"},
            },
            meta={"n_jackknife": 40, "units": {"r_min": "Mpc/h", "r_max": "Mpc/h"}},
        )
        points = self._points[: one(rng, [4, 8, 8])]
        if rng.random() < 0.3:
            about, content = damaged(rng, sheet.text().encode())
        else:
            about = self._changed(sheet, rng)
            kind, content = dressed(rng, sheet.text())
            about = "; ".join([about, *([kind] if kind else [])])
        path.write_bytes(content)

        def wrong(found: tuple[np.ndarray, int | None]) -> str:
            try:
                expected = by_hand(content, points)
            except Refused as reason:
                return f"accepted, but the file has {reason}"
            return "" if same(found[0], expected, 1e-12) else "another covariance"

        return Case(f"{about}, {len(points)} points", lambda: read_covariance(path, points), wrong)

    def _changed(self, sheet: Sheet, rng: Rng) -> str:
        if rng.random() < 0.2:
            name, row = one(rng, NAMES[:2]), int(rng.integers(sheet.n))
            sheet.column(name)[row] = value = one(rng, LABELS)
            return f"{name} is {value!r} in row {row}"
        return changed(sheet, rng)
