"""The `iaemu` command: thin shells over the package's functions, a module a group of commands."""

from __future__ import annotations

import logging

import typer

from iaemu_likelihood.cli.catalogues import measure, tabulate
from iaemu_likelihood.cli.datasets import dataset
from iaemu_likelihood.cli.fits import check, cosmosis_path, nuts, plot, table1
from iaemu_likelihood.cli.validation import validate
from iaemu_likelihood.cli.weights import build, info, predict, train

# Modules of commands import what is slow inside the commands, so that --help is quick.

# What comes with the extras of the installation, by the module that would be missing.
EXTRAS = {
    **dict.fromkeys(("h5py", "halotools", "numba", "threadpoolctl"), "forward"),
    **dict.fromkeys(("lightning", "tensorboard"), "train"),
}

app = typer.Typer(
    help="Intrinsic alignments of galaxies: emulator, likelihoods and fits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (
    table1, plot, check, cosmosis_path, nuts, info, predict, measure, tabulate, train, build
):  # fmt: skip
    app.command()(command)
app.add_typer(dataset, name="dataset")
app.add_typer(validate, name="validate")


def main() -> None:
    """Run a command; errors that say what to do are shown without a traceback."""
    # The plugin's messages are shown by Cobaya.
    emulator_log = logging.getLogger("iaemu_likelihood.emulator")
    emulator_log.addHandler(logging.StreamHandler())
    emulator_log.setLevel(logging.INFO)
    try:
        app()
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        hint = (
            f" This command needs more: pip install 'iaemu_likelihood[{extra}]'." if extra else ""
        )
        typer.secho(f"Error: {error}.{hint}", fg="red", err=True)
        raise SystemExit(1) from error
    except (OSError, ValueError, TypeError, ImportError) as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise SystemExit(1) from error
    except Exception as error:
        if type(error).__name__ != "LoggedError":
            raise
        raise SystemExit(1) from None  # Cobaya's, which it has shown already
