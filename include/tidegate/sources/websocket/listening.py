"""One run's listening: connect, subscribe, resume, hear, acknowledge; connect again when cut off.

A message goes into the store's inbox before it counts: only then is it acknowledged, and only then
does the position move from which the server would go on. So what was heard and not kept is asked
for once more, where the server can; and what is said twice, word for word, is known by its digest.
A message that only calls itself as another one did counts: a server that was made anew may number
its messages from the beginning.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic
from typing import Any
from uuid import uuid4

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.fields import seconds
from tidegate.model import Json
from tidegate.sources.rows import jsontext
from tidegate.sources.web.backoff import Backoff
from tidegate.sources.web.templates import at, fill
from tidegate.sources.websocket.line import Line, ended, text_of
from tidegate.sources.websocket.options import WebSocketStream

BATCH = 500
BATCH_OCTETS = 8_000_000
BATCH_SECONDS = 1.0
"""Messages, octets, and seconds after which what was heard is kept."""
PAUSE = 0.05
"""… or when nothing more came for so many seconds."""
NO_JSON = object()
"""The value of a message that has none."""
Keep = Callable[[Sequence[tuple[str, Json]]], int]
"""Keeps (id, body) for good; returns the number given last."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One message that counts; *id* is of all that it says, where it has an *identity*."""

    id: str
    body: Json
    size: int
    position: Any = None
    identity: Any = None


class Listening:
    """To one stream, until its time or its number of messages is over.

    position  the last one that was kept; the server goes on behind it
    let_go    messages that do not count
    ended     the server said that there is no more
    """

    def __init__(self, line: Line, stream: WebSocketStream, keep: Keep, position: Any) -> None:
        self._line = line
        self._stream = stream
        self._keep = keep
        self._ends = monotonic() + seconds(stream.listen)
        self._batch: list[Heard] = []
        self._since = 0.0
        self._backoff = Backoff(seconds(stream.listen))
        self.position = position
        self.kept = 0
        self.let_go = 0
        self.cuts = 0
        self.ended = False

    def run(self) -> None:
        """Listen. Raises UnavailableError when cut off again and again, and nothing was heard."""
        while True:
            began = monotonic()
            try:
                with self._line.open() as connection:
                    self._hear(connection)
                    return
            except UnavailableError:
                self.cuts += 1
                if not self._backoff.failed(monotonic() - began) or self._over():
                    if self.kept:
                        return
                    raise

    def _over(self) -> bool:
        return monotonic() >= self._ends or self.kept + len(self._batch) >= self._stream.messages

    def _hear(self, connection: ClientConnection) -> None:
        """Everything, until time is over or the server hangs up; the rest of a batch is kept."""
        try:
            self._greet(connection)
            while not self._over():
                self._take(connection)
                if self._full():
                    self._store(connection)
            self._store(connection)
        except ConnectionClosed as error:
            self._store(None)
            if ended(error):
                self.ended = True
                return
            raise self._line.lost(error) from None
        except TidegateError:
            self._store(None)
            raise

    def _greet(self, connection: ClientConnection) -> None:
        resume = self._stream.resume
        known = resume is not None and self.position is not None
        if not (known and resume is not None and resume.instead):
            for message in self._stream.subscribe:
                connection.send(text_of(message))
        if known and resume is not None:
            connection.send(text_of(fill(resume.send, self.position)))

    def _take(self, connection: ClientConnection) -> None:
        """One message; with none for a moment, what was heard is kept."""
        wait = PAUSE if self._batch else min(self._ends - monotonic(), BATCH_SECONDS)
        try:
            said = connection.recv(timeout=max(wait, 0.0))
        except TimeoutError:
            self._store(connection)
            return
        if (heard := self._read(said)) is None:
            self.let_go += 1
            return
        if not self._batch:
            self._since = monotonic()
        self._batch.append(heard)

    def _full(self) -> bool:
        return bool(self._batch) and (
            len(self._batch) >= BATCH
            or sum(heard.size for heard in self._batch) >= BATCH_OCTETS
            or monotonic() - self._since >= BATCH_SECONDS
        )

    def _read(self, said: str | bytes) -> Heard | None:
        """The message as it is kept; None: it does not count. Raises RefusedError."""
        text, value = _opened(said)
        stream = self._stream
        if value is NO_JSON:
            return Heard(f"?{uuid4().hex}", text, len(said))
        if stream.error_at and (told := at(value, stream.error_at)):
            raise RefusedError(
                f"{self._line.where} tells an error: {self._line.start(text_or_json(told))}. Check "
                "'subscribe:' and the connection."
            )
        if not all(_says(value, path, wanted) for path, wanted in stream.only.items()):
            return None
        if stream.rows is not None and at(value, stream.rows) is None:
            return None
        position = _plain(at(value, stream.resume.field)) if stream.resume else None
        identity = identity_of(value, stream)
        if identity is None:
            return Heard(f"?{uuid4().hex}", text, len(said), position)
        digest = sha256(str(text).encode()).hexdigest()[:32]
        return Heard(digest, text, len(said), position, identity)

    def _store(self, connection: ClientConnection | None) -> None:
        """Keep the batch for good; then, and only then, acknowledge it and move on."""
        if not self._batch:
            return
        self._keep([(heard.id, heard.body) for heard in self._batch])
        done, self._batch = self._batch, []
        self.kept += len(done)
        self._backoff.succeeded()
        known = [heard.position for heard in done if heard.position is not None]
        self.position = known[-1] if known else self.position
        if connection is not None and self._stream.acknowledge is not None:
            for heard in done:
                if heard.identity is not None:
                    connection.send(text_of(fill(self._stream.acknowledge, heard.identity)))


def identity_of(value: Any, stream: WebSocketStream) -> Any:
    """What the message calls itself; None: nothing."""
    found = at(value, stream.id) if stream.id else None
    return None if isinstance(found, dict | list) else found


def _opened(said: str | bytes) -> tuple[Json, Any]:
    """The message as text (octets that are none as base64), and its value, or NO_JSON."""
    if isinstance(said, bytes):
        try:
            text = said.decode()
        except UnicodeDecodeError:
            return {"octets": b64encode(said).decode()}, NO_JSON
    else:
        text = said
    try:
        return text, jsontext.loads(text)
    except ValueError:
        return text, NO_JSON


def _says(value: Any, path: str, wanted: Any) -> bool:
    found = at(value, path)
    return found in wanted if isinstance(wanted, tuple) else found == wanted


def _plain(position: Any) -> Any:
    """A position as JSON keeps it; None: the message has none."""
    if position is None or isinstance(position, str | int):
        return position
    raise ConfigError(
        f"resume.field leads to {str(position)[:80]!r}, which is neither text nor a whole number."
    )


def text_or_json(value: Any) -> str:
    """*value* for a message."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
