"""The paper's Table 1 made again: alignment of the TNG300 samples, beside the published fits."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from iaemu_likelihood.closed_form import FixedHODPosterior, fixed_hod_posterior
from iaemu_likelihood.emulator.parameters import ALIGNMENT_PARAMETERS, HOD_PARAMETERS
from iaemu_likelihood.measurement import Measurement

if TYPE_CHECKING:
    from iaemu_likelihood.emulator.tabulation import Tabulation

SAMPLES = ("sample1", "sample2", "sample3")


@dataclass(frozen=True)
class Fit:
    """One parameter of one sample.

    Attributes
    ----------
    sample, parameter : str
    mean, std : float
        From the Cobaya chain.
    exact_mean, exact_std : float
        From the closed form with the same emulator, data and covariance.
    published : dict
        Per column of the paper's Table 1: value, lower and upper error, and ``offset``, the
        difference to it in units of the combined error.
    """

    sample: str
    parameter: str
    mean: float
    std: float
    exact_mean: float
    exact_std: float
    published: dict[str, dict[str, float]]


@dataclass(frozen=True)
class SampleFit:
    """All of one sample: its fits, the best chi^2, what it took and where the chains are."""

    fits: list[Fit]
    chi2_min: float
    n_data: int
    wall_s: float
    root: str


def example(sample: str) -> dict[str, Any]:
    """The bundled Cobaya input of a TNG300 sample."""
    text = (files("iaemu_likelihood.yaml_examples") / f"tng300_{sample}.yaml").read_text()
    info: dict[str, Any] = yaml.safe_load(text)
    return info


def exact_posterior(sample: str) -> FixedHODPosterior:
    """Closed-form posterior of the run that `example` describes."""
    from cobaya.model import get_model

    from iaemu_likelihood.binning import PairWeightedBinning
    from iaemu_likelihood.emulator.prediction import Emulator

    info = example(sample)
    model = get_model({k: info[k] for k in ("theory", "likelihood", "params")}, stop_at_error=True)
    (likelihood,) = model.likelihood.values()
    hod = Measurement.read(f"tng300.{sample}").metadata["hod"]
    emulator = Emulator.load()
    # P2 is 1 at mu = 1 and 0 at mu = 0, so these two points are the templates themselves.
    p = emulator.predict(mu_cen=[1, 0], mu_sat=[0, 1], **hod)
    (part,) = likelihood.core.data.parts
    binning = PairWeightedBinning(emulator.r_edges, part.r_edges)
    _, omega_c, omega_s = binning(p.xi[0], p.omega[0], p.omega[1])
    return fixed_hod_posterior(
        omega_c, omega_s, likelihood.core.data.values, likelihood.core.data.covariance
    )


def fit_sample(sample: str, folder: str | Path, force: bool = False) -> SampleFit:
    """Run the bundled example of a sample with Cobaya and compare it with the paper.

    Parameters
    ----------
    sample : str
        sample1, sample2 or sample3.
    folder : str or Path
        Chains go to FOLDER/tng300_SAMPLE.*; a finished run is read, an unfinished one resumed.
    force : bool
        Start again.
    """
    from cobaya.run import run

    from iaemu_likelihood.plotting import load_chains

    if sample not in SAMPLES:
        raise ValueError(f"No TNG300 sample {sample!r}; there are {', '.join(SAMPLES)}.")
    root = Path(folder) / f"tng300_{sample}"
    start = time.perf_counter()
    run({**example(sample), "output": str(root)}, force=force, resume=not force)
    wall = time.perf_counter() - start

    chains = load_chains(root)
    exact = exact_posterior(sample)
    published = Measurement.read(f"tng300.{sample}").metadata["published_fits"]
    fits = []
    for i, parameter in enumerate(ALIGNMENT_PARAMETERS):
        name = f"{parameter}_{sample}"
        mean, std = float(chains.mean(name)), float(chains.std(name))
        columns = {}
        for column, values in published.items():
            value, lower, upper = values[parameter]
            theirs = upper if mean > value else -lower
            columns[column] = {
                "value": value,
                "lower": lower,
                "upper": upper,
                "offset": float((mean - value) / np.hypot(std, theirs)),
            }
        fits.append(
            Fit(sample, parameter, mean, std, float(exact.mean[i]), float(exact.std[i]), columns)
        )
    n_data = len(Measurement.read(f"tng300.{sample}").cut(0.1, 15.85).r_min)
    chi2 = float(chains.getParams().chi2.min())
    return SampleFit(fits, chi2, n_data, wall, str(root))


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
    from iaemu_likelihood.binning import PairWeightedBinning

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
