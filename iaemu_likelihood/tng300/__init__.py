"""The IllustrisTNG300 samples of the paper (arXiv:2504.05235, Table 1) as Cobaya likelihoods."""

from iaemu_likelihood.cobaya.likelihood import IACorrelations


class Sample1(IACorrelations):
    """omega(r) of TNG300 galaxies with log10 of the stellar mass above 10.5."""

    bibtex_file = "tng300.bibtex"


class Sample2(IACorrelations):
    """omega(r) of TNG300 galaxies with log10 of the stellar mass above 10.0."""

    bibtex_file = "tng300.bibtex"


class Sample3(IACorrelations):
    """omega(r) of TNG300 galaxies with log10 of the stellar mass above 9.5."""

    bibtex_file = "tng300.bibtex"
