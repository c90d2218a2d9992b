"""Labels of the page."""

import pytest
from iaemu_likelihood.emulator.physics.occupations import OCCUPATIONS
from iaemu_likelihood.emulator.physics.statistics import OBSERVABLES

from iaemu_likelihood.explorer.labels import parts
from iaemu_likelihood.plots.correlations import separation_label, value_label


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\mu_\mathrm{cen}", [("", "μ"), ("sub", "cen")]),
        (r"\sigma_{\log M}", [("", "σ"), ("sub", "logM")]),
        (r"$r^{1/2}\,\omega(r)$", [("", "r"), ("sup", "1/2"), ("", " ω(r)")]),
        (r"h^{-1} M_\odot)", [("", "h"), ("sup", "-1"), ("", " M"), ("sub", "☉"), ("", ")")]),
        (r"w_{\mathrm{g+},2}x", [("", "w"), ("sub", "g+,2"), ("", "x")]),
    ],
)
def test_what_stands_below_and_above_the_line(latex, expected):
    assert parts(latex) == expected


def test_every_label_of_the_package_can_be_shown():
    labels = [p.latex for occupation in OCCUPATIONS.values() for p in occupation.parameters]
    labels += [label(name) for name in OBSERVABLES for label in (separation_label, value_label)]
    for latex in labels:
        text = "".join(text for _, text in parts(latex))
        assert text
        assert not set(text) & set("\\{}$")


def test_an_unknown_command_is_refused():
    with pytest.raises(ValueError, match=r"cannot show \\heart"):
        parts(r"\heart")
