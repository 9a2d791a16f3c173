"""Servers that speak Kafka's protocol.

Gateway  SeaweedFS's gateway over its message queue: a server of its own that keeps what it has when
         it is killed. It cannot delete messages or topics, or add partitions.
Cluster  librdkafka's own test broker: it lives in this process and forgets everything with it, and
         can do what the gateway cannot.

``TIDEGATE_TEST_KAFKA`` names the bootstrap servers of a real one, for what a gateway is used for.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread

import confluent_kafka
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from services import process
from services.process import Private, UnavailableServerError
from tidegate.connections import Endpoint

PORT = 9093
"""The gateway tells its clients to come to this port, whatever it was told itself."""
SECONDS = 90
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "tidegate/seaweedfs/bin")
_numbers = count(1)


@dataclass(frozen=True)
class Sent:
    """A message to produce; *at* is its timestamp in ms."""

    key: str | bytes | None
    value: str | bytes | None
    partition: int = 0
    at: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def endpoint(servers: str) -> Endpoint:
    return Endpoint("shop", "kafka", options={"bootstrap.servers": servers})


def send(servers: str, topic: str, messages: Iterable[Sent]) -> None:
    """Produce them; returns when the broker has them all."""
    failed: list[str] = []

    def told(error: object, message: object) -> None:
        if error is not None:
            failed.append(str(error))

    settings = {"bootstrap.servers": servers, "log_level": 0, "linger.ms": 5, "acks": "all"}
    producer = Producer(
        {**settings, "queue.buffering.max.messages": 20_000, "message.timeout.ms": 300_000}
    )
    for one in messages:
        while True:
            try:
                producer.produce(
                    topic, one.value, one.key, one.partition,
                    on_delivery=told, timestamp=one.at, headers=list(one.headers),
                )  # fmt: skip
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(60)
    assert not left and not failed, f"{left} not sent, {failed[:3]}"


class Gateway:
    """SeaweedFS in a folder of its own, at an address of its own (127.x.y.z)."""

    def __init__(self, program: str) -> None:
        self.servers = os.environ.get("TIDEGATE_TEST_KAFKA", "")
        self._all: list[Private] = []
        if not self.servers:
            self._begin(program)

    def _begin(self, program: str) -> None:
        address = _free_address()
        self.servers = f"{address}:{PORT}"
        registry = ThreadingHTTPServer((address, 0), _Registry)
        Thread(target=registry.serve_forever, daemon=True).start()
        port = process.free_port
        ports = {
            f"-{name}.port{kind}": port()
            for name in ("master", "volume", "filer")
            for kind in ("", ".grpc")
        }
        master = f"{address}:{ports['-master.port']}.{ports['-master.port.grpc']}"
        here = [f"-ip={address}", f"-ip.bind={address}"]
        flags = [f"{name}={number}" for name, number in ports.items()]
        folder = process.folder(None)
        store = [
            program, "server", *here, f"-dir={folder}", "-master.telemetry=false", *flags,
            "-filer", "-mq.broker", f"-mq.broker.port={port()}", "-volume.max=20",
            "-master.volumeSizeLimitMB=256",
        ]  # fmt: skip
        gate = [
            program, "mq.kafka.gateway", *here, f"-port={PORT}", f"-master={master}",
            f"-schema-registry-url=http://{address}:{registry.server_port}",
        ]  # fmt: skip
        self._all = [Private(store, None, folder, {})]
        self._all.append(Private(gate, None, process.folder(None), {}))
        atexit.register(self.close)
        self._wait()

    @property
    def endpoint(self) -> Endpoint:
        """How the product gets there."""
        return endpoint(self.servers)

    def topic(self, partitions: int = 1) -> str:
        """A new one."""
        name = f"tide-{os.getpid()}-{next(_numbers)}-{time.time_ns()}"
        self._create(name, partitions, 30)
        return name

    def crash(self) -> None:
        """End by SIGKILL what clients talk to."""
        self._all[1].crash()

    def revive(self) -> None:
        """Start it again, on the same data; returns when it answers."""
        self._all[1].start()
        self._wait()

    def close(self) -> None:
        """End what was started."""
        for private in reversed(self._all):
            private.crash()
            private.end()

    def _wait(self) -> None:
        """The gateway gives up when its store is not ready: start it again until it stays."""
        gate = self._all[1]
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            if gate.process.poll() is not None:
                gate.start()
            with suppress(KafkaException, TimeoutError):
                self._create(f"probe-{time.time_ns()}", 1, 2)
                return
            time.sleep(0.2)
        raise UnavailableServerError(f"the gateway does not answer:\n{gate.said()}")

    def _create(self, topic: str, partitions: int, patience: float) -> None:
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(patience)


class _Registry(BaseHTTPRequestHandler):
    """A schema registry without schemas: the gateway wants one."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def _free_address() -> str:
    """An address of this machine where nobody serves the gateway's port."""
    for number in count(os.getpid()):
        address = f"127.{1 + number // 62_500 % 250}.{number // 250 % 250}.{1 + number % 250}"
        with socket.socket() as listener:
            try:
                listener.bind((address, PORT))
            except OSError:
                continue
            return address
    raise AssertionError


@cache
def gateway() -> Gateway:
    """One for all tests of this process. Raises UnavailableServerError."""
    program = process.find("weed", str(_CACHE / "weed"))
    if not program and not os.environ.get("TIDEGATE_TEST_KAFKA"):
        raise UnavailableServerError("SeaweedFS (Kafka) is not installed here. Run: make services")
    return Gateway(program or "")


class Cluster:
    """librdkafka's test broker."""

    def __init__(self) -> None:
        self._library = _library()
        said = ctypes.create_string_buffer(500)
        settings = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(settings, b"log_level", b"0", said, 500)
        self._client = self._library.rd_kafka_new(0, settings, said, 500)
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        self.servers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._library.rd_kafka_mock_set_controller_id(self._cluster, 1)

    @property
    def endpoint(self) -> Endpoint:
        """How the product gets there."""
        return endpoint(self.servers)

    def create(self, topic: str, partitions: int = 1) -> None:
        """A topic."""
        self._do("topic_create", topic.encode(), partitions, 1)

    def delete(self, topic: str) -> None:
        """Delete the topic and what it holds."""
        self._do("topic_delete", topic.encode())

    def trim(self, topic: str, partition: int, before: int) -> None:
        """As if retention had deleted the messages before this offset."""
        self._do("partition_delete_records", topic.encode(), partition, before)

    def down(self) -> None:
        """Close all connections, and take no new ones."""
        self._do("broker_set_down", 1)

    def up(self) -> None:
        """Take connections again."""
        self._do("broker_set_up", 1)

    def close(self) -> None:
        """End it."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._cluster = None

    def _do(self, what: str, *arguments: object) -> None:
        error = getattr(self._library, f"rd_kafka_mock_{what}")(self._cluster, *arguments)
        assert error == 0, f"{what}: {error}"


@cache
def _library() -> ctypes.CDLL:
    """The library that confluent-kafka brings with it, and the types of what is called."""
    found = next(
        (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librd*")
    )
    library = ctypes.CDLL(str(found))
    handle, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[object, list[object]]] = {
        "conf_new": (handle, []),
        "conf_set": (number, [handle, text, text, text, ctypes.c_size_t]),
        "new": (handle, [number, handle, text, ctypes.c_size_t]),
        "destroy": (None, [handle]),
        "mock_cluster_new": (handle, [handle, number]),
        "mock_cluster_destroy": (None, [handle]),
        "mock_cluster_bootstraps": (text, [handle]),
        "mock_set_controller_id": (number, [handle, ctypes.c_int32]),
        "mock_topic_create": (number, [handle, text, number, number]),
        "mock_topic_delete": (number, [handle, text]),
        "mock_partition_delete_records": (
            number, [handle, text, ctypes.c_int32, ctypes.c_int64]
        ),
        "mock_broker_set_down": (number, [handle, ctypes.c_int32]),
        "mock_broker_set_up": (number, [handle, ctypes.c_int32]),
    }  # fmt: skip
    for name, (result, arguments) in signatures.items():
        call = getattr(library, f"rd_kafka_{name}")
        call.restype, call.argtypes = result, arguments
    return library
