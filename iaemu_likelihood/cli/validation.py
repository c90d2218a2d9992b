"""The commands iaemu validate: agreement with catalogues, and with what weights have not seen."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from iaemu_likelihood.cli.options import (
    HalosOption,
    JsonOption,
    TabulationOption,
    drawable,
    writable,
)
from iaemu_likelihood.cli.tables import draw, say, show, write_numbers


class _ValidateGroup(typer.core.TyperGroup):
    """What is no command of this group is the name, or the folder, of weights."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return WEIGHTS_COMMAND, self.commands[WEIGHTS_COMMAND], args


# As it stands in the list of commands, where it explains what a name does.
WEIGHTS_COMMAND = "NAME"

validate = typer.Typer(
    cls=_ValidateGroup,
    help="Measure agreement and print it; --json keeps every number. **iaemu validate NAME**, "
    "with the name or the folder of weights, validates an emulator (options: iaemu "
    "validate NAME --help); the other commands compare the forward model with catalogues drawn.",
    no_args_is_help=True,
)


def _folder(path: Path | None) -> Path | None:
    """See that a folder takes files, before the work whose results it is to keep."""
    from iaemu_likelihood.emulator.atomic import writable_folder

    return None if path is None else writable_folder(path)


FolderOption = Annotated[
    Path | None,
    typer.Option(help="Keep checkpoints here; a stopped run goes on from them.", callback=_folder),
]


@validate.command("expectation")
def validate_expectation(
    halos: HalosOption = "bundled",
    tabulation: TabulationOption = Path("tabulation.hdf5"),
    occupation: Annotated[
        str, typer.Option(help="zheng07, at nine points; desi_lrg or desi_elg, at two.")
    ] = "zheng07",
    alignment: Annotated[
        str,
        typer.Option(help="watson; or watson_mass, whose strengths depend on host mass, at two."),
    ] = "watson",
    samples: Annotated[
        str | None,
        typer.Option(
            help="Shapes of one sample about positions of another, at two points: subset, of one "
            "population, or separate populations."
        ),
    ] = None,
    n: Annotated[int, typer.Option(min=1, help="halotools-IA realisations per point.")] = 60,
    seed: Annotated[int, typer.Option(min=0, max=2**31)] = 1000,
    checkpoints: FolderOption = None,
    json_file: JsonOption = None,
) -> None:
    """The tabulated expectation against the mean of halotools-IA realisations at a few points."""
    from iaemu_likelihood.emulator.expectation import Tabulation
    from iaemu_likelihood.emulator.halos import load_halos
    from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
    from iaemu_likelihood.emulator.validation.expectation import expectation_against_halotools
    from iaemu_likelihood.emulator.validation.points import (
        POINTS_OF,
        POINTS_OF_ALIGNMENT,
        TWO_SAMPLES,
    )
    from iaemu_likelihood.emulator.validation.two_samples import (
        TwoSamples,
        samples_against_halotools,
    )

    usual = DEFAULT_SPACE.occupation.name, DEFAULT_SPACE.alignment.name
    for option, value, known in (
        ("occupation", occupation, POINTS_OF),
        ("alignment", alignment, POINTS_OF_ALIGNMENT),
        ("samples", samples, {None: None, **TWO_SAMPLES}),
    ):
        if value not in known:
            raise typer.BadParameter(
                f"{value!r} has no points to check; {', '.join(filter(None, known))} have.",
                param_hint=f"'--{option}'",
            )
    chosen = (occupation != usual[0]) + (alignment != usual[1]) + (samples is not None)
    if chosen > 1:
        raise typer.BadParameter(
            "--occupation, --alignment and --samples have points of their own: give one of them."
        )
    catalogue = load_halos(halos)
    table = Tabulation.cached(tabulation, catalogue)
    if samples is not None:
        cases = [TwoSamples.of(content) for content in TWO_SAMPLES[samples]]
        result = samples_against_halotools(catalogue, table, cases, n, seed, checkpoints)
    else:
        points = POINTS_OF[occupation]
        if alignment != usual[1]:
            points = POINTS_OF_ALIGNMENT[alignment]
        space = ParameterSpace.named(occupation, alignment)
        result = expectation_against_halotools(
            catalogue, table, n, seed, points, checkpoints, space=space
        )
    show(result.tables())
    write_numbers(json_file, result.numbers)


@validate.command("tabulation")
def validate_tabulation(
    halos: HalosOption = "bundled",
    tabulation: TabulationOption = Path("tabulation.hdf5"),
    n: Annotated[int, typer.Option(min=1, help="Points that fill the default domain.")] = 24,
    seed: Annotated[int, typer.Option(min=0, max=2**31)] = 0,
    json_file: JsonOption = None,
) -> None:
    """What the tabulation leaves out: against exact sums at a few occupations.

    In units of the scatter of one catalogue; takes as long as tabulating.
    """
    from iaemu_likelihood.emulator.expectation import Tabulation
    from iaemu_likelihood.emulator.halos import load_halos
    from iaemu_likelihood.emulator.validation.tabulation import tabulation_against_exact

    catalogue = load_halos(halos)
    result = tabulation_against_exact(catalogue, Tabulation.cached(tabulation, catalogue), n, seed)
    show(result.tables())
    write_numbers(json_file, result.numbers)


@validate.command("snapshots")
def validate_snapshots(
    halos: Annotated[
        list[str],
        typer.Argument(
            help="Halo catalogues of one simulation at three redshifts or more: bundled, bundled@0.3, files."
        ),
    ],
    left_out: Annotated[float, typer.Option(help="Redshift that the others are to predict.")],
    tabulation: Annotated[
        Path,
        typer.Option(
            help="TABLE.hdf5; that of the catalogue NAME is TABLE.NAME.hdf5, built if it is not there."
        ),
    ] = Path("tabulation.hdf5"),
    n: Annotated[int, typer.Option(min=2, help="Samples of galaxies.")] = 28,
    seed: Annotated[int, typer.Option(min=0, max=2**31)] = 0,
    json_file: JsonOption = None,
) -> None:
    """Expectations between snapshots: one redshift is left out and predicted from the others.

    Example: iaemu validate snapshots bundled bundled@0.3 bundled@0.625 bundled@1 --left-out 0.625
    """
    from iaemu_likelihood.emulator.datasets import sources
    from iaemu_likelihood.emulator.expectation import Tabulation
    from iaemu_likelihood.emulator.halos import load_halos
    from iaemu_likelihood.emulator.physics.redshift import SAME_REDSHIFT
    from iaemu_likelihood.emulator.validation.snapshots import Snapshot
    from iaemu_likelihood.emulator.validation.snapshots import left_out as predict_left_out

    snapshots = sources.snapshots(tuple(halos))
    files, own = sources.tabulation_files(tuple(halos), tabulation), None
    others = []
    for each in snapshots.catalogues:
        catalogue = load_halos(each.source)
        table = Tabulation.cached(files[each.source], catalogue)
        if abs(each.redshift - left_out) <= SAME_REDSHIFT:
            own = catalogue, table
        else:
            others.append(Snapshot(each.redshift, each.abundance, table))
    if own is None:
        known = ", ".join(f"{each.redshift:g}" for each in snapshots.catalogues)
        raise typer.BadParameter(
            f"{left_out:g} is none of the catalogues' redshifts: {known}.",
            param_hint="'--left-out'",
        )
    result = predict_left_out(own[0], others, own[1], n, seed)
    show(result.tables())
    write_numbers(json_file, result.numbers)


@validate.command("projected")
def validate_projected(
    halos: HalosOption = "bundled",
    tabulation: TabulationOption = Path("tabulation_projected.hdf5"),
    n: Annotated[int, typer.Option(min=2, help="halotools-IA populations per point.")] = 8,
    seed: Annotated[int, typer.Option(min=0, max=2**31)] = 2000,
    checkpoints: FolderOption = None,
    json_file: JsonOption = None,
) -> None:
    """Projected statistics from the tabulation against halotools-IA's galaxies as spheroids.

    w_gg, w_g+ and w_++ at six occupations and two alignments, with two axis ratios, averaged over all
    directions.
    """
    from iaemu_likelihood.emulator.expectation import Tabulation
    from iaemu_likelihood.emulator.halos import load_halos
    from iaemu_likelihood.emulator.physics.bins import FAR_EDGES
    from iaemu_likelihood.emulator.physics.statistics import STATISTICS
    from iaemu_likelihood.emulator.validation.projected import projected_against_halotools

    catalogue = load_halos(halos)
    table = Tabulation.cached(tabulation, catalogue, FAR_EDGES, statistics=STATISTICS)
    result = projected_against_halotools(catalogue, table, n, seed, folder=checkpoints)
    show(result.tables())
    write_numbers(json_file, result.numbers)


@validate.command("noise")
def validate_noise(
    halos: HalosOption = "bundled",
    n: Annotated[
        int, typer.Option(min=2, help="Catalogues per HOD point, axes drawn at two mu.")
    ] = 200,
    n_model: Annotated[
        int, typer.Option(min=2, help="Other catalogues, for the noise model.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, max=2**31)] = 1,
    halotools: Annotated[
        int,
        typer.Option(
            min=0, help="Compare with this many halotools-IA catalogues at one point, too."
        ),
    ] = 0,
    checkpoints: FolderOption = None,
    json_file: JsonOption = None,
) -> None:
    """The noise model against the scatter of realisations at six HOD points and two mu."""
    from iaemu_likelihood.emulator.halos import load_halos
    from iaemu_likelihood.emulator.validation.noise import noise_against_realisations

    result = noise_against_realisations(
        load_halos(halos), n, n_model, seed, folder=checkpoints, n_halotools=halotools
    )
    show(result.tables())
    write_numbers(json_file, result.numbers)


@validate.command(WEIGHTS_COMMAND)
def validate_weights(
    weights: Annotated[str, typer.Argument(help="Name or folder of weights.")],
    json_file: JsonOption = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a page with tables and figures, .html.", callback=writable),
    ] = None,
    expectation: Annotated[
        Path | None,
        typer.Option(
            help="Data set of test points without noise, at whose redshift the weights are tested; "
            "bundled when left out."
        ),
    ] = None,
    realisations: Annotated[
        Path | None,
        typer.Option(help="Data set of catalogues at the first of them; bundled when left out."),
    ] = None,
    tabulation: Annotated[
        Path | None, typer.Option(help="Tabulation of the halo catalogue, for its time.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the alignment strengths.")] = 0,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the headline numbers into the weights' card.")
    ] = False,
    details: Annotated[
        bool, typer.Option("--details", help="Show all measures, and the paper's numbers.")
    ] = False,
) -> None:
    """Weights against expectations and catalogues that they have not seen.

    Accuracy (with the paper's measures), the scatter of single catalogues, calibration, worst
    points, and two other ways to predict.

    Example: iaemu validate templates --report report.html
    """
    from iaemu_likelihood.emulator.datasets import DataSet
    from iaemu_likelihood.emulator.models import Emulator
    from iaemu_likelihood.emulator.models.weights import CARD_FILE, weights_folder
    from iaemu_likelihood.emulator.validation.headline import add_validation
    from iaemu_likelihood.emulator.validation.report import check_page, write_report
    from iaemu_likelihood.emulator.validation.weights import validate_emulator

    if report is not None:
        check_page(report)
    folder = weights_folder(weights)
    if folder.is_file():
        raise ValueError(
            f"{weights} is a tabulation, which gives the expectations that weights are validated against. "
            f"`iaemu validate expectation --tabulation {weights}` compares it with catalogues that are "
            "drawn, and `iaemu validate tabulation` with exact sums; both take --halos of its catalogue."
        )
    emulator = Emulator.load(weights)
    if write_card:
        writable(folder / CARD_FILE)
    points = DataSet.read(expectation) if expectation else DataSet.held_out("expectation")
    draws = DataSet.read(realisations) if realisations else DataSet.held_out("realisations")
    emulator = emulator.at_redshift(float(points.attributes["redshift"]))
    table = None
    if tabulation is not None:
        from iaemu_likelihood.emulator.expectation import Tabulation

        table = Tabulation.read(tabulation, points.attributes["halos_sha256"])
    result = validate_emulator(emulator, points, draws, seed, tabulation=table)
    show(result.tables(weights) if details else [result.summary(weights)])
    say(result.sentences())
    write_numbers(json_file, result.numbers)
    if write_card:
        command = f"iaemu validate {folder.name}" + (f" --seed {seed}" if seed else "")
        for option, file in (("expectation", expectation), ("realisations", realisations)):
            command += f" --{option} {file.name}" if file else ""
        add_validation(folder, result.numbers, command, emulator.redshift)
        typer.echo(str(folder / "CARD.md"))
    if report is not None:
        draw(partial(write_report, result, report, weights))


@validate.command("binning")
def validate_binning(
    tabulation: TabulationOption = Path("tabulation.hdf5"),
    direct: Annotated[
        Path, typer.Option(help="Tabulation in TNG300's bins; built if there is no such file.")
    ] = Path("tabulation_tng300.hdf5"),
    write_expectation: Annotated[
        Path | None,
        typer.Option(
            help="Write the templates at the samples' occupation, as `iaemu table1` reads.",
            callback=writable,
        ),
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Averaging the emulator's fine bins over TNG300's against tabulating in TNG300's bins."""
    from iaemu_likelihood.data_vectors.measurement import TNG300_SAMPLES, Measurement
    from iaemu_likelihood.emulator.expectation import Tabulation
    from iaemu_likelihood.emulator.halos import load_halos
    from iaemu_likelihood.emulator.physics.bins import NEAR_EDGES, R_EDGES
    from iaemu_likelihood.emulator.physics.statistics import DEFAULT_STATISTICS
    from iaemu_likelihood.tng300.table1 import binning_errors
    from iaemu_likelihood.tng300.table1 import write_expectation as write_table

    halos = load_halos("bundled")
    sample = Measurement.read(f"tng300.{TNG300_SAMPLES[0]}")
    edges = sample.cut(R_EDGES[0], R_EDGES[-1]).r_edges
    in_ours = Tabulation.cached(tabulation, halos, NEAR_EDGES)
    result = binning_errors(in_ours, Tabulation.cached(direct, halos, edges))
    show(result.tables())
    if write_expectation is not None:
        table = in_ours.coarser(R_EDGES, DEFAULT_STATISTICS)
        typer.echo(str(write_table(table, write_expectation)))
    write_numbers(json_file, result.numbers)


@validate.command("calibration")
def validate_calibration(
    sample: Annotated[str, typer.Option(help="sample1, sample2 or sample3.")] = "sample1",
    n: Annotated[int, typer.Option(help="Mock data vectors.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Mock i follows from the seed and i.")] = 0,
    weights: Annotated[str, typer.Option(help="Name or folder of weights.")] = "templates",
    halos: HalosOption = "bundled",
    errors: Annotated[
        list[str] | None,
        typer.Option(
            "--emulator-error",
            help="none, aleatoric, epistemic or total; repeat for several; all when left out.",
        ),
    ] = None,
    nodes: Annotated[int, typer.Option(help="Of the integration, in each dimension.")] = 64,
    scatter: Annotated[
        str,
        typer.Option(
            help="What mock data hold: data, its noise alone, or both, the scatter of a catalogue as well."
        ),
    ] = "data",
    checkpoints: FolderOption = None,
    json_file: JsonOption = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="Draw rank histograms and coverage to this file.", callback=drawable),
    ] = None,
) -> None:
    """Posteriors of mu_cen and mu_sat against the truth of mock data vectors (SBC).

    Mocks have mu from the prior, the occupation of a TNG300 sample, its bins and its noise. Their mean is
    the exact expectation, so that emulator_error: none must come out calibrated; with --scatter both they
    are measured in galaxy catalogues, whose own scatter comes on top, and aleatoric must. Calibrated
    posteriors have uniform ranks.

    Example: iaemu validate calibration --sample sample1 --figure calibration.png
    """
    from iaemu_likelihood.plots import write_figure
    from iaemu_likelihood.sampling.calibration import calibrate, calibration_plot

    folder = checkpoints and checkpoints / sample
    result = calibrate(
        sample, n, seed, weights, halos, errors or None, nodes, folder, scatter=scatter
    )
    show(result.tables())
    say(result.sentences())
    command = (
        f"iaemu validate calibration --sample {sample} --n {n} --seed {seed} --weights {weights}"
        + (f" --halos {halos}" if halos != "bundled" else "")
        + "".join(f" --emulator-error {kind}" for kind in errors or [])
        + (f" --nodes {nodes}" if nodes != 64 else "")
        + (f" --scatter {scatter}" if scatter != "data" else "")
    )
    write_numbers(json_file, {"command": command, **result.numbers})
    if figure is not None:
        draw(lambda: write_figure(calibration_plot(result), figure))


@validate.command("pulls")
def validate_pulls(
    halos: Annotated[
        str,
        typer.Option(
            help="Halo catalogue that the weights were not trained on, as for iaemu build."
        ),
    ],
    weights: Annotated[str, typer.Option(help="Name or folder of weights.")] = "templates",
    n: Annotated[
        int, typer.Option(min=1, help="Populations of each sample; each gives nine fits.")
    ] = 9,
    seed: Annotated[int, typer.Option(min=0, help="Population i follows from the seed and i.")] = 0,
    r_min: Annotated[float, typer.Option(min=0, help="Keep bins above, Mpc/h.")] = 0.0,
    n_side: Annotated[int, typer.Option(min=3, max=5, help="Jackknife regions per side.")] = 4,
    checkpoints: FolderOption = None,
    json_file: JsonOption = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the pulls to this file.", callback=drawable)
    ] = None,
) -> None:
    """Fits of omega in another box, each with a jackknife covariance of its own, against the truth.

    Galaxies are drawn at the occupation and alignment of the TNG300 samples. Octants of the box, and all
    of it, are measured; alignment strengths are fitted with and without the aleatoric term, Hartlap's
    factor and the sample variance of the box of the training.

    Example: iaemu validate pulls --halos second_box.hdf5 --checkpoints pulls/ --figure pulls.png
    """
    from iaemu_likelihood.emulator.halos import load_halos
    from iaemu_likelihood.plots import write_figure
    from iaemu_likelihood.sampling.pulls import pulls, pulls_plot

    result = pulls(load_halos(halos), weights, n, seed, r_min, n_side, folder=checkpoints)
    show(result.tables())
    say(result.sentences())
    command = (
        f"iaemu validate pulls --halos {Path(halos).name} --weights {weights} --n {n} --seed {seed}"
        + (f" --r-min {r_min:g}" if r_min else "")
        + (f" --n-side {n_side}" if n_side != 4 else "")
    )
    write_numbers(json_file, {"command": command, **result.numbers})
    if figure is not None:
        draw(lambda: write_figure(pulls_plot(result), figure))


@validate.command("box")
def validate_box(
    halos: HalosOption = "bundled",
    second: Annotated[
        str | None,
        typer.Option(help="Another box like it, with other phases: a second estimate, and a test."),
    ] = None,
    weights: Annotated[str, typer.Option(help="Weights whose domain is covered.")] = "templates",
    n_points: Annotated[int, typer.Option(help="Occupations, over the domain.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of the occupations and populations.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Write it, for the option model_error: box.", callback=writable),
    ] = None,
    checkpoints: FolderOption = None,
    json_file: JsonOption = None,
) -> None:
    """The sample variance of the box of the training, from its regions.

    Populations are drawn at occupations all over the domain, and a region of the box is left out at a
    time. The regression on the occupation is tested at the three TNG300 samples; with a second box, its
    expectations are compared as well.

    Example: iaemu validate box --second second_box.hdf5 --checkpoints box/
    """
    from iaemu_likelihood.emulator.halos import load_halos
    from iaemu_likelihood.emulator.models import Emulator
    from iaemu_likelihood.emulator.validation.box import box_variance

    command = f"iaemu validate box --n-points {n_points} --seed {seed}"
    command += f" --second {Path(second).name}" if second else ""
    catalogues = [load_halos(x) for x in (halos, second) if x is not None]
    domain = Emulator.load(weights).domain
    result = box_variance(catalogues, domain, n_points, seed, checkpoints, command=command)
    show(result.tables())
    write_numbers(json_file, result.numbers)
    if out is not None:
        typer.echo(str(result.variance.write(out)))
