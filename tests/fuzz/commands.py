"""Arguments of the commands; those that take long are given what they must refuse before the work."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
from astropy.table import Table
from iaemu_likelihood.emulator.models import Emulator

from iaemu_likelihood.cli import main
from iaemu_likelihood.data_vectors.galaxy_catalogue import AXIS, POSITION
from iaemu_likelihood.data_vectors.measurement import Measurement

from . import galaxies, halos
from .cases import INTERNAL, Case, Refused
from .changes import Rng, damaged, one, same

POINT = ("0.8", "0.3", "12.54", "0.26", "12.68", "13.48", "1.0")
WORDS = ("", " ", "nan", "-1", "0", "1e400", "abc", "[/b]", "12,5", "--", "-", "µ", "../..", "1_0", "0x10", "inf",
         "9" * 40, "\x1b[31m", "/", "None", "1.5", "a" * 300)  # fmt: skip


def iaemu(folder: Path, *arguments: str) -> str:
    """Run the command in this process; returns what it printed.

    Raises
    ------
    Exception
        The error that it showed, if there is one; otherwise Refused with what it said.
    """
    out, err = io.StringIO(), io.StringIO()
    log = logging.getLogger("iaemu_likelihood.emulator")
    handlers, here = log.handlers[:], Path.cwd()
    os.chdir(folder)
    try:
        with (
            mock.patch.object(sys, "argv", ["iaemu", *arguments]),
            mock.patch.dict(os.environ, COLUMNS="200", IAEMU_WEIGHTS=str(folder / "own")),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
    except SystemExit as end:
        if end.code in (0, None):
            return out.getvalue()
        said = err.getvalue()
        if "Traceback" in said or INTERNAL.search(said):
            raise RuntimeError(said) from end
        cause = end.__cause__ or end.__context__
        if end.code == 1 and isinstance(cause, Exception):  # 2 is a word about an argument
            raise cause from None
        raise Refused(said or out.getvalue()) from end
    finally:
        os.chdir(here)
        log.handlers[:] = handlers
    return out.getvalue()


def number(text: str) -> float:
    """A number as an argument says it, or Refused."""
    try:
        return float(text)
    except ValueError as error:
        raise Refused(f"{text!r} is no number") from error


class Commands:
    """See the head of this module."""

    name = "commands"
    share = 5.0

    def __init__(self, folder: Path) -> None:
        self._emulator = Emulator.load()
        self._galaxies, self._columns = folder / "galaxies.csv", galaxies.small_catalogue()
        Table(self._columns).write(self._galaxies)
        self._halos = folder / "halos.hdf5"
        table = Table(halos.small_catalogue(), meta=halos.metadata())
        table.write(self._halos, path="halos", serialize_meta=True)
        self._rubbish = folder / "rubbish.yaml"
        self._rubbish.write_bytes(damaged(np.random.default_rng(0), b"a: [1, 2\n")[1])

    def case(self, rng: Rng, folder: Path) -> Case:
        kinds: list[Callable[[Rng, Path], Case]] = [
            *[self._predict] * 6, *[self._measure] * 6, *[self._info] * 2, *[self._refused] * 6, self._help,
        ]  # fmt: skip
        return one(rng, kinds)(rng, folder)

    def _case(self, folder: Path, arguments: list[str], wrong: Callable[[str], str]) -> Case:
        return Case(" ".join(map(repr, arguments)), lambda: iaemu(folder, *arguments), wrong)

    def _predict(self, rng: Rng, folder: Path) -> Case:
        point = list(POINT)
        kind = one(
            rng, ["value", "value", "value", "missing", "more", "weights", "nothing", "swap"]
        )
        i = int(rng.integers(7))
        options: list[str] = []
        weights = "templates"
        if kind == "value":
            point[i] = one(rng, [*WORDS, "1e3", "-0.5", "+0.3", "12.6", "0.30000001"])
        elif kind == "missing":
            del point[i]
        elif kind == "more":
            point.append("1.0")
        elif kind == "weights":
            weights = one(rng, [*WORDS, "paper"])
            options = [f"--weights={weights}"]
        elif kind == "swap":
            j = int(rng.integers(7))
            point[i], point[j] = point[j], point[i]
        if rng.random() < 0.2:
            options.append("--extrapolate")
        options.append("--out=p.ecsv")

        def wrong(printed: str) -> str:
            emulator = self._emulator if weights == "templates" else Emulator.load(weights)
            try:
                expected = emulator.predict(
                    [number(x) for x in point], extrapolate="--extrapolate" in options
                )
            except (Refused, ValueError) as reason:
                return f"accepted, but {reason}"
            table = Table.read(folder / "p.ecsv", format="ascii.ecsv")
            differing = [name for name in expected if not same(table[name], expected[name])]
            return f"another {', '.join(differing)}" if differing else ""

        return self._case(folder, ["predict", *options, "--", *point], wrong)

    def _measure(self, rng: Rng, folder: Path) -> Case:
        options = {
            "--box": str(galaxies.BOX), "--out": "out.ecsv", "--r-min": "2", "--r-max": "9", "--bins": "2",
            "--jackknife": "2", "--name": "mine",
        }  # fmt: skip
        key = one(rng, [*options, "--x", "--axis-y", "--hdf5-path", "catalogue", "flag"])
        catalogue = str(self._galaxies)
        if key == "catalogue":
            catalogue = one(rng, [*WORDS, str(self._rubbish), str(self._halos), str(folder)])
        elif key == "flag":
            options[one(rng, ["--no-periodic", "--overwrite", "--nonsense", "--periodic"])] = ""
        elif key in ("--x", "--axis-y"):
            options[key] = one(rng, [*WORDS, "z", "x", "y", AXIS[1]])
        else:
            good = {"--box": ["60", "28"], "--out": ["a/b.ecsv", "out", "out.csv"], "--r-min": ["1.5", "9"],
                    "--r-max": ["10", "1", "20"], "--bins": ["1", "3", "101"], "--jackknife": ["3", "6", "1"],
                    "--name": ["a name", "[b]", "µ"]}  # fmt: skip
            options[key] = one(rng, [*WORDS, *good.get(key, [])])
        given = [
            part
            for k, v in options.items()
            for part in ([f"{k}={v}"] if v or (k == key and key != "flag") else [k])
        ]

        def wrong(printed: str) -> str:
            path = folder / options["--out"]
            found = Measurement.read(path)
            try:
                box, low, high = (number(options[k]) for k in ("--box", "--r-min", "--r-max"))
                edges = np.geomspace(low, high, int(options["--bins"]) + 1)
            except (Refused, ValueError) as reason:
                return f"accepted, but {reason}"
            names = (
                [options.get("--x", POSITION[0]), *POSITION[1:]],
                [AXIS[0], options.get("--axis-y", AXIS[1]), AXIS[2]],
            )
            position, axes = (np.stack([self._columns[k] for k in part], axis=1) for part in names)
            for name, values in galaxies.by_hand(position, axes, box, edges).items():
                # Without periodic faces, means over pairs only.
                if not (options.keys() & {"--no-periodic"} or same(found.values[name], values)):
                    return f"{name} is {found.values[name]}, by hand {values}"
            return (
                ""
                if found.name in (options["--name"], self._galaxies.stem)
                else f"called {found.name}"
            )

        return self._case(folder, ["measure", *given, "--", catalogue], wrong)

    def _info(self, rng: Rng, folder: Path) -> Case:
        given = one(
            rng,
            [
                [],
                ["templates"],
                ["paper"],
                *([word] for word in WORDS),
                [str(folder)],
                [str(self._rubbish)],
            ],
        )

        def wrong(printed: str) -> str:
            known = not given or given[0] in ("templates", "paper")
            return (
                ""
                if (known and "templates" in printed) or (known and "paper" in printed)
                else "accepted"
            )

        return self._case(folder, ["info", "--", *given], wrong)

    def _help(self, rng: Rng, folder: Path) -> Case:
        command = one(
            rng,
            [
                "",
                "table1",
                "plot",
                "check",
                "nuts",
                "measure",
                "tabulate",
                "train",
                "build",
                "dataset",
                "validate",
                "cosmosis-path",
            ],
        )
        given = [command] * bool(command) + ["--help"]
        return self._case(folder, given, lambda printed: "" if "Usage" in printed else "no help")

    def _refused(self, rng: Rng, folder: Path) -> Case:
        """What must be refused before anything is computed."""
        word = one(rng, [w for w in WORDS if w not in ("0x10", "1.5")])
        none = str(folder / "none")
        halos, rubbish = f"--halos={self._halos}", str(self._rubbish)
        small = ["--points=20", "--out=o.hdf5", halos]
        drawn = [*small, "--catalogues=2"]
        quick = ["--warm-up=4", "--samples=4", "--out=o"]
        choices = [
            ["check", "--", one(rng, [word, none, rubbish, str(folder), str(self._galaxies)])],
            ["check", "--seed=abc", rubbish],
            ["plot", "--", one(rng, [word, none, rubbish])],
            ["plot", "--suffix", word, none],
            ["table1", "--", one(rng, ["sample4", word or "x"])],
            ["table1", f"--emulator={word or 'x'}", "sample1"],
            ["nuts"],
            ["nuts", "--data=tng300.sample1", rubbish],
            ["nuts", *quick, f"--data={one(rng, [none, rubbish, word or 'x', 'tng300.sample9'])}"],
            ["nuts", *quick, "--data=tng300.sample1", f"--emulator={word or 'x'}"],
            ["nuts", *quick, "--data=tng300.sample1", f"--emulator-error={word}"],
            ["nuts", *quick, "--data=tng300.sample1", one(rng, ["--chains=0", "--chains=-1", "--samples=0", "--samples=-3",
                                                               "--warm-up=-1", "--warm-up=0", "--seed=-1", "--chains=a", "--samples=1e3"])],
            ["tabulate", "--halos", one(rng, [none, rubbish, word or "x"]), "o.hdf5"],
            ["tabulate", halos, "--seed=-1", "o.hdf5"],
            ["train", *one(rng, [[none], [rubbish], [str(folder)], ["--devices=0"]])],
            ["build", f"--halos={one(rng, [none, rubbish, word or 'x'])}", "--out=b"],
            ["build", halos, "--out=b", one(rng, ["--test-points=0", "--test-drawn=-1", "--test-catalogues=0", "--devices=0"])],
            ["dataset", "info", "--", one(rng, [none, rubbish, word, str(folder), str(self._halos)])],
            ["dataset", "expectation", *small, one(rng, ["--points=0", "--points=-5", "--points=a", "--points=99999999999", "--seed=-1",
                                                         "--design=x", f"--domain={rubbish}", f"--domain={none}", f"--tabulation={rubbish}"])],
            ["dataset", "expectation", *small, "--fractions", *one(rng, [["nan"] * 3, ["1", "1", "1"], ["1", "0"], ["-1", "1", "1"], ["a", "0", "1"]])],
            ["dataset", "realisations", *drawn, one(rng, ["--catalogues=0", "--catalogues=-2", "--points=0", "--seed=-1", "--design=", f"--domain={rubbish}"])],
            ["dataset", "halotools", *drawn, one(rng, ["--catalogues=0", "--points=0", "--seed=-1", "--design=x"])],
            ["validate", "--", word or "x"],
            ["validate", "templates", one(rng, [f"--expectation={rubbish}", f"--realisations={none}", f"--tabulation={rubbish}", "--seed=a"])],
            ["validate", "noise", halos, one(rng, ["--n=0", "--n=-1", "--n-model=0", "--seed=-1", "--halotools=-1", "--n=a"])],
            ["validate", "expectation", f"--halos={none}"],
            ["validate", "calibration", one(rng, ["--sample=x", "--n=0", "--nodes=0", f"--weights={word or 'x'}", "--emulator-error=x", f"--halos={none}"])],
            [word or "x"],
            [one(rng, ["predict", "info", "measure", "check"]), "--nonsense"],
        ]  # fmt: skip
        return self._case(folder, one(rng, choices), lambda printed: "accepted")
