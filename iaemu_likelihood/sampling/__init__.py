"""The posterior for other samplers, its maximum, NUTS, and simulation-based calibration."""

from iaemu_likelihood.sampling.nuts import run_nuts
from iaemu_likelihood.sampling.optimum import best_fit

__all__ = ["best_fit", "run_nuts"]
