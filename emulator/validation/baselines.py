"""Other ways to predict, to hold an emulator against: Gaussian processes, and the tabulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.physics.space import ParameterSpace
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.physics.templates import combine_templates
from iaemu_likelihood.emulator.validation.accuracy import accuracy
from iaemu_likelihood.emulator.validation.predicted import Array, Predicted
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

if TYPE_CHECKING:
    from iaemu_likelihood.emulator.expectation import Tabulation
    from iaemu_likelihood.emulator.models.base import Emulator

# Points from which length scales and noise are found; all points are then conditioned on.
N_HYPER = 250
MAX_ITERATIONS = 50
# Share of the points that train the Gaussian processes.
SHARE = 0.2
# Timing is not repeated after this.
TIMING_S = 5.0


@dataclass(frozen=True)
class GaussianProcesses:
    """Exact Gaussian processes on the principal components of templates.

    One process per component, with a squared exponential kernel of one length scale per parameter,
    an amplitude and a white noise, all by maximum marginal likelihood.

    Attributes
    ----------
    statistics : tuple of Statistic
        To which the templates belong.
    x : ndarray, shape (n, n_parameters)
        Training points in the unit cube.
    log_scales : ndarray, shape (n_components, n_parameters)
    weights : ndarray, shape (n_components, n)
        Inverse covariance times training values, times the amplitude.
    components : ndarray, shape (n_components, n_values)
        From components to scaled templates.
    mean, scale : ndarray, shape (n_values,)
        Of the scaled templates.
    """

    statistics: tuple[Statistic, ...]
    x: Array
    log_scales: Array
    weights: Array
    components: Array
    mean: Array
    scale: Array

    @classmethod
    def fit(
        cls,
        x: Array,
        templates: Array,
        statistics: tuple[Statistic, ...],
        n_components: int = 40,
    ) -> GaussianProcesses:
        """Condition on templates.

        Parameters
        ----------
        x : ndarray, shape (n, n_parameters)
            Parameters mapped to [-1, 1].
        templates : ndarray, shape (n, n_templates, n_bins)
            Of `statistics`; each bin is scaled to unit variance.
        statistics : tuple of Statistic
        n_components : int
            Principal components to keep; what the others hold is lost.
        """
        values = _learned(templates, statistics)
        mean, scale = values.mean(axis=0), values.std(axis=0)
        _, sizes, rows = np.linalg.svd((values - mean) / scale, full_matrices=False)
        # Coefficients of unit variance.
        components = rows[:n_components] * (sizes[:n_components, None] / np.sqrt(len(x)))
        targets = (values - mean) / scale @ np.linalg.pinv(components)
        log_scales, weights = [], []
        for y in targets.T:
            scales, signal, noise = _unpacked(_maximise(x[:N_HYPER], y[:N_HYPER]))
            covariance = signal * _kernel(x, x, scales)[0] + noise * np.eye(len(x))
            weights.append(signal * cho_solve(cho_factor(covariance), y))
            log_scales.append(scales)
        return cls(statistics, x, np.array(log_scales), np.array(weights), components, mean, scale)

    def predict(self, x: Array) -> Array:
        """Templates at points of the unit cube, (m, n_parameters) to (m, n_templates, n_bins)."""
        pairs = zip(self.log_scales, self.weights, strict=True)
        found = np.stack([_kernel(x, self.x, scales)[0] @ w for scales, w in pairs], axis=1)
        logarithms = _are_logarithms(self.statistics)
        flat = found @ self.components * self.scale + self.mean
        values = flat.reshape(len(x), len(logarithms), -1)
        values[:, logarithms] = np.expm1(values[:, logarithms])
        return values


def _are_logarithms(statistics: Sequence[Statistic]) -> Array:
    """Of which templates the logarithm is learned, shape (n_templates,)."""
    return np.array([s.learned_as_logarithm for s in statistics for _ in s.templates])


def _learned(templates: Array, statistics: Sequence[Statistic]) -> Array:
    """What is learned of templates, shape (n, n_templates n_bins)."""
    logarithms = _are_logarithms(statistics)
    values = templates.astype(np.float64)
    values[:, logarithms] = np.log1p(values[:, logarithms])
    return values.reshape(len(values), -1)


def _kernel(x: Array, z: Array, log_scales: Array) -> tuple[Array, Array]:
    """Squared exponential of the distance, and both sides in units of the length scales."""
    a, b = x / np.exp(log_scales), z / np.exp(log_scales)
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.exp(-0.5 * np.maximum(square, 0)), a


def _unpacked(parameters: Array) -> tuple[Array, float, float]:
    """Logarithms of the length scales, amplitude^2 and noise^2; see `_maximise`."""
    *log_scales, log_signal, log_noise = parameters
    return np.array(log_scales), float(np.exp(log_signal)), float(np.exp(log_noise))


def _maximise(x: Array, y: Array) -> Array:
    """Logarithms of length scales, amplitude^2 and noise^2 of the largest marginal likelihood."""
    identity = np.eye(len(x))

    def negative(parameters: Array) -> tuple[float, Array]:
        log_scales, amplitude, noise = _unpacked(parameters)
        correlation, a = _kernel(x, x, log_scales)
        signal = amplitude * correlation
        factor = cho_factor(signal + noise * identity, lower=True)
        inverse = cho_solve(factor, identity)
        weights = inverse @ y
        value = 0.5 * y @ weights + np.log(np.diag(factor[0])).sum()
        # d value = tr(outer dK) / 2, and dK / d log scale is K times the squared distance along it.
        outer = inverse - np.outer(weights, weights)
        product = outer * signal
        sums = product.sum(axis=1)
        distance = sums @ a**2 - np.einsum("ip,ij,jp->p", a, product, a, optimize=True)
        gradient = [*distance, 0.5 * product.sum(), 0.5 * noise * np.trace(outer)]
        return float(value), np.array(gradient)

    n = x.shape[1]
    start = np.array([*np.full(n, np.log(2.0)), 1.0, np.log(1e-4)])
    bounds = [(np.log(0.1), np.log(100.0))] * n + [(-5.0, 12.0), (np.log(1e-8), 0.0)]
    return minimize(
        negative, start, jac=True, bounds=bounds, method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS},
    ).x  # fmt: skip


def baselines(
    predicted: Predicted,
    templates: Array,
    theta: Array,
    unit: Array,
    space: ParameterSpace,
    rng: np.random.Generator,
    tabulation: Tabulation | None = None,
) -> dict[str, Any]:
    """Gaussian processes trained on some of the test points, and the emulator, on the others.

    Parameters
    ----------
    predicted : Predicted
        By the emulator.
    templates : ndarray, shape (n, n_templates, n_bins)
        The expectation.
    theta : ndarray, shape (n, n_parameters)
        Points of `space`.
    unit : ndarray, shape (n, n_occupation)
        Occupation parameters mapped to [-1, 1].
    space : ParameterSpace
    rng : numpy.random.Generator
        Chooses the points that train.
    tabulation : Tabulation, optional
        To be timed as well.
    """
    statistics = predicted.statistics
    mu, hod = space.split(theta)
    order = rng.permutation(len(theta))
    chosen, rest = np.split(order, [max(2, int(SHARE * len(theta)))])
    start = perf_counter()
    processes = GaussianProcesses.fit(unit[chosen], templates[chosen], statistics)
    trained = perf_counter()
    found = processes.predict(unit[rest])
    guess = combine_templates(found, mu[rest], statistics, space.alignment)
    end = perf_counter()
    truth = combine_templates(templates[rest], mu[rest], statistics, space.alignment)
    block: dict[str, Any] = {
        "gaussian_processes": {
            "n_train": len(chosen), "n_test": len(rest), "n_components": len(processes.components),
            "seconds_to_train": trained - start, "seconds_per_point": (end - trained) / len(rest),
            **accuracy(statistics, guess, truth)["all"],
        },
        "emulator_at_the_same_points": accuracy(statistics, predicted.mean[rest], truth)["all"],
    }  # fmt: skip
    if predicted.aleatoric is not None:
        sigma = predicted.aleatoric[rest]
        for entry, values in zip(block.values(), (guess, predicted.mean[rest]), strict=True):
            for i, statistic in enumerate(statistics):
                ratio = np.abs(values[:, i] - truth[:, i]) / sigma[:, i]
                entry[statistic.name]["p95_in_sigma"] = np.nanpercentile(ratio, 95)
    if tabulation is not None:
        points = hod[:200]
        start = perf_counter()
        tabulation.templates(points, occupation=space.occupation)
        seconds = (perf_counter() - start) / len(points)
        block["tabulation"] = {"seconds_per_point": seconds}
    return block


def timing(emulator: Emulator, theta: Array) -> dict[str, float]:
    """Seconds per prediction at points (n, n_parameters), of many at a time and of one."""

    def seconds(points: Array) -> float:
        """Of the fastest of up to three."""
        times: list[float] = []
        while len(times) < 3 and sum(times) < TIMING_S:
            start = perf_counter()
            emulator.predict(points)
            times.append(perf_counter() - start)
        return min(times)

    many = np.resize(theta, (1000, theta.shape[1]))
    return {"seconds_per_point_of_1000": seconds(many) / 1000, "seconds_for_one": seconds(theta[0])}
