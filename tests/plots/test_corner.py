"""Corner plots: all of them is inside the figure, and what is drawn over each other is seen."""

from itertools import pairwise

import numpy as np
import pytest
from getdist import MCSamples
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE
from matplotlib.colors import to_hex

from iaemu_likelihood.plots import corner_figure, corner_plot
from iaemu_likelihood.plots.style import COLUMN, PAGE, colours


def chain(n_parameters, seed=1, offset=0.0):
    parameters = DEFAULT_SPACE.parameters[:n_parameters]
    draws = np.random.default_rng(seed).normal(offset, 1, (2000, n_parameters))
    return MCSamples(
        samples=draws, names=[p.name for p in parameters], labels=[p.latex for p in parameters]
    )


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_nothing_is_outside_the_figure(n):
    figure = corner_plot([chain(n)])
    assert figure.get_figwidth() == pytest.approx(COLUMN if n <= 2 else PAGE)
    for axes in figure.axes:
        box = axes.get_tightbbox().transformed(figure.transFigure.inverted())
        assert min(box.x0, box.y0) > 0
        assert max(box.x1, box.y1) < 1


def test_labels_of_ticks_and_axes_do_not_overlap():
    """Units are in a line of their own."""
    figure = corner_plot([chain(7)])
    labelled = [axes for axes in figure.axes if axes.get_xlabel()]
    assert sum("\n" in axes.get_xlabel() for axes in labelled) == 3
    for axes in labelled:
        ticks = [x.get_window_extent() for x in axes.get_xticklabels() if x.get_text()]
        assert axes.xaxis.label.get_window_extent().y1 <= min(box.y0 for box in ticks) + 1
    boxes = sorted((a.xaxis.label.get_window_extent() for a in labelled), key=lambda x: x.x0)
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_chains_have_colours_of_the_style():
    figure = corner_plot([chain(2), chain(2, 2, 0.5)], ["a", "b"], filled=True)
    lines = {to_hex(line.get_color()) for axes in figure.axes for line in axes.lines}
    assert {to_hex(colour) for colour in colours()[:2]} <= lines


def test_samples_share_panels(finished, tmp_path):
    """`iaemu plot A B`, where only the samples' labels differ."""
    other = tmp_path / "tng300_sample2"
    for ending in ("1.txt", "updated.yaml"):
        text = (finished / f"tng300_sample1.{ending}").read_text()
        other.with_name(f"{other.name}.{ending}").write_text(text.replace("sample1", "sample2"))
    path = corner_figure(finished / "tng300_sample1", other, out=str(tmp_path / "both"))
    assert path == tmp_path / "both_corner.png"
    beside = corner_figure(other, finished / "tng300_sample1", suffix="svg")
    assert beside == tmp_path / "tng300_sample2+tng300_sample1_corner.svg"
