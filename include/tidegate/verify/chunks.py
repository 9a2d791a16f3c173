"""Sources that hash: counts and XORs by ranges of keys, drilled down where they differ.

The source sends two numbers for many thousands of rows. Where they are not the store's, the range
is cut into small ones, and only those that differ are listed. The size of a chunk follows the time
that the source takes for it, as in Percona's pt-table-checksum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator
from time import monotonic
from typing import TYPE_CHECKING

from tidegate.model import Json, Watermark
from tidegate.verify.look import Look, Range

if TYPE_CHECKING:
    from tidegate.sources import Chunk, Source
    from tidegate.store.store import Store

FIRST_ROWS = 10_000
"""Rows of the first chunk."""
LISTED_ROWS = 2_000
"""Rows of a range whose keys are listed."""


class Chunks:
    """Of one stream, whose keys begin with a whole number.

    below      rows at or above it are not compared
    seconds    that a chunk may take
    composite  whether the key has several columns
    """

    def __init__(
        self, store: Store, stream: str, source: Source, below: Watermark, seconds: float,
        *, composite: bool,
    ) -> None:  # fmt: skip
        self._store = store
        self._stream = stream
        self._source = source
        self._below = below
        self._seconds = seconds
        self._composite = composite

    def looks(self, position: dict[str, Json]) -> Iterator[Look]:
        """Chunk by chunk; ``first`` is where the next one begins, ``rows`` its size."""
        first, rows = position.get("first"), position.get("rows", FIRST_ROWS)
        while True:
            chunk = self._chunk(first, rows)
            agrees = self._agrees(chunk)
            first = chunk.until if agrees else (yield from self._drill(chunk))
            rows = self._next(rows, chunk)
            count = chunk.rows + len(chunk.hot)
            yield Look(count, position={"first": first, "rows": rows}, seconds=chunk.seconds)
            if first is None:
                return

    def lacking(self, ranges: list[Range]) -> Iterator[str]:
        """Keys of the store that a listing of the source does not have."""
        reached: int | None = None
        for first, until in sorted(ranges, key=lambda one: (one[0] is not None, one[0] or 0)):
            begin = max((one for one in (first, reached) if one is not None), default=None)
            if begin is not None and until is not None and begin >= until:
                continue
            for part in self._parts(begin, until):
                theirs = self._theirs(part)
                for key, _ in self._ours(part):
                    if key not in theirs:
                        yield key
                reached = part.until
                if reached is None:
                    return

    def _next(self, rows: int, chunk: Chunk) -> int:
        """As many as would have taken the time; never more than twice as many as before."""
        return max(1, int(rows * min(2.0, self._seconds / max(chunk.seconds, 1e-6))))

    def _drill(self, chunk: Chunk) -> Generator[Look, None, int | None]:
        """List what differs in *chunk*; returns where the rest begins, which may be behind it."""
        if chunk.rows + len(chunk.hot) <= LISTED_ROWS:
            yield self._list(chunk)
            return chunk.until
        for part in self._parts(chunk.first, chunk.until, chunk.rows + len(chunk.hot)):
            if not self._agrees(part):
                yield self._list(part)
        return part.until

    def _parts(self, first: int | None, until: int | None, rows: int = 0) -> Iterator[Chunk]:
        """Small chunks from *first* on; the last one may go beyond *until*.

        It does not where *rows* says how many there are, and that is still so.
        """
        while True:
            part = self._chunk(first, min(LISTED_ROWS, rows) if rows > 0 else LISTED_ROWS)
            yield part
            first = part.until
            rows -= part.rows + len(part.hot)
            if first is None or (until is not None and first >= until):
                return

    def _list(self, part: Chunk) -> Look:
        """Key by key; rows above the watermark are none of our business."""
        began = monotonic()
        theirs = self._theirs(part)
        seconds = monotonic() - began
        count = len(theirs)
        suspects, lacks = [], False
        for key, hash_ in self._ours(part):
            hashes = theirs.pop(key, None)
            if hashes is None:
                lacks = True
            elif hash_ not in hashes and key not in part.hot:
                suspects.append(key)
        suspects += [key for key in theirs if key not in part.hot]
        place = (part.first, part.until)
        return Look(0, count, tuple(suspects), place, lacks, seconds=seconds)

    def _theirs(self, part: Chunk) -> dict[str, set[int]]:
        """Key → hashes: a key that the source does not keep unique has several."""
        found: dict[str, set[int]] = defaultdict(set)
        for page in self._source.scan(part.first, part.until):
            columns = (page.column(name).to_pylist() for name in ("_key", "_source_hash"))
            for key, hash_ in zip(*columns, strict=True):
                if key is not None:
                    found[key].add(hash_)
        return found

    def _ours(self, part: Chunk) -> Iterator[tuple[str, int]]:
        return self._store.effective(
            self._stream, part.first, part.until, composite=self._composite
        )

    def _agrees(self, chunk: Chunk) -> bool:
        sums = self._store.sums(
            self._stream, chunk.first, chunk.until, chunk.hot, composite=self._composite
        )
        return (sums.rows, sums.xor) == (chunk.rows, chunk.xor)

    def _chunk(self, first: int | None, rows: int) -> Chunk:
        return self._source.chunk(first, rows, self._below)
