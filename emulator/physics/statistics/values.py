"""Numbers of each of several statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class PerStatistic(Mapping[str, Any]):
    """A value of each statistic, by name or as an attribute: ``x["xi"]`` and ``x.xi``.

    Parameters
    ----------
    values : mapping of str to ndarray or torch.Tensor
        In the order of the statistics.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        # Reached for what is not set on the instance; copying asks before anything is.
        values = self.__dict__.get("_values", {})
        if name in values:
            return values[name]
        raise AttributeError(
            f"{type(self).__name__} has no {name!r}; its statistics are {', '.join(values)}."
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"

    def map(self, function: Callable[[Any], Any]) -> PerStatistic:
        """A function of each value."""
        return PerStatistic({name: function(value) for name, value in self.items()})
