"""The posterior for other samplers, NUTS, and simulation-based calibration."""
