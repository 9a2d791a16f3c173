"""What is special to queues: none lost, none twice, whatever ends; and what messages can be."""

from __future__ import annotations

import itertools
import json
import random
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pika
import pytest

import services
from faults.proxy import Proxy, Toxin
from services import rabbitmq, tls
from sources.contract.world import NAME, Reading
from tidegate import path
from tidegate.connections import Endpoint, parse
from tidegate.errors import (
    ConfigError,
    DataError,
    RefusedError,
    TrimmedError,
    UnavailableError,
)
from tidegate.job import Job
from tidegate.model import Json, Mode, Report, Request
from tidegate.pipeline.models import Keep, Source
from tidegate.sources import Apart, open_source
from tidegate.sources.rabbitmq import session, taking
from tidegate.sources.rabbitmq.options import RabbitStream
from tidegate.sources.rows import records
from tidegate.store import open_store

COLUMNS = {"id": "int64", "v": "string"}


class Bench:
    """A queue, and a store that its messages go to."""

    def __init__(self, broker: rabbitmq.Broker, folder: Path, queue: str) -> None:
        self.broker, self.folder, self.queue = broker, folder, queue
        self.connection = broker.connect()
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.runs = 0

    def declare(self, type: str = "classic", **arguments: Any) -> None:
        """The queue, made anew."""
        self.channel.queue_delete(self.queue)
        named = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        self.channel.queue_declare(
            self.queue, durable=True, arguments={"x-queue-type": type, **named}
        )

    def send(self, *bodies: Any, exchange: str = "", key: str = "", **properties: Any) -> None:
        """Messages; what is no text or octets goes as JSON."""
        said = pika.BasicProperties(delivery_mode=2, **properties)
        for body in bodies:
            octets = body if isinstance(body, bytes | str) else json.dumps(body)
            self.channel.basic_publish(exchange, key or self.queue, octets, said)

    def rows(self, *pairs: tuple[int, str], **properties: Any) -> None:
        """Rows ``(id, v)``, a message each."""
        for id, v in pairs:
            self.send({"id": id, "v": v}, **properties)

    def stream(self, **more: Any) -> RabbitStream:
        return RabbitStream.model_validate(
            {"queue": self.queue, "primary_key": "id", "columns": COLUMNS, **more}
        )

    @property
    def store(self) -> Endpoint:
        return Endpoint("tidegate_store", "sqlite", database=str(self.folder / "store.db"))

    def run(
        self, mode: Mode = Mode.INCREMENT, *, endpoint: Endpoint | None = None, **more: Any
    ) -> Report:
        """The whole path."""
        known = {"shop": endpoint or self.broker.admin, "tidegate_store": self.store}
        stream = self.stream(**more)
        source = Source(name="shop", connection="shop", streams={"orders": stream})
        self.runs += 1
        job = Job(source, "orders", stream, known.__getitem__)
        return path.run(job, Request(NAME, f"run-{self.runs}", mode))

    def reading(self, shared: Apart | None = None, **more: Any) -> Reading:
        return Reading(self.broker.admin, self.stream(**more), shared or Apart())

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(str(self.store.database))) as connection:
            return connection.execute(query).fetchall()

    def stored(self) -> dict[int, str]:
        return dict(self.ask("SELECT id, v FROM shop__orders WHERE NOT _deleted"))

    def arrived(self) -> int:
        return int(self.ask("SELECT count(*) FROM tidegate_arrival")[0][0])

    def held(self) -> list[str]:
        """What is said of each row in quarantine."""
        query = "SELECT reasons FROM tidegate_quarantine WHERE state = 'held' ORDER BY token"
        return [json.loads(text)[0]["message"] for (text,) in self.ask(query)]

    def waiting(self) -> int:
        """Messages in the queue, once nobody consumes it."""
        while True:
            found = self.channel.queue_declare(self.queue, passive=True).method
            if not found.consumer_count:
                return int(found.message_count)
            self.connection.sleep(0.01)


@pytest.fixture(scope="module")
def broker() -> rabbitmq.Broker:
    return services.or_skip("rabbitmq", rabbitmq.shared)


@pytest.fixture
def bench(
    broker: rabbitmq.Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Bench]:  # fmt: skip
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    made = Bench(broker, tmp_path, f"tide.{request.node.name[:60]}")
    made.declare()
    yield made
    with closing(broker.connect()) as connection:
        connection.channel().queue_delete(made.queue)
    if made.connection.is_open:
        made.connection.close()


class Breaks(Apart):
    """A store that is lost when something arrives for the *time*-th time; *kept* before or not."""

    def __init__(self, kept: bool, time: int = 1) -> None:
        super().__init__()
        self.kept, self.time = kept, time

    def arrive(self, stream: str, items: Sequence[tuple[str, Json]]) -> int:
        if items:
            self.time -= 1
        if self.time or not items:
            return super().arrive(stream, items)
        if self.kept:
            super().arrive(stream, items)
        raise ConnectionError("the store is lost")


def values(shared: Apart) -> list[str]:
    """What the messages that arrived say, in order."""
    return [json.loads(one.body["text"])["v"] for one in shared.arrivals(NAME)]


# None lost, none twice -------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["classic", "quorum"])
def test_messages_that_say_the_same_both_count(bench: Bench, type: str) -> None:
    bench.declare(type)
    bench.rows((1, "A"), (1, "A"), (1, "B"), (1, "A"))
    bench.run()
    assert bench.stored() == {1: "A"}
    assert bench.arrived() == 4
    bench.rows((1, "B"))
    bench.run()
    bench.rows((1, "A"))
    bench.run()
    assert bench.stored() == {1: "A"}
    assert bench.arrived() == 6


@pytest.mark.parametrize("type", ["classic", "quorum"])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("time", [1, 2, 3])
def test_what_was_not_acknowledged_comes_again_and_counts_once(
    bench: Bench, type: str, kept: bool, time: int
) -> None:
    bench.declare(type)
    said = list("ABABAABBA" if kept else "ABCDEFGHI")
    bench.rows(*((1, v) for v in said))
    shared = Breaks(kept, time)
    reading = bench.reading(shared, prefetch=3)
    with pytest.raises(ConnectionError):
        reading.rows()
    assert bench.waiting() == 9 - 3 * (time - 1)
    reading.rows()
    assert values(shared) == said
    assert bench.waiting() == 0


@pytest.mark.parametrize("type", ["classic", "quorum"])
def test_a_message_that_never_arrived_is_not_taken_for_one_that_did(
    bench: Bench, type: str
) -> None:
    """A, B and again A: the last one was delivered once, but not kept."""
    bench.declare(type)
    shared = Breaks(kept=False, time=2)
    reading = bench.reading(shared)
    bench.rows((1, "A"), (1, "B"))
    reading.rows()
    bench.rows((1, "A"))
    with pytest.raises(ConnectionError):
        reading.rows()
    reading.rows()
    assert values(shared) == ["A", "B", "A"]


@pytest.mark.parametrize("seed", range(8))
def test_rows_are_right_where_nobody_could_tell_messages_apart(bench: Bench, seed: int) -> None:
    """Few rows, few values, no ids: whatever breaks when, what arrived says what was sent."""
    chance = random.Random(seed)
    shared, sent, wanted = Apart(), 0, dict[int, str]()
    prefetch = chance.randint(1, 7)
    for _ in range(12):
        pairs = [(chance.randint(1, 3), chance.choice("AB")) for _ in range(chance.randint(0, 6))]
        bench.rows(*pairs)
        sent += len(pairs)
        wanted |= dict(pairs)
        broken = Breaks(chance.random() < 0.5, chance.randint(1, 3))
        broken._arrivals = shared._arrivals
        with suppress(ConnectionError):
            bench.reading(broken, prefetch=prefetch).rows()
    found = {row["id"]: row["v"] for row in bench.reading(shared).rows()}
    assert found == wanted
    assert len(values(shared)) <= sent


def test_breaking_again_and_again_changes_nothing(bench: Bench) -> None:
    said = [str(n) for n in range(10)]
    bench.rows(*((1, v) for v in said))
    shared = Apart()
    for place, kept in ((1, True), (1, False), (2, True), (1, True), (3, False), (1, True)):
        broken = Breaks(kept, place)
        broken._arrivals = shared._arrivals
        with suppress(ConnectionError):
            bench.reading(broken, prefetch=2).rows()
    bench.reading(shared, prefetch=2).rows()
    assert values(shared) == said


def test_a_message_is_known_by_the_id_that_its_sender_gave_it(bench: Bench) -> None:
    bench.rows((1, "A"), message_id="one")
    bench.rows((1, "B"), message_id="two")
    bench.rows((1, "A"), message_id="one")
    bench.run()
    assert (bench.stored(), bench.arrived()) == ({1: "B"}, 2)
    bench.rows((1, "B"), message_id="two")
    bench.run()
    assert (bench.stored(), bench.arrived()) == ({1: "B"}, 2)


def test_an_id_that_is_used_again_for_something_else_loses_nothing(bench: Bench) -> None:
    bench.rows((1, "A"), (2, "B"), message_id="one")
    bench.run()
    assert (bench.stored(), bench.arrived()) == ({1: "A", 2: "B"}, 2)


def test_an_id_that_comes_with_other_headers_is_another_message(bench: Bench) -> None:
    columns = {**COLUMNS, "v": {"type": "string", "path": "$headers.v"}}
    for v in ("A", "A", "B"):
        bench.send({"id": 1}, message_id="one", headers={"v": v, "x-delivery-count": 7})
        bench.run(columns=columns)
    assert (bench.stored(), bench.arrived()) == ({1: "B"}, 2)


@pytest.mark.parametrize("type", ["classic", "quorum"])
@pytest.mark.parametrize("told", ["headers", "timestamp"])
def test_messages_that_differ_beside_their_bodies_are_told_apart_when_redelivered(
    bench: Bench, type: str, told: str
) -> None:
    bench.declare(type)
    path = "$headers.id" if told == "headers" else "$timestamp"
    columns = {"id": {"type": "int64" if told == "headers" else "timestamp", "path": path}}
    shared = Breaks(kept=False, time=2)
    reading = bench.reading(shared, columns=columns)
    for number in range(5):
        said: dict[str, Any] = {told: {"id": number} if told == "headers" else number}
        bench.send({"v": "same"}, **said)
        if number == 1:
            assert len(reading.rows()) == 2
    with pytest.raises(ConnectionError):
        reading.rows()
    assert len(reading.rows()) == 3
    assert len(list(shared.arrivals(NAME))) == 5


def test_what_arrived_stays_when_the_connection_is_lost(bench: Bench) -> None:
    count = 400
    bench.rows(*((id, "x" * 300) for id in range(count)))
    port = bench.broker.admin.port or 0
    with Proxy(port, Toxin("reset", 90_000)) as proxy:
        through = replace(bench.broker.admin, port=proxy.port)
        with pytest.raises(UnavailableError, match=r"shop\.orders: queue"):
            bench.run(endpoint=through, prefetch=50)
        assert proxy.struck
    assert 0 < bench.arrived() < count
    bench.run()
    assert (len(bench.stored()), bench.arrived(), bench.waiting()) == (count, count, 0)


def test_a_queue_that_is_deleted_meanwhile_takes_nothing_along(bench: Bench) -> None:
    class Deletes(Apart):
        def arrive(self, stream: str, items: Sequence[tuple[str, Json]]) -> int:
            if items:
                bench.channel.queue_delete(bench.queue)
            return super().arrive(stream, items)

    bench.rows(*((id, "x") for id in range(9)))
    shared = Deletes()
    reading = bench.reading(shared, prefetch=3)
    with pytest.raises((UnavailableError, ConfigError), match="queue"):
        reading.rows()
    assert len(values(shared)) == 3
    bench.declare()
    assert len(reading.rows()) == 3


# Limits ----------------------------------------------------------------------------------------


def test_a_run_takes_no_more_messages_than_it_may(bench: Bench) -> None:
    bench.rows(*((id, "x") for id in range(25)))
    for waiting in (15, 5, 0, 0):
        bench.run(messages=10, prefetch=5)
        assert bench.waiting() == waiting
    assert len(bench.stored()) == 25


def test_a_run_ends_in_time_though_more_messages_keep_coming(bench: Bench) -> None:
    over = threading.Event()

    def publish() -> None:
        with closing(bench.broker.connect()) as connection:
            channel = connection.channel()
            number = 0
            while not over.is_set():
                number += 1
                channel.basic_publish("", bench.queue, json.dumps({"id": number, "v": "x"}))
                connection.sleep(0.001)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        begun = time.monotonic()
        soon: dict[str, Any] = {"listen": "1s"}
        bench.run(prefetch=20, **soon)
        assert time.monotonic() - begun < 10
    finally:
        over.set()
        thread.join()
    assert len(bench.stored()) > 20
    bench.run()
    assert sorted(bench.stored()) == list(range(1, len(bench.stored()) + 1))
    assert bench.arrived() == len(bench.stored())


def test_pages_are_small_when_messages_are_large(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE_OCTETS", 100_000)
    monkeypatch.setattr(taking, "_OCTETS", 50_000)
    bench.rows(*((id, "x" * 30_000) for id in range(12)))
    kept: list[int] = []

    class Counts(Apart):
        def arrive(self, stream: str, items: Sequence[tuple[str, Json]]) -> int:
            kept.append(len(items))
            return super().arrive(stream, items)

    sizes = [page.num_rows for page in bench.reading(Counts()).pages()]
    assert (sum(sizes), max(sizes)) == (12, 4)
    assert (sum(kept), max(kept)) == (12, 2)


# What messages can be --------------------------------------------------------------------------


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


def test_messages_that_are_still_on_their_way_are_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue says that it is empty, and nothing has come yet."""
    bench.rows((1, "x"), (2, "y"), (3, "z"))
    deliver, skipped = pika.BlockingConnection.process_data_events, itertools.count()

    def late(connection: Any, time_limit: float = 0) -> None:
        if next(skipped) >= 6:
            deliver(connection, time_limit)

    monkeypatch.setattr(pika.BlockingConnection, "process_data_events", late)
    bench.run()
    assert bench.stored() == {1: "x", 2: "y", 3: "z"}


def test_messages_that_expire_while_they_are_waited_for_are_not_missed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.rows((1, "x"), (2, "y"))
    tell = session.state

    def more(channel: Any, queue: str) -> tuple[int, int]:
        waiting, consumers = tell(channel, queue)
        return waiting and waiting + 1, consumers

    monkeypatch.setattr(taking, "state", more)
    monkeypatch.setattr(taking, "EXPIRED", 0.1)
    bench.run()
    assert bench.stored() == {1: "x", 2: "y"}


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


def test_what_was_forgotten_is_counted_by_a_full_run(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.rows((1, "A"), (2, "B"))
    bench.run()
    with open_store(bench.store) as store:
        later = datetime.now(UTC) + timedelta(days=8)
        keep = Keep.model_validate({"arrivals": "7d"})
        assert store.trim(NAME, keep, later).arrivals == 2
    bench.rows((3, "C"))
    bench.run()
    bench.run(Mode.FULL)
    assert bench.stored() == {1: "A", 2: "B", 3: "C"}
    assert "2 messages arrived and were loaded once" in caplog.text
    census = bench.ask("SELECT census FROM tidegate_run ORDER BY seq DESC LIMIT 1")
    assert json.loads(census[0][0]) == {"forgotten": 2}


# Who else is there -----------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["classic", "quorum"])
def test_a_queue_that_others_read_is_not_shared_with_them(
    bench: Bench, type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "PATIENCE", 0.3)
    bench.declare(type)
    bench.channel.basic_consume(bench.queue, lambda *_: None)
    with open_source(bench.broker.admin, bench.stream(), NAME) as source:
        (finding,) = source.check()
    assert (finding.level, finding.code) == ("warning", "other-consumers")
    with pytest.raises(UnavailableError, match=r"others read the queue .* a queue of its own"):
        bench.reading().rows()


def test_a_consumer_that_has_just_gone_is_waited_for(bench: Bench) -> None:
    other = bench.broker.connect()
    other.channel().basic_consume(bench.queue, lambda *_: None)
    bench.rows((1, "A"))
    thread = threading.Timer(0.7, other.close)
    thread.start()
    bench.run()
    thread.join()
    assert bench.stored() == {1: "A"}


@pytest.mark.parametrize("type", ["classic", "quorum"])
def test_a_queue_with_a_single_active_consumer_is_read(bench: Bench, type: str) -> None:
    bench.declare(type, single_active_consumer=True)
    bench.rows((1, "A"), (2, "B"))
    bench.run()
    assert bench.stored() == {1: "A", 2: "B"}


# Errors ----------------------------------------------------------------------------------------


def test_a_queue_that_is_not_there_is_a_mistake_in_the_file(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"queue 'nothing'.*there is no such queue. Declare it"):
        bench.run(queue="nothing")
    with open_source(bench.broker.admin, bench.stream(queue="nothing"), NAME) as source:
        assert [finding.level for finding in source.check()] == ["error"]


@pytest.mark.parametrize(
    "wrong", [{"password": "Secr3t/word"}, {"user": "nobody"}, {"database": "elsewhere"}]
)
def test_who_may_not_is_refused(bench: Bench, wrong: dict[str, Any]) -> None:
    endpoint = replace(bench.broker.admin, **wrong)
    with pytest.raises(RefusedError, match="Check the connection's user and password") as caught:
        bench.run(endpoint=endpoint)
    assert str(endpoint.password) not in str(caught.value)


def test_nobody_there_is_known_within_bounded_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        places = [("127.0.0.1", 1), ("no.such.host.invalid", 5672), silent.getsockname()]
        for host, port in places:
            begun = time.monotonic()
            endpoint = replace(bench.broker.admin, kind="rabbitmq", host=host, port=port)
            endpoint = replace(endpoint, options={"insecure": True})
            with pytest.raises(UnavailableError, match="does not answer"):
                bench.run(endpoint=endpoint)
            assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("uri", "tls", "port"),
    [
        ("amqp://u:p@localhost", False, 5672),
        ("rabbitmq://u:p@broker.example", True, 5671),
        ("amqp://u:p@broker.example:5670", True, 5670),
        ("amqp://u:p@broker.example?insecure=true", False, 5672),
        ("amqps://u:p@localhost", True, 5671),
        ("amqps://u:p@broker.example?insecure=true", True, 5671),
    ],
)
def test_other_hosts_are_spoken_to_by_tls(uri: str, tls: bool, port: int) -> None:
    parameters = session._parameters(parse("shop", uri))
    assert (parameters.ssl_options is not None, parameters.port) == (tls, port)
    assert parameters.virtual_host == "/"
    if parameters.ssl_options is not None:
        assert parameters.ssl_options.context.check_hostname


def test_a_server_without_tls_is_told_so(bench: Bench) -> None:
    endpoint = replace(bench.broker.admin, kind="amqps")
    with pytest.raises((RefusedError, UnavailableError), match=r"TLS|does not answer"):
        bench.run(endpoint=endpoint)


def test_only_who_is_not_trusted_is_refused_and_a_line_that_drops_is_not(
    bench: Bench, tmp_path: Path
) -> None:
    bench.rows(*((id, "x" * 300) for id in range(400)))
    file = tls.certificate(tmp_path)
    endless, later, soon = Toxin("cut", 1 << 60), Toxin("cut", 90_000), Toxin("cut", 700)
    port = bench.broker.admin.port or 0
    with Proxy(port, endless, tls.serving(file)) as server:
        there = replace(bench.broker.admin, kind="amqps", port=server.port)
        with pytest.raises(RefusedError, match=r"no trusted TLS connection.*ssl_ca"):
            bench.run(endpoint=there)
        there = replace(there, options={"ssl_ca": str(file)})
        for toxin in (soon, later):
            with Proxy(server.port, toxin) as line:
                with pytest.raises(UnavailableError, match=r"does not answer: .*SSL"):
                    bench.run(endpoint=replace(there, port=line.port))
                assert line.struck
        bench.run(endpoint=there)
    assert len(bench.stored()) == 400


# Stream queues ---------------------------------------------------------------------------------


def test_a_stream_queue_keeps_its_messages_and_is_read_from_where_it_was(bench: Bench) -> None:
    bench.declare("stream")
    bench.rows(*((id, "x") for id in range(7)))
    reading = bench.reading(columns={**COLUMNS, "at": {"type": "int64", "path": "$offset"}})
    assert [row["at"] for row in reading.rows()] == list(range(7))
    assert reading.watermark is not None and reading.watermark.cursor == 7
    assert reading.rows() == []
    bench.rows((0, "y"), (9, "y"))
    assert [(row["id"], row["at"]) for row in reading.rows()] == [(0, 7), (9, 8)]
    assert len(bench.reading(prefetch=2).rows()) == 9


def test_a_stream_queue_that_was_made_anew_is_noticed_however_long_it_is(bench: Bench) -> None:
    bench.declare("stream")
    bench.rows((1, "old"), (2, "old"))
    bench.run()
    bench.declare("stream")
    bench.rows(*((1, f"new {n}") for n in range(5)))
    with pytest.raises(TrimmedError, match=r"made anew since.*--full"):
        bench.run()
    with pytest.raises(TrimmedError):
        bench.run()
    bench.run(Mode.FULL)
    assert bench.stored() == {1: "new 4", 2: "old"}
    bench.rows((2, "newer"))
    assert bench.run().updated == 1
    assert bench.stored() == {1: "new 4", 2: "newer"}


def test_messages_that_retention_removed_unread_are_missed(bench: Bench) -> None:
    sizes = {"max_length_bytes": 20_000, "stream_max_segment_size_bytes": 5_000}
    bench.declare("stream", **sizes)
    bench.rows((1, "first"))
    bench.run()
    for round in range(40):
        bench.rows(*((id, f"{round} {'x' * 400}") for id in range(10)))
    with pytest.raises(TrimmedError, match=r"retention has removed messages.*--full"):
        bench.run()
    bench.run(Mode.FULL)
    assert {v.split()[0] for id, v in bench.stored().items() if id != 1} == {"39"}
    bench.rows((3, "last"))
    bench.run()
    assert bench.stored()[3] == "last"


def test_a_queue_that_becomes_a_stream_queue_is_read_whole(bench: Bench) -> None:
    bench.rows(*((id, "queue") for id in range(5)))
    bench.run()
    bench.declare("stream")
    bench.rows((1, "log"), (2, "log"))
    bench.run()
    assert bench.stored() == {0: "queue", 1: "log", 2: "log", 3: "queue", 4: "queue"}
