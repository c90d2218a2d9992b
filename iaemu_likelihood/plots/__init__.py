"""Figures in one style: chains of any sampler, data against predictions, correlation functions.

Functions that end in ``_plot`` return a `matplotlib.figure.Figure`, and ``write_figure`` writes one;
those that end in ``_figure`` write files beside chains. The style is a file of matplotlib's, for
figures of your own: ``matplotlib.style.use("iaemu_likelihood.plots.paper")``.
"""

from importlib import import_module
from typing import Any

__all__ = [
    "Constraints",
    "check_format",
    "constraints_of",
    "corner_figure",
    "corner_plot",
    "correlation_plot",
    "has_input",
    "latex_table",
    "load",
    "load_chains",
    "load_nuts",
    "plot_chains",
    "prediction_figure",
    "prediction_plot",
    "predictions",
    "write_figure",
]

_MODULES = {
    "chains": ("load", "load_chains", "load_nuts"),
    "constraints": ("Constraints", "latex_table"),
    "corner": ("corner_plot",),
    "correlations": ("correlation_plot",),
    "figures": ("constraints_of", "corner_figure", "has_input", "plot_chains", "prediction_figure"),
    "posterior_prediction": ("prediction_plot", "predictions"),
    "style": ("check_format", "write_figure"),
}


def __getattr__(name: str) -> Any:
    # On demand, so that a figure of a prediction does not wait for Cobaya.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
