"""Two things at once: the next item is made, or prepared, while one is worked on."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from functools import partial
from threading import Event
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Turn = Callable[[], None]
"""Returns when it is somebody's turn; raises CancelledError when it will never be."""
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


def in_turn(
    work: Callable[[Item, Turn], Result], items: Sequence[Item], *, overlap: bool
) -> Generator[Result]:
    """What *work* makes of each of *items*, in their order; several with *overlap* by two threads.

    *work* prepares its item, and calls its turn before what has to happen in order: that waits for
    the item before. When one fails, the ones behind it have no turn, and its error is raised.
    Nothing is being done any more when the generator is closed.
    """
    if not overlap or len(items) < 2:
        for item in items:
            yield work(item, partial(_wait_for, None))
        return
    threads, ended = ThreadPoolExecutor(2), Event()

    def step(item: Item, before: Future[Result] | None) -> Result:
        if ended.is_set():
            raise CancelledError
        try:
            return work(item, partial(_wait_for, before))
        except BaseException:
            ended.set()
            raise

    coming: list[Future[Result]] = []
    try:
        for item in items:
            coming.append(threads.submit(step, item, coming[-1] if coming else None))
        for done in coming:
            yield done.result()
    finally:
        ended.set()
        threads.shutdown()


def _wait_for(before: Future[Result] | None) -> None:
    if before is not None and before.exception() is not None:
        raise CancelledError


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
