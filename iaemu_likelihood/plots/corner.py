"""Corner plots by GetDist."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from iaemu_likelihood.plots.labels import drawable
from iaemu_likelihood.plots.style import COLUMN, PAGE, colours, styled

if TYPE_CHECKING:
    from getdist import MCSamples
    from getdist.plots import GetDistPlotter
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

# Up to this number of parameters, a corner plot fits into a column, and its panels have room for the
# constraints above them.
FEW = 2
# Around the figure, inch.
MARGIN = 0.04


def corner_plot(
    samples: Sequence[MCSamples],
    labels: Sequence[str] | None = None,
    filled: bool = False,
    parameters: Sequence[str] = (),
) -> Figure:
    """Draw the corner plot of all sampled parameters, or of some.

    Parameters
    ----------
    samples : sequence of getdist.MCSamples
        Drawn over each other; the parameters are those of the first that vary, and those of the
        others that it does not have.
    labels : sequence of str, optional
        Labels of the legend.
    filled : bool
        Fill all contours, as for samples that lie apart; otherwise those of the first only.
    parameters : sequence of str, optional
        Names of those to draw, derived ones included.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the first have not moved, samples lack a parameter, or GetDist finds them too few to draw.
    """
    shown = [_with_drawable_labels(each) for each in samples]
    first = shown[0].paramNames.getRunningNames()
    if not first:  # GetDist leaves out what is the same in all samples
        raise ValueError(
            f"No corner plot: nothing varies in the {len(shown[0].samples)} samples. Has the chain "
            "moved, and are there parameters that the run samples?"
        )
    names = list(dict.fromkeys(n for x in shown for n in x.paramNames.getRunningNames()))
    if parameters:
        known = [x.list() for x in (each.paramNames for each in shown)]
        missing = [name for name in parameters if not any(name in each for each in known)]
        if missing:
            raise ValueError(
                f"No parameter {', '.join(missing)} in the chains; there are {', '.join(known[0])}."
            )
        names = list(parameters)
    with _apart():
        from matplotlib import pyplot

        plotter = _plotter(len(names))
        try:
            plotter.triangle_plot(
                shown, names, filled=[filled or i == 0 for i in range(len(shown))],
                contour_colors=[colours()[i % len(colours())] for i in range(len(shown))],
                legend_labels=None if labels is None else list(labels),
                title_limit=1 if len(shown) == 1 and len(names) <= FEW else 0,
            )  # fmt: skip
            figure: Figure = plotter.fig
            for axes in figure.axes:  # GetDist counts upwards from the last line
                axes.xaxis.label.set_verticalalignment("top")
                axes.xaxis.labelpad = 3
            _fill(figure, plotter.gridspec)
        except Exception as error:  # GetDist raises many kinds at samples that are few
            raise ValueError(
                f"No corner plot: GetDist cannot draw {len(shown[0].samples)} samples "
                f"({type(error).__name__}: {error})."
            ) from error
        finally:
            if plotter.fig is not None:
                pyplot.close(plotter.fig)
    return figure


def _plotter(n: int) -> GetDistPlotter:
    """GetDist's plotter for n parameters, in the style that is set."""
    from getdist import plots

    plotter = plots.get_subplot_plotter(width_inch=COLUMN if n <= FEW else PAGE)
    settings = plotter.settings
    settings.scaling = False  # sizes of text are those of the page
    settings.axes_fontsize, settings.legend_fontsize = 8, 7 if n <= FEW else 9
    settings.axes_labelsize = settings.title_limit_fontsize = settings.fontsize = 9
    if n > 4:
        settings.axes_fontsize, settings.axes_labelsize = 7, 8
    settings.legend_frame = settings.figure_legend_frame = False
    settings.linewidth, settings.linewidth_contour = 1.2, 0.8
    settings.axis_tick_max_labels = 4
    return plotter


def _fill(figure: Figure, grid: GridSpec) -> None:
    """Move the outer panels so that all labels are inside the figure, and none of it is empty."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    boxes = [box for axes in figure.axes if (box := axes.get_tightbbox()) is not None]
    reach = Bbox.union(boxes).transformed(figure.transFigure.inverted())
    now = grid.get_subplot_params(figure)
    x, y = MARGIN / figure.get_size_inches()
    grid.update(
        left=now.left + x - reach.x0, right=now.right + 1 - x - reach.x1,
        bottom=now.bottom + y - reach.y0, top=now.top + 1 - y - reach.y1,
    )  # fmt: skip


@contextmanager
def _apart() -> Iterator[None]:
    """Draw without a display, and leave matplotlib's settings and backend as they were."""
    import matplotlib

    backend = matplotlib.get_backend()  # before GetDist, whose import may set another
    from matplotlib import pyplot

    with styled():
        pyplot.switch_backend("agg")
        # GetDist arranges panels and ticks itself.
        for setting in (
            "figure.constrained_layout.use",
            "xtick.minor.visible",
            "ytick.minor.visible",
        ):
            matplotlib.rcParams[setting] = False
        try:
            yield
        finally:
            pyplot.switch_backend(backend)


def _with_drawable_labels(samples: MCSamples) -> MCSamples:
    """The same samples, with labels for panels; one that cannot be drawn is the parameter's name."""
    result = copy.copy(samples)
    result.paramNames = copy.deepcopy(samples.paramNames)
    for parameter in result.paramNames.names:
        symbol, _, unit = drawable(parameter.label, parameter.name).partition(" / ")
        # Panels are narrow, so that the unit has a line of its own. GetDist adds the outer $.
        parameter.label = f"{symbol}$\n$[{unit.strip('()')}]" if unit else symbol
    return result
