"""The broker or the consumer is killed, wherever that hurts: nothing is lost, nothing comes twice.

``TIDEGATE_TEST_RABBITMQ_TRIALS`` says how often each is killed at each place; default: once.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pika
import pytest

import services
from faults.runs import Run, Warm
from services import rabbitmq

TRIALS = int(os.environ.get("TIDEGATE_TEST_RABBITMQ_TRIALS", "1"))
PLACES = {
    "before it is kept": "rabbitmq.taken",
    "before the acknowledgement": "rabbitmq.kept",
    "after the acknowledgement": "rabbitmq.acknowledged",
    "before staging": "pull.observed",
    "after staging": "pull.staged",
    "in the load": "load.before_commit",
    "after the load": "load.after_commit",
}
PIPELINE = """\
connection: broker
streams:
  orders:
    queue: {queue}
    primary_key: id
    columns: {{id: int64, v: string, serial: int64}}
    prefetch: 40
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[rabbitmq.Broker]:
    """One that may be killed."""
    found = services.or_skip("rabbitmq", lambda: rabbitmq.start(private=True))
    with closing(found.connect()) as connection:
        for type in ("classic", "quorum"):
            arguments = {"x-queue-type": type}
            connection.channel().queue_declare(f"tide.{type}", durable=True, arguments=arguments)
    yield found
    found.close()


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as made:
        yield made


@dataclass
class Trial:
    """Messages of which some have ids and all say which they are, on their way into a store."""

    broker: rabbitmq.Broker
    warm: Warm
    folder: Path
    type: str
    seed: int
    sent: int = 0
    runs: int = 0
    wanted: dict[int, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.queue = f"tide.{self.type}"
        text = PIPELINE.format(queue=self.queue)
        (self.folder / "shop.yaml").write_text(text, encoding="utf-8")

    def publish(self, count: int) -> None:
        """When this returns, the broker has them for good."""
        with closing(self.broker.connect()) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for _ in range(count):
                self.sent += 1
                id, v = self.chance.randint(1, 9), self.chance.choice("ABC")
                body = json.dumps({"id": id, "v": v, "serial": self.sent})
                named = str(self.sent) if self.chance.random() < 0.2 else None
                said = pika.BasicProperties(delivery_mode=2, message_id=named)
                channel.basic_publish("", self.queue, body, said)
                self.wanted[id] = v, self.sent

    def run(self, fault: str = "", after: Run | None = None) -> Run:
        """In a process of its own; *after* another: it is tried again."""
        self.runs += 1
        place = self.folder / f"run-{self.runs}"
        return self.warm.run({
            "pipeline": str(self.folder / "shop.yaml"), "mode": "increment", "whole": True,
            "run_id": after.spec["run_id"] if after else f"run-{self.runs}",
            "attempt": 1 + after.spec["attempt"] if after else 1,
            "log": str(self.folder / "log"), "result": f"{place}.json", "notes": f"{place}.note",
            "env": {
                "AIRFLOW_CONN_BROKER": self.broker.uri,
                "AIRFLOW_CONN_TIDEGATE_STORE": f"sqlite:///{self.folder}/store.db",
                "TIDEGATE_HOME": str(self.folder), "TIDEGATE_FAULT": fault,
            },
        })  # fmt: skip

    def recover(self, run: Run) -> None:
        """As a scheduler: the same run is tried again until it ends well."""
        until = time.monotonic() + 60
        while True:
            run = self.run(after=run)
            end = run.wait()
            if end.word == "ok":
                return
            assert end.word == "retry" and time.monotonic() < until, end

    def judge(self) -> None:
        """Each message arrived once, and each row is what the last message says of it."""
        assert self.run().wait().word == "ok"
        with closing(sqlite3.connect(self.folder / "store.db")) as connection:
            ask = connection.execute
            rows = {id: (v, n) for id, v, n in ask("SELECT id, v, serial FROM shop__orders")}
            bodies = [json.loads(body) for (body,) in ask("SELECT body FROM tidegate_arrival")]
            held = ask("SELECT count(*) FROM tidegate_quarantine").fetchone()
        serials = [json.loads(body["text"])["serial"] for body in bodies]
        assert sorted(serials) == list(range(1, self.sent + 1))
        assert rows == self.wanted
        assert held == (0,)
        with closing(self.broker.connect()) as connection:
            channel = connection.channel()
            assert channel.queue_declare(self.queue, passive=True).method.message_count == 0


@pytest.fixture
def trial(
    broker: rabbitmq.Broker, warm: Warm, tmp_path: Path, request: pytest.FixtureRequest
) -> Trial:
    return Trial(broker, warm, tmp_path, request.param[0], request.param[1])


TWO_KINDS = [("classic" if seed % 2 else "quorum", seed) for seed in range(TRIALS)]


def ids(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("trial", TWO_KINDS, indirect=True, ids=ids)
@pytest.mark.parametrize("place", PLACES)
def test_a_consumer_that_is_killed_loses_nothing_and_brings_nothing_twice(
    trial: Trial, place: str
) -> None:
    time = trial.chance.choice([1, 2, 3]) if PLACES[place].startswith("rabbitmq.") else 1
    trial.publish(trial.chance.randint(120, 150))
    run = trial.run(f"{PLACES[place]}:kill:{time}")
    assert run.wait().word == "killed"
    trial.publish(trial.chance.randint(0, 60))
    trial.recover(run)
    trial.judge()


BROKER_PLACES = [
    "before it is kept", "before the acknowledgement", "after the acknowledgement",
    "before staging",
]  # fmt: skip


@pytest.mark.parametrize("trial", TWO_KINDS, indirect=True, ids=ids)
def test_a_broker_that_is_killed_loses_nothing_and_brings_nothing_twice(trial: Trial) -> None:
    place = PLACES[BROKER_PLACES[trial.seed % 4]]
    time = trial.chance.choice([1, 2, 3]) if place.startswith("rabbitmq.") else 1
    trial.publish(trial.chance.randint(120, 150))
    run = trial.run(f"{place}:stop:{time}")
    assert run.until_stopped()
    trial.broker.crash()
    run.go_on()
    assert run.wait().word in {"ok", "retry"}
    trial.broker.revive()
    trial.publish(trial.chance.randint(0, 60))
    trial.recover(run)
    trial.judge()
