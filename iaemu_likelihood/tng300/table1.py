"""The paper's Table 1 made again: alignment of the TNG300 samples, beside the published fits."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from iaemu_likelihood.data_vectors.measurement import TNG300_SAMPLES, Measurement
from iaemu_likelihood.emulator.physics.binning import PairWeightedBinning
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from iaemu_likelihood.emulator.physics.statistics import OMEGA, XI
from iaemu_likelihood.emulator.physics.templates import templates_of
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.likelihood.analytic_posterior import FixedHODPosterior, fixed_hod_posterior
from iaemu_likelihood.tng300.expectation import expected_omega

if TYPE_CHECKING:
    from iaemu_likelihood.data_vectors.data_vector import DataVector
    from iaemu_likelihood.emulator.expectation import Tabulation

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

# Ways to fit, besides the paper's: rows of the table.
METHODS = {
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
        Mean and standard deviation by each of `METHODS`.
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
    wall_s : dict of str to float or None
        Of nuts and cobaya, in seconds; None where chains of an earlier run were there.
    nuts : dict
        What `iaemu nuts` reports.
    root : str
        Of Cobaya's chains.
    """

    fits: list[Fit]
    chi2_min: float
    n_data: int
    wall_s: dict[str, float | None]
    nuts: dict[str, Any]
    root: str

    def table(self) -> Table:
        """A row for each way to fit, with offsets; then the paper's fits."""
        rows = [
            [
                method,
                *(
                    f"{mean:.3f} ± {std:.3f}"
                    + (f" ({fit.offsets[key]:+.2f}σ)" if key != "direct" else "")
                    for fit in self.fits
                    for mean, std in [fit.columns[key]]
                ),
            ]
            for key, method in METHODS.items()
        ]
        for key in self.fits[0].published:
            each = [fit.published[key] for fit in self.fits]
            cells = (
                f"{x['value']:.2f} +{x['upper']:.2f} {x['lower']:.2f} ({x['offset']:+.1f}σ)"
                for x in each
            )
            rows.append([f"paper: {key.replace('_', '-')}", *cells])
        title = f"TNG300 {self.fits[0].sample}: alignment strengths, mean ± sigma (offset)"
        return Table(title, ["", *(fit.parameter for fit in self.fits)], rows)

    @property
    def p_value(self) -> float:
        """Probability of a larger chi^2 than the smallest of the chain, if the model is right."""
        from scipy.stats import chi2

        return float(chi2.sf(self.chi2_min, self.n_data - len(self.fits)))

    def sentences(self) -> list[str]:
        """How well it fits, how long it took, and what there is to know of the chains."""
        times = (
            f"{METHODS[k]} " + ("of an earlier run" if seconds is None else f"{seconds:.0f} s")
            for k, seconds in self.wall_s.items()
        )
        return [
            f"{self.fits[0].sample}: chi^2 = {self.chi2_min:.1f} with {self.n_data} bins and "
            f"{len(self.fits)} parameters, p = {self.p_value:.2g}. {', '.join(times)}.",
            *self.nuts["warnings"],
        ]


@dataclass(frozen=True)
class Table1:
    """Fits of some of the samples.

    Attributes
    ----------
    samples : list of SampleFit
    """

    samples: list[SampleFit]

    @property
    def numbers(self) -> dict[str, Any]:
        """Every number, for a JSON file."""
        return {"samples": [{**asdict(fit), "p_value": fit.p_value} for fit in self.samples]}

    def tables(self) -> list[Table]:
        """One for each sample."""
        return [sample.table() for sample in self.samples]

    def sentences(self) -> list[str]:
        """What the offsets are, and then of each sample how well it fits."""
        return [
            "Offsets are from the mean without a network, and of Cobaya's mean from the paper's "
            "values. emulator_error: none, as in the paper; by default likelihoods add the scatter "
            "of one catalogue (aleatoric).",
            *(line for sample in self.samples for line in sample.sentences()),
        ]


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
    from iaemu_likelihood.emulator.models import Emulator

    data = _data(sample)
    (part,) = data.parts
    if weights == "direct":
        omega_c, omega_s = expected_omega(sample, part.r_edges)
    else:
        emulator = Emulator.load(weights)
        hod = _occupation(part.measured, emulator.space.occupation.names)
        # P2 is 1 at mu = 1 and 0 at mu = 0, so these two points are the templates themselves.
        mu = np.eye(emulator.space.n_alignment)
        p = emulator.predict(emulator.space.join(mu, hod))
        _, omega_c, omega_s = PairWeightedBinning(emulator.r_edges, part.r_edges)(
            p[XI.name][0], *p[OMEGA.name]
        )
    return fixed_hod_posterior(omega_c, omega_s, data.values, data.covariance)


def _occupation(measured: Measurement, names: Sequence[str]) -> Array:
    """Occupation parameters of a sample."""
    known = measured.metadata["hod"]
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"The fits of {measured.name} are at an occupation with {', '.join(known)}; the weights "
            f"have another, with {', '.join(missing)}."
        )
    return np.array([known[name] for name in names])


def _data(sample: str) -> DataVector:
    from iaemu_likelihood.likelihood.core import CorrelationLikelihood, LikelihoodOptions

    options = LikelihoodOptions(f"tng300.{sample}", sample, emulator_error="none")
    return CorrelationLikelihood(options).data


def write_expectation(tabulation: Tabulation, path: str | Path) -> Path:
    """Templates of the TNG300 samples' occupations from a tabulation, as an ECSV table."""
    from astropy.table import Table as AstropyTable
    from astropy.table import vstack

    from iaemu_likelihood.emulator.atomic import atomic_write

    names = DEFAULT_SPACE.occupation.names
    tables = []
    for sample in TNG300_SAMPLES:
        measured = Measurement.read(f"tng300.{sample}")
        found = tabulation.templates(_occupation(measured, names))
        n = len(tabulation.r_edges) - 1
        columns: dict[str, Any] = {"sample": [sample] * n}
        columns |= {"r_min": tabulation.r_edges[:-1], "r_max": tabulation.r_edges[1:]}
        templates = templates_of(found.statistics)
        columns |= {t.name: found.values[0, i] for i, t in enumerate(templates)}
        tables.append(AstropyTable(columns))
    table = vstack(tables)
    table.meta = {
        "description": "Exact expectation of the templates at the occupation of the TNG300 samples",
        "made_by": "iaemu validate binning --write-expectation",
        "halos_sha256": tabulation.halos_sha256,
        "units": {"r_min": "Mpc/h", "r_max": "Mpc/h"},
    }
    with atomic_write(path) as unfinished:
        table.write(unfinished, format="ascii.ecsv")
    return Path(path)


def check_samples(names: Sequence[str]) -> None:
    """Raise a ValueError if there is no such sample."""
    for name in names:
        if name not in TNG300_SAMPLES:
            raise ValueError(f"No TNG300 sample {name!r}; there are {', '.join(TNG300_SAMPLES)}.")


def fit_sample(
    sample: str, folder: str | Path, force: bool = False, weights: str = "templates"
) -> SampleFit:
    """Run the bundled example of a sample with NUTS and Cobaya and compare it with the paper.

    Parameters
    ----------
    sample : str
        sample1, sample2 or sample3.
    folder : str or Path
        Chains go to FOLDER/tng300_SAMPLE.* and FOLDER/nuts_SAMPLE*, and what Cobaya says to
        FOLDER/tng300_SAMPLE.log; a finished run is read, an unfinished one resumed.
    force : bool
        Start again.
    weights : str
        Of the emulator.
    """
    from cobaya.log import LoggedError
    from cobaya.run import run

    from iaemu_likelihood.cobaya.inputs import (
        refuse_python_tags,
        restored_logging,
        updated_file,
    )
    from iaemu_likelihood.plots import load_chains
    from iaemu_likelihood.sampling.nuts import run_nuts

    check_samples([sample])
    info = example(sample)
    info["theory"]["iaemu_likelihood.IAEmu"]["weights"] = weights
    root = Path(folder) / f"tng300_{sample}"
    exact = {
        "closed_form": exact_posterior(sample, weights),
        "direct": exact_posterior(sample, "direct"),
    }
    for state in (updated_file(root), checkpoint := root.with_name(f"{root.name}.checkpoint")):
        if state.is_file():
            refuse_python_tags(state)  # Cobaya reads them when it resumes
    begun = checkpoint.is_file() and not force
    messages = root.with_name(f"{root.name}.log")
    root.parent.mkdir(parents=True, exist_ok=True)
    log.info("%s: Cobaya's MCMC, whose log is %s; then NUTS", sample, messages)
    with restored_logging(), messages.open("a") as file, redirect_stdout(file):
        start = time.perf_counter()
        try:
            run({**info, "output": str(root)}, force=force, resume=not force)
        except LoggedError as refusal:
            raise ValueError(f"{refusal} (Cobaya's log: {messages})") from refusal
        wall = time.perf_counter() - start
        hamiltonian = run_nuts(info, Path(folder) / f"nuts_{sample}", force=force)

    chains = load_chains(root)
    published = Measurement.read(f"tng300.{sample}").metadata["published_fits"]
    fits = []
    for i, parameter in enumerate(DEFAULT_SPACE.alignment.names):
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
        {"cobaya": None if begun else wall, "nuts": hamiltonian.sampling_s},
        hamiltonian.numbers,
        str(root),
    )


def overlay_plot(sample: str, folder: str | Path) -> Path:
    """Corner plot of NUTS and Cobaya over draws from the posterior of the direct model."""
    from getdist import MCSamples

    from iaemu_likelihood.plots import corner_plot, load_chains, load_nuts, write_figure

    root = Path(folder) / f"tng300_{sample}"
    cobaya = load_chains(root)
    names = [f"{name}_{sample}" for name in DEFAULT_SPACE.alignment.names]
    direct = MCSamples(
        samples=exact_posterior(sample, "direct").sample(40_000, seed=0),
        names=names,
        labels=[cobaya.parLabel(name) for name in names],
        ranges=dict.fromkeys(names, DEFAULT_SPACE.alignment.limits),
    )
    figure = corner_plot(
        [direct, cobaya, load_nuts(Path(folder) / f"nuts_{sample}")],
        [METHODS[k] for k in ("direct", "cobaya", "nuts")],
    )
    return write_figure(figure, f"{root}_corner.png")


@dataclass(frozen=True)
class BinningErrors:
    """Result of `binning_errors`.

    Attributes
    ----------
    numbers : dict
        Per sample, in every bin: errors of the templates of omega, and of omega at the paper's best
        fit, in units of the data's errors; fractional errors of xi.
    """

    numbers: dict[str, dict[str, list[float]]]

    def tables(self) -> list[Table]:
        """The largest errors of each sample."""
        fit = f"{OMEGA.name} at the best fit"
        columns = {**{t.name: t.name for t in OMEGA.templates}, OMEGA.name: fit, XI.name: XI.name}
        rows = [
            [sample, *(f"{np.abs(row[name]).max():.3f}" for name in columns)]
            for sample, row in self.numbers.items()
        ]
        title = f"Largest error of any bin: {OMEGA.name} in sigma of the data, {XI.name} relative"
        return [Table(title, ["sample", *columns.values()], rows)]


def binning_errors(tabulation: Tabulation, direct: Tabulation) -> BinningErrors:
    """What averaging over the data's bins costs: rebinned expectations against direct ones.

    Parameters
    ----------
    tabulation : Tabulation
        In the emulator's bins.
    direct : Tabulation
        Of the same catalogue in the bins of the data.
    """
    binning = PairWeightedBinning(tabulation.r_edges, direct.r_edges)
    alignment, occupation = DEFAULT_SPACE.alignment, DEFAULT_SPACE.occupation

    def functions(table: Tabulation, hod: Array, mu: list[float]) -> tuple[Array, dict[str, Array]]:
        """xi; and the templates of omega with omega itself, by name; shape (n_bins,) each."""
        found = table.templates(hod)
        omega = found.correlations(*mu)[found.statistics.index(OMEGA)][0]
        templates = {t.name: getattr(found, t.name)[0] for t in OMEGA.templates}
        return getattr(found, XI.name)[0], {**templates, OMEGA.name: omega}

    numbers = {}
    for sample in TNG300_SAMPLES:
        measured = Measurement.read(f"tng300.{sample}").cut(direct.r_edges[0], direct.r_edges[-1])
        fit = measured.metadata["published_fits"]["IAEmu"]
        point = _occupation(measured, occupation.names), [fit[name][0] for name in alignment.names]
        known_xi, known = functions(tabulation, *point)
        true_xi, true = functions(direct, *point)
        xi, *rebinned = binning(known_xi, *known.values())
        numbers[sample] = {
            name: ((got - true[name]) / measured.errors[OMEGA.name]).tolist()
            for name, got in zip(known, rebinned, strict=True)
        }
        numbers[sample][XI.name] = (xi / true_xi - 1).tolist()
    return BinningErrors(numbers)
