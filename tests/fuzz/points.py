"""Parameters given to an emulator: any form of seven numbers, by place or by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from iaemu_likelihood.emulator.models import Emulator

from .cases import Case
from .changes import NOT_FINITE, Rng, odd, one, same

# A form of points: from (n, d) numbers inside the domain and names, to what is given, and whether it
# means these numbers (otherwise it means nothing that can be computed).
Form = Callable[[np.ndarray, tuple[str, ...], Rng], tuple[str, Any, np.ndarray | None]]


def _arrays(x: np.ndarray, names: tuple[str, ...], rng: Rng) -> tuple[str, Any, np.ndarray | None]:
    """The same numbers, laid out in another way."""
    wide = np.empty((2 * len(x), 2 * x.shape[1]))
    wide[::2, ::2] = x
    kept = x.copy()
    kept.flags.writeable = False
    single = x.astype(np.float32)
    choices = {
        "lists": (x.tolist(), x),
        "tuples": (tuple(map(tuple, x.tolist())), x),
        "columns first": (np.asfortranarray(x), x),
        "strided": (wide[::2, ::2], x),
        "reversed": (x[::-1], x[::-1].copy()),
        "reversed twice": (x[:, ::-1].copy()[:, ::-1], x),
        "read-only": (kept, x),
        "big-endian": (x.astype(">f8"), x),
        "single precision": (single, single.astype(float)),
        "long": (x.astype(np.longdouble), x),
        "objects": (x.astype(object), x),
        "matrix": (np.asmatrix(x), x),
        "tensor": (torch.tensor(x), x),
        "masked, none": (np.ma.array(x, mask=False), x),
        "complex, real": (x + 0j, x),
        "one point": (x[0], x[0]),
        "one list": (x[0].tolist(), x[0]),
    }
    kind = one(rng, choices)
    return kind, *choices[kind]


def _named(x: np.ndarray, names: tuple[str, ...], rng: Rng) -> tuple[str, Any, np.ndarray | None]:
    """By name, in any order."""
    order = [names[i] for i in rng.permutation(len(names))]
    column = dict(zip(names, x.T, strict=True))
    rows = [{name: float(column[name][i]) for name in order} for i in range(len(x))]
    structured = np.zeros(len(x), [(name, float) for name in order])
    for name in names:
        structured[name] = column[name]
    choices = {
        "mapping": ({name: column[name] for name in order}, x),
        "mapping of lists": ({name: column[name].tolist() for name in order}, x),
        "mapping of numbers": (rows[0], x[0]),
        "structured array": (structured, x),
        "astropy table": (Table({name: column[name] for name in order}), x),
        "list of mappings": (rows, x),
    }
    if importlib.util.find_spec("pandas"):
        import pandas

        frame = pandas.DataFrame({name: column[name] for name in order})
        choices |= {
            "data frame": (frame, x),
            "data frame, shuffled": (frame.iloc[::-1], x[::-1]),
            "series": (frame.iloc[0], x[0]),
            "data frame without a name": (frame.rename(columns={order[0]: "other"}), None),
            "data frame and more": (frame.assign(other=1.0), None),
        }
    kind = one(rng, choices)
    return kind, *choices[kind]


def _senseless(
    x: np.ndarray, names: tuple[str, ...], rng: Rng
) -> tuple[str, Any, np.ndarray | None]:
    """What hardly means a point."""
    column = {name: values.copy() for name, values in zip(names, x.T, strict=True)}
    name, i, j = one(rng, names), int(rng.integers(len(x))), int(rng.integers(x.shape[1]))
    broken = x.copy()
    broken[i, j] = one(rng, NOT_FINITE)
    objects = x.astype(object)
    objects[i, j] = one(rng, [None, "text", [1, 2], {}, 1j, b"1"])
    mask = np.zeros(x.shape, bool)
    mask[i, j] = True
    lacking = {k: v for k, v in column.items() if k != name}
    some = odd(rng)
    some = "" if isinstance(some, list) else some  # of which some are points, repeated
    # A number is a number, however odd.
    number = isinstance(some, int | float)
    filled = {**column, name: np.full(len(x), float(some))} if number else {}
    choices = {
        "not finite": (broken, None),
        "objects": (objects, None),
        "masked": (np.ma.array(x, mask=mask), None),
        "all masked": (np.ma.masked_all(x.shape), None),
        "complex": (x + 1e-3j, None),
        "text": (x.astype("U"), x),
        "times": (x.astype("datetime64[s]"), None),
        "without a name": (lacking, None),
        "a name more": ({**column, one(rng, ["mu", "", "x", 1]): 1.0}, None),
        "a name of another": ({**lacking, name.upper(): column[name]}, None),
        "ragged": ({**column, names[0]: np.ones(len(x) + 2), names[1]: np.ones(len(x) + 3)}, None),
        "one short": (x[:, :-1], None),
        "one more": (np.hstack([x, x[:, :1]]), None),
        "three axes": (x[None], None),
        "no points": (x[:0], None),
        "no numbers": (x[:, :0], None),
        "a number": (0.5, None),
        "nothing": (one(rng, [None, [], {}, "", ()]), None),
        "odd": ([some] * x.shape[1], np.full(x.shape[1], float(some)) if number else None),
        "odd by name": (
            {**column, name: some},
            np.stack([*filled.values()], axis=1) if number else None,
        ),
        "ragged list": ([x[0].tolist(), x[0, :-1].tolist()], None),
        "a set": (set(x[0].tolist()), None),
        "a generator": ((value for value in x[0]), x[0]),
        "truth values": (x > 0.5, (x > 0.5).astype(float)),
    }
    kind = one(rng, choices)
    return kind, *choices[kind]


FORMS: tuple[Form, ...] = (_arrays, _named, _senseless)


class Points:
    """See the head of this module."""

    name = "points"
    share = 12.0

    def __init__(self, folder: Path) -> None:
        self._emulators = {name: Emulator.load(name) for name in ("templates", "paper")}

    def case(self, rng: Rng, folder: Path) -> Case:
        weights = "templates" if rng.random() < 0.9 else "paper"
        emulator = self._emulators[weights]
        n = one(rng, [1, 2, 3, 7, 130])
        x = emulator.domain.sample(n, int(rng.integers(1000)), "paper")
        if rng.random() < 0.25:
            about, given, meant = self._limits(x, emulator, rng)
        else:
            about, given, meant = one(rng, FORMS)(x, emulator.space.names, rng)
        by_keyword = (
            isinstance(given, dict)
            and rng.random() < 0.3
            and all(isinstance(k, str) for k in given)
        )

        def run() -> Any:
            if by_keyword:
                return emulator.predict(**given, epistemic=False)
            return emulator.predict(given, epistemic=False)

        def wrong(found: Any) -> str:
            if meant is None:
                return f"accepted as points of shape {np.shape(next(iter(found.values())))[:-1]}"
            try:
                expected = emulator.predict(np.array(meant, float, order="C"), epistemic=False)
            except ValueError as reason:
                return f"accepted, but plainly: {reason}"
            rtol = 1e-10 if weights == "templates" else 1e-5
            for name in expected:
                if not same(found[name], expected[name], rtol):
                    return f"another {name}"
            return ""

        return Case(f"{weights}: {about}, n = {n}{', as keywords' * by_keyword}", run, wrong)

    def _limits(
        self, x: np.ndarray, emulator: Emulator, rng: Rng
    ) -> tuple[str, Any, np.ndarray | None]:
        """A parameter on a limit of the domain, or beyond it."""
        lower, upper = emulator.domain.limits(x)
        i, j = int(rng.integers(len(x))), int(rng.integers(x.shape[1]))
        name = emulator.space.names[j]
        kind = one(
            rng,
            [
                "low",
                "high",
                "beyond",
                "far beyond",
                "low in single precision",
                "high in single precision",
            ],
        )
        if j == emulator.space.n_alignment:  # the others' limits follow it
            kind = one(rng, ["beyond", "far beyond"])
        limits = {"low": lower, "high": upper}.get(kind.split()[0], upper)[i, j]
        if "beyond" in kind:
            x[i, j] = limits + (1e-3 if kind == "beyond" else 1e6)
            return f"{name} {kind}", x, None
        x[i, j] = np.float32(limits) if "single" in kind else limits
        return f"{name} {kind}", x, x
