"""Servers that several files of tests ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import services
from services import rabbitmq
from sources.queues import Bench


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
