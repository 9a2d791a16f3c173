"""Two things at once: the next item is made while one is worked on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from concurrent.futures import Executor, wait
from contextlib import closing, contextmanager
from typing import TypeVar

Item = TypeVar("Item")
_POOL = "ARROW_DEFAULT_MEMORY_POOL"


@contextmanager
def ahead(items: Iterator[Item], thread: Executor | None) -> Iterator[Iterator[Item]]:
    """*items*, made by *thread*, one more than was asked for; without a thread, as they are.

    What making one raises is raised. Nothing is being made any more when the context is left.
    """
    if thread is None:
        yield items
        return
    with closing(_ahead(items, thread)) as made:
        yield made


def share_memory() -> None:
    """Let a thread use the memory that another one has given back.

    Arrow's own choice, mimalloc, asks the system for new memory instead: a first load by threads
    took a sixth more processor time. Who chooses a pool by its variable has it.
    """
    import pyarrow as pa

    if _POOL not in os.environ:
        pa.set_memory_pool(pa.system_memory_pool())


def _ahead(items: Iterator[Item], thread: Executor) -> Generator[Item]:
    coming = thread.submit(next, items, None)
    try:
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
    finally:
        wait([coming])
