"""Where the log of one server ends, for all watched streams of it at once.

It says that something was written on the server, not where: each commit starts the runs of all
watched logs. A stream is loaded when the position that the store keeps has come there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tidegate.connections import Endpoint
from tidegate.errors import TidegateError
from tidegate.model import Json
from tidegate.sources import Sight
from tidegate.sources.log.feed import Position
from tidegate.sources.sql.session import Session

if TYPE_CHECKING:
    from tidegate.pipeline.models import Stream

TIMEOUT = 3.0
"""Seconds that a look may take: it is there to be cheap."""


class LogLookout:
    """Looks at a log's end through one session."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._session = Session(endpoint, TIMEOUT)

    def look(self, streams: Mapping[str, Stream]) -> dict[str, Sight | TidegateError]:
        """As :meth:`tidegate.sources.Lookout.look`."""
        end = self._end()

        def loaded(memory: Json) -> bool:
            known: Position = (memory or {}).get("position") or {}
            return known.get("server") == end["server"] and _place(known) >= _place(end)

        sight = Sight([end["server"], *_place(end)], loaded=loaded)
        return dict.fromkeys(streams, sight)

    def close(self) -> None:
        """As :meth:`tidegate.sources.Lookout.close`."""
        self._session.close()

    def _end(self) -> Position:
        if self._session.endpoint.kind == "postgres":
            from tidegate.sources.log.decoding import END

            with self._session.translated():
                lsn, server = self._session.connection.execute(END).one()
            return {"server": str(server), "lsn": int(lsn)}
        from tidegate.sources.log.server import Server

        return Server(self._session).now()


def _place(position: Position) -> tuple[int, ...]:
    """To be compared with others of the same server."""
    if "lsn" in position:
        return (int(position["lsn"]),)
    from tidegate.sources.log.replica import place

    return place(position)
