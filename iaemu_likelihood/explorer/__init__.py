"""A page that computes an emulator's predictions in the browser: sliders, curves, TNG300's points.

`write_explorer` writes it: one file, which opens without a server and without a network.
"""

from iaemu_likelihood.explorer.page import write_explorer

__all__ = ["write_explorer"]
