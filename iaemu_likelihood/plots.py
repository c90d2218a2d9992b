"""Figures of chains: GetDist corner plots, and data against the posterior's prediction."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iaemu_likelihood.cobaya.inputs import (
    latex_text,
    model_of,
    read_updated,
    refuse_python_tags,
    restored_logging,
    updated_file,
)
from iaemu_likelihood.emulator.physics.statistics import STATISTICS, Statistic

if TYPE_CHECKING:
    from getdist import MCSamples, ParamInfo

    from iaemu_likelihood.data_vectors.measurement import Measurement

Array = NDArray[np.float64]

BURN_IN = 0.3
COLOURS = {"data": "black", "model": "#2a6f97"}


def load_chains(root: str | Path) -> MCSamples:
    """Load the chains of a Cobaya run by their prefix, without the first 30 % of each.

    Parameters
    ----------
    root : str or Path
        Output prefix of the run. One that is a folder, as in ``output: chains/``, ends with a slash.

    Raises
    ------
    FileNotFoundError
        If there are no chains with this prefix; those that there are, are named.
    ValueError
        If the prefix has chains of two runs, or a chain holds anything but finite numbers.
    """
    return _load(root, ".", BURN_IN)


def load_nuts(root: str | Path) -> MCSamples:
    """Load the chains of `iaemu_likelihood.sampling.nuts`, which hold no burn-in, by their root.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_chains`.
    """
    return _load(root, "_", 0.0)


def _load(root: str | Path, separator: str, burn_in: float) -> MCSamples:
    """Load chains ROOT + separator + number.txt."""
    from getdist import chains

    path = f"{Path(root).absolute()}{'/' if str(root).endswith('/') else ''}"
    folder = updated_file(path).parent
    mine, others = (
        chains.chainFiles(path, separator=x, first_chain=1) if folder.is_dir() else []
        for x in (separator, "_" if separator == "." else ".")
    )
    if not mine:
        raise FileNotFoundError(_no_chains(root, separator, others))
    if others and separator == "." and not path.endswith("/"):
        raise ValueError(  # as GetDist would read Cobaya's with the settings of the others
            f"The prefix {root} has chains of two runs, {Path(mine[0]).name} and "
            f"{Path(others[0]).name}. Move those of one."
        )
    if updated_file(path).is_file():
        refuse_python_tags(updated_file(path))
    before = chains.print_load_details
    chains.print_load_details = False
    try:
        samples = _described(path, burn_in)
        names = list(samples.paramNames.names)
        rows = _checked(mine, names)
        samples.readChains(list(rows))
    except Exception as error:  # GetDist raises many kinds
        raise ValueError(f"The chains {root} cannot be read: {error}") from error
    finally:
        chains.print_load_details = before
    # GetDist takes for fixed what the first chain holds fixed.
    kept = [each[round(burn_in * len(each)) :] for each in rows.values()]
    for i, parameter in enumerate(names, 2):
        values = np.concatenate([each[:, i] for each in kept])
        if samples.ranges.fixedValue(parameter.name) is not None and np.ptp(values) > 0:
            raise ValueError(
                f"{next(iter(rows))}, the longest chain, has not moved in {parameter.name}, and "
                "others have. Let it run on, or leave it out."
            )
    return samples


def _described(path: str, burn_in: float) -> MCSamples:
    """Names, labels and limits of parameters, without samples."""
    from getdist import MCSamples

    try:
        samples = MCSamples(path, settings={"ignore_rows": burn_in})
    except Exception as error:  # GetDist raises many kinds
        files = [
            str(updated_file(path)),
            *(f"{path}.{x}" for x in ("paramnames", "ranges", "properties.ini")),
        ]
        there = ", ".join(file for file in files if Path(file).is_file())
        raise ValueError(f"GetDist fails at {there}: {error}") from error
    if samples.paramNames is None:
        raise ValueError("neither .updated.yaml nor .paramnames names their parameters")
    return samples


def _no_chains(root: str | Path, separator: str, others: Sequence[str]) -> str:
    """That there are none with a prefix, and which there are; `others` have it, but are not ours."""
    there = []
    for folder in (Path(root), Path(root).parent):
        for file in folder.glob(f"*{separator}[0-9]*.txt"):
            match = re.fullmatch(rf"(.+){re.escape(separator)}\d+\.txt", file.name)
            there += [str(folder / match[1])] if match else []
        there += [f"{folder}/"] if separator == "." and (folder / "1.txt").is_file() else []
    near = get_close_matches(str(root), sorted(set(there)), n=5, cutoff=0.0)
    hint = f"There are {', '.join(near)}." if near else "There are none beside it either."
    if others:
        by = {".": "NUTS, which draws its own figure", "_": "Cobaya"}[separator]
        hint = f"{Path(others[0]).name} is a chain of {by}."
    pattern = f"{root}{'' if str(root).endswith('/') else separator}*.txt"
    return f"No chains {pattern}. Give the output prefix of a run, such as chains/tng300_sample1. {hint}"


def _checked(files: Sequence[str], names: Sequence[ParamInfo]) -> dict[str, Array]:
    """The rows of those chains that have begun, by their files, the longest first.

    Raises
    ------
    ValueError
        If none has, or one holds anything but finite numbers with positive weights.
    """
    columns = ["weight", "minuslogpost", *(x.name for x in names)]
    needed = [0, 1, *(i for i, x in enumerate(names, 2) if not x.isDerived)]
    found = {}
    for file in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # at a file that holds a header only
                rows = np.loadtxt(file, ndmin=2)
        except ValueError as error:
            reason = str(error).partition(";")[0].rstrip(".")  # without what numpy proposes
            raise ValueError(f"{file} is no table of numbers: {reason}.") from error
        if not rows.size:
            continue
        with Path(file).open() as lines:
            header = next(lines)
        if header.startswith("#") and header[1:].split() != columns:
            raise ValueError(
                f"{file} is of another run than what names its parameters: its columns are "
                f"{header[1:].split()}, and not {columns}."
            )
        if rows.shape[1] < len(columns):
            raise ValueError(
                f"{file} has {rows.shape[1]} columns; the run has {len(columns)}: "
                f"{', '.join(columns)}."
            )
        bad = ~np.isfinite(rows[:, needed])
        bad[:, 0] |= (rows[:, 0] < 0) | (not rows[:, 0].any())
        if bad.any():
            row, i = np.argwhere(bad)[0]
            raise ValueError(
                f"{file}: {columns[needed[i]]} of sample {row + 1} is {rows[row, needed[i]]:g}. A "
                "chain holds finite numbers and positive weights; remove that line."
            )
        found[file] = rows
    if not found:
        raise ValueError(f"{', '.join(files)}: no samples yet.")
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


@contextmanager
def _apart() -> Iterator[None]:
    """Draw without a display, and leave matplotlib's settings and backend as they were."""
    import matplotlib

    backend = matplotlib.get_backend()  # before GetDist, whose import may set another
    from matplotlib import pyplot

    # Labels may come from files, and LaTeX runs what they say.
    with matplotlib.rc_context({"text.usetex": False}):
        pyplot.switch_backend("agg")
        try:
            yield
        finally:
            pyplot.switch_backend(backend)


def corner_plot(
    samples: Sequence[MCSamples], path: str | Path, labels: Sequence[str] | None = None
) -> Path:
    """Draw the corner plot of all sampled parameters.

    Parameters
    ----------
    samples : sequence of getdist.MCSamples
        Drawn over each other; the parameters are those of the first that vary.
    path : str or Path
        File to write; its suffix is the format.
    labels : sequence of str, optional
        Labels of the legend.

    Raises
    ------
    ValueError
        If the first have not moved, or GetDist finds them too few to draw.
    """
    shown = [_with_drawable_labels(each) for each in samples]
    names = shown[0].paramNames.getRunningNames()
    if not names:  # GetDist leaves out what is the same in all samples
        raise ValueError(
            f"No corner plot {path}: nothing varies in the {len(shown[0].samples)} samples. Has the "
            "chain moved, and are there parameters that the run samples?"
        )
    with _apart():
        from getdist import plots
        from matplotlib import pyplot

        plotter = plots.get_subplot_plotter(width_inch=3.2 * max(len(names), 2))
        try:
            plotter.triangle_plot(
                shown, names, filled=[i == 0 for i in range(len(shown))],
                legend_labels=labels, title_limit=0 if len(shown) > 1 else 1,
            )  # fmt: skip
            plotter.export(str(path))
        except OSError:
            raise
        except Exception as error:  # GetDist raises many kinds at samples that are few
            raise ValueError(
                f"No corner plot {path}: GetDist cannot draw {len(shown[0].samples)} samples "
                f"({type(error).__name__}: {error})."
            ) from error
        finally:
            if plotter.fig is not None:
                pyplot.close(plotter.fig)
    return Path(path)


def _with_drawable_labels(samples: MCSamples) -> MCSamples:
    """The same samples; a label that matplotlib cannot draw is the parameter's name instead."""
    from matplotlib.mathtext import MathTextParser

    result = copy.copy(samples)
    result.paramNames = copy.deepcopy(samples.paramNames)
    for parameter in result.paramNames.names:
        try:
            MathTextParser("path").parse(f"${parameter.label}$")
        except ValueError:
            parameter.label = rf"\mathrm{{{latex_text(parameter.name)}}}"
    return result


@dataclass(frozen=True)
class PosteriorPrediction:
    """A measurement, and the prediction of a chain for it.

    Attributes
    ----------
    measurement : Measurement
        The bins that were kept.
    draws : dict of str to ndarray, shape (n, n_bins)
        Predictions by statistic, at draws from the posterior.
    """

    measurement: Measurement
    draws: dict[str, Array]


@restored_logging()
def predictions(root: str | Path, n: int = 400, seed: int = 0) -> list[PosteriorPrediction]:
    """Predict the measured statistics of each sample at draws from a chain.

    Parameters
    ----------
    root : str or Path
        Output prefix of the run; PREFIX.updated.yaml must be there.
    n : int
        Number of draws.
    seed : int

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_chains`; also if PREFIX.updated.yaml is missing, or is not of these chains.
    """
    from iaemu_likelihood.cobaya.likelihood import IACorrelations

    samples = load_chains(root)
    model = model_of(read_updated(root), debug=logging.ERROR)
    weights = samples.weights / samples.weights.sum()
    rows = np.random.default_rng(seed).choice(len(weights), size=n, p=weights)
    names = [p.name for p in samples.getParamNames().names]
    points = np.empty((n, model.prior.d()))
    for i, name in enumerate(model.parameterization.sampled_params()):
        if name in names:
            points[:, i] = samples.samples[rows, names.index(name)]
        elif (value := samples.ranges.fixedValue(name)) is not None:
            points[:, i] = value  # the same in all samples, which GetDist leaves out
        else:
            raise ValueError(
                f"The chains {root} have no parameter {name}, which their run samples."
            )
    likelihoods = [x for x in model.likelihood.values() if isinstance(x, IACorrelations)]
    drawn = []
    for point in points:
        model.logposterior(point)
        drawn.append([part for likelihood in likelihoods for part in likelihood.predicted()])
    parts = [part for likelihood in likelihoods for part in likelihood.core.data.parts]
    return [
        PosteriorPrediction(
            part.kept, {name: np.array([x[name] for x in each]) for name in part.statistics}
        )
        for part, each in zip(parts, zip(*drawn, strict=True), strict=True)
    ]


def prediction_plot(fits: Sequence[PosteriorPrediction], path: str | Path) -> Path:
    """Draw data with errors against the 68 and 95 % bands of the posterior's prediction.

    Parameters
    ----------
    fits : sequence of PosteriorPrediction
    path : str or Path
        File to write; its suffix is the format.
    """
    import matplotlib

    with matplotlib.rc_context({"text.usetex": False}):  # as in `_apart`
        return _draw_predictions(fits, path)


def _draw_predictions(fits: Sequence[PosteriorPrediction], path: str | Path) -> Path:
    from matplotlib.figure import Figure

    panels = [(fit, STATISTICS[name]) for fit in fits for name in fit.draws]
    figure = Figure(figsize=(4.8 * len(panels), 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)
    for axis, (fit, statistic) in zip(axes[0], panels, strict=True):
        measured, draws = fit.measurement, fit.draws[statistic.name]
        values, errors = measured.values[statistic.name], measured.errors[statistic.name]
        edges = measured.r_edges
        centres = np.sqrt(measured.r_min * measured.r_max)  # of bins, not of gaps
        for low, high, alpha in ((2.5, 97.5, 0.25), (16, 84, 0.45)):
            band = np.percentile(draws, [low, high], axis=0)
            axis.stairs(
                band[1], edges, baseline=band[0], fill=True, alpha=alpha, lw=0,
                color=COLOURS["model"], label=f"posterior, {high - low:.0f} %",
            )  # fmt: skip
        axis.errorbar(
            centres, values, errors, fmt="o", ms=4, color=COLOURS["data"], label=measured.name
        )
        axis.set(
            xscale="log", xlabel=r"$r\ [\mathrm{Mpc}/h]$", ylabel=_label(statistic),
            yscale=statistic.plot_scale if (values > 0).all() else "linear",
        )  # fmt: skip
        for text in axis.legend(frameon=False, fontsize=8).get_texts():
            text.set_parse_math(False)  # names of measurements mean themselves
    figure.savefig(path, dpi=150)
    return Path(path)


def _label(statistic: Statistic) -> str:
    unit = rf"\ [\mathrm{{{statistic.unit}}}]" if statistic.unit else ""
    return rf"${statistic.latex}(r){unit}$"


def corner_figure(root: str | Path, suffix: str = "png") -> Path:
    """Draw the corner plot of a run into a file beside its chains."""
    path = _beside(root, "corner", suffix)
    return corner_plot([load_chains(root)], path)


def prediction_figure(root: str | Path, suffix: str = "png") -> Path:
    """Draw the data against the posterior's prediction into a file beside the chains."""
    path = _beside(root, "prediction", suffix)
    return prediction_plot(predictions(root), path)


def plot_chains(root: str | Path, suffix: str = "png") -> list[Path]:
    """Draw the corner plot and the prediction into files beside the chains."""
    return [corner_figure(root, suffix), prediction_figure(root, suffix)]


def check_format(suffix: str) -> None:
    """Raise a ValueError if matplotlib does not write files with this suffix, given without its dot."""
    from matplotlib.backend_bases import FigureCanvasBase

    # Without pgf, which gives labels to LaTeX.
    formats = [x for x in FigureCanvasBase.get_supported_filetypes() if x != "pgf"]
    if suffix not in formats:
        raise ValueError(f"No format {suffix!r} for figures; there are {', '.join(formats)}.")


def _beside(root: str | Path, name: str, suffix: str) -> Path:
    """A figure's file."""
    check_format(suffix)
    return Path(f"{root}{'' if str(root).endswith('/') else '_'}{name}.{suffix}")
