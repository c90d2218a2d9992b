"""Numbers of each of several statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class PerStatistic(dict[str, Any]):
    """A value of each statistic, by name or as an attribute: ``x["xi"]`` and ``x.xi``.

    Parameters
    ----------
    values : mapping of str to ndarray or torch.Tensor
        In the order of the statistics.
    """

    def __getattr__(self, name: str) -> Any:
        # Reached for what is no attribute of its own.
        if name in self:
            return self[name]
        raise AttributeError(
            f"{type(self).__name__} has no {name!r}; its statistics are {', '.join(self)}."
        )

    def map(self, function: Callable[[Any], Any]) -> PerStatistic:
        """A function of each value."""
        return PerStatistic({name: function(value) for name, value in self.items()})
