"""Sources that do not hash, or have no numbers for keys: keys and hashes, page by page.

Each page is looked up in the store. When the store's keys are not those that were found there, the
source is asked for all of them: their number says nothing, for keys come and go meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
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
        """Page by page; ``after`` is the last key of the page before, ``known`` what was found.

        That is the number of the keys found in the store, and the XOR of their hashes.
        """
        known = tuple(position.get("known", (0, 0)))
        began = monotonic()
        for page in self._source.scan(after=position.get("after")):
            seconds = monotonic() - began
            columns = (page.column(name).to_pylist() for name in ("_key", "_source_hash"))
            theirs = [row for row in zip(*columns, strict=True) if row[0] is not None]
            ours = self._store.hashes(self._stream, [key for key, _ in theirs])
            suspects = tuple(dict.fromkeys(key for key, hash_ in theirs if ours.get(key) != hash_))
            known = _add(known, ours)
            if theirs:
                place = {"after": theirs[-1][0], "known": list(known)}
                yield Look(len(theirs), len(theirs), suspects, position=place, seconds=seconds)
            began = monotonic()
        yield Look(lacks=_add((0, 0), self.lacking([])) != known)

    def lacking(self, ranges: list[Range]) -> Iterator[str]:
        """All keys of the store."""
        for key, _ in self._store.effective(self._stream):
            yield key


def _add(known: tuple[int, int], keys: Iterable[str]) -> tuple[int, int]:
    """*known*, a number of keys and the XOR of their hashes, with *keys* beside them."""
    count, xor = known
    for key in keys:
        count += 1
        xor ^= int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
    return count, xor
