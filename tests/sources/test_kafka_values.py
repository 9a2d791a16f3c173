"""What messages of topics can be, however wrong; and the registry that has their schemas."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from services import kafka, tls
from services.kafka import Cluster, Sent
from sources.contract.world import Reading
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.model import Window
from tidegate.sources import open_source
from tidegate.sources.kafka.broker import Broker
from tidegate.sources.kafka.options import KafkaStream
from tidegate.sources.kafka.registry import avro
from tidegate.sources.rows import records

TOPIC = "orders"
SECRET = "hidden/1word"
DAY = {"type": "record", "name": "Order", "fields": [
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
]}  # fmt: skip
Answer = Callable[[BaseHTTPRequestHandler], tuple[int, bytes, dict[str, str]]]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    made.create(TOPIC)
    yield made
    made.close()


@contextmanager
def answering(answer: Answer, certificate: Path | None = None) -> Iterator[str]:
    """A registry that answers so."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = answer(self)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if certificate is not None:
        server.socket = tls.serving(certificate).wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def knows(schema: Any) -> Answer:
    return lambda _: (200, json.dumps({"schema": json.dumps(schema)}).encode(), {})


def stream(**more: Any) -> KafkaStream:
    columns = {"id": {"type": "int64", "path": "$key"}, "at": "timestamp", "day": "date"}
    given = {"topic": TOPIC, "primary_key": "id", "columns": columns, "timeout": "5s"}
    return KafkaStream.model_validate({**given, **more})


def registered(url: str, **more: Any) -> Endpoint:
    options = {"schema.registry.url": url, "schema.registry.user": "me",
               "schema.registry.password": SECRET, **more}  # fmt: skip
    return Endpoint("shop", "kafka", "127.0.0.1", 9092, options=options)


def asked(url: str, **more: Any) -> Any:
    """What is read of a value of schema 1."""
    pytest.importorskip("fastavro")
    return avro(registered(url, **more), "shop.orders", 5)(b"\0\0\0\0\1\0\0")


def test_a_timestamp_that_is_no_moment_is_held_and_in_no_window(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_700_000_000_000
    moments = (now, now * 1_000, now * 1_000_000, now + 1)
    kafka.send(cluster.servers, TOPIC, [Sent(str(at), "{}", at=at) for at in moments])
    columns = {"id": {"type": "int64", "path": "$key"},
               "at": {"type": "timestamp", "path": "$timestamp"}}  # fmt: skip
    made = stream(columns=columns)
    reads = Reading(cluster.endpoint, made)
    held = [row["_held"] for row in reads.rows()]
    assert [text is not None for text in held] == [False, True, True, False]
    assert "1700000000000000" in held[1]
    window = Window.between(*(datetime(year, 1, 1, tzinfo=UTC) for year in (2023, 2024)))
    # This broker does not look for times.
    monkeypatch.setattr(Broker, "since", lambda _, places, moment: dict.fromkeys(places, 0))
    with open_source(cluster.endpoint, made, "shop.orders") as source:
        source.observe(reads.shared)
        found = [row["id"] for page in source.pull(1, None, window) for row in page.to_pylist()]
    assert found == [now, now + 1]


@pytest.mark.parametrize(
    ("more", "low", "cut", "left"),
    [
        ({}, None, 6, 4),
        ({}, None, 10, 0),
        ({"gap": "skip"}, 5, 6, 4),
        ({"gap": "stop"}, 5, 6, -1),
    ],
)
def test_what_is_deleted_while_it_is_read_stops_only_what_promised_it(
    cluster: Cluster, more: dict[str, Any], low: int | None, cut: int, left: int
) -> None:
    made = stream(columns={"id": {"type": "int64", "path": "$key"}}, **more)
    sent = [Sent(str(id), "{}") for id in range(10)]
    reads = Reading(cluster.endpoint, made)
    if low:
        kafka.send(cluster.servers, TOPIC, sent[:low])
        reads.rows()
    kafka.send(cluster.servers, TOPIC, sent[low or 0 :])
    with open_source(cluster.endpoint, made, "shop.orders") as source:
        source.observe(reads.shared, reads.memory)
        cluster.trim(TOPIC, 0, cut)
        pages = source.pull(2, reads.watermark, None)
        if left < 0:
            with pytest.raises(UnavailableError, match="cut while it was read"):
                next(pages)
            return
        assert [row["id"] for page in pages for row in page.to_pylist()] == [*range(10)][
            10 - left :
        ]
        assert source.census() == {"deleted before they were read": cut - (low or 0)}


def test_pages_are_small_when_messages_are_large(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE_OCTETS", 100_000)
    kafka.send(cluster.servers, TOPIC, [Sent(str(id), b" " * 60_000 + b"{}") for id in range(5)])
    sizes = [page.num_rows for page in Reading(cluster.endpoint, stream()).pages()]
    assert sizes == [2, 2, 1]


def test_whatever_octets_are_said_to_be_avro_the_stream_goes_on(cluster: Cluster) -> None:
    fastavro = pytest.importorskip("fastavro")
    front, good = b"\0\0\0\0\1", BytesIO()
    given = {"day": datetime(2026, 3, 1).date(), "at": datetime(2026, 3, 1, tzinfo=UTC)}
    fastavro.schemaless_writer(good, fastavro.parse_schema(DAY), given)
    far = b"\xfe\xff\xff\xff\x0f"  # 2^31 - 1 days
    later = b"\xfe" + b"\xff" * 8 + b"\x01"  # 2^63 - 1 µs
    values = (far + b"\0", b"\0" + later, b"", b"\xff" * 30, good.getvalue())
    sent = [Sent(str(id), front + value) for id, value in enumerate(values)]
    kafka.send(cluster.servers, TOPIC, sent)
    with answering(knows(DAY)) as url:
        options = {**cluster.endpoint.options, "schema.registry.url": url}
        rows = Reading(Endpoint("shop", "kafka", options=options), stream(value="avro")).rows()
    assert [row["_held"] is not None for row in rows] == [True, True, True, True, False]
    assert "value is not avro" in rows[0]["_held"]
    assert {name: rows[4][name] for name in given} == given


@pytest.mark.parametrize(
    ("url", "match"),
    [
        (f"http://me:{SECRET.replace('/', '%2F')}@127.0.0.1:1", "fields of their own"),
        (f"https://127.0.0.1:1?password={SECRET}", "fields of their own"),
        ("http://registry.example:8081", "insecure: true"),
        (f"https://127.0.0.1:{SECRET}", "no address"),
        ("https://[127.0.0.1", "no address"),
        ("registry:8081", "no address"),
    ],
)
def test_a_registrys_address_is_safe_and_nothing_more(url: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        asked(url)
    assert "hidden" not in str(caught.value)


def test_a_registry_elsewhere_may_be_asked_in_the_clear_when_the_connection_says_so() -> None:
    pytest.importorskip("fastavro")
    avro(registered("http://registry.example:8081", insecure=True), "shop.orders", 5)


def test_a_registry_is_trusted_by_the_authority_of_the_connection(tmp_path: Path) -> None:
    file = tls.certificate(tmp_path)
    with answering(knows("int"), file) as url:
        with pytest.raises(RefusedError, match=r"not trusted.*ssl\.ca\.location"):
            asked(url)
        blind = {"enable.ssl.certificate.verification": "false"}
        with pytest.raises(RefusedError, match="not trusted"):
            asked(url, **blind)
        assert asked(url, **{"ssl.ca.location": str(file)}) == 0
        assert asked(url, **blind, insecure="true") == 0
    with pytest.raises(ConfigError, match=r"Check ssl\.ca\.location"):
        asked("https://127.0.0.1:1", **{"ssl.ca.location": str(tmp_path / "nothing")})


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"no", RefusedError),
        (503, b"not now", UnavailableError),
        (200, b"<html>", UnavailableError),
        (200, b"[]", UnavailableError),
        (404, b"{}", ValueError),
        (200, json.dumps({"schema": 'syntax = "proto3"'}).encode(), ValueError),
        (200, json.dumps({"schema": '"a.b.Unknown"'}).encode(), ValueError),
    ],
)
def test_what_a_registry_may_answer_is_told_without_its_password(
    status: int, body: bytes, error: type[Exception]
) -> None:
    with answering(lambda _: (status, body, {})) as url, pytest.raises(error) as caught:
        asked(url)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value, TidegateError) or error is ValueError


def test_a_registry_that_sends_on_to_elsewhere_is_not_followed() -> None:
    heard: list[str | None] = []

    def elsewhere(request: BaseHTTPRequestHandler) -> tuple[int, bytes, dict[str, str]]:
        heard.append(request.headers["Authorization"])
        return 200, b"{}", {}

    with answering(elsewhere) as other:
        sends: Answer = lambda _: (302, b"", {"Location": f"{other}/x"})  # noqa: E731
        with answering(sends) as url, pytest.raises(UnavailableError, match="answered 302"):
            asked(url)
    assert heard == []
