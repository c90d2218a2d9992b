"""The commands iaemu dataset: make data sets, or look at one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from iaemu_likelihood.cli.options import HalosOption, SchedulerOption, TabulationOption
from iaemu_likelihood.cli.tables import say, show

dataset = typer.Typer(
    help="Make data sets over the domain, or look at one. A run that was stopped goes on when it is "
    "started again; a finished file is left as it is.",
    no_args_is_help=True,
)

PointsOption = Annotated[int, typer.Option(min=1, help="HOD points.")]
CataloguesOption = Annotated[int, typer.Option(min=1, help="Galaxy catalogues per HOD point.")]
OutOption = Annotated[Path, typer.Option(help="HDF5 file; unfinished work is in OUT.shards.")]
DesignOption = Annotated[
    str,
    typer.Option(help="sobol (space-filling), or paper (logMmin evenly spaced, others random)."),
]
DomainOption = Annotated[
    Path | None,
    typer.Option(help="YAML file with logMmin: [low, high], n_rmse, sigma_logM_min, logM0_max; "
                 "what is left out has its default."),
]  # fmt: skip
FractionsOption = Annotated[
    tuple[float, float, float], typer.Option(help="Shares of train, validation and test.")
]


def _make_dataset(recipe: dict[str, Any], domain: Path | None, out: Path, **arguments: Any) -> None:
    from iaemu_likelihood.emulator.datasets import Recipe, make_dataset
    from iaemu_likelihood.emulator.fields import read_yaml

    limits = {} if domain is None else read_yaml(domain)
    typer.echo(str(make_dataset(Recipe(**recipe, domain=limits), out, **arguments)))


@dataset.command("expectation")
def dataset_expectation(
    points: PointsOption,
    out: OutOption,
    seed: int = 0,
    halos: HalosOption = "bundled",
    design: DesignOption = "sobol",
    domain: DomainOption = None,
    tabulation: TabulationOption = Path("tabulation.hdf5"),
    fractions: FractionsOption = (0.7, 0.1, 0.2),
    scheduler: SchedulerOption = None,
) -> None:
    """The templates without noise, from the tabulation: 1e5 points in minutes.

    Example: iaemu dataset expectation --points 100000 --seed 1 --out expectation.hdf5
    """
    recipe = {"kind": "expectation", "n_points": points, "seed": seed, "halos": halos,
              "design": design, "fractions": fractions}  # fmt: skip
    _make_dataset(recipe, domain, out, tabulation=tabulation, scheduler=scheduler)


@dataset.command("realisations")
def dataset_realisations(
    points: PointsOption,
    catalogues: CataloguesOption,
    out: OutOption,
    seed: int = 0,
    halos: HalosOption = "bundled",
    design: DesignOption = "sobol",
    domain: DomainOption = None,
    noise: Annotated[bool, typer.Option(help="Keep what gives the shape noise at any mu.")] = True,
    fractions: FractionsOption = (0.7, 0.1, 0.2),
    scheduler: SchedulerOption = None,
) -> None:
    """Single galaxy catalogues, drawn as fast mocks, and their noise.

    Example: iaemu dataset realisations --points 5000 --catalogues 10 --seed 1 --out noise.hdf5
    """
    recipe = {"kind": "realisations", "n_points": points, "n_catalogues": catalogues, "seed": seed,
              "halos": halos, "design": design, "noise": noise, "fractions": fractions}  # fmt: skip
    _make_dataset(recipe, domain, out, scheduler=scheduler)


@dataset.command("halotools")
def dataset_halotools(
    points: PointsOption,
    catalogues: CataloguesOption,
    out: OutOption,
    seed: int = 0,
    halos: HalosOption = "bundled",
    design: DesignOption = "sobol",
    domain: DomainOption = None,
    fractions: FractionsOption = (0.7, 0.1, 0.2),
    scheduler: SchedulerOption = None,
) -> None:
    """The paper's own way: halotools-IA populates, halotools measures. Slow; for reference.

    Example: iaemu dataset halotools --points 30 --catalogues 10 --seed 1 --out halotools.hdf5
    """
    recipe = {"kind": "halotools", "n_points": points, "n_catalogues": catalogues, "seed": seed,
              "halos": halos, "design": design, "noise": False, "fractions": fractions}  # fmt: skip
    _make_dataset(recipe, domain, out, scheduler=scheduler)


@dataset.command("info")
def dataset_info(
    file: Annotated[Path, typer.Argument(help="A data set.")],
    xi_screen: Annotated[
        float | None, typer.Option(help="Say what xi / xi_matter > this would leave out.")
    ] = None,
) -> None:
    """Show what a data set holds and where it comes from; its checksums are checked."""
    from iaemu_likelihood.emulator.datasets import DataSet

    data = DataSet.read(file)
    say(data.sentences())
    show(data.tables())
    if xi_screen is not None:
        DataSet.read(file, xi_screen)
