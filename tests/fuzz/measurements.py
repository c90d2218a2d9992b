"""Measurements: an ECSV file to the data vector, its covariance and chi^2, and to fixed parameters."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from astropy.table import Table
from iaemu_likelihood.data import bundled
from iaemu_likelihood.emulator.physics.bins import R_EDGES
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import STATISTICS

from iaemu_likelihood.likelihood.core import CorrelationLikelihood, LikelihoodOptions
from iaemu_likelihood.sampling.nuts import measurement_run

from .cases import Case, Refused
from .changes import NOT_FINITE, Rng, damaged, odd, one, same

COVARIANCE = ("_cov", "covariance")
LENGTHS = ("r_min", "r_max", "r")
HOD = DEFAULT_SPACE.occupation.names
# What a unit is worth in the unit of the package: Mpc/h for lengths, 1 for statistics.
OF_LENGTHS = {"Mpc/h": 1.0, "Mpc / h": 1.0, "Mpc/littleh": 1.0, "kpc/h": 1e-3, "kpc / h": 1e-3}
# And with h, if the file says what it is.
WITH_H = {"Mpc": 1.0, "kpc": 1e-3}
H = 0.7
OF_STATISTICS = {"": 1.0, "1": 1.0, "%": 0.01}


def any_case(meta: dict[str, Any], name: str) -> Any:
    """A value of the metadata, whatever the case of its key; None if there is none."""
    return next((value for key, value in meta.items() if str(key).lower() == name), None)


def worth_of_lengths(meta: dict[str, Any]) -> dict[str, float]:
    """What units of length are worth in Mpc/h, by the metadata of a file."""
    h = any_case(meta, "h")
    if not isinstance(h, float):
        return OF_LENGTHS
    return {**OF_LENGTHS, **{unit: factor * h for unit, factor in WITH_H.items()}}


@dataclass
class Sheet:
    """A table before it is written: cells are texts, and columns may have the same name."""

    names: list[str]
    cells: list[list[str]]  # by column
    units: dict[str, str] = field(default_factory=dict)
    types: dict[str, dict[str, str]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    delimiter: str = " "

    @classmethod
    def of(cls, table: Table) -> Sheet:
        """The same content as an astropy table of numbers."""
        texts = [
            [repr(float(x)) if np.ndim(x) == 0 else json.dumps(np.asarray(x).tolist()) for x in table[name]]
            for name in table.colnames
        ]  # fmt: skip
        types = {
            name: {"datatype": "string", "subtype": f"float64[{table[name].shape[1]}]"}
            for name in table.colnames
            if table[name].ndim > 1
        }
        return cls(
            list(table.colnames), texts, types=types, meta=json.loads(json.dumps(dict(table.meta)))
        )

    def column(self, name: str) -> list[str]:
        return self.cells[self.names.index(name)]

    def rows(self, keep: Any) -> None:
        """Keep some rows, in any order."""
        self.cells = [[column[i] for i in keep] for column in self.cells]

    @property
    def n(self) -> int:
        return len(self.cells[0])

    def text(self) -> str:
        """ECSV."""
        columns = [
            {"name": name, **({"unit": self.units[name]} if name in self.units else {}),
             **self.types.get(name, {"datatype": "float64"})}
            for name in self.names
        ]  # fmt: skip
        header = {"datatype": columns, "meta": self.meta, "schema": "astropy-2.0"}
        if self.delimiter != " ":
            header = {"delimiter": self.delimiter, **header}
        lines = yaml.safe_dump(header, sort_keys=False, allow_unicode=True).splitlines()
        quoted = [
            self.delimiter.join('"' + x.replace('"', '""') + '"' if " " in x or x == "" else x for x in row)
            for row in [self.names, *zip(*self.cells, strict=True)]
        ]  # fmt: skip
        return "\n".join(["# %ECSV 1.0", "# ---", *(f"# {line}" for line in lines), *quoted]) + "\n"


def read_plainly(
    content: bytes,
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, set[str]]]:
    """Metadata, columns of numbers or texts and their units, of columns and metadata, of an ECSV file, without astropy.

    Raises
    ------
    Refused
        If it is no such file.
    """
    try:
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        lines = content.decode("utf-16" if wide else "utf-8-sig").splitlines()
        comments = [line[1:].removeprefix(" ") for line in lines if line.startswith("#")]
        header = yaml.safe_load(
            "\n".join(line for line in comments if not line.startswith("%ECSV"))
        )
        declared = {column["name"]: column for column in header["datatype"]}
        meta = dict(header.get("meta") or {})
        delimiter = str(header.get("delimiter", " "))
        data = [line.rstrip() for line in lines if line.strip() and not line.startswith("#")]
        names, *rows = csv.reader(data, delimiter=delimiter, skipinitialspace=True)
    except Exception as error:
        raise Refused(f"no table: {error!r}") from error
    if names != [column["name"] for column in header["datatype"]]:
        raise Refused("names of columns that are not those of the header")
    if any(len(row) != len(names) for row in rows):
        raise Refused("rows of another length")
    columns = {}
    cells_of = zip(*rows, strict=True) if rows else [()] * len(names)
    table = list(zip(names, cells_of, strict=True))
    for name, cells in table:
        kind = declared[name].get("datatype", "float64")
        if any(other != cells for label, other in table if label == name):
            continue  # which of them?
        try:
            values = [json.loads(x) if x.startswith("[") else float(x or "nan") for x in cells]
            lists = [len(x) for x in values if isinstance(x, list)]
            # An empty cell among lists is as many missing numbers.
            values = [[x] * lists[0] if lists and x != x else x for x in values]
            columns[name] = np.array(values, float)
            if kind in ("float32", "float16"):
                columns[name] = columns[name].astype(kind).astype(float)
        except (ValueError, TypeError):
            columns[name] = np.array(cells)  # of text
    of_columns = {name: column.get("unit") for name, column in declared.items()}
    of_meta = any_case(meta, "units") or {}
    if not isinstance(of_meta, dict):
        raise Refused("units that are no mapping")
    units = {
        name: {str(unit) for unit in (of_columns.get(name), of_meta.get(name)) if unit is not None}
        for name in names
    }
    return meta, columns, units


@dataclass(frozen=True)
class Wanted:
    """Which part of a measurement is compared with a model."""

    statistics: tuple[str, ...]
    covariance: str
    r_min: float
    r_max: float

    def model(self, statistic: str, low: Any, high: Any) -> Any:
        """Some prediction."""
        return 0.03 / (1 + list(STATISTICS).index(statistic) + np.sqrt(low * high))

    def by_product(self, path: Path) -> float:
        """chi^2 as the likelihood has it."""
        likelihood = CorrelationLikelihood(
            LikelihoodOptions(
                data_file=str(path), statistics=self.statistics, r_min=self.r_min, r_max=self.r_max,
                covariance=self.covariance, emulator_error="none",
            )
        )  # fmt: skip
        model = [float(self.model(s, low, high)) for _, s, low, high in likelihood.data.points]
        return float(likelihood.comparison(torch.tensor([model], dtype=torch.float64))[1])

    def by_hand(self, content: bytes) -> float:
        """chi^2 from the text of the file; Refused if it makes no sense."""
        meta, columns, units = read_plainly(content)
        parts = {}
        for name in ("r_min", "r_max", *(x for s in self.statistics for x in (s, f"{s}_err"))):
            if name not in columns:
                raise Refused(f"no column {name}")
            worth = worth_of_lengths(meta) if name in LENGTHS else OF_STATISTICS
            found = {worth.get(unit) for unit in units[name]} or {1.0}
            if None in found or len(found) > 1:
                raise Refused(f"{name} in {' and '.join(units[name])}")
            if columns[name].ndim != 1 or columns[name].dtype.kind != "f":
                raise Refused(f"{name} is no column of numbers")
            parts[name] = columns[name] * found.pop()
        low, high = parts["r_min"], parts["r_max"]
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise Refused("bins that are nowhere")
        first, last = max(self.r_min, R_EDGES[0]), min(self.r_max, R_EDGES[-1])
        used = np.flatnonzero((low >= first * (1 - 1e-6)) & (high <= last * (1 + 1e-6)))
        used = used[np.argsort(low[used], kind="stable")]
        if not len(used) or not (high[used] > low[used]).all():
            raise Refused("no bins")
        if (low[used][1:] < high[used][:-1] * (1 - 1e-6)).any():
            raise Refused("bins that overlap")
        values = np.concatenate([parts[s][used] for s in self.statistics])
        errors = np.concatenate([parts[f"{s}_err"][used] for s in self.statistics])
        sensible = (errors > 1e-100) & (errors < 1e100)
        used_errors = self.covariance == "diagonal"
        if not (np.isfinite(values).all() and (sensible.all() or not used_errors)):
            raise Refused("values that are none")
        difference = values - np.concatenate(
            [self.model(s, low[used], high[used]) for s in self.statistics]
        )
        if used_errors:
            return float((difference**2 / errors**2).sum())
        matrix = self._matrix(columns, units, used)
        n = any_case(meta, "n_jackknife")
        if type(n) is not int or n <= len(values):
            raise Refused("too few regions")
        scale = np.sqrt(np.diag(matrix))
        if not (np.abs(np.log(scale[sensible] / errors[sensible])) < 0.7).all():
            raise Refused("a diagonal that is not that of the errors")
        correlation = matrix / np.outer(scale, scale)
        if (
            np.abs(correlation - correlation.T).max() > 1e-6
            or np.linalg.eigvalsh(correlation)[0] <= 0
        ):
            raise Refused("no covariance")
        return float(difference @ np.linalg.solve(matrix, difference))

    def _matrix(self, columns: Any, units: Any, used: Any) -> np.ndarray:
        blocks = []
        for a in self.statistics:
            row = []
            for b in self.statistics:
                block = columns.get(f"{a}_{b}_cov")
                block = columns.get(f"{b}_{a}_cov", np.empty(0)).T if block is None else block
                if block.shape != (len(columns["r_min"]),) * 2 or block.dtype.kind != "f":
                    raise Refused("no covariance")
                if units.get(f"{a}_{b}_cov", set()) - {"", "1"}:
                    raise Refused("a covariance in a unit")
                row.append(block[np.ix_(used, used)])
            blocks.append(row)
        matrix = np.block(blocks)
        if not (np.isfinite(matrix).all() and (np.diag(matrix) > 0).all()):
            raise Refused("no covariance")
        return matrix


# ---------------------------------------------------------------- changes of a sheet


def _cell(sheet: Sheet, rng: Rng) -> str:
    name, i = one(rng, sheet.names), int(rng.integers(sheet.n))
    value = one(
        rng,
        ["nan", "inf", "-inf", "", "0", "-1", "1e-162", "1e200", "text", "1e999", "0x1p3", "True"],
    )
    sheet.column(name)[i] = value
    return f"{name} is {value!r} in row {i}"


def _scaled(sheet: Sheet, rng: Rng) -> str:
    name = one(rng, [n for n in sheet.names if not n.endswith(COVARIANCE)])
    factor = one(rng, [1e-162, 1e200, 1e3, 0.0, -1.0])
    sheet.column(name)[:] = [repr(float(x) * factor) for x in sheet.column(name)]
    return f"{name} times {factor}"


def _drop_column(sheet: Sheet, rng: Rng) -> str:
    name = one(rng, sheet.names)
    i = sheet.names.index(name)
    del sheet.names[i], sheet.cells[i]
    return f"without {name}"


def _rename_column(sheet: Sheet, rng: Rng) -> str:
    i = int(rng.integers(len(sheet.names)))
    old, new = sheet.names[i], one(rng, [*sheet.names, "x", "omega_", "OMEGA", "[/b]", "r_min "])
    sheet.names[i] = new
    return f"{old} called {new!r}"


def _column_twice(sheet: Sheet, rng: Rng) -> str:
    name = one(rng, sheet.names)
    sheet.cells.append([*sheet.column(name)][:: one(rng, [1, -1])])
    sheet.names.append(name)
    return f"{name} twice"


def _order_of_columns(sheet: Sheet, rng: Rng) -> str:
    order = rng.permutation(len(sheet.names))
    sheet.names, sheet.cells = ([x[i] for i in order] for x in (sheet.names, sheet.cells))
    return "columns in another order"


def _rows(sheet: Sheet, rng: Rng) -> str:
    n, kind = (
        sheet.n,
        one(
            rng,
            ["none", "one", "permuted", "reversed", "twice", "one twice", "without one", "half"],
        ),
    )
    i = int(rng.integers(n))
    sheet.rows(
        {
            "none": [],
            "one": [i],
            "permuted": rng.permutation(n),
            "reversed": range(n)[::-1],
            "twice": [*range(n)] * 2,
            "one twice": [*range(n), i],
            "without one": [k for k in range(n) if k != i],
            "half": range(n // 2),
        }[kind]
    )
    return f"rows: {kind}"


def _unit(sheet: Sheet, rng: Rng) -> str:
    """A unit on a column or in the metadata; with numbers that fit it, or not."""
    name = one(rng, [n for n in sheet.names if not n.endswith(COVARIANCE)])
    unit = one(
        rng, [*OF_LENGTHS, *OF_STATISTICS, *WITH_H, *WITH_H, "m", "deg", "s", "solMass", "??"]
    )
    worth = (OF_LENGTHS if name in LENGTHS else OF_STATISTICS).get(unit)
    if name in LENGTHS and unit in WITH_H and rng.random() < 0.7:
        sheet.meta["h"], worth = H, WITH_H[unit] * H
    fits = worth is not None and rng.random() < 0.5
    if fits:
        sheet.column(name)[:] = [repr(float(x) / worth) for x in sheet.column(name)]
    declared = dict(sheet.meta.get("units") or {})
    where = one(rng, ["column", "metadata", "column alone"])
    if where == "metadata":
        sheet.meta["units"] = {**declared, name: unit}
    else:
        sheet.units[name] = unit
        if where == "column alone":
            sheet.meta["units"] = {k: v for k, v in declared.items() if k != name}
    return f"{name} in {unit!r} by the {where}, {'with' if fits else 'without'} numbers in it"


def _type(sheet: Sheet, rng: Rng) -> str:
    name = one(rng, sheet.names)
    kind = one(
        rng, ["float32", "float16", "int64", "string", "bool", "complex128", "object", "nonsense"]
    )
    sheet.types[name] = {"datatype": kind}
    return f"{name} declared as {kind}"


def _metadata(sheet: Sheet, rng: Rng) -> str:
    key = one(rng, ["name", "n_jackknife", "units", "hod", "schema", "redshift", "comments", "new"])
    sheet.meta[key] = value = one(rng, [odd(rng), 2, 12, 13, 27.5, "27", 100])
    return f"{key}: {value!r} in the metadata"


def _covariance(sheet: Sheet, rng: Rng) -> str:
    names = [n for n in sheet.names if n.endswith(COVARIANCE)]
    if not names:
        return _cell(sheet, rng)
    name = one(rng, names)
    matrix = np.array([json.loads(x) for x in sheet.column(name)])
    kind = one(
        rng,
        [
            "correlation",
            "times 1e4",
            "transposed",
            "asymmetric",
            "nan",
            "negative",
            "short",
            "equal",
            "ragged",
        ],
    )
    i, j = rng.integers(len(matrix), size=2)
    if kind == "correlation":
        scale = np.sqrt(np.diag(matrix))
        matrix /= np.outer(scale, scale)
    elif kind == "times 1e4":
        matrix *= 1e4
    elif kind == "transposed" and matrix.shape[0] == matrix.shape[-1]:
        matrix = matrix.T
    elif kind == "asymmetric":
        matrix[i, j] *= 1.5
    elif kind == "nan":
        matrix[i, j] = np.nan
    elif kind == "negative":
        matrix[i, i] *= -1
    elif kind == "equal":
        matrix[i] = matrix[j]
    elif kind == "short":
        matrix = matrix[:, :-1]
    cells = [json.dumps(row.tolist()) for row in matrix]
    if kind == "ragged":
        cells[i] = json.dumps(matrix[i, :5].tolist())
    sheet.column(name)[:] = cells
    if kind == "short":
        sheet.types[name] = {"datatype": "string", "subtype": f"float64[{matrix.shape[1]}]"}
    return f"{name}: {kind}"


SHEETS: tuple[Callable[[Sheet, Rng], str], ...] = (
    _cell, _cell, _scaled, _drop_column, _rename_column, _column_twice, _order_of_columns, _rows, _rows, _unit,
    _unit, _type, _metadata, _covariance, _covariance,
)  # fmt: skip


def changed(sheet: Sheet, rng: Rng) -> str:
    """Change a sheet, in place, and say how."""
    if not sheet.n:
        return "nothing more"
    names, cells = list(sheet.names), [list(column) for column in sheet.cells]
    try:
        return one(rng, SHEETS)(sheet, rng)
    except (ValueError, IndexError):  # of a change that takes other columns than these
        sheet.names, sheet.cells = names, cells
        return "nothing"


def dressed(rng: Rng, text: str) -> tuple[str, bytes]:
    """The same text with other line ends, marks and blanks."""
    content = text.encode()
    kind = one(
        rng,
        [
            "",
            "",
            "",
            "byte-order mark",
            "CRLF",
            "trailing blanks",
            "blank lines",
            "a Latin comment",
            "UTF-16",
            "no end",
        ],
    )
    changed = {
        "byte-order mark": b"\xef\xbb\xbf" + content,
        "CRLF": content.replace(b"\n", b"\r\n"),
        "trailing blanks": content.replace(b"\n", b"  \n"),
        "blank lines": content + b"\n\n",
        "a Latin comment": content + b"# \xe9\n",
        "UTF-16": text.encode("utf-16"),
        "no end": content.rstrip(b"\n"),
    }
    return kind, changed.get(kind, content)


class Measurements:
    """See the head of this module."""

    name = "measurements"
    share = 20.0

    def __init__(self, folder: Path) -> None:
        self._tables = {
            k: Table.read(bundled(f"tng300/sample{k}.ecsv"), format="ascii.ecsv") for k in (1, 3)
        }

    def case(self, rng: Rng, folder: Path) -> Case:
        path = folder / "m.ecsv"
        sample = one(rng, [1, 3])
        sheet = Sheet.of(self._tables[sample])
        if rng.random() < 0.15:
            return self._occupation(rng, sheet, path)
        whole = sample == 3 and rng.random() < 0.6
        wanted = Wanted(
            (STATISTICS["omega"].name,) if whole or rng.random() < 0.6 else tuple(STATISTICS)[:2],
            "full" if whole else "diagonal",
            *one(rng, [(0.0, 1000.0), (0.3, 5.0), (1.0, 20.0)]),
        )
        if rng.random() < 0.35:
            about, content = damaged(rng, sheet.text().encode())
        else:
            changes = [changed(sheet, rng) for _ in range(one(rng, [1, 1, 1, 2]))]
            if rng.random() < 0.05:
                sheet.delimiter = ","
                changes.append("commas")
            kind, content = dressed(rng, sheet.text())
            about = "; ".join([*changes, *([kind] if kind else [])])
        path.write_bytes(content)

        def wrong(chi2: float) -> str:
            try:
                expected = wanted.by_hand(content)
            except Refused as reason:
                return f"accepted, chi^2 = {chi2:.6g}, but the file has {reason}"
            # A matrix may be asymmetric by 1e-6, and then its halves give other numbers.
            rtol = 1e-9 if wanted.covariance == "diagonal" else 1e-6
            return (
                ""
                if same(chi2, expected, rtol)
                else f"chi^2 is {chi2:.10g}, by hand {expected:.10g}"
            )

        used = (
            f"{'+'.join(wanted.statistics)}, {wanted.covariance}, {wanted.r_min:g}-{wanted.r_max:g}"
        )
        return Case(f"{about} ({used})", lambda: wanted.by_product(path), wrong)

    def _occupation(self, rng: Rng, sheet: Sheet, path: Path) -> Case:
        """A measurement whose occupation, which a fit fixes, is not what it should be."""
        mark = path.with_name("ran")
        code = f"lambda: __import__('pathlib').Path({str(mark)!r}).touch()"
        hod: Any = dict(sheet.meta.get("hod") or dict.fromkeys(HOD, 1.0))
        key = one(rng, HOD)
        kind = one(rng, ["value", "value", "missing", "more", "order", "whole", "tag", "name"])
        if kind == "value":
            hod[key] = one(rng, [code, {"value": code}, {"prior": {"min": 0, "max": 1}}, {"derived": code},
                                 *NOT_FINITE, odd(rng), "12.5", 12, True])  # fmt: skip
        elif kind == "missing":
            del hod[key]
        elif kind == "more":
            hod[one(rng, ["mu_cen", "new", "ia_chi2_omega", 1, ""])] = one(rng, [0.5, code])
        elif kind == "order":
            hod = dict(reversed(hod.items()))
        elif kind == "whole":
            hod = one(rng, [odd(rng), code, [hod], list(hod.values())])
        sheet.meta["hod"] = hod
        text = sheet.text()
        if kind == "tag":
            text = text.replace(
                f"{key}: ", f"{key}: !!python/object/apply:pathlib.Path.touch [{mark}] #"
            )
        elif kind == "name":
            text = text.replace(f"{key}: ", f"{code!r}: ")
        path.write_text(text)

        def wrong(params: dict[str, Any]) -> str:
            if mark.exists():
                return "the file ran code"
            fixed = {
                k: v for k, v in params.items() if not (isinstance(v, dict) and "derived" in v)
            }
            numbers = isinstance(hod, dict) and all(
                isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
                for x in hod.values()
            )
            right = numbers and kind != "tag" and kind != "name" and set(hod) == set(HOD)
            return "" if right and fixed == hod else f"fixed parameters {fixed} from hod {hod!r}"

        return Case(f"hod: {kind} {key}", lambda: measurement_run(str(path))["params"], wrong)
