"""The result of a validation as one page with figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from iaemu_likelihood.emulator.atomic import atomic_write
from iaemu_likelihood.emulator.physics.statistics import Statistic
from iaemu_likelihood.emulator.validation import metrics
from iaemu_likelihood.emulator.validation.targets import PAPER_OUTLIERS
from iaemu_likelihood.emulator.validation.weights import Validation
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iaemu_likelihood.plots.style import colours, label_decades, styled

TEMPLATE = Path(__file__).with_name("report.html")
N_MAP = 8
N_DRAWN = 3
# Points of a scatter plot, at most.
N_SHOWN = 20_000


def check_page(path: str | Path) -> None:
    """Raise a ValueError if a path does not name a page."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"A report is an HTML page: {path} must end in .html.")


def write_report(result: Validation, path: str | Path, title: str = "") -> Path:
    """Write a validation as a self-contained HTML page.

    Parameters
    ----------
    result : Validation
    path : str or Path
        With the suffix .html.
    title : str
        What was validated; the kind of the weights when left out.
    """
    check_page(path)
    page = render(result, title, figures(result))
    with atomic_write(path) as unfinished:
        unfinished.write_text(page)
    return Path(path)


def render(result: Validation, title: str, drawn: Mapping[str, Figure]) -> str:
    """The page with the figures that are given; text of the result is text, and never HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    return environment.from_string(TEMPLATE.read_text()).render(
        n=result.numbers,
        title=title or result.numbers["data"]["kind"],
        figures={name: _png(figure) for name, figure in drawn.items()},
        statistics=[statistic.name for statistic in result.statistics],
        ratios=" and ".join(s.name for s in result.statistics if s.is_ratio),
        outliers=" or ".join(f"{limit:g} ({name})" for name, limit in PAPER_OUTLIERS.items()),
        measures=metrics.ACCURACY,
        parameters=result.space.names,
        radii=result.arrays["r"].tolist(),
    )


def figures(result: Validation) -> dict[str, Figure]:
    """All figures by name; those of the aleatoric part only if the weights have one."""
    drawn: dict[str, Callable[[Validation], Figure]] = {
        "accuracy": _accuracy,
        "epistemic": _epistemic,
        "maps": _maps,
        "worst": _worst,
    }
    if "aleatoric" in result.arrays:
        drawn |= {"aleatoric": _aleatoric, "calibration": _calibration}
    with styled():
        return {name: draw(result) for name, draw in drawn.items()}


def _number(value: Any) -> str:
    """Three significant digits, or a dash for what does not exist."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int | str) else f"{value:.3g}"


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return base64.b64encode(buffer.getvalue()).decode()


def _panels(rows: int, columns: int, height: float = 2.6) -> tuple[Figure, NDArray[Any]]:
    figure = Figure(figsize=(3.6 * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _values(column: list[float | None]) -> NDArray[np.float64]:
    return np.array(column, dtype=np.float64)


def _label(statistic: Statistic) -> str:
    return f"${statistic.latex}$"


def _colour(i: int) -> str:
    found: list[str] = colours()
    return found[i % len(found)]


def _accuracy(result: Validation) -> Figure:
    """The paper's Figure 3, against both truths, and the noise floor."""
    n, r = result.numbers, result.arrays["r"]
    sources = (
        ("against the expectation", n["expectation"]["all"], "-"),
        ("against means of 10 catalogues", n["ten_realisations"]["emulator"]["all"], "--"),
        ("a perfect emulator against these", n["ten_realisations"]["perfect"]["all"], ":"),
    )
    rows = {
        "mean_absolute_fractional_error": "mean |fractional error|",
        "median_residual": "median residual / σ",
        "spearman": "Spearman",
        "nrmse": "NRMSE",
        "smape": "SMAPE",
    }
    figure, axes = _panels(len(rows), len(result.statistics), 2.1)
    for axes_of_row, (measure, label) in zip(axes, rows.items(), strict=True):
        for i, (ax, statistic) in enumerate(zip(axes_of_row, result.statistics, strict=True)):
            for source, block, style in sources:
                per_bin = block[statistic.name]["per_bin"]
                if measure in per_bin:
                    ax.plot(r, _values(per_bin[measure]), style, color=_colour(i), label=source)
            ax.set_xscale("log")
            label_decades(ax.xaxis)
            if measure not in ("median_residual", "spearman"):
                ax.set_yscale("log")
                label_decades(ax.yaxis)
        axes_of_row[0].set_ylabel(label)
    for ax, statistic in zip(axes[0], result.statistics, strict=True):
        ax.set_title(_label(statistic))
    for ax in axes[-1]:
        ax.set_xlabel("r [Mpc/h]")
    axes[0, 0].legend(fontsize=6)
    return figure


def _aleatoric(result: Validation) -> Figure:
    """The paper's Figure 4: predicted against measured standard deviations."""
    a, n = result.arrays, result.numbers["aleatoric"]
    true = a["scatter"] / metrics.median_scatter_ratio(a["n_catalogues"])
    figure, axes = _panels(2, len(result.statistics))
    for i, statistic in enumerate(result.statistics):
        ax, block = axes[0, i], n[statistic.name]
        x, y = true[:, i].ravel(), a["drawn_aleatoric"][:, i].ravel()
        ax.loglog(x, y, ".", ms=1, color=_colour(i), rasterized=True)
        limits = np.nanmin(x), np.nanmax(x)
        ax.plot(limits, limits, "k-", lw=0.8)
        ax.set_title(f"{_label(statistic)}: median bias {block['bias_dex']:+.3f} dex")
        ax.set_xlabel("σ measured")
        for key, style in (("bias_dex", "-"), ("variance_bias_dex", ":")):
            axes[1, i].plot(
                a["r"], _values(block["per_bin"][key]), style, color=_colour(i),
                label={"bias_dex": "median", "variance_bias_dex": "rms"}[key],
            )  # fmt: skip
        axes[1, i].axhline(0, color="k", lw=0.8)
        axes[1, i].set_xscale("log")
        label_decades(axes[1, i].xaxis)
        axes[1, i].set_xlabel("r [Mpc/h]")
    axes[0, 0].set_ylabel("σ predicted")
    axes[1, 0].set_ylabel("bias [dex]")
    axes[1, 0].legend(fontsize=7)
    return figure


def _epistemic(result: Validation) -> Figure:
    """The paper's Figure 5: epistemic against aleatoric; and against the true error."""
    a = result.arrays
    error = np.abs(a["prediction"] - a["truth"])
    pairs = [("|error|", error)]
    if "aleatoric" in a:
        pairs.insert(0, ("aleatoric σ", a["aleatoric"]))
    figure, axes = _panels(len(pairs), len(result.statistics))
    for axes_of_row, (label, other) in zip(axes, pairs, strict=True):
        for i, statistic in enumerate(result.statistics):
            ax = axes_of_row[i]
            x, y = a["epistemic"][:, i].ravel(), other[:, i].ravel()
            some = slice(None, None, -(-len(x) // N_SHOWN))
            ax.loglog(x[some], y[some], ".", ms=0.8, alpha=0.5, color=_colour(i))
            limits = np.nanpercentile(x[x > 0], [0.1, 100])
            ax.plot(limits, limits, "k-", lw=0.8)
            ax.set_title(_label(statistic))
            ax.set_xlabel("epistemic σ")
        axes_of_row[0].set_ylabel(label)
    return figure


def _calibration(result: Validation) -> Figure:
    """Reliability, and the probability integral transform."""
    n = result.numbers["calibration"]
    levels = n["reliability_levels"]
    figure, axes = _panels(1, 1 + len(result.statistics))
    axes[0, 0].plot([0, 1], [0, 1], "k-", lw=0.8)
    for i, (ax, statistic) in enumerate(zip(axes[0, 1:], result.statistics, strict=True)):
        block, label = n[statistic.name], _label(statistic)
        axes[0, 0].plot(levels, block["reliability"], ".-", color=_colour(i), label=label)
        shares = _values(block["pit"]) * len(block["pit"])
        ax.stairs(shares, np.linspace(0, 1, len(shares) + 1), fill=True, color=_colour(i))
        ax.axhline(1, color="k", lw=0.8)
        ax.set_title(f"PIT of {label}")
    axes[0, 0].set_xlabel("central probability")
    axes[0, 0].set_ylabel("fraction of catalogues inside")
    axes[0, 0].legend()
    return figure


def _maps(result: Validation) -> Figure:
    """Median error over the domain, projected on the first and each other occupation parameter."""
    unit, score = result.arrays["unit"], result.arrays["score"]
    first, *others = (f"${p.latex}$" for p in result.space.occupation.parameters)
    figure, axes = _panels(len(result.statistics), len(others), 2.4)
    edges = np.linspace(-1, 1, N_MAP + 1)
    cell = np.clip(np.digitize(unit, edges) - 1, 0, N_MAP - 1)
    for i, statistic in enumerate(result.statistics):
        maps = np.full((len(others), N_MAP, N_MAP), np.nan)
        for k, x, y in np.ndindex(maps.shape):
            here = (cell[:, 0] == x) & (cell[:, k + 1] == y)
            if here.any():
                maps[k, y, x] = np.nanmedian(score[here, i])
        for values, ax, other in zip(maps, axes[i], others, strict=True):
            image = ax.pcolormesh(edges, edges, values, vmin=0, vmax=np.nanmax(maps))
            ax.set_ylabel(other, fontsize=8)
            ax.set_xlabel(first, fontsize=8)
        figure.colorbar(image, ax=axes[i], label=_label(statistic))
    return figure


def _worst(result: Validation) -> Figure:
    """The worst points: prediction and expectation, and below each their difference."""
    a, n = result.arrays, result.numbers["worst"]
    band = a.get("aleatoric", a["epistemic"])
    columns = len(result.statistics)
    figure = Figure(figsize=(3.6 * columns, 3.4 * N_DRAWN), layout="constrained")
    axes = figure.subplots(
        2 * N_DRAWN, columns, sharex=True, squeeze=False, height_ratios=[2, 1] * N_DRAWN
    )
    for i, statistic in enumerate(result.statistics):
        cases = n[statistic.name]
        for ax, below, case in zip(axes[::2, i], axes[1::2, i], cases, strict=False):
            row = case["row"]
            truth, mean, sigma = (x[row, i] for x in (a["truth"], a["prediction"], band))
            ax.fill_between(a["r"], mean - sigma, mean + sigma, color=_colour(i), alpha=0.3)
            ax.plot(a["r"], mean, color=_colour(i), label="prediction")
            ax.plot(a["r"], truth, "k--", lw=1, label="expectation")
            # Errors may carry a prediction below zero.
            ax.set_yscale("symlog", linthresh=float(np.nanmedian(np.abs(truth))))
            ax.set_title(f"{_label(statistic)}, row {row}: {case['score']:.3g}", fontsize=8)
            below.plot(a["r"], (mean - truth) / sigma, color=_colour(i))
            below.axhline(0, color="k", lw=0.8)
            below.set_xscale("log")
            label_decades(below.xaxis)
    for below in axes[1::2, 0]:
        below.set_ylabel("difference / σ", fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("r [Mpc/h]")
    axes[0, 0].legend(fontsize=7)
    return figure
