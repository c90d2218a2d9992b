"""The paper's Table 1 made again: alignment of the TNG300 samples, beside the published fits."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.emulator.physics.parameters import ALIGNMENT_PARAMETERS, HOD_PARAMETERS
from iaemu_likelihood.emulator.physics.templates import TEMPLATES
from iaemu_likelihood.likelihood.analytic_posterior import FixedHODPosterior, fixed_hod_posterior

if TYPE_CHECKING:
    from iaemu_likelihood.data_vectors.data_vector import DataVector
    from iaemu_likelihood.emulator.expectation.tabulation import Tabulation

SAMPLES = ("sample1", "sample2", "sample3")


# Columns of the table, besides the paper's.
COLUMNS = {
    "nuts": "NUTS",
    "cobaya": "Cobaya",
    "closed_form": "closed form",
    "direct": "tabulation, no network",
}


@dataclass(frozen=True)
class Fit:
    """One parameter of one sample.

    Attributes
    ----------
    sample, parameter : str
    columns : dict of str to (float, float)
        Mean and standard deviation by each of `COLUMNS`.
    offsets : dict of str to float
        Of each column's mean to that of ``direct``, in its standard deviations.
    published : dict
        Per column of the paper's Table 1: value, lower and upper error, and ``offset``, the
        difference of Cobaya's mean to it in units of the combined error.
    """

    sample: str
    parameter: str
    columns: dict[str, tuple[float, float]]
    offsets: dict[str, float]
    published: dict[str, dict[str, float]]


@dataclass(frozen=True)
class SampleFit:
    """All of one sample.

    Attributes
    ----------
    fits : list of Fit
    chi2_min : float
    n_data : int
    wall_s : dict of str to float
        Of nuts and cobaya.
    nuts : dict
        What `iaemu nuts` reports.
    root : str
        Of Cobaya's chains.
    """

    fits: list[Fit]
    chi2_min: float
    n_data: int
    wall_s: dict[str, float]
    nuts: dict[str, Any]
    root: str


def example(sample: str) -> dict[str, Any]:
    """The bundled Cobaya input of a TNG300 sample."""
    text = (files("iaemu_likelihood.yaml_examples") / f"tng300_{sample}.yaml").read_text()
    info: dict[str, Any] = yaml.safe_load(text)
    return info


def exact_posterior(sample: str, weights: str = "templates") -> FixedHODPosterior:
    """Closed-form posterior of the run that `example` describes.

    Parameters
    ----------
    sample : str
    weights : str
        Of the emulator; or ``direct``: the tabulated expectation instead of an emulator.
    """
    from iaemu_likelihood.data_vectors.binning import PairWeightedBinning
    from iaemu_likelihood.emulator.models.base import Emulator

    data = _data(sample)
    (part,) = data.parts
    if weights == "direct":
        xi, omega_c, omega_s, edges = _expectation(sample)
    else:
        hod = part.measured.metadata["hod"]
        emulator = Emulator.load(weights)
        # P2 is 1 at mu = 1 and 0 at mu = 0, so these two points are the templates themselves.
        p = emulator.predict(mu_cen=[1, 0], mu_sat=[0, 1], **hod)
        xi, omega_c, omega_s, edges = p.xi[0], p.omega[0], p.omega[1], emulator.r_edges
    _, omega_c, omega_s = PairWeightedBinning(edges, part.r_edges)(xi, omega_c, omega_s)
    return fixed_hod_posterior(omega_c, omega_s, data.values, data.covariance)


def _data(sample: str) -> DataVector:
    from iaemu_likelihood.likelihood.core import CorrelationLikelihood, LikelihoodOptions

    options = LikelihoodOptions(f"tng300.{sample}", sample, emulator_error="none")
    return CorrelationLikelihood(options).data


def _expectation(sample: str) -> tuple[Any, ...]:
    """xi, omega_c and omega_s from the tabulation at the occupation of a sample, and the edges."""
    from astropy.table import Table

    from iaemu_likelihood.data import bundled

    table = Table.read(bundled("tng300/expectation.ecsv"), format="ascii.ecsv")
    rows = table[table["sample"] == sample]
    edges = np.append(rows["r_min"], rows["r_max"][-1])
    return rows["xi"].value, rows["omega_c"].value, rows["omega_s"].value, edges


def write_expectation(tabulation: Tabulation, path: str | Path) -> Path:
    """Templates of the TNG300 samples' occupations from a tabulation, as an ECSV table."""
    from astropy.table import Table, vstack

    from iaemu_likelihood.emulator.atomic import atomic_write

    tables = []
    for sample in SAMPLES:
        hod = Measurement.read(f"tng300.{sample}").metadata["hod"]
        found = tabulation.templates([hod[name] for name in HOD_PARAMETERS])
        n = len(tabulation.r_edges) - 1
        columns: dict[str, Any] = {"sample": [sample] * n}
        columns |= {"r_min": tabulation.r_edges[:-1], "r_max": tabulation.r_edges[1:]}
        columns |= {name: getattr(found, name)[0] for name in TEMPLATES}
        tables.append(Table(columns))
    table = vstack(tables)
    table.meta = {
        "description": "Exact expectation of the six templates at the occupation of the TNG300 samples",
        "made_by": "iaemu validate binning --write-expectation",
        "halos_sha256": tabulation.halos_sha256,
        "units": {"r_min": "Mpc/h", "r_max": "Mpc/h"},
    }
    with atomic_write(path) as unfinished:
        table.write(unfinished, format="ascii.ecsv")
    return Path(path)


def fit_sample(
    sample: str, folder: str | Path, force: bool = False, weights: str = "templates"
) -> SampleFit:
    """Run the bundled example of a sample with NUTS and Cobaya and compare it with the paper.

    Parameters
    ----------
    sample : str
        sample1, sample2 or sample3.
    folder : str or Path
        Chains go to FOLDER/tng300_SAMPLE.* and FOLDER/nuts_SAMPLE*; a finished run is read, an
        unfinished one resumed.
    force : bool
        Start again.
    weights : str
        Of the emulator.
    """
    from cobaya.run import run

    from iaemu_likelihood.plots import load_chains
    from iaemu_likelihood.sampling.nuts import run_nuts

    if sample not in SAMPLES:
        raise ValueError(f"No TNG300 sample {sample!r}; there are {', '.join(SAMPLES)}.")
    info = example(sample)
    info["theory"]["iaemu_likelihood.IAEmu"]["weights"] = weights
    root = Path(folder) / f"tng300_{sample}"
    start = time.perf_counter()
    run({**info, "output": str(root)}, force=force, resume=not force)
    wall = time.perf_counter() - start
    hamiltonian = run_nuts(info, Path(folder) / f"nuts_{sample}", force=force)

    chains = load_chains(root)
    exact = {
        "closed_form": exact_posterior(sample, weights),
        "direct": exact_posterior(sample, "direct"),
    }
    published = Measurement.read(f"tng300.{sample}").metadata["published_fits"]
    fits = []
    for i, parameter in enumerate(ALIGNMENT_PARAMETERS):
        name = f"{parameter}_{sample}"
        columns = {
            "nuts": (hamiltonian.means[name], hamiltonian.stds[name]),
            "cobaya": (float(chains.mean(name)), float(chains.std(name))),
            **{k: (float(x.mean[i]), float(x.std[i])) for k, x in exact.items()},
        }
        mean, std = columns["cobaya"]
        centre, width = columns["direct"]
        theirs = {}
        for column, values in published.items():
            value, lower, upper = values[parameter]
            error = upper if mean > value else -lower
            offset = float((mean - value) / np.hypot(std, error))
            theirs[column] = {"value": value, "lower": lower, "upper": upper, "offset": offset}
        offsets = {k: (x[0] - centre) / width for k, x in columns.items()}
        fits.append(Fit(sample, parameter, columns, offsets, theirs))
    return SampleFit(
        fits,
        float(chains.getParams().chi2.min()),
        len(_data(sample).values),
        {"nuts": hamiltonian.wall_s, "cobaya": wall},
        hamiltonian.report(),
        str(root),
    )


def overlay_plot(sample: str, folder: str | Path) -> Path:
    """Corner plot of NUTS and Cobaya over draws from the posterior of the direct model."""
    from getdist import MCSamples

    from iaemu_likelihood.plots import corner_plot, load_chains, load_nuts

    root = Path(folder) / f"tng300_{sample}"
    cobaya = load_chains(root)
    names = [f"{name}_{sample}" for name in ALIGNMENT_PARAMETERS]
    direct = MCSamples(
        samples=exact_posterior(sample, "direct").sample(40_000, seed=0),
        names=names,
        labels=[cobaya.parLabel(name) for name in names],
        ranges={name: (-1, 1) for name in names},
    )
    return corner_plot(
        [direct, cobaya, load_nuts(Path(folder) / f"nuts_{sample}")],
        f"{root}_corner.png",
        [COLUMNS[k] for k in ("direct", "cobaya", "nuts")],
    )


def markdown(samples: list[SampleFit]) -> str:
    """The table, with offsets in sigma to the direct model and to the paper, as Markdown."""
    header = ["sample", "parameter", *COLUMNS.values(), "paper: IAEmu", "paper: halotools-IA"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for sample in samples for row in table_rows(sample)]
    return "\n".join(lines) + "\n"


def table_rows(sample: SampleFit) -> list[list[str]]:
    """Rows of the table as text."""
    rows = []
    for fit in sample.fits:
        row = [fit.sample.removeprefix("sample"), fit.parameter]
        for column, (mean, std) in fit.columns.items():
            offset = "" if column == "direct" else f" ({fit.offsets[column]:+.2f}σ)"
            row.append(f"{mean:.3f} ± {std:.3f}{offset}")
        for column in ("IAEmu", "halotools_IA"):
            p = fit.published[column]
            row.append(f"{p['value']:.2f} +{p['upper']:.2f} {p['lower']:.2f} ({p['offset']:+.1f}σ)")
        rows.append(row)
    return rows


def binning_errors(tabulation: Tabulation, direct: Tabulation) -> dict[str, Any]:
    """What averaging over the data's bins costs: rebinned expectations against direct ones.

    Parameters
    ----------
    tabulation : Tabulation
        In the emulator's bins.
    direct : Tabulation
        Of the same catalogue in the bins of the data.

    Returns
    -------
    dict
        Per sample, in every bin: errors of the templates omega_c and omega_s, and of omega at the
        paper's best fit, in units of the data's errors; fractional errors of xi.
    """
    from iaemu_likelihood.data_vectors.binning import PairWeightedBinning

    binning = PairWeightedBinning(tabulation.r_edges, direct.r_edges)
    result = {}
    for sample in SAMPLES:
        measured = Measurement.read(f"tng300.{sample}").cut(direct.r_edges[0], direct.r_edges[-1])
        hod = [measured.metadata["hod"][name] for name in HOD_PARAMETERS]
        fit = measured.metadata["published_fits"]["IAEmu"]
        strength = (fit["mu_cen"][0], fit["mu_sat"][0])
        known, exact = tabulation.templates(hod), direct.templates(hod)
        functions = (known.omega_c, known.omega_s, known.correlations(*strength)[1])
        xi, *rebinned = (x[0] for x in binning(known.xi, *functions))
        truth = (exact.omega_c[0], exact.omega_s[0], exact.correlations(*strength)[1][0])
        result[sample] = {
            name: ((got - true) / measured.errors["omega"]).tolist()
            for name, got, true in zip(
                ("omega_c", "omega_s", "omega"), rebinned, truth, strict=True
            )
        }
        result[sample]["xi"] = (xi / exact.xi[0] - 1).tolist()
    return result


def report(samples: list[SampleFit]) -> dict[str, Any]:
    """Every number, for a JSON file."""
    return {"samples": [asdict(sample) for sample in samples]}
