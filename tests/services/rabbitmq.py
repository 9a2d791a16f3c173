"""RabbitMQ, started privately: a node of its own, with its own port mapper and its own folder."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pika
from pika.exceptions import AMQPError

from services import PASSWORD, USER, process
from services.process import START_SECONDS, Private, UnavailableServerError
from tidegate.connections import Endpoint, parse

VARIABLE = "TIDEGATE_TEST_RABBITMQ"
logging.getLogger("pika").setLevel(logging.CRITICAL)  # it tells of every refused connection
PROGRAMS = "/usr/lib/rabbitmq/bin"
_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = {user}
default_pass = {password}
log.file = false
log.console = true
log.console.level = warning
disk_free_limit.absolute = 50MB
collect_statistics_interval = 60000
"""


class Broker:
    """A RabbitMQ server; *admin* may do everything in its virtual host."""

    def __init__(
        self, admin: Endpoint, private: Private | None = None,
        mapper: subprocess.Popen[bytes] | None = None,
    ) -> None:  # fmt: skip
        self.admin = admin
        self._private, self._mapper = private, mapper

    def connect(self, endpoint: Endpoint | None = None) -> pika.BlockingConnection:
        """A connection of the test's own."""
        place = endpoint or self.admin
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                place.host, place.port, place.database or "/",
                pika.PlainCredentials(place.user or "", place.password or ""),
            )
        )  # fmt: skip

    def crash(self) -> None:
        """End it at once: SIGKILL."""
        if self._private is None:
            raise UnavailableServerError("only a server that was started here may be crashed")
        self._private.crash()

    def revive(self) -> None:
        """Start it again on the same data and the same port, and wait until it answers."""
        if self._private is None:
            raise UnavailableServerError("only a server that was started here may be started")
        for _ in range(10):  # the port may be somebody's for a moment
            self._private.start()
            if _answers(self, self._private):
                return
        raise UnavailableServerError(f"it does not come back:\n{self._private.said()}")

    def close(self) -> None:
        """Stop what was started here."""
        if self._private is not None:
            self._private.end()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()

    @property
    def uri(self) -> str:
        """The address as an Airflow connection URI, password included."""
        user, password = quote(self.admin.user or "", ""), quote(self.admin.password or "", "")
        place = f"{self.admin.host}:{self.admin.port}/{quote(self.admin.database or '/', '')}"
        return f"amqp://{user}:{password}@{place}"


def waiting(connection: pika.BlockingConnection, channel: Any, queue: str) -> int:
    """Messages in *queue*, once nobody consumes it."""
    while True:
        found = channel.queue_declare(queue, passive=True).method
        if not found.consumer_count:
            return int(found.message_count)
        connection.sleep(0.01)


@cache
def shared() -> Broker:
    """One for all tests of this process; what was started ends with it."""
    return start()


def start(*, private: bool = False) -> Broker:
    """A server; raises UnavailableServerError. A *private* one is never one found elsewhere."""
    if not private and (uri := os.environ.get(VARIABLE)):
        return Broker(parse("shop", uri))
    for _ in range(5):
        try:
            broker = _start()
        except UnavailableServerError as error:
            if "eaddrinuse" not in str(error):  # it takes its port seconds after it was found
                raise
        else:
            atexit.register(broker.close)
            return broker
    raise UnavailableServerError("no free port for a private RabbitMQ server")


def _start() -> Broker:
    program = process.find("", f"{PROGRAMS}/rabbitmq-server")
    names = process.find("epmd")
    if not program or not names:
        raise UnavailableServerError("RabbitMQ is not installed here. Run: make services")
    owner = process.unprivileged("rabbitmq")
    folder = process.folder(owner)
    port, mapper, peers = (process.free_port() for _ in range(3))
    config = Path(folder, "rabbitmq.conf")
    config.write_text(_CONFIG.format(port=port, user=USER, password=PASSWORD), encoding="utf-8")
    environment = {
        "RABBITMQ_NODENAME": f"tide{port}@localhost",
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
        "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
        "RABBITMQ_MNESIA_BASE": f"{folder}/data",
        "RABBITMQ_LOG_BASE": f"{folder}/logs",
        "RABBITMQ_PID_FILE": f"{folder}/pid",
        "RABBITMQ_DIST_PORT": str(peers),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RUNNING_UNDER_SYSTEMD": "1",  # no shell waits beside it
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
    }
    log = Path(folder, "mapper.log")
    mapping = process.popen([names, "-port", str(mapper)], owner, folder, log, environment)
    server = Private([program], owner, folder, environment)
    broker = Broker(
        Endpoint("shop", "amqp", "127.0.0.1", port, USER, PASSWORD, "/"), server, mapping
    )
    if not _answers(broker, server):
        reason = server.said()
        broker.close()
        raise UnavailableServerError(f"the private RabbitMQ server does not answer:\n{reason}")
    return broker


def _answers(broker: Broker, server: Private) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while server.process.poll() is None and time.monotonic() < deadline:
        try:
            broker.connect().close()
        except (AMQPError, OSError):
            time.sleep(0.1)
        else:
            return True
    return False
