"""What results in bins of separation show of themselves, in notebooks and to other libraries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from iaemu_likelihood.emulator.binned import MEASURED, Binned
from iaemu_likelihood.emulator.tables import Table, printable
from iaemu_likelihood.emulator.units import for_astropy

if TYPE_CHECKING:
    from astropy.table import Table as AstropyTable
    from matplotlib.figure import Figure
    from xarray import Dataset


class Result:
    """Statistics in bins of separation, which can be shown, drawn, and given to other libraries."""

    def binned(self) -> list[Binned]:
        """Statistics by the bins that they share."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What it is called in figures."""
        return type(self).__name__.lower()

    def plot(self) -> Figure:
        """Draw each statistic with its errors in a panel of its own; see `correlation_plot`."""
        from iaemu_likelihood.plots.correlations import correlation_plot

        return correlation_plot({self.label: self.binned()})

    def to_table(self) -> AstropyTable:
        """As an astropy table, a row for each bin; columns of n points have the shape (n,) in each.

        Raises
        ------
        ValueError
            If statistics are in different bins, for which one table has no place.
        """
        from astropy.table import Column, Table

        first, *others = self.binned()
        if others:
            listed = " and ".join(each.separation for each in (first, *others))
            raise ValueError(f"Statistics are in bins of {listed}; take to_dataset() instead.")
        columns = {
            name: Column(
                x.T, name, unit=for_astropy(first.unit(name)) or None, description=first.about(name)
            )
            for name, x in (first.lengths | first.columns).items()
        }
        return Table(columns)

    def to_dataset(self) -> Dataset:
        """As an xarray dataset, with the dimensions ``point`` (of many points) and ``r`` or ``rp``.

        Raises
        ------
        ModuleNotFoundError
            Without xarray: ``pip install 'iaemu_likelihood[notebooks]'``.
        """
        from xarray import Dataset

        data: dict[str, Any] = {}
        coordinates: dict[str, Any] = {}
        for each in self.binned():
            dimensions = ("point", each.separation.replace("_", ""))
            for target, columns in ((coordinates, each.lengths), (data, each.columns)):
                for name, x in columns.items():
                    about = {"long_name": each.about(name), "units": each.unit(name)}
                    target[name] = (dimensions[2 - x.ndim :], x, about)
        return Dataset(data, coords=coordinates)

    def __repr__(self) -> str:
        parts = []
        for each in self.binned():
            values = next(iter(each.values.values()))
            points = f"{len(values)} points, " if values.ndim == 2 else ""
            kinds = ", ".join(of for of in each.errors if of != MEASURED)
            errors = f", with {kinds} errors" if kinds else ""
            parts.append(
                f"{', '.join(each.values)} in {points}{len(each.centres)} bins, {each.separation} = "
                f"{each.centres[0]:.4g} to {each.centres[-1]:.4g} Mpc/h{errors}"
            )
        kind = type(self).__name__
        name = "" if self.label == kind.lower() else f" {self.label}"
        return f"<{kind}{name}: {'; '.join(parts)}>"

    def _repr_html_(self) -> str:
        return as_html(repr(self), map(_table, self.binned()))


def _table(binned: Binned) -> Table:
    """Numbers of one point; of many, how many they are."""
    columns = binned.lengths | binned.columns
    rows = [
        [f"{x[i]:.4g}" if x.ndim == 1 else f"{len(x)} values" for x in columns.values()]
        for i in range(len(binned.centres))
    ]
    units = ((name, binned.unit(name)) for name in columns)
    return Table("", [f"{name} [{unit}]" if unit else name for name, unit in units], rows)


def as_html(title: str, tables: Iterable[Table]) -> str:
    """A title and tables as HTML, in which text means itself."""
    parts = [f"<p>{_text(title)}</p>"]
    for table in tables:
        caption = f"<caption>{_text(table.title)}</caption>" if table.title else ""
        body = "".join(_row(row, "td") for row in table.rows)
        head = _row(table.columns, "th")
        parts.append(f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>")
    return "".join(parts)


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _text(text: str) -> Any:
    # Notebooks typeset what is between dollars.
    return escape(printable(text)).replace("$", "<span>&#36;</span>")
