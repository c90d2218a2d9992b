"""The command for halo catalogues: what a file holds, drawn, and written in the compact form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iaemu_likelihood.cli.options import PlotOption
from iaemu_likelihood.cli.tables import draw, show


def halos(
    source: Annotated[
        str,
        typer.Argument(
            help="bundled; bolplanck, bolshoi, multidark or consuelo, from halotools' cache, also as "
            "bolplanck@0.5; a Rockstar or Consistent-Trees list; a folder of CompaSO halos, such as "
            "halos/z0.500; a SOAP file; the compact HDF5; or a table with halotools' columns."
        ),
    ] = "bundled",
    out: Annotated[
        Path | None,
        typer.Option(help="Write the catalogue to this file, in the compact HDF5 form."),
    ] = None,
    box: Annotated[
        float | None, typer.Option(help="Side of the box, Mpc/h, if the file does not say it.")
    ] = None,
    redshift: Annotated[
        float | None,
        typer.Option(help="Redshift, if the file does not say it; of the cache, which."),
    ] = None,
    particle_mass: Annotated[
        float | None, typer.Option(help="Mass of a particle, Msun/h, if the file does not say it.")
    ] = None,
    cosmology: Annotated[
        str | None,
        typer.Option(
            help="In words: 'flat LCDM Om0=0.307 Ob0=0.048 h=0.678 sigma8=0.823 ns=0.96'. "
            "Concentrations, the mass function of theory and projected statistics take it."
        ),
    ] = None,
    satellites: Annotated[
        str | None,
        typer.Option(
            help="subhalos, or nfw: on NFW profiles.", show_default="subhalos, where there are some"
        ),
    ] = None,
    min_mass: Annotated[
        float, typer.Option(help="Leave out hosts that are lighter, Msun/h, with their subhalos.")
    ] = 0.0,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    plot: PlotOption = None,
) -> None:
    """Show what a halo catalogue holds, as it is understood here.

    The tables say what was converted and left out. --plot draws the mass function beside that of theory,
    the directions of the axes beside isotropy, and subhalos by the mass of their host; --out writes a
    small file that every other command takes as --halos.

    Example: iaemu halos hlist_1.00000.list --box 250 --particle-mass 1.55e8 --min-mass 3e10 --plot
    halos.png --out halos.hdf5
    """
    from iaemu_likelihood.emulator.atomic import check_writable
    from iaemu_likelihood.emulator.halos import load_halos, summarise, write_halos
    from iaemu_likelihood.emulator.reading import expanded
    from iaemu_likelihood.plots import write_figure

    if out is not None:
        out = expanded(out)
        if out.exists() and not overwrite:
            raise FileExistsError(f"{out} exists; pass --overwrite to replace it.")
        check_writable(out)
    found = load_halos(
        source, box=box, redshift=redshift, particle_mass=particle_mass, cosmology=cosmology,
        satellites=satellites, min_mass=min_mass,
    )  # fmt: skip
    show(summarise(found))
    if out is not None:
        write_halos(found, out, overwrite)
        typer.echo(str(out))
    if plot is not None:
        draw(lambda: write_figure(found.plot(), plot))
