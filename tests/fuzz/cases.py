"""A hostile case, what the product makes of it, and how that is judged.

A *target* is a part of the product that takes what a stranger may have written. It makes cases: a
valid example, changed at random, the call that the product has for it, and an oracle. The oracle
says without the product's help what an accepted result must be. So a case ends in one of four ways:

- *refused clearly*: the product raised, on purpose, an error that says what is wrong;
- *right*: it was accepted, and the result is what the oracle says;
- *raw*: another exception, or a number that came with a warning of the arithmetic;
- *silently different*: accepted, but the result is not what the oracle says.

Case i of a target depends on the seed, the target and i alone.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from dis import opmap
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from cobaya.log import LoggedError

import iaemu_likelihood
from iaemu_likelihood import data, emulator

ROOT = Path(__file__).parents[2]
PRODUCT = [
    Path(folder) for package in (iaemu_likelihood, emulator, data) for folder in package.__path__
]

REFUSED, RIGHT, RAW, DIFFERENT = OUTCOMES = (
    "refused clearly",
    "right",
    "raw",
    "silently different",
)
FAILURES = (RAW, DIFFERENT)
# What the command shows without a traceback.
REFUSALS = (OSError, ValueError, TypeError, ImportError, LoggedError)
# Words of the interpreter, which tell a user nothing.
INTERNAL = re.compile(
    r"Traceback \(most recent|object at 0x|'NoneType' object|<class '|<built-in|'builtin_function"
    r"|object is not (subscriptable|iterable|callable)|has no attribute '|__\w+__\(\)"
    r"|not supported between instances|unsupported operand|unhashable type"
    r"|index out of range|could not be broadcast|not enough values to unpack|too many values to"
)


@dataclass(frozen=True)
class Case:
    """A changed example.

    Attributes
    ----------
    about : str
        What was changed.
    run : callable
        The product's call.
    wrong : callable
        Takes the result of `run` and says in words what is wrong with it; empty if it is right.
    """

    about: str
    run: Callable[[], Any]
    wrong: Callable[[Any], str]


class Target(Protocol):
    """A part of the product; the constructor makes the valid examples in a folder."""

    name: str
    # Relative number of cases in a run over all targets: fewer where one takes long.
    share: float

    def __init__(self, folder: Path) -> None: ...

    def case(self, rng: np.random.Generator, folder: Path) -> Case:
        """A case, whose files go into an empty folder."""


class Refused(Exception):
    """What a command said when it ended with an error, or why an oracle accepts no result."""


@dataclass(frozen=True)
class Result:
    """How a case ended.

    Attributes
    ----------
    target, about, outcome, said : str
        The last is the error, or what is wrong.
    seed, index : int
    error : BaseException or None
    """

    target: str
    seed: int
    index: int
    about: str
    outcome: str
    said: str
    error: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether the product has a fault here."""
        return self.outcome in FAILURES

    @property
    def reproducer(self) -> str:
        """A command that repeats the case, and what it shows."""
        command = (
            f"python -m tests.fuzz --only {self.target} --seed {self.seed} --case {self.index}"
        )
        return f"{command}  # {self.about}: {self.outcome}: {self.said}"


def tried(target: Target, seed: int, index: int, folder: Path) -> Result:
    """Try one case; its files are in an empty folder."""
    rng = np.random.default_rng([seed, zlib.crc32(target.name.encode()), index])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is written on purpose
        case = target.case(rng, folder)
    outcome, said, error = _ended(case)
    return Result(target.name, seed, index, case.about, outcome, " ".join(said.split()), error)


def _ended(case: Case) -> tuple[str, str, BaseException | None]:
    silent = io.StringIO()
    # As numpy is when nobody has changed it.
    numpys = np.errstate(all="warn", under="ignore")
    with numpys, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with redirect_stdout(silent), redirect_stderr(silent):
                result = case.run()
        except Exception as error:
            unclear = _unclear(error)
            said = f"{type(error).__name__}: {error}"
            return (RAW, f"{unclear}: {said}", error) if unclear else (REFUSED, said, error)
    numbers = [w for w in caught if issubclass(w.category, RuntimeWarning)]
    if numbers:
        return RAW, f"accepted with a warning: {numbers[0].message}", None
    try:
        wrong = case.wrong(result)
    except Exception as error:
        return DIFFERENT, f"cannot be judged: {error!r}", error
    return (DIFFERENT, wrong, None) if wrong else (RIGHT, "", None)


def _unclear(error: Exception) -> str:
    """Why an exception is no clear refusal; empty if it is one."""
    text = str(error)
    if not isinstance(error, (*REFUSALS, Refused)):
        return "no error of the product"
    if not text.strip():
        return "an error without words"
    found = INTERNAL.search(text)
    if found:
        return f"an error that says {found[0]!r}"
    # The operating system's errors name a file; Cobaya's and the command's are texts of their own.
    named = isinstance(error, Refused | LoggedError) or getattr(error, "filename", None)
    if not named and not _on_purpose(error):
        return "an error that nobody meant"
    return ""


def _on_purpose(error: Exception) -> bool:
    """Whether a `raise` of the product raised it, and not a library or an operation inside it."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return False
    code = last.tb_frame.f_code
    inside = any(Path(code.co_filename).is_relative_to(folder) for folder in PRODUCT)
    return inside and code.co_code[last.tb_lasti] == opmap["RAISE_VARARGS"]
