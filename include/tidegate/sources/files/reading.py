"""Files as a source: which of them a run reads, and all of a file or nothing of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.ipc as ipc

from tidegate.model import PAGE_BITS, Json, Reason, Watermark, Window, utc_text
from tidegate.sources import Finding, Observation, Shared
from tidegate.sources.files import formats
from tidegate.sources.files.arriving import Arriving
from tidegate.sources.files.entry import BadFileError, ChangedFileError, Entry, Place
from tidegate.sources.files.expanding import Meter
from tidegate.sources.files.growing import Growth, Position
from tidegate.sources.files.options import day_pattern
from tidegate.sources.files.trees import Why
from tidegate.sources.rows.basis import Basis
from tidegate.sources.rows.fitting import Unread
from tidegate.sources.rows.page import Tokens
from tidegate.sources.rows.records import Record, Records
from tidegate.types import Column

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.sources.files.options import FilesStream

_HEAVY = 32_000_000
"""Octets of a file in one page, whatever its rows are."""
_NO_FACTS: dict[str, Any] = {}
Todo = tuple[int, Entry | str]
"""A delivery's number, and its file; its name when that is no longer there."""


class FilesSource(Basis):
    """One stream of files; it looks at their place when first asked for something."""

    def __init__(self, endpoint: Endpoint, stream: FilesStream, name: str) -> None:
        super().__init__(endpoint, stream, name)
        self._stream = stream
        self._records = Records(stream)
        self._opened: Place | None = None
        self._grown: dict[str, Position] = {}
        self._arriving: Arriving | None = None
        self._there: dict[str, Entry] = {}
        self._told = any(stream.path(column)[0].startswith("$") for column in stream.columns)
        self._last = 0
        self._first = True

    def close(self) -> None:
        """Let go of the connection."""
        if self._opened:
            self._opened.close()

    def columns(self) -> list[Column]:
        """Those declared."""
        return self._records.columns()

    def adopt(self, columns: Sequence[Column]) -> None:
        """Read only these."""
        self._records.adopt(columns)

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """All files that are whole now have arrived."""
        known, self._first = memory or {}, memory is None
        self._grown = {name: Position(**found) for name, found in known.get("grown", {}).items()}
        self._arriving = Arriving(self._place, self._stream, self._name, shared)
        self._there = {entry.name: entry for entry in self._place.list()}
        self._last, looks = self._arriving.note(self._there.values(), known.get("looks", {}))
        high = Watermark(self._last, "arrivals of files")
        bound = f"arrival {self._last}; {len(looks)} files are not whole yet"
        return Observation(high, utc_text(datetime.now(UTC)), bound, memory={"looks": looks})

    def look(self) -> list[Finding]:
        """Whether there are files; none arrives."""
        if any(True for _ in self._place.list()):
            return []
        what = f"{self._name}: there is no file {self._stream.files!r} yet."
        return [Finding("note", what, "no-files", "It will be read when it comes.")]

    def memory(self) -> dict[str, Json]:
        """Where files that grow ended."""
        there = {name: found for name, found in self._grown.items() if name in self._there}
        return {"grown": {name: asdict(found) for name, found in there.items()}}

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """The files that arrived since *low*; those of a *window*; or all there are."""
        if low is not None and window is None:
            yield from self._pages(self._since(int(low.cursor)), read, numbered=True)
            return
        self._grown = {}
        if window is not None:
            todo = [one for one in self._numbered() if self._within(one[1], window)]
            yield from self._pages(todo, read, numbered=True)
        elif self._first:
            yield from self._pages(self._numbered(), read, numbered=True)
        else:  # all of it anew: newer than what was read before, older than what will arrive
            again = self._arrived.shared.arrive(self._name, [(f"all, by read {read}", "")])
            self._there = {entry.name: entry for entry in self._place.list()}
            yield from self._pages(self._numbered(), again, numbered=False)

    @property
    def _place(self) -> Place:
        if self._opened is None:
            self._opened = place_of(self._endpoint, self._stream.files, self._name)
        return self._opened

    @property
    def _arrived(self) -> Arriving:
        if self._arriving is None:
            raise RuntimeError("observe() comes before pull()")
        return self._arriving

    def _numbered(self) -> list[tuple[int, Entry]]:
        return self._arrived.numbered(list(self._there.values()))

    def _since(self, low: int) -> Iterator[Todo]:
        """Deliveries, in order; those that changed since arrive again as what they are now."""
        arrivals = self._arrived.shared.arrivals(self._name, low, self._last)
        found = [(one.number, one.body) for one in arrivals if isinstance(one.body, dict)]
        last = {body["file"]: number for number, body in found}
        for number, body in found:
            name = body["file"]
            entry = self._there.get(name)
            if self._stream.grows and last[name] != number:
                continue
            if entry is None:
                yield number, name
            elif self._stream.grows or entry.mtime_size == (body["size"], body["modified"]):
                yield number, entry

    def _within(self, entry: Entry, window: Window) -> bool:
        moment = entry.moment
        pattern = self._stream.day and day_pattern(self._stream.day)
        if pattern and (found := re.fullmatch(pattern, entry.name.rpartition("/")[2])):
            year, month, day = (int(found[mark]) for mark in "Ymd")
            hour = int(found.groupdict().get("H") or 0)
            moment = datetime(year, month, day, hour, tzinfo=ZoneInfo(self._stream.time_zone))
        return window.since <= utc_text(moment) < window.until

    def _pages(self, todo: Iterable[Todo], number: int, *, numbered: bool) -> Iterator[pa.Table]:
        """Small files share pages; a larger one is kept aside until all of it was read.

        Rows have the token of their file, where it is *numbered*; else that of their page.
        """
        tokens = Tokens(number, self._name)
        waiting: list[Record] = []
        size = 0
        for arrival, file in todo:
            try:
                records, octets, pages = self._whole(file, arrival if numbered else None, tokens)
            except ChangedFileError:
                continue
            except BadFileError as error:
                records, octets, pages = [self._held(file, arrival, error)], 0, None
            full = len(waiting) + len(records) > self._stream.page_rows or size + octets > _HEAVY
            if waiting and (full or pages):
                yield self._records.build(waiting, tokens)
                waiting, size = [], 0
            waiting, size = waiting + records, size + octets
            yield from pages or ()
        if waiting:
            yield self._records.build(waiting, tokens)

    def _whole(
        self, file: Entry | str, number: int | None, tokens: Tokens
    ) -> tuple[list[Record], int, Iterator[pa.Table] | None]:
        """All of a file: its records and their octets; or its pages, when they are more than one.

        Raises BadFileError, ChangedFileError.
        """
        if isinstance(file, str):
            raise BadFileError("gone", "it arrived, and was removed before it was read")
        chunks = self._chunks(file, number)
        first = next(chunks, ([], 0))
        if (second := next(chunks, None)) is None:
            return *first, None
        return [], 0, _aside(self._built(chain([first, second], chunks), tokens))

    def _built(
        self, chunks: Iterator[tuple[list[Record], int]], tokens: Tokens
    ) -> Iterator[pa.Table]:
        """The pages of *chunks*; the records of each are let go before the next are read."""
        for records, _ in chunks:
            page = self._records.build(records, tokens)
            records.clear()
            yield page

    def _chunks(self, entry: Entry, number: int | None) -> Iterator[tuple[list[Record], int]]:
        """The records of a file, a page at a time, and how many octets they are of."""
        growth = None
        with self._place.reading(entry, grows=self._stream.grows) as file:
            meter: Growth | Meter
            if self._stream.grows:
                meter = growth = Growth(file, entry, self._stream, self._grown.get(entry.name))
                rows, before = growth.rows(), growth.row
            else:
                meter = counted = formats.meter_of(entry, self._stream)
                rows, before = formats.rows(file, entry, self._stream, counted), 0
            records: list[Record] = []
            moment, page, start = entry.moment, 0, 0
            for line, (value, why) in enumerate(rows, before + 1):
                token = None if number is None else number << PAGE_BITS | page
                if why or self._told:
                    facts = {"file": entry.name, "line": line, "modified": moment}
                    records.append(self._record(facts, token, value, why))
                else:
                    records.append(Record(value, _NO_FACTS, token))
                if len(records) >= self._stream.page_rows or meter.given - start > _HEAVY:
                    yield records, meter.given - start
                    records, start, page = [], meter.given, page + 1
            position = growth.position() if growth else None
        if records or not page:
            yield records, meter.given - start
        if position:
            self._grown[entry.name] = position

    def _record(self, facts: dict[str, Any], token: int | None, value: Any, why: Why) -> Record:
        if why is None:
            return Record(value, facts, token)
        if value is None:
            value = self._named(f"{facts['file']}: row {facts['line']}", why[0], facts)
        rule, text = why
        reason = Reason("pull", rule, f"{facts['file']}: {text}")
        return Record(value, facts, token, reasons=(reason,))

    def _held(self, file: Entry | str, number: int, error: BadFileError) -> Record:
        """The row that stands in the quarantine for a file."""
        name = file if isinstance(file, str) else file.name
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


def _aside(pages: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """*pages*, all of them made before the first one is given; they wait in a temporary file."""
    with ExitStack() as stack:
        spool = stack.enter_context(tempfile.TemporaryFile())
        options = ipc.IpcWriteOptions(compression="lz4")
        writer = None
        for page in pages:
            writer = writer or ipc.new_stream(spool, page.schema, options=options)
            writer.write_table(page, max_chunksize=page.num_rows)
        if writer is not None:
            writer.close()
        spool.seek(0)
        stack.pop_all()
    return _spooled(spool)


def _spooled(spool: Any) -> Iterator[pa.Table]:
    with spool, ipc.open_stream(spool) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def place_of(endpoint: Endpoint, pattern: str, name: str) -> Place:
    """Where *endpoint* leads, and what *pattern* names there."""
    if endpoint.kind in {"fs", "file"}:
        from tidegate.sources.files.local import Folder

        return Folder(endpoint, pattern, name)
    from tidegate.sources.files.remote import Remote

    return Remote(endpoint, pattern, name)
