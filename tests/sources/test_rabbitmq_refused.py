"""Queues that cannot be read: not there, not allowed, nobody who answers, nobody to be trusted."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faults.proxy import Proxy, Toxin
from services import tls
from sources.contract.world import NAME
from sources.queues import Bench
from tidegate.connections import parse
from tidegate.errors import (
    ConfigError,
    RefusedError,
    UnavailableError,
)
from tidegate.sources import open_source
from tidegate.sources.rabbitmq import session


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
