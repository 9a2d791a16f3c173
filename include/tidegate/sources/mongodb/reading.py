"""A collection as a source: pages of documents, exactly, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from bson import DatetimeMS

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, DataError
from tidegate.fields import did_you_mean, seconds
from tidegate.model import Json, Watermark, Window
from tidegate.sources import Finding, Level, Observation, Shared
from tidegate.sources.mongodb import bound, slices
from tidegate.sources.mongodb.columns import plain, word
from tidegate.sources.mongodb.documents import Documents, exact, ids, level, sort_of, spell
from tidegate.sources.mongodb.options import ID
from tidegate.sources.mongodb.session import Session
from tidegate.sources.rows.basis import Basis
from tidegate.sources.rows.options import EVERY, WHOLE
from tidegate.sources.rows.page import Tokens
from tidegate.sources.rows.records import Record, Records, reach
from tidegate.types import Column

if TYPE_CHECKING:
    from tidegate.sources.mongodb.options import MongoStream

KEYS_AT_ONCE = 500
"""How many keys one query asks for."""
AHEAD = timedelta(seconds=1)
"""A document that is stamped later than this after the server's clock is one of the future."""


class MongoSource(Basis):
    """One collection. Connects when first asked for something."""

    def __init__(self, endpoint: Endpoint, stream: MongoStream, name: str) -> None:
        super().__init__(endpoint, stream, name)
        self._stream = stream
        self._session = Session(endpoint, seconds(stream.statement_timeout))
        self._documents = Documents(stream)
        self._records = Records(stream, spell=spell, plain=plain)
        self._clock: datetime | None = None

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    def columns(self) -> list[Column]:
        """Those declared."""
        return self._records.columns()

    def adopt(self, columns: Sequence[Column]) -> None:
        """Make no other columns, nor any of them other types."""
        self._records.adopt(columns)

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """The safe bound; see :mod:`.bound`."""
        for finding in self._index():
            if finding.level == "error":
                raise ConfigError(finding.message)
        seen = bound.observe(self._session, self._stream, self._name, memory)
        self._clock = datetime.fromisoformat(seen.observed_at)
        return seen

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """Pages of documents; those that no bound reaches come last, in every increment."""
        self._census.clear()
        if window is not None:
            found = self._ordered(slices.from_window(self._stream, window, self._name))
        elif low is None:
            self._require_cursors(self._every)
            found = self._all()
        else:
            part = slices.from_watermark(self._stream, low, self._name)
            self._require_cursors(part)
            found = self._increment(part)
        yield from self._pages(self._counted(found), read)

    def fetch(self, read: int, keys: Sequence[str]) -> Iterator[pa.Table]:
        """The documents of these keys: asked for where the key is ``_id``, else sought."""
        key = self._stream.primary_key
        if len(key) != 1 or self._stream.path(key[0]) != (ID,):
            yield from self._only(keys, self._pages(self._all(), read))
            return
        type = next(one.type for one in self.columns() if one.name == key[0])
        told = {text: ids(text, type) for text in keys}
        asked = [text for text, found in told.items() if found]
        for start in range(0, len(asked), KEYS_AT_ONCE):
            batch = asked[start : start + KEYS_AT_ONCE]
            wanted = [id for text in batch for id in told[text] or ()]
            found = self._find({ID: {"$in": wanted}})
            yield from self._only(batch, self._pages(found, read))
        if rest := [text for text, found in told.items() if not found]:
            yield from self._only(rest, self._pages(self._all(), read))

    def scan(
        self, first: int | None = None, until: int | None = None, after: str | None = None
    ) -> Iterator[pa.Table]:
        """All documents by ``_id``; ``_key`` and ``_source_hash`` only."""
        for page in self._pages(self._all(), 0):
            yield page.select(["_key", "_source_hash"])

    def count(self) -> int:
        """How many there are now."""
        return self._session.count(self._stream.collection, {})

    def look(self) -> list[Finding]:
        """Index, bound, and the documents that no bound reaches."""
        found = list(self._index())
        seen = bound.observe(self._session, self._stream, self._name, None)
        if "not allowed" in seen.bound:
            what = f"{self._name}: how far a read is complete is a guess: {seen.bound}."
            todo = (
                "Grant the user the role clusterMonitor, or set a lookback longer than any write."
            )
            found.append(Finding("warning", what, "bound-guessed", todo))
        if first := self._first(self._every.unreached()):
            document = exact(first)
            kind = self._documents.unreached(document)
            what = (
                f"{self._name}: cursor: there are documents whose {self._stream.cursor!r} is "
                f"{kind}, like the one with _id {document.get(ID)!r}; every run reads them all."
            )
            level: Level = "error" if self._stream.null_cursor == "fail" else "warning"
            todo = "Stamp them, or choose with null_cursor: read, quarantine or fail."
            found.append(Finding(level, what, "null-cursor", todo))
        return found

    # How ------------------------------------------------------------------------------------

    @property
    def _every(self) -> slices.Range:
        return slices.Range(".".join(self._stream.cursor_path), self._stream.sort)

    def _increment(self, part: slices.Range) -> Iterator[Record]:
        yield from self._ordered(part)
        if part.path == ID:
            part = slices.Range(part.path, part.sort)
            for type in slices.IDS:
                if part.sort not in type:
                    yield from self._by_id(type)
            return
        for where in (part.arrays(), part.unreached()):
            batches = self._session.stream(
                self._stream.collection, where, self._stream.page_rows, fields=self._fields
            )
            for batch in batches:
                yield from map(self._documents.record, batch)

    def _ordered(self, part: slices.Range) -> Iterator[Record]:
        """By value and ``_id``, a page at a time; what changes meanwhile comes behind."""
        after, size = None, self._stream.page_rows
        while True:
            found = self._page(part.reached(after), part.order)
            yield from found[:size]
            if len(found) <= size:
                return
            last = exact(found[size - 1])
            after = (reach(last, part.path.split(".")), self._id(last))

    def _all(self) -> Iterator[Record]:
        if self._first(slices.missing_ids()):
            raise ConfigError(
                f"{self._name}: collection: {self._stream.collection!r} has documents without "
                "_id, by which they are read. Let the view keep it."
            )
        for type in slices.IDS:
            yield from self._by_id(type)

    def _by_id(self, type: Sequence[str]) -> Iterator[Record]:
        after: tuple[Any, ...] = ()
        size = self._stream.page_rows
        while True:
            found = self._page(slices.by_id(type, after), [(ID, 1)])
            yield from found[:size]
            if len(found) <= size:
                return
            after = (self._id(exact(found[size - 1])),)

    def _page(self, where: slices.Query, order: Sequence[tuple[str, int]]) -> list[Record]:
        """A page, and one more. Raises ConfigError where a page could end between two equals."""
        found = self._find(where, order, self._stream.page_rows + 1)
        paths = [path.split(".") for path, _ in order]
        for one, other in pairwise(map(exact, found)):
            id, next = one.get(ID), other.get(ID)
            if id == next and sort_of(id) == sort_of(next) and level(one, other, paths):
                raise ConfigError(
                    f"{self._name}: collection: {self._stream.collection!r} has several documents "
                    f"with the _id {id!r:.80}, by which they are read. Let the view give each "
                    "its own, like {$set: {_id: {$mergeObjects: [{a: '$_id', b: '$line'}]}}}."
                )
        return found

    def _id(self, document: dict[str, Any]) -> Any:
        """Where the next page begins."""
        id = document[ID]
        if isinstance(id, str) and "\ufffd" in id:
            raise DataError(
                f"{self._name}: the _id {id!r:.80} is not UTF-8, and nothing can be asked for "
                "behind it. Give the document another _id."
            )
        return id

    def _find(
        self, where: slices.Query, order: Sequence[tuple[str, int]] = (), limit: int = 0
    ) -> list[Record]:
        found = self._session.find(
            self._stream.collection, where, sort=order, limit=limit, fields=self._fields
        )
        return [self._documents.record(one) for one in found]

    def _first(self, where: slices.Query) -> Record | None:
        found = self._session.find(self._stream.collection, where, limit=1)
        return self._documents.record(found[0]) if found else None

    def _pages(self, records: Iterable[Record], read: int) -> Iterator[pa.Table]:
        tokens = Tokens(read, self._name)
        yield from self._records.pages(records, tokens, self._stream.page_rows)

    def _counted(self, records: Iterable[Record]) -> Iterator[Record]:
        """Count what no bound reaches, by kind, and what is of the future."""
        ahead = None if self._clock is None else int(DatetimeMS(self._clock + AHEAD))
        for record in records:
            document = exact(record)
            if kind := self._documents.unreached(document):
                self._census[kind] += 1
            elif ahead and isinstance(found := self._documents.cursor(document), DatetimeMS):
                self._census["future"] += int(found) > ahead and isinstance(word(found), datetime)
            yield record

    def _only(self, keys: Sequence[str], pages: Iterator[pa.Table]) -> Iterator[pa.Table]:
        wanted = pa.array(keys, pa.string())
        for page in pages:
            found = page.filter(pc.is_in(page.column("_key"), wanted))
            if found.num_rows:
                yield found

    @property
    def _fields(self) -> tuple[str, ...]:
        """What is fetched of each document; empty: all of it."""
        stream = self._stream
        paths = [stream.path(column.name) for column in self.columns()]
        names = {path[0] for path in [*paths, stream.cursor_path]}
        if any(name == EVERY or "." in name or name.startswith(WHOLE) for name in names):
            return ()
        return (ID, *sorted(names - {ID}))

    def _require_cursors(self, part: slices.Range) -> None:
        """Raise DataError when ``null_cursor`` says to stop and no bound reaches some documents."""
        if self._stream.null_cursor != "fail":
            return
        queries = (part.unreached(), part.arrays())
        missing = sum(self._session.count(self._stream.collection, where) for where in queries)
        if missing:
            raise DataError(
                f"{self._name}: null_cursor: {missing:,} documents have no {part.sort} in the "
                f"cursor {self._stream.cursor!r}. Stamp them at the source, or read or hold them "
                "with null_cursor: read or null_cursor: quarantine."
            )

    def _index(self) -> Iterator[Finding]:
        """Raises ConfigError when there is no such collection."""
        stream, known = self._stream, self._session.collections()
        if stream.collection not in known:
            raise ConfigError(
                f"{self._name}: collection: {stream.collection!r} is not in the database "
                f"{self._endpoint.database!r}.{did_you_mean(stream.collection, known)} It has: "
                f"{', '.join(sorted(known)[:20]) or 'none that this user may see'}"
            )
        path = ".".join(stream.cursor_path)
        if known[stream.collection] == "view":
            what = (
                f"{self._name}: {stream.collection!r} is a view; which index serves it is unknown."
            )
            yield Finding("warning", what, "view", "Read the collection below it if this is slow.")
        elif not any(_serves(index, path) for index in self._session.indexes(stream.collection)):
            refused = stream.unindexed == "refuse"
            choice = ", or allow it with unindexed: allow" if refused else ""
            yield Finding(
                "error" if refused else "warning",
                f"{self._name}: cursor: no index of {stream.collection!r} begins with {path!r}, so "
                "each run reads and sorts all of it.",
                "no-index",
                f"db.{stream.collection}.createIndex({{'{path}': 1, _id: 1}}){choice}",
            )


def _serves(index: dict[str, Any], path: str) -> bool:
    """Whether the server may find every value of *path* in order by this index."""
    first = next(iter(index["key"].items()))
    partial = index.get("hidden") or "partialFilterExpression" in index
    simple = (index.get("collation") or {}).get("locale", "simple") == "simple"
    return not partial and simple and first[0] == path and first[1] in {1, -1}
