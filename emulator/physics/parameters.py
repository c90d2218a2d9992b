"""One parameter of a model: its name, how it is printed, and where a chain starts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """A parameter, with what Cobaya, GetDist and tables need.

    Attributes
    ----------
    name : str
    latex : str
        Without $.
    proposal : float
        Width of the first steps of a Cobaya chain.
    reference : tuple of float, optional
        Mean and standard deviation of the points where chains start; chains start anywhere in the
        prior when it is left out.
    positive : bool
        Whether only values above zero are meaningful.
    """

    name: str
    latex: str
    proposal: float
    reference: tuple[float, float] | None = None
    positive: bool = False
