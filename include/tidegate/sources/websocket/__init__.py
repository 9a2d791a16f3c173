"""WebSocket servers: what they say while a run listens.

From the source inwards::

    reading    the source: what was heard goes into the store's inbox, and from there to pages
    listening  one run's listening: connect, subscribe, resume, hear, acknowledge, connect again
    line       one connection; whatever goes wrong becomes an error of ours
    options    what a stream may say
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.pipeline.kinds import Kind
from tidegate.sources.websocket.options import WebSocketSettings, WebSocketStream

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.sources import Source


def _open(endpoint: Endpoint, stream: WebSocketStream, name: str) -> Source:
    from tidegate.sources.websocket.reading import WebSocketSource

    return WebSocketSource(endpoint, stream, name)


KIND = Kind("websocket", WebSocketStream, WebSocketSettings, ("ws", "wss"), _open)
