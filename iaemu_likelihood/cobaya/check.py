"""Checking a Cobaya run before it samples."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cobaya.input import update_info
from cobaya.model import LogPosterior, Model
from numpy.typing import NDArray

from iaemu_likelihood.cobaya.derived import derived_name, galaxies_at
from iaemu_likelihood.cobaya.inputs import (
    cobaya_errors,
    model_of,
    read_input,
    refuse_unknown,
    restored_logging,
    updated_file,
)
from iaemu_likelihood.cobaya.likelihood import IACorrelations
from iaemu_likelihood.cobaya.theory import IAEmu
from iaemu_likelihood.data_vectors.data_vector import Part
from iaemu_likelihood.emulator.models.derived import BOX_ERROR
from iaemu_likelihood.emulator.models.weights import identity
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.likelihood.core import CorrelationLikelihood
from iaemu_likelihood.likelihood.evaluation import Points, predict
from iaemu_likelihood.likelihood.model import BOX, Bins, CorrelationModel
from iaemu_likelihood.likelihood.responses import response_names

# Draws from the prior that show how much of it lies in the domain, and tries for a reference point.
N_DRAWS = 10_000
MAX_TRIES = 10_000
# Sigma of the box of the training, over that of the data, from which on it is named.
MATTERS = 0.25


@dataclass(frozen=True)
class RunCheck:
    """Report on a run, before it samples.

    Attributes
    ----------
    numbers : mapping
        Numbers and text, ready for JSON.
    """

    numbers: Mapping[str, Any]

    def tables(self) -> list[Table]:
        """Tables of the data, of the emulator's errors and of the sampled parameters."""
        numbers = self.numbers
        rows = [
            (name.rsplit(".", 1)[-1], row)  # whole names are in the sentences
            for name, likelihood in numbers["likelihoods"].items()
            for row in likelihood["data"]
        ]
        data = [
            [
                name,
                row["measurement"],
                row["statistic"],
                str(row["n_kept"]),
                f"{row['r_min']:.4g} to {row['r_max']:.4g}",
                "; ".join(f"{low:.4g} to {high:.4g}" for low, high in _joined(row["dropped"]))
                or "none",
            ]
            for name, row in rows
        ]
        ratio = "median_emulator_sigma_over_data_sigma"
        kinds = list(dict.fromkeys(kind for _, row in rows for kind in row[ratio]))
        errors = [
            [
                name,
                row["statistic"],
                *(f"{row[ratio][kind]:.2g}" if kind in row[ratio] else "" for kind in kinds),
            ]
            for name, row in rows
        ]
        word = {True: "inside", False: "wider", None: ""}
        parameters = [
            [
                row["name"],
                f"{row['distribution']}, {_interval(row['prior'])}",
                _interval(row["domain"]),
                word[row["inside"]],
                f"{numbers['reference']['point'][row['name']]:.5g}",
            ]
            for row in numbers["parameters"]
        ]
        of_data = ["likelihood", "measurement", "of", "bins", "r [Mpc/h]", "dropped [Mpc/h]"]
        of_parameters = ["", "prior", "emulator's domain", "prior is", "reference"]
        return [
            Table("Data", of_data, data),
            Table(
                "Sigma of the model over that of the data, median of the bins",
                ["likelihood", "of", *kinds],
                errors,
            ),
            Table("Sampled parameters", of_parameters, parameters),
        ]

    def sentences(self) -> list[str]:
        """All other numbers, in sentences to show below the tables."""
        numbers = self.numbers
        theory, reference, output = numbers["theory"], numbers["reference"], numbers["output"]
        lines = _about_weights(theory)
        for name, x in numbers["likelihoods"].items():
            regions = f" from {x['n_jackknife']} jackknife regions" if x["n_jackknife"] else ""
            lines.append(
                f"{name}: {', '.join(x['data_files'])} ({x['data_sha256'][:12]}...); covariance: "
                f"{x['covariance']}{regions}, condition number of the correlation matrix "
                f"{x['condition_number']:.3g}; correction: {x['covariance_correction']}; emulator_error: "
                f"{x['emulator_error']}; model_error: {x['model_error']}; normalized: {x['normalized']}; chi^2 = {x['chi2']:.4g} for "
                f"{x['n_data']} data points. In the chain chi^2 is {x['chi2_column']}, and chi2__{name} "
                "is -2 log of the likelihood."
            )
            lines += [f"Warning: {sentence}" for sentence in x["redshift_warnings"]]
            lines += [f"{name}: {sentence}" for sentence in x["covariance_advice"]]
        responses = dict.fromkeys(
            r for x in numbers["likelihoods"].values() for r in x["responses"]
        )
        if responses:
            lines.append(
                f"The responses of shapes, {', '.join(responses)}, are degenerate with the alignment, "
                "mu: shapes on the sky depend on products of the two. What a fit says of mu is no more "
                "certain than what the priors, or fixed values, say of the responses."
            )
        if numbers["other_likelihoods"]:
            lines.append(f"Other likelihoods: {', '.join(numbers['other_likelihoods'])}.")
        if numbers["fixed"]:
            lines.append(
                "Fixed: " + ", ".join(f"{k} = {v:g}" for k, v in numbers["fixed"].items()) + "."
            )
        domain = numbers["prior_in_domain"]
        lines.append(
            f"Share of the prior in the emulator's domain: {domain['share']:.4g} ± "
            f"{domain['standard_error']:.1g} ({domain['n_draws']} draws, seed {domain['seed']})."
        )
        lines.append(
            f"At the reference point (seed {reference['seed']}): chi^2 = {reference['chi2']:.4g} for "
            f"{reference['degrees_of_freedom']} degrees of freedom, log-posterior "
            f"{reference['log_posterior']:.6g}."
        )
        lines += _about_galaxies(numbers["galaxies"], numbers["number_densities"])
        sampler = numbers["sampler"]
        options = ", ".join(f"{k}: {_brief(v)}" for k, v in sampler.get("options", {}).items())
        lines.append(
            f"Sampler: {sampler['name']}{f' ({options})' if options else ''}."
            if sampler
            else "Sampler: none; cobaya-run needs one."
        )
        state = "new"
        if output["exists"]:
            state = "exists; cobaya-run goes on with --resume, or starts again with --force"
            for how in ("resume", "force"):
                state = f"exists, and the input says {how}: true" if output[how] else state
        lines.append(
            "Output: none."
            if output["prefix"] is None
            else f"Output: {output['prefix']} ({state})."
        )
        return lines


def _about_weights(theory: Mapping[str, Any]) -> list[str]:
    """Weights and redshift of each sample, in sentences."""
    found: dict[str, list[str]] = {}
    for sample, x in theory["emulators"].items():
        text = f"{x['weights']} at z = {x['redshift']:g} ({x['sha256'][:12]}...)"
        found.setdefault(text, []).append(sample)
    of_all = len(found) == 1
    each = [text if of_all else f"{text} for {', '.join(who)}" for text, who in found.items()]
    lines = [f"Weights: {'; '.join(each)}; points outside the domain: {theory['out_of_domain']}."]
    lines += [f"Warning: {sentence}" for sentence in theory["cosmology_warnings"]]
    missed = {x["weights"]: x["targets_missed"] for x in theory["emulators"].values()}
    return lines + [
        f"Warning: the weights {weights} missed targets when they were validated: {targets}. `iaemu info "
        f"{weights}` shows their accuracy."
        for weights, targets in missed.items()
        if targets
    ]


def _about_galaxies(
    galaxies: Mapping[str, Mapping[str, float]],
    measured: Mapping[str, Sequence[Mapping[str, float]]],
) -> list[str]:
    """Derived parameters at the reference point, beside measured number densities; sentences."""
    lines = []
    for sample, values in galaxies.items():
        of_sample = f" of {sample}" if sample else ""
        each = ", ".join(
            f"{name} = {value:.4g}{_box_error(name)}" for name, value in values.items()
        )
        lines.append(
            f"Galaxies{of_sample} at the reference point: {each}. A run stores those that its params name, "
            f"as in {derived_name(next(iter(values)), sample or None)}: {{derived: true}}; "
            "docs/derived.md defines them; the errors are those of the training's single box."
        )
    for sample, several in measured.items():
        of_sample = f" of {sample}" if sample else ""
        for density in several:
            lines.append(
                f"Number density{of_sample}: measured {density['value']:.4g} ± {density['error']:.2g} "
                "(h/Mpc)^3, a datum of the likelihood."
            )
        if len(several) > 1:
            lines.append(
                f"Warning: the number density{of_sample} is given to {len(several)} likelihoods, and so "
                "counts more than once. Give it to one of them."
            )
    return lines


def _box_error(name: str) -> str:
    return f" ({100 * BOX_ERROR[name]:g} %)" if name in BOX_ERROR else ""


def _brief(option: Any) -> Any:
    """An option of a sampler; of a matrix its size."""
    if isinstance(option, list) and option and isinstance(option[0], list):
        return f"{len(option)} x {len(option[0])}"
    return option


def _joined(bins: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Ranges of bins, of which those that touch are one."""
    ranges: list[tuple[float, float]] = []
    for low, high in bins:
        if ranges and np.isclose(ranges[-1][1], low):
            low = ranges.pop()[0]
        ranges.append((low, high))
    return ranges


def _interval(limits: Sequence[float | None] | None) -> str:
    if limits is None:
        return ""
    low, high = ("unbounded" if x is None else f"{x:.5g}" for x in limits)
    return f"{low} to {high}"


@restored_logging()
def check_run(path: str | Path, seed: int = 0) -> RunCheck:
    """Check a run without sampling.

    Parameters
    ----------
    path : str or Path
        Input of `cobaya-run`.
    seed : int
        Seed of the reference point and of the draws from the prior.

    Returns
    -------
    RunCheck

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not the input of a run with `IAEmu` and `IACorrelations`, or names something that
        does not exist.
    cobaya.log.LoggedError
        If Cobaya or a component refuses the input.
    """
    info = read_input(path)
    # The report repeats what components log.
    model = model_of(info, debug=logging.ERROR)
    sampler = _sampler(path, info)
    prefix = info.get("output", Path(path).stem)  # as for cobaya-run
    likelihoods = {k: x for k, x in model.likelihood.items() if isinstance(x, IACorrelations)}
    if not likelihoods:
        raise ValueError(
            f"{path} has none of this package's likelihoods: no iaemu_likelihood.IACorrelations or "
            f"iaemu_likelihood.tng300... among {', '.join(model.likelihood)}."
        )
    sampled = list(model.parameterization.sampled_params())
    if not sampled and sampler.get("name") != "evaluate":
        raise ValueError(
            f"{path} samples nothing: every parameter is fixed, which only the sampler evaluate takes."
        )
    theory = next(iter(likelihoods.values())).theory
    with cobaya_errors("The posterior cannot be computed"):
        point, posterior = _start(path, model, seed)
    inputs = dict(model.parameterization.to_input(point))
    derived = dict(zip(model.parameterization.derived_params(), posterior.derived, strict=True))
    columns = {
        name: next(p for p in x.output_params if p.startswith("ia_chi2_"))
        for name, x in likelihoods.items()
    }
    chi2 = {name: float(derived[column]) for name, column in columns.items()}
    n_data = sum(x.core.n_data for x in likelihoods.values())
    numbers = {
        "input": str(path),
        "theory": {
            "weights_sha256": theory.weights_sha256,
            "samples": list(theory.samples or []),
            "out_of_domain": theory.out_of_domain,
            "cosmology_warnings": theory.cosmology_warnings(),
            "emulators": {
                label or "": {
                    "weights": theory.sources[label].weights,
                    "sha256": identity(emulator.card),
                    "redshift": emulator.redshift,
                    "targets_missed": emulator.card.get("accuracy", {}).get("targets_missed", ""),
                }
                for label, emulator in theory.emulators.items()
            },
        },
        "likelihoods": {
            name: {
                **_described(x, theory, inputs),
                "chi2": chi2[name],
                "chi2_column": columns[name],
            }
            for name, x in likelihoods.items()
        },
        "galaxies": galaxies_at(theory.emulators, theory.parameters, theory.conventions, inputs),
        "number_densities": _number_densities(likelihoods.values()),
        "other_likelihoods": [name for name in model.likelihood if name not in likelihoods],
        "parameters": _parameters(model, theory),
        "fixed": {k: float(v) for k, v in model.parameterization.constant_params().items()},
        "prior_in_domain": _prior_in_domain(model, theory, seed),
        "reference": {
            "point": dict(zip(sampled, map(float, point), strict=True)),
            "chi2": sum(chi2.values()),
            "n_data": n_data,
            "degrees_of_freedom": n_data - len(sampled),
            "log_posterior": float(posterior.logpost),
            "seed": seed,
        },
        "output": {
            "prefix": prefix,
            "exists": prefix is not None and updated_file(prefix).is_file(),
            "resume": bool(info.get("resume")),
            "force": bool(info.get("force")),
        },
        "sampler": sampler,
    }
    return RunCheck(numbers)


def _sampler(path: str | Path, info: Mapping[str, Any]) -> dict[str, Any]:
    """Name and options of the sampler, which Cobaya knows; empty if the input has none."""
    given = info.get("sampler") or {}
    if isinstance(given, str):
        given = {given: None}
    if not isinstance(given, Mapping) or len(given) > 1:
        raise ValueError(
            f"{path}: 'sampler' must be one name with its options, as in mcmc: {{max_samples: 1000}}; "
            f"got {given!r}."
        )
    refuse_unknown(str(path), "sampler", given)
    for name, options in given.items():
        if not isinstance(options, Mapping | None):
            raise ValueError(f"{path}: the options of {name} must be a mapping; got {options!r}.")
        update_info({"sampler": {name: options}})  # raises at options that do not exist
        return {"name": name, "options": dict(options or {})}
    return {}


def _start(path: str | Path, model: Model, seed: int) -> tuple[NDArray[np.float64], LogPosterior]:
    """A point where a chain could start, or the only one there is, and its log-posterior."""
    if model.prior.d():
        return model.get_valid_point(MAX_TRIES, random_state=np.random.default_rng(seed))
    posterior = model.logposterior([])
    if not np.isfinite(posterior.logpost):
        raise ValueError(f"{path}: the posterior at its fixed parameters is zero.")
    return np.empty(0), posterior


def _described(
    likelihood: IACorrelations, theory: IAEmu, inputs: Mapping[str, float]
) -> dict[str, Any]:
    """Data, covariance and errors of a likelihood, with the emulator at the parameters `inputs`."""
    core = likelihood.core
    options, data = core.options, core.data
    sigma = [
        _emulator_sigma(part, bins, theory, inputs)
        for part, bins in zip(data.parts, core.bins, strict=True)
    ]
    scale = {"aleatoric": (options.volume_factor / options.n_realisations) ** 0.5}
    of_data = np.sqrt(np.diag(data.covariance))
    ratio = {
        kind: scale.get(kind, 1.0) * np.concatenate([each[kind] for each in sigma]) / of_data
        for kind in sigma[0]
    }
    rows, end = [], 0
    for part in data.parts:
        for name, kept, dropped in part.bins():
            points = slice(end, end := end + len(kept))
            rows.append(
                {
                    "sample": part.sample,
                    "measurement": part.measured.name,
                    "statistic": name,
                    "n_kept": len(kept),
                    "r_min": float(kept[0, 0]),
                    "r_max": float(kept[-1, 1]),
                    "dropped": dropped.tolist(),
                    "median_emulator_sigma_over_data_sigma": {
                        kind: float(np.median(x[points])) for kind, x in ratio.items()
                    },
                }
            )
    return {
        "responses": [name for part in data.parts for name in response_names(part.sample)]
        if core.has_shapes
        else [],
        "data_files": options.data_files,
        "data_sha256": likelihood.data_sha256,
        "data": rows,
        "n_data": core.n_data,
        "covariance": options.covariance_file or options.covariance,
        "n_jackknife": data.n_jackknife,
        "condition_number": data.condition_number,
        "covariance_correction": options.covariance_correction,
        "emulator_error": options.emulator_error,
        "normalized": options.normalized,
        "model_error": options.model_error,
        "covariance_advice": _advice(core, ratio),
        "redshift_warnings": likelihood.redshift_warnings(),
    }


def _advice(core: CorrelationLikelihood, ratio: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """What is counted twice in the covariance, or not at all; a sentence each."""
    found = []
    regions = core.data.n_jackknife
    if core.options.covariance_file is None:  # errors, too, come from somewhere
        regions = min(part.measured.n_jackknife or 0 for part in core.data.parts)
    if "aleatoric" in core.errors and regions:
        found.append(
            f"emulator_error: {core.options.emulator_error} adds the scatter of one catalogue to errors "
            f"from {regions} jackknife regions, which hold that scatter already. It is counted twice, and "
            "posteriors come out too wide; with emulator_error: none, or epistemic, they rest on the "
            "jackknife alone. docs/covariance.md has measured both. The aleatoric term is right where "
            "the covariance of the data lacks the catalogue's own scatter."
        )
    elif "aleatoric" in core.errors:
        found.append(
            f"emulator_error: {core.options.emulator_error} adds the scatter of one catalogue. That is right "
            "if the covariance of the data lacks this scatter; the covariance of a jackknife, or of mocks, "
            "holds it, and it is counted twice then (docs/covariance.md)."
        )
    if BOX in ratio and BOX not in core.errors and np.median(ratio[BOX]) > MATTERS:
        found.append(
            "The sample variance of the box of the training is counted nowhere. Its sigma is "
            f"{np.median(ratio[BOX]):.2g} of the data's errors (median; at most {ratio[BOX].max():.2g}): "
            "model_error: box adds it."
        )
    return found


def _emulator_sigma(
    part: Part, bins: Bins, theory: IAEmu, inputs: Mapping[str, float]
) -> dict[str, NDArray[np.float64]]:
    """Standard deviation of each data point, by kind, even if the likelihood does not add it."""
    emulator = theory.emulators[part.sample]
    with_noise = emulator.has_noise and not bins.is_projected
    kinds = ("aleatoric", "epistemic") if with_noise else ("epistemic",)
    if not bins.is_projected:
        with suppress(ValueError):  # where it is not known
            _ = CorrelationModel(emulator, part.statistics).box_variance
            kinds = (*kinds, BOX)

    def values(names: list[str]) -> NDArray[np.float64]:
        return np.array([[inputs[name] for name in names]])

    points = Points(
        CorrelationModel(emulator, part.statistics),
        *emulator.space.split(values(theory.parameters[part.sample])),
        values(response_names(part.sample)) if bins.has_shapes else None,
        kinds,
    )
    _, (predicted,) = predict([points])
    _, covariances = predicted.in_bins(bins, kinds)
    keep = part.keep.ravel()
    return {kind: np.sqrt(np.diag(c[0]))[keep] for kind, c in covariances.items()}


def _number_densities(
    likelihoods: Iterable[IACorrelations],
) -> dict[str, list[dict[str, float]]]:
    """Measured number densities by the label of the sample, empty without one."""
    found: dict[str, list[dict[str, float]]] = {}
    for likelihood in likelihoods:
        measured = likelihood.core.number_densities
        if measured is None:
            continue
        rows = zip(measured.samples, measured.values, measured.errors, strict=True)
        for sample, value, error in rows:
            found.setdefault(sample or "", []).append(
                {"value": float(value), "error": float(error)}
            )
    return found


def _parameters(model: Model, theory: IAEmu) -> list[dict[str, Any]]:
    """Prior and emulator's domain of each sampled parameter."""
    domain: dict[str, list[float]] = {}
    for label, names in theory.parameters.items():
        outer = np.transpose(theory.emulators[label].domain.outer_limits())
        domain |= dict(zip(names, outer.tolist(), strict=True))
    rows = []
    for name, pdf in zip(model.parameterization.sampled_params(), model.prior.pdf, strict=True):
        low, high = pdf.interval(1)
        limits = domain.get(name)
        rows.append(
            {
                "name": name,
                "distribution": pdf.dist.name,
                "prior": [float(x) if np.isfinite(x) else None for x in (low, high)],
                "domain": limits,
                "inside": None if limits is None else bool(low >= limits[0] and high <= limits[1]),
            }
        )
    return rows


def _prior_in_domain(model: Model, theory: IAEmu, seed: int) -> dict[str, Any]:
    """Share of the prior in which all samples are in the domain, by Monte Carlo.

    Priors that are functions of several parameters are left out.
    """
    draws = np.empty((N_DRAWS, 0))
    if model.prior.d():
        draws = model.prior.sample(
            N_DRAWS, ignore_external=True, random_state=np.random.default_rng(seed)
        )
    # Copies, as Cobaya gives the same mapping every time.
    inputs = [dict(model.parameterization.to_input(draw)) for draw in draws]
    inside = np.ones(N_DRAWS, bool)
    for label, names in theory.parameters.items():
        theta = np.array([[row[name] for name in names] for row in inputs])
        inside &= theory.emulators[label].domain.contains(theta)
    share = float(inside.mean())
    return {
        "share": share,
        "standard_error": float(np.sqrt(share * (1 - share) / N_DRAWS)),
        "n_draws": N_DRAWS,
        "seed": seed,
    }
