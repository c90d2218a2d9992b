"""What weights are worth: an emulator against expectations and catalogues that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from iaemu_likelihood.emulator.mocks.estimators import STATISTICS
from iaemu_likelihood.emulator.physics.parameters import PARAMETERS
from iaemu_likelihood.emulator.physics.templates import combine_templates
from iaemu_likelihood.emulator.physics.watson import p2
from iaemu_likelihood.emulator.validation import metrics
from iaemu_likelihood.emulator.validation.baselines import GaussianProcesses
from numpy.typing import NDArray

if TYPE_CHECKING:
    from iaemu_likelihood.emulator.datasets.dataset import DataSet
    from iaemu_likelihood.emulator.expectation.tabulation import Tabulation
    from iaemu_likelihood.emulator.models.base import Emulator

Array = NDArray[Any]

# Realisations whose mean is the paper's truth.
N_PAPER = 10
# Errors of the mean below this, in units of one catalogue's sigma, hardly add to its variance.
ACCURATE = 0.3
# Beyond this in any occupation parameter mapped to [-1, 1], a point is at the edge of the domain.
EDGE = 0.9
N_WORST = 10
N_PIT = 20
# Share of the points that train the Gaussian processes.
BASELINE_SHARE = 0.2
BATCH = 250
# Timing is not repeated after this.
TIMING_S = 5.0


@dataclass(frozen=True)
class Validation:
    """Result of `validate_emulator`.

    Attributes
    ----------
    numbers : dict
        Every number, ready for JSON; numbers that do not exist are None.
    arrays : dict of str to ndarray
        What figures are drawn from. At all points: ``theta`` (n, 7), ``unit`` (n, 5), ``truth``,
        ``prediction``, ``epistemic`` and, if predicted, ``aleatoric`` (n, 3, n_bins), ``score``
        (n, 3). At the points of the realisations: ``scatter`` and ``n_catalogues`` (m, 3, n_bins).
        ``r`` (n_bins,), Mpc/h.
    """

    numbers: dict[str, Any]
    arrays: dict[str, Array]


@dataclass(frozen=True)
class _Predicted:
    """xi, omega and eta at points, shape (n, 3, n_bins) each."""

    mean: Array
    epistemic: Array
    aleatoric: Array | None

    def of(self, rows: Any) -> _Predicted:
        aleatoric = None if self.aleatoric is None else self.aleatoric[rows]
        return _Predicted(self.mean[rows], self.epistemic[rows], aleatoric)


def validate_emulator(
    emulator: Emulator,
    expectation: DataSet,
    realisations: DataSet,
    seed: int = 0,
    progress: bool = True,
    tabulation: Tabulation | None = None,
) -> Validation:
    """Measure accuracy and calibration of an emulator at points that it was not trained on.

    Parameters
    ----------
    emulator : Emulator
    expectation : DataSet
        Of the emulator's halo catalogue: `DataSet.held_out("expectation")`, unless it is another.
    realisations : DataSet
        Single catalogues at the first points of the former, each point with its own mu.
    seed : int
        Of mu_cen and mu_sat, drawn uniformly from [-1, 1], at the points of `expectation`, and of
        the choice of the points that train the baseline.
    progress : bool
        Show a progress bar.
    tabulation : Tabulation, optional
        Of the same halo catalogue, to time it beside the emulator.

    Returns
    -------
    Validation

    Raises
    ------
    ValueError
        If halo catalogues, bins or points do not belong together, or no point is in the domain.

    Notes
    -----
    A catalogue's xi is -1 in a bin without pairs, and counts; omega and eta do not exist there, are
    left out, and counted as such.
    """
    _check(emulator, expectation, realisations)
    rng = np.random.default_rng(seed)
    mu = rng.uniform(-1, 1, (len(expectation), 2))
    theta = np.concatenate([mu, expectation.parameters], axis=1)
    inside = emulator.domain.contains(theta)
    inside_drawn = emulator.domain.contains(realisations.parameters)
    if not inside.any() or not inside_drawn.any():
        raise ValueError("None of the test points lies in the domain of these weights.")
    templates = expectation.columns["templates"].astype(np.float64)
    truth = _correlations(templates, mu)[inside]
    drawn, theta = realisations.parameters, theta[inside]
    truth_drawn = _correlations(templates[: len(drawn)], drawn[:, :2])[inside_drawn]
    drawn = drawn[inside_drawn]
    draws = realisations.columns["correlations"][inside_drawn].astype(np.float64)

    predicted, at_drawn = _predict(emulator, [theta, drawn], progress)
    sigma, number = metrics.scatter(draws, draws.shape[1] // 2)
    unit = emulator.domain.to_unit(theta[:, 2:])
    score = _score(predicted, truth)
    numbers: dict[str, Any] = {
        "data": {
            "version": version("iaemu_likelihood"),
            "halos": dict(emulator.card["halos"]),
            "kind": emulator.card["kind"],
            "n_points": len(theta),
            "n_points_with_realisations": len(drawn),
            "n_catalogues": draws.shape[1],
            "n_points_outside_the_domain": int((~inside).sum() + (~inside_drawn).sum()),
            "n_values_without_pairs": int(np.isnan(draws).sum()),
            "seed": seed,
        },
        "left_out": [],
        "expectation": _against_expectation(predicted, truth, unit),
        "ten_realisations": _against_mean(at_drawn, truth_drawn, draws[:, :N_PAPER]),
        "sigma_units": _in_sigma(predicted, truth, at_drawn, truth_drawn, sigma),
        "epistemic": _epistemic(predicted, truth),
        "worst": _worst(theta, score, predicted, truth),
        "baselines": _baselines(predicted, templates[inside], theta, unit, rng, tabulation),
        "timing": _timing(emulator, theta),
    }
    if at_drawn.aleatoric is None:
        numbers["left_out"].append(
            "These weights do not predict the scatter of single catalogues: aleatoric bias, coverage, "
            "PIT, CRPS and chi^2 are left out, and the worst points are judged in units of the rms of "
            "the truth in each bin."
        )
    else:
        numbers["aleatoric"] = _aleatoric(at_drawn, truth_drawn, sigma, number)
        covariance = emulator.covariance(drawn)
        numbers["calibration"] = _calibration(at_drawn, truth_drawn, draws, sigma, covariance)
    numbers["targets"] = targets(numbers)
    arrays = {
        "r": emulator.predict(theta[0]).r,
        "theta": theta,
        "unit": unit,
        "truth": truth,
        "prediction": predicted.mean,
        "epistemic": predicted.epistemic,
        "score": score,
        "scatter": sigma,
        "n_catalogues": number,
        "drawn_epistemic": at_drawn.epistemic,
    }
    if predicted.aleatoric is not None and at_drawn.aleatoric is not None:
        arrays |= {"aleatoric": predicted.aleatoric, "drawn_aleatoric": at_drawn.aleatoric}
    return Validation(_plain(numbers), arrays)


def _check(emulator: Emulator, expectation: DataSet, realisations: DataSet) -> None:
    """Refuse data sets that do not belong to the emulator, or not to each other."""
    halos = emulator.card["halos"]
    for kind, data in (("expectation", expectation), ("realisations", realisations)):
        if data.kind != kind:
            raise ValueError(f"A data set of kind {kind} is needed; got one of {data.kind}.")
        if data.attributes["halos_sha256"] != halos["sha256"]:
            raise ValueError(
                f"These weights were trained on the halo catalogue {halos['name']!r} (SHA-256 "
                f"{halos['sha256'][:12]}...), the test points of {kind} come from "
                f"{data.attributes['halos']!r} ({data.attributes['halos_sha256'][:12]}...). Make test "
                f"points with `iaemu dataset {kind} --halos ...` and give them with --{kind}."
            )
        if not np.allclose(data.r_edges, emulator.r_edges):
            raise ValueError(f"The bins of the data set of {kind} are not those of the weights.")
    n = len(realisations)
    hod = expectation.parameters[:n]
    if n > len(expectation) or not np.array_equal(realisations.parameters[:, 2:], hod):
        raise ValueError(
            "The realisations must be at the first points of the expectation: make both data sets "
            "with the same --seed, --design and --domain."
        )


def _correlations(templates: Array, mu: Array) -> Array:
    """xi, omega and eta, shape (n, 3, n_bins)."""
    strengths = p2(mu)
    return np.stack(combine_templates(templates, strengths[:, :1], strengths[:, 1:]), axis=1)


def _predict(emulator: Emulator, sets: list[Array], progress: bool) -> list[_Predicted]:
    """Predictions at several sets of points, in batches."""
    from rich.progress import Progress

    def stack(values: Any) -> Array:
        return np.stack([getattr(values, name) for name in STATISTICS], axis=1)

    result = []
    with Progress(disable=not progress) as bar:
        task = bar.add_task("predictions", total=sum(map(len, sets)))
        for points in sets:
            means, epistemic, aleatoric = [], [], []
            for start in range(0, len(points), BATCH):
                p = emulator.predict(points[start : start + BATCH])
                means.append(stack(p))
                epistemic.append(stack(p.epistemic))
                if p.aleatoric is not None:
                    aleatoric.append(stack(p.aleatoric))
                bar.advance(task, len(means[-1]))
            result.append(
                _Predicted(
                    np.concatenate(means),
                    np.concatenate(epistemic),
                    np.concatenate(aleatoric) if aleatoric else None,
                )
            )
    return result


# ---------------------------------------------------------------- the blocks


def _each(function: Callable[[int], Any]) -> dict[str, Any]:
    """A number, or numbers, of each statistic."""
    return {name: function(i) for i, name in enumerate(STATISTICS)}


def _accuracy(guess: Array, truth: Array) -> dict[str, Any]:
    """Accuracy of each statistic, and the same after the paper's removal of outliers."""

    def screened(i: int) -> dict[str, Any]:
        kept = metrics.without_paper_outliers(STATISTICS[i], guess[:, i], truth[:, i])
        removed = int((np.isnan(kept) & np.isfinite(truth[:, i])).sum())
        return {"n_removed": removed, **metrics.accuracy(guess[:, i], kept)}

    return {
        "all": _each(lambda i: metrics.accuracy(guess[:, i], truth[:, i])),
        "without_paper_outliers": _each(screened),
    }


def _against_expectation(predicted: _Predicted, truth: Array, unit: Array) -> dict[str, Any]:
    edge = (np.abs(unit) > EDGE).any(axis=1)
    block: dict[str, Any] = {"n_points": len(truth), **_accuracy(predicted.mean, truth)}
    for name, rows in (("interior", ~edge), ("edge", edge)):
        if rows.sum() > 1:
            block[name] = {
                "n_points": int(rows.sum()),
                **_accuracy(predicted.mean[rows], truth[rows])["all"],
            }
    return block


def _against_mean(predicted: _Predicted, truth: Array, draws: Array) -> dict[str, Any]:
    """Against the mean of a few catalogues, as the paper does: the emulator, and the expectation."""
    sigma, number = metrics.scatter(draws)
    mean = np.where(number > 0, np.nansum(draws, axis=1) / np.maximum(number, 1), np.nan)
    block: dict[str, Any] = {"n_points": len(draws), "n_catalogues": draws.shape[1]}
    for name, guess in (("emulator", predicted.mean), ("perfect", truth)):
        block[name] = _accuracy(guess, mean)
        for i, statistic in enumerate(STATISTICS):
            entry, args = block[name]["all"][statistic], (guess[:, i], mean[:, i], sigma[:, i])
            entry["median_residual"] = float(metrics.median_residual(*args))
            entry["per_bin"]["median_residual"] = metrics.median_residual(*args, axis=0)
    return block


def _quantiles(ratio: Array) -> dict[str, Any]:
    median, p95, p99 = np.nanpercentile(ratio, [50, 95, 99])
    per_bin = np.nanpercentile(ratio, [50, 95], axis=0)
    return {
        "median": median, "p95": p95, "p99": p99, "n_values": int(np.isfinite(ratio).sum()),
        "per_bin": {"median": per_bin[0], "p95": per_bin[1]},
    }  # fmt: skip


def _in_sigma(
    predicted: _Predicted, truth: Array, at_drawn: _Predicted, truth_drawn: Array, sigma: Array
) -> dict[str, Any]:
    """Errors against the expectation in units of the scatter of one catalogue."""
    error = np.abs(at_drawn.mean - truth_drawn)
    block = {"measured": _each(lambda i: _quantiles(error[:, i] / sigma[:, i]))}
    aleatoric = predicted.aleatoric
    if aleatoric is not None:
        every = np.abs(predicted.mean - truth)
        block["predicted"] = _each(lambda i: _quantiles(every[:, i] / aleatoric[:, i]))
    return block


def _aleatoric(predicted: _Predicted, truth: Array, sigma: Array, number: Array) -> dict[str, Any]:
    if predicted.aleatoric is None:
        raise ValueError("No aleatoric part to compare.")
    own = predicted.aleatoric
    # A network that learns mean and variance together counts what its mean misses as variance.
    accurate = np.where(np.abs(predicted.mean - truth) < ACCURATE * sigma, own, np.nan)

    def of(i: int) -> dict[str, Any]:
        columns = own[:, i], sigma[:, i], number[:, i]
        return {
            "bias_dex": metrics.sigma_bias(*columns),
            "variance_bias_dex": metrics.variance_bias(*columns[:2]),
            "bias_dex_where_accurate": metrics.sigma_bias(accurate[:, i], *columns[1:]),
            "share_accurate": float(np.isfinite(accurate[:, i]).mean()),
            "per_bin": {
                "bias_dex": metrics.sigma_bias(*columns, axis=0),
                "variance_bias_dex": metrics.variance_bias(*columns[:2], axis=0),
            },
        }

    return {
        "correction": "Scatter about the sample mean (ddof = 1), divided by the median of the sample "
        "standard deviation of as many Gaussian numbers in units of the true one, sqrt(median of "
        f"chi^2 / (n - 1)) = {float(metrics.median_scatter_ratio(number.max())):.4f} for "
        f"{number.max()} catalogues.",
        "accurate": f"Where the mean is within {ACCURATE} standard deviations of the expectation.",
        **_each(of),
    }


def _calibration(
    predicted: _Predicted, truth: Array, draws: Array, sigma: Array, covariance: Array
) -> dict[str, Any]:
    """Single catalogues against the predicted Gaussians."""
    if predicted.aleatoric is None:
        raise ValueError("No aleatoric part to calibrate.")
    n_bins = draws.shape[-1]
    mean, own = predicted.mean[:, None], predicted.aleatoric[:, None]
    total = np.hypot(own, predicted.epistemic[:, None])
    error = draws - mean
    where = metrics.pit(draws, mean, own)
    # Relative to what the expectation and the measured scatter, of these very draws, score.
    score = metrics.gaussian_crps(draws, mean, own)
    relative = score / sigma[:, None]
    best = metrics.gaussian_crps(draws, truth[:, None], sigma[:, None]) / sigma[:, None]
    both = np.isfinite(relative) & np.isfinite(best)

    def of(i: int) -> dict[str, Any]:
        counted = where[:, :, i][np.isfinite(where[:, :, i])]
        block = slice(i * n_bins, (i + 1) * n_bins)
        return {
            "coverage": {
                str(k): metrics.coverage(error[:, :, i], own[:, :, i], k)
                for k in metrics.GAUSSIAN_COVERAGE
            },
            "coverage_with_epistemic": {
                str(k): metrics.coverage(error[:, :, i], total[:, :, i], k)
                for k in metrics.GAUSSIAN_COVERAGE
            },
            "per_bin": {
                f"coverage_{k}": metrics.coverage(error[:, :, i], own[:, :, i], k, axis=(0, 1))
                for k in metrics.GAUSSIAN_COVERAGE
            },
            "pit": np.histogram(counted, N_PIT, (0, 1))[0] / len(counted),
            "reliability": [float(np.mean(np.abs(2 * counted - 1) <= p)) for p in _LEVELS],
            "crps": np.nanmean(score[:, :, i]),
            "crps_relative": relative[:, :, i][both[:, :, i]].mean()
            / best[:, :, i][both[:, :, i]].mean(),
            "chi2": _chi2(error[:, :, i], covariance[:, block, block]),
        }

    everything = error.reshape(*error.shape[:2], -1)
    return {
        "expected_coverage": {str(k): v for k, v in metrics.GAUSSIAN_COVERAGE.items()},
        "reliability_levels": list(_LEVELS),
        **_each(of),
        "chi2": _chi2(everything, covariance),
    }


_LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))


def _chi2(error: Array, covariance: Array) -> dict[str, Any]:
    """Chi^2 of all catalogues, shape (n, n_catalogues, n_data), with (n, n_data, n_data)."""
    found = [metrics.chi2(*pair) for pair in zip(error, covariance, strict=True)]
    values, degrees = (np.concatenate(column) for column in zip(*found, strict=True))
    counted = np.isfinite(values)
    return {
        "per_degree": values[counted].sum() / degrees[counted].sum(),
        "median_per_degree": np.median(values[counted] / degrees[counted]),
        "fraction_beyond_95": metrics.chi2_beyond(values, degrees),
        "n": int(counted.sum()),
        "n_not_positive_definite": int((~counted).sum()),
    }


def _epistemic(predicted: _Predicted, truth: Array) -> dict[str, Any]:
    error = np.abs(predicted.mean - truth)

    def of(i: int) -> dict[str, Any]:
        e, s = error[:, i], predicted.epistemic[:, i]
        block: dict[str, Any] = {
            "coverage": {str(k): metrics.coverage(e, s, k) for k in metrics.GAUSSIAN_COVERAGE},
            "median_error_over_sigma": np.nanmedian(e / s),
            "per_bin": {
                f"coverage_{k}": metrics.coverage(e, s, k, axis=0)
                for k in metrics.GAUSSIAN_COVERAGE
            },
        }
        if predicted.aleatoric is not None:
            block["median_over_aleatoric"] = np.nanmedian(s / predicted.aleatoric[:, i])
        return block

    return _each(of)


def _score(predicted: _Predicted, truth: Array) -> Array:
    """Median over bins of each statistic's error in sigma (else rms of the truth), shape (n, 3)."""
    unit = predicted.aleatoric
    if unit is None:
        unit = np.broadcast_to(np.sqrt(np.nanmean(truth**2, axis=0)), truth.shape)
    return np.nanmedian(np.abs(predicted.mean - truth) / unit, axis=-1)


def _worst(theta: Array, score: Array, predicted: _Predicted, truth: Array) -> dict[str, Any]:
    def of(i: int) -> list[dict[str, Any]]:
        error = np.abs(predicted.mean[:, i] - truth[:, i])
        relative = error / np.nanmax(np.abs(truth[:, i]), axis=-1, keepdims=True)
        return [
            {
                "row": int(row),
                "score": score[row, i],
                "largest_error_over_largest_value": np.nanmax(relative[row]),
                "parameters": dict(zip(PARAMETERS, theta[row].tolist(), strict=True)),
            }
            for row in np.argsort(-np.nan_to_num(score[:, i], nan=-1.0))[:N_WORST]
        ]

    unit = "sigma of one catalogue" if predicted.aleatoric is not None else "rms of the truth"
    return {"unit": f"median over bins of |error| / {unit}", **_each(of)}


def _baselines(
    predicted: _Predicted,
    templates: Array,
    theta: Array,
    unit: Array,
    rng: np.random.Generator,
    tabulation: Tabulation | None,
) -> dict[str, Any]:
    """Gaussian processes trained on some of the test points, and the tabulation, on the others."""
    order = rng.permutation(len(theta))
    chosen, rest = np.split(order, [max(2, int(BASELINE_SHARE * len(theta)))])
    start = perf_counter()
    baseline = GaussianProcesses.fit(unit[chosen], templates[chosen])
    trained = perf_counter()
    guess = _correlations(baseline.predict(unit[rest]), theta[rest, :2])
    end = perf_counter()
    truth = _correlations(templates[rest], theta[rest, :2])
    block: dict[str, Any] = {
        "gaussian_processes": {
            "n_train": len(chosen), "n_test": len(rest), "n_components": len(baseline.components),
            "seconds_to_train": trained - start, "seconds_per_point": (end - trained) / len(rest),
            **_accuracy(guess, truth)["all"],
        },
        "emulator_at_the_same_points": _accuracy(predicted.mean[rest], truth)["all"],
    }  # fmt: skip
    if predicted.aleatoric is not None:
        sigma = predicted.aleatoric[rest]
        for i, name in enumerate(STATISTICS):
            for entry, values in zip(block.values(), (guess, predicted.mean[rest]), strict=True):
                ratio = np.abs(values[:, i] - truth[:, i]) / sigma[:, i]
                entry[name]["p95_in_sigma"] = np.nanpercentile(ratio, 95)
    if tabulation is not None:
        points = theta[: min(len(theta), 200), 2:]
        start = perf_counter()
        tabulation.templates(points)
        seconds = (perf_counter() - start) / len(points)
        block["tabulation"] = {"seconds_per_point": seconds}
    return block


def _timing(emulator: Emulator, theta: Array) -> dict[str, float]:
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


# ---------------------------------------------------------------- targets


def targets(numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The numbers that decide, beside their bars and the paper's.

    Parameters
    ----------
    numbers : mapping
        `Validation.numbers`.

    Returns
    -------
    list of dict
        name, value, bar (lowest and highest, or None where there is none), met (None without a
        bar), paper (what it reports, as text).
    """
    paper = numbers["data"]["kind"] == "paper"
    expected, mean = numbers["expectation"]["all"], numbers["ten_realisations"]["emulator"]["all"]
    rows: list[dict[str, Any]] = []

    def add(name: str, value: Any, bar: tuple[float, float] | None, published: str = "") -> None:
        met = None if bar is None else bool(bar[0] <= float(value) <= bar[1])
        rows.append({"name": name, "value": float(value), "bar": None if bar is None else list(bar),
                     "met": met, "paper": published})  # fmt: skip

    add("xi: mean absolute fractional error against the expectation",
        expected["xi"]["mean_absolute_fractional_error"], None if paper else (0, 0.003),
        "0.032 (signed or not is unclear)")  # fmt: skip
    noisy = " (against means of 10)"
    for statistic, measure, bar, published in (
        ("omega", "smape", 0.02, 0.30), ("omega", "nrmse", 0.01, 0.19), ("eta", "nrmse", 0.03, 0.69),
    ):  # fmt: skip
        add(f"{statistic}: {measure.upper()} against the expectation",
            expected[statistic][measure], None if paper else (0, bar), f"{published:.2f}{noisy}")  # fmt: skip
        add(f"{statistic}: {measure.upper()} against means of {N_PAPER} realisations",
            mean[statistic][measure], (0, published) if paper else None, f"{published:.2f}")  # fmt: skip
    where = {"predicted": "predicted sigma, all points", "measured": "scatter of the catalogues"}
    for unit, block in numbers["sigma_units"].items():
        for statistic in STATISTICS[1:]:
            add(f"{statistic}: 95th percentile of |error| in units of one catalogue's sigma "
                f"({where[unit]})", block[statistic]["p95"], None if paper else (0, 0.1))  # fmt: skip
    if "aleatoric" in numbers:
        limit = 0.10 if paper else 0.02
        published_bias = {"xi": "", "omega": "+0.34", "eta": "+0.18"}
        for statistic in STATISTICS:
            add(f"{statistic}: median bias of the aleatoric sigma, dex",
                numbers["aleatoric"][statistic]["bias_dex"], (-limit, limit),
                published_bias[statistic])  # fmt: skip
        published_coverage = {"xi": (0.403, 0.472), "omega": (0.858, 0.988), "eta": (0.774, 0.974)}
        for k, tolerance in ((1, 0.015), (2, 0.01)):
            nominal = metrics.GAUSSIAN_COVERAGE[k]
            for statistic in STATISTICS:
                add(f"{statistic}: coverage of single realisations by {k} sigma",
                    numbers["calibration"][statistic]["coverage"][str(k)],
                    None if paper else (nominal - tolerance, nominal + tolerance),
                    f"{published_coverage[statistic][k - 1]:.3f}")  # fmt: skip
    for statistic in STATISTICS:
        add(f"{statistic}: coverage of the true error by 2 epistemic sigma",
            numbers["epistemic"][statistic]["coverage"]["2"], None if paper else (0.90, 0.99))  # fmt: skip
    return rows


def _plain(value: Any) -> Any:
    """Lists, dicts and numbers only, with None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
