"""The change feed: every change once, in order, without gaps, whoever writes meanwhile."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import services
from store.deliveries import Delivery
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError
from tidegate.store import open_store
from tidegate.store.reading.answers import Change
from tidegate.store.store import Store

SECONDS = float(os.environ.get("TIDEGATE_FEED_SECONDS", "10"))
TYPES = {"id": "int64", "word": "string", "gone": "bool"}
NAMES = ("lab.one", "lab.two")
MEANS = {"cursor": "id", "deleted": {"column": "gone"}}


class Desk(Delivery):
    """A stream of words, some of them deleted."""

    def __init__(self, store: Store, folder: Path, name: str = "lab.words", **more: Any) -> None:
        super().__init__(store, folder, name, TYPES, MEANS, **more)

    def put(self, *rows: tuple[int, str | None], **options: Any) -> int:
        """Load ``(id, word)``, without a word: deleted; returns the commit."""
        full = [{"id": id, "word": word, "gone": word is None} for id, word in rows]
        return int(self.load(full, **options).seq or 0)


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Desk:
    return Desk(store, tmp_path)


def told(store: Store, since: int | str = 0, limit: int = 1000, **more: Any) -> list[Change]:
    """All changes after *since*, page by page."""
    found: list[Change] = []
    page = store.changes(since, limit, **more)
    while True:
        assert len(page.changes) <= limit
        found += page.changes
        if not page.more:
            assert page.cursor == str(page.seq)
            return found
        page = store.changes(page.cursor, limit, **more)


def test_changes_say_what_became_of_each_record(desk: Desk) -> None:
    store = desk.store
    desk.put((1, "a"), (2, "b"), (3, None))
    desk.put((1, "a"))
    desk.put((1, "c"), (2, None))
    desk.put((2, "d"))
    found = told(store, rows=True)
    assert [(c.seq, c.key, c.op, c.deleted) for c in found] == [
        (1, "1", "insert", False), (1, "2", "insert", False), (1, "3", "delete", True),
        (3, "1", "update", False), (3, "2", "delete", True), (4, "2", "restore", False),
    ]  # fmt: skip
    words = [tuple(row and row["word"] for row in (c.row_before, c.row)) for c in found]
    assert words == [(None, "a"), (None, "b"), (None, None), ("a", "c"), ("b", None), (None, "d")]
    assert [change.before for change in found[:3]] == [None] * 3
    assert [change.before for change in found[3:]] == [
        found[0].after, found[1].after, found[4].after,
    ]  # fmt: skip
    assert all(change.row is None for change in told(store))


def test_a_page_may_end_anywhere_even_inside_a_commit(desk: Desk, tmp_path: Path) -> None:
    store = desk.store
    other = Desk(store, tmp_path, "lab.others")
    desk.put(*((id, "a") for id in range(50)))
    other.put(*((id, "x") for id in range(20)))
    desk.put(*((id, "b") for id in range(25)))
    every = told(store)
    assert len(every) == 95
    for limit in (1, 7, 25, 50, 94, 95):
        assert told(store, limit=limit) == every
    assert [(change.seq, change.key) for change in every] == sorted(
        (change.seq, change.key) for change in every
    )
    assert told(store, since=1) == every[50:]
    assert told(store, stream="lab.others", limit=3) == every[50:70]
    assert told(store, stream="lab.words", limit=30) == every[:50] + every[70:]


def test_a_page_read_on_later_is_as_if_nobody_had_loaded_meanwhile(desk: Desk) -> None:
    store = desk.store
    desk.put(*((id, "a") for id in range(9)))
    before = told(store)
    page = store.changes(limit=4)
    desk.put((0, "b"), (5, "b"), (8, None))
    after = [*page.changes, *told(store, page.cursor)]
    assert after[:9] == before
    assert [(change.key, change.op) for change in after[9:]] == [
        ("0", "update"), ("5", "update"), ("8", "delete"),
    ]  # fmt: skip


def test_replays_and_late_versions_add_nothing(desk: Desk) -> None:
    store = desk.store
    rows = [{"id": 1, "word": word, "gone": False, "_token": n} for n, word in ((5, "a"), (9, "b"))]
    desk.load(rows[1:])
    head = store.changes().cursor
    desk.load(rows[:1])
    desk.load(rows)
    desk.load(rows[::-1])
    assert told(store, head) == []
    assert [change.seq for change in told(store)] == [1]


def test_a_record_that_becomes_a_duplicate_leaves_the_live_ones(
    store: Store, tmp_path: Path
) -> None:
    desk = Desk(store, tmp_path, marks=("word",))
    desk.put((1, "a"), (2, "a"), (3, "b"))
    desk.put((3, "a"))
    desk.put((1, None))
    found = [(c.seq, c.key, c.op, c.duplicate) for c in told(store)]
    assert found == [
        (1, "1", "insert", False), (1, "2", "delete", True), (1, "3", "insert", False),
        (2, "3", "delete", True),
        (3, "1", "delete", False), (3, "2", "restore", False),
    ]  # fmt: skip


def test_a_copy_made_of_changes_is_the_stream_at_every_commit(store: Store, tmp_path: Path) -> None:
    chance = random.Random(7)
    desk = Desk(store, tmp_path, marks=("word",))
    for _ in range(25):
        ids = chance.choices(range(8), k=chance.randint(1, 5))  # some in several versions at once
        desk.put(*((id, chance.choice(["a", "b", "c", "d", None])) for id in ids))
    head = store.head().seq
    copies: list[dict[str, Any]] = [{}]
    changes = told(store, limit=5, rows=True)
    for seq in range(1, head + 1):
        copy = dict(copies[-1])
        for change in (one for one in changes if one.seq == seq):
            assert (change.key in copy) == (change.op == "update") or change.op == "delete"
            if change.op == "delete":
                copy.pop(change.key, None)
            else:
                copy[change.key] = change.row
        frame = store.frame("lab.words", as_of_seq=seq)
        assert copy == dict(zip(frame.index, frame.to_dict("records"), strict=True))
        copies.append(copy)
    for _ in range(20):
        first, last = sorted(chance.choices(range(head + 1), k=2))
        differing: dict[str, Any] = {}
        page = store.diff(first, last, "lab.words", limit=3, rows=True)
        while True:
            differing |= {one.key: (one.row_before, one.row) for one in page.changes}
            if not page.more:
                break
            page = store.diff(first, last, "lab.words", cursor=page.cursor, limit=3, rows=True)
        keys = {*copies[first], *copies[last]}
        both = {key: (copies[first].get(key), copies[last].get(key)) for key in keys}
        assert differing == {key: pair for key, pair in both.items() if pair[0] != pair[1]}


def test_a_large_commit_is_paged_by_its_keys(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.store.reading.feed.MANY", 10)
    desk = Desk(store, tmp_path)
    desk.put(*((id, "a") for id in range(40)))
    desk.put(*((id, "b") for id in range(0, 40, 2)))
    assert [change.key for change in told(store, limit=6)] == [
        *sorted(map(str, range(40))), *sorted(map(str, range(0, 40, 2))),
    ]  # fmt: skip


def test_a_subscription_notes_what_was_seen_and_never_goes_back(desk: Desk) -> None:
    store = desk.store
    desk.put(*((id, "a") for id in range(5)))
    desk.put((1, "b"))
    assert store.subscribe("mirror", since=0).seq == 0
    assert store.subscribe("late").seq == 2
    assert store.subscribe("mirror").seq == 0, "one that is there goes on"
    page = store.changes(limit=2)
    assert store.acknowledge("mirror", page.cursor).seq == 0, "the commit is not read to its end"
    page = store.changes(page.cursor, limit=3)
    assert store.acknowledge("mirror", page.cursor).seq in {0, 1}
    assert store.acknowledge("mirror", 2).seq == 2
    assert store.acknowledge("mirror", 1).seq == 2
    with pytest.raises(ConfigError, match="the store is at commit 2, the cursor at 3"):
        store.acknowledge("mirror", 3)
    assert [one.name for one in store.subscriptions()] == ["late", "mirror"]
    store.unsubscribe("late")
    assert [one.name for one in store.subscriptions()] == ["mirror"]
    assert isinstance(store.subscriptions()[0].seen_at, datetime)


# Two writers and a reader -------------------------------------------------------------------------


def write(place: Endpoint, folder: Path, done: threading.Event) -> int:
    """Load small increments until *done*, deletions and returns among them; returns how many."""
    chance = random.Random(folder.name)
    loads = 0
    with open_store(place) as store:
        desks = [Desk(store, folder, name) for name in NAMES]
        while not done.is_set():
            ids = chance.sample(range(200), k=chance.randint(1, 30))
            chance.choice(desks).put(*((id, chance.choice(["a", "b", "c", None])) for id in ids))
            loads += 1
    return loads


def read(store: Store) -> tuple[list[Change], str]:
    """What a reader sees in pages of any size, for as long as the test takes; and its cursor."""
    chance = random.Random(3)
    seen: list[Change] = []
    cursor = "0"
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        page = store.changes(cursor, limit=chance.choice([1, 5, 40, 1000]))
        seen += page.changes
        cursor = page.cursor
    return seen, cursor


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_with_two_writers_a_reader_misses_nothing_and_sees_nothing_twice(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: services.Server = request.getfixturevalue(database)
    place = server.fresh()
    done = threading.Event()
    with open_store(place) as store, ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write, place, tmp_path / name, done) for name in "ab"]
        seen, cursor = read(store)
        done.set()
        loads = [writer.result() for writer in writers]
        seen += told(store, cursor)
        assert min(loads) > 0
        assert store.head().seq == sum(loads), "commits have no gap"
        places = [(change.seq, change.key) for change in seen]
        assert places == sorted(set(places)), "in order, each once"
        assert {(c.stream, c.seq, c.key) for c in seen} == set(reigns(store)), "all of them"
        for name in NAMES:
            last = {change.key: change for change in seen if change.stream == name}
            live = {key: change.after for key, change in last.items() if change.op != "delete"}
            assert live == current(store, name)
    print(f"{database}: {sum(loads)} loads, {len(seen)} changes")


def reigns(store: Store) -> Iterator[tuple[str, int, str]]:
    """``(stream, seq, key)`` of every reign, asked of the tables themselves."""
    with store._reading() as connection:
        for name in NAMES:
            table = name.replace(".", "__")
            query = (
                f"SELECT _seq, _key FROM {table} UNION ALL "
                f"SELECT _seq, _key FROM {table}__history WHERE _seq_to > _seq"
            )
            for seq, key in connection.execute(sa.text(query)):
                yield name, seq, key


def current(store: Store, name: str) -> dict[str, int]:
    with store._reading() as connection:
        query = f"SELECT _key, _hash FROM {name.replace('.', '__')} WHERE _deleted = false"
        return {row[0]: row[1] for row in connection.execute(sa.text(query))}
