"""Commands for galaxy and halo catalogues: measure, tabulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iaemu_likelihood.cli.options import HalosOption, PlotOption
from iaemu_likelihood.cli.tables import draw_result, say, show


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
    projected: Annotated[
        bool,
        typer.Option("--projected", help="Measure w_gg, w_g+ and w_++ in bins of r_p instead."),
    ] = False,
    quadrupole: Annotated[
        bool,
        typer.Option(
            "--quadrupole", help="Measure the quadrupole of positions and shapes instead."
        ),
    ] = False,
    pi_max: Annotated[
        float | None,
        typer.Option(help="Largest separation along the line of sight, to either side, Mpc/h."),
    ] = None,
    line_of_sight: Annotated[
        str | None,
        typer.Option(help="x, y, z, or all: the mean over three.", show_default="z"),
    ] = None,
    axis_ratio: Annotated[
        str | None,
        typer.Option(help="Shorter over longer axis of each galaxy: a column, or one number."),
    ] = None,
    e1: Annotated[
        str | None,
        typer.Option(
            help="Columns of shapes on the sky instead of axes, with respect to the first of its "
            "coordinates: x, y for z; y, z for x; z, x for y."
        ),
    ] = None,
    e2: str | None = None,
    ellipticity: Annotated[
        str | None,
        typer.Option(
            help="Definition of ellipticities: distortion, (a^2 - b^2) / (a^2 + b^2), or epsilon, "
            "(a - b) / (a + b). It must be said of --e1 and --e2.",
            show_default="distortion",
        ),
    ] = None,
    responsivity: Annotated[
        bool,
        typer.Option("--responsivity", help="Divide ellipticities by 2 R, R = <1 - e^2 / 2>."),
    ] = False,
    r_min: Annotated[float, typer.Option(help="Lowest bin edge, of r or r_p, Mpc/h.")] = 0.1,
    r_max: Annotated[
        float,
        typer.Option(
            help="Highest bin edge, Mpc/h.", show_default="10**1.2, where the emulator ends"
        ),
    ] = 10**1.2,
    bins: Annotated[int, typer.Option(help="Number of logarithmic bins.")] = 20,
    jackknife: Annotated[
        int | None,
        typer.Option(
            help="Jackknife regions per side: cubes, 2 to 5; with --projected 2 to 10, columns along the "
            "line of sight, or cubes for all.",
            show_default="3; columns 10, cubes for all lines of sight 5",
        ),
    ] = None,
    periodic: Annotated[
        bool, typer.Option(help="Whether to count pairs through the faces of the box.")
    ] = True,
    name: Annotated[
        str | None, typer.Option(help="Of the measurement; the file's name when left out.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    plot: PlotOption = None,
) -> None:
    """Measure xi, omega and eta of galaxies in a box, with their joint jackknife covariance.

    With --projected, measure what surveys do: w_gg, w_g+ and w_++, of shapes that the file gives or
    that its axes and axis ratios show on the sky; with --quadrupole, that of Singh et al. 2024. Positions and box are comoving. Units that the file
    declares are converted. The table can be the data_file of the likelihood IACorrelations.

    Example: iaemu measure galaxies.hdf5 --box 205 --out my_sample.ecsv

    Example: iaemu measure galaxies.hdf5 --box 205 --projected --pi-max 60 --axis-ratio 0.6
    --line-of-sight all --out my_sample_projected.ecsv
    """
    from iaemu_likelihood.data_vectors.galaxy_catalogue import GalaxyCatalogue, log_edges
    from iaemu_likelihood.emulator.reading import expanded

    catalogue, out = expanded(catalogue), expanded(out)
    if out.resolve() == catalogue.resolve():
        raise ValueError(f"{out} is the catalogue itself; give another --out.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; pass --overwrite to replace it.")
    edges = log_edges(r_min, r_max, bins)
    given = {"--line-of-sight": line_of_sight, "--axis-ratio": axis_ratio, "--e1": e1, "--e2": e2,
             "--ellipticity": ellipticity, "--responsivity": responsivity or None}  # fmt: skip
    stray = [option for option, value in given.items() if value is not None]
    if stray and not (projected or quadrupole):
        raise ValueError(f"{', '.join(stray)} can be given with --projected or --quadrupole only.")
    if projected and quadrupole:
        raise ValueError(
            "--projected is in bins of r_p, --quadrupole in bins of r: measure one first."
        )
    if projected != (pi_max is not None):
        raise ValueError("--projected and --pi-max, in Mpc/h, belong together.")
    if (projected or quadrupole) and not periodic:
        raise ValueError(
            "--projected and --quadrupole take a periodic box: how many pairs unclustered points would "
            "have near the faces of another one is not known here. Measure such a catalogue with random "
            "points, by a code for surveys."
        )
    if (e1 is None) != (e2 is None):
        raise ValueError("Shapes on the sky take both --e1 and --e2.")
    columns = position or (x, y, z), axis or (axis_x, axis_y, axis_z)
    shape = None if e1 is None or e2 is None else (e1, e2)
    galaxies = GalaxyCatalogue.read(catalogue, box, *columns, hdf5_path, _number(axis_ratio), shape)
    seen = line_of_sight or "z", ellipticity, responsivity
    cubes = 3 if jackknife is None else jackknife
    if pi_max is not None:
        measured = galaxies.measure_projected(edges, pi_max, *seen, jackknife, name)
    elif quadrupole:
        measured = galaxies.measure_quadrupole(edges, *seen, cubes, name)
    else:
        measured = galaxies.measure(edges, cubes, periodic, name)
    measured.write(out, overwrite)
    show(measured.tables())
    if galaxies.n_normalised:
        typer.echo(f"{galaxies.n_normalised} axes had another length than 1 and were normalised.")
    typer.echo(str(out))
    draw_result(measured, plot)


def _number(text: str | None) -> str | float | None:
    """A number if a text is one; otherwise the text, as the name of a column."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def tabulate(
    out: Annotated[Path, typer.Argument(help="HDF5 file to write.")],
    halos: HalosOption = "bundled",
    seed: Annotated[int, typer.Option(help="Of the draws beyond the last subhalo.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Tabulate the pair sums of a halo catalogue: the exact expectation at any parameters.

    It holds what `iaemu train`, `build`, `dataset` and `validate` need: for boxes of 225 Mpc/h or more
    also what projected statistics are made of, for which pair sums are continued on a mesh. This takes
    minutes, and several GB of memory, for the bundled catalogue.

    A card is written beside it, OUT with the ending .card.yaml, by which it is a model: give its path
    wherever weights are asked for. Of a file that is there and has no card, only the card is written.

    Example: iaemu tabulate bundled.hdf5 && iaemu predict 0.8 0.3 12.54 0.26 12.68 13.48 1.0
    --weights bundled.hdf5
    """
    from iaemu_likelihood.emulator.atomic import check_writable
    from iaemu_likelihood.emulator.expectation import Tabulation
    from iaemu_likelihood.emulator.halos import load_halos
    from iaemu_likelihood.emulator.locking import exclusive
    from iaemu_likelihood.emulator.models.exact import write_exact_card
    from iaemu_likelihood.emulator.models.weights import card_path
    from iaemu_likelihood.emulator.physics.bins import FAR_EDGES, NEAR_EDGES
    from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS, STATISTICS
    from iaemu_likelihood.emulator.reading import expanded

    out = expanded(out)
    made = out.exists() and not overwrite
    if made and card_path(out).exists():
        raise FileExistsError(f"{out} exists; pass --overwrite to replace it.")
    check_writable(out)
    with exclusive(out):
        catalogue = load_halos(halos)
        far = catalogue.box / 2 >= FAR_EDGES[-1]
        edges, statistics = (FAR_EDGES, STATISTICS) if far else (NEAR_EDGES, DEFAULT_STATISTICS)
        if not made:
            Tabulation.build(catalogue, edges, seed, statistics=statistics).write(out, overwrite)
        try:
            card = write_exact_card(out, catalogue)
        except ValueError as error:
            raise ValueError(f"{error} Pass --overwrite to replace it.") from error
    say([str(out), str(card)])
