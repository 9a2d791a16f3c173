"""The shop simulator: a small shop that keeps writing to a SQLite database, as untidily as life.

It does what makes incremental reading hard, and does it on purpose:

- *late commits*: a till stamps a row, and commits it seconds later, when rows with younger stamps
  are long there (SQLite has one writer, so the till holds the finished rows and writes them late,
  which is what a reader sees of a slow transaction);
- updates of old rows, the same instant for many rows, soft deletes;
- dirt: unknown status words, prices as text with thousands separators, dates that are none,
  names that are missing or empty, negative quantities, emoji.

Every table has ``updated_at`` (UTC, text of fixed width with microseconds, indexed) and
``deleted_at``. The same seed and the same clock give the same shop.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo import words

TABLES = ("customers", "products", "orders", "order_lines")
LATE_SHARE = 0.12
LATE_SECONDS = (1.0, 6.0)
"""Longer than this no commit comes late; the pipeline file's lookback must cover it."""

DIRTY_SHARE = 0.03

SCHEMA = """
CREATE TABLE customers (
    id INTEGER PRIMARY KEY, name TEXT, email TEXT, country TEXT, newsletter TEXT,
    updated_at TIMESTAMP NOT NULL, deleted_at TIMESTAMP);
CREATE TABLE products (
    sku TEXT NOT NULL PRIMARY KEY, name TEXT, category TEXT, price TEXT,
    updated_at TIMESTAMP NOT NULL, deleted_at TIMESTAMP);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, status TEXT, ordered_on TEXT, note TEXT,
    updated_at TIMESTAMP NOT NULL, deleted_at TIMESTAMP);
CREATE TABLE order_lines (
    order_id INTEGER NOT NULL, line INTEGER NOT NULL, sku TEXT NOT NULL, quantity INTEGER,
    unit_price TEXT, updated_at TIMESTAMP NOT NULL, deleted_at TIMESTAMP,
    PRIMARY KEY (order_id, line));
CREATE INDEX customers_updated ON customers (updated_at, id);
CREATE INDEX products_updated ON products (updated_at, sku);
CREATE INDEX orders_updated ON orders (updated_at, id);
CREATE INDEX order_lines_updated ON order_lines (updated_at, order_id, line);
CREATE TABLE activity (steps INTEGER NOT NULL);
INSERT INTO activity VALUES (0);
"""

Statement = tuple[str, tuple[Any, ...]]


def connect(file: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the shop's database; writers and readers do not block each other (WAL)."""
    uri = f"{file.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    database = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)
    if not read_only:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
    return database


def stamp(moment: float) -> str:
    """Seconds since 1970 as UTC text of fixed width: it sorts as time does."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


@dataclass
class Shop:
    """One shop in one database. :meth:`open` it, then :meth:`step` through its life."""

    database: sqlite3.Connection
    seed: int = 7
    clock: Callable[[], float] = time.time
    late: list[tuple[float, list[Statement]]] = field(default_factory=list)
    commits: int = 0
    late_commits: int = 0
    chance: random.Random = field(default_factory=random.Random)

    def open(self, customers: int = 300, products: int = 120, orders: int = 500) -> None:
        """Create the tables and a past of some weeks, once; an existing shop just goes on."""
        exists = self.database.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'activity'"
        ).fetchone()
        if exists:
            (done,) = self.database.execute("SELECT steps FROM activity").fetchone()
            self.chance = random.Random(f"{self.seed} {done}")
            return
        self.chance = random.Random(self.seed)
        self.database.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        now = self.clock()
        for count, make in (
            (products, self._product), (customers, self._customer), (orders, self._order)
        ):  # fmt: skip
            past: list[Statement] = []
            for number in range(1, count + 1):
                past += make(number, now - self.chance.uniform(60, 30 * 86_400))
            self._commit(past)

    def step(self) -> None:
        """One thing happens: a transaction now, or one that was stamped now commits later."""
        now = self.clock()
        self.commit_late(now)
        happenings = {
            self._new_order: 40, self._advance: 30, self._cancel: 4,
            self._new_customer: 8, self._move: 8, self._reprice: 10,
        }  # fmt: skip
        (happening,) = self.chance.choices(list(happenings), list(happenings.values()))
        statements = happening(now)
        if self.chance.random() < LATE_SHARE:
            self.late.append((now + self.chance.uniform(*LATE_SECONDS), statements))
        else:
            self._commit(statements)
        self.database.execute("UPDATE activity SET steps = steps + 1")

    def commit_late(self, until: float = float("inf")) -> None:
        """Commit the slow transactions that are due by *until*."""
        due = [statements for when, statements in self.late if when <= until]
        self.late = [entry for entry in self.late if entry[0] > until]
        for statements in due:
            self._commit(statements)
            self.late_commits += 1

    def _commit(self, statements: list[Statement]) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        for text, values in statements:
            self.database.execute(text, values)
        self.database.execute("COMMIT")
        self.commits += 1

    # What can happen. Each returns the statements of one transaction, stamped with *now*.

    def _new_order(self, now: float) -> list[Statement]:
        return self._order(self._free("orders", "id"), now)

    def _new_customer(self, now: float) -> list[Statement]:
        return self._customer(self._free("customers", "id"), now)

    def _advance(self, now: float) -> list[Statement]:
        """An order moves on to its next status."""
        row = self._any("SELECT id, status FROM orders WHERE deleted_at IS NULL")
        before = next((s for s, spelt in words.SPELLINGS.items() if row[1] in spelt), "new")
        at = min(words.STATUSES.index(before) + 1, len(words.STATUSES) - 1)
        status = self._status(words.STATUSES[at])
        return [_update("orders", {"status": status}, {"id": row[0]}, now)]

    def _cancel(self, now: float) -> list[Statement]:
        """An order is deleted with its lines: marked, so that readers can see it."""
        (order, _) = self._any("SELECT id, status FROM orders WHERE deleted_at IS NULL")
        gone = {"deleted_at": stamp(now)}
        return [
            _update("orders", gone, {"id": order}, now),
            _update("order_lines", gone, {"order_id": order}, now),
        ]

    def _move(self, now: float) -> list[Statement]:
        """A customer moves to another country."""
        (number, _) = self._any("SELECT id, country FROM customers WHERE deleted_at IS NULL")
        country = self.chance.choice(words.COUNTRIES)
        return [_update("customers", {"country": country}, {"id": number}, now)]

    def _reprice(self, now: float) -> list[Statement]:
        """Several products get new prices in the same instant; now and then one goes."""
        found = self.database.execute(
            "SELECT sku FROM products WHERE deleted_at IS NULL ORDER BY sku"
        ).fetchall()
        chosen = self.chance.sample(found, 3)
        changes = [
            _update("products", {"price": self._price()}, {"sku": sku}, now) for (sku,) in chosen
        ]
        if self.chance.random() < 0.1 and len(found) > 40:
            changes[0] = _update("products", {"deleted_at": stamp(now)}, {"sku": chosen[0][0]}, now)
        return changes

    # Rows.

    def _customer(self, number: int, moment: float) -> list[Statement]:
        first, last = self.chance.choice(words.FIRST), self.chance.choice(words.LAST)
        name: str | None = f"{first} {last}"
        if self._dirty():
            name = self.chance.choice((None, ""))
        row = (
            number, name, f"{first}.{last}.{number}@Example.org ",
            self.chance.choice(words.COUNTRIES), self.chance.choice(("yes", "no", "Y", "0", None)),
        )  # fmt: skip
        return [_insert("customers", row, moment)]

    def _product(self, number: int, moment: float) -> list[Statement]:
        thing = self.chance.choice(words.THINGS)
        name = f"{self.chance.choice(words.LOOKS)} {thing}"
        row = (f"{number:05d}", name, words.CATEGORIES[thing], self._price())
        return [_insert("products", row, moment)]

    def _order(self, number: int, moment: float) -> list[Statement]:
        (customer, _) = self._any("SELECT id, name FROM customers WHERE deleted_at IS NULL")
        day = datetime.fromtimestamp(moment, UTC)
        ordered = day.strftime("%Y-%m-%d")
        if self._dirty():
            ordered = self.chance.choice(words.BROKEN_DATES)
        status = self._status("new" if self.chance.random() < 0.7 else "paid")
        note = self.chance.choice(words.NOTES)
        made = [_insert("orders", (number, customer, status, ordered, note), moment)]
        for line in range(1, self.chance.randint(1, 5) + 1):
            (sku, price) = self._any("SELECT sku, price FROM products WHERE deleted_at IS NULL")
            quantity = -self.chance.randint(1, 9) if self._dirty() else self.chance.randint(1, 12)
            made.append(_insert("order_lines", (number, line, sku, quantity, price), moment))
        return made

    def _status(self, status: str) -> str:
        if self._dirty():
            return self.chance.choice(words.UNKNOWN_STATUSES)
        return self.chance.choice(words.SPELLINGS[status])

    def _price(self) -> str:
        if self._dirty():
            return self.chance.choice(words.BROKEN_PRICES)
        return f"{self.chance.choice((9.5, 120, 990, 4200)) * self.chance.uniform(0.5, 1.5):,.2f}"

    def _dirty(self) -> bool:
        return self.chance.random() < DIRTY_SHARE

    def _any(self, query: str) -> tuple[Any, Any]:
        """A random row of *query*, in an order that does not depend on SQLite's mood."""
        (count,) = self.database.execute(f"SELECT count(*) FROM ({query})").fetchone()  # noqa: S608
        at = self.chance.randrange(count)
        row: tuple[Any, Any] = self.database.execute(
            f"{query} ORDER BY 1 LIMIT 1 OFFSET ?", (at,)
        ).fetchone()
        return row

    def _free(self, table: str, key: str) -> int:
        """The next number: above all that are committed, and all that will be, late."""
        query = f"SELECT coalesce(max({key}), 0) FROM {table}"  # noqa: S608
        (top,) = self.database.execute(query).fetchone()
        waiting = [
            values[0]
            for _, statements in self.late
            for text, values in statements
            if text.startswith(f"INSERT INTO {table} ")
        ]
        return int(max([top, *waiting])) + 1


def _insert(table: str, row: tuple[Any, ...], moment: float) -> Statement:
    marks = ", ".join("?" * (len(row) + 2))
    return f"INSERT INTO {table} VALUES ({marks})", (*row, stamp(moment), None)  # noqa: S608


def _update(table: str, changes: dict[str, Any], where: dict[str, Any], moment: float) -> Statement:
    names = ", ".join(f"{name} = ?" for name in (*changes, "updated_at"))
    keys = " AND ".join(f"{name} = ?" for name in where)
    values = (*changes.values(), stamp(moment), *where.values())
    return f"UPDATE {table} SET {names} WHERE {keys}", values  # noqa: S608
