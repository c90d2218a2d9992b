"""The `iaemu` command: thin shells over the package's functions, a module a group of commands."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from iaemu_likelihood.cli.catalogues import measure, tabulate
from iaemu_likelihood.cli.convert import convert
from iaemu_likelihood.cli.datasets import dataset
from iaemu_likelihood.cli.examples import examples
from iaemu_likelihood.cli.explore import explore
from iaemu_likelihood.cli.figures import plot
from iaemu_likelihood.cli.fits import check, cosmosis_path, covmat, nuts, table1
from iaemu_likelihood.cli.halos import halos
from iaemu_likelihood.cli.tables import say
from iaemu_likelihood.cli.validation import validate
from iaemu_likelihood.cli.weights import build, info, predict, seal, train
from iaemu_likelihood.emulator.tables import printable

# Modules of commands import what is slow inside the commands, so that --help is quick.

# What comes with the extras of the installation, by the module that would be missing.
EXTRAS = {
    **dict.fromkeys(("halotools", "numba", "threadpoolctl"), "forward"),
    **dict.fromkeys(("abacusnbody", "swiftsimio"), "halos"),
    **dict.fromkeys(("lightning", "tensorboard"), "train"),
    "sacc": "survey",
}


def _say_version(wanted: bool) -> None:
    if wanted:
        say([f"iaemu_likelihood {version('iaemu_likelihood')}"])
        raise typer.Exit


def _whole(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_say_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Intrinsic alignments of galaxies: emulator, likelihoods and fits."""


app = typer.Typer(
    callback=_whole,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (
    table1, plot, check, covmat, cosmosis_path, nuts, info, seal, examples, explore, measure, convert, halos, tabulate, train,
    build,
):  # fmt: skip
    app.command()(command)
# Its numbers may be negative, which else are taken for options.
app.command(context_settings={"ignore_unknown_options": True})(predict)
app.add_typer(dataset, name="dataset")
app.add_typer(validate, name="validate")


def main() -> None:
    """Run a command; errors that say what to do are shown without a traceback."""
    # Other messages of the plugin are shown by Cobaya, which would show these, too.
    logs = [logging.getLogger(f"iaemu_likelihood.{name}") for name in ("emulator", "tng300.table1")]
    shown = logging.StreamHandler()
    for log in logs:
        log.addHandler(shown)
        log.setLevel(logging.INFO)
        log.propagate = False
    make_record = logging.getLogRecordFactory()
    logging.setLogRecordFactory(_printable_record)
    try:
        app([_expanded(argument) for argument in sys.argv[1:]])
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        hint = (
            f" This command needs more: pip install 'iaemu_likelihood[{extra}]'." if extra else ""
        )
        say([f"Error: {error}.{hint}"], error=True)
        raise SystemExit(1) from error
    except (OSError, ValueError, TypeError, ImportError, ArithmeticError, MemoryError) as error:
        say([f"Error: {str(error) or type(error).__name__}"], error=True)
        raise SystemExit(1) from error
    except Exception as error:
        if all(kind.__name__ != "LoggedError" for kind in type(error).__mro__):
            raise
        raise SystemExit(1) from None  # Cobaya's, which it has shown already
    finally:
        logging.setLogRecordFactory(make_record)
        for log in logs:
            log.removeHandler(shown)
            log.propagate = True


def _printable_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """A record of a log, for a terminal: its message may hold names from files."""
    record = logging.LogRecord(*args, **kwargs)
    with suppress(TypeError, ValueError):  # of a message made wrongly, which logging shows
        record.msg, record.args = printable(record.getMessage()), ()
    return record


def _expanded(argument: str) -> str:
    """An argument whose path begins with ``~``, which shells leave in ``--option=~/path``."""
    option, equals, path = "", "", argument
    if argument.startswith("--"):
        option, equals, path = argument.partition("=")
    if not re.match(r"~[\w.-]*(/|$)", path):
        return argument
    try:
        return f"{option}{equals}{Path(path).expanduser()}" + ("/" if path.endswith("/") else "")
    except RuntimeError:  # no such user
        return argument
