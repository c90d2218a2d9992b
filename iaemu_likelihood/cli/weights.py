"""Commands for weights: info, seal, predict, train, build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iaemu_likelihood.cli.options import (
    ConfigArgument,
    DevicesOption,
    OccupationOption,
    PlotOption,
    SchedulerOption,
    writable,
)
from iaemu_likelihood.cli.tables import draw_result, say, show


def info(
    weights: Annotated[
        str | None,
        typer.Argument(help="Name or folder of weights, or a tabulation; a list when left out."),
    ] = None,
    occupation: OccupationOption = None,
) -> None:
    """List weights, bundled and your own ($IAEMU_WEIGHTS); of one, show domain and accuracy."""
    from iaemu_likelihood.emulator.models import Emulator
    from iaemu_likelihood.emulator.models.card import (
        domain_table,
        measured_tables,
        verdict,
        weights_table,
    )
    from iaemu_likelihood.emulator.models.weights import EXACT, weights_folder

    if weights is None:
        show([weights_table()])
        return
    emulator = Emulator.load(weights, occupation)
    card = emulator.card
    say([
        f"{weights}: {weights_folder(weights)}",
        card["description"],
        f"halo catalogue {card['halos']['name']} ({card['halos']['sha256'][:12]}...), "
        f"z = {' to '.join(f'{z:g}' for z in dict.fromkeys(emulator.redshifts))}; r = {emulator.r_edges[0]:g}-{emulator.r_edges[-1]:.2f} Mpc/h; "
        f"made by iaemu_likelihood {card['version']}",
    ])  # fmt: skip
    show([domain_table(card)])
    for name in ("accuracy", "calibration"):
        if name in card:
            show(measured_tables(card[name], name))
        elif card["kind"] != EXACT:  # which has learned nothing
            say([f"{name}: not measured; `iaemu validate {weights} --write-card`"])
    others = {at: x.get("accuracy", {}) for at, x in card.get("other_redshifts", {}).items()}
    for at, accuracy in others.items():
        show(measured_tables(accuracy, f"{at}, accuracy")[:1])
    say(line for line in [verdict(card.get("accuracy", {}))] if line)
    say(f"{at}: {verdict(accuracy)}" for at, accuracy in others.items())
    if others:
        say([f"All numbers at other redshifts: {weights_folder(weights) / 'CARD.md'}"])


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
    weights: Annotated[
        str, typer.Option(help="Name or folder of weights, or a tabulation.")
    ] = "templates",
    occupation: OccupationOption = None,
    redshift: Annotated[
        float | None,
        typer.Option(help="One that the weights know (iaemu info); their own when left out."),
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Also outside the domain.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write all digits and both sigmas to this file, ECSV.", callback=writable
        ),
    ] = None,
    plot: PlotOption = None,
) -> None:
    """Predict xi, omega and eta. Masses are log10 of Msun/h, r is in Mpc/h.

    Shown with one standard deviation of one galaxy catalogue (aleatoric); the file of --out has that
    of what training left uncertain (epistemic), too.

    Example: iaemu predict 0.8 0.3 12.54 0.26 12.68 13.48 1.0 --out prediction.ecsv
    """
    from astropy.table import Table as AstropyTable

    from iaemu_likelihood.emulator.atomic import atomic_write
    from iaemu_likelihood.emulator.models import Emulator
    from iaemu_likelihood.emulator.tables import Table, plus_minus

    emulator = Emulator.load(weights, occupation)
    names = emulator.space.names
    if len(parameters) != len(names):
        raise ValueError(f"Give {len(names)} numbers: {', '.join(names)}; got {len(parameters)}.")
    p = emulator.predict(parameters, extrapolate=extrapolate, redshift=redshift)
    sigma = p.aleatoric
    cells = [
        [f"{x:.4g}" for x in values] if sigma is None else map(plus_minus, values, sigma[name])
        for name, values in p.items()
    ]
    rows = [[f"{r:.4g}", *row] for r, *row in zip(p.r, *cells, strict=True)]
    title = "Mean" if sigma is None else "Mean ± sigma of one catalogue"
    show([Table(title, ["r [Mpc/h]", *p], rows)])
    draw_result(p, plot)
    if out is None:
        return
    lengths = {"r_min": emulator.r_edges[:-1], "r_max": emulator.r_edges[1:], "r": p.r}
    units = dict.fromkeys(lengths, "Mpc/h") | {
        s.name: s.unit for s in emulator.statistics if s.unit
    }
    (binned,) = p.binned()
    table = AstropyTable({**lengths, **binned.columns}, meta={"units": units})
    with atomic_write(out) as unfinished:
        table.write(unfinished, format="ascii.ecsv")
    say([str(out)])


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
        list[str],
        typer.Option(
            help="Halo catalogues of one simulation: bundled, bundled@0.3, or files, one after the other; "
            "see iaemu halos --help."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for everything.")],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG.yaml] [MORE_HALOS]...",
            help="YAML file, that of the bundled weights when left out; and halo catalogues after the "
            "first of --halos.",
            show_default=False,
        ),
    ] = None,
    test_points: Annotated[int, typer.Option(help="HOD points that test the expectation.")] = 5000,
    test_drawn: Annotated[
        int, typer.Option(help="The first of these, at which catalogues are drawn.")
    ] = 200,
    test_catalogues: Annotated[int, typer.Option(help="Catalogues at each of them.")] = 20,
    tabulation: Annotated[
        list[Path] | None,
        typer.Option(
            help="Of the halo catalogue, if it is there already; of several, give several."
        ),
    ] = None,
    scheduler: SchedulerOption = None,
    devices: DevicesOption = 1,
) -> None:
    """From your own halo catalogue to validated weights: tabulate, data sets, train, validate.

    A run that was stopped goes on where it left off when started again with the same folder, which
    then holds the weights (give its path wherever weights are asked for), their card, and
    report.html.

    Catalogues of several redshifts of one simulation make weights that know all redshifts between.
    Several boxes of one redshift are averaged.

    The configuration's own halo catalogues, and its note about them, give way to those of --halos. Where
    a box would hold fewer than its least_galaxies, the domain ends at smaller masses; boxes below 225
    Mpc/h need a configuration with projected: null.

    A file of halos is a table that astropy reads (HDF5, FITS, CSV, ECSV), of hosts and subhalos, with
    halotools' columns: halo_id, halo_upid (-1 for a host), halo_hostid; halo_x, halo_y, halo_z and
    halo_rvir (comoving Mpc/h); halo_vx, halo_vy, halo_vz (km/s); halo_mvir, halo_mpeak and
    halo_mvir_host_halo (Msun/h); and the major axis halo_axisA_x, halo_axisA_y, halo_axisA_z. Its
    metadata hold Lbox (Mpc/h), redshift and particle_mass (Msun/h). Other units that the file
    declares are converted.

    Example: iaemu build --halos bolplanck --out bolplanck

    Example: iaemu build --halos z0.hdf5 z03.hdf5 z06.hdf5 --out my_weights
    """
    from iaemu_likelihood.emulator.build import build as run_build
    from iaemu_likelihood.emulator.models.card import verdict
    from iaemu_likelihood.emulator.models.weights import read_card
    from iaemu_likelihood.emulator.training.configuration import (
        DEFAULT_CONFIG,
        of_halos,
        read_training_config,
    )

    configs = [text for text in more or () if Path(text).suffix in (".yaml", ".yml")]
    if len(configs) > 1:
        raise ValueError(f"Give one configuration; got {', '.join(configs)}.")
    catalogues = halos + [text for text in more or () if text not in configs]
    settings = of_halos(read_training_config(configs[0] if configs else DEFAULT_CONFIG), catalogues)
    folder = run_build(
        settings, out, n_points=test_points, n_drawn=test_drawn, n_catalogues=test_catalogues,
        tabulation=tabulation or (), scheduler=scheduler, devices=devices,
    )  # fmt: skip
    card = read_card(folder)
    say([verdict(card["accuracy"])])
    say(f"{at}: {verdict(x['accuracy'])}" for at, x in card.get("other_redshifts", {}).items())
    say([str(folder), *(str(path) for path in sorted(folder.glob("report*.html")))])
