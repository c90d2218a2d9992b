"""The exact expectation of all mocks, from pair sums tabulated once per halo catalogue."""

from iaemu_likelihood.emulator.expectation.samples import Population, Sample
from iaemu_likelihood.emulator.expectation.tabulation import Tabulation

__all__ = ["Population", "Sample", "Tabulation"]
