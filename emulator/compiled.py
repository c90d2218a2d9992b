"""Functions compiled by numba, whose machine code is kept for the next process if it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Compile a function as `numba.njit` does, and cache the result where there is a place for it.

    numba puts its cache beside the module, or into the user's own cache; where it can write into
    neither, as in a read-only container, it would refuse to compile. Then every process compiles
    anew, which takes seconds. The variable ``NUMBA_CACHE_DIR`` names another folder.

    Parameters
    ----------
    **options
        Of `numba.njit`.
    """

    def decorate(function: Function) -> Function:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no place for a cache
            return numba.njit(**options)(function)

    return decorate


@contextmanager
def threads_for(n: int) -> Iterator[None]:
    """Run parallel functions on no more threads than items: others only wait, which takes longer."""
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(n, before)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
