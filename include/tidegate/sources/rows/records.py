"""Values (documents, messages, lines) → pages of the columns that a stream declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.hashing import row_hashes
from tidegate.model import GONE, Reason
from tidegate.sources.rows import jsontext
from tidegate.sources.rows.blocks import Block
from tidegate.sources.rows.fitting import Spec, Unread
from tidegate.sources.rows.options import EVERY, WHOLE, DeclaredStream
from tidegate.sources.rows.page import Reasons, Sheet, Tokens
from tidegate.types import Column

PAGE_OCTETS = 32_000_000
"""What the rows of a page came in; as values they take several times as much memory."""
_MAPPING = (dict, Mapping)
"""The first one is the quicker to tell."""


class Record(NamedTuple):
    """One row as it came.

    value    what paths lead into
    facts    what the source tells of it: ``$offset``, ``$file``; without the dollar sign
    token    its order token; None: that of its page
    gone     whether it tells that the row was deleted
    reasons  why it cannot be a row, whatever its cells are: it will be held
    size     about how many octets it came in; of rows that came together, the first one tells
    """

    value: Any
    facts: Mapping[str, Any] = MappingProxyType({})
    token: int | None = None
    gone: bool = False
    reasons: tuple[Reason, ...] = ()
    size: int = 0


class Records:
    """Builds the pages of one stream. Of rows with one key and one token, the last one counts.

    spell  makes the text of a ``json`` column out of a value; raises ValueError
    plain  makes Python's own values, or an array of a column's type, out of those of another column
    """

    def __init__(
        self,
        stream: DeclaredStream,
        *,
        spell: Callable[[Any], str] = jsontext.dumps,
        plain: Callable[[Sequence[Any], Spec], Sequence[Any] | pa.Array] = lambda values, _: values,
    ) -> None:
        self._key = stream.primary_key
        self._log = stream.deletions
        self._spell = spell
        self._plain = plain
        zone = ZoneInfo(stream.time_zone)
        self._paths = {name: stream.path(name) for name in stream.columns}
        self._specs = [
            Spec(Column(name, type), loose=type.name != "json", zone=zone)  # JSON is our own
            for name, type in stream.types.items()
        ]
        self.superseded = 0

    def columns(self) -> list[Column]:
        """Those declared, or those adopted of them."""
        return [spec.column for spec in self._specs]

    def adopt(self, columns: Sequence[Column]) -> None:
        """Build these only, as these types."""
        known = {spec.column.name: spec for spec in self._specs}
        self._specs = [replace(known[column.name], column=column) for column in columns]

    def build(self, records: Sequence[Record], tokens: Tokens) -> pa.Table:
        """The page of *records*, which are of one read."""
        token = tokens.next()
        cells = [self._column(spec, records) for spec in self._specs]
        reasons = {row: record.reasons for row, record in enumerate(records) if record.reasons}
        marks = [token if record.token is None else record.token for record in records]
        gone = [record.gone for record in records] if self._log else None
        return self._page(cells, pa.array(marks, pa.int64()), reasons, gone)

    def compose(self, block: Block, tokens: Tokens) -> pa.Table:
        """The page of *block*, in which nothing is gone."""
        token = tokens.next()
        marks = pa.repeat(token if block.token is None else block.token, len(block))
        gone = [False] * len(block) if self._log else None
        return self._page([self._read(spec, block) for spec in self._specs], marks, {}, gone)

    def _page(
        self,
        cells: Sequence[Sequence[Any] | pa.Array],
        marks: pa.Array,
        reasons: Reasons,
        gone: Sequence[bool] | None,
    ) -> pa.Table:
        sheet = Sheet.of(self._specs, cells)
        books = {
            "_key": sheet.keys(self._key),
            "_token": marks,
            "_source_hash": _apart(sheet.hashes(), reasons),
            "_held": sheet.held(self._key, reasons),
        }
        if gone is not None:
            books[GONE] = pa.array(gone, pa.bool_())
        return self._latest(pa.table({**sheet.arrays, **books}))

    def pages(self, records: Iterable[Record], tokens: Tokens, rows: int) -> Iterator[pa.Table]:
        """The pages of *records*, *rows* in each; fewer when they are large."""
        batch: list[Record] = []
        octets = 0
        for record in records:
            batch.append(record)
            octets += record.size
            if len(batch) >= rows or octets > PAGE_OCTETS:
                yield self.build(batch, tokens)
                batch, octets = [], 0
        if batch:
            yield self.build(batch, tokens)

    def _latest(self, page: pa.Table) -> pa.Table:
        """*page* without rows that a later one of the same key and token replaces."""
        if any(_differ(page.column(name)) for name in ("_key", "_token")):
            return page
        keys, tokens = page.column("_key").to_pylist(), page.column("_token").to_pylist()
        last = {
            (key, token): row for row, (key, token) in enumerate(zip(keys, tokens, strict=True))
        }
        kept = [
            row
            for row, (key, token) in enumerate(zip(keys, tokens, strict=True))
            if key is None or last[key, token] == row
        ]
        self.superseded += len(keys) - len(kept)
        return page if len(kept) == len(keys) else page.take(kept)

    def _read(self, spec: Spec, block: Block) -> Sequence[Any] | pa.Array:
        first, *rest = self._paths[spec.column.name]
        if not rest and spec.type.name != "json":
            return block.fitting(first, spec)
        return self._told([reach(value, rest) for value in block.values(first)], spec)

    def _column(self, spec: Spec, records: Sequence[Record]) -> Sequence[Any] | pa.Array:
        return self._told(_found(records, self._paths[spec.column.name]), spec)

    def _told(self, found: list[Any], spec: Spec) -> Sequence[Any] | pa.Array:
        if spec.type.name == "json":
            return [None if value is None else self._text(value) for value in found]
        return self._plain(found, spec)

    def _text(self, value: Any) -> str | Unread:
        """A value that has no JSON text is held."""
        try:
            return self._spell(value)
        except (ValueError, TypeError, RecursionError) as error:
            return Unread(repr(value)[:200], f"no JSON ({error})"[:80])


def _found(records: Sequence[Record], path: Sequence[str]) -> list[Any]:
    """What *path* leads to in each of them."""
    first = path[0]
    if first == WHOLE:
        return [record.value for record in records]
    if first.startswith(WHOLE):
        told, rest = first[1:], path[1:]
        return [
            reach(record.facts[told], rest) if told in record.facts else reach(record.value, path)
            for record in records
        ]
    if len(path) == 1 and first != EVERY:
        return [
            value.get(first) if isinstance(value, dict) else reach(value, path)
            for value, *_ in records
        ]
    return [reach(value, path) for value, *_ in records]


def _differ(column: pa.ChunkedArray) -> bool:
    """Whether no two cells have the same value."""
    return bool(pc.count_distinct(column).as_py() == len(column) - column.null_count)


def _apart(hashes: pa.Array, reasons: Reasons) -> pa.Array:
    """What cannot be a row is told apart by the reasons, for its cells may all be empty."""
    if not reasons:
        return hashes
    texts = ["; ".join(reason.message for reason in found) for found in reasons.values()]
    values = hashes.to_pylist()
    more = row_hashes(pa.table({"reasons": texts}), ["reasons"]).to_pylist()
    for row, value in zip(reasons, more, strict=True):
        values[row] ^= value
    return pa.array(values, pa.int64())


def reach(value: Any, path: Sequence[str]) -> Any:
    """What *path* leads to inside *value*: members by name, items by number; None: nothing.

    ``*`` leads to every member or item: what the rest of *path* finds in each of them, in a list.
    """
    for place, step in enumerate(path):
        if isinstance(value, _MAPPING) and (step in value or step != EVERY):
            value = value.get(step)
        elif isinstance(value, list | tuple) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        elif step == EVERY and isinstance(value, Mapping | list | tuple):
            inner = value.values() if isinstance(value, Mapping) else value
            found = (reach(each, path[place + 1 :]) for each in inner)
            return [each for each in found if each is not None]
        else:
            return None
    return value
