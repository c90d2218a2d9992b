"""Measured correlation functions as a Cobaya likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from cobaya.likelihood import Likelihood
from cobaya.log import LoggedError
from cobaya.typing import InfoDict, empty_dict

from iaemu_likelihood.cobaya.inputs import latex_text, of_sample, refuse_change
from iaemu_likelihood.cobaya.theory import IAEmu
from iaemu_likelihood.emulator.backend import as_array, unaffected
from iaemu_likelihood.emulator.physics.statistics import OBSERVABLES, PROJECTED
from iaemu_likelihood.likelihood.core import CorrelationLikelihood, LikelihoodOptions, hash_of
from iaemu_likelihood.likelihood.model import Moments
from iaemu_likelihood.likelihood.responses import check_responses, response_names


def _options(values: Mapping[str, Any]) -> LikelihoodOptions:
    return LikelihoodOptions(**{f.name: values[f.name] for f in fields(LikelihoodOptions)})


class IACorrelations(Likelihood):
    """Likelihood of measured correlation functions of galaxies."""

    data_file: str | Sequence[str]
    data_sha256: str
    sample: str | Sequence[str] | None
    label: str | None
    statistics: Sequence[str]
    r_min: float | Mapping[str, float]
    r_max: float | Mapping[str, float]
    covariance: str
    covariance_file: str | None
    covariance_correction: str
    emulator_error: str
    n_realisations: int
    volume_factor: float
    model_error: str
    normalized: bool
    axis_ratio: float | Sequence[float] | None
    kaiser: bool
    number_density: Mapping[str, Any] | None
    save_prediction: bool
    # Cobaya's own type of these has no limits of a truncated normal distribution.
    params: Mapping[str, Any] | None

    _enforce_types = True
    # Another label gives other derived parameters, by which it is noticed.
    _at_resume_prefer_new = [
        *Likelihood._at_resume_prefer_new, "data_file", "covariance_file", "label",
    ]  # fmt: skip

    @classmethod
    def get_modified_defaults(
        cls, defaults: InfoDict, input_options: InfoDict = empty_dict
    ) -> InfoDict:
        """Add the hash of the data, so that a chain cannot be resumed with other data.

        Also add the responses of shapes, if these enter, and the derived parameters: chi^2 and, with
        save_prediction, the predicted data vector.
        """
        values = {**defaults, **{k: v for k, v in input_options.items() if k in defaults}}
        try:
            defaults["data_sha256"] = hash_of(values)
            label = _label(values)
            words = label.replace("_", r"\ ")
        except TypeError:
            return defaults  # wrong types, which initialize will report
        params = {f"ia_chi2_{label}": {"derived": True, "latex": rf"\chi^2_\mathrm{{{words}}}"}}
        if values["save_prediction"] or any(s in PROJECTED for s in values["statistics"]):
            try:
                core = CorrelationLikelihood(_options(values))
            except (OSError, ValueError, TypeError):
                return defaults  # initialize will report this
            for sample in _options(values).samples:
                for name in filter(core.responses.__contains__, response_names(sample)):
                    info = core.responses[name]
                    params[name] = {**info, "latex": of_sample(info["latex"], sample)}
        if values["save_prediction"]:
            points = core.data.points
            for name, (sample, statistic, low, high) in zip(
                _names(points, values["label"]), points, strict=True
            ):
                words = latex_text(sample)
                latex = rf"{OBSERVABLES[statistic].latex}^\mathrm{{{words}}}({low:.3g}-{high:.3g})"
                params[name] = {"derived": True, "latex": latex}
        defaults["params"] = {**params, **(defaults.get("params") or {})}
        return defaults

    def initialize(self) -> None:
        if not self.data_file:
            raise LoggedError(
                self.log, "Set 'data_file' to a measurement (ECSV), or use tng300.Sample1, 2 or 3."
            )
        if not f"x_{self.label}".isidentifier():
            raise LoggedError(
                self.log, "label must be letters, digits and '_'; got %r.", self.label
            )
        self._build(0)
        # From here on they mean the same in every folder.
        self.data_file = self.core.options.data_file
        self.covariance_file = self.core.options.covariance_file
        found = hash_of(vars(self))
        refuse_change(self.log, "data", str(self.data_file), found, self.data_sha256)
        self._rejected = 0
        self._names = _names(self.core.data.points, self.label)
        self._chi2 = f"ia_chi2_{_label(vars(self))}"
        self._requests: list[dict[str, Any]] = [
            {
                "sample": part.sample,
                "statistics": bins.statistics,
                "r_edges": bins.edges,
                "errors": self.core.errors,
                **({"conventions": bins.conventions} if bins.is_projected else {}),
            }
            for part, bins in zip(self.core.data.parts, self.core.bins, strict=True)
        ]
        # Of each part, the parameters by which its shapes respond.
        self._responses = [
            response_names(part.sample) if self.core.has_shapes else []
            for part in self.core.data.parts
        ]
        self.log.info(" ".join(self.core.describe()))

    def _build(self, n_parameters: int) -> None:
        try:
            self.core = CorrelationLikelihood(_options(vars(self)), n_parameters)
        except (OSError, ValueError) as error:
            raise LoggedError(self.log, "%s", error) from error

    def initialize_with_params(self) -> None:
        """Say what to do where nothing is known of the shapes; Cobaya would name parameters only."""
        missing = {name for names in self._responses for name in names} - {*self.input_params}
        if missing:
            raise LoggedError(
                self.log,
                "%s: %s depend on the shapes of galaxies, of which nothing is known. Give axis_ratio, "
                "which sets priors of %s (an option of the likelihood, or in the data's metadata), or give "
                "these parameters in params.",
                ", ".join(part.measured.source for part in self.core.data.parts),
                ", ".join(self.statistics), " and ".join(sorted(missing)),
            )  # fmt: skip

    def initialize_with_provider(self, provider: Any) -> None:
        super().initialize_with_provider(provider)
        if self.covariance_correction == "percival":
            self._build(self.n_parameters())
        for sentence in self.redshift_warnings():
            self.log.warning("%s", sentence)

    @property
    def theory(self) -> IAEmu:
        """The theory that predicts the data."""
        found: IAEmu = self.provider.requirement_providers["ia_moments"]
        return found

    def redshift_warnings(self) -> list[str]:
        """A sentence for each measurement at another redshift than the theory predicts for its sample."""
        return self.core.redshift_warnings(self.theory.emulators)

    def n_parameters(self) -> int:
        """Number of the run's sampled parameters on which this likelihood depends."""
        parameters = self.theory.parameters
        mine = {p for part in self.core.data.parts for p in parameters[part.sample]}
        mine.update(*self._responses)
        sampled = self.provider.model.parameterization.sampled_input_dependence()
        return sum(not mine.isdisjoint([p, *on]) for p, on in sampled.items())

    def get_requirements(self) -> list[tuple[str, Any]]:
        parameters = [(name, None) for names in self._responses for name in names]
        products = [("ia_moments", request) for request in self._requests]
        densities = [("ia_number_density", {"sample": s}) for s in self.core.dense_samples]
        return parameters + products + densities

    def compare(self, mean: torch.Tensor, covariance: torch.Tensor | None) -> tuple[float, float]:
        """Log-likelihood and chi^2 of a data vector, and of number densities at the last point.

        Parameters
        ----------
        mean, covariance
            As of the core's `model`, for one point.
        """
        densities = {s: self.provider.get_ia_number_density(s) for s in self.core.dense_samples}
        log_likelihood, chi2 = self.core.compare(mean, covariance, densities)
        return float(log_likelihood), float(chi2)

    def moments(self, errors: bool = True) -> list[Moments] | None:
        """The theory's prediction for each sample at the last point, as the likelihood takes it.

        Parameters
        ----------
        errors : bool
            With the emulator's covariances that the likelihood adds.

        Returns
        -------
        list of tuple, or None
            None if the response of a sample's shapes is impossible.
        """
        found = []
        for request, names in zip(self._requests, self._responses, strict=True):
            options = request if errors else {**request, "errors": ()}
            if names:
                values = np.array([[self.provider.get_param(name) for name in names]])
                if not check_responses(values, request["conventions"].ellipticity).all():
                    return None
                options = {**options, "responses": values}
            found.append(self.provider.get_ia_moments(**options))
        return found

    def predicted(self) -> list[dict[str, np.ndarray]]:
        """The theory's prediction at the last point that was evaluated.

        Returns
        -------
        list of dict of str to ndarray
            For each sample, by statistic, in all bins between the first and the last of its data.
        """
        result = []
        moments = self.moments(errors=False)
        if moments is None:
            raise LoggedError(
                self.log, "There is no prediction: a response of shapes is impossible."
            )
        for part, (mean, _) in zip(self.core.data.parts, moments, strict=True):
            each = as_array(mean[0]).reshape(len(part.statistics), -1)
            result.append(dict(zip(part.statistics, each, strict=True)))
        return result

    def logp(self, _derived: Any = None, **params_values: Any) -> float:
        with unaffected(), torch.inference_mode():
            moments = self.moments()
            if moments is None:
                if _derived is not None:
                    _derived.update(dict.fromkeys(self.output_params, np.nan))
                return -np.inf
            model, covariance = self.core.model(moments)
            value, chi2 = self.compare(model, covariance)
        self._rejected += value == -np.inf
        if _derived is not None:
            _derived[self._chi2] = chi2
            if self.save_prediction:
                _derived.update(zip(self._names, model[0].tolist(), strict=True))
        return value

    def __repr__(self) -> str:
        # Cobaya shows this when derived parameters of two likelihoods have the same names.
        return f"{self.get_name()} (label: {_label(vars(self))}; give each likelihood its own)"

    def close(self, *args: Any) -> None:
        if self._rejected:
            self.log.warning(
                "%d point(s) were rejected: the data's covariance plus the emulator's is not positive "
                "definite.",
                self._rejected,
            )


def likelihood_label(sample: str | Sequence[str] | None, statistics: Sequence[str]) -> str:
    """Label of a likelihood, made of its samples and statistics."""
    samples = [] if sample is None else [sample] if isinstance(sample, str) else list(sample)
    return "_".join([*samples, *statistics])


def _label(values: Mapping[str, Any]) -> str:
    """Label of a likelihood with given options."""
    return values["label"] or likelihood_label(values["sample"], values["statistics"])


def _names(points: Sequence[tuple[str, str, float, float]], label: str | None) -> list[str]:
    """Names of the derived parameters that hold predictions: omega_sample1_00 and so on."""
    count: dict[str, int] = {}
    names = []
    for sample, statistic, _, _ in points:
        name = "_".join(word for word in (statistic, sample, label) if word)
        count[name] = count.get(name, -1) + 1
        names.append(f"{name}_{count[name]:02d}")
    return names
