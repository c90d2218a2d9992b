"""Model and likelihood of measured correlation functions, without any framework around them.

`CorrelationModel` is the emulator in the bins of the data; `CorrelationLikelihood` compares it with
a data vector. Cobaya's classes, CosmoSIS' modules and `iaemu_likelihood.posterior` are shells over
these two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iaemu_likelihood.data_vectors.binning import PairWeightedBinning
from iaemu_likelihood.data_vectors.data_vector import Array, Cut, DataVector, Part
from iaemu_likelihood.data_vectors.measurement import Measurement
from iaemu_likelihood.emulator.mocks.estimators import STATISTICS
from iaemu_likelihood.emulator.models.base import Emulator, arrays_if_few
from iaemu_likelihood.emulator.backend import namespace, silent
from iaemu_likelihood.emulator.physics.parameters import Domain
from iaemu_likelihood.likelihood.estimated_covariance import GaussianLikelihood

# What `emulator_error` adds to the covariance.
EMULATOR_ERRORS = {
    "none": (),
    "aleatoric": ("aleatoric",),
    "epistemic": ("epistemic",),
    "total": ("aleatoric", "epistemic"),
}

# What becomes of points outside the domain of the training.
OUT_OF_DOMAIN = ("reject", "error", "extrapolate")

# Mean of a data vector, (..., n), and its covariances by kind, (..., n, n).
Moments = tuple[Tensor, dict[str, Tensor]]


@contextmanager
def one_thread() -> Iterator[None]:
    """Of torch: two stall each other at single points."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def allowed(domain: Domain, theta: Array, out_of_domain: str) -> NDArray[np.bool_]:
    """Which points are to be evaluated, shape (n, 7) to (n,).

    Raises
    ------
    ValueError
        If some are not, for out_of_domain: error.
    """
    if out_of_domain == "extrapolate":
        # An alignment strength beyond [-1, 1] means nothing, so it cannot be extrapolated to.
        mu_inside = (np.abs(theta[:, :2]) <= 1).all(axis=1)
        return np.asarray(mu_inside & np.isfinite(theta).all(axis=1))
    inside = domain.contains(theta)
    if out_of_domain == "error" and not inside.all():
        domain.check(theta)
    return inside


class CorrelationModel:
    """The emulator at one occupation after another, which often stays where it is.

    Parameters
    ----------
    emulator : Emulator
    statistics : sequence of str
        Those that will be asked for.
    """

    def __init__(self, emulator: Emulator, statistics: Sequence[str]) -> None:
        self.emulator, self.statistics = emulator, tuple(statistics)
        self._binnings: dict[tuple[float, ...], PairWeightedBinning] = {}
        self._last: OccupiedModel | None = None

    def binning(self, r_edges: tuple[float, ...]) -> PairWeightedBinning:
        """From the emulator's bins to others, with edges in Mpc/h."""
        if r_edges not in self._binnings:
            self._binnings[r_edges] = PairWeightedBinning(self.emulator.r_edges, r_edges)
        return self._binnings[r_edges]

    def at(self, hod: Tensor) -> OccupiedModel:
        """The model at occupation parameters, shape (n, 5); no check of the domain."""
        last = self._last
        if last is None or hod.requires_grad or not torch.equal(hod, last.hod):
            last = OccupiedModel(self, hod)
            self._last = None if hod.requires_grad else last
        return last


class OccupiedModel:
    """The emulator in any bins, as a function of the alignment strengths.

    Parameters
    ----------
    model : CorrelationModel
    hod : torch.Tensor, shape (n, 5), float64
    """

    def __init__(self, model: CorrelationModel, hod: Tensor) -> None:
        self.hod = hod
        self._model = model
        self._occupied = model.emulator.at(hod, model.statistics)
        self._maps: dict[tuple[object, ...], Any] = {}

    def __call__(self, mu: Tensor, errors: Collection[str] = ()) -> Moments:
        """In the emulator's bins: as `iaemu_likelihood.emulator.models.base.Occupied`."""
        return self._occupied(mu, errors)

    @silent
    def binned(
        self,
        moments: Moments,
        statistics: Sequence[str],
        r_edges: tuple[float, ...] | None,
        errors: Collection[str] = (),
        row: int | None = None,
    ) -> Moments:
        """Average over other bins, weighted by pairs.

        Parameters
        ----------
        moments : tuple
            As `__call__` gives them, for n points.
        statistics : sequence of str
            Some of the model's.
        r_edges : tuple of float or None
            Mpc/h; None for the emulator's own.
        errors : collection of str
            Of those in `moments`.
        row : int, optional
            One of the points; all when left out.

        Returns
        -------
        mean : torch.Tensor, shape (n, m * n_bins)
            Statistic after statistic.
        covariances : dict of str to torch.Tensor, shape (n, m * n_bins, m * n_bins)
        """
        mean, covariances = moments
        parts = _all_as_arrays_if_few(self._occupied.xi, mean, *(covariances[k] for k in errors))
        xi, mean, *blocks = parts
        if row is not None:
            mean, *blocks = (x[row : row + 1] for x in (mean, *blocks))
        n, n_bins = len(mean), mean.shape[-1]
        blocks = [x.reshape(n, -1, n_bins, mean.shape[1], n_bins) for x in blocks]
        if tuple(statistics) != self._model.statistics:
            which = [self._model.statistics.index(name) for name in statistics]
            mean = mean[:, which]
            blocks = [x[:, which][:, :, :, which] for x in blocks]
        if r_edges is not None:
            maps = self._map(xi, r_edges, tuple(statistics))
            if row is not None and len(maps) > 1:
                maps = maps[row : row + 1]
            mean = mean[..., None, :] @ maps
            # As einsum's "nsbtc,nsbi,ntcj->nsitj", which would look for the best order every time.
            left, right = maps.mT[:, :, None], maps[:, None]
            blocks = [(left @ (x.swapaxes(2, 3) @ right)).swapaxes(2, 3) for x in blocks]
        mean = torch.as_tensor(mean).flatten(1)
        size = mean.shape[1]
        each = (torch.as_tensor(x).reshape(n, size, size) for x in blocks)
        return mean, dict(zip(errors, each, strict=True))

    def _map(self, xi: Any, r_edges: tuple[float, ...], statistics: tuple[str, ...]) -> Any:
        """One matrix for each statistic, (n, n_statistics, b, n_bins), of what xi is of."""
        key = r_edges, statistics, type(xi)
        if key not in self._maps:
            of_xi, of_oriented = self._model.binning(r_edges).matrices(xi)
            xp = namespace(xi)
            of_xi = xp.broadcast_to(of_xi, of_oriented.shape)
            each = [of_xi if name == "xi" else of_oriented for name in statistics]
            self._maps[key] = xp.stack(each, axis=1)
        return self._maps[key]


def _all_as_arrays_if_few(*tensors: Tensor) -> Sequence[Any]:
    """See `iaemu_likelihood.emulator.models.base.arrays_if_few`; all of them, or none."""
    found = [arrays_if_few(x) for x in tensors]
    return tensors if any(isinstance(x, Tensor) for x in found) else found


@dataclass(frozen=True)
class LikelihoodOptions:
    """What decides a likelihood; `IACorrelations.yaml` says what each option means."""

    data_file: str | Sequence[str]
    sample: str | Sequence[str] | None = None
    statistics: Sequence[str] = ("omega",)
    r_min: Cut = 0.0
    r_max: Cut = 1000.0
    covariance: str = "diagonal"
    covariance_file: str | None = None
    covariance_correction: str = "none"
    emulator_error: str = "aleatoric"
    n_realisations: int = 1
    volume_factor: float = 1.0
    normalized: bool = False

    def __post_init__(self) -> None:
        empty = [f.name for f in fields(self) if f.default is not None]
        empty = [name for name in empty if getattr(self, name) is None]
        if empty:
            raise ValueError(f"{empty[0]} is null; leave it out for its default.")
        if self.emulator_error not in EMULATOR_ERRORS:
            raise ValueError(
                f"emulator_error must be one of {', '.join(EMULATOR_ERRORS)}; "
                f"got {self.emulator_error!r}."
            )
        if self.n_realisations < 1 or not 0 < self.volume_factor < float("inf"):
            raise ValueError(
                f"n_realisations must be 1 or more and volume_factor positive and finite; got "
                f"{self.n_realisations} and {self.volume_factor}."
            )
        if isinstance(self.statistics, str) or len({*self.statistics}) < len(self.statistics):
            raise ValueError(
                f"statistics must be a list of different ones of {', '.join(STATISTICS)}; "
                f"got {self.statistics!r}."
            )
        if len(self.data_files) != len(self.samples):
            raise ValueError(
                f"data_file lists {len(self.data_files)} and sample {len(self.samples)}; give a "
                "sample's label for each file, in the same order."
            )
        if len({*self.samples}) < len(self.samples):
            raise ValueError(
                f"sample lists a label twice, {self.samples}; put the statistics of a sample into "
                "one file."
            )
        if self.covariance_correction != "none" and self.covariance == "diagonal" and self.covariance_file is None:  # fmt: skip
            raise ValueError(
                f"covariance_correction: {self.covariance_correction} is for the inverse of an "
                "estimated matrix; with covariance: diagonal there is none. Set covariance: full."
            )

    @property
    def data_files(self) -> list[str]:
        """Of each sample."""
        return [self.data_file] if isinstance(self.data_file, str) else list(self.data_file)

    @property
    def samples(self) -> list[str | None]:
        """Labels, one for each file."""
        if self.sample is None or isinstance(self.sample, str):
            return [self.sample]
        return list(self.sample)


class CorrelationLikelihood:
    """Likelihood of measured xi, omega and eta, any subset of them, of one or several samples.

    Parameters
    ----------
    options : LikelihoodOptions
    n_parameters : int
        How many are fitted; the correction percival needs it.

    Raises
    ------
    FileNotFoundError, ValueError
        If data or covariance are missing, damaged, cut away or not enough; the message says which.
    """

    def __init__(self, options: LikelihoodOptions, n_parameters: int = 0) -> None:
        self.options = options
        statistics = tuple(options.statistics)
        parts = [
            Part.of(Measurement.read(file), sample, statistics, options.r_min, options.r_max)
            for file, sample in zip(options.data_files, options.samples, strict=True)
        ]
        self.data = DataVector.of(parts, options.covariance, options.covariance_file)
        self.gaussian = GaussianLikelihood(
            self.data.values,
            self.data.covariance,
            options.normalized,
            options.covariance_correction,
            self.data.n_jackknife,
            n_parameters,
        )
        self.errors: tuple[str, ...] = EMULATOR_ERRORS[options.emulator_error]
        self._keep = [torch.as_tensor(part.keep.ravel().nonzero()[0]) for part in parts]
        self._whole = [bool(part.keep.all()) for part in parts]

    def model(self, moments: Sequence[Moments]) -> tuple[Tensor, Tensor | None]:
        """Predicted data vector and its covariance.

        Parameters
        ----------
        moments : sequence of tuple
            Of each part of the data, as `OccupiedModel.binned` gives them for its bins.

        Returns
        -------
        mean : torch.Tensor, shape (..., n)
        covariance : torch.Tensor, shape (..., n, n), or None
            Of the emulator, scaled as the options say; None for emulator_error: none. Different
            samples' are taken as independent.
        """
        means, covariances = [], []
        for (mean, each), keep, whole in zip(moments, self._keep, self._whole, strict=True):
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
        scaled = [
            covariances[kind] * scale if kind == "aleatoric" else covariances[kind]
            for kind in self.errors
        ]
        return scaled[0] if len(scaled) == 1 else scaled[0] + scaled[1]

    def __call__(self, moments: Sequence[Moments]) -> tuple[Tensor, Tensor]:
        """Log-likelihood and chi^2; parameters as `model`."""
        return self.gaussian(*self.model(moments))

    def describe(self) -> list[str]:
        """What is compared with what, in sentences."""
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
        if self.errors:
            scale = options.volume_factor / options.n_realisations
            times = f", times {scale:.4g}" if "aleatoric" in self.errors and scale != 1 else ""
            lines.append(
                f"The emulator's {' and '.join(self.errors)} covariance is added at every "
                f"point{' (aleatoric' + times + ')' if times else ''}."
            )
        return lines


def hash_of(options: Mapping[str, object]) -> str:
    """One SHA-256 for all files of a likelihood's options; empty while one is missing."""
    import hashlib

    from iaemu_likelihood.data import sha256
    from iaemu_likelihood.data_vectors.measurement import measurement_path

    files = options.get("data_file") or []
    paths = [measurement_path(f) for f in ([files] if isinstance(files, str) else files)]  # type: ignore[attr-defined]
    if options.get("covariance_file"):
        paths.append(Path(str(options["covariance_file"])))
    if not paths or not all(path.is_file() for path in paths):
        return ""
    digests = [sha256(path) for path in paths]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
