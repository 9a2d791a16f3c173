"""Files as a source: which of them a run reads, and all of a file or nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tidegate.model import Json, Watermark, Window, utc_text
from tidegate.sources import Finding, Observation, Shared
from tidegate.sources.files import formats, place_of
from tidegate.sources.files.arriving import Arriving
from tidegate.sources.files.aside import aside
from tidegate.sources.files.batches import HEAVY, Batches, Chunk
from tidegate.sources.files.entry import BadFileError, ChangedFileError, Entry, Place
from tidegate.sources.files.expanding import Meter
from tidegate.sources.files.growing import Growth, Position
from tidegate.sources.files.naming import moment_of
from tidegate.sources.files.trees import Found
from tidegate.sources.rows.basis import Basis
from tidegate.sources.rows.blocks import Block
from tidegate.sources.rows.page import Tokens
from tidegate.sources.rows.records import Record, Records
from tidegate.types import Column

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.sources.files.options import FilesStream

_REMEMBERED = 10_000
"""How many deliveries that could not be read are waited for."""
Todo = tuple[int, Entry | str]
"""A delivery's number, and its file; its name when that is no longer there."""


class FilesSource(Basis):
    """One stream of files; it looks at their place when first asked for something."""

    def __init__(self, endpoint: Endpoint, stream: FilesStream, name: str) -> None:
        super().__init__(endpoint, stream, name)
        self._stream = stream
        self._records = Records(stream)
        self._batches = Batches(stream)
        self._opened: Place | None = None
        self._grown: dict[str, Position] = {}
        self._arriving: Arriving | None = None
        self._there: dict[str, Entry] = {}
        self._unread: dict[str, int] = {}
        self._read = self._last = 0
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
        self._unread, self._read = dict(known.get("unread", {})), known.get("read", 0)
        self._arriving = Arriving(self._place, self._stream, self._name, shared)
        self._list()
        there, looks = self._there.values(), known.get("looks", {})
        self._last, looks = self._arriving.note(there, looks, self._unread)
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
        """Where files that grow ended; how far this was, and which deliveries wait unread."""
        there = {name: found for name, found in self._grown.items() if name in self._there}
        return {
            "grown": {name: asdict(found) for name, found in there.items()},
            "unread": dict(list(self._unread.items())[-_REMEMBERED:]),
            "read": self._last,
        }

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """The files that arrived since *low*; those of a *window*; or all there are."""
        if window is not None:
            self._grown = {}
            todo = [one for one in self._numbered() if self._within(one[1], window)]
            yield from self._pages(todo, read, numbered=True)
            return
        found = self._deliveries(int(low.cursor) if low else self._read)
        if low is not None:
            yield from self._pages(self._since(found), read, numbered=True)
            return
        self._grown = {}
        self._unread |= {body["file"]: number for number, body in found if not self._is(body)}
        if self._first:
            yield from self._pages(self._numbered(), read, numbered=True)
        else:  # all of it anew: newer than what was read before, older than what will arrive
            again = self._arrived.shared.arrive(self._name, [(f"all, by read {read}", "")])
            self._list()
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

    def _list(self) -> None:
        self._there = {entry.name: entry for entry in self._place.list()}

    def _is(self, body: dict[str, Any]) -> bool:
        """Whether the file is still what was delivered."""
        entry = self._there.get(body["file"])
        return entry is not None and entry.mtime_size == (body["size"], body["modified"])

    def _deliveries(self, low: int) -> list[tuple[int, dict[str, Any]]]:
        """Those since *low*. Another run may have listed later: then this one lists again."""
        arrivals = self._arrived.shared.arrivals(self._name, low, self._last)
        found = [(one.number, one.body) for one in arrivals if isinstance(one.body, dict)]
        last = {body["file"]: body for _, body in found}
        if not all(map(self._is, last.values())):
            self._list()
        return found

    def _since(self, found: list[tuple[int, dict[str, Any]]]) -> Iterator[Todo]:
        """Deliveries, in order; those that changed since arrive again as what they are now."""
        last = {body["file"]: number for number, body in found}
        for number, body in found:
            name = body["file"]
            entry = self._there.get(name)
            if self._stream.grows and last[name] != number:
                continue
            if entry is None:
                yield number, name
            elif self._stream.grows or self._is(body):
                yield number, entry
            else:
                self._unread[name] = number

    def _within(self, entry: Entry, window: Window) -> bool:
        moment = None
        if self._stream.day:
            last = entry.name.rpartition("/")[2]
            moment = moment_of(last, self._stream.day, self._stream.time_zone)
        moment = moment or entry.moment
        return window.since <= utc_text(moment) < window.until

    def _pages(self, todo: Iterable[Todo], number: int, *, numbered: bool) -> Iterator[pa.Table]:
        """Small files share pages; a larger one is kept aside until all of it was read.

        Rows have the token of their file, where it is *numbered*; else that of their page.
        """
        tokens = Tokens(number, self._name)
        waiting: list[Record] = []
        size = 0
        for arrival, file in todo:
            pages: Iterator[pa.Table] = iter(())
            try:
                chunks = self._chunks(file, arrival if numbered else None)
                first, second = next(chunks, ([], 0)), next(chunks, None)
                records, octets = first
                if second or isinstance(records, Block):
                    yield from self._together(waiting, tokens)
                    built = self._built(chain([first], [second] if second else [], chunks), tokens)
                    pages = aside(built) if second else built
                    records, octets, size = [], 0, 0
            except ChangedFileError:
                self._unread[_name_of(file)] = arrival
                continue
            except BadFileError as error:
                records, octets = [self._batches.held(_name_of(file), arrival, error)], 0
            self._keep(file, arrival)
            if len(waiting) + len(records) > self._stream.page_rows or size + octets > HEAVY:
                yield from self._together(waiting, tokens)
                size = 0
            waiting, size = waiting + records, size + octets
            yield from pages
        yield from self._together(waiting, tokens)

    def _keep(self, file: Entry | str, arrival: int) -> None:
        """Remember a delivery that is gone; forget the one that was read in its place."""
        if isinstance(file, str):
            self._unread[file] = arrival
        else:
            self._unread.pop(file.name, None)

    def _together(self, waiting: list[Record], tokens: Tokens) -> Iterator[pa.Table]:
        """The page of what is *waiting*, which waits no longer."""
        if waiting:
            yield self._records.build(waiting, tokens)
            waiting.clear()

    def _built(self, chunks: Iterator[Chunk], tokens: Tokens) -> Iterator[pa.Table]:
        """The pages of *chunks*; the records of each are let go before the next are read."""
        for records, _ in chunks:
            if isinstance(records, Block):
                yield self._records.compose(records, tokens)
                continue
            page = self._records.build(records, tokens)
            records.clear()
            yield page

    def _chunks(self, entry: Entry | str, number: int | None) -> Iterator[Chunk]:
        """The records of a file, a page at a time, and how many octets they are of.

        Raises BadFileError, ChangedFileError.
        """
        if isinstance(entry, str):
            raise BadFileError("gone", "it arrived, and was removed before it was read")
        growth = None
        with self._place.reading(entry, grows=self._stream.grows) as file:
            meter: Growth | Meter
            rows: Iterator[Found | Block]
            if self._stream.grows:
                meter = growth = Growth(file, entry, self._stream, self._grown.get(entry.name))
                rows, before = growth.rows(), growth.row
            else:
                meter = counted = formats.meter_of(entry, self._stream)
                rows, before = formats.rows_or_blocks(file, entry, self._stream, counted), 0
            yield from self._batches.of(rows, entry, number, before, meter)
            position = growth.position() if growth else None
        if position:
            self._grown[entry.name] = position


def _name_of(file: Entry | str) -> str:
    return file if isinstance(file, str) else file.name
