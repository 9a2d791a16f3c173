"""A WebSocket peer in a thread: a log of messages, heard by who subscribes or resumes.

It knows nothing of the product. What it is told to do wrong, it does on a real socket.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve


@dataclass
class Channel:
    """What the peer says.

    log      messages as texts, in order; each has ``seq``
    stays    the line stays open behind the last one; else the peer says goodbye (1000)
    replays  who subscribes hears the log from its beginning; else only what is said from then on
    awaits   the peer says goodbye only when all is acknowledged
    cut      after how many messages each line is cut (RST); one entry for each line, from the left
    heard    what clients sent
    """

    log: list[str | bytes] = field(default_factory=list)
    stays: bool = False
    replays: bool = True
    awaits: bool = False
    cut: list[int] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)
    acknowledged: set[Any] = field(default_factory=set)
    sign_in: Callable[[Request], bool] = lambda _: True
    refuse: list[int] = field(default_factory=list)
    close_code: list[int] = field(default_factory=list)
    lines: int = 0

    def say(self, **message: Any) -> None:
        """One more message."""
        self.log.append(json.dumps({"seq": len(self.log) + 1, **message}))


class WebSocketPeer:
    """Listens on 127.0.0.1 until it is closed."""

    def __init__(self) -> None:
        self.channel = Channel()
        self._said = threading.Condition()
        self._over = False
        self._server = serve(
            self._serve, "127.0.0.1", 0, process_request=self._admit, max_size=2**24
        )
        self.port = int(self._server.socket.getsockname()[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def say(self, **message: Any) -> None:
        """One more message, to all who listen, too."""
        with self._said:
            self.channel.say(**message)
            self._said.notify_all()

    def wait(self, true: Callable[[], bool]) -> None:
        """Until something is true of the channel."""
        with self._said:
            assert self._said.wait_for(true, 10)

    def close(self) -> None:
        """Listen no more."""
        with self._said:
            self._over = True
            self._said.notify_all()
        self._server.shutdown()
        self._thread.join()

    def _admit(self, line: ServerConnection, request: Request) -> Response | None:
        channel = self.channel
        if not channel.sign_in(request):
            return line.respond(HTTPStatus.UNAUTHORIZED, "who are you?\n")
        if channel.refuse:
            return line.respond(HTTPStatus(channel.refuse.pop(0)), "not now\n")
        return None

    def _serve(self, line: ServerConnection) -> None:
        channel = self.channel
        try:
            first = self._hear(line)
        except ConnectionClosed:
            return
        with self._said:
            channel.lines += 1
            self._said.notify_all()
        if channel.close_code:
            line.close(channel.close_code.pop(0), "because")
            return
        start = int(first["after"]) if "after" in first else 0
        if not channel.replays and "after" not in first:
            start = len(channel.log)
        limit = channel.cut.pop(0) if channel.cut else None
        try:
            self._tell(line, start, limit)
        except ConnectionClosed:
            return

    def _tell(self, line: ServerConnection, start: int, limit: int | None) -> None:
        channel, place = self.channel, start
        while True:
            while place < len(channel.log):
                if limit is not None and place - start >= limit:
                    self._break(line)
                    return
                line.send(channel.log[place])
                place += 1
            if limit is not None:
                self._break(line)
                return
            if channel.awaits:
                while len(channel.acknowledged) < len(channel.log):
                    self._hear(line)
            if not channel.stays:
                line.close(1000)
                return
            with self._said:
                if len(channel.log) == place and not self._over:
                    self._said.wait(0.05)
            if self._over:
                return
            line.ping()

    def _break(self, line: ServerConnection) -> None:
        line.close_socket()

    def _hear(self, line: ServerConnection) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(line.recv(timeout=10))
        with self._said:
            self.channel.heard.append(said)
            if said.get("op") == "ack":
                self.channel.acknowledged.add(said["id"])
            self._said.notify_all()
        return said
