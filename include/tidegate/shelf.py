"""Pages that one process stages and reads again: in memory, as far as there is room.

All steps of a run in one process (:func:`tidegate.path.run`) keep their pages here. What came first
leaves first, into the file that it would have been at once; nothing else of the stage changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from secrets import token_hex
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    Put = Callable[[pa.Table], str]
    """Writes a page into its file; returns its digest."""

ROOM = 128 << 20
"""Octets of pages in memory, for each run."""


class Shelf:
    """The pages of one run; for each there is a token, where a file would have its digest."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._pages: dict[str, tuple[pa.Table, str, Put]] = {}
        self._files: dict[str, tuple[str, str]] = {}
        self._lock = Lock()

    def put(self, table: pa.Table, place: str, put: Put) -> str:
        """Keep *table*, which *put* would write to *place*; returns its token."""
        token = token_hex(16)
        with self._lock:
            self._pages[token] = table.combine_chunks(), place, put
            while sum(page.nbytes for page, _, _ in self._pages.values()) > self._room:
                oldest = next(iter(self._pages))
                page, where, write = self._pages[oldest]
                self._files[oldest] = where, write(page)
                del self._pages[oldest]
        return token

    def get(self, token: str) -> pa.Table | None:
        """The page of *token*, if it is in memory."""
        with self._lock:
            return self._pages[token][0] if token in self._pages else None

    def file(self, token: str) -> tuple[str, str] | None:
        """Place and digest of the page of *token*, if it has left."""
        with self._lock:
            return self._files.get(token)


_shelves: dict[str, Shelf] = {}


@contextmanager
def kept(run: str) -> Iterator[None]:
    """Keep what is staged below the folder *run*, until the end; one inside another is the same."""
    if run in _shelves:
        yield
        return
    _shelves[run] = Shelf(ROOM)
    try:
        yield
    finally:
        del _shelves[run]


def of(where: str) -> Shelf | None:
    """The shelf of the step whose folder is *where*, if its run keeps one."""
    return _shelves.get(where.rpartition("/")[0])
