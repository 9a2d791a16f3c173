"""What messages of queues can be, however wrong."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sources.queues import Bench
from tidegate.errors import (
    DataError,
)
from tidegate.model import Mode


def test_what_is_no_json_is_held_and_stops_nothing(bench: Bench) -> None:
    bench.rows((1, "before"))
    bench.send("{", b"\xff\xfe\0", "", '{"id": NaN}', "[" * 10_000, '{"id": 7, "v": "x"} more')
    bench.rows((2, "after"))
    report = bench.run()
    assert (report.pulled, report.quarantined) == (8, 6)
    assert bench.stored() == {1: "before", 2: "after"}
    assert bench.waiting() == 0
    held = bench.held()
    assert len(held) == 6
    assert all("no JSON text" in text for text in held)
    assert "message 2: " in held[0] and "'{'" in held[0]


def test_a_route_that_is_no_text_is_kept_as_it_can_be_written(bench: Bench) -> None:
    exchange = f"{bench.queue}.in"
    bench.channel.exchange_declare(exchange, "fanout")
    bench.channel.queue_bind(bench.queue, exchange)
    octets: Any = b"\xff.new"
    bench.send({"id": 1}, exchange=exchange, key=octets, message_id="a\0b")
    bench.rows((2, "x"))
    bench.channel.exchange_delete(exchange)
    bench.run(columns={"id": "int64", "v": {"type": "string", "path": "$key"}})
    assert bench.stored() == {1: "\\xff.new", 2: bench.queue}


def test_a_header_that_the_driver_cannot_read_is_told_and_may_be_removed(
    bench: Bench,
) -> None:
    class Milliseconds(datetime):
        def utctimetuple(self) -> time.struct_time:
            return time.struct_time((2026, 3, 1, 500_000_000, 0, 0, 0, 1, 0))

    bench.send({"id": 1}, headers={"at": Milliseconds(2026, 3, 1)})
    bench.rows((2, "x"))
    for _ in range(2):
        with pytest.raises(DataError, match=r"queue .*timestamp in milliseconds.*Remove that"):
            bench.run()
    assert bench.waiting() == 2  # a purge does not reach what a lost consumer still holds
    bench.channel.queue_purge(bench.queue)
    bench.rows((3, "x"))
    bench.run()
    assert bench.stored() == {3: "x"}


def test_a_message_that_is_too_large_is_held_until_it_is_allowed(bench: Bench) -> None:
    bench.rows((1, "x" * 5_000), (2, "y" * 6_000), (3, "small"))
    bench.run(max_bytes=1_000)
    assert bench.stored() == {3: "small"}
    assert ["more than max_bytes, 1,000" in text for text in bench.held()] == [True, True]
    bench.run(Mode.FULL)
    assert len(bench.stored()) == 3


def test_rows_may_be_somewhere_in_a_message(bench: Bench) -> None:
    rows = [{"id": 1, "v": "first"}, {"id": 2, "v": "two"}, {"id": 1, "v": "last"}]
    bench.send({"data": {"rows": rows}}, {"data": {"rows": []}})
    bench.send({"data": {"rows": {"id": 3, "v": "one row"}}}, {"data": None}, {"data": "x"})
    bench.run(rows="data.rows")
    assert bench.stored() == {1: "last", 2: "two", 3: "one row"}
    assert ["no rows at data.rows" in text for text in bench.held()] == [True, True]


def test_what_the_broker_tells_of_a_message_can_be_columns(bench: Bench) -> None:
    exchange = f"{bench.queue}.in"
    bench.channel.exchange_declare(exchange, "topic")
    bench.channel.queue_bind(bench.queue, exchange, "orders.#")
    sent = datetime(2026, 3, 1, 12, tzinfo=UTC)
    headers = {
        "tenant": "é", "n": 2**40, "when": sent, "raw": b"\xff", "deep": {"list": [1, None, True]},
    }  # fmt: skip
    said: dict[str, Any] = {
        "message_id": "m1", "timestamp": int(sent.timestamp()), "headers": headers,
    }  # fmt: skip
    bench.send({"id": 1}, exchange=exchange, key="orders.new", **said)
    bench.send({"id": 2}, exchange=exchange, key="orders.old", timestamp=2**60)
    bench.channel.exchange_delete(exchange)
    columns = {
        "id": "int64",
        "key": {"type": "string", "path": "$key"},
        "exchange": {"type": "string", "path": "$exchange"},
        "tenant": {"type": "string", "path": "$headers.tenant"},
        "headers": {"type": "json", "path": "$headers"},
        "sent": {"type": "timestamp", "path": "$timestamp"},
        "message": {"type": "string", "path": "$message_id"},
        "arrived": {"type": "timestamp", "path": "$arrived"},
        "whole": {"type": "json", "path": "$"},
    }
    first, second = bench.reading(columns=columns).rows()
    assert (first["key"], first["exchange"]) == ("orders.new", exchange)
    assert (first["tenant"], first["sent"], first["message"]) == ("é", sent, "m1")
    assert json.loads(first["headers"]) == {
        "tenant": "é", "n": 2**40, "when": "2026-03-01T12:00:00.000000+00:00", "raw": "\\xff",
        "deep": {"list": [1, None, True]},
    }  # fmt: skip
    assert abs(first["arrived"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert json.loads(first["whole"]) == {"id": 1}
    assert (second["message"], second["headers"], second["sent"]) == (None, "{}", None)
    assert "1152921504606846976" in second["_held"]
