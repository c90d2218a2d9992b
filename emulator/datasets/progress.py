"""The progress bar of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    title: str, n_points: int, n_done: int, show: bool
) -> Iterator[Callable[[int], None]]:
    """A bar of points, as the function that moves it on by a number of them."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:.3g} points/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, disable=not show, speed_estimate_period=300) as bar:
        task = bar.add_task(title, total=n_points, completed=n_done)
        yield lambda n: bar.advance(task, n)
