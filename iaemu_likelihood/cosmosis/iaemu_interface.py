"""Statistics of galaxies, and their likelihood, as a CosmoSIS module; see module.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from cosmosis.datablock import DataBlock, names, option_section
from cosmosis.runtime import logs
from iaemu_likelihood.emulator.backend import as_array, unaffected
from iaemu_likelihood.emulator.models.derived import DerivedModel
from iaemu_likelihood.emulator.physics.bins import bin_centres
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.stated_cosmology import cosmology_warnings
from iaemu_likelihood.emulator.physics.statistics import PROJECTED
from numpy.typing import NDArray
from torch import Tensor

from iaemu_likelihood.likelihood.core import (
    CorrelationLikelihood,
    LikelihoodOptions,
)
from iaemu_likelihood.likelihood.evaluation import OUT_OF_DOMAIN, one_thread
from iaemu_likelihood.likelihood.model import BOX, Bins
from iaemu_likelihood.likelihood.responses import check_responses, response_names
from iaemu_likelihood.likelihood.samples import (
    JointModel,
    SamplePrediction,
    Source,
    load_emulators,
)

Array = NDArray[np.float64]

# Spelling of the module onepower.
ALIASES = {"logMmin": "log10_Mmin", "sigma_logM": "sigma", "logM0": "log10_M0", "logM1": "log10_M1"}
# Options that CosmoSIS itself reads in the section of every module.
RESERVED = {"file", "setup", "function", "cleanup"}


@dataclass(frozen=True)
class ModuleOptions:
    """Options other than `LikelihoodOptions`, and than those of `Source`; module.yaml explains each."""

    out_of_domain: str = "reject"
    hod_section: str = "hod_parameters"
    ia_section: str = "intrinsic_alignment_parameters"
    output_section: str = "galaxy_orientation_xi_3d"
    derived: str = ""
    derived_section: str = "galaxies"
    n_parameters: int = 0


# What may be one value for all samples, or one for each.
OF_SOURCE = {"weights": "templates", "occupation": "", "alignment": "", "redshift": None}
OF_MODULE = {f.name: f.default for f in fields(ModuleOptions)}
# Priors are in files of CosmoSIS, so no axis ratio makes them here.
OF_LIKELIHOOD = {f.name: f.default for f in fields(LikelihoodOptions) if f.name != "axis_ratio"}
KNOWN = {**OF_SOURCE, **OF_MODULE, **OF_LIKELIHOOD}


def _words(given: Any) -> list[str]:
    """Words of an option that may be a list; CosmoSIS may have turned labels into numbers."""
    return given.split() if isinstance(given, str) else [str(x) for x in np.ravel(given)]


def _files(given: Any, n_labels: int) -> list[str]:
    """Measurement files: one, whose path may hold spaces, unless several samples have labels."""
    text = str(_typed("data_file", "", given)).strip()
    if not text:
        raise ValueError("data_file is empty; leave it out if there are no data.")
    return [text] if n_labels < 2 else _paths(text)


def _paths(text: str) -> list[str]:
    """Several paths, on lines of their own or, if they hold no spaces, on one line."""
    lines = [line.strip() for line in text.splitlines()]
    return lines if len(lines) > 1 else text.split()


def read_sources(given: Mapping[str, Any]) -> dict[str | None, Source]:
    """The source of each sample, from the options of an ini; a ValueError if they make no sense."""
    labels: Sequence[str | None] = _words(given.get("sample", "")) or [None]
    if len({*labels}) < len(labels):
        raise ValueError(f"sample has a label twice: {' '.join(map(str, labels))}.")
    columns: dict[str, Any] = {}
    for name in ("weights", "occupation", "alignment"):
        text = str(_typed(name, "", given.get(name, OF_SOURCE[name]))).strip()
        several = _paths(text)
        # Of one sample, or of all, a path may hold spaces.
        columns[name] = several if len(several) == len(labels) > 1 else [text] * len(labels)
    redshifts = np.ravel(given.get("redshift", np.nan)).tolist()
    if any(isinstance(x, str) for x in redshifts) or len(redshifts) not in (1, len(labels)):
        named = ", ".join(label for label in labels if label)
        raise ValueError(
            f"redshift must be one number{f', or one for each of the samples {named}' if named else ''}; "
            f"got {redshifts}."
        )
    if len(redshifts) == 1:
        redshifts = redshifts * len(labels)
    columns["redshift"] = [None if np.isnan(x) else float(x) for x in redshifts]
    for name in ("occupation", "alignment"):
        columns[name] = [x or None for x in columns[name]]
    rows = zip(*columns.values(), strict=True)
    each = [Source(**dict(zip(columns, row, strict=True))) for row in rows]
    return dict(zip(labels, each, strict=True))


def _typed(name: str, default: Any, given: Any) -> Any:
    """Value of an option, checked to have the type of its default (text if this is None)."""
    kind = str if default is None else type(default)
    value = float(given) if kind is float and type(given) is int else given
    if type(value) is not kind:
        words = {str: "text", bool: "T or F", int: "a whole number", float: "a number"}
        raise ValueError(f"{name} must be {words[kind]}; got {given!r}.")
    return value


def _cut(name: str, given: Any, statistics: Sequence[str]) -> Any:
    """A scale cut in Mpc/h: one number, or one for each statistic, in their order."""
    limits = np.ravel(given).tolist()
    if any(isinstance(x, str) for x in limits) or len(limits) not in (1, len(statistics)):
        raise ValueError(
            f"{name} must be one number (Mpc/h), or one for each of {', '.join(statistics)}; "
            f"got {given}."
        )
    return limits[0] if len(limits) == 1 else dict(zip(statistics, limits, strict=True))


def _densities(given: Any, labels: Sequence[str]) -> dict[str, Any]:
    """Number densities: value and error of the one sample, or of each of several, in their order."""
    numbers = np.ravel(given).tolist()
    n = max(len(labels), 1)
    if any(isinstance(x, str) for x in numbers) or len(numbers) != 2 * n:
        of_each = f", for each of {', '.join(labels)}" if n > 1 else ""
        raise ValueError(
            f"number_density must be a value and its error, (h/Mpc)^3{of_each}; got {given}."
        )
    each = [
        {"value": value, "error": error}
        for value, error in zip(numbers[::2], numbers[1::2], strict=True)
    ]
    return dict(zip(labels, each, strict=True)) if labels else each[0]


def read_options(given: Mapping[str, Any]) -> tuple[ModuleOptions, LikelihoodOptions]:
    """Read the options of an ini; without a likelihood, data_file is empty.

    Raises
    ------
    ValueError
        If an option or its value is unknown; the message says what is allowed.
    """
    unknown = sorted(set(given) - set(KNOWN))
    if unknown:
        raise ValueError(f"No option {', '.join(unknown)}; there are {', '.join(KNOWN)}.")
    own = ModuleOptions(**{k: _typed(k, OF_MODULE[k], given[k]) for k in OF_MODULE if k in given})
    if own.out_of_domain not in OUT_OF_DOMAIN:
        raise ValueError(
            f"out_of_domain must be one of {', '.join(OUT_OF_DOMAIN)}; got {own.out_of_domain!r}."
        )
    if own.n_parameters < 0:
        raise ValueError(f"n_parameters must be 0 or more; got {own.n_parameters}.")
    statistics = _words(given.get("statistics", OF_LIKELIHOOD["statistics"]))
    rest: dict[str, Any] = {}
    for name in [name for name in OF_LIKELIHOOD if name in given]:
        if name == "data_file":
            rest[name] = _files(given[name], len(_words(given.get("sample", ""))))
        elif name in ("sample", "statistics"):
            rest[name] = _words(given[name])
        elif name == "number_density":
            rest[name] = _densities(given[name], _words(given.get("sample", "")))
        elif name in ("r_min", "r_max"):
            rest[name] = _cut(name, given[name], statistics)
        else:
            rest[name] = _typed(name, OF_LIKELIHOOD[name], given[name])
    if not rest.get("sample", True):
        del rest["sample"]  # the default of module.yaml
    if "data_file" not in rest:
        rest.pop("sample", None)
        idle = [name for name in rest if name not in ("emulator_error", "model_error")]
        if idle:
            raise ValueError(f"{', '.join(idle)} can only be set for a likelihood; set data_file.")
        rest["data_file"] = ""
    likelihood = LikelihoodOptions(**rest)
    if likelihood.covariance_correction == "percival" and own.n_parameters < 1:
        raise ValueError(
            "covariance_correction: percival needs n_parameters, the number that the sampler "
            f"varies; got {own.n_parameters}."
        )
    return own, likelihood


@dataclass(frozen=True)
class Covariance:
    """The covariance of chi^2, with its Cholesky factor, inverse and log-determinant.

    Attributes
    ----------
    matrix, factor, inverse : ndarray, shape (n, n)
        The factor is lower triangular.
    log_determinant : float
    """

    matrix: Array
    factor: Array
    inverse: Array
    log_determinant: float

    @classmethod
    def of(cls, matrix: Tensor) -> Covariance:
        """Decompose a positive definite matrix, shape (n, n)."""
        factor = torch.linalg.cholesky(matrix)
        inverse = torch.cholesky_inverse(factor)
        log_determinant = 2 * float(factor.diagonal().log().sum())
        return cls(matrix.numpy(), factor.numpy(), inverse.numpy(), log_determinant)


class IAEmuModule:
    """The emulator and, if there are data, the likelihood.

    Parameters
    ----------
    name : str
        Name of the likelihood.
    given : mapping
        Options of the ini.
    """

    def __init__(self, name: str, given: Mapping[str, Any]) -> None:
        self.name = name
        self.options, likelihood = read_options(given)
        self.errors = likelihood.errors
        sources = read_sources(given)
        self.emulators = load_emulators(sources)
        projected = [s for s in likelihood.statistics if s in PROJECTED and likelihood.data_file]
        statistics = {
            label: [*(s.name for s in emulator.statistics), *projected]
            for label, emulator in self.emulators.items()
        }
        errors = dict.fromkeys(self.emulators, self.errors)
        self.model = JointModel(self.emulators, statistics, errors)
        for label, model in self.model.models.items():
            if "aleatoric" in self.errors and not model.emulator.has_noise:
                raise ValueError(
                    f"The weights {sources[label].weights!r} have no noise: set emulator_error to none "
                    "or epistemic, or use others."
                )
            if BOX in self.errors:
                _ = model.box_variance  # raises if it is not known
        self.core: CorrelationLikelihood | None = None
        if likelihood.data_file:
            self.core = CorrelationLikelihood(likelihood, self.options.n_parameters)
            for part, bins in zip(self.core.data.parts, self.core.bins, strict=True):
                self.model.models[part.sample].check(bins)
            self._of_data = _with_densities(
                torch.as_tensor(self.core.comparison.covariance), self.core
            )
            self._constant = Covariance.of(self._of_data)
            measured = self.core.number_densities
            self._measured = np.empty(0) if measured is None else measured.values
            logs.overview(" ".join(self.core.describe()))
            for sentence in self.core.redshift_warnings(self.emulators):
                logs.warning(sentence)
        names = _words(self.options.derived)
        self._derived = {
            label: DerivedModel(emulator, names)
            for label, emulator in self.emulators.items()
            if names
        }
        of_shapes = any(derived.of_shapes for derived in self._derived.values())
        if of_shapes and not (self.core and self.core.has_shapes):
            raise ValueError(
                f"derived: {self.options.derived} needs the responses of shapes, but the data have none."
            )
        for sample in self.core.dense_samples if self.core else ():
            self.emulators[sample].need_hosts()
        self._knows_cosmology = False
        self._generator = np.random.default_rng(0)
        self.n_rejected = 0

    def execute(self, block: DataBlock) -> int:
        """Evaluate at the parameters of a block; return 1 if they are rejected, else 0."""
        if not self._knows_cosmology:
            self._compare_cosmology(block)
        theta = {
            label: self._parameters(block, emulator.space.names, label)
            for label, emulator in self.emulators.items()
        }
        responses = None
        if self.core is not None and self.core.has_shapes:
            responses = {s: self._parameters(block, response_names(None), s) for s in theta}
            if not self._are_possible(responses, self.core):
                return self._reject(
                    f"The responses a2_cen and a2_sat, {_lists(responses)}, are impossible."
                )
        with one_thread(), unaffected(), torch.no_grad():
            accepted, predicted = self.model.evaluate(theta, self.options.out_of_domain, responses)
            if not predicted:
                return self._reject(f"{_lists(theta)} is outside the emulator's domain.")
            if not accepted:
                return self._reject(f"The prediction at {_lists(theta)} is not finite.")
            self._write_correlations(block, predicted)
            self._write_derived(block, predicted)
            if self.core is None:
                return 0
            if not self._write_likelihood(block, self.core, predicted):
                return self._reject(
                    f"The data's covariance plus the emulator's, at {_lists(theta)}, is not "
                    "positive definite."
                )
        return 0

    def cleanup(self) -> None:
        """Log how many points were rejected."""
        if self.n_rejected:
            logs.overview(f"{self.name}: {self.n_rejected} point(s) were rejected.")

    def _compare_cosmology(self, block: DataBlock) -> None:
        """Warn, once, of a cosmology that is not that of the weights."""
        section = names.cosmological_parameters
        given = {name: block[section, name] for _, name in block.keys(section)}
        limits = {name: (x, x) for name, x in given.items() if isinstance(x, float)}
        for words in dict.fromkeys(x.card.get("cosmology") for x in self.emulators.values()):
            for sentence in cosmology_warnings(limits, words):
                logs.warning(sentence)
                self._knows_cosmology = True

    def _parameters(self, block: DataBlock, wanted: Sequence[str], sample: str | None) -> Array:
        """Parameters of a sample, (n_names,)."""
        return np.array([self._parameter(block, name, sample) for name in wanted])

    def _parameter(self, block: DataBlock, name: str, sample: str | None) -> float:
        options = self.options
        alignment = self.emulators[sample].space.alignment
        of_alignment = name in (*alignment.names, *response_names(None))
        section = _of_sample(options.ia_section if of_alignment else options.hod_section, sample)
        spellings = [name, ALIASES[name]] if name in ALIASES else [name]
        there = [spelling for spelling in spellings if block.has_value(section, spelling)]
        if len(there) != 1:
            raise ValueError(
                f"The section {section} must hold one {' or '.join(spellings)}; it has "
                f"{' and '.join(there) or 'none'}."
            )
        return float(block[section, there[0]])

    def _reject(self, reason: str) -> int:
        if not self.n_rejected:
            logs.overview(f"{self.name}: a point is rejected for the first time. {reason}")
        self.n_rejected += 1
        return 1

    def _are_possible(
        self, responses: Mapping[str | None, Array], core: CorrelationLikelihood
    ) -> bool:
        """Whether the responses of all samples can be those of galaxies."""
        return all(
            check_responses(responses[part.sample][None], bins.conventions.ellipticity)[0]
            for part, bins in zip(core.data.parts, core.bins, strict=True)
            if bins.conventions is not None
        )

    def _write_correlations(
        self, block: DataBlock, predicted: Mapping[str | None, SamplePrediction]
    ) -> None:
        for sample, at_sample in predicted.items():
            model = self.model.models[sample]
            mean, covariances = at_sample.in_bins(Bins(model.names, None), self.errors)
            columns = {"": as_array(mean[0])}
            for kind, x in covariances.items():
                columns[f"_{kind}"] = np.sqrt(as_array(x[0]).diagonal())
            r_edges = model.emulator.r_edges
            section = _of_sample(self.options.output_section, sample)
            new = not block.has_value(section, "r")
            block[section, "r"] = bin_centres(r_edges)
            block[section, "r_edges"] = r_edges
            if new:
                block.put_metadata(section, "r", "unit", "Mpc/h")
                block.put_metadata(section, "r_edges", "unit", "Mpc/h")
            for suffix, values in columns.items():
                each = values.reshape(len(model.names), -1)
                for name, row in zip(model.names, each, strict=True):
                    block[section, f"{name}{suffix}"] = row

    def _write_derived(
        self, block: DataBlock, predicted: Mapping[str | None, SamplePrediction]
    ) -> None:
        conventions: dict[str | None, Conventions | None] = {}
        if self.core is not None:
            parts = zip(self.core.data.parts, self.core.bins, strict=True)
            conventions = {part.sample: bins.conventions for part, bins in parts}
        for sample, model in self._derived.items():
            section = _of_sample(self.options.derived_section, sample)
            values = predicted[sample].derived(model, conventions=conventions.get(sample))
            for name, value in values.items():
                block[section, name] = value

    def _write_likelihood(
        self,
        block: DataBlock,
        core: CorrelationLikelihood,
        predicted: Mapping[str | None, SamplePrediction],
    ) -> bool:
        """Write what cosmosis.gaussian_likelihood writes, for Fisher and other samplers.

        Return False, and write nothing, if the covariance is not positive definite.
        """
        mean, of_model = core.model(
            [
                predicted[part.sample].in_bins(bins, self.errors)
                for part, bins in zip(core.data.parts, core.bins, strict=True)
            ]
        )
        densities = {s: predicted[s].number_density for s in core.dense_samples}
        log_likelihood, chi2 = (float(x) for x in core.compare(mean[0], of_model, densities))
        if log_likelihood == -np.inf:
            return False
        covariance = self._constant
        if of_model is not None:
            more = torch.nn.functional.pad(of_model[0], (0, len(densities), 0, len(densities)))
            covariance = Covariance.of(self._of_data + more)
        theory = np.array([*mean[0].tolist(), *densities.values()])
        scatter = covariance.factor @ self._generator.standard_normal(len(theory))
        block[names.likelihoods, f"{self.name}_like"] = log_likelihood
        for name, value in {
            "chi2": chi2,
            "n": len(theory),
            "log_det": covariance.log_determinant,
            "norm": log_likelihood + chi2 / 2,
            "theory": theory,
            "data": np.concatenate([core.data.values, self._measured]),
            "covariance": covariance.matrix,
            "inverse_covariance": covariance.inverse,
            "simulation": theory + scatter,
        }.items():
            block[names.data_vector, f"{self.name}_{name}"] = value
        return True


def _with_densities(covariance: Tensor, core: CorrelationLikelihood) -> Tensor:
    """A covariance of the data vector with the number densities after it."""
    if core.number_densities is None:
        return covariance
    return torch.block_diag(covariance, torch.as_tensor(np.diag(core.number_densities.errors**2)))


def _lists(values: Mapping[str | None, Array]) -> list[list[float]]:
    return [each.tolist() for each in values.values()]


def _of_sample(section: str, sample: str | None) -> str:
    return f"{section}_{sample}" if sample else section


def setup(options: DataBlock) -> IAEmuModule:
    """Set up the module; CosmoSIS calls this once."""
    of_everyone = {name for _, name in options.keys("_cosmosis_default_section")} - set(KNOWN)
    given = {
        name: options[option_section, name]
        for _, name in options.keys(option_section)
        if name not in RESERVED | of_everyone
    }
    name = options.get_string("pipeline", "current_module", default="iaemu")
    return IAEmuModule(name, given)


def execute(block: DataBlock, module: IAEmuModule) -> int:
    """Evaluate one point; CosmoSIS calls this at every point."""
    return module.execute(block)


def cleanup(module: IAEmuModule) -> None:
    """Report; CosmoSIS calls this at the end."""
    module.cleanup()
