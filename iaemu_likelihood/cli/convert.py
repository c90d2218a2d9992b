"""The command convert: measurements of other codes to files of this package, or to SACC."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iaemu_likelihood.cli.options import PlotOption
from iaemu_likelihood.cli.tables import draw_result, say, show


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="File of MeasureIA, TreeCorr, SACC, 2pt FITS (as in DES) or ECSV."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .ecsv or .sacc.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="ecsv, sacc, measureia, 2pt or treecorr.",
            show_default="by the content",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            help="Unit of the file's lengths: Mpc/h, or Mpc with --hubble. All lengths below are in it."
        ),
    ] = None,
    hubble: Annotated[
        float | None, typer.Option(help="h, for a unit without it: H0 / (100 km/s/Mpc).")
    ] = None,
    edges: Annotated[
        str | None,
        typer.Option(
            help="Edges of the bins: 0.1:20, the ends of logarithmic ones; 0.1,0.5,2, all of them; or log "
            "or linear, where the format says how its separations follow from such bins (MeasureIA)."
        ),
    ] = None,
    pi_max: Annotated[
        float | None,
        typer.Option(help="Largest separation along the line of sight, to either side."),
    ] = None,
    ellipticity: Annotated[
        str | None,
        typer.Option(help="distortion, (a^2 - b^2) / (a^2 + b^2), or epsilon, (a - b) / (a + b)."),
    ] = None,
    responsivity: Annotated[
        str | None,
        typer.Option(
            help="R, if ellipticities were divided by 2 R; none, if not. MeasureIA divides unless told "
            "not to, by R = <1 - e^2 / 2>."
        ),
    ] = None,
    sign: Annotated[
        str | None,
        typer.Option(help="radial, galaxies that point at each other are positive; or tangential."),
    ] = None,
    redshift_space: Annotated[
        bool | None,
        typer.Option(
            "--redshift-space/--real-space",
            help="Whether distances have peculiar velocities in them.",
        ),
    ] = None,
    box: Annotated[
        float | None, typer.Option(help="Side of the periodic box that the galaxies fill.")
    ] = None,
    redshift: Annotated[float | None, typer.Option(help="Of the galaxies.")] = None,
    axis_ratio: Annotated[
        float | None,
        typer.Option(
            help="Shorter over longer axis of the galaxies, which sets priors of their response."
        ),
    ] = None,
    n_jackknife: Annotated[
        int | None, typer.Option(help="Number of regions, or mocks, behind the covariance.")
    ] = None,
    analytic: Annotated[
        bool, typer.Option("--analytic", help="The covariance is analytic, not from realisations.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Of the measurement; the file's name when left out.")
    ] = None,
    inside: Annotated[
        str | None,
        typer.Option(
            help="Which measurement of several: NAME (MeasureIA), BIN=0 (2pt), TRACER,TRACER (SACC)."
        ),
    ] = None,
    statistics: Annotated[
        str | None,
        typer.Option(
            help="With commas, of w_gg, w_gplus, w_plusplus, xi_gplus_2, xi, ...",
            show_default="all that are projected",
        ),
    ] = None,
    nn: Annotated[
        Path | None,
        typer.Option(
            "--nn", help="TreeCorr's counts with randoms that belong to the shears (NG) of IN."
        ),
    ] = None,
    covariance: Annotated[
        Path | None,
        typer.Option(
            help="Text file with TreeCorr's joint covariance, of NN then NG (estimate_multi_cov)."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    plot: PlotOption = None,
) -> None:
    """Convert a measurement of another code to this package's ECSV, or to SACC.

    What the file says is taken from it; what it does not say must be given, and the error lists what is
    missing. The result is the data_file of the likelihood IACorrelations.

    Example: iaemu convert measured.hdf5 my_sample.ecsv --unit Mpc/h --edges log --ellipticity distortion
    --responsivity 0.95

    Example: iaemu convert ng.fits my_sample.ecsv --nn nn.fits --unit Mpc/h --ellipticity epsilon
    --responsivity none

    Example: iaemu convert my_sample.ecsv my_sample.sacc
    """
    from iaemu_likelihood.data_vectors.readers import Given, read_file, write_file
    from iaemu_likelihood.data_vectors.readers.given import NO_RESPONSIVITY
    from iaemu_likelihood.emulator.reading import expanded

    out = expanded(out)
    if out.suffix not in (".ecsv", ".sacc"):
        raise ValueError(f"{out}: the ending says the format to write; expected .ecsv or .sacc.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; pass --overwrite to replace it.")
    if out.resolve() == Path(expanded(source)).resolve():
        raise ValueError(f"{out} is the file to convert itself; give another name.")
    divided: float | str | None = responsivity
    if responsivity not in (None, NO_RESPONSIVITY):
        try:
            divided = float(responsivity)
        except ValueError:
            raise ValueError(
                f"--responsivity is {responsivity!r}; expected a number, or {NO_RESPONSIVITY}."
            ) from None
    given = Given(
        edges=edges, unit=unit, h=hubble, pi_max=pi_max, ellipticity=ellipticity, sign=sign,
        responsivity=divided, redshift_space=redshift_space, box=box, redshift=redshift,
        axis_ratio=axis_ratio, n_jackknife=n_jackknife, analytic=analytic or None, name=name, inside=inside,
        statistics=tuple(filter(None, (statistics or "").split(","))),
        counts=None if nn is None else expanded(nn),
        covariance=None if covariance is None else expanded(covariance),
    )  # fmt: skip
    measured, notes = read_file(source, given, form)
    write_file(measured, out, overwrite)
    show(measured.tables())
    say(notes)
    say([str(out)])
    draw_result(measured, plot)
