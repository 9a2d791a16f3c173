"""The simulator does what it says: late commits, dirt, and the same shop for the same seed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from demo import words
from demo.shop import DIRTY_SHARE, LATE_SECONDS, TABLES, Shop, connect

STEPS = 600


class Clock:
    """A clock that goes on by a fixed amount each time somebody looks."""

    def __init__(self, tick: float = 0.25) -> None:
        self.now = 1_790_000_000.123456
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@contextmanager
def opened(folder: Path, seed: int = 7, steps: int = STEPS) -> Iterator[Shop]:
    with closing(connect(folder / "shop.db")) as database:
        shop = Shop(database, seed, Clock())
        shop.open()
        for _ in range(steps):
            shop.step()
        yield shop


def content(database: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: database.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
        for table in TABLES
    }


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with opened(tmp_path) as shop:
        yield shop


def test_same_seed_and_clock_give_the_same_shop_and_another_seed_another(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    with (
        opened(tmp_path / "a") as first,
        opened(tmp_path / "b") as again,
        opened(tmp_path / "c", seed=8) as other,
    ):
        assert content(first.database) == content(again.database)
        assert content(first.database) != content(other.database)


def test_commits_arrive_later_than_younger_ones_but_within_the_promised_seconds(
    tmp_path: Path,
) -> None:
    with opened(tmp_path, steps=0) as shop:
        arrived = arrivals(shop)
    backwards = sum(later[1] < earlier[1] for earlier, later in pairwise(arrived))
    assert backwards > STEPS * 0.05
    assert shop.late_commits > STEPS * 0.05
    assert LATE_SECONDS[0] < max(at - moment for at, moment in arrived) <= LATE_SECONDS[1] + 0.75


def arrivals(shop: Shop) -> list[tuple[float, float]]:
    """When each row appeared, and the moment it is stamped with."""
    seen = versions(shop)
    arrived: list[tuple[float, float]] = []
    for _ in range(STEPS):
        shop.step()
        rows = versions(shop)
        now = shop.clock()
        arrived += sorted((now, seconds(text)) for _, _, text in rows - seen)
        seen = rows
    return arrived


def versions(shop: Shop) -> set[tuple[str, int, str]]:
    return {
        (table, *row)
        for table in TABLES
        for row in shop.database.execute(f"SELECT rowid, updated_at FROM {table}")
    }


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_every_late_transaction_is_committed_in_the_end(shop: Shop) -> None:
    before = shop.commits
    waiting = len(shop.late)
    shop.commit_late()
    assert waiting > 0
    assert shop.commits == before + waiting
    assert shop.late == []


def test_stamps_are_utc_text_of_fixed_width_with_microseconds_on_an_index(shop: Shop) -> None:
    for table in TABLES:
        (odd,) = shop.database.execute(
            f"SELECT count(*) FROM {table} WHERE updated_at NOT GLOB "
            "'[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9].' || "
            "'[0-9][0-9][0-9][0-9][0-9][0-9]'"
        ).fetchone()
        assert odd == 0
        plan = shop.database.execute(
            "EXPLAIN QUERY PLAN "
            f"SELECT * FROM {table} WHERE updated_at >= '2026' ORDER BY updated_at"
        ).fetchall()
        assert f"USING INDEX {table}_updated" in str(plan)


def test_dirt_of_every_kind_is_there_in_about_the_declared_share(shop: Shop) -> None:
    one = shop.database.execute
    (lines, negative) = one("SELECT count(*), sum(quantity < 0) FROM order_lines").fetchone()
    assert DIRTY_SHARE / 2 < negative / lines < DIRTY_SHARE * 2
    (orders, dates, emoji) = one(
        "SELECT count(*), sum(ordered_on IN (?, ?, ?)), sum(note LIKE '%🎁%') FROM orders",
        words.BROKEN_DATES,
    ).fetchone()
    assert DIRTY_SHARE / 2 < dates / orders < DIRTY_SHARE * 2
    assert emoji > 0
    (unknown,) = one(
        "SELECT sum(status IN (?, ?, ?)) FROM orders", words.UNKNOWN_STATUSES
    ).fetchone()
    assert unknown > 0
    (nameless,) = one("SELECT count(*) FROM customers WHERE coalesce(name, '') = ''").fetchone()
    assert nameless > 0
    prices = {price for (price,) in one("SELECT price FROM products")}
    assert any("," in price and price[-1].isdigit() for price in prices)
    assert prices & set(words.BROKEN_PRICES)


def test_rows_are_updated_and_marked_as_deleted_but_never_removed(shop: Shop) -> None:
    one = shop.database.execute
    (top, rows, deleted) = one("SELECT max(id), count(*), count(deleted_at) FROM orders").fetchone()
    waiting = sum(
        text.startswith("INSERT INTO orders ") for _, made in shop.late for text, _ in made
    )
    assert rows + waiting >= top - waiting
    assert deleted > 0
    (orphans,) = one(
        "SELECT count(*) FROM order_lines AS l JOIN orders AS o ON o.id = l.order_id "
        "WHERE o.deleted_at IS NOT NULL AND l.deleted_at IS NULL"
    ).fetchone()
    assert orphans == 0
    (moved_on,) = one("SELECT count(*) FROM orders WHERE status IN ('shipped', 'sent')").fetchone()
    assert moved_on > 0


def test_a_shop_that_exists_goes_on_where_it_was(tmp_path: Path) -> None:
    with opened(tmp_path, steps=50) as first:
        first.commit_late()
        rows = content(first.database)
    with opened(tmp_path, steps=0) as again:
        assert content(again.database) == rows
        again.step()
        (steps,) = again.database.execute("SELECT steps FROM activity").fetchone()
    assert steps == 51


def test_a_reader_is_not_blocked_by_an_open_write(tmp_path: Path) -> None:
    with (
        opened(tmp_path, steps=0) as shop,
        closing(connect(tmp_path / "shop.db", read_only=True)) as reader,
    ):
        shop.database.execute("BEGIN IMMEDIATE")
        shop.database.execute("UPDATE orders SET note = 'being written'")
        query = "SELECT count(*) FROM orders WHERE note = 'being written'"
        assert reader.execute(query).fetchone() == (0,)
        shop.database.execute("COMMIT")
        assert reader.execute(query).fetchone() != (0,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM orders")
