"""Two things at once: the next item is made while one is worked on."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Executor, wait
from contextlib import closing, contextmanager
from typing import TypeVar

Item = TypeVar("Item")


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


def _ahead(items: Iterator[Item], thread: Executor) -> Generator[Item]:
    coming = thread.submit(next, items, None)
    try:
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
    finally:
        wait([coming])
