"""What is special to queues: none lost, none twice, whatever ends."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pika
import pytest

from faults.proxy import Proxy, Toxin
from sources.contract.world import NAME
from sources.queues import COLUMNS, Bench
from tidegate.errors import (
    ConfigError,
    TrimmedError,
    UnavailableError,
)
from tidegate.model import Json, Mode
from tidegate.pipeline.models import Keep
from tidegate.sources import Apart, open_source
from tidegate.sources.rabbitmq import session, taking
from tidegate.sources.rows import records
from tidegate.store import open_store


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
