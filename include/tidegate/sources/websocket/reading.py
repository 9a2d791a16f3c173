"""The source: what was heard goes into the store's inbox, and from there to pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from tidegate.connections import Endpoint
from tidegate.model import PAGE_BITS, Arrival, Json, Reason, Watermark, Window, utc_text
from tidegate.sources import Finding, Observation, Shared
from tidegate.sources.rows import jsontext
from tidegate.sources.rows.basis import Basis
from tidegate.sources.rows.page import Tokens
from tidegate.sources.rows.records import Record, Records
from tidegate.sources.web.templates import at
from tidegate.sources.websocket.line import Line
from tidegate.sources.websocket.listening import Listening, identity_of
from tidegate.sources.websocket.options import WebSocketStream
from tidegate.types import Column

MARK = "messages heard"
"""What the watermark counts."""


class WebSocketSource(Basis):
    """Messages of one subscription."""

    def __init__(self, endpoint: Endpoint, stream: WebSocketStream, name: str) -> None:
        super().__init__(endpoint, stream, name)
        self._stream = stream
        self._records = Records(stream)
        self._shared: Shared | None = None
        self._high = 0

    def columns(self) -> list[Column]:
        """Those declared."""
        return self._records.columns()

    def adopt(self, columns: Sequence[Column]) -> None:
        """Read only these, as these types."""
        self._records.adopt(columns)

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """Listen; what was heard is in the inbox when this returns, and that is the bound."""
        line = Line(self._endpoint, self._name, self._stream.max_megabytes)
        listening = Listening(
            line,
            self._stream,
            lambda items: shared.arrive(self._name, items),
            (memory or {}).get("position"),
        )
        listening.run()
        self._census["let go"] = listening.let_go
        self._shared, self._high = shared, shared.arrive(self._name, [])
        return Observation(
            Watermark(self._high, MARK),
            utc_text(datetime.now(UTC)),
            f"{listening.kept:,} messages heard, {listening.let_go:,} let go, cut off "
            f"{listening.cuts} times" + (", until the server's end" if listening.ended else ""),
            memory={"position": listening.position},
        )

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """What the inbox has behind *low*."""
        if self._shared is None:
            return
        after = low.cursor if low is not None and isinstance(low.cursor, int) else 0
        arrived = self._shared.arrivals(self._name, after, self._high)
        found = (record for arrival in arrived for record in self._rows(arrival))
        yield from self._records.pages(found, Tokens(read, self._name), self._stream.page_rows)

    def look(self) -> list[Finding]:
        """Connect, and hang up: nothing is subscribed to, so nothing is taken."""
        with Line(self._endpoint, self._name, self._stream.max_megabytes).open():
            pass
        if self._stream.resume is not None:
            return []
        return [
            Finding(
                "warning",
                f"{self._name}: what the server sends while no run listens is lost, for nothing "
                "says how to go on where it was.",
                "no-resume",
                "If the server can, say so with resume:. Else let runs follow each other closely "
                "(schedule, listen), and read the gaps from where they are kept.",
            )
        ]

    def _rows(self, arrival: Arrival) -> Iterator[Record]:
        """The rows of one message; one that is no JSON is held, whole."""
        if arrival.body is None:
            self._census["forgotten"] += 1
            return
        facts = {"number": arrival.number, "id": arrival.id, "at": arrival.at}
        token = arrival.number << PAGE_BITS
        try:
            value = jsontext.loads(_text(arrival.body))
        except ValueError as error:
            reason = Reason("pull", "no JSON", f"the message is not JSON: {error}"[:300])
            yield Record(arrival.body, facts, token, False, (reason,), len(str(arrival.body)))
            return
        if (identity := identity_of(value, self._stream)) is not None:
            facts["id"] = str(identity)
        found = value if self._stream.rows is None else at(value, self._stream.rows)
        for row, item in enumerate(found if isinstance(found, list) else [found]):
            place = token | min(row, (1 << PAGE_BITS) - 1)
            size = 0 if row else len(str(arrival.body))
            yield Record(item, {**facts, "message": value}, place, size=size)


def _text(body: Json) -> str:
    """The message's text. Raises ValueError when it was octets that are none."""
    if isinstance(body, str):
        return body
    raise ValueError("it is not UTF-8 text")
