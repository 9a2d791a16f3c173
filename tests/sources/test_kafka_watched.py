"""Topics are watched by their ends: what the store's position has not come to is announced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from services import kafka
from services.kafka import Cluster, Sent
from sources.peers.kafka import server
from sources.topics import COLUMNS, Events
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, UnavailableError
from tidegate.sources import Sight
from tidegate.sources.kafka import watching
from tidegate.sources.kafka.options import KafkaStream
from tidegate.sources.kafka.watching import KafkaLookout
from tidegate.watching import Watch

NAME = "shop.orders"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A broker of its own, with two topics of two partitions."""
    made = Cluster()
    made.create("orders", 2)
    made.create("items", 2)
    yield made
    made.close()


@pytest.fixture
def events(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Events:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    return Events(cluster.servers, "orders", tmp_path)


def stream(topic: str = "orders") -> KafkaStream:
    return KafkaStream(topic=topic, primary_key=("partition", "offset"), columns=dict(COLUMNS))


def watching_for(events: Events) -> Watch:
    known = {
        "shop": kafka.endpoint(events.servers),
        "tidegate_store": Endpoint("tidegate_store", "sqlite", database=str(events.store)),
    }
    return Watch("shop", "topic", known.__getitem__)


def put(events: Events, partition: int = 0, topic: str = "orders") -> None:
    kafka.send(events.servers, topic, [Sent(None, '{"number": 1}', partition)])


def test_a_message_is_announced_until_it_is_loaded(events: Events) -> None:
    streams = {NAME: stream()}
    with closing(watching_for(events)) as watch:
        assert watch.look(streams).news == {}
        put(events)
        assert watch.look(streams).news == {NAME: {"0": 1, "1": 0}}
        assert watch.look(streams).news == {}
        events.run("one")
        assert watch.look(streams).news == {}
        assert not watch._levels[NAME].behind
        put(events, partition=1)
        assert watch.look(streams).news == {NAME: {"0": 1, "1": 1}}
        with closing(watching_for(events)) as other:
            assert other.look(streams).news == {NAME: {"0": 1, "1": 1}}, "after the first one died"
            events.run("two")
            for one in (watch, other):
                assert one.look(streams).news == {}
                assert not one._levels[NAME].behind


def test_a_topic_made_anew_is_not_loaded(events: Events, cluster: Cluster) -> None:
    streams = {NAME: stream()}
    for _ in range(2):
        put(events)
    events.run("one")
    cluster.delete("orders")
    cluster.create("orders", 2)
    put(events)
    with closing(watching_for(events)) as watch:
        assert watch.look(streams).news == {NAME: {"0": 1, "1": 0}}


def test_all_topics_are_asked_about_at_once(events: Events) -> None:
    put(events, topic="items")
    streams = {NAME: stream(), "shop.items": stream("items"), "shop.lost": stream("lost")}
    with closing(KafkaLookout(kafka.endpoint(events.servers))) as lookout:
        lookout.look(streams)
        asked: list[Any] = []
        listed = lookout._admin.list_offsets  # type: ignore[union-attr]

        def counted(places: Any, **more: Any) -> Any:
            asked.append(len(places))
            return listed(places, **more)

        with (
            mock.patch.object(lookout._admin, "list_offsets", counted),
            mock.patch.object(lookout._admin, "list_topics", side_effect=AssertionError),
        ):
            seen = lookout.look(streams)
    assert asked == [4]
    orders, items = seen[NAME], seen["shop.items"]
    assert isinstance(orders, Sight)
    assert isinstance(items, Sight)
    assert (orders.mark, items.mark) == (None, {"0": 1, "1": 0})
    assert isinstance(seen["shop.lost"], ConfigError)
    assert "shop.lost: topic: it is not at connection" in str(seen["shop.lost"])


def test_a_topic_that_is_deleted_disturbs_no_other(events: Events, cluster: Cluster) -> None:
    put(events)
    streams = {NAME: stream(), "shop.items": stream("items")}
    with closing(KafkaLookout(kafka.endpoint(events.servers))) as lookout:
        lookout.look(streams)
        cluster.delete("items")
        seen = lookout.look(streams)
        assert isinstance(seen[NAME], Sight)
        assert isinstance(seen["shop.items"], ConfigError)
        cluster.create("items", 3)
        again = lookout.look(streams)["shop.items"]
        assert isinstance(again, Sight)


def test_brokers_that_are_away_are_an_error_of_the_whole_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "TIMEOUT", 1.0)
    with (
        closing(KafkaLookout(kafka.endpoint("127.0.0.1:1"))) as lookout,
        pytest.raises(UnavailableError, match="do not answer"),
    ):
        lookout.look({NAME: stream()})


def test_new_partitions_are_found_by_and_by(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = server()
    topic = gateway.topic(2)
    kafka.send(gateway.servers, topic, [Sent(None, '{"number": 1}', 1)])
    with closing(KafkaLookout(kafka.endpoint(gateway.servers))) as lookout:
        seen = lookout.look({NAME: stream(topic)})[NAME]
        assert isinstance(seen, Sight)
        assert seen.mark == {"0": 0, "1": 1}
        lookout._partitions = {topic: [0]}
        monkeypatch.setattr(lookout, "_until", 0.0)
        again = lookout.look({NAME: stream(topic)})[NAME]
        assert isinstance(again, Sight)
        assert again.mark == {"0": 0, "1": 1}
