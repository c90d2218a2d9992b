"""The `iaemu` command: thin shells over the package's functions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

# Every other import waits for the command that needs it, so that --help is quick.

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


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _write(json_file: Path | None, content: dict[str, Any]) -> None:
    from iaemu_likelihood.emulator.atomic import write_json

    if json_file is not None:
        write_json(content, json_file)


JsonOption = Annotated[Path | None, typer.Option("--json", help="Write every number to this file.")]


@app.command()
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
    Numbers in brackets are offsets: of the means to the fit without a network, and of Cobaya's mean
    to the paper's values.

    Example: iaemu table1 sample1
    """
    from iaemu_likelihood.plots import prediction_figure
    from iaemu_likelihood.tng300.table1 import (
        COLUMNS,
        SAMPLES,
        fit_sample,
        markdown,
        overlay_plot,
        report,
        table_rows,
    )

    done, figures = [], []
    for name in samples or SAMPLES:
        done.append(fit_sample(name, out, force, emulator))
        figures += [overlay_plot(name, out), prediction_figure(done[-1].root)]
    _table(
        "TNG300: alignment strengths, mean ± sigma (offset)",
        ["sample", "parameter", *COLUMNS.values(), "paper: IAEmu", "paper: halotools-IA"],
        [row for sample in done for row in table_rows(sample)],
    )
    for sample in done:
        walls = ", ".join(f"{COLUMNS[k]} {seconds:.0f} s" for k, seconds in sample.wall_s.items())
        typer.echo(
            f"{sample.root}: best chi^2 = {sample.chi2_min:.1f} for {sample.n_data} bins and 2 "
            f"parameters; {walls}"
        )
    (out / "table1.md").write_text(markdown(done))
    typer.echo(f"Table: {out / 'table1.md'}. Figures: " + ", ".join(str(path) for path in figures))
    _write(json_file, report(done))


@app.command()
def plot(
    chains: Annotated[str, typer.Argument(help="Output prefix of a run: chains/tng300_sample1.")],
    suffix: Annotated[str, typer.Option(help="Format: png, pdf, ...")] = "png",
) -> None:
    """Draw the GetDist corner plot of a chain, and the data against the posterior's prediction.

    The figures are written beside the chains, as PREFIX_corner and PREFIX_prediction.
    """
    from iaemu_likelihood.plots import plot_chains

    for path in plot_chains(chains, suffix):
        typer.echo(str(path))


@app.command()
def check(
    run: Annotated[Path, typer.Argument(help="Input of a Cobaya run: RUN.yaml.")],
    seed: Annotated[int, typer.Option(help="Of the reference point and the prior's draws.")] = 0,
    json_file: JsonOption = None,
) -> None:
    """Say what a Cobaya run will do, without sampling: data, cuts, covariance, priors, start.

    Priors are compared with the emulator's domain, and chi^2 is computed at a point where a chain
    could start.

    Example: iaemu check tng300_sample1.yaml && cobaya-run tng300_sample1.yaml
    """
    from iaemu_likelihood.cobaya.check import check_run, sentences, tables

    numbers = check_run(run, seed)
    for title, columns, rows in tables(numbers):
        _table(title, columns, rows)
    for line in sentences(numbers):
        typer.echo(line)
    _write(json_file, numbers)


@app.command("cosmosis-path")
def cosmosis_path() -> None:
    """Print the folder of the CosmoSIS module, for a pipeline's ini to find it.

    Example: IAEMU_COSMOSIS=$(iaemu cosmosis-path) cosmosis run.ini, where the section of
    the module says file = ${IAEMU_COSMOSIS}/iaemu_interface.py; module.yaml beside it explains
    every option. CosmoSIS itself comes with the extra iaemu_likelihood[cosmosis].
    """
    typer.echo(str(Path(__file__).parents[1] / "cosmosis"))


@app.command()
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
        str, typer.Option(help="Added to the covariance: none, aleatoric, epistemic, total.")
    ] = "none",
    all_parameters: Annotated[
        bool, typer.Option("--all-parameters", help="Sample the occupation as well.")
    ] = False,
    chains: Annotated[int, typer.Option(help="Each in a process of its own.")] = 1,
    warm_up: Annotated[int, typer.Option(help="Steps of each chain that are left out.")] = 2000,
    samples: Annotated[int, typer.Option(help="Samples of each chain.")] = 4000,
    seed: int = 1,
    out: Annotated[Path, typer.Option(help="Root of the chains.")] = Path("chains/nuts"),
    force: Annotated[bool, typer.Option("--force", help="Start again.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Sample alignment strengths with NUTS, the paper's experiment, or any Cobaya input.

    Writes GetDist chains OUT_1.txt, ... and, where ArviZ is installed, OUT.nc, and draws OUT_corner.png.
    A run that was stopped goes on from its last checkpoint when it is started again.

    Example: iaemu nuts --data tng300.sample1 --out chains/nuts_sample1
    """
    from iaemu_likelihood.plots import corner_plot, load_nuts
    from iaemu_likelihood.sampling.nuts import measurement_run, run_nuts

    if (run is None) == (data is None):
        raise ValueError("Give either a Cobaya input or --data, such as --data tng300.sample1.")
    target: Any = run
    if data is not None:
        target = measurement_run(data, emulator, emulator_error, all_parameters)
    result = run_nuts(target, out, chains, warm_up, samples, seed, force)
    _table(
        f"NUTS: {chains} x {samples} samples after {warm_up} steps, "
        f"{sum(c.n_divergent for c in result.chains)} divergent; {result.wall_s:.0f} s",
        ["parameter", "mean ± sigma", "effective samples", "R-hat"],
        [
            [
                name,
                f"{result.means[name]:.4g} ± {result.stds[name]:.2g}",
                f"{result.ess[name]:.0f}",
                f"{result.rhat[name]:.4f}",
            ]
            for name in result.names
        ],
    )
    figure = corner_plot([load_nuts(out)], f"{out}_corner.png")
    typer.echo(f"{out}_1.txt ..., {figure}")
    _write(json_file, result.report())


@app.command()
def info(
    weights: Annotated[
        str | None, typer.Argument(help="Name or folder of weights; a list when left out.")
    ] = None,
) -> None:
    """List weights, bundled and your own ($IAEMU_WEIGHTS); of one, show domain and accuracy."""
    from iaemu_likelihood.emulator.models.base import Emulator, weights_folder

    if weights is None:
        _list_weights()
        return
    from iaemu_likelihood.emulator.models.card import domain_table

    emulator = Emulator.load(weights)
    card = emulator.card
    typer.echo(f"{weights}: {weights_folder(weights)}\n{card['description']}")
    typer.echo(
        f"halo catalogue {card['halos']['name']} ({card['halos']['sha256'][:12]}...), "
        f"z = {card['redshift']:g}; r = {emulator.r_edges[0]:g}-{emulator.r_edges[-1]:.2f} Mpc/h; "
        f"made by iaemu_likelihood {card['version']}"
    )
    _table("Domain (mu_cen, mu_sat in [-1, 1])", *domain_table(card))
    for name in ("accuracy", "calibration"):
        if name in card:
            _measured(name, card[name])
        else:
            typer.echo(f"{name}: not measured; `iaemu validate {weights} --write-card`")


def _list_weights() -> None:
    """A table of all weights that load by name."""
    import yaml

    from iaemu_likelihood.emulator.models.base import (
        CARD_FILE,
        bundled_weights,
        user_weights,
        weights_folder,
    )

    rows = []
    for name in dict.fromkeys([*bundled_weights(), *user_weights()]):
        folder = weights_folder(name)
        try:
            card = yaml.safe_load((folder / CARD_FILE).read_text())
            row = [name, card["kind"], card["halos"]["name"], _headline(card)]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            row = [name, "?", "?", f"unreadable card: {error}"]
        rows.append([*row, "bundled" if name in bundled_weights() else str(folder)])
    _table(
        "Weights",
        ["name", "kind", "halo catalogue", "median |error| / |expectation|", "where"],
        rows,
    )


def _headline(card: dict[str, Any]) -> str:
    measured = card.get("accuracy", {}).get("expectation")
    if measured is None:
        return "not measured by this version"
    medians = {s: row["median_absolute_fractional_error"] for s, row in measured.items()}
    return ", ".join(f"{s} {100 * value:.2g} %" for s, value in medians.items())


def _measured(name: str, block: dict[str, Any]) -> None:
    """Tables of the block accuracy or calibration of a card."""
    from iaemu_likelihood.emulator.models.card import measured_tables

    for header, rows in measured_tables(block):
        _table(f"{name}: {header[0]}" if header[0] else name, ["", *header[1:]], rows)


@app.command()
def predict(
    mu_cen: float,
    mu_sat: float,
    logmmin: Annotated[float, typer.Argument(metavar="LOGMMIN")],
    sigma_logm: Annotated[float, typer.Argument(metavar="SIGMA_LOGM")],
    logm0: Annotated[float, typer.Argument(metavar="LOGM0")],
    logm1: Annotated[float, typer.Argument(metavar="LOGM1")],
    alpha: float,
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

    from iaemu_likelihood.emulator.models.base import Emulator

    emulator = Emulator.load(weights)
    theta = [mu_cen, mu_sat, logmmin, sigma_logm, logm0, logm1, alpha]
    p = emulator.predict(theta, extrapolate=extrapolate)
    table = Table(
        {
            "r_min": emulator.r_edges[:-1],
            "r_max": emulator.r_edges[1:],
            "r": p.r,
            **{name: getattr(p, name) for name in ("xi", "omega", "eta")},
            **{
                f"{name}_{kind}": getattr(sigma, name)
                for kind, sigma in (("aleatoric", p.aleatoric), ("epistemic", p.epistemic))
                for name in ("xi", "omega", "eta")
                if sigma is not None
            },
        },
        meta={"units": {"r_min": "Mpc/h", "r_max": "Mpc/h", "r": "Mpc/h"}},
    )
    table.write(sys.stdout, format="ascii.ecsv")


@app.command()
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
    axis_x: Annotated[
        str, typer.Option(help="Columns of the major axes, of any length.")
    ] = "galaxy_axisA_x",
    axis_y: str = "galaxy_axisA_y",
    axis_z: str = "galaxy_axisA_z",
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

    The table can be the data_file of the likelihood IACorrelations.

    Example: iaemu measure galaxies.hdf5 --box 205 --out my_sample.ecsv
    """
    from iaemu_likelihood.data_vectors.galaxy_catalogue import GalaxyCatalogue, log_edges

    if out.resolve() == catalogue.resolve():
        raise ValueError(f"{out} is the catalogue itself; give another --out.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; pass --overwrite to replace it.")
    edges = log_edges(r_min, r_max, bins)
    columns = (x, y, z), (axis_x, axis_y, axis_z)
    galaxies = GalaxyCatalogue.read(catalogue, box, *columns, hdf5_path)
    measured = galaxies.measure(edges, jackknife, periodic, name)
    measured.write(out, overwrite)
    rows = []
    for i in range(bins):
        rows.append([f"{edges[i]:.3f} to {edges[i + 1]:.3f}"])
        for s, value in measured.values.items():
            rows[-1].append(f"{value[i]:.4g} ± {measured.errors[s][i]:.2g}")
    _table(
        f"{measured.name}: {len(galaxies.positions)} galaxies, errors from "
        f"{measured.n_jackknife} jackknife regions",
        ["r [Mpc/h]", *measured.values],
        rows,
    )
    if galaxies.n_normalised:
        typer.echo(f"{galaxies.n_normalised} axes had another length than 1 and were normalised.")
    typer.echo(str(out))


HalosOption = Annotated[
    str, typer.Option(help="bundled, bolplanck (halotools' cache), or a file of halos.")
]


@app.command()
def tabulate(
    out: Annotated[Path, typer.Argument(help="HDF5 file to write.")],
    halos: HalosOption = "bundled",
    seed: Annotated[int, typer.Option(help="Of the draws beyond the last subhalo.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Tabulate the pair sums of a halo catalogue: the exact expectation at any parameters.

    About a minute and a half on two cores for the bundled catalogue.
    """
    from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
    from iaemu_likelihood.emulator.halos.catalogue import load_halos

    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; pass --overwrite to replace it.")
    Tabulation.build(load_halos(halos), seed=seed).write(out, overwrite)
    typer.echo(str(out))


dataset = typer.Typer(
    help="Make data sets over the domain, or look at one. A run that was stopped goes on when it is "
    "started again; a finished file is left as it is.",
    no_args_is_help=True,
)
app.add_typer(dataset, name="dataset")

PointsOption = Annotated[int, typer.Option(help="HOD points.")]
CataloguesOption = Annotated[int, typer.Option(help="Galaxy catalogues per HOD point.")]
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
SchedulerOption = Annotated[
    str | None,
    typer.Option(help="'local' (a Dask worker per core), or the address of a Dask scheduler."),
]


def _make_dataset(recipe: dict[str, Any], domain: Path | None, out: Path, **arguments: Any) -> None:
    import yaml

    from iaemu_likelihood.emulator.datasets.dataset import Recipe, make_dataset

    limits = {} if domain is None else yaml.safe_load(domain.read_text()) or {}
    typer.echo(str(make_dataset(Recipe(**recipe, domain=limits), out, **arguments)))


@dataset.command("expectation")
def dataset_expectation(
    points: PointsOption,
    out: OutOption,
    seed: int = 0,
    halos: HalosOption = "bundled",
    design: DesignOption = "sobol",
    domain: DomainOption = None,
    tabulation: Annotated[
        Path | None, typer.Option(help="Of the halo catalogue; built if there is no such file.")
    ] = None,
    fractions: FractionsOption = (0.7, 0.1, 0.2),
    scheduler: SchedulerOption = None,
) -> None:
    """The six templates without noise, from the tabulation: 1e5 points in minutes.

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
    """Single galaxy catalogues by the fast realiser, and their noise.

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
    from iaemu_likelihood.emulator.datasets.dataset import SPLITS, DataSet

    data = DataSet.read(file)
    keys = ("version", "halos", "halos_sha256", "box", "redshift", "design", "seed", "n_catalogues",
            "domain")  # fmt: skip
    typer.echo(f"{data.kind}: {len(data)} HOD points")
    for key in keys:
        typer.echo(f"  {key} = {data.attributes[key]}")
    for i, name in enumerate(SPLITS):
        typer.echo(f"  {name}: {(data.split == i).sum()} points")
    n_empty = data.columns["n_empty_bins"]
    typer.echo(f"  bins without pairs: {n_empty.sum()}, in {(n_empty > 0).sum()} points")
    _table(
        "Contents",
        ["name", "shape", "type"],
        [[k, str(v.shape), str(v.dtype)]
         for k, v in {"parameters": data.parameters, **data.columns}.items()],
    )  # fmt: skip
    if xi_screen is not None:
        DataSet.read(file, xi_screen)


ConfigArgument = Annotated[
    Path | None, typer.Argument(help="YAML file; that of the bundled weights when left out.")
]
DevicesOption = Annotated[
    int, typer.Option(help="GPUs, or processes on a CPU, that train together.")
]


@app.command()
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
    from iaemu_likelihood.emulator.training.templates import DEFAULT_CONFIG, read_training_config
    from iaemu_likelihood.emulator.training.templates import train as run_training

    settings = read_training_config(config or DEFAULT_CONFIG)
    typer.echo(str(run_training(settings, out, scheduler=scheduler, devices=devices)))


@app.command()
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

    from iaemu_likelihood.emulator.training.build import build as run_build
    from iaemu_likelihood.emulator.training.templates import DEFAULT_CONFIG, read_training_config

    settings = replace(read_training_config(config or DEFAULT_CONFIG), halos=halos)
    folder = run_build(
        settings, out, n_points=test_points, n_drawn=test_drawn, n_catalogues=test_catalogues,
        scheduler=scheduler, devices=devices,
    )  # fmt: skip
    typer.echo(f"{folder}\n{folder / 'report.html'}")


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
    help="Measure agreement and print it; --json keeps every number. [bold]iaemu validate "
    "NAME[/bold], with the name or the folder of weights, validates an emulator (options: iaemu "
    "validate NAME --help); the other commands compare the forward model with catalogues drawn.",
    no_args_is_help=True,
)
app.add_typer(validate, name="validate")

TabulationOption = Annotated[
    Path, typer.Option(help="Tabulation of the halo catalogue; built if there is no such file.")
]
FolderOption = Annotated[
    Path | None, typer.Option(help="Keep checkpoints here; a stopped run goes on from them.")
]


@validate.command("expectation")
def validate_expectation(
    halos: HalosOption = "bundled",
    tabulation: TabulationOption = Path("tabulation.hdf5"),
    n: Annotated[int, typer.Option(help="halotools-IA realisations per point.")] = 60,
    seed: int = 1000,
    checkpoints: FolderOption = None,
    json_file: JsonOption = None,
) -> None:
    """The tabulated expectation against the mean of halotools-IA realisations at nine points."""
    from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
    from iaemu_likelihood.emulator.halos.catalogue import load_halos
    from iaemu_likelihood.emulator.validation.forward import expectation_against_halotools

    catalogue = load_halos(halos)
    table = Tabulation.cached(tabulation, catalogue)
    result = expectation_against_halotools(catalogue, table, n, seed, folder=checkpoints)
    rows = []
    for i, point in enumerate([*result["points"], {"parameters": {}, **result["summary"]}]):
        where = " ".join(f"{v:g}" for v in point["parameters"].values()) or "all points"
        rows.append([str(i) if point["parameters"] else "", where])
        for name in ("xi", "omega", "eta"):
            entry = point[name]
            probability = entry.get("probability", entry.get("smallest_probability"))
            rows[-1].append(
                f"{entry['chi2_per_bin']:.2f} / {entry['max_abs_z']:.1f} / {probability:.2g}"
            )
    _table(
        f"Mean of {n} realisations against the expectation: chi^2 per bin / largest |z| / "
        "probability, with the bins' correlations, of a larger chi^2 (all points: the smallest)",
        ["", "mu_cen mu_sat logMmin sigma_logM logM0 logM1 alpha", "xi", "omega", "eta"],
        rows,
    )
    _write(json_file, result)


@validate.command("noise")
def validate_noise(
    halos: HalosOption = "bundled",
    n: Annotated[int, typer.Option(help="Catalogues per HOD point, axes drawn at two mu.")] = 200,
    n_model: Annotated[int, typer.Option(help="Other catalogues, for the noise model.")] = 200,
    seed: int = 1,
    halotools: Annotated[
        int, typer.Option(help="Compare with this many halotools-IA catalogues at one point, too.")
    ] = 0,
    checkpoints: FolderOption = None,
    json_file: JsonOption = None,
) -> None:
    """The noise model against the scatter of realisations at six HOD points and two mu."""
    from iaemu_likelihood.emulator.halos.catalogue import load_halos
    from iaemu_likelihood.emulator.validation.forward import (
        noise_against_halotools,
        noise_against_realisations,
    )

    catalogue = load_halos(halos)
    folders = [checkpoints and checkpoints / name for name in ("realiser", "halotools")]
    result = noise_against_realisations(catalogue, n, n_model, seed, folder=folders[0])
    points = result["points"]
    if halotools:
        result["halotools"] = noise_against_halotools(
            catalogue, halotools, n_model, seed, folder=folders[1]
        )
        points = [*points, result["halotools"]]
    _table(
        "Standard deviation, model / realisations: mean over bins, largest deviation; and rms "
        f"difference of correlations. Expected scatter of one ratio: {result['expected_scatter']:.3f}",
        ["against", "galaxies", "mu_cen mu_sat logMmin ...", "xi", "omega", "eta", "correlations"],
        [
            [
                "halotools-IA" if p is result.get("halotools") else "realiser",
                f"{p['n_galaxies']:.0f}",
                " ".join(f"{v:g}" for v in p["parameters"].values()),
                *(f"{p[s]['mean_ratio']:.3f}, {p[s]['max_deviation']:.3f}"
                  for s in ("xi", "omega", "eta")),
                f"{p['rms_correlation_difference']:.3f}",
            ]
            for p in points
        ],
    )  # fmt: skip
    _write(json_file, result)


@validate.command(WEIGHTS_COMMAND)
def validate_weights(
    weights: Annotated[str, typer.Argument(help="Name or folder of weights.")],
    json_file: JsonOption = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with tables and figures, .html.")
    ] = None,
    expectation: Annotated[
        Path | None,
        typer.Option(help="Data set of test points without noise; bundled when left out."),
    ] = None,
    realisations: Annotated[
        Path | None,
        typer.Option(help="Data set of catalogues at the first of them; bundled when left out."),
    ] = None,
    tabulation: Annotated[
        Path | None, typer.Option(help="Tabulation of the halo catalogue, for its time.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the alignment strengths.")] = 0,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the headline numbers into the weights' card.")
    ] = False,
) -> None:
    """Weights against expectations and catalogues that they have not seen.

    Accuracy (with the paper's measures), the scatter of single catalogues, calibration, worst
    points, and two other ways to predict.

    Example: iaemu validate templates --report report.html
    """
    from iaemu_likelihood.emulator.datasets.dataset import DataSet
    from iaemu_likelihood.emulator.models.base import Emulator, weights_folder
    from iaemu_likelihood.emulator.validation.weights import validate_emulator

    emulator = Emulator.load(weights)
    points = DataSet.read(expectation) if expectation else DataSet.held_out("expectation")
    draws = DataSet.read(realisations) if realisations else DataSet.held_out("realisations")
    table = None
    if tabulation is not None:
        from iaemu_likelihood.emulator.expectation.tabulation import Tabulation

        table = Tabulation.read(tabulation)
    result = validate_emulator(emulator, points, draws, seed, tabulation=table)
    numbers = result.numbers
    _table(
        f"{weights}: targets",
        ["", "measured", "bar", "met", "paper"],
        [
            [
                t["name"],
                f"{t['value']:.4g}",
                " to ".join(f"{x:.4g}" for x in t["bar"] or []),
                {True: "yes", False: "[red]no[/red]", None: ""}[t["met"]],
                t["paper"],
            ]
            for t in numbers["targets"]
        ],
    )
    from iaemu_likelihood.emulator.models.card import add_validation, headline

    folder = weights_folder(weights)
    command = f"iaemu validate {folder.name}" + (f" --seed {seed}" if seed else "")
    for option, file in (("expectation", expectation), ("realisations", realisations)):
        command += f" --{option} {file.name}" if file else ""
    blocks = headline(numbers, command)
    for name, block in blocks.items():
        _measured(name, block)
    for reason in numbers["left_out"]:
        typer.echo(reason)
    _write(json_file, numbers)
    if report is not None:
        from iaemu_likelihood.emulator.validation.report import write_report

        write_report(result, report, weights)
        typer.echo(str(report))
    if write_card:
        add_validation(folder, numbers, command)
        typer.echo(str(folder / "CARD.md"))


@validate.command("binning")
def validate_binning(
    tabulation: TabulationOption = Path("tabulation.hdf5"),
    direct: Annotated[
        Path, typer.Option(help="Tabulation in TNG300's bins; built if there is no such file.")
    ] = Path("tabulation_tng300.hdf5"),
    write_expectation: Annotated[
        Path | None,
        typer.Option(
            help="Write the templates at the samples' occupation, as `iaemu table1` reads."
        ),
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Averaging the emulator's 20 bins over TNG300's against tabulating in TNG300's bins."""
    from iaemu_likelihood.data_vectors.measurement import Measurement
    from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
    from iaemu_likelihood.emulator.halos.catalogue import load_halos
    from iaemu_likelihood.emulator.mocks.estimators import R_EDGES
    from iaemu_likelihood.tng300.table1 import binning_errors
    from iaemu_likelihood.tng300.table1 import write_expectation as write_table

    halos = load_halos("bundled")
    edges = Measurement.read("tng300.sample1").cut(R_EDGES[0], R_EDGES[-1]).r_edges
    in_ours = Tabulation.cached(tabulation, halos)
    result = binning_errors(in_ours, Tabulation.cached(direct, halos, edges))
    _table(
        "Largest error of any bin: omega in sigma of the data, xi relative",
        ["sample", "omega_c", "omega_s", "omega at the best fit", "xi"],
        [
            [name, *(f"{max(map(abs, row[k])):.3f}" for k in ("omega_c", "omega_s", "omega", "xi"))]
            for name, row in result.items()
        ],
    )
    if write_expectation is not None:
        typer.echo(str(write_table(in_ours, write_expectation)))
    _write(json_file, result)


@validate.command("calibration")
def validate_calibration(
    sample: Annotated[str, typer.Option(help="sample1, sample2 or sample3.")] = "sample1",
    n: Annotated[int, typer.Option(help="Mock data vectors.")] = 500,
    seed: Annotated[int, typer.Option(help="Mock i follows from the seed and i.")] = 0,
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
    checkpoints: FolderOption = None,
    json_file: JsonOption = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw rank histograms and coverage to this file.")
    ] = None,
) -> None:
    """Posteriors of mu_cen and mu_sat against the truth of mock data vectors (SBC).

    Mocks are galaxy catalogues with mu from the prior and the occupation of a TNG300 sample, measured
    in its bins, with its measurement noise. Calibrated posteriors have uniform ranks.

    Example: iaemu validate calibration --sample sample1 --figure calibration.png
    """
    from iaemu_likelihood.sampling.calibration import LEVELS, calibrate, calibration_plot

    folder = checkpoints and checkpoints / sample
    result = calibrate(sample, n, seed, weights, halos, errors or None, nodes, folder)
    _table(
        f"TNG300 {sample}, {n} mocks, weights {weights}: probabilities of uniform ranks, coverage of "
        "central intervals, z = (truth - mean) / std",
        ["error", "of", "p chi^2", "p KS", *(f"{100 * p:g} %" for p in LEVELS), "mean z", "std z"],
        [
            [
                kind,
                name,
                f"{row['chi2_probability']:.2g}",
                f"{row['ks_probability']:.2g}",
                *(f"{100 * row['coverage'][str(p)]:.1f} %" for p in LEVELS),
                f"{row['mean_z']:+.2f}",
                f"{row['std_z']:.2f}",
            ]
            for kind, parameters in result.numbers["emulator_error"].items()
            for name, row in parameters.items()
        ],
    )
    scatter = result.numbers["expected_scatter_of_coverage"]
    typer.echo(
        "Expected of calibrated posteriors: p above 0.01; "
        + ", ".join(f"{100 * p:g} ± {100 * scatter[str(p)]:.1f} %" for p in LEVELS)
        + "; z of mean 0 and standard deviation 1."
    )
    command = (
        f"iaemu validate calibration --sample {sample} --n {n} --seed {seed} --weights {weights}"
        + (f" --halos {halos}" if halos != "bundled" else "")
        + "".join(f" --emulator-error {kind}" for kind in errors or [])
        + (f" --nodes {nodes}" if nodes != 64 else "")
    )
    _write(json_file, {"command": command, **result.numbers})
    if figure is not None:
        typer.echo(str(calibration_plot(result, figure)))
