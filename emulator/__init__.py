"""Emulator of galaxy alignment correlations, and all that it takes to train one.

`Emulator.load` gives a trained one. The way there, a module each: `halos`, `galaxies`
(halotools-IA), `estimators`, `watson`, `templates`, `tabulation` (exact expectations), `noise` (the
scatter of one catalogue), `dataset`, `arrays`, `networks`, `aleatoric` (the learned noise), `training`,
`paper` and `paper_training` (the published network), `prediction` (the `Emulator`), `metrics`,
`validation`, `report`, `card`; `build` does it all.
"""

from typing import Any

__all__ = ["Emulator"]


def __getattr__(name: str) -> Any:
    # On demand, so that what needs no network does not wait for torch.
    if name == "Emulator":
        from iaemu_likelihood.emulator.models.base import Emulator

        return Emulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
