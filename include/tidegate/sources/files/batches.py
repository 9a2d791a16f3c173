"""The rows of a file, gathered: so many records, or a block, for each page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tidegate.model import PAGE_BITS, Reason
from tidegate.sources.files.entry import BadFileError, Entry
from tidegate.sources.files.expanding import Meter
from tidegate.sources.files.growing import Growth
from tidegate.sources.files.trees import Found, Why
from tidegate.sources.rows.blocks import Block
from tidegate.sources.rows.fitting import Unread
from tidegate.sources.rows.records import Record

if TYPE_CHECKING:
    from tidegate.sources.files.options import FilesStream

HEAVY = 32_000_000
"""Octets of a file in one page, whatever its rows are."""
_NO_FACTS: dict[str, Any] = {}
Chunk = tuple[list[Record] | Block, int]
"""Rows of a file, and how many octets they are of."""


class Batches:
    """Makes records, and what is held, of one stream's files."""

    def __init__(self, stream: FilesStream) -> None:
        self._stream = stream
        self._told = any(stream.path(column)[0].startswith("$") for column in stream.columns)

    def of(
        self,
        rows: Iterable[Found | Block],
        entry: Entry,
        number: int | None,
        line: int,
        meter: Growth | Meter,
    ) -> Iterator[Chunk]:
        """*rows*, the first of which is behind *line*."""
        records: list[Record] = []
        moment, page, start = entry.moment, 0, 0
        for found in rows:
            alone = isinstance(found, Block)
            full = len(records) >= self._stream.page_rows or meter.given - start > HEAVY
            if records and (full or alone):
                yield records, meter.given - start
                records, start, page = [], meter.given, page + 1
            token = None if number is None else number << PAGE_BITS | page
            if isinstance(found, Block):
                yield _told(found, entry, line, token), meter.given - start
                start, page, line = meter.given, page + 1, line + len(found)
                continue
            value, why = found
            line += 1
            if why or self._told:
                facts = {"file": entry.name, "line": line, "modified": moment}
                records.append(self._record(facts, token, value, why))
            else:
                records.append(Record(value, _NO_FACTS, token))
        if records or not page:
            yield records, meter.given - start

    def _record(self, facts: dict[str, Any], token: int | None, value: Any, why: Why) -> Record:
        if why is None:
            return Record(value, facts, token)
        if value is None:
            value = self._named(f"{facts['file']}: row {facts['line']}", why[0], facts)
        rule, text = why
        reason = Reason("pull", rule, f"{facts['file']}: {text}")
        return Record(value, facts, token, reasons=(reason,))

    def held(self, name: str, number: int, error: BadFileError) -> Record:
        """The row that stands in the quarantine for a file."""
        facts: dict[str, Any] = {"file": name}
        value = self._named(name, error.rule, facts)
        reason = Reason("pull", error.rule, f"{name}: {error}")
        return Record(value, facts, number << PAGE_BITS, reasons=(reason,))

    def _named(self, text: str, rule: str, facts: dict[str, Any]) -> dict[str, Any]:
        """A row of which nothing is known but what to call it: *text* is in its key."""
        value: dict[str, Any] = {}
        for column in self._stream.primary_key:
            *way, last = self._stream.path(column)
            if (way or [last])[0].startswith("$"):
                facts.setdefault(last[1:], Unread(text, rule))
                continue
            inner = value
            for step in way:
                inner = inner.setdefault(step, {})
            inner[last] = Unread(text, rule)
        return value


def _told(block: Block, entry: Entry, line: int, token: int | None) -> Block:
    """*block* with its token, and what is known of its rows, which are behind *line*."""
    count = len(block)
    facts = {
        "$file": pa.repeat(entry.name, count),
        "$line": pa.array(range(line + 1, line + 1 + count), pa.int64()),
        "$modified": pa.repeat(pa.scalar(entry.moment, pa.timestamp("us", "UTC")), count),
    }
    return Block({**block.columns, **facts}, token)
