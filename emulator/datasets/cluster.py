"""Shards on a cluster of Dask workers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Tasks that the scheduler is given ahead: more than it has workers, and no more than fit in memory.
IN_FLIGHT = 1000
CONNECT_S = 10


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """A client of a Dask scheduler.

    Parameters
    ----------
    scheduler : str
        Address, or ``local`` for one of this machine that lives as long as the client.

    Raises
    ------
    ImportError
        If Dask is not installed.
    OSError
        If no scheduler answers.
    """
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(
            "A scheduler needs Dask: pip install 'iaemu_likelihood[cluster]'. Without a scheduler, "
            "shards are made one after the other."
        ) from error
    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler == "local":
            cluster = LocalCluster(threads_per_worker=1, dashboard_address=None)
            address = stack.enter_context(cluster)
        try:
            client = Client(address, timeout=CONNECT_S)
        except (OSError, ValueError) as error:  # ValueError of what is no address
            raise OSError(
                f"No Dask scheduler answers at {scheduler} ({error}). Start `dask scheduler`, and give "
                "the address that it prints."
            ) from error
        yield stack.enter_context(client)


def run(
    client: Any, function: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """A function of each item, by the workers of a client, in any order.

    Raises
    ------
    OSError
        If the cluster lost a task; errors of the function are passed on.
    """
    from dask.distributed import KilledWorker, as_completed

    def submit(item: Item) -> Any:
        return client.submit(_on_worker, function, item, pure=False)

    todo = iter(items)
    running = as_completed([submit(item) for item in islice(todo, IN_FLIGHT)])
    for future in running:
        try:
            yield future.result()
        except (KilledWorker, CancelledError) as error:
            raise OSError(
                f"The Dask cluster lost a shard: {error} Finished shards are kept; see that workers "
                "have enough memory and time, and run again."
            ) from error
        for item in islice(todo, 1):
            running.add(submit(item))


def _on_worker(function: Callable[[Item], Result], item: Item) -> Result:
    import numba

    numba.set_num_threads(1)  # a worker is one of many on its machine
    return function(item)
