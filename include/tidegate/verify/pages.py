"""Sources that do not hash, or have no numbers for keys: keys and hashes, page by page.

Each page is looked up in the store. When the store has more keys than were found there, the source
is asked for all of the store's.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING

from tidegate.model import Json
from tidegate.verify.look import Look, Range

if TYPE_CHECKING:
    from tidegate.sources import Source
    from tidegate.store.store import Store


class Pages:
    """Of one stream."""

    def __init__(self, store: Store, stream: str, source: Source) -> None:
        self._store = store
        self._stream = stream
        self._source = source

    def looks(self, position: dict[str, Json]) -> Iterator[Look]:
        """Page by page; ``after`` is the last key of the page before, ``known`` what was found."""
        known = position.get("known", 0)
        began = monotonic()
        for page in self._source.scan(after=position.get("after")):
            seconds = monotonic() - began
            columns = (page.column(name).to_pylist() for name in ("_key", "_source_hash"))
            theirs = [row for row in zip(*columns, strict=True) if row[0] is not None]
            ours = self._store.hashes(self._stream, [key for key, _ in theirs])
            suspects = tuple(key for key, hash_ in theirs if ours.get(key) != hash_)
            known += len(ours)
            if theirs:
                place = {"after": theirs[-1][0], "known": known}
                yield Look(len(theirs), len(theirs), suspects, position=place, seconds=seconds)
            began = monotonic()
        yield Look(lacks=self._store.size(self._stream) != known)

    def lacking(self, ranges: list[Range]) -> Iterator[str]:
        """All keys of the store."""
        for key, _ in self._store.effective(self._stream):
            yield key
