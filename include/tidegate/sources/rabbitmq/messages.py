"""A message as it is kept, and the rows in it."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from pika.spec import Basic, BasicProperties

from tidegate.model import Json, Reason, utc_text
from tidegate.sources.rabbitmq.options import RabbitStream
from tidegate.sources.rows import jsontext
from tidegate.sources.rows.fitting import show
from tidegate.sources.rows.records import Record, reach

ROW_BITS = 18
"""Bits of an order token that number the rows of one message; those above are its place."""
_BROKERS = re.compile(
    r"x-(delivery-count|acquired-count|stream-offset|death|(first|last)-death-.*)"
)
"""Headers that the broker adds, and may change from one delivery to the next."""


@dataclass(frozen=True, slots=True)
class Message:
    """What the broker delivered; *digest* is of what stays the same when it does so once more."""

    method: Basic.Deliver
    properties: BasicProperties
    octets: bytes
    digest: str

    @classmethod
    def of(cls, method: Basic.Deliver, properties: BasicProperties, octets: bytes) -> Message:
        """With its digest."""
        headers = _plain(properties.headers or {})
        said = {name: headers[name] for name in headers if not _BROKERS.fullmatch(name)}
        route = _plain([method.exchange, method.routing_key])
        front = json.dumps([*route, properties.timestamp, said], sort_keys=True)
        return cls(method, properties, octets, sha256(front.encode() + octets).hexdigest()[:32])

    @property
    def marked(self) -> bool:
        """Whether it may have been delivered before."""
        return bool(self.method.redelivered)

    @property
    def id(self) -> str | None:
        """What its sender calls it."""
        return str(_plain(self.properties.message_id)) if self.properties.message_id else None

    @property
    def offset(self) -> int | None:
        """Its place in a stream queue; None in others."""
        found = (self.properties.headers or {}).get("x-stream-offset")
        return None if found is None else int(found)

    @property
    def envelope(self) -> dict[str, Json]:
        """All of it, as plain JSON."""
        said = self.properties
        found: dict[str, Json] = {
            "exchange": _plain(self.method.exchange), "key": _plain(self.method.routing_key),
        }  # fmt: skip
        try:
            found["text"] = self.octets.decode()
        except UnicodeDecodeError:
            found["base64"] = b64encode(self.octets).decode()
        if said.headers:
            found["headers"] = _plain(said.headers)
        if said.timestamp is not None:
            found["timestamp"] = int(said.timestamp)
        if self.id:
            found["id"] = self.id
        return found


def records(
    envelope: dict[str, Json], place: int, stream: RabbitStream, **facts: Any
) -> Iterator[Record]:
    """The rows of one message, which stands at *place* among all of its stream."""
    facts |= {
        "key": envelope["key"], "exchange": envelope["exchange"],
        "headers": envelope.get("headers", {}), "message_id": envelope.get("id"),
        "timestamp": _moment(envelope.get("timestamp")),
    }  # fmt: skip
    octets = _octets(envelope)
    try:
        rows = _rows(octets, stream)
    except ValueError as error:
        reason = Reason(
            "pull",
            "unreadable message",
            f"message {place & (1 << 38) - 1}: {error}: {_show(octets)}",
        )
        yield Record(None, facts, place << ROW_BITS, reasons=(reason,))
        return
    for number, row in enumerate(rows):
        yield Record(row, facts, place << ROW_BITS | number, size=0 if number else len(octets))


def _octets(envelope: dict[str, Json]) -> bytes:
    if "text" in envelope:
        return str(envelope["text"]).encode()
    return b64decode(envelope["base64"])


def _show(octets: bytes) -> str:
    return show(octets[:100].decode(errors="replace"))


def _rows(octets: bytes, stream: RabbitStream) -> list[Any]:
    """The rows in a message; raises ValueError, with a few words, when there are none to see."""
    if len(octets) > stream.max_bytes:
        raise ValueError(f"{len(octets):,} bytes are more than max_bytes, {stream.max_bytes:,}")
    try:
        value = jsontext.loads(octets.decode())
    except ValueError as error:
        raise ValueError(f"no JSON text ({error})") from None
    if stream.rows is None:
        return [value]
    path = tuple(stream.rows.split(".")) if isinstance(stream.rows, str) else stream.rows
    found = value if path == ("$",) else reach(value, path)
    if isinstance(found, dict):
        return [found]
    if not isinstance(found, list):
        raise ValueError(f"no rows at {'.'.join(path)}")  # noqa: TRY004
    if len(found) > 1 << ROW_BITS:
        raise ValueError(f"{len(found):,} rows are more than {1 << ROW_BITS:,}")
    return found


def _moment(seconds: int | None) -> str | int | None:
    """As text; what is no moment stays a number, for its column to refuse."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return seconds


def _plain(value: Any) -> Json:
    """What :mod:`json` can write, of what a header can be."""
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="backslashreplace")
    if isinstance(value, datetime):
        return utc_text(value)
    return value if isinstance(value, bool | int | float | str | None) else str(value)
