"""Learning curves of a training: a figure, and its summary for the card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from iaemu_likelihood.emulator.models.card import LEARNING_CURVE
from matplotlib.figure import Figure


def draw_learning_curves(runs: dict[str, Path], folder: Path) -> dict[str, dict[str, Any]]:
    """Draw learning_curve.png of the metrics.csv in folders of `fit`, and sum them up.

    Parameters
    ----------
    runs : dict of str to Path
        By name.
    folder : Path
        Where the figure goes.

    Returns
    -------
    dict
        By name: the number of epochs, the best of them (from 1) and its validation loss.
    """
    n_columns = min(3, len(runs))
    n_rows = -(-len(runs) // n_columns)
    figure = Figure(figsize=(3.2 * n_columns + 1, 2.4 * n_rows), layout="constrained")
    summary = {}
    for i, (name, run) in enumerate(runs.items()):
        axes = figure.add_subplot(n_rows, n_columns, i + 1, title=name, xlabel="epoch")
        table = Table.read(run / "metrics.csv").filled(np.nan)
        for column, style in (("loss", "C0:"), ("validation", "C1-")):
            rows = np.isfinite(table[column])
            epochs, values = np.asarray(table["epoch"][rows]) + 1, np.asarray(table[column][rows])
            axes.plot(epochs, values, style, label={"loss": "training"}.get(column, column))
            if (values > 0).all():
                axes.set_yscale("log")
        best = int(np.argmin(values))
        summary[name] = {
            "epochs": int(epochs[-1]),
            "best_epoch": int(epochs[best]),
            "validation": float(values[best]),
        }
    figure.axes[0].legend(fontsize="small")
    figure.savefig(folder / LEARNING_CURVE, dpi=120, metadata={"Software": None})
    return summary
