"""The posterior of a Cobaya input, for samplers that want many points at once or gradients.

Cobaya reads the input, so priors, fixed and derived parameters, scale cuts and all other options
have the same meaning as in Cobaya. The likelihood is then computed from the same parts, in batches.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from cobaya.model import Model, get_model
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from iaemu_likelihood.cobaya.derived import derived_name
from iaemu_likelihood.cobaya.inputs import BLOCKS, model_of, read_input
from iaemu_likelihood.cobaya.likelihood import IACorrelations
from iaemu_likelihood.cobaya.theory import IAEmu
from iaemu_likelihood.emulator.backend import as_array, unaffected
from iaemu_likelihood.emulator.models import Emulator, TemplatesEmulator
from iaemu_likelihood.emulator.models.weights import weights_folder
from iaemu_likelihood.emulator.numeric import Columnwise, Numeric
from iaemu_likelihood.emulator.physics.points import by_name, columns_of, numbers
from iaemu_likelihood.emulator.results import as_html
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.likelihood.core import CorrelationLikelihood
from iaemu_likelihood.likelihood.evaluation import Points, accept, one_thread, predict
from iaemu_likelihood.likelihood.model import CorrelationModel, Predicted
from iaemu_likelihood.likelihood.quadratic_form import Evaluate, QuadraticForm
from iaemu_likelihood.likelihood.responses import check_responses, response_names

if TYPE_CHECKING:
    from getdist import MCSamples

Array = NDArray[np.float64]

# Number of points computed at a time; the covariances of so many fit into the cache.
CHUNK = 128
# Options of likelihoods that came later, and what runs from before mean.
LATER = {
    "label": None,
    "axis_ratio": None,
    "kaiser": True,
    "model_error": "none",
    "number_density": None,
}
# The same of the theory.
LATER_OF_THEORY = {"redshift": None, "occupation": None, "alignment": None}
# Of draws from reference densities, for one inside the prior.
MAX_TRIES = 10_000


@contextmanager
def _alone(gradients: bool) -> Iterator[None]:
    """Compute as if the caller had set nothing: on one thread, and with gradients or without."""
    # Models keep results, which must not be those of an inference mode.
    leave = gradients or torch.is_inference_mode_enabled()
    with one_thread(), unaffected(leave), torch.set_grad_enabled(gradients):
        yield


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise a ValueError unless an argument is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number of {least} or more; got {value!r}.")


@_alone(gradients=False)  # the last digits, too, depend on the number of threads
def posterior(run: str | Path | Mapping[str, Any]) -> Posterior:
    """The posterior of a Cobaya input.

    Parameters
    ----------
    run : str, Path or mapping
        A YAML file as for ``cobaya-run``, or its content.

    Returns
    -------
    Posterior

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_input`; also if the input has another theory or likelihood than this package's,
        because these cannot be evaluated in batches.
    cobaya.log.LoggedError
        If Cobaya or a component refuses the input.
    """
    return Posterior(model_of(read_input(run)))


def _resolved(model: Model) -> dict[str, Any]:
    """Input of a model, with paths that mean the same in every folder."""
    info: dict[str, Any] = {k: v for k, v in model.info().items() if k in BLOCKS}
    for name, likelihood in model.likelihood.items():
        files = {k: getattr(likelihood, k) for k in ("data_file", "covariance_file")}
        info["likelihood"][name] = {**info["likelihood"][name], **files}
    for name in model.theory:
        options = dict(info["theory"][name])
        options["weights"] = _folder(options["weights"])
        if isinstance(options["samples"], Mapping):
            options["samples"] = {
                label: {k: _folder(x) if k == "weights" else x for k, x in (own or {}).items()}
                for label, own in options["samples"].items()
            }
        info["theory"][name] = options
    return info


def _folder(weights: str) -> str:
    """Weights by a path that means the same in every folder."""
    return str(weights_folder(weights).absolute())


@lru_cache(maxsize=8)
@_alone(gradients=False)
def _rebuilt(pickled: bytes) -> Posterior:
    """The posterior of an input, made once for each process that it is sent to."""
    return Posterior(
        get_model({**pickle.loads(pickled), "debug": logging.ERROR}, stop_at_error=True)
    )


class Posterior:
    """Posterior of the sampled parameters of a Cobaya model, in batches and with gradients.

    Parameters
    ----------
    model : cobaya.model.Model
        One theory `IAEmu`, and any number of likelihoods `IACorrelations`.

    Attributes
    ----------
    names : list of str
        Names of the sampled parameters, in Cobaya's order, which all points have.
    labels : list of str
        LaTeX, without $.
    bounds : ndarray, shape (n_parameters, 2)
        Bounds of the priors.
    models : dict of str or None to CorrelationModel
        Of each sample, by its label.
    parameters : dict of str or None to list of str
        Names of the parameters of each sample.
    fixed : dict of str to torch.Tensor, shape (1,)
        Parameters with a constant value.
    likelihoods : list of CorrelationLikelihood
        Likelihoods of the run.
    identity : dict
        All parts of the input on which the numbers depend, with the hashes of weights and data.
    closed_form : QuadraticForm or None
        The log-likelihood in closed form, if the run has one.
    log_prior_inside : torch.Tensor
        Log-density of the priors inside their bounds, if all are flat.
    """

    likelihoods: list[CorrelationLikelihood]

    def __init__(self, model: Model) -> None:
        theories, likelihoods = list(model.theory.values()), model.likelihood.items()
        others = [name for name, x in likelihoods if not isinstance(x, IACorrelations)]
        others += [name for name, x in model.theory.items() if not isinstance(x, IAEmu)]
        if others or len(theories) != 1:
            raise ValueError(
                "A batched posterior takes one theory iaemu_likelihood.IAEmu and likelihoods of the "
                f"class IACorrelations; it cannot evaluate {', '.join(others) or 'several theories'}. "
                "Samples with weights of their own are options of one theory: samples: {LABEL: {weights: ...}}."
            )
        (theory,) = theories
        parameterization = model.parameterization
        self.names = list(parameterization.sampled_params())
        if not self.names:
            raise ValueError("The input samples nothing: every parameter is fixed.")
        labels = parameterization.labels()
        self.labels = [labels[name] for name in self.names]
        self.bounds: Array = np.asarray(model.prior.bounds(), np.float64).reshape(-1, 2)
        self._model = model
        self.likelihoods = [x.core for _, x in likelihoods]
        # Samplers other than Cobaya's cannot handle an error.
        extrapolate = theory.out_of_domain == "extrapolate"
        self._out_of_domain = "extrapolate" if extrapolate else "reject"
        self.fixed = {
            name: torch.tensor([float(value)], dtype=torch.float64)
            for name, value in parameterization.constant_params().items()
        }
        self._dynamic = [
            name
            for name in parameterization.input_params()
            if name not in self.names and name not in self.fixed
        ]
        info = model.info()
        self._input = _resolved(model)
        for options in info["likelihood"].values():
            for name, default in LATER.items():
                if options[name] == default:
                    del options[name]  # so that runs from before it was there go on
        for options in info["theory"].values():
            del options["latex"]  # on which no number depends
            for name, default in LATER_OF_THEORY.items():
                if options[name] == default:
                    del options[name]
        self.identity = {k: info.get(k) for k in ("theory", "likelihood", "params", "prior")}
        # Covariances of the model that are added to those of a sample's data.
        self._errors: dict[str | None, set[str]] = {}
        statistics: dict[str | None, set[str]] = {}
        for core in self.likelihoods:
            for part in core.data.parts:
                self._errors.setdefault(part.sample, set()).update(core.errors)
                statistics.setdefault(part.sample, set()).update(core.options.statistics)
        # One model for each sample, because a model keeps its result for the last occupation.
        self.models = {
            label: CorrelationModel(theory.emulators[label], names)
            for label, names in statistics.items()
        }
        self.parameters = {label: theory.parameters[label] for label in self.models}
        # Of each sample whose shapes enter, how its ellipticities are defined.
        self._ellipticities = {
            part.sample: bins.conventions.ellipticity
            for core in self.likelihoods
            for part, bins in zip(core.data.parts, core.bins, strict=True)
            if bins.conventions is not None and bins.has_shapes
        }
        self._conventions = theory.conventions
        self._derived = theory.derived_outputs
        self.closed_form = self._quadratic_form()
        self.log_prior_inside = -torch.as_tensor(self.bounds).diff(dim=1).log().sum()
        self._flat = not model.prior.external and all(
            pdf.dist.name == "uniform" for pdf in model.prior.pdf
        )

    def __repr__(self) -> str:
        data = "; ".join(
            part.describe().rstrip(".") for core in self.likelihoods for part in core.data.parts
        )
        return f"<Posterior of {', '.join(self.names)}: {data}>"

    def _repr_html_(self) -> str:
        rows = [
            [name, *(f"{limit:g}" for limit in limits)]
            for name, limits in zip(self.names, self.bounds, strict=True)
        ]
        return as_html(repr(self), [Table("", ["parameter", "from", "to"], rows)])

    def __reduce__(self) -> tuple[Callable[[bytes], Posterior], tuple[bytes]]:
        """Pickle the input, with the hashes of weights and data, from which a process rebuilds."""
        try:
            return _rebuilt, (pickle.dumps(self._input),)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise TypeError(
                f"The input holds a function that cannot be sent to another process ({error}). Write "
                "it as text ('lambda x: ...'), or define it in a module."
            ) from error

    @property
    def emulator(self) -> Emulator:
        """The emulator of all samples; a ValueError if they have several, which `models` hold."""
        first, *others = {id(x.emulator): x.emulator for x in self.models.values()}.values()
        if others:
            raise ValueError(
                "The samples of this run have different weights, or redshifts. `models[LABEL].emulator` is "
                f"that of a sample; the labels are {', '.join(map(str, self.models))}."
            )
        return first

    def __call__(self, points: ArrayLike) -> Any:
        """Natural logarithm of the posterior density, not normalised.

        Parameters
        ----------
        points : array_like, shape (n_parameters,) or (n, n_parameters)
            Or by name: a mapping, a table or a row of one, a list of mappings.

        Returns
        -------
        float or ndarray, shape (n,)
            -inf outside the prior or the emulator's domain, and where a parameter is NaN.

        Raises
        ------
        TypeError
            If there are other names, or something else than real numbers.
        ValueError
            If the shape is wrong.
        """
        return self._numbers(points, lambda x: self._log_prob(x, with_prior=True))

    def log_likelihood(self, points: ArrayLike) -> Any:
        """Natural logarithm of the likelihood, with arguments as in `__call__`."""
        return self._numbers(points, lambda x: self._log_prob(x, with_prior=False))

    def _numbers(self, points: ArrayLike, function: Callable[[Tensor], Tensor]) -> Any:
        at = self._points(points)
        if not at.size:
            return np.empty(len(at))
        with _alone(gradients=False):
            values = function(torch.from_numpy(np.atleast_2d(at))).numpy()
        return float(values[0]) if at.ndim == 1 else values

    def _points(self, points: Any) -> Array:
        """Points as a new array, which torch may keep and write to."""
        if type(points) is not np.ndarray or points.dtype != np.float64:
            columns = by_name(points, self.names)
            if columns is None:
                points = numbers(points, "The parameters")
            else:
                points = np.stack(columns_of(columns, self.names), axis=-1)
        at = np.array(points, np.float64, order="C")
        if at.ndim not in (1, 2) or at.shape[-1] != len(self.names):
            raise ValueError(
                f"Expected shape ({len(self.names)},) or (n, {len(self.names)}) in the order "
                f"{', '.join(self.names)}; got {at.shape}."
            )
        return at

    def value_and_gradient(self, points: ArrayLike) -> tuple[Any, Array]:
        """Log-posterior and its gradient, with arguments and errors as in `__call__`.

        Returns
        -------
        value : float or ndarray, shape (n,)
        gradient : ndarray, shape (n_parameters,) or (n, n_parameters)
            0 where the value is -inf.
        """
        at = self._points(points)
        if not at.size:
            return np.empty(len(at)), at
        with _alone(gradients=True):
            leaf = torch.from_numpy(at).requires_grad_()
            values = self._log_prob(torch.atleast_2d(leaf), with_prior=True)
            value = values.detach().numpy()
            finite = np.isfinite(value)
            gradient = None
            if values.requires_grad:  # at least one point is inside
                # Points whose value is -inf contribute no gradient.
                weights = torch.from_numpy(finite).to(values)
                (gradient,) = torch.autograd.grad(values, leaf, weights, allow_unused=True)
        slopes = np.zeros_like(at) if gradient is None else gradient.numpy()
        if not np.isfinite(slopes).all():
            slopes[~finite.reshape(at.shape[:-1])] = 0
        return (float(value[0]) if at.ndim == 1 else value), slopes

    def log_prob(self, points: Tensor) -> Tensor:
        """Differentiable log-posterior of tensors, (n, n_parameters) float64 to (n,)."""
        if points.ndim != 2 or points.shape[1] != len(self.names) or points.dtype != torch.float64:
            raise ValueError(
                f"Expected float64 of shape (n, {len(self.names)}) in the order "
                f"{', '.join(self.names)}; got {points.dtype} of shape {tuple(points.shape)}."
            )
        with _alone(gradients=torch.is_grad_enabled()):
            return self._log_prob(points, with_prior=True)

    @property
    def rejects(self) -> bool:
        """Whether points outside the emulator's domain are rejected."""
        return self._out_of_domain == "reject"

    @property
    def bounded(self) -> bool:
        """Whether the log-posterior inside the bounds varies by the likelihood alone.

        Points outside the emulator's domain may still be rejected.
        """
        return self._flat and self.rejects

    def _log_prob(self, points: Tensor, with_prior: bool) -> Tensor:
        prior = self._log_prior(points)
        inside = prior.detach().isfinite()
        value = self._log_likelihood_within(points, inside)
        if not with_prior:
            return value
        # A prior that is NaN rejects as one that is -inf does.
        return prior + value if inside.all() else torch.where(inside, prior + value, -torch.inf)

    def _log_likelihood_within(self, points: Tensor, inside: Tensor) -> Tensor:
        """Log-likelihood at points (n, n_parameters); -inf outside the prior or the domain."""
        at = points.detach()
        groups = self._groups(at)
        for label, points_of_sample in zip(self.models, groups, strict=True):
            if label in self._ellipticities:
                ellipticity = self._ellipticities[label]
                inside = inside & check_responses(points_of_sample.responses, ellipticity)
        accepted = accept(groups, self._out_of_domain, inside.numpy())
        if accepted.all():
            return self.log_likelihood_inside(points)
        value = points.new_full((len(points),), -torch.inf)
        rows = torch.as_tensor(np.flatnonzero(accepted))
        if not len(rows):
            return value
        return value.index_put((rows,), self.log_likelihood_inside(points[rows]))

    def _groups(self, points: Tensor) -> list[Points]:
        """The model of each sample, with the points at which it is evaluated."""
        n = points.shape[0]
        return [
            Points(
                self.models[label],
                mu if mu.shape[0] == n else mu.expand(n, -1),
                hod,
                responses[0] if responses else None,
                self._errors[label],
            )
            for label, (mu, hod, *responses) in self._parameters(points).items()
        ]

    def _parameters(self, points: Tensor) -> dict[str | None, tuple[Tensor, ...]]:
        """Of each sample the parameters of alignment and occupation, and the responses of its shapes,
        if these enter; fixed ones have a single row."""
        dependent: dict[str, Tensor] = {}
        if self._dynamic:
            values = Numeric.apply(points, self._dependent)
            dependent = dict(zip(self._dynamic, values.unbind(-1), strict=True))
        found = {}
        for label, names in self.parameters.items():
            parts = [*self.models[label].emulator.space.split(names)]
            if label in self._ellipticities or label in self._derived.with_shapes:
                parts.append(response_names(label))
            found[label] = tuple(self._values(points, part, dependent) for part in parts)
        return found

    def _values(self, points: Tensor, names: list[str], dependent: Mapping[str, Tensor]) -> Tensor:
        """Values of parameters at points, (n, n_names); fixed ones have a single row."""
        if names == self.names:
            return points
        if all(name in self.names for name in names):
            columns = [self.names.index(name) for name in names]
            first, last = columns[0], columns[-1] + 1
            # Neighbouring columns are a view, whose gradient costs less.
            adjacent = columns == list(range(first, last))
            return points[:, first:last] if adjacent else points[:, columns]
        if all(name in self.fixed for name in names):
            return torch.stack([self.fixed[name] for name in names], dim=1)
        each = [
            points[:, self.names.index(name)]
            if name in self.names
            else dependent.get(name, self.fixed.get(name))
            for name in names
        ]
        return torch.stack(torch.broadcast_tensors(*each), dim=1)

    def _dependent(self, points: Array) -> Array:
        to_input = self._model.parameterization.to_input
        rows = []
        for point in points.tolist():
            values = to_input(dict(zip(self.names, point, strict=True)))
            rows.append([float(values[name]) for name in self._dynamic])
        return np.array(rows)

    def log_likelihood_inside(self, points: Tensor) -> Tensor:
        """Log-likelihood of tensors that are inside prior and domain, (n, n_parameters) to (n,)."""
        if len(points) > CHUNK:
            return torch.cat([self.log_likelihood_inside(part) for part in points.split(CHUNK)])
        if self.closed_form is not None:
            return Evaluate.apply(points, self.closed_form)
        finite, predicted = predict(self._groups(points))
        models = self._models(predicted)
        densities = self._densities(predicted)
        each = [
            core.compare(*x, densities)[0] for core, x in zip(self.likelihoods, models, strict=True)
        ]
        total = each[0] if len(each) == 1 else torch.stack(torch.broadcast_tensors(*each)).sum(0)
        return total if finite.all() else torch.where(torch.as_tensor(finite), total, -torch.inf)

    def _quadratic_form(self) -> QuadraticForm | None:
        """The likelihood in closed form, if only alignment strengths vary."""
        simple = all(
            core.comparison.is_gaussian
            and not core.errors
            and not any(bins.is_projected for bins in core.bins)
            for core in self.likelihoods
        )
        at = self.at_fixed_occupation() if simple else None
        if at is None:
            return None
        models, strengths = at
        return QuadraticForm.of(self.likelihoods, models, strengths, len(self.names))

    def at_fixed_occupation(
        self,
    ) -> (
        tuple[
            dict[str | None, tuple[CorrelationModel, Tensor]], dict[str | None, list[int | float]]
        ]
        | None
    ):
        """What is needed where only alignment strengths vary, and enter in closed form; None elsewhere.

        Returns
        -------
        models : dict
            By the label of each sample: the model, and occupation parameters, (1, n_occupation).
        strengths : dict
            By label, for each alignment parameter: its column in the points (int) or its value (float).
        """
        models: dict[str | None, tuple[CorrelationModel, Tensor]] = {}
        strengths: dict[str | None, list[int | float]] = {}
        for label, names in self.parameters.items():
            model = self.models[label]
            strengths_of, hod_of = model.emulator.space.split(names)
            known = {*self.names, *self.fixed}.issuperset(strengths_of)
            if not (known and isinstance(model.emulator, TemplatesEmulator)) or not all(
                name in self.fixed for name in hod_of
            ):
                return None
            strengths[label] = [
                self.names.index(name) if name in self.names else float(self.fixed[name])
                for name in strengths_of
            ]
            models[label] = model, torch.stack([self.fixed[name] for name in hod_of], dim=1)
        return models, strengths

    def _densities(self, predicted: Sequence[Predicted]) -> dict[str | None, Any]:
        """Number density of galaxies of those samples where it was measured."""
        measured = {sample for core in self.likelihoods for sample in core.dense_samples}
        of_sample = zip(self.models, predicted, strict=True)
        return {s: x.occupied.number_density for s, x in of_sample if s in measured}

    def _models(self, predicted: Sequence[Predicted]) -> list[tuple[Tensor, Tensor | None]]:
        """Predicted data vector and emulator's covariance of each likelihood."""
        of_sample = dict(zip(self.models, predicted, strict=True))
        return [
            core.model(
                [
                    of_sample[part.sample].in_bins(bins, core.errors)
                    for part, bins in zip(core.data.parts, core.bins, strict=True)
                ]
            )
            for core in self.likelihoods
        ]

    def derived(self, points: ArrayLike) -> dict[str, Any]:
        """Derived parameters of galaxies that the input asks for, such as ``b_g: {derived: true}``.

        Parameters
        ----------
        points : array_like, shape (n_parameters,) or (n, n_parameters)
            As in `__call__`; inside the emulator's domain, which is not checked.

        Returns
        -------
        dict of str to float or ndarray, shape (n,)
            By name; `iaemu_likelihood.emulator.models.derived` has their definitions.
        """
        at = self._points(points)
        found: dict[str, list[Array]] = {}
        with _alone(gradients=False):
            for some in torch.from_numpy(np.atleast_2d(at)).split(CHUNK):
                for label, at_sample in zip(self.models, self._groups(some), strict=True):
                    if label not in self._derived.models:
                        continue
                    each = self._derived.models[label](
                        at_sample.hod,
                        at_sample.mu,
                        at_sample.responses,
                        self._conventions.get(label),
                    )
                    for kind, values in each.items():
                        columns = found.setdefault(derived_name(kind, label), [])
                        columns.append(np.broadcast_to(as_array(values), len(some)))
        joined = {name: np.concatenate(columns) for name, columns in found.items()}
        return {name: float(x[0]) if at.ndim == 1 else x for name, x in joined.items()}

    def log_prior(self, points: ArrayLike) -> Any:
        """Natural logarithm of the prior density, with arguments as in `__call__`."""
        return self._numbers(points, self._log_prior)

    def _log_prior(self, points: Tensor) -> Tensor:
        if self._flat:
            low, high = torch.as_tensor(self.bounds).unbind(-1)
            inside = ((points >= low) & (points <= high)).all(-1)
            return torch.where(inside, self.log_prior_inside, -torch.inf)
        total = Columnwise.apply(points, self._own_priors).sum(dim=1)
        if self._model.prior.external:
            total = total + Numeric.apply(points, self._common_priors)[:, 0]
        return total

    def _own_priors(self, points: Array) -> Array:
        """Log-density of the prior that each parameter has, (n, n_parameters)."""
        priors = self._model.prior.pdf
        each = [pdf.logpdf(column) for pdf, column in zip(priors, points.T, strict=True)]
        return np.stack(each, axis=1)

    def _common_priors(self, points: Array) -> Array:
        """Log-density of priors of several parameters, (n, 1); 0 where those of one are none."""
        total, to_input = np.zeros((len(points), 1)), self._model.parameterization.to_input
        for i in np.flatnonzero(np.isfinite(self._own_priors(points)).all(axis=1)):
            inputs = to_input(dict(zip(self.names, points[i].tolist(), strict=True)))
            total[i] = sum(self._model.prior.logps_external(inputs))
        return total

    def prior_transform(self, cube: ArrayLike) -> Array:
        """Map points of the unit cube to points that are distributed as the prior.

        Parameters
        ----------
        cube : array_like, shape (n_parameters,) or (n, n_parameters)

        Raises
        ------
        ValueError
            If the run has priors that are functions of several parameters, or a point is not in the
            cube.
        """
        prior = self._model.prior
        if prior.external:
            raise ValueError(
                f"The run has the priors {', '.join(prior.external)}, functions of several "
                "parameters, for which there is no transform of the unit cube."
            )
        u = self._points(cube)
        if not ((u >= 0) & (u <= 1)).all():
            raise ValueError("All coordinates must be from 0 to 1, those of the unit cube.")
        return np.stack([pdf.ppf(u[..., i]) for i, pdf in enumerate(prior.pdf)], axis=-1)

    def start(self, n: int, seed: int) -> Array:
        """Starting points: draws from Cobaya's reference densities where the posterior is not zero.

        Parameters
        ----------
        n : int
        seed : int

        Returns
        -------
        ndarray, shape (n, n_parameters)

        Raises
        ------
        ValueError
            If n or the seed is out of range, or too few draws have a posterior above zero.
        """
        check_whole("n", n, 1)
        check_whole("seed", seed, 0)
        rng = np.random.default_rng(seed)
        kept: list[Array] = []
        draw = self._model.prior.reference
        for _ in range(1000):
            # Of a reference outside the prior, Cobaya would draw for ever.
            points = np.array(
                [draw(MAX_TRIES, random_state=rng, warn_if_no_ref=False) for _ in range(n)]
            )
            kept += list(points[np.isfinite(self(points))])
            if len(kept) >= n:
                return np.array(kept[:n])
        raise ValueError(
            f"Only {len(kept)} of {1000 * n} draws from the reference densities have a posterior "
            "above zero; give narrower `ref` to the parameters."
        )

    def fisher(self, point: ArrayLike) -> Array:
        """Fisher matrix of the likelihood; its inverse approximates the covariance of a fit.

        Parameters
        ----------
        point : array_like, shape (n_parameters,)

        Returns
        -------
        ndarray, shape (n_parameters, n_parameters)
            For a Gaussian likelihood, with the derivatives of its covariance. Priors are left out,
            and so are corrections for an estimated covariance (except hartlap's, which rescales the
            covariance).

        Raises
        ------
        ValueError
            If the point has a wrong shape, or is outside the priors or the emulator's domain.
        """
        if np.ndim(given := self._points(point)) != 1 or not np.isfinite(
            self.log_likelihood(given)
        ):
            raise ValueError(
                f"Expected one point inside the priors and the emulator's domain; got {given}."
            )
        with _alone(gradients=True):
            total = torch.zeros(len(self.names), len(self.names), dtype=torch.float64)
            at = torch.from_numpy(given)
            for i, core in enumerate(self.likelihoods):
                data = torch.as_tensor(core.comparison.covariance)

                def moments(x: Tensor, i: int = i, data: Tensor = data) -> tuple[Tensor, Tensor]:
                    _, predicted = predict(self._groups(x[None]))
                    mean, covariance = self._models(predicted)[i]
                    return mean[0], data if covariance is None else data + covariance[0]

                slope, slope_covariance = torch.autograd.functional.jacobian(moments, at)
                inverse = torch.linalg.inv(moments(at)[1])
                total += slope.mT @ inverse @ slope
                scaled = torch.einsum("ij,jkp->pik", inverse, slope_covariance)
                total += torch.einsum("pik,qki->pq", scaled, scaled) / 2
                if core.number_densities is not None:

                    def densities(x: Tensor, core: CorrelationLikelihood = core) -> Tensor:
                        _, predicted = predict(self._groups(x[None]))
                        of_sample = self._densities(predicted)
                        return torch.cat([of_sample[s] for s in core.dense_samples])

                    slope = torch.autograd.functional.jacobian(densities, at)
                    slope /= torch.as_tensor(core.number_densities.errors)[:, None]
                    total += slope.mT @ slope
            return total.numpy()

    def getdist(
        self, samples: Any, weights: Any = None, log_posterior: Any = None, **options: Any
    ) -> MCSamples:
        """Samples as GetDist takes them, with names, labels and the bounds of the priors.

        Derived parameters that the input asks for (`derived`) are added.

        Parameters
        ----------
        samples : ndarray, shape (n, n_parameters), or a list of them, one for each chain
        weights, log_posterior : ndarray, shape (n,), or lists of them, optional
        **options
            Options of `getdist.MCSamples`.
        """
        from getdist import MCSamples

        minus = log_posterior
        if log_posterior is not None:
            several = isinstance(log_posterior, list)
            minus = [-x for x in log_posterior] if several else -np.asarray(log_posterior)
        finite = [[float(x) if np.isfinite(x) else None for x in row] for row in self.bounds]
        ranges = dict(zip(self.names, finite, strict=True))
        names, labels = [*self.names], [*self.labels]
        if self._derived.models:

            def with_derived(x: Any) -> Array:
                return np.column_stack([x, *self.derived(x).values()])

            many = isinstance(samples, list)
            samples = [with_derived(x) for x in samples] if many else with_derived(samples)
            names += [f"{name}*" for name in self._derived.labels]
            labels += self._derived.labels.values()
        return MCSamples(
            samples=samples, weights=weights, loglikes=minus, names=names, labels=labels,
            ranges=ranges, **options,
        )  # fmt: skip
