"""Derived parameters of galaxies in tables and corner plots."""

import numpy as np
import pytest
from getdist import MCSamples

from iaemu_likelihood.cobaya.derived import galaxy_label
from iaemu_likelihood.plots import Constraints, corner_plot, latex_table, load


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """As a run of Cobaya writes it that asks for b_g and A_IA_e by name alone."""
    rng = np.random.default_rng(1)
    mu = rng.normal(0.6, 0.1, 2000)
    bias, amplitude = rng.normal(1.1, 0.02, 2000), 4 * mu
    columns = [np.ones(2000), mu**2, mu, bias, amplitude, mu**2, *[mu] * 3]
    root = tmp_path_factory.mktemp("chain") / "run"
    names = "weight minuslogpost mu_cen b_g A_IA_e chi2 minuslogprior minuslogprior__0 chi2__one"
    np.savetxt(f"{root}.1.txt", np.column_stack(columns), header=names)
    root.with_suffix(".updated.yaml").write_text(
        "likelihood: {one: {type: []}}\ntheory: {}\nparams:\n"
        "  mu_cen: {prior: {min: -1, max: 1}, latex: '\\mu_\\mathrm{cen}'}\n"
        "  b_g: {derived: true}\n"
        "  A_IA_e: {derived: true}\n"
        "  chi2: {derived: true, latex: '\\chi^2'}\n"
        "sampler: {mcmc: {}}\n"
    )
    return load(root)


def test_they_have_labels(chain):
    labels = {x.name: x.label for x in chain.paramNames.names}
    assert labels["b_g"] == r"b_\mathrm{g}"
    assert labels["A_IA_e"] == r"A_\mathrm{IA}^{e}"
    assert galaxy_label("A_IA_e") != galaxy_label("A_IA")
    assert galaxy_label("A_IA_LRG") == r"A_\mathrm{IA}^{\mathrm{LRG}}"
    assert galaxy_label("n_gal_a") == r"n_\mathrm{gal}^{\mathrm{a}} / (h^3 \mathrm{Mpc}^{-3})"
    assert galaxy_label("chi2") is None is galaxy_label("b_galaxy")


def test_tables_have_them_and_no_other_derived_ones(chain):
    found = Constraints("run", chain)
    assert list(found.numbers["parameters"]) == ["mu_cen", "b_g", "A_IA_e"]
    assert found.numbers["parameters"]["A_IA_e"]["mean"] == pytest.approx(2.4, rel=0.02)
    assert r"$b_\mathrm{g}$ & " in latex_table([found])


def test_corner_plots_draw_those_that_are_named(chain):
    figure = corner_plot([chain], parameters=["b_g", "A_IA_e"])
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert any("b_" in label for label in labels)
    assert not any("mu" in label for label in labels)
    with pytest.raises(
        ValueError, match="No parameter b in the chains; there are mu_cen, b_g, A_IA_e"
    ):
        corner_plot([chain], parameters=["b"])


def test_chains_without_names_of_galaxies_are_as_before():
    samples = MCSamples(
        samples=np.random.default_rng(0).normal(size=(500, 2)), names=["x", "y*"], labels=["x", "y"]
    )
    assert list(Constraints("other", samples).numbers["parameters"]) == ["x"]
