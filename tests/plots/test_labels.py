"""Labels: printable for people, harmless for TeX, and the same for several samples."""

import re

import numpy as np
import pytest
from getdist import MCSamples
from iaemu_likelihood.emulator.physics.space import DEFAULT_SPACE

from iaemu_likelihood.plots.constraints import Constraints, latex_table
from iaemu_likelihood.plots.labels import distinct_samples, printable_in_tex, without_sample
from iaemu_likelihood.sampling.posterior import posterior


def chain(names, labels=None, seed=1, **options):
    draws = np.random.default_rng(seed).normal(0.5, 0.1, (500, len(names)))
    ranges = {name: (0, 1) for name in names}
    return MCSamples(samples=draws, names=names, labels=labels, ranges=ranges, **options)


def test_masses_have_base_and_unit():
    labels = {p.name: p.latex for p in DEFAULT_SPACE.parameters}
    assert labels["logMmin"] == r"\log_{10} M_\mathrm{min} / (h^{-1} M_\odot)"
    run = {
        "theory": {"iaemu_likelihood.IAEmu": {"samples": ["LRG_1"]}},
        "likelihood": {"iaemu_likelihood.tng300.Sample1": {"sample": "LRG_1"}},
    }
    made = posterior(run)
    found = dict(zip(made.names, made.labels, strict=True))
    unit = r" / (h^{-1} M_\odot)"
    assert found["logM1_LRG_1"] == rf"\log_{{10}} M_1^{{\mathrm{{LRG\_1}}}}{unit}"


def test_chains_of_different_samples_get_the_same_names():
    a = chain(["mu_cen_A", "mu_sat_A"], [r"\mu_\mathrm{cen}^{\mathrm{A}}", "x"])
    b = chain(["mu_cen_LRG_0_8", "mu_sat_LRG_0_8"], seed=2)
    assert distinct_samples([a, b]) == ["A", "LRG_0_8"]
    short = without_sample(a, "A")
    assert short.paramNames.getRunningNames() == ["mu_cen", "mu_sat"]
    assert short.parLabel("mu_cen") == r"\mu_\mathrm{cen}"
    assert (short.ranges.getLower("mu_cen"), short.ranges.getUpper("mu_cen")) == (0, 1)
    assert short.mean("mu_sat") == a.mean("mu_sat_A")
    assert a.paramNames.getRunningNames() == ["mu_cen_A", "mu_sat_A"]
    with_shapes = [chain([f"mu_cen_{x}", f"a2_cen_{x}"]) for x in "AB"]
    assert distinct_samples(with_shapes) == ["A", "B"]


@pytest.mark.parametrize(
    "names",
    [
        (["mu_cen_A"], ["mu_cen_A"]),  # the same sample twice
        (["mu_cen_A", "mu_cen_B"], ["mu_cen_C"]),  # a chain of several
        (["mu_cen"], ["mu_cen_C"]),
        (["mu_cen_A", "x_A"], ["mu_cen_C", "x_C"]),  # parameters of others
        (["mu_cen_A"],),
    ],
)
def test_other_chains_keep_their_names(names):
    assert distinct_samples([chain(each) for each in names]) is None


@pytest.mark.parametrize(
    "label",
    [
        r"\input{/etc/passwd}", r"\write18{x}", r"a$ \input x $", r"\text{\input /etc/passwd }",
        "^^5cinput x", "x % y", "a & b", r"a \\ b", "x\ny", "\u202e", r"\mu_{", r"\textrm{\input x }",
    ],
)  # fmt: skip
def test_labels_that_tex_would_obey_are_names(label):
    assert printable_in_tex(label, r"mu_\input{x}") == r"\mathrm{mu\_?input?x?}"


@pytest.mark.parametrize("parameter", DEFAULT_SPACE.parameters, ids=lambda p: p.name)
def test_own_labels_are_printed_as_they_are(parameter):
    assert printable_in_tex(parameter.latex, "x") == parameter.latex


def test_latex_table():
    """A row for each parameter of any chain, and a dash where a chain has none."""
    a = Constraints("a_1", chain(["x", "y"], [r"\alpha", r"\input{y}"]))
    b = Constraints("b", chain(["x"], ["other"], seed=2))
    lines = latex_table([a, b]).splitlines()
    assert lines[0] == r"\begin{tabular}{lcc}"
    assert lines[2] == r"Parameter & $\mathrm{a\_1}$ & $\mathrm{b}$ \\"
    assert re.fullmatch(
        r"\$\\alpha\$ & \$0\.\d+\\pm 0\.\d+\$ & \$0\.\d+\\pm 0\.\d+\$ \\\\", lines[4]
    )
    assert re.fullmatch(r"\$\\mathrm\{y\}\$ & \$0\..+\$ & -- \\\\", lines[5])
    assert lines[-1] == r"\end{tabular}"
