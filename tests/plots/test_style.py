"""The style: sizes, fonts, ticks, and colours that colour-blind people can tell apart."""

from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from iaemu_likelihood.plots import write_figure
from iaemu_likelihood.plots.style import STYLE, colours, label_decades, styled


def drawn():
    with styled():
        figure = Figure()
        figure.subplots().set_xlabel(r"$\mu_\mathrm{cen}$ and text")
    return figure


def test_fonts_are_embedded_as_type_42(tmp_path):
    """Type 3, matplotlib's own choice, is refused by journals."""
    assert b"/Type3" not in write_figure(drawn(), tmp_path / "a.pdf").read_bytes()
    drawn().savefig(tmp_path / "b.pdf")
    assert b"/Type3" in (tmp_path / "b.pdf").read_bytes()
    assert b"/FontType 42" in write_figure(drawn(), tmp_path / "a.ps").read_bytes()


def test_figures_do_not_depend_on_the_callers_settings(tmp_path):
    expected = write_figure(drawn(), tmp_path / "a.png").read_bytes()
    with matplotlib.rc_context({"font.size": 30, "text.usetex": True, "savefig.dpi": 20}):
        before = dict(matplotlib.rcParams)
        assert write_figure(drawn(), tmp_path / "b.png").read_bytes() == expected
        assert dict(matplotlib.rcParams) == before


def test_figures_look_the_same_where_they_are_shown():
    """As in a notebook, which draws a figure long after it was made."""

    def pixels():
        canvas = figure.canvas
        canvas.draw()
        return np.array(canvas.buffer_rgba())

    figure = drawn()
    FigureCanvasAgg(figure)
    with matplotlib.rc_context({"font.family": "monospace", "mathtext.fontset": "cm"}):
        elsewhere = pixels()
    with styled():
        np.testing.assert_array_equal(pixels(), elsewhere)


def test_the_style_is_a_file_for_figures_of_ones_own():
    with matplotlib.style.context(STYLE):
        assert matplotlib.rcParams["pdf.fonttype"] == 42
        assert matplotlib.rcParams["text.usetex"] is False
        assert matplotlib.rcParams["figure.figsize"] == [3.4, 2.6]


# Vienot, Brettel & Mollon 1999: linear RGB as people without L cones, or without M cones, see it.
BLINDNESS = {
    "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_neighbouring_colours_differ_for_colour_blind_people(kind):
    """More than matplotlib's own do, of which some are nearly the same."""

    def closest(names):
        linear = np.array([to_rgb(name) for name in names]) ** 2.2
        seen = np.clip(linear @ np.array(BLINDNESS[kind]).T, 0, 1) ** (1 / 2.2)
        return min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))

    assert closest(colours()[:4]) > 0.2
    assert closest([f"C{i}" for i in range(4)]) < 0.2


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((0.08, 20), ["0.1", "1", "10"]),
        ((0.08, 9), ["0.1", "1"]),
        ((0.6, 8), ["1", "2", "5"]),
        ((1.2, 8), ["2", "5"]),
        ((0.5, 200), ["1", "10", "100"]),
    ],
)
def test_ticks_are_whole_decades_as_numbers(limits, expected):
    with styled():
        figure = Figure()
        axes = figure.subplots()
        axes.set(xscale="log", xlim=limits)
        label_decades(axes.xaxis)
        figure.draw_without_rendering()
        shown = [
            text.get_text()
            for text in axes.get_xticklabels()
            if limits[0] <= text.get_position()[0] <= limits[1]
        ]
        minor = [text.get_text() for text in axes.get_xticklabels(minor=True)]
    assert shown == expected
    assert not any(minor)


def test_an_unknown_format_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="No format 'pgf' for figures; there are"):
        write_figure(drawn(), tmp_path / "a.pgf")
    assert not list(tmp_path.iterdir())
