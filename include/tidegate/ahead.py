"""Two things at once: the next item is made while one is worked on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item], thread: Executor) -> Iterator[Item]:
    """*items*, made by *thread*, one more than was asked for; what making one raises is raised."""
    coming = thread.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = thread.submit(next, items, None)
        yield item
