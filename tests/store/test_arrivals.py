"""What arrives at a stream is kept once, in order, and no reader ever passes one that comes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import services
from store import old_store
from store.deliveries import Delivery
from tidegate.model import Arrival, Json, Reason, Watermark
from tidegate.pipeline.models import Keep
from tidegate.sources import Apart, Shared
from tidegate.store import arrivals, ledger, open_store, retention, tables
from tidegate.store.store import Store

NAME = "shop.things"
INCLUDE = Path(tables.__file__).parents[2]


def items(first: int, last: int) -> list[tuple[str, Json]]:
    return [(f"id {number}", {"n": number}) for number in range(first, last + 1)]


def numbers(found: Iterable[Arrival]) -> list[int]:
    return [one.number for one in found]


# Order and names -------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres", "apart"])
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """The store, and what a look at a source has in its place: both keep the same promise."""
    if request.param == "apart":
        yield Apart()
        return
    with open_store(request.getfixturevalue(request.param).fresh()) as store:
        yield store


def test_arrivals_are_numbered_in_the_order_in_which_they_came(shared: Shared) -> None:
    assert shared.arrive(NAME, items(1, 3)) == 3
    assert shared.arrive(NAME, items(4, 5)) == 5
    found = list(shared.arrivals(NAME))
    assert [(one.number, one.id, one.body) for one in found] == [
        (n, f"id {n}", {"n": n}) for n in range(1, 6)
    ]
    assert [one.at for one in found] == sorted(one.at for one in found)
    assert numbers(shared.arrivals(NAME, 2)) == [3, 4, 5]
    assert numbers(shared.arrivals(NAME, 2, 4)) == [3, 4]
    assert numbers(shared.arrivals("shop.others")) == []


def test_what_has_an_id_that_arrived_before_gets_no_number(shared: Shared) -> None:
    shared.arrive(NAME, items(1, 3))
    more = [("id 2", "changed"), ("new", 1), ("id 3", None), ("new", 2), ("newer", 3)]
    assert shared.arrive(NAME, more) == 5
    assert [(one.id, one.body) for one in shared.arrivals(NAME, 3)] == [("new", 1), ("newer", 3)]
    assert shared.arrive(NAME, more) == 5
    assert next(iter(shared.arrivals(NAME, 1))).body == {"n": 2}
    assert shared.arrived(NAME, ["id 1", "new", "never"]) == {"id 1", "new"}
    assert shared.arrived("shop.others", ["id 1"]) == set()


def test_nothing_that_arrives_tells_the_last_number(shared: Shared) -> None:
    assert shared.arrive(NAME, []) == 0
    shared.arrive(NAME, items(1, 7))
    assert shared.arrive(NAME, []) == 7


def test_more_than_one_query_can_name_arrive_at_once(store: Store) -> None:
    store.arrive(NAME, items(1000, 1100))
    assert store.arrive(NAME, items(1, 2345)) == 2345
    assert len(store.arrived(NAME, [id for id, _ in items(1, 5000)])) == 2345
    found = list(store.arrivals(NAME))
    assert numbers(found) == list(range(1, 2346))
    assert [one.body["n"] for one in found] == [
        *range(1000, 1101), *range(1, 1000), *range(1101, 2346),
    ]  # fmt: skip


def test_large_bodies_are_read_a_few_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_PAGE_CHARACTERS", 1000)
    store.arrive(NAME, [(f"id {n}", "x" * (600 if n % 7 else 1)) for n in range(200)])
    with store._reading() as connection:
        assert len(arrivals.page(connection, NAME, 0, 200, 100)) < 5
    assert numbers(store.arrivals(NAME)) == list(range(1, 201))


@pytest.mark.parametrize("text", ["", "\0", "\U0001f469", "é\u2028", "'\"\\", "x" * 100_000])
def test_bodies_and_ids_come_back_as_they_were(store: Store, text: str) -> None:
    body = {"text": text, "list": [1, None, True, 2.5, {"deep": text}]}
    store.arrive(NAME, [("é'\"", body)])
    assert [(one.id, one.body) for one in store.arrivals(NAME)] == [("é'\"", body)]


def test_an_arrival_disturbs_nothing_of_its_stream(store: Store, tmp_path: Path) -> None:
    things = Delivery(store, tmp_path, NAME, {"id": "int64", "name": "string"}, {})
    things.load([{"id": 1, "name": "ann", "_key": "1"}])
    reads, before = store.issue_read(NAME), store.state(NAME)
    fence = store.lease(NAME, "a run")
    store.arrive(NAME, items(1, 3))
    store.renew(NAME, fence)
    assert store.state(NAME) == before
    assert store.issue_read(NAME) == reads + 1
    things.load([{"id": 2, "name": "bob", "_key": "2"}])
    assert store.arrive(NAME, []) == 3


# Many at once ----------------------------------------------------------------------------------


def test_a_reader_never_passes_a_number_that_comes_later(server: services.Server) -> None:
    endpoint = server.fresh()
    open_store(endpoint).close()
    over = threading.Event()

    def write(who: int) -> None:
        with open_store(endpoint) as mine:
            for round in range(15):
                mine.arrive(NAME, [(f"{who} {round} {n}", who) for n in range(1 + who * 3)])

    def follow() -> list[Arrival]:
        seen: list[Arrival] = []
        with open_store(endpoint) as mine:
            last = False
            while not last:
                last = over.is_set()
                seen.extend(mine.arrivals(NAME, seen[-1].number if seen else 0))
        return seen

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(follow)
        for writer in [pool.submit(write, who) for who in range(4)]:
            writer.result()
        over.set()
        seen = reader.result()
    assert numbers(seen) == list(range(1, 15 * (1 + 4 + 7 + 10) + 1))
    for who in range(4):
        mine = [one.id for one in seen if one.body == who]
        assert mine == [f"{who} {r} {n}" for r in range(15) for n in range(1 + who * 3)]


def test_many_who_bring_the_same_keep_it_once(server: services.Server) -> None:
    endpoint = server.fresh()
    open_store(endpoint).close()

    def bring(_: int) -> None:
        with open_store(endpoint) as mine:
            for first in range(1, 200, 10):
                mine.arrive(NAME, items(first, first + 19))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bring, range(4)))
    with open_store(endpoint) as store:
        found = list(store.arrivals(NAME))
    assert numbers(found) == list(range(1, 211))
    assert {one.id for one in found} == {id for id, _ in items(1, 210)}


CHILD = """
import os, signal, sys
import sqlalchemy as sa
from tidegate.connections import parse
from tidegate.store import open_store

store = open_store(parse("tidegate_store", sys.argv[1]))
store.arrive("shop.things", [(f"id {n}", n) for n in range(1, 1201)])
seen = []

@sa.event.listens_for(sa.Engine, sys.argv[2])
def struck(*_):
    seen.append(1)
    if len(seen) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

store.arrive("shop.things", [(f"id {n}", n) for n in range(1001, 2401)])
"""


@pytest.mark.parametrize(("event", "time"), [("after_cursor_execute", 3), ("commit", 1)])
def test_what_was_killed_before_it_was_kept_has_not_arrived(
    server: services.Server, event: str, time: int
) -> None:
    endpoint = server.fresh()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, server.uri(endpoint), event, str(time)],
        env={"PYTHONPATH": str(INCLUDE), "PATH": os.defpath}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    with open_store(endpoint) as store:
        assert numbers(store.arrivals(NAME)) == list(range(1, 1201))
        assert store.arrive(NAME, items(1001, 2400)) == 2400
        assert [one.id for one in store.arrivals(NAME)] == [id for id, _ in items(1, 2400)]


def test_the_store_is_locked_for_a_moment_only(sqlite: services.Server) -> None:
    """One batch of a source's, into a table that has many; nobody else waits longer than that."""
    with open_store(sqlite.fresh()) as store:
        for first in range(1, 20_000, 5_000):
            store.arrive(NAME, items(first, first + 4_999))
        begun = time.perf_counter()
        store.arrive(NAME, items(20_001, 21_000))
        assert time.perf_counter() - begun < 2


# What they said is forgotten -------------------------------------------------------------------

WEEK = Keep.model_validate({"arrivals": "7d"})


def loaded(store: Store, number: int) -> None:
    """A load has passed *number*."""
    text = ledger.watermark_text(Watermark(number, "arrival"))
    services.Server(store.endpoint).execute(
        store.endpoint, f"UPDATE tidegate_stream SET watermark = '{text}' WHERE name = '{NAME}'"
    )


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def kept(store: Store) -> list[int]:
    return [one.number for one in store.arrivals(NAME) if one.body is not None]


def test_what_was_loaded_long_ago_is_forgotten_and_its_id_is_not(store: Store) -> None:
    store.arrive(NAME, items(1, 10))
    loaded(store, 6)
    assert store.trim(NAME, WEEK, in_days(6.9)).arrivals == 0
    assert store.trim(NAME, WEEK, in_days(7.1), dry_run=True).arrivals == 6
    assert kept(store) == list(range(1, 11))
    assert store.trim(NAME, WEEK, in_days(7.1)).arrivals == 6
    assert kept(store) == [7, 8, 9, 10]
    assert numbers(store.arrivals(NAME)) == list(range(1, 11))
    assert store.trim(NAME, WEEK, in_days(7.1)).arrivals == 0
    assert store.arrive(NAME, items(1, 11)) == 11
    assert store.runs() == []


def test_while_a_row_is_held_that_could_not_be_read_nothing_is_forgotten(store: Store) -> None:
    store.arrive(NAME, items(1, 10))
    loaded(store, 6)
    table = tables.quarantine_table
    held = {
        "stream": NAME, "key": "7", "state": "held", "token": 1, "source_hash": 1, "row": "{}",
        "run_id": "first", "seq": 1, "held_at": "2026-01-01",
    }  # fmt: skip
    for step, count in (("pull", 0), ("validate", 6)):
        why = json.dumps([Reason(step, "too large", "it has 2 octets").to_json()])
        with store._engine.begin() as connection:
            connection.execute(table.delete())
            connection.execute(table.insert(), {**held, "reasons": why})
        assert store.trim(NAME, WEEK, in_days(8), dry_run=True).arrivals == count


def test_without_an_age_nothing_is_forgotten(store: Store) -> None:
    store.arrive(NAME, items(1, 10))
    loaded(store, 10)
    assert store.trim(NAME, Keep.model_validate({"history": "1d"}), in_days(99)).arrivals == 0
    assert len(kept(store)) == 10


def test_of_a_stream_with_another_watermark_nothing_is_forgotten(store: Store) -> None:
    store.arrive(NAME, items(1, 10))
    assert store.trim(NAME, WEEK, in_days(99)).arrivals == 0
    assert len(kept(store)) == 10


def test_many_are_forgotten_part_by_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PART_ROWS", 7)
    parts: list[tuple[int, int]] = []
    forget = arrivals.forget

    def watched(connection: Any, stream: str, first: int, final: int, before: str) -> None:
        parts.append((first, final))
        forget(connection, stream, first, final, before)

    monkeypatch.setattr(arrivals, "forget", watched)
    store.arrive(NAME, items(1, 30))
    loaded(store, 25)
    assert store.trim(NAME, WEEK, in_days(8)).arrivals == 25
    assert parts == [(1, 7), (8, 14), (15, 21), (22, 25)]
    assert kept(store) == [26, 27, 28, 29, 30]


# Older stores ----------------------------------------------------------------------------------


def test_an_older_store_takes_arrivals_after_its_upgrade(server: services.Server) -> None:
    endpoint = server.fresh()
    streams = old_store.build(server, endpoint, random.Random(1))
    with open_store(endpoint) as store:
        name = streams[0].name
        before = store.state(name)
        assert list(store.arrivals(name)) == []
        assert store.arrive(name, items(1, 3)) == 3
        assert numbers(store.arrivals(name)) == [1, 2, 3]
        assert store.state(name) == before
