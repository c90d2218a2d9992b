r"""Simulation-based calibration: whether credible regions hold the truth as often as they claim.

Alignment strengths are drawn from their prior, and with each pair of them a data vector. If the
likelihood describes how such data scatter, then the *rank* of the truth, the posterior's cumulative
distribution there, is uniform on [0, 1] (Talts et al. 2018, arXiv:1804.06788).

What the data vectors hold decides which likelihood is calibrated (`SCATTER`). Those of ``data`` are the
exact expectation plus noise with the covariance of the data: a covariance of a jackknife holds all scatter
of one catalogue. Those of ``both`` are measured in a galaxy catalogue, and the same noise is added: so the
data would scatter if their covariance did not hold the scatter of their own catalogue. Neither says which
of the two a survey is; `iaemu_likelihood.sampling.pulls` fits catalogues whose covariance is a jackknife of
their own.

Occupation parameters are those of the sample, so the posterior has only two dimensions. It is
integrated on Gauss-Legendre nodes in both, in a box that is narrowed until it just holds the
posterior. A Legendre series through the nodes then gives the cumulative distribution anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.polynomial.legendre import leggauss, legvander
from numpy.typing import NDArray
from scipy.stats import chisquare, kstest

from iaemu_likelihood.data_vectors.measurement import TNG300_SAMPLES
from iaemu_likelihood.emulator.backend import unaffected
from iaemu_likelihood.emulator.halos import GalaxySites, HaloCatalogue, load_halos
from iaemu_likelihood.emulator.mocks.checkpoints import draw_with_checkpoints
from iaemu_likelihood.emulator.mocks.fast import measure, populate
from iaemu_likelihood.emulator.models import Emulator
from iaemu_likelihood.emulator.models.weights import halos_of
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE, ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import named
from iaemu_likelihood.emulator.physics.watson import p2
from iaemu_likelihood.emulator.tables import Table
from iaemu_likelihood.likelihood.core import (
    EMULATOR_ERRORS,
    CorrelationLikelihood,
    LikelihoodOptions,
)
from iaemu_likelihood.likelihood.model import CorrelationModel, OccupiedModel
from iaemu_likelihood.sampling.posterior import check_whole
from iaemu_likelihood.tng300.expectation import expected_omega

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

N_NODES = 64
# Log-density below the maximum: points that far below may be left out, and points less far below
# than the second number must not be cut off.
EMPTY, CUT_OFF = 23.0, 14.0
MAX_ZOOMS = 20
N_RANK_BINS = 20
# Central credible intervals, of one and two standard deviations of a Gaussian.
LEVELS = (0.683, 0.954)
# Largest error of a rank from too few nodes; a bin of the histogram is ten times as wide.
RANK_ERROR = 0.005
# What mock data vectors hold: the noise of the data, or the scatter of a catalogue as well.
HOLDS = {
    "data": "the noise of the data",
    "both": "the scatter of a catalogue and the noise of the data",
}
SCATTER = tuple(HOLDS)
# Data vectors with which the number of nodes is tried before the work.
N_TRIALS = 8


@dataclass(frozen=True)
class Mocks:
    """Data vectors of galaxy catalogues, with measurement noise.

    Attributes
    ----------
    truth : ndarray, shape (n, 2)
        Alignment strengths, uniform within their limits.
    signal : ndarray, shape (n, d)
        Statistics measured in the catalogues, or their expectation.
    noise : ndarray, shape (n, d)
        Gaussian noise with the covariance of the data.
    """

    truth: Array
    signal: Array
    noise: Array

    @property
    def data(self) -> Array:
        """Data vectors, shape (n, d)."""
        return self.signal + self.noise


def draw_mocks(
    halos: HaloCatalogue,
    likelihood: CorrelationLikelihood,
    hod: Array,
    n: int,
    seed: int,
    folder: Path | None = None,
    progress: bool = True,
    space: ParameterSpace = DEFAULT_SPACE,
) -> Mocks:
    """Draw catalogues and measure them as the data of a likelihood were measured.

    Parameters
    ----------
    halos : HaloCatalogue
    likelihood : CorrelationLikelihood
        Of one sample. Only its bins, statistics and data covariance are used.
    hod : ndarray, shape (n_occupation,)
        Occupation parameters; masses are log10 of Msun/h.
    n : int
    seed : int
        Mock i depends only on the seed and on i.
    folder : Path, optional
        Folder for checkpoints; a run that was stopped goes on from these.
    progress : bool
    space : ParameterSpace

    Raises
    ------
    ValueError
        If a catalogue has no pairs in a bin, or the folder holds mocks of another kind.
    """
    (part,) = likelihood.data.parts
    sites, statistics = GalaxySites.of(halos), named(part.statistics)
    edges, keep = np.array(part.r_edges), part.keep.ravel()
    root = np.linalg.cholesky(likelihood.data.covariance)

    def mock(_: int, i: int) -> Array:
        rng = np.random.default_rng([seed, i])
        mu = rng.uniform(*space.alignment.limits, space.n_alignment)
        galaxies = populate(sites, hod, rng, space.occupation)
        found = measure(galaxies, mu, sites.box, edges, rng, statistics)
        signal = found.correlations.ravel()[keep]
        empty = np.flatnonzero(~np.isfinite(signal))
        if len(empty):
            _sample, name, low, high = part.points[empty[0]]
            raise ValueError(
                f"Mock {i} has {sum(galaxies.numbers)} galaxies and no pair of them between "
                f"{low:.4g} and {high:.4g} Mpc/h, where {name} is needed. Cut the data, or take a "
                "larger box."
            )
        return np.concatenate([mu, signal, root @ rng.normal(size=len(signal))])

    origin = {"hod": hod, "seed": seed, "halos": halos.sha256, "statistics": part.statistics,
              "r_edges": edges, "keep": keep, "covariance": likelihood.data.covariance}  # fmt: skip
    (draws,) = draw_with_checkpoints(mock, n, [origin], folder, "mock data vectors", progress)
    truth, measured = np.split(draws, [space.n_alignment], axis=1)
    return Mocks(truth, *np.split(measured, 2, axis=1))


def expected_mocks(
    sample: str, likelihood: CorrelationLikelihood, n: int, seed: int,
    space: ParameterSpace = DEFAULT_SPACE,
) -> Mocks:  # fmt: skip
    """As `draw_mocks`, but the signal is the tabulated expectation, and no network's.

    Parameters
    ----------
    sample : str
        A TNG300 sample, at whose occupation the templates were written by ``iaemu validate binning``.
    likelihood, n, seed, space
        As in `draw_mocks`.
    """
    (part,) = likelihood.data.parts
    rng = np.random.default_rng([seed, n])
    truth = rng.uniform(*space.alignment.limits, (n, space.n_alignment))
    signal = p2(truth) @ np.array(expected_omega(sample, part.r_edges))[:, part.keep.ravel()]
    white = rng.normal(size=signal.shape)
    return Mocks(truth, signal, white @ np.linalg.cholesky(likelihood.data.covariance).T)


@torch.no_grad()
def predicted_mocks(
    occupied: OccupiedModel,
    likelihood: CorrelationLikelihood,
    n: int,
    seed: int,
    space: ParameterSpace = DEFAULT_SPACE,
) -> Mocks:
    """As `draw_mocks`, but the signal is the emulator's mean."""
    (part,) = likelihood.data.parts
    rng = np.random.default_rng(seed)
    truth = rng.uniform(*space.alignment.limits, (n, space.n_alignment))
    moments = occupied.binned(occupied(torch.as_tensor(truth)), part.statistics, part.r_edges)
    signal = moments[0].numpy()[:, part.keep.ravel()]
    white = rng.normal(size=signal.shape)
    return Mocks(truth, signal, white @ np.linalg.cholesky(likelihood.data.covariance).T)


@dataclass(frozen=True)
class Marginals:
    """Marginal posteriors of the two alignment strengths for many data vectors.

    Attributes
    ----------
    low, high : ndarray, shape (n, 2)
        Ends of the intervals that hold the posteriors.
    mass : ndarray, shape (n, 2, n_nodes)
        Density at the Gauss-Legendre nodes of the intervals, times the weights of the nodes; the
        sum is 1.
    """

    low: Array
    high: Array
    mass: Array

    @property
    def _nodes(self) -> Array:
        """Gauss-Legendre nodes on [-1, 1]."""
        return np.asarray(leggauss(self.mass.shape[-1])[0])

    @property
    def mean(self) -> Array:
        """Posterior means, shape (n, 2)."""
        return (self.low + self.high + (self.high - self.low) * (self.mass @ self._nodes)) / 2

    @property
    def std(self) -> Array:
        """Posterior standard deviations, shape (n, 2)."""
        deviation = self._nodes - (self.mass @ self._nodes)[..., None]
        return (self.high - self.low) / 2 * np.sqrt((self.mass * deviation**2).sum(-1))

    def cdf(self, mu: Array, n_terms: int | None = None) -> Array:
        """Cumulative distributions at one point for each data vector.

        Parameters
        ----------
        mu : ndarray, shape (n, 2)
        n_terms : int, optional
            Number of terms of the Legendre series; the number of nodes when left out.

        Returns
        -------
        ndarray, shape (n, 2)
        """
        order = n_terms or self.mass.shape[-1]
        coefficients = self.mass @ legvander(self._nodes, order - 1)
        x = np.clip((2 * mu - self.low - self.high) / (self.high - self.low), -1, 1)
        at = legvander(x, order)
        # (2 l + 1) times the integral of P_l from -1 is P_(l + 1) - P_(l - 1), where P_(-1) is -1.
        before = np.concatenate([-np.ones_like(at[..., :1]), at], axis=-1)[..., :order]
        return np.asarray((coefficients * (at[..., 1:] - before)).sum(-1) / 2)


@unaffected(gradients=True)
@torch.no_grad()
def marginals(
    likelihoods: Mapping[str, CorrelationLikelihood],
    occupied: OccupiedModel,
    data: Array,
    n_nodes: int = N_NODES,
    progress: bool = True,
    space: ParameterSpace = DEFAULT_SPACE,
    start: Array | None = None,
) -> dict[str, Marginals]:
    """Posteriors of alignment strengths by likelihoods that differ in the emulator's covariance.

    Parameters
    ----------
    likelihoods : dict of str to CorrelationLikelihood
        Likelihoods of the same data points of one sample. Their own data values are not used.
    occupied : OccupiedModel
        The model at the occupation of the sample.
    data : ndarray, shape (n, d)
        Data vectors.
    n_nodes : int
        Number of nodes in each of the two dimensions.
    progress : bool
    space : ParameterSpace
    start : ndarray, shape (2, 2), optional
        Lower ends for both strengths, then upper ends, of where to look first; everywhere when left out.

    Returns
    -------
    dict of str to Marginals
        By the names of the likelihoods.

    Raises
    ------
    ValueError
        If no box is found that holds a posterior closely.
    """
    from rich.progress import track

    nodes, weights = leggauss(n_nodes)
    log_weights = torch.as_tensor(np.log(weights))
    errors = sorted({kind for likelihood in likelihoods.values() for kind in likelihood.errors})
    one = next(iter(likelihoods.values()))
    (part,) = one.data.parts
    low, high = space.alignment.limits
    square = np.array([[low, low], [high, high]]) if start is None else start

    def model(box: Array) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        """Means and covariances of each likelihood at the nodes of a box, shape (2, 2)."""
        axes = torch.as_tensor(box.mean(0) + np.outer(nodes, np.diff(box, axis=0)[0] / 2))
        strengths = torch.cartesian_prod(*axes.unbind(1))
        moments = occupied(strengths, errors)
        binned = occupied.binned(moments, part.statistics, part.r_edges, errors)
        return [likelihood.model([binned]) for likelihood in likelihoods.values()]

    everywhere = model(square)
    boxes, masses = [], []
    for i, vector in enumerate(track(data, description="posteriors", disable=not progress)):
        # The likelihood compares with its own data, so the model is moved by the difference.
        shift = torch.as_tensor(vector - one.data.values)
        box, predicted = square, everywhere
        for _ in range(MAX_ZOOMS):
            compared = zip(likelihoods.values(), predicted, strict=True)
            each = [x.comparison(mean - shift, extra)[0] for x, (mean, extra) in compared]
            logs = torch.stack(each).reshape(-1, n_nodes, n_nodes)
            density = torch.stack(
                [(logs + log_weights).logsumexp(2), (logs + log_weights[:, None]).logsumexp(1)], 1
            )  # (n_likelihoods, 2, n_nodes)
            zoomed = _enclosing(box, nodes, density.numpy(), (low, high))
            if zoomed is None:
                break
            box, predicted = zoomed, model(zoomed)
        else:
            raise ValueError(
                f"After {MAX_ZOOMS} steps no box holds the posterior of data vector {i} closely; "
                f"the last is {', '.join(space.alignment.names)} from {box[0]} to {box[1]}. Give "
                f"more nodes than {n_nodes}."
            )
        boxes.append(box)
        masses.append((density + log_weights).softmax(-1).numpy())
    lower, upper = np.array(boxes).swapaxes(0, 1)
    return {
        name: Marginals(lower, upper, mass)
        for name, mass in zip(likelihoods, np.array(masses).swapaxes(0, 1), strict=True)
    }


def _enclosing(
    box: Array, nodes: Array, log_density: Array, limits: tuple[float, float]
) -> Array | None:
    """A box that holds posteriors more closely, or cuts off less of them; None if the box is good.

    Parameters
    ----------
    box : ndarray, shape (2, 2)
        Lower ends for both strengths, then upper ends.
    nodes : ndarray, shape (n_nodes,)
        Gauss-Legendre nodes on [-1, 1].
    log_density : ndarray, shape (n, 2, n_nodes)
        Marginal log-densities of n posteriors.
    limits : tuple of float
        Limits of the strengths.
    """
    # The posterior that is widest at a node decides.
    below = (log_density.max(-1, keepdims=True) - log_density).min(0)
    new = box.copy()
    for k in range(2):
        low, high = box[:, k]
        inside = np.flatnonzero(below[k] < EMPTY)
        first, last = inside[0], inside[-1]
        at = (low + high + (high - low) * nodes) / 2
        # The top of a narrow ridge between coarse nodes may be outside the nodes that see it.
        new[0, k] = at[first - 1] if first else low
        new[1, k] = at[last + 1] if last < len(nodes) - 1 else high
        if below[k, 0] < CUT_OFF:
            new[0, k] = max(limits[0], low - (high - low))
        if below[k, -1] < CUT_OFF:
            new[1, k] = min(limits[1], high + (high - low))
    width, new_width = np.diff(box, axis=0), np.diff(new, axis=0)
    same = (
        (new_width > 0.75 * width).all() and (new[0] >= box[0]).all() and (new[1] <= box[1]).all()
    )
    return None if same else new


@dataclass(frozen=True)
class Calibration:
    """Comparison of the posteriors of mocks with the truth.

    Attributes
    ----------
    space : ParameterSpace
    numbers : dict
        The settings; and, by kind of `emulator_error` and by parameter, the histogram of the ranks
        with its chi^2 and p-value, the p-value of Kolmogorov and Smirnov, the coverage of central
        intervals, and mean and standard deviation of z = (truth - mean) / std.
    ranks : dict of str to ndarray, shape (n, 2)
        Ranks by kind of `emulator_error`.
    """

    space: ParameterSpace
    numbers: dict[str, Any]
    ranks: dict[str, Array]

    def tables(self) -> list[Table]:
        """Table with a row for each kind of `emulator_error` and parameter."""
        n = self.numbers
        title = (
            f"TNG300 {n['sample']}, {n['n']} mocks with {HOLDS[n['scatter']]}, weights {n['weights']}: "
            "probabilities of uniform ranks, coverage of central intervals, z = (truth - mean) / std"
        )
        levels = [f"{100 * p:g} %" for p in LEVELS]
        columns = ["error", "of", "p chi^2", "p KS", *levels, "mean z", "std z"]
        rows = [
            [
                kind,
                name,
                f"{row['chi2_probability']:.2g}",
                f"{row['ks_probability']:.2g}",
                *(f"{100 * row['coverage'][str(p)]:.1f} %" for p in LEVELS),
                f"{row['mean_z']:+.2f}",
                f"{row['std_z']:.2f}",
            ]
            for kind, parameters in n["emulator_error"].items()
            for name, row in parameters.items()
        ]
        return [Table(title, columns, rows)]

    def sentences(self) -> list[str]:
        """The numbers expected of calibrated posteriors."""
        scatter = self.numbers["expected_scatter_of_coverage"]
        levels = ", ".join(f"{100 * p:g} ± {100 * scatter[str(p)]:.1f} %" for p in LEVELS)
        return [
            f"Expected of calibrated posteriors: p above 0.01; {levels}; z of mean 0 and standard "
            "deviation 1.",
            "Which emulator_error is calibrated follows from what the mocks hold, here "
            f"{HOLDS[self.numbers['scatter']]}. `iaemu validate pulls` fits catalogues whose covariance is "
            "a jackknife of their own.",
        ]


def calibrate(
    sample: str = "sample1",
    n: int = 500,
    seed: int = 0,
    weights: str | Path = "templates",
    halos: str | Path = "bundled",
    errors: Sequence[str] | None = None,
    n_nodes: int = N_NODES,
    folder: Path | None = None,
    progress: bool = True,
    scatter: str = SCATTER[0],
) -> Calibration:
    """Calibrate the fit of omega(r) of a TNG300 sample.

    Parameters
    ----------
    sample : str
        sample1, sample2 or sample3; it gives occupation, bins and covariance of the data.
    n : int
        Number of mocks.
    seed : int
    weights : str or Path
        Name or folder of the weights.
    halos : str or Path
        Halo catalogue that the weights were trained on, as
        `iaemu_likelihood.emulator.halos.load_halos` takes it.
    errors : sequence of str, optional
        Kinds of `emulator_error`; all when left out. Epistemic covariances of weights of kind
        `paper` take `n_passes` of the weights, 50 for the bundled ones, at every node.
    n_nodes, folder, progress
        As in `marginals` and `draw_mocks`.
    scatter : str
        One of `SCATTER`: what mock data vectors hold.

    Raises
    ------
    ValueError
        If the sample or a kind is unknown, a number is too small, or the weights have no noise or
        were trained on other halos.
    """
    if sample not in TNG300_SAMPLES:
        raise ValueError(f"No TNG300 sample {sample!r}; there are {', '.join(TNG300_SAMPLES)}.")
    check_whole("n", n, 0)
    if n < 5 * N_RANK_BINS:
        raise ValueError(
            f"n is {n}; a histogram of {N_RANK_BINS} bins takes at least {5 * N_RANK_BINS} mocks, "
            "five per bin."
        )
    check_whole("seed", seed, 0)
    check_whole("n_nodes", n_nodes, 2)
    if scatter not in SCATTER:
        raise ValueError(f"scatter must be one of {', '.join(SCATTER)}; got {scatter!r}.")
    emulator, catalogue = Emulator.load(weights), load_halos(halos)
    trained_on = halos_of(emulator.card, emulator.redshift)
    if catalogue.sha256 != trained_on["sha256"]:
        raise ValueError(
            f"The weights {str(weights)!r} were trained on the halo catalogue "
            f"{trained_on['name']!r} (SHA-256 {trained_on['sha256'][:12]}...), not on {str(halos)!r} "
            f"({catalogue.sha256[:12]}...). Give theirs with --halos."
        )
    likelihoods = {
        kind: CorrelationLikelihood(LikelihoodOptions(f"tng300.{sample}", emulator_error=kind))
        for kind in errors or EMULATOR_ERRORS
    }
    if not emulator.has_noise and any("aleatoric" in x.errors for x in likelihoods.values()):
        raise ValueError(
            f"The weights {str(weights)!r} have no noise: give --emulator-error none or epistemic."
        )
    one, space = next(iter(likelihoods.values())), emulator.space
    (part,) = one.data.parts
    hod = np.array([part.measured.hod[name] for name in space.occupation.names])
    emulator.domain.check(space.join(np.zeros(space.n_alignment), hod))
    occupied = CorrelationModel(emulator, part.statistics).at(torch.as_tensor(hod)[None])
    # Before the work, as the emulator predicts the mocks; they differ little.
    trial = predicted_mocks(occupied, one, N_TRIALS, seed, space)
    _rank_error(marginals(likelihoods, occupied, trial.data, n_nodes, False, space), trial.truth)
    if scatter == "both":
        mocks = draw_mocks(catalogue, one, hod, n, seed, folder, progress, space)
    else:
        mocks = expected_mocks(sample, one, n, seed, space)
    found = marginals(likelihoods, occupied, mocks.data, n_nodes, progress, space)
    error = _rank_error(found, mocks.truth)

    ranks = {kind: posterior.cdf(mocks.truth) for kind, posterior in found.items()}
    numbers = {
        "sample": sample, "scatter": scatter, "n": n, "seed": seed, "weights": str(weights),
        "halos_sha256": catalogue.sha256, "n_nodes": n_nodes, "largest_rank_error": error,
        "expected_scatter_of_coverage": {str(p): np.sqrt(p * (1 - p) / n) for p in LEVELS},
        "emulator_error": {
            kind: {
                name: summary(ranks[kind][:, i], (mocks.truth - posterior.mean)[:, i] / posterior.std[:, i])
                for i, name in enumerate(space.alignment.names)
            }
            for kind, posterior in found.items()
        },
    }  # fmt: skip
    return Calibration(space, numbers, ranks)


def _rank_error(found: Mapping[str, Marginals], truth: Array) -> float:
    """Largest change of any rank when a quarter of the terms are left out.

    Raises
    ------
    ValueError
        If it is above `RANK_ERROR`.
    """
    n_nodes = next(iter(found.values())).mass.shape[-1]
    error = max(
        float(np.abs(x.cdf(truth, 3 * n_nodes // 4) - x.cdf(truth)).max()) for x in found.values()
    )
    if error > RANK_ERROR:
        raise ValueError(
            f"With {n_nodes} nodes ranks are known only to {error:.2g}, not to {RANK_ERROR:g}: the "
            "posteriors are too narrow, or too different for one box. Give more with --nodes, or one "
            "kind of --emulator-error at a time."
        )
    return error


def coverage(ranks: Array, levels: Any) -> Array:
    """Shares of ranks inside central intervals with the probabilities `levels`."""
    return np.asarray(np.mean(2 * np.abs(ranks - 0.5) < np.asarray(levels)[..., None], axis=-1))


def summary(ranks: Array, z: Array) -> dict[str, Any]:
    """Numbers of `Calibration` for one parameter, from ranks and z, both of shape (n,)."""
    counts = np.histogram(ranks, N_RANK_BINS, (0, 1))[0]
    chi2, probability = chisquare(counts)
    return {
        "histogram": counts.tolist(),
        "chi2": float(chi2),
        "chi2_probability": float(probability),
        "ks_probability": float(kstest(ranks, "uniform").pvalue),
        "coverage": {str(p): float(coverage(ranks, p)) for p in LEVELS},
        "mean_z": float(z.mean()),
        "std_z": float(z.std(ddof=1)),
    }


def calibration_plot(result: Calibration) -> Figure:
    """Draw histograms of the ranks, and coverage against the probability of the intervals.

    Parameters
    ----------
    result : Calibration

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    from iaemu_likelihood.plots.style import PAGE, styled

    parameters = result.space.alignment.parameters
    with styled():
        figure = Figure(figsize=(PAGE, 2.8 * len(parameters)))
        for i, (histogram, curve) in enumerate(figure.subplots(len(parameters), 2)):
            _draw_calibration(histogram, curve, result, i)
        figure.suptitle(
            f"TNG300 {result.numbers['sample']}: {result.numbers['n']} mock data vectors with "
            f"{HOLDS[result.numbers['scatter']]}"
        )
    return figure


def _draw_calibration(histogram: Axes, curve: Axes, result: Calibration, i: int) -> None:
    """Draw ranks and coverage of one parameter."""
    from scipy.stats import binom

    from iaemu_likelihood.plots.style import colours

    n, parameter = result.numbers["n"], result.space.alignment.parameters[i]
    levels, edges = np.linspace(0, 1, 201), np.linspace(0, 1, N_RANK_BINS + 1).tolist()
    low, high = binom.interval(0.954, n, 1 / N_RANK_BINS)
    histogram.axhspan(low, high, color="0.9", label="95.4 % of uniform ranks")
    for k, (kind, ranks) in enumerate(result.ranks.items()):
        # The epistemic part is small; dashes keep the curve without it visible.
        dashed = "epistemic" in EMULATOR_ERRORS[kind]
        look: dict[str, Any] = {"color": colours()[k], "ls": "--" if dashed else "-",
                                "label": f"emulator_error: {kind}"}  # fmt: skip
        if kind in ("none", "aleatoric"):
            histogram.hist(ranks[:, i], edges, histtype="step", **look)
        curve.plot(levels, coverage(ranks[:, i], levels) - levels, **look)
    low, high = (x / n - levels for x in binom.interval(0.954, n, levels))
    curve.fill_between(levels, low, high, color="0.9")
    histogram.set(xlabel=f"rank of ${parameter.latex}$", ylabel="mocks", xlim=(0, 1))
    curve.set(
        xlabel=f"central interval of ${parameter.latex}$", ylabel="coverage - probability",
        xlim=(0, 1),
    )  # fmt: skip
    histogram.legend()
    curve.legend()
