"""What is special to topics of Kafka. Two servers: see ``tests/services/kafka.py``."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import ValidationError

from services import kafka
from services.kafka import Cluster, Sent
from sources.contract.world import Reading
from sources.peers.kafka import server
from sources.topics import COLUMNS, FAILED, Events
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, TrimmedError, UnavailableError
from tidegate.model import Mode, Window
from tidegate.pipeline import blank
from tidegate.pipeline.reader import read_file
from tidegate.sources.kafka import KIND, access
from tidegate.sources.kafka.broker import Broker
from tidegate.sources.kafka.options import KafkaStream

TRIALS = int(os.environ.get("TIDEGATE_KAFKA_TRIALS") or 2)
"""How often each party is killed."""
POINTS = (
    "pull.observed:kill", "pull.page:kill:2", "pull.read:kill", "pull.staged:kill",
    "clean.staged:kill", "validate.staged:kill", "load.begun:kill", "load.merged:kill",
    "load.before_commit:kill", "load.after_commit:kill",
)  # fmt: skip
PLACES = (
    "pull.leased:stop",
    "pull.observed:stop",
    *(f"pull.page:stop:{page}" for page in (1, 3, 5)),
)
"""Where a run stands still while its broker dies."""
KEYED = {"id": {"type": "int64", "path": "$key"}, "name": "string"}
TOPIC = "orders"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A broker of its own, with a topic of one partition."""
    made = Cluster()
    made.create(TOPIC)
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    return tmp_path


def stream(**more: Any) -> KafkaStream:
    given = {"topic": TOPIC, "primary_key": "id", "columns": KEYED, "timeout": "5s"}
    return KafkaStream.model_validate({**given, **more})


def named(id: int, name: str, partition: int = 0) -> Sent:
    return Sent(str(id), json.dumps({"name": name}), partition)


def numbered(first: int, until: int, partitions: int = 1) -> list[Sent]:
    return [
        Sent(None, json.dumps({"number": number}), number % partitions)
        for number in range(first, until)
    ]


def reading(cluster: Cluster, **more: Any) -> Reading:
    return Reading(cluster.endpoint, stream(**more))


def test_every_fact_of_a_message_can_be_a_column(cluster: Cluster) -> None:
    columns = {
        "id": {"type": "int64", "path": "$key.id"},
        "part": {"type": "int32", "path": "$partition"},
        "place": {"type": "int64", "path": "$offset"},
        "at": {"type": "timestamp", "path": "$timestamp"},
        "trace": {"type": "string", "path": "$headers.trace"},
        "topic": {"type": "string", "path": "$topic"},
        "whole": {"type": "json", "path": "$"},
    }
    sent = Sent('{"id": 7}', '{"a": 1.10}', at=1_700_000_000_123, headers=(("trace", b"x1"),))
    kafka.send(cluster.servers, TOPIC, [sent])
    (row,) = reading(cluster, columns=columns, key="json").rows()
    assert {name: row[name] for name in columns} == {
        "id": 7, "part": 0, "place": 0, "trace": "x1", "topic": TOPIC, "whole": '{"a": 1.10}',
        "at": datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC),
    }  # fmt: skip


def test_a_fact_that_no_message_has_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"'\$ofset', which a message does not have"):
        stream(columns={**KEYED, "place": {"type": "int64", "path": "$ofset"}})


def test_poison_is_held_with_its_place_and_the_stream_goes_on(cluster: Cluster) -> None:
    poison = [Sent("2", b'{"name": '), Sent("3", b"\xff\xfe"), Sent("4", b"[" * 5000)]
    kafka.send(cluster.servers, TOPIC, [named(1, "a"), *poison, named(5, "b")])
    rows = reading(cluster).rows()
    assert [(row["id"], row["name"]) for row in rows if not row["_held"]] == [(1, "a"), (5, "b")]
    reasons = [json.loads(row["_held"])[0] for row in rows if row["_held"]]
    assert [reason["rule"] for reason in reasons] == ["value is not json"] * 3
    assert "partition 0, offset 1" in reasons[0]["message"]


def test_a_key_that_is_no_json_is_held(cluster: Cluster) -> None:
    columns = {**KEYED, "id": {"type": "int64", "path": "$key.id"}}
    kafka.send(cluster.servers, TOPIC, [Sent("seven", '{"name": "x"}')])
    (row,) = reading(cluster, columns=columns, key="json").rows()
    assert "key is not json" in row["_held"]


def test_text_is_taken_as_it_is(cluster: Cluster) -> None:
    columns = {**KEYED, "name": {"type": "string", "path": "$"}}
    kafka.send(cluster.servers, TOPIC, [Sent("1", "plain, not {json")])
    (row,) = reading(cluster, columns=columns, value="text").rows()
    assert row["name"] == "plain, not {json"


def test_a_message_without_a_value_deletes_its_key(cluster: Cluster) -> None:
    kafka.send(cluster.servers, TOPIC, [named(1, "a"), Sent("1", None), Sent("2", b"null")])
    rows = reading(cluster).rows()
    assert [(row["id"], row["_gone"]) for row in rows] == [(1, False), (1, True), (2, False)]


def test_partitions_added_later_are_read_from_their_beginning(cluster: Cluster) -> None:
    cluster.create("two", 2)
    kafka.send(cluster.servers, "two", [named(id, "old", id % 2) for id in range(6)])
    reads = reading(cluster, topic="two")
    assert len(reads.rows()) == 6
    reads.memory["offsets"].pop("1")  # as if the second partition had not been there yet
    kafka.send(cluster.servers, "two", [named(0, "new", 1)])
    found = reads.rows()
    assert [row["name"] for row in found].count("new") == 1
    assert {row["id"] for row in found} == {0, 1, 3, 5}


def test_a_key_that_moved_to_an_added_partition_stays_the_newer_one(cluster: Cluster) -> None:
    cluster.create("two", 2)
    kafka.send(cluster.servers, "two", [named(9, f"old {place}", 0) for place in range(20)])
    reads = reading(cluster, topic="two")
    old = reads.rows()
    reads.memory["offsets"].pop("1")
    kafka.send(cluster.servers, "two", [named(9, "moved", 1)])
    (moved,) = reads.rows()
    assert moved["_token"] > max(row["_token"] for row in old)
    reads.watermark = None
    again = {row["name"]: row["_token"] for row in reads.rows()}
    assert again == {row["name"]: row["_token"] for row in [*old, moved]}


def test_a_gap_stops_and_is_told_by_partition(cluster: Cluster) -> None:
    kafka.send(cluster.servers, TOPIC, [named(id, "a") for id in range(5)])
    reads = reading(cluster)
    reads.rows()
    kafka.send(cluster.servers, TOPIC, [named(id, "b") for id in range(20)])
    cluster.trim(TOPIC, 0, 12)
    with pytest.raises(TrimmedError, match=r"partition 0: \[5, 12\).*--full"):
        reads.rows()


def test_a_gap_that_is_skipped_is_counted_and_kept(cluster: Cluster, home: Path) -> None:
    events = Events(cluster.servers, TOPIC, home)
    kafka.send(cluster.servers, TOPIC, numbered(0, 5))
    events.run("one")
    kafka.send(cluster.servers, TOPIC, numbered(5, 20))
    cluster.trim(TOPIC, 0, 12)
    events.run("two", gap="skip")
    assert len(events.rows("SELECT * FROM shop__orders")) == 13
    (census,) = events.rows("SELECT census FROM tidegate_run WHERE census != '{}'")[0]
    assert json.loads(census) == {"deleted before they were read": 7}
    kept = json.loads(events.rows("SELECT memory FROM tidegate_stream")[0][0])
    assert kept["gaps"] == [[0, 5, 12]]


@pytest.mark.parametrize("messages", [3, 30])
def test_a_topic_made_anew_stops_and_a_full_run_is_newer(cluster: Cluster, messages: int) -> None:
    kafka.send(cluster.servers, TOPIC, [named(1, f"old {place}") for place in range(10)])
    reads = reading(cluster)
    old = reads.rows()
    cluster.delete(TOPIC)
    cluster.create(TOPIC)
    kafka.send(cluster.servers, TOPIC, [named(1, f"new {place}") for place in range(messages)])
    if messages > 10 and reads.memory["topic"] is None:
        pytest.skip("this broker tells no ids of topics")
    with pytest.raises(TrimmedError, match=r"not the one that was read.*--full"):
        reads.rows()
    reads.watermark = None
    new = reads.rows()
    assert len(new) == messages
    assert min(row["_token"] for row in new) > max(row["_token"] for row in old)
    assert reads.rows() == []


def test_another_cluster_is_not_taken_for_the_same(cluster: Cluster) -> None:
    kafka.send(cluster.servers, TOPIC, [named(1, "a")])
    reads = reading(cluster)
    reads.rows()
    other = Cluster()
    other.create(TOPIC)
    kafka.send(other.servers, TOPIC, [named(1, "b"), named(2, "b")])
    reads.endpoint = other.endpoint
    with pytest.raises(TrimmedError, match="it is in cluster"):
        reads.rows()
    other.close()


def test_the_watermark_never_decreases(cluster: Cluster) -> None:
    reads = reading(cluster)
    seen = [-1]
    for trim in (0, 0, 7, 0):
        kafka.send(cluster.servers, TOPIC, [named(id, "a") for id in range(4)])
        if trim:
            cluster.trim(TOPIC, 0, trim)
        reads.rows()
        assert reads.watermark is not None
        seen.append(int(reads.watermark.cursor))
    assert seen == sorted(seen)


def test_what_comes_after_the_look_is_left_for_the_next_run(cluster: Cluster) -> None:
    kafka.send(cluster.servers, TOPIC, [named(id, "a") for id in range(10)])
    reads = reading(cluster, page_rows=4)
    pages = reads.pages()
    first = next(pages).to_pylist()
    kafka.send(cluster.servers, TOPIC, [named(id, "b") for id in range(10)])
    rest = [row for page in pages for row in page.to_pylist()]
    assert [row["name"] for row in first + rest] == ["a"] * 10
    assert [row["name"] for row in reads.rows()] == ["b"] * 10


def test_an_unknown_topic_is_a_mistake_in_the_file(cluster: Cluster) -> None:
    with pytest.raises(ConfigError, match=r"'nowhere'.*Check topic:"):
        reading(cluster, topic="nowhere").rows()


def test_a_broker_that_goes_away_is_noticed_within_the_timeout(cluster: Cluster) -> None:
    cluster.create("two", 2)
    kafka.send(cluster.servers, "two", [named(id, "a", id % 2) for id in range(100)])
    reads = reading(cluster, topic="two", page_rows=10, timeout="2s")
    pages = reads.pages()
    next(pages)
    cluster.down()
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"do not answer \(timeout: 2 s\)"):
        list(pages)
    assert time.monotonic() - began < 15
    cluster.up()
    assert len(reads.rows()) == 100


def test_a_broker_that_tells_the_same_end_again_and_again_is_not_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.send(cluster.servers, TOPIC, [named(id, "a") for id in range(10)])
    told: list[Any] = []
    consume = Broker._consume

    def again(broker: Broker, reader: Any, left: int) -> list[Any]:
        batch = consume(broker, reader, left)
        told.extend(event for event in batch if event.error())
        return batch or told[:1]

    monkeypatch.setattr(Broker, "_consume", again)
    broker = Broker(cluster.endpoint, stream().topic, 1.0, "bus.orders")
    with pytest.raises(UnavailableError, match=r"do not answer \(timeout: 1 s\)"):
        list(broker.messages(0, 0, 20))
    assert told
    broker.close()


def test_windows_are_cut_by_the_messages_time(home: Path) -> None:
    gateway = server()
    topic = gateway.topic(2)
    events = Events(gateway.servers, topic, home)
    moments = []
    for first in (0, 10, 20):
        moments.append(datetime.now(UTC))
        kafka.send(gateway.servers, topic, numbered(first, first + 10, 2))
        time.sleep(0.01)
    events.run("window", Mode.WINDOW, Window.between(*moments[1:]), timeout="60s")
    numbers = [row[0] for row in events.rows("SELECT number FROM shop__orders ORDER BY 1")]
    assert numbers == list(range(10, 20))
    events.run("rest", timeout="60s")
    assert len(events.rows("SELECT * FROM shop__orders")) == 30


def test_avro_is_read_by_the_registrys_schema(cluster: Cluster) -> None:
    fastavro = pytest.importorskip("fastavro")
    schema = {
        "type": "record", "name": "Order", "fields": [
            {"name": "name", "type": "string"},
            {"name": "amount", "type": {
                "type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "lines", "type": {"type": "array", "items": "bytes"}},
        ],
    }  # fmt: skip
    at = datetime(2026, 3, 1, 12, 0, 0, 1, UTC)
    octets = BytesIO()
    given = {"name": "ä", "amount": Decimal("12.50"), "at": at, "lines": [b"\x01"]}
    fastavro.schemaless_writer(octets, fastavro.parse_schema(schema), given)
    good, unknown = (bytes([0, 0, 0, 0, id]) + octets.getvalue() for id in (7, 8))
    kafka.send(cluster.servers, TOPIC, [Sent("1", good), Sent("2", unknown), Sent("3", b"{}")])
    columns = {**KEYED, "amount": "decimal(12,2)", "at": "timestamp", "lines": "json"}
    with registry({7: schema}) as url:
        extra = {"bootstrap.servers": cluster.servers, "schema.registry.url": url}
        rows = Reading(
            Endpoint("shop", "kafka", options=extra), stream(columns=columns, value="avro")
        ).rows()
    assert {name: rows[0][name] for name in columns} == {
        "id": 1, "name": "ä", "amount": Decimal("12.50"), "at": at, "lines": '["AQ=="]',
    }  # fmt: skip
    assert [row["_held"] is not None for row in rows] == [False, True, True]


class registry:  # noqa: N801
    """A schema registry in a thread."""

    def __init__(self, schemas: dict[int, Any]) -> None:
        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = schemas.get(int(self.path.rpartition("/")[2]))
                self.send_response(200 if found else 404)
                self.end_headers()
                if found:
                    self.wfile.write(json.dumps({"schema": json.dumps(found)}).encode())

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)

    def __enter__(self) -> str:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_avro_without_a_registry_says_what_to_add(cluster: Cluster) -> None:
    pytest.importorskip("fastavro")
    with pytest.raises(ConfigError, match=r"schema\.registry\.url"):
        reading(cluster, value="avro").rows()


def connection(**more: Any) -> Endpoint:
    return Endpoint("shop", "kafka", "kafka.example", 9094, options=more)


def test_traffic_to_other_hosts_is_verified_unless_said_otherwise() -> None:
    assert access.settings(connection())["security.protocol"] == "ssl"
    user = replace(connection(), user="me", password="hidden")
    assert access.settings(user)["security.protocol"] == "sasl_ssl"
    for plain in (
        {"security.protocol": "SASL_PLAINTEXT"},
        {"enable.ssl.certificate.verification": "false"},
        {"ssl.endpoint.identification.algorithm": "none"},
    ):
        with pytest.raises(ConfigError, match="insecure: true"):
            access.settings(connection(**plain))
        assert access.settings(connection(**plain, insecure=True))
    assert access.settings(connection(insecure="true"))["security.protocol"] == "plaintext"
    assert access.settings(kafka.endpoint("127.0.0.1:1"))["security.protocol"] == "plaintext"


def test_no_connection_can_change_what_the_promise_rests_on() -> None:
    found = access.settings(
        connection(**{"enable.auto.commit": True, "auto.offset.reset": "latest",
                      "isolation.level": "read_uncommitted", "error_cb": "os.abort"})
    )  # fmt: skip
    assert {name: found[name] for name in access.OURS} == access.OURS
    assert "error_cb" not in found


def test_a_setting_that_librdkafka_does_not_know_is_named_and_no_secret_is() -> None:
    extra = {"bootstrap.servers": "127.0.0.1:1", "no.such.thing": "1", "sasl.password": "hidden1"}
    with pytest.raises(ConfigError, match=r"no\.such\.thing") as caught:
        Broker(Endpoint("shop", "kafka", options=extra), "orders", 30, "shop.orders").log()
    assert "hidden1" not in str(caught.value)


def test_a_consumer_killed_before_and_after_staging_loses_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.create("two", 2)
    events = Events(cluster.servers, "two", tmp_path)
    sent = 0
    for trial in range(TRIALS):
        kafka.send(cluster.servers, "two", numbered(sent, sent + 150, 2))
        sent += 150
        place = POINTS[(trial * 3 + 1) % len(POINTS)]
        killed = events.begin(f"run {trial}", place)
        killed.join(60)
        assert killed.exitcode == -9, f"{place}: {killed.exitcode}"
        assert events.end(f"run {trial}") == 0
        events.judge(sent)
    print(f"{TRIALS} times killed")


def test_a_broker_that_dies_while_it_is_read_loses_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.create("two", 2)
    events = Events(cluster.servers, "two", tmp_path)
    dice = random.Random(11)
    sent, cut = 0, 0
    for trial in range(TRIALS):
        kafka.send(cluster.servers, "two", numbered(sent, sent + 600, 2))
        sent += 600
        child = events.begin(f"run {trial}", dice.choice(PLACES))
        events.until_stopped(child)
        cluster.down()
        os.kill(child.pid or 0, signal.SIGCONT)
        child.join(60)
        cut += child.exitcode == FAILED
        assert child.exitcode in {0, FAILED}
        cluster.up()
        assert events.end(f"run {trial}") == 0
        events.judge(sent)
    print(f"{cut} of {TRIALS} runs were cut off")


def test_a_new_pipeline_file_is_filled_from_the_topics(cluster: Cluster, tmp_path: Path) -> None:
    kafka.send(cluster.servers, TOPIC, [named(1, "a")])
    proposals = list(KIND.discover(cluster.endpoint) if KIND.discover else ())
    file = tmp_path / "bus.yaml"
    file.write_text(blank.text(KIND, "bus", proposals), encoding="utf-8")
    found = read_file(file)
    assert found.broken == {}
    assert TOPIC in {one.topic for one in found.streams.values() if isinstance(one, KafkaStream)}


def test_a_lost_message_is_told_also_when_all_rows_are_read_anew(
    cluster: Cluster, home: Path
) -> None:
    events = Events(cluster.servers, TOPIC, home)
    kafka.send(cluster.servers, TOPIC, numbered(0, 5))
    events.run("first")
    kafka.send(cluster.servers, TOPIC, numbered(5, 14))
    cluster.trim(TOPIC, 0, 12)
    more = {**COLUMNS, "at": {"type": "timestamp", "path": "$timestamp"}}
    with pytest.raises(TrimmedError, match=r"partition 0: \[5, 12\)"):
        events.run("second", columns=more)
    assert events.run("third", Mode.FULL, columns=more).inserted == 2
