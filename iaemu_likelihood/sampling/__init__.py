"""The posterior for other samplers, NUTS, and simulation-based calibration."""

from iaemu_likelihood.sampling.nuts import run_nuts

__all__ = ["run_nuts"]
