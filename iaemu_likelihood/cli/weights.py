"""Commands for weights: info, seal, predict, train, build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iaemu_likelihood.cli.options import ConfigArgument, DevicesOption, SchedulerOption
from iaemu_likelihood.cli.tables import say, show


def info(
    weights: Annotated[
        str | None, typer.Argument(help="Name or folder of weights; a list when left out.")
    ] = None,
) -> None:
    """List weights, bundled and your own ($IAEMU_WEIGHTS); of one, show domain and accuracy."""
    from iaemu_likelihood.emulator.models import Emulator
    from iaemu_likelihood.emulator.models.card import domain_table, measured_tables, weights_table
    from iaemu_likelihood.emulator.models.weights import weights_folder

    if weights is None:
        show([weights_table()])
        return
    emulator = Emulator.load(weights)
    card = emulator.card
    say([
        f"{weights}: {weights_folder(weights)}",
        card["description"],
        f"halo catalogue {card['halos']['name']} ({card['halos']['sha256'][:12]}...), "
        f"z = {card['redshift']:g}; r = {emulator.r_edges[0]:g}-{emulator.r_edges[-1]:.2f} Mpc/h; "
        f"made by iaemu_likelihood {card['version']}",
    ])  # fmt: skip
    show([domain_table(card)])
    for name in ("accuracy", "calibration"):
        if name in card:
            show(measured_tables(card[name], name))
        else:
            say([f"{name}: not measured; `iaemu validate {weights} --write-card`"])


def seal(weights: Annotated[str, typer.Argument(help="Name or folder of weights.")]) -> None:
    """Give the card of an older version the hash by which later changes of it are noticed.

    The weights stay as they are. See first, with `iaemu info`, that their domain is the right one.

    Example: iaemu seal my_weights
    """
    from iaemu_likelihood.emulator.models import Emulator, card
    from iaemu_likelihood.emulator.models.weights import weights_folder

    Emulator.load(weights)  # what is damaged is not sealed
    folder = weights_folder(weights)
    say([f"{folder}: {card.seal(folder)}"])


def predict(
    parameters: Annotated[
        list[float],
        typer.Argument(
            metavar="MU_CEN MU_SAT LOGMMIN SIGMA_LOGM LOGM0 LOGM1 ALPHA",
            help="Of the bundled weights; others may have another occupation.",
        ),
    ],
    weights: Annotated[str, typer.Option(help="Name or folder of weights.")] = "templates",
    extrapolate: Annotated[bool, typer.Option(help="Also outside the domain.")] = False,
) -> None:
    """Print xi, omega and eta as an ECSV table. Masses are log10 of Msun/h, r is in Mpc/h.

    With one standard deviation of one galaxy catalogue (aleatoric), and of what training left
    uncertain (epistemic).

    Example: iaemu predict 0.8 0.3 12.54 0.26 12.68 13.48 1.0
    """
    import sys

    from astropy.table import Table

    from iaemu_likelihood.emulator.models import Emulator

    emulator = Emulator.load(weights)
    p = emulator.predict(parameters, extrapolate=extrapolate)
    lengths = {"r_min": emulator.r_edges[:-1], "r_max": emulator.r_edges[1:], "r": p.r}
    sigmas = {
        f"{name}_{kind}": values
        for kind, sigma in (("aleatoric", p.aleatoric), ("epistemic", p.epistemic))
        for name, values in (sigma or {}).items()
    }
    units = dict.fromkeys(lengths, "Mpc/h") | {
        s.name: s.unit for s in emulator.statistics if s.unit
    }
    table = Table({**lengths, **p, **sigmas}, meta={"units": units})
    table.write(sys.stdout, format="ascii.ecsv")


def train(
    config: ConfigArgument = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("weights"),
    scheduler: SchedulerOption = None,
    devices: DevicesOption = 1,
) -> None:
    """Train an emulator from a halo catalogue: tabulation, data sets, networks, card.

    A run that was stopped goes on where it left off when started again with the same folder. The
    learning curves are in its subfolders: metrics.csv, and events for TensorBoard.

    Example: iaemu train --out my_weights && iaemu validate my_weights
    """
    from iaemu_likelihood.emulator.training.configuration import (
        DEFAULT_CONFIG,
        read_training_config,
    )
    from iaemu_likelihood.emulator.training.run import train as run_training

    settings = read_training_config(config or DEFAULT_CONFIG)
    typer.echo(str(run_training(settings, out, scheduler=scheduler, devices=devices)))


def build(
    halos: Annotated[
        str, typer.Option(help="bundled, bolplanck (halotools' cache), or a file of halos.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for everything.")],
    config: ConfigArgument = None,
    test_points: Annotated[int, typer.Option(help="HOD points that test the expectation.")] = 5000,
    test_drawn: Annotated[
        int, typer.Option(help="The first of these, at which catalogues are drawn.")
    ] = 200,
    test_catalogues: Annotated[int, typer.Option(help="Catalogues at each of them.")] = 20,
    scheduler: SchedulerOption = None,
    devices: DevicesOption = 1,
) -> None:
    """From your own halo catalogue to validated weights: tabulate, data sets, train, validate.

    A run that was stopped goes on where it left off when started again with the same folder, which
    then holds the weights (give its path wherever weights are asked for), their card, and
    report.html.

    Example: iaemu build --halos bolplanck --out bolplanck
    """
    from dataclasses import replace

    from iaemu_likelihood.emulator.build import build as run_build
    from iaemu_likelihood.emulator.training.configuration import (
        DEFAULT_CONFIG,
        read_training_config,
    )

    settings = replace(read_training_config(config or DEFAULT_CONFIG), halos=halos)
    folder = run_build(
        settings, out, n_points=test_points, n_drawn=test_drawn, n_catalogues=test_catalogues,
        scheduler=scheduler, devices=devices,
    )  # fmt: skip
    typer.echo(f"{folder}\n{folder / 'report.html'}")
