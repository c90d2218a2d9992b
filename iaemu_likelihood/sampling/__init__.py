"""The posterior for other samplers, its maximum, NUTS, and simulation-based calibration."""

from iaemu_likelihood.sampling.nuts import run_nuts
from iaemu_likelihood.sampling.optimum import best_fit
from iaemu_likelihood.sampling.proposal import find_proposal

__all__ = ["best_fit", "find_proposal", "run_nuts"]
