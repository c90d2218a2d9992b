"""The emulator as a Cobaya theory code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from cobaya.log import LoggedError
from cobaya.model import Model
from cobaya.theory import Theory
from cobaya.typing import InfoDict, empty_dict

from iaemu_likelihood.cobaya.derived import DerivedOutputs
from iaemu_likelihood.cobaya.inputs import of_sample, refuse_change
from iaemu_likelihood.emulator.backend import as_array, unaffected
from iaemu_likelihood.emulator.physics.conventions import Conventions
from iaemu_likelihood.emulator.physics.domain import Domain
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from iaemu_likelihood.emulator.physics.stated_cosmology import cosmology_warnings
from iaemu_likelihood.emulator.physics.statistics import PROJECTED
from iaemu_likelihood.likelihood.evaluation import OUT_OF_DOMAIN, one_thread
from iaemu_likelihood.likelihood.model import BOX, Bins, CorrelationModel, Moments
from iaemu_likelihood.likelihood.responses import response_names
from iaemu_likelihood.likelihood.samples import (
    JointModel,
    SamplePrediction,
    Source,
    load_emulators,
    sources_of,
    sources_sha256,
)


def parameter_names(space: ParameterSpace, sample: str | None) -> list[str]:
    """Names of the parameters of a sample, with its label, if it has one, as suffix."""
    return [_with_label(p, sample) for p in space.names]


def default_parameters(domain: Domain) -> dict[str, dict[str, Any]]:
    """Priors that enclose a domain, with labels and proposals, in the form of IAEmu.yaml."""
    low, high = domain.outer_limits()
    # Rounded inwards to three decimals, so that no prior reaches beyond the domain.
    low, high = np.ceil(1000 * low - 1e-6) / 1000, np.floor(1000 * high + 1e-6) / 1000
    result: dict[str, dict[str, Any]] = {}
    for parameter, lower, upper in zip(domain.space.parameters, low, high, strict=True):
        info: dict[str, Any] = {"prior": {"min": float(lower), "max": float(upper)}}
        if parameter.reference is not None:
            loc, scale = parameter.reference
            info["ref"] = {"dist": "norm", "loc": loc, "scale": scale}
        result[parameter.name] = {**info, "proposal": parameter.proposal, "latex": parameter.latex}
    return result


class IAEmu(Theory):
    """Statistics of galaxies from halo-occupation and alignment parameters, by an emulator.

    Attributes
    ----------
    emulators : dict of str or None to Emulator
        Of each sample, by its label; the same object for samples of the same weights and redshift.
    sources : dict of str or None to Source
        Weights and redshift of each sample, as the options say.
    parameters : dict of str or None to list of str
        Names of the parameters of each sample.
    conventions : dict of str or None to Conventions
        Of each sample whose shapes enter, how they were measured.
    derived_outputs : DerivedOutputs or None
        Derived parameters of galaxies that the run asks for.
    """

    samples: Sequence[str] | Mapping[str, Any] | None
    weights: str
    redshift: float | None
    weights_sha256: str
    occupation: str | None
    alignment: str | None
    out_of_domain: str
    latex: Mapping[str, str] | None

    _enforce_types = True
    # What the hash says, or no number depends on.
    _at_resume_prefer_new = [
        *Theory._at_resume_prefer_new, "samples", "weights", "occupation", "alignment", "redshift",
        "latex",
    ]  # fmt: skip

    @classmethod
    def get_modified_defaults(
        cls, defaults: InfoDict, input_options: InfoDict = empty_dict
    ) -> InfoDict:
        """Add the parameters of each sample, and the hash of all weights and redshifts as an option.

        Cobaya writes options to the updated yaml, so a chain cannot be resumed with other weights.
        """
        options = {**defaults, **input_options}
        given = options.get("latex")
        own = given if isinstance(given, Mapping) else {}  # initialize will report others
        try:
            sources = _sources(options)
        except ValueError:
            return defaults  # wrong types, which Cobaya or initialize will report
        cards: dict[Source, Mapping[str, Any]] = {}
        for source in {*sources.values()}:
            with suppress(OSError, ValueError):  # initialize will report these
                cards[source] = source.card()
        params: InfoDict = {}
        for label, source in sources.items():
            base = _parameters_of(source, cards.get(source), defaults["params"])
            for name, info in base.items():
                full = _with_label(name, label)
                latex = own.get(full, of_sample(own.get(name, info["latex"]), label))
                params[full] = {**info, "latex": latex}
        defaults["params"] = params
        defaults["weights_sha256"] = ""
        if len(cards) == len({*sources.values()}):
            of_samples = {label: cards[source] for label, source in sources.items()}
            defaults["weights_sha256"] = sources_sha256(sources, of_samples)
        return defaults

    def initialize(self) -> None:
        if self.out_of_domain not in OUT_OF_DOMAIN:
            raise LoggedError(
                self.log,
                "out_of_domain is %r; it must be one of %s.",
                self.out_of_domain,
                OUT_OF_DOMAIN,
            )
        self._rejected = 0
        self.conventions: dict[str | None, Conventions] = {}
        self.derived_outputs: DerivedOutputs | None = None
        try:
            self.sources = _sources(vars(self))
            self.emulators = load_emulators(self.sources)
        except (OSError, ValueError) as error:
            raise LoggedError(self.log, "%s", error) from error
        cards = {label: emulator.card for label, emulator in self.emulators.items()}
        found = sources_sha256(self.sources, cards)
        used = " and ".join(dict.fromkeys(x.weights for x in self.sources.values()))
        refuse_change(self.log, "weights", used, found, self.weights_sha256)
        self.parameters = {
            label: parameter_names(emulator.space, label)
            for label, emulator in self.emulators.items()
        }
        # Of each sample, statistics and errors that likelihoods and other theories ask for.
        self._wanted: dict[str | None, set[str]] = {label: set() for label in self.emulators}
        self._errors: dict[str | None, set[str]] = {label: set() for label in self.emulators}
        names = {name for emulator in self.emulators.values() for name in emulator.space.names}
        names.update(name for each in self.parameters.values() for name in each)
        unknown = [name for name in self.latex or {} if name not in names]
        if unknown:
            raise LoggedError(
                self.log,
                "latex has labels of %s, which are no parameters; these are %s.",
                unknown,
                sorted(names),
            )

    def get_version(self) -> str:
        return f"{version('iaemu_likelihood')}+w{self.weights_sha256[:8]}"

    def get_can_provide(self) -> list[str]:
        return ["ia_correlations", "ia_moments", "ia_number_density"]

    def get_can_provide_params(self) -> list[str]:
        return DerivedOutputs.all_names(list(self.parameters))

    def initialize_with_params(self) -> None:
        """Prepare the derived parameters that the run asks for."""
        try:
            self.derived_outputs = DerivedOutputs(self.emulators, self.output_params)
        except ValueError as error:
            raise LoggedError(self.log, "%s", error) from error

    def get_requirements(self) -> list[tuple[str, None]]:
        """Responses of shapes, of samples whose alignment amplitude is asked for."""
        samples = self.derived_outputs.with_shapes if self.derived_outputs else []
        return [(name, None) for sample in samples for name in response_names(sample)]

    def must_provide(self, **requirements: Any) -> None:
        super().must_provide(**requirements)
        for product in ("ia_correlations", "ia_moments"):
            if product in requirements:
                self._must_provide(requirements[product] or {})
        if "ia_number_density" in requirements:
            sample = (requirements["ia_number_density"] or {}).get("sample")
            self._check_sample(sample)
            try:
                self.emulators[sample].need_hosts()
            except ValueError as error:
                raise LoggedError(self.log, "%s", error) from error
        self._model = JointModel(self.emulators, self._wanted, self._errors)

    def _check_sample(self, sample: str | None) -> None:
        if sample not in self.parameters:
            there = "no samples. Leave out the likelihood's 'sample'"
            if self.samples:
                there = f"{list(self.samples)}. Set the likelihood's 'sample' to one of these"
            raise LoggedError(
                self.log,
                "No sample %r: the theory IAEmu has %s, or add it to the theory's 'samples'.",
                sample,
                there,
            )

    def _must_provide(self, options: Mapping[str, Any]) -> None:
        sample = options.get("sample")
        self._check_sample(sample)
        emulator = self.emulators[sample]
        known = [statistic.name for statistic in emulator.statistics]
        statistics = options.get("statistics", known)
        unknown = [s for s in statistics if s not in (*known, *PROJECTED)]
        if unknown:
            raise LoggedError(
                self.log, "No statistic %s; the weights predict %s.", unknown, tuple(known)
            )
        self._wanted[sample].update(statistics)
        self._errors[sample].update(options.get("errors", ()))
        if "aleatoric" in self._errors[sample] and not emulator.has_noise:
            raise LoggedError(
                self.log,
                "The weights %r have no noise: set the likelihood's emulator_error to none or "
                "epistemic, or use others.",
                self.sources[sample].weights,
            )
        try:
            bins = _bins(statistics, options.get("r_edges"), options.get("conventions"))
            model = CorrelationModel(emulator, statistics)
            model.check(bins)
            if BOX in self._errors[sample]:
                _ = model.box_variance  # raises if it is not known
        except ValueError as error:
            raise LoggedError(self.log, "%s", error) from error
        if bins.conventions is not None and bins.has_shapes:
            found = bins.conventions.ellipticity
            before = self.conventions.setdefault(sample, bins.conventions).ellipticity
            if before != found:
                raise LoggedError(
                    self.log,
                    "The ellipticities of %s are %s in one measurement and %s in another, and the "
                    "responses a2_cen and a2_sat are of one definition. Measure both with the same.",
                    sample or "the galaxies", before, found,
                )  # fmt: skip

    def initialize_with_provider(self, provider: Any) -> None:
        """Compare fixed parameters and priors with the emulator's domain before sampling."""
        super().initialize_with_provider(provider)
        limits = _limits(provider.model)
        for sentence in self.cosmology_warnings():
            self.log.warning("%s", sentence)
        for label, names in self.parameters.items():
            domain = self.emulators[label].domain
            space = domain.space
            low, high = np.array([limits.get(name, (np.nan, np.nan)) for name in names]).T
            outer_low, outer_high = domain.outer_limits()
            for i in np.flatnonzero((low < outer_low) | (high > outer_high)).tolist():
                self.log.warning(
                    "The prior of %s, [%g, %g], reaches beyond the emulator's domain, [%g, %g]; "
                    "points outside: %s.",
                    names[i], low[i], high[i], outer_low[i], outer_high[i], self.out_of_domain,
                )  # fmt: skip
            _, fixed = space.split(low == high)
            if self.out_of_domain == "extrapolate" or not fixed.all():
                continue
            mu, hod = space.split(low)
            point = space.join(np.full_like(mu, sum(space.alignment.limits) / 2), hod)
            try:
                domain.check(point)
            except ValueError as error:
                names_of_hod = ", ".join(space.split(names)[1])
                raise LoggedError(
                    self.log, "The fixed parameters %s: %s", names_of_hod, error
                ) from error

    def cosmology_warnings(self) -> list[str]:
        """A sentence for each parameter by which the run's cosmology is not that of the weights."""
        limits = _limits(self.provider.model)
        known = dict.fromkeys(x.card.get("cosmology") for x in self.emulators.values())
        return [sentence for words in known for sentence in cosmology_warnings(limits, words)]

    def calculate(
        self, state: InfoDict, want_derived: bool = True, **params_values_dict: Any
    ) -> bool:
        try:
            values = {
                label: np.array([params_values_dict[p] for p in names], np.float64)
                for label, names in self.parameters.items()
            }
        except (TypeError, ValueError) as error:
            raise LoggedError(
                self.log, "Parameters must be real numbers; got %s.", params_values_dict
            ) from error
        with one_thread(), unaffected(), torch.inference_mode():
            accepted, samples = self._model.evaluate(values, self.out_of_domain)
        if not accepted:
            self._rejected += 1
            return False
        state["ia_samples"] = samples
        if want_derived and self.derived_outputs and self.derived_outputs.models:
            responses = {
                sample: np.array([[self.provider.get_param(p) for p in response_names(sample)]])
                for sample in self.derived_outputs.with_shapes
            }
            with one_thread(), unaffected(), torch.inference_mode():
                state["derived"] = self.derived_outputs(samples, responses, self.conventions)
        return True

    def _predicted(self, sample: str | None) -> SamplePrediction:
        """What is predicted of a sample at the last point."""
        samples: dict[str | None, SamplePrediction] = self.current_state["ia_samples"]
        return samples[sample]

    def get_ia_number_density(self, sample: str | None = None) -> float:
        """Mean number density of the galaxies of a sample, (h/Mpc)^3."""
        return self._predicted(sample).number_density

    def get_ia_moments(
        self,
        sample: str | None,
        statistics: Sequence[str],
        r_edges: Sequence[float] | None,
        errors: Sequence[str] = (),
        conventions: Conventions | None = None,
        responses: np.ndarray | None = None,
    ) -> Moments:
        """Predicted correlation functions of a sample and their covariances, as new arrays.

        Parameters
        ----------
        sample, statistics, r_edges, conventions, responses
            As in `get_ia_correlations`.
        errors : sequence of str
            Any of aleatoric and epistemic that a likelihood requested at the start; of projected
            statistics only epistemic.

        Returns
        -------
        mean : ndarray or torch.Tensor, shape (1, n_statistics * n_bins)
        covariances : dict of str to ndarray or torch.Tensor
            Of shape (1, n_statistics * n_bins, n_statistics * n_bins).
        """
        missing = [*set(statistics) - self._wanted[sample], *set(errors) - self._errors[sample]]
        if missing:
            raise LoggedError(
                self.log,
                "No likelihood or theory requested %s at the start. Name it in the requirement "
                "'ia_correlations'.",
                ", ".join(sorted(missing)),
            )
        bins = _bins(statistics, r_edges, conventions)
        return self._predicted(sample).in_bins(bins, errors, responses)

    def get_ia_correlations(
        self,
        sample: str | None = None,
        statistics: Sequence[str] | None = None,
        r_edges: Sequence[float] | None = None,
        conventions: Conventions | None = None,
        responses: np.ndarray | None = None,
    ) -> Mapping[str, np.ndarray]:
        """Predicted correlation functions of a sample, as new arrays.

        Parameters
        ----------
        sample : str, optional
            Label of a sample, left out if the theory has no samples.
        statistics : sequence of str, optional
            Any that a likelihood requested at the start; all of these in three dimensions when left
            out.
        r_edges : sequence of float, optional
            Bin edges, of r_p where statistics are integrated along the line of sight, Mpc/h; the
            emulator's own when left out.
        conventions : Conventions, optional
            How projected statistics are measured; these need it.
        responses : ndarray, shape (1, 2), optional
            Responses a_2 of the shapes of centrals and of satellites, if shapes enter.
        """
        names = statistics or self._model.models[sample].names
        mean, _ = self.get_ia_moments(sample, names, r_edges, (), conventions, responses)
        each = as_array(mean[0]).reshape(len(names), -1)
        return {name: values.copy() for name, values in zip(names, each, strict=True)}

    def close(self, *args: Any) -> None:
        if self._rejected:
            self.log.info(
                "%d point(s) outside the emulator's domain were rejected.", self._rejected
            )


def _sources(options: Mapping[str, Any]) -> dict[str | None, Source]:
    """The source of each sample, from the theory's options; a ValueError if they make no sense."""
    common = Source(**{field.name: options[field.name] for field in fields(Source)})
    return sources_of(options["samples"], common)


def _parameters_of(source: Source, card: Mapping[str, Any] | None, of_paper: InfoDict) -> InfoDict:
    """Parameters of a sample, with priors that enclose the domain of its weights at its redshift."""
    if card is None:
        return of_paper
    try:
        domain = source.domain(card)
    except ValueError:
        return of_paper  # initialize will report this
    if domain.space.names == DEFAULT_SPACE.names and source.redshift is None:
        return of_paper
    return default_parameters(domain)


def _limits(model: Model) -> dict[str, tuple[float, float]]:
    """Ends of the priors of all sampled parameters, and the values of fixed ones, twice."""
    found = {k: (float(x), float(x)) for k, x in model.parameterization.constant_params().items()}
    sampled = model.parameterization.sampled_params()
    return found | {
        name: pdf.interval(1) for name, pdf in zip(sampled, model.prior.pdf, strict=True)
    }


def _with_label(name: str, sample: str | None) -> str:
    return f"{name}_{sample}" if sample else name


def _bins(
    statistics: Sequence[str], edges: Sequence[float] | None, conventions: Conventions | None
) -> Bins:
    """Request of a model; a ValueError if it cannot be one."""
    projected = [s for s in statistics if s in PROJECTED]
    if projected and (conventions is None or edges is None or len(projected) < len(statistics)):
        raise ValueError(
            f"{', '.join(projected)} are asked for by themselves, with r_edges and conventions; got "
            f"{', '.join(statistics)}."
        )
    return Bins(tuple(statistics), None if edges is None else tuple(edges), conventions)
