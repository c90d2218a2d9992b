"""Commands that fit measurements, or look at fits: table1, check, covmat, nuts, cosmosis-path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iaemu_likelihood.cli.options import JsonOption, writable
from iaemu_likelihood.cli.tables import draw, say, show, write_numbers


def table1(
    samples: Annotated[
        list[str] | None, typer.Argument(help="sample1, sample2, sample3; all when left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for chains and figures.")] = Path("chains"),
    emulator: Annotated[str, typer.Option(help="Name or folder of weights.")] = "templates",
    force: Annotated[
        bool, typer.Option(help="Start again instead of resuming, also after an update.")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Fit TNG300's omega(r) by NUTS and Cobaya and print the results beside the paper's Table 1.

    Runs the bundled yaml_examples/tng300_SAMPLE.yaml: NUTS with 2,000 + 4,000 steps, MCMC to
    R-1 < 0.01; beside them the closed form, and the same fit with the tabulated expectation instead
    of a network. Draws their corner plots over each other, and the data against the posterior.
    What Cobaya says goes to a log beside its chains.

    Example: iaemu table1 sample1
    """
    from functools import partial

    from iaemu_likelihood.data_vectors.measurement import TNG300_SAMPLES
    from iaemu_likelihood.emulator.atomic import atomic_write, writable_folder
    from iaemu_likelihood.plots import prediction_figure
    from iaemu_likelihood.tng300.table1 import Table1, check_samples, fit_sample, overlay_plot

    names = list(dict.fromkeys(samples or TNG300_SAMPLES))
    check_samples(names)
    writable_folder(out)
    result = Table1([fit_sample(name, out, force, emulator) for name in names])
    tables = result.tables()
    show(tables)
    say(result.sentences())
    with atomic_write(out / "table1.md") as unfinished:
        unfinished.write_text("\n".join(table.markdown() + "\n" for table in tables))
    write_numbers(json_file, result.numbers)
    say([f"Table: {out / 'table1.md'}. Figures:"])
    for name, fit in zip(names, result.samples, strict=True):
        draw(partial(overlay_plot, name, out), partial(prediction_figure, fit.root))


def check(
    run: Annotated[Path, typer.Argument(help="Input of a Cobaya run: RUN.yaml.")],
    seed: Annotated[
        int, typer.Option(min=0, help="Of the reference point and the prior's draws.")
    ] = 0,
    json_file: JsonOption = None,
) -> None:
    """Say what a Cobaya run will do, without sampling: data, cuts, covariance, priors, start.

    Priors are compared with the emulator's domain, and chi^2 is computed at a point where a chain
    could start. For this, functions in the input are run: an input is code, so check only one that
    you trust.

    Example: iaemu check tng300_sample1.yaml && cobaya-run tng300_sample1.yaml
    """
    from iaemu_likelihood.cobaya.check import check_run

    result = check_run(run, seed)
    show(result.tables())
    say(result.sentences())
    write_numbers(json_file, result.numbers)


def covmat(
    run: Annotated[Path, typer.Argument(help="Input of a Cobaya run: RUN.yaml.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File of the covariance; RUN.proposal.covmat when left out.", callback=writable
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Find where a posterior is and how wide, in seconds, for Cobaya's mcmc to begin there.

    Writes the covariance of the parameters and prints the lines that the input needs for it: points
    where chains begin, and the covariance of their first steps, so that no steps are spent on the way
    to the posterior. They are found by importance sampling, and the posterior that is sampled stays
    the same. An input is code: give only one that you trust.

    Example: iaemu covmat tng300_all_parameters.yaml
    """
    from iaemu_likelihood import posterior
    from iaemu_likelihood.sampling.proposal import find_proposal

    file = run.with_suffix(".proposal.covmat") if out is None else out
    writable(file)
    found = find_proposal(posterior(run), seed)
    show(found.tables())
    say(found.sentences())
    where = f"In the blocks params and sampler of {run}, which may hold more, write:"
    say([f"Covariance: {found.write(file)}. {where}", "", found.lines(file)])


def cosmosis_path() -> None:
    """Print the folder of the CosmoSIS module, for a pipeline's ini to find it.

    Example: IAEMU_COSMOSIS=$(iaemu cosmosis-path) cosmosis run.ini, where the section of
    the module says file = ${IAEMU_COSMOSIS}/iaemu_interface.py; module.yaml beside it explains
    every option. CosmoSIS itself comes with the extra iaemu_likelihood[cosmosis].
    """
    typer.echo(str(Path(__file__).parents[1] / "cosmosis"))


def nuts(
    run: Annotated[
        Path | None, typer.Argument(help="Cobaya input to sample; otherwise give --data.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Fit omega of tng300.sample1, 2, 3 or an ECSV file that names its hod."),
    ] = None,
    emulator: Annotated[str, typer.Option(help="Name or folder of weights.")] = "templates",
    emulator_error: Annotated[
        str,
        typer.Option(
            help="Added to the covariance of --data: none, as in the paper, aleatoric, which is the "
            "default of Cobaya inputs, epistemic or total."
        ),
    ] = "none",
    all_parameters: Annotated[
        bool, typer.Option("--all-parameters", help="Sample the occupation as well.")
    ] = False,
    chains: Annotated[int, typer.Option(min=1, help="Each in a process of its own.")] = 1,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Steps of each chain that are left out.")
    ] = 2000,
    samples: Annotated[int, typer.Option(min=1, help="Samples of each chain.")] = 4000,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    out: Annotated[str, typer.Option(help="Root of the chains.")] = "chains/nuts",
    force: Annotated[bool, typer.Option("--force", help="Start again.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Sample alignment strengths with NUTS, the paper's experiment, or any Cobaya input.

    Writes GetDist chains OUT_1.txt, ... and, where ArviZ is installed, OUT.nc, and draws OUT_corner.png.
    A run that was stopped goes on from its last checkpoint when it is started again. A measurement
    is data, and a Cobaya input is code: sample only one that you trust.

    Example: iaemu nuts --data tng300.sample1 --out chains/nuts_sample1
    """
    from iaemu_likelihood.emulator.atomic import check_writable
    from iaemu_likelihood.plots import corner_plot, load_nuts, write_figure
    from iaemu_likelihood.sampling.nuts import measurement_run, run_nuts

    if (run is None) == (data is None):
        raise ValueError("Give either a Cobaya input or --data, such as --data tng300.sample1.")
    if run and (emulator, emulator_error, all_parameters) != ("templates", "none", False):
        raise ValueError(
            "--emulator, --emulator-error and --all-parameters go with --data; a Cobaya input says "
            "itself which weights, errors and parameters it takes."
        )
    target = run or measurement_run(str(data), emulator, emulator_error, all_parameters)
    if json_file is not None:
        check_writable(json_file)
    result = run_nuts(target, out, chains, warm_up, samples, seed, force)
    show(result.tables())
    typer.echo(f"Chains: {out}_1.txt ...")
    draw(lambda: write_figure(corner_plot([load_nuts(out)]), f"{out}_corner.png"))
    write_numbers(json_file, result.numbers)
