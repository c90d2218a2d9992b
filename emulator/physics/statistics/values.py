"""Values of several statistics, by name."""

from __future__ import annotations

from typing import Any


class PerStatistic(dict[str, Any]):
    """One value for each statistic, by name or as an attribute: ``x["xi"]`` and ``x.xi``.

    Parameters
    ----------
    values : mapping of str to ndarray or torch.Tensor
        In the order of the statistics.
    """

    def __getattr__(self, name: str) -> Any:
        # Called only if normal attribute lookup fails.
        if name in self:
            return self[name]
        raise AttributeError(
            f"{type(self).__name__} has no {name!r}; its statistics are {', '.join(self)}."
        )
