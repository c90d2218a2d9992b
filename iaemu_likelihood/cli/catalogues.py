"""Commands for galaxy and halo catalogues: measure, tabulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iaemu_likelihood.cli.options import HalosOption
from iaemu_likelihood.cli.tables import show


def measure(
    catalogue: Annotated[Path, typer.Argument(help="Galaxies: .hdf5, .fits, .csv or .ecsv.")],
    out: Annotated[Path, typer.Option(help="Measurement to write, ECSV.")],
    box: Annotated[
        float | None,
        typer.Option(help="Side of the box, Mpc/h; Lbox of the file's metadata when left out."),
    ] = None,
    x: Annotated[str, typer.Option(help="Columns of the positions, Mpc/h.")] = "x",
    y: str = "y",
    z: str = "z",
    position: Annotated[
        str | None, typer.Option(help="One column of shape (n, 3) instead of --x, --y and --z.")
    ] = None,
    axis_x: Annotated[
        str, typer.Option(help="Columns of the major axes, of any length.")
    ] = "galaxy_axisA_x",
    axis_y: str = "galaxy_axisA_y",
    axis_z: str = "galaxy_axisA_z",
    axis: Annotated[
        str | None,
        typer.Option(help="One column of shape (n, 3) instead of --axis-x, --axis-y and --axis-z."),
    ] = None,
    hdf5_path: Annotated[
        str | None, typer.Option(help="Table, or group of columns, inside an HDF5 file.")
    ] = None,
    r_min: Annotated[float, typer.Option(help="Lowest bin edge, Mpc/h.")] = 0.1,
    r_max: Annotated[
        float,
        typer.Option(
            help="Highest bin edge, Mpc/h.", show_default="10**1.2, where the emulator ends"
        ),
    ] = 10**1.2,
    bins: Annotated[int, typer.Option(help="Number of logarithmic bins.")] = 20,
    jackknife: Annotated[int, typer.Option(help="Jackknife regions per side, 2 to 5.")] = 3,
    periodic: Annotated[
        bool, typer.Option(help="Whether to count pairs through the faces of the box.")
    ] = True,
    name: Annotated[
        str | None, typer.Option(help="Of the measurement; the file's name when left out.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Measure xi, omega and eta of galaxies in a box, with their joint jackknife covariance.

    Positions and box are comoving. Units that the file declares are converted. The table can be the
    data_file of the likelihood IACorrelations.

    Example: iaemu measure galaxies.hdf5 --box 205 --out my_sample.ecsv
    """
    from iaemu_likelihood.data_vectors.galaxy_catalogue import GalaxyCatalogue, log_edges
    from iaemu_likelihood.emulator.reading import expanded

    catalogue, out = expanded(catalogue), expanded(out)
    if out.resolve() == catalogue.resolve():
        raise ValueError(f"{out} is the catalogue itself; give another --out.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; pass --overwrite to replace it.")
    edges = log_edges(r_min, r_max, bins)
    columns = position or (x, y, z), axis or (axis_x, axis_y, axis_z)
    galaxies = GalaxyCatalogue.read(catalogue, box, *columns, hdf5_path)
    measured = galaxies.measure(edges, jackknife, periodic, name)
    measured.write(out, overwrite)
    show(measured.tables())
    if galaxies.n_normalised:
        typer.echo(f"{galaxies.n_normalised} axes had another length than 1 and were normalised.")
    typer.echo(str(out))


def tabulate(
    out: Annotated[Path, typer.Argument(help="HDF5 file to write.")],
    halos: HalosOption = "bundled",
    seed: Annotated[int, typer.Option(help="Of the draws beyond the last subhalo.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Tabulate the pair sums of a halo catalogue: the exact expectation at any parameters.

    About a minute and a half on two cores for the bundled catalogue.
    """
    from iaemu_likelihood.emulator.atomic import check_writable
    from iaemu_likelihood.emulator.expectation import Tabulation
    from iaemu_likelihood.emulator.halos import load_halos
    from iaemu_likelihood.emulator.locking import exclusive
    from iaemu_likelihood.emulator.reading import expanded

    out = expanded(out)
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; pass --overwrite to replace it.")
    check_writable(out)
    with exclusive(out):
        Tabulation.build(load_halos(halos), seed=seed).write(out, overwrite)
    typer.echo(str(out))
