"""The scatter of one galaxy catalogue about its expectation: measured, and learned."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iaemu_likelihood.emulator.noise.measured import Noise, noise_at

__all__ = ["Noise", "noise_at"]


def __getattr__(name: str) -> Any:
    # On demand: measuring takes numba, which the learned noise does without.
    if name in __all__:
        from iaemu_likelihood.emulator.noise import measured

        return getattr(measured, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
