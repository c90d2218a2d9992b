"""The likelihood of measured correlation functions: options, data, and comparison with a model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import inf, isnan
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from iaemu_likelihood.data import FOLDER, bundled, sha256
from iaemu_likelihood.data_vectors.data_vector import Cut, DataVector, Part, covariance_path
from iaemu_likelihood.data_vectors.measurement import Measurement, measurement_path
from iaemu_likelihood.emulator.backend import unaffected
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.noise.box import BUNDLED
from iaemu_likelihood.emulator.physics.statistics import OBSERVABLES, OMEGA, PROJECTED
from iaemu_likelihood.likelihood.estimated_covariance import EstimatedCovarianceLikelihood
from iaemu_likelihood.likelihood.model import BOX, Bins, Moments
from iaemu_likelihood.likelihood.number_density import NumberDensities
from iaemu_likelihood.likelihood.responses import default_priors

# Covariances of the emulator that each value of the option `emulator_error` adds.
EMULATOR_ERRORS = {
    "none": (),
    "aleatoric": ("aleatoric",),
    "epistemic": ("epistemic",),
    "total": ("aleatoric", "epistemic"),
}
# The same of the option `model_error`.
MODEL_ERRORS = {"none": (), "box": (BOX,)}
# Predicted number densities by the labels of samples, (h/Mpc)^3.
Densities = Mapping[str | None, Any]
# Redshifts of data and of a model as close as this count as the same.
SAME_REDSHIFT = 0.01


@dataclass(frozen=True)
class LikelihoodOptions:
    """Options of a likelihood; `IACorrelations.yaml` explains each."""

    data_file: str | Sequence[str]
    sample: str | Sequence[str] | None = None
    statistics: Sequence[str] = (OMEGA.name,)
    r_min: Cut = 0.0
    r_max: Cut = 1000.0
    covariance: str = "diagonal"
    covariance_file: str | None = None
    covariance_correction: str = "none"
    emulator_error: str = "aleatoric"
    n_realisations: int = 1
    volume_factor: float = 1.0
    model_error: str = "none"
    normalized: bool = False
    axis_ratio: float | Sequence[float] | None = None
    kaiser: bool = True
    number_density: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for option in fields(self):
            if option.default is not None and getattr(self, option.name) is None:
                raise ValueError(f"{option.name} is null; leave it out for its default.")
        if self.emulator_error not in EMULATOR_ERRORS:
            raise ValueError(
                f"emulator_error must be one of {', '.join(EMULATOR_ERRORS)}; "
                f"got {self.emulator_error!r}."
            )
        if self.model_error not in MODEL_ERRORS:
            raise ValueError(
                f"model_error must be one of {', '.join(MODEL_ERRORS)}; got {self.model_error!r}."
            )
        for name in ("n_realisations", "volume_factor", "r_min", "r_max"):
            given = getattr(self, name)
            for value in given.values() if isinstance(given, Mapping) else [given]:
                if isinstance(value, bool) or not isinstance(value, Real) or isnan(value):
                    raise ValueError(f"{name} must be a number; got {given!r}.")
        whole = isinstance(self.n_realisations, Integral)
        if not whole or self.n_realisations < 1 or not 0 < self.volume_factor < inf:
            raise ValueError(
                f"n_realisations must be 1 or more, a whole number, and volume_factor positive and "
                f"finite; got {self.n_realisations} and {self.volume_factor}."
            )
        if isinstance(self.statistics, str) or len({*self.statistics}) < len(self.statistics):
            raise ValueError(
                f"statistics must be a list without repetitions, of {', '.join(OBSERVABLES)}; "
                f"got {self.statistics!r}."
            )
        self._check_projected()
        if len(self.data_files) != len(self.samples):
            raise ValueError(
                f"data_file names {len(self.data_files)} file(s), but sample has "
                f"{len(self.samples)} label(s); give one label for each file, in the same order."
            )
        _ = self.number_densities  # raises if they make no sense
        # A frozen instance is set in this way while it is made.
        files = [file and _resolved(file, measurement_path) for file in self.data_files]
        alone = isinstance(self.data_file, str)
        object.__setattr__(self, "data_file", files[0] if alone else files)
        covariance = self.covariance_file and _resolved(self.covariance_file, covariance_path)
        object.__setattr__(self, "covariance_file", covariance or None)
        if len({*self.samples}) < len(self.samples):
            raise ValueError(
                f"sample has a label twice, {self.samples}; put all statistics of a sample into "
                "one file."
            )
        if self.covariance_correction != "none" and self.covariance == "diagonal" and self.covariance_file is None:  # fmt: skip
            raise ValueError(
                f"covariance_correction: {self.covariance_correction} corrects the inverse of an "
                "estimated matrix, but covariance is diagonal. Set covariance: full."
            )

    def _check_projected(self) -> None:
        """Refuse what is not known of projected statistics."""
        projected = [s for s in self.statistics if s in PROJECTED]
        if not projected:
            return
        others = [s for s in self.statistics if s not in PROJECTED]
        if others:
            raise ValueError(
                f"statistics has {', '.join(projected)}, measured on the sky, and {', '.join(others)}, in "
                "three dimensions; give each kind a likelihood."
            )
        if "aleatoric" in EMULATOR_ERRORS[self.emulator_error]:
            raise ValueError(
                f"emulator_error is {self.emulator_error}, but the scatter of a single catalogue is not "
                f"known for {', '.join(projected)}. Set emulator_error: none, or epistemic; the "
                "covariance of the data must then hold that scatter, as that of a jackknife does."
            )
        if self.model_error != "none":
            raise ValueError(
                f"model_error is {self.model_error}, but the sample variance of the box is not known for "
                f"{', '.join(projected)}: it was estimated up to 15.85 Mpc/h, and these integrate beyond "
                "along the line of sight. Set model_error: none."
            )

    @property
    def errors(self) -> tuple[str, ...]:
        """Covariances of the model that are added: any of aleatoric, epistemic and box."""
        return EMULATOR_ERRORS[self.emulator_error] + MODEL_ERRORS[self.model_error]

    @property
    def number_densities(self) -> NumberDensities | None:
        """Measured number densities; None if there are none."""
        if self.number_density is None:
            return None
        return NumberDensities(self.number_density, self.samples, self.normalized)

    @property
    def data_files(self) -> list[str]:
        """Measurement files, one for each sample."""
        return [self.data_file] if isinstance(self.data_file, str) else list(self.data_file)

    @property
    def samples(self) -> list[str | None]:
        """Labels, one for each file."""
        if self.sample is None or isinstance(self.sample, str):
            return [self.sample]
        return list(self.sample)


def _resolved(file: str, path_of: Callable[[str], Path]) -> str:
    """A path that means the same in every folder; the name of bundled data is left as it is."""
    path = path_of(file)
    return file if FOLDER in path.parents else os.path.abspath(path)


class CorrelationLikelihood:
    """Likelihood of measured correlation functions of one or several samples.

    Parameters
    ----------
    options : LikelihoodOptions
    n_parameters : int
        Number of fitted parameters; the correction percival needs it.

    Attributes
    ----------
    data : DataVector
    comparison : EstimatedCovarianceLikelihood
        Compares data and model.
    errors : tuple of str
        Covariances of the model that are added: any of aleatoric, epistemic and box.
    bins : tuple of Bins
        For each part of the data, what is asked of the model.
    number_densities : NumberDensities or None
        Measured number densities that are compared, too.
    dense_samples : tuple of str or None
        The samples of these.
    n_data : int
        Number of data points, number densities included.
    responses : dict of str to dict
        Where shapes enter, the parameters of their response with default priors, as Cobaya has them.
        Empty where neither the option `axis_ratio` nor the data say what shapes are.

    Raises
    ------
    FileNotFoundError, ValueError
        If data or covariance are missing or damaged, no bin is left, there are too few jackknife
        regions, or an axis ratio is impossible; the message says which.
    """

    @unaffected()
    def __init__(self, options: LikelihoodOptions, n_parameters: int = 0) -> None:
        self.options = options
        statistics = tuple(options.statistics)
        parts = [
            Part.of(Measurement.read(file), sample, statistics, options.r_min, options.r_max)
            for file, sample in zip(options.data_files, options.samples, strict=True)
        ]
        self.data = DataVector.of(parts, options.covariance, options.covariance_file)
        self.comparison = EstimatedCovarianceLikelihood(
            self.data.values,
            self.data.covariance,
            options.normalized,
            options.covariance_correction,
            self.data.n_jackknife,
            n_parameters,
        )
        self.number_densities = options.number_densities
        self.n_data = len(self.data.values)
        self.dense_samples: tuple[str | None, ...] = ()
        if self.number_densities is not None:
            self.dense_samples = self.number_densities.samples
            self.n_data += len(self.dense_samples)
        self.errors = options.errors
        self.bins = tuple(self._bins(part) for part in parts)
        self.responses = self._default_priors()
        self._keep = [torch.as_tensor(part.keep.ravel().nonzero()[0]) for part in parts]
        self._whole = [bool(part.keep.all()) for part in parts]

    def _bins(self, part: Part) -> Bins:
        """What is asked of the model for a part of the data."""
        conventions = None
        if any(s in PROJECTED for s in part.statistics):
            conventions = part.measured.conventions
            assert conventions is not None
            if not self.options.kaiser:
                conventions = replace(conventions, redshift_space=False)
        return Bins(part.statistics, part.r_edges, conventions)

    @property
    def has_shapes(self) -> bool:
        """Whether shapes on the sky enter, and so their responses."""
        return self.bins[0].has_shapes  # all samples have the same statistics

    def _default_priors(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for part, bins in zip(self.data.parts, self.bins, strict=True):
            if bins.conventions is None or not bins.has_shapes:
                continue
            source, ratio = "The option axis_ratio", self.options.axis_ratio
            if ratio is None:
                source, ratio = part.measured.source, part.measured.axis_ratio
            if ratio is None:
                continue
            try:
                found |= default_priors(ratio, bins.conventions.ellipticity, part.sample)
            except ValueError as error:
                raise ValueError(f"{source}: {error}") from error
        return found

    def model(self, moments: Sequence[Moments]) -> tuple[Tensor, Tensor | None]:
        """Predicted data vector and its covariance.

        Parameters
        ----------
        moments : sequence of tuple
            For each part of the data, from `Predicted.in_bins` in its `bins`: arrays or tensors.

        Returns
        -------
        mean : torch.Tensor, shape (..., n)
        covariance : torch.Tensor, shape (..., n, n), or None
            Covariance of the model, scaled as the options say; None if nothing is added. Samples are
            taken as independent.
        """
        means, covariances = [], []
        for (given, each), keep, whole in zip(moments, self._keep, self._whole, strict=True):
            mean = torch.as_tensor(given)
            means.append(mean if whole else mean[..., keep])
            if self.errors:
                total = self._scaled(each)
                covariances.append(total if whole else total[..., keep, :][..., keep])
        if len(means) == 1:
            return means[0], covariances[0] if covariances else None
        if not covariances:
            return torch.cat(means, dim=-1), None
        sizes = [block.shape[-1] for block in covariances]
        rows = [
            torch.nn.functional.pad(block, (sum(sizes[:i]), sum(sizes[i + 1 :])))
            for i, block in enumerate(covariances)
        ]
        return torch.cat(means, dim=-1), torch.cat(rows, dim=-2)

    def _scaled(self, covariances: Mapping[str, Tensor]) -> Tensor:
        scale = self.options.volume_factor / self.options.n_realisations
        each = [torch.as_tensor(covariances[kind]) for kind in self.errors]
        if scale != 1:
            each = [
                x * scale if kind == "aleatoric" else x
                for kind, x in zip(self.errors, each, strict=True)
            ]
        return sum(each[1:], start=each[0])

    def __call__(
        self, moments: Sequence[Moments], densities: Densities = MappingProxyType({})
    ) -> tuple[Tensor, Tensor]:
        """Log-likelihood and chi^2, with parameters as in `model` and `compare`."""
        return self.compare(*self.model(moments), densities)

    def compare(
        self, mean: Tensor, covariance: Tensor | None, densities: Densities
    ) -> tuple[Tensor, Tensor]:
        """Log-likelihood and chi^2 of all data, number densities included.

        Parameters
        ----------
        mean, covariance
            From `model`.
        densities : mapping of str or None to ndarray or torch.Tensor, shape (...)
            Predicted number densities, (h/Mpc)^3, of the samples in `dense_samples`.
        """
        value, chi2 = self.comparison(mean, covariance)
        if self.number_densities is None:
            return value, chi2
        each = [torch.as_tensor(densities[s], dtype=torch.float64) for s in self.dense_samples]
        more = self.number_densities(torch.stack(each, dim=-1))
        return value + more[0], chi2 + more[1]

    def redshift_warnings(self, emulators: Mapping[str | None, Emulator]) -> list[str]:
        """A sentence for each measurement that states another redshift than that of its emulator.

        Parameters
        ----------
        emulators : mapping to Emulator
            By the label of each sample.
        """
        found = []
        for part in self.data.parts:
            emulator, stated = emulators[part.sample], part.measured.redshift
            if stated is None or abs(stated - emulator.redshift) <= SAME_REDSHIFT:
                continue
            lowest, highest = emulator.redshifts
            remedy = "take weights from halos at the redshift of the data."
            if lowest <= stated <= highest:
                whose = f" for the sample {part.sample}" if part.sample else ""
                remedy = f"set redshift: {stated:g}{whose}, which the weights know."
            found.append(
                f"{part.measured.source} was measured at z = {stated:g}, but the weights predict z = "
                f"{emulator.redshift:g}, and what evolves in between is not modelled: {remedy}"
            )
        return found

    def describe(self) -> list[str]:
        """Data, covariance and emulator error, in sentences."""
        data, options = self.data, self.options
        lines = [part.describe() for part in data.parts]
        n = len(data.values)
        if options.covariance == "diagonal" and options.covariance_file is None:
            lines.append("Covariance: diagonal, from the published errors.")
        else:
            regions = data.n_jackknife
            source = f"{regions} jackknife regions" if regions else "an unknown number of estimates"
            lines.append(
                f"Covariance: full, from {source} for {n} data points (condition number of the "
                f"correlation matrix {data.condition_number:.3g}); "
                f"correction: {options.covariance_correction}."
            )
        emulator_errors = EMULATOR_ERRORS[options.emulator_error]
        if emulator_errors:
            scale = options.volume_factor / options.n_realisations
            times = f", times {scale:.4g}" if "aleatoric" in emulator_errors and scale != 1 else ""
            lines.append(
                f"The emulator's {' and '.join(emulator_errors)} covariance is added at every "
                f"point{' (aleatoric' + times + ')' if times else ''}."
            )
        if BOX in self.errors:
            lines.append("The sample variance of the box of the training is added at every point.")
        lines += [] if self.number_densities is None else self.number_densities.describe()
        return lines


def hash_of(options: Mapping[str, Any]) -> str:
    """One SHA-256 for all files that a likelihood's options name; empty while one is missing."""
    files = options.get("data_file") or []
    paths = [measurement_path(f) for f in ([files] if isinstance(files, str) else files)]
    if options.get("model_error") == "box" and paths:
        paths.append(bundled(BUNDLED))
    if options.get("covariance_file"):
        paths.append(covariance_path(options["covariance_file"]))
    if not paths or not all(path.is_file() for path in paths):
        return ""
    digests = [sha256(path) for path in paths]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
