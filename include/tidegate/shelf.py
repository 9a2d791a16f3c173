"""Pages that one process stages and reads again: in memory, as far as there is room.

All steps of a run in one process (:func:`tidegate.path.run`) keep their pages here. What came first
leaves first, into the file that it would have been at once; nothing else of the stage changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    Put = Callable[[pa.Table], str]
    """Writes a page into its file; returns its digest."""

ROOM = 128 << 20
"""Octets of pages in memory, for each run."""


@dataclass(frozen=True, slots=True)
class _Page:
    table: pa.Table
    octets: int
    place: str
    put: Put


class Shelf:
    """The pages of one run; for each there is a token, where a file would have its digest."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._pages: dict[str, _Page] = {}
        self._leaving: set[str] = set()
        self._files: dict[str, tuple[str, str]] = {}
        self._lock = Lock()

    def put(self, table: pa.Table, place: str, put: Put) -> str:
        """Keep *table*, which *put* would write to *place*; returns its token.

        Others leave for it, and can be read meanwhile. What writing one raises is raised.
        """
        token, table = token_hex(16), table.combine_chunks()
        page = _Page(table, table.nbytes, place, put)
        with self._lock:
            self._room -= page.octets
            self._pages[token] = page
            leaving = [*self._too_many()]
        for other, gone in leaving:
            digest = gone.put(gone.table)
            with self._lock:
                self._files[other] = gone.place, digest
                self._leaving.discard(other)
                del self._pages[other]
        return token

    def _too_many(self) -> Iterator[tuple[str, _Page]]:
        """The oldest that have to leave; the lock is held."""
        for token, page in self._pages.items():
            if self._room >= 0:
                return
            if token not in self._leaving:
                self._leaving.add(token)
                self._room += page.octets
                yield token, page

    def get(self, token: str) -> pa.Table | None:
        """The page of *token*, if it is in memory."""
        with self._lock:
            return self._pages[token].table if token in self._pages else None

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
