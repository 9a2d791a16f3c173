"""Messages → records: value and key read as the stream says; what cannot be read is held."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from tidegate.model import Reason
from tidegate.sources.kafka.options import KafkaStream
from tidegate.sources.rows import jsontext
from tidegate.sources.rows.fitting import show
from tidegate.sources.rows.records import Record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Read = Callable[[bytes], Any]


class Reader:
    """Makes records of the messages of one stream; *value* reads the octets of one."""

    def __init__(self, stream: KafkaStream, value: Read) -> None:
        self._value = value
        self._format = stream.value
        self._key = jsontext.loads if stream.key == "json" else bytes.decode
        self._key_format = stream.key
        told: dict[str, Callable[[Message], Any]] = {
            "partition": lambda message: message.partition(),
            "offset": lambda message: message.offset(),
            "topic": lambda message: message.topic(),
            "timestamp": stamped,
            "headers": _headers,
        }
        self._told = {name: told[name] for name in told if name in stream.facts}
        self._tells_key = "key" in stream.facts

    def record(self, message: Message, token: int) -> Record:
        """What *message* says; a message without a value says that its key is gone."""
        facts = {name: tell(message) for name, tell in self._told.items()}
        raw = message.value()
        reasons: tuple[Reason, ...] = ()
        if self._tells_key and (key := message.key()) is not None:
            try:
                facts["key"] = self._key(key)
            except ValueError as error:
                facts["key"] = _text(key)
                reasons = (self._poison(message, "key", key, error),)
        if raw is None:
            return Record(None, facts, token, True, reasons)
        try:
            return Record(self._value(raw), facts, token, False, reasons, len(raw))
        except ValueError as error:
            reason = self._poison(message, "value", raw, error)
            return Record(_text(raw), facts, token, False, (*reasons, reason), len(raw))

    def _poison(self, message: Message, part: str, raw: bytes, error: Exception) -> Reason:
        form = self._format if part == "value" else self._key_format
        return Reason(
            "pull",
            f"{part} is not {form}",
            f"the {part} of the message at partition {message.partition()}, offset "
            f"{message.offset()} is not {form}: {show(_text(raw))} ({str(error)[:100]})",
        )


def reader_of(form: str) -> Read:
    """How values of ``json`` and ``text`` are read."""
    return jsontext.loads if form == "json" else bytes.decode


def stamped(message: Message) -> datetime | int | None:
    """When it was written, as its producer or its broker says.

    What is no moment (microseconds, mostly) stays a number, for its column to refuse.
    """
    kind, millis = message.timestamp()
    if kind == TIMESTAMP_NOT_AVAILABLE:
        return None
    try:
        return EPOCH + timedelta(milliseconds=millis)
    except OverflowError:
        return int(millis)


def spell(value: Any) -> str:
    """JSON text of what Avro gives, too."""
    return jsontext.dumps(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, float):
        return Decimal(repr(value))
    return str(value) if isinstance(value, UUID) else value


def _headers(message: Message) -> dict[str, str]:
    """By name; of several with one name, the last."""
    found: list[tuple[str, bytes | None]] = message.headers() or []
    return {name: _text(value or b"") for name, value in found}


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")
