"""A WebSocket server that can go on where it was, and wants to be told what was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from services import PASSWORD
from services.http import spell
from services.websocket import WebSocketPeer
from sources.contract.peer import COLUMNS, Peer, Row
from tidegate.connections import Endpoint
from tidegate.pipeline.models import Stream
from tidegate.sources.websocket.options import WebSocketStream

BEARER = f"Bearer {PASSWORD}"
RESUME = {
    "field": "seq",
    "send": {"op": "resume", "after": "{value}"},
    "instead": True,
}


class WebSocket(Peer):
    """Each row is a message; a row that is put again is one more."""

    kind = "websocket"
    title = "WebSocket"
    cannot = {
        "deletions_arrive": "messages say what there is; a soft-delete column may say what is gone",
        "a_forgotten_position_is_an_error": "each server has its own words, if any, for a position "
        "it has forgotten: error_at makes them an error",
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.peer = WebSocketPeer()
        self.peer.channel.sign_in = lambda request: request.headers.get("Authorization") == BEARER

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("shop", "ws", "127.0.0.1", self.peer.port, None, PASSWORD)

    def stream(self, **more: Any) -> Stream:
        given = {
            "subscribe": {"op": "subscribe"}, "primary_key": "id", "columns": COLUMNS,
            "rows": "row", "id": "seq", "resume": RESUME, "listen": "5s",
            "acknowledge": {"op": "ack", "id": "{value}"}, "max_megabytes": 2,
        }  # fmt: skip
        self.peer.channel.awaits = True
        return WebSocketStream.model_validate({**given, **more})

    def put(self, rows: Sequence[Row]) -> None:
        for row in rows:
            changed = row.changed.isoformat(timespec="microseconds")
            told = {"id": row.id, "name": row.name, "amount": row.amount, "changed": changed}
            log = self.peer.channel.log
            log.append(spell({"seq": len(log) + 1, "row": told}))

    def pending(self) -> int:
        return len(self.peer.channel.log) - len(self.peer.channel.acknowledged)

    def unreachable(self) -> Endpoint:
        return replace(self.endpoint, port=1)

    def refused(self) -> Endpoint:
        return replace(self.endpoint, password="not the w0rd")

    def close(self) -> None:
        self.peer.close()


PEERS = [WebSocket]
