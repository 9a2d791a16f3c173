"""The source: what a run and a comparison ask a REST list for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256

import pyarrow as pa

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError
from tidegate.model import Json, Watermark, Window, utc_text
from tidegate.sources import Finding, Observation, Shared
from tidegate.sources.rest import ask as asking
from tidegate.sources.rest.ask import Answer, Ask, moment
from tidegate.sources.rest.clocks import Clock, no_window
from tidegate.sources.rest.options import ByOffset, ByPage, OnePage, RestStream
from tidegate.sources.rest.paging import Walk
from tidegate.sources.rest.passes import settled
from tidegate.sources.rest.session import Session
from tidegate.sources.rows.basis import Basis
from tidegate.sources.rows.page import Tokens
from tidegate.sources.rows.records import Record, Records, reach
from tidegate.types import Column

_ANY = range(100, 600)
"""A clock is in every answer, whatever its status."""
RESTED = timedelta(seconds=60)


class RestSource(Basis):
    """One list of one server."""

    def __init__(self, endpoint: Endpoint, stream: RestStream, name: str) -> None:
        super().__init__(endpoint, stream, name)
        self._stream = stream
        self._records = Records(stream)
        self._clock = Clock(stream, name) if stream.cursor else None
        self._condition: dict[str, str] = {}

    @cached_property
    def _session(self) -> Session:
        return Session(self._endpoint, self._stream, self._name)

    @property
    def _first(self) -> Ask:
        return asking.first(self._stream, self._session.address.url(self._stream.request.path))

    def close(self) -> None:
        """Close the connection."""
        if "_session" in self.__dict__:
            self._session.close()

    def columns(self) -> list[Column]:
        """Those declared."""
        return self._records.columns()

    def adopt(self, columns: Sequence[Column]) -> None:
        """Read only these, as these types."""
        self._records.adopt(columns)

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """With a cursor: the server's clock minus lookback. Else the list is read whole: now."""
        known = memory or {}
        self._condition = dict(known.get("condition") or {})
        if self._clock is not None:
            head = Ask("HEAD", self._first.url, self._first.params, self._first.headers)
            return self._clock.observe(self._session.send(head, _ANY).date, known)
        now = utc_text(datetime.now(UTC).replace(microsecond=0))
        return Observation(Watermark(now), now, "the whole list is read, whatever is new")

    def memory(self) -> dict[str, Json]:
        """What the server calls this state of the list."""
        return {"condition": self._condition}

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """What changed from *low* on, or in one *window*; or the whole list."""
        ask, tokens = self._ask(low, window), Tokens(read, self._name)
        pages = self._stream.pages
        if isinstance(pages, ByPage | ByOffset):
            yield from settled(lambda: self._pages(ask, tokens), pages.passes, self._name)
        elif isinstance(pages, OnePage) and ask.method == "GET" and window is None:
            known = low is not None and not self._stream.snapshot
            yield from self._unless_known(ask, tokens, known=known)
        else:
            yield from self._pages(ask, tokens)

    def scan(
        self, first: int | None = None, until: int | None = None, after: str | None = None
    ) -> Iterator[pa.Table]:
        """All rows, ``_key`` and ``_source_hash`` only."""
        self._require_complete()
        yield from super().scan(first, until, after)

    def fetch(self, read: int, keys: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of these keys, found by reading the whole list."""
        self._require_complete()
        yield from super().fetch(read, keys)

    def look(self) -> list[Finding]:
        """Ask for the first page, and compare it with what the stream says."""
        found = [] if self._clock is None or self._date() else [self._no_clock()]
        walk = self._walk()
        rows = next(walk.rows(self._first), [])
        for name in self._stream.columns:
            path = self._stream.path(name)
            if (
                rows
                and not path[0].startswith("$")
                and all(reach(row, path) is None for row in rows)
            ):
                found.append(
                    Finding(
                        "warning",
                        f"{self._name}: column {name!r}: {'.'.join(path)!r} is in none of the "
                        f"{len(rows)} rows of the first page.",
                        "missing-column",
                        "Check its path.",
                    )
                )
        return found

    def _date(self) -> datetime | None:
        return self._session.send(replace(self._first, method="HEAD", body=None), _ANY).date

    def _no_clock(self) -> Finding:
        return Finding(
            "warning",
            f"{self._name}: the server tells no time (no Date header), so this machine's clock "
            "says how far the list is complete.",
            "no-clock",
            "Keep this machine's clock right, and lookback larger than both can differ.",
        )

    def _walk(self) -> Walk:
        return Walk(self._session, self._stream, self._name)

    def _ask(self, low: Watermark | None, window: Window | None) -> Ask:
        if window is not None:
            if self._clock is None:
                raise no_window(self._name)
            return self._clock.between(self._first, window)
        if low is None or self._clock is None:
            return self._first
        return self._clock.since(self._first, low)

    def _pages(self, ask: Ask, tokens: Tokens) -> Iterator[pa.Table]:
        found = (Record(row) for rows in self._walk().rows(ask) for row in rows)
        return self._records.pages(found, tokens, self._stream.page_rows)

    def _unless_known(self, ask: Ask, tokens: Tokens, *, known: bool) -> Iterator[pa.Table]:
        """One answer; none, when the server says that it is the one of the last run."""
        said = (ask, self.columns(), self._stream.model_dump_json())
        name = sha256(repr(said).encode()).hexdigest()
        if known and self._condition.get("of") == name:
            pairs = (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified"))
            more = {header: self._condition[key] for header, key in pairs if key in self._condition}
            ask = replace(ask, headers={**ask.headers, **more})
        walk = self._walk()
        rows = next(walk.rows(ask), [])
        if walk.last is not None and walk.last.status != 304:
            self._condition = _condition(walk.last, name)
        found = (Record(row) for row in rows)
        yield from self._records.pages(found, tokens, self._stream.page_rows)

    def _require_complete(self) -> None:
        if not self._stream.complete:
            raise ConfigError(
                f"{self._name}: complete: is false, so the list cannot be compared with the store, "
                "nor rows be read again by key."
            )


def _condition(answer: Answer, name: str) -> dict[str, str]:
    """What to ask with next time: of which request, and what its answer was called.

    Last-Modified counts seconds: a list that was changed just now may change once more within the
    same one. It names an answer only when the server said so a minute later (RFC 9110, 8.8.2.2).
    """
    changed = moment(answer.headers.get("last-modified", ""))
    rested = changed and answer.date and answer.date - changed >= RESTED
    keys = ("etag", "last-modified") if rested else ("etag",)
    named = {key: answer.headers[key] for key in keys if key in answer.headers}
    return {"of": name, **named} if named else {}
