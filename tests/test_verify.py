"""Faults that no cursor can see are found and repaired, on every source and store; nothing else."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services import Server
from shops import STAMP, Shop, bare
from tidegate import verify as package
from tidegate.compare import compare
from tidegate.errors import BrakeError
from tidegate.model import Mode
from tidegate.verify import Result, chunks, verify

SOURCES, STORES = ("sqlite", "mariadb", "postgres"), ("sqlite", "postgres")
PAIRS = list(itertools.product(SOURCES, STORES))
FEW = [("sqlite", "sqlite"), ("mariadb", "postgres"), ("postgres", "sqlite")]
ROWS = 300
OLD = "2026-03-01"


class Bench(Shop):
    """A shop of :data:`ROWS` orders, all loaded; of every fiftieth the total is no number."""

    def open(self, key: str = "INTEGER NOT NULL") -> Bench:
        """Create the table, and load it."""
        stamp = STAMP[self.server.kind]
        self.execute(
            f"CREATE TABLE orders (id {key}, part INTEGER NOT NULL, total VARCHAR(9), "
            f"changed {stamp})",
            "CREATE UNIQUE INDEX by_id ON orders (id, part)",
            "CREATE UNIQUE INDEX by_number ON orders (id)",
            "CREATE INDEX by_changed ON orders (changed, id)",
        )
        for start in range(1, ROWS + 1, 100):
            self.execute("INSERT INTO orders VALUES " + ", ".join(
                f"({n}, 0, '{'bad' if n % 50 == 0 else n % 9}', '{OLD}')"
                for n in range(start, start + 100)
            ))  # fmt: skip
        self.run()
        return self

    def spoil(self, *statements: str) -> None:
        """Change the store past everything."""
        engine = sa.create_engine(self.store.url)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def verify(self, fields: dict[str, Any] | None = None, **how: Any) -> Result:
        """Once."""
        return verify(self.job(**(fields or {})), **how)

    def truth(self) -> dict[str, str]:
        """Key → total, at the source."""
        names = [f"CAST({name} AS CHAR(20))" for name in ("id", "part")]
        with self.server.engine(self.source).connect() as connection:
            rows = connection.exec_driver_sql(f"SELECT {', '.join(names)}, total FROM orders").all()
        composite = not isinstance(self.fields.get("primary_key", "id"), str)
        return {
            f'["{id.strip()}","{part.strip()}"]' if composite else id.strip(): total
            for id, part, total in rows
        }

    def told(self) -> dict[str, str]:
        """Key → total, in the store: of live records, and of what is held in their place."""
        live = "SELECT _key, total FROM shop__orders WHERE NOT _deleted"
        row = '"row"' if self.store.kind == "postgres" else "row"
        held = f"SELECT key, {row} FROM tidegate_quarantine WHERE state = 'held'"
        found = {key: str(total) for key, total in bare(self.store, live)}
        import json

        return found | {key: json.loads(text)["total"] for key, text in bare(self.store, held)}

    def copy(self, key: str, as_key: str) -> str:
        """A statement that gives the store a record of another key."""
        quoted = [
            f'"{name}"' for name in self.columns() if name != "_key"
        ]  # fmt: skip
        names = ", ".join(quoted)
        return (
            f"INSERT INTO shop__orders (_key, {names}) "
            f"SELECT '{as_key}', {names} FROM shop__orders WHERE _key = '{key}'"
        )

    def columns(self) -> list[str]:
        engine = sa.create_engine(self.store.url)
        try:
            return [one["name"] for one in sa.inspect(engine).get_columns("shop__orders")]
        finally:
            engine.dispose()


@pytest.fixture
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Bench]:
    """Opens a bench on two servers, by their names; *fields* are the stream's."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    monkeypatch.setattr(chunks, "FIRST_ROWS", 40)
    monkeypatch.setattr(chunks, "LISTED_ROWS", 16)

    def open(source: str, store: str, key: str = "INTEGER NOT NULL", **fields: Any) -> Bench:
        server, target = (request.getfixturevalue(name) for name in (source, store))
        number = {"to_number": {"columns": ["total"], "type": "int64"}}
        known = {"clean": [number], "page_rows": 25, "lookback": "1m", "types": {}}
        return Bench(server, server.fresh(), target.fresh(), known | fields).open(key)

    return open


@pytest.fixture
def bench(opened: Callable[..., Bench]) -> Bench:
    """On SQLite alone, for what does not depend on the database."""
    return opened("sqlite", "sqlite")


def counts(result: Result) -> tuple[int, int, int, int]:
    return result.differing, result.repaired, result.tombstoned, result.touched


def watermark(bench: Bench) -> Any:
    with bench.job().store() as store:
        return store.state("shop.orders").watermark


def test_a_store_that_is_what_the_source_says_is_verified(opened: Any) -> None:
    for source, store in FEW:
        bench = opened(source, store)
        result = bench.verify()
        assert (result.compared, result.verified, result.finished) == (ROWS, True, True)
        assert counts(result) == (0, 0, 0, 0)
        assert result.watermark == watermark(bench)
        with bench.job().store() as opened_store:
            (status,) = opened_store.status()
        assert status.verified_through == result.watermark
        assert (status.repaired, status.verified_at is not None) == (0, True)
        assert result.listed == (ROWS if source == "sqlite" else 0)


def plant(bench: Bench) -> dict[str, int]:
    """Every kind of fault there is; how many of each."""
    bench.spoil(
        "DELETE FROM shop__orders WHERE _key = '17'",
        "UPDATE shop__orders SET _source_hash = _source_hash + 1 WHERE _key = '43'",
        bench.copy("5", "100001"),
        bench.copy("5", "-3"),
        "DELETE FROM tidegate_quarantine WHERE key = '100'",
    )
    bench.execute(
        "UPDATE orders SET total = '77' WHERE id = 23",
        "DELETE FROM orders WHERE id = 31",
        "UPDATE orders SET id = 5000 WHERE id = 41",
        "UPDATE orders SET total = 'odd' WHERE id = 150",
        "UPDATE orders SET total = '8' WHERE id = 200",
        "DELETE FROM orders WHERE id = 250",
    )
    repaired = ["17", "43", "100", "23", "5000", "150", "200"]
    return {"repaired": len(repaired), "gone": len(["100001", "-3", "31", "41", "250"])}


@pytest.mark.parametrize(("source", "store"), PAIRS)
def test_every_planted_fault_is_found_and_repaired(opened: Any, source: str, store: str) -> None:
    bench = opened(source, store)
    planted = plant(bench)
    total = planted["repaired"] + planted["gone"]
    seen = bench.verify(repair=False)
    assert (seen.differing, seen.repaired, seen.tombstoned) == (total, 0, 0)
    assert (seen.verified, seen.finished, seen.note) == (False, True, f"{total} rows differ")
    result = bench.verify()
    assert counts(result) == (total, planted["repaired"], planted["gone"], 0)
    assert result.verified
    assert bench.told() == bench.truth()
    assert compare(bench.job()).agrees
    assert counts(bench.verify()) == (0, 0, 0, 0)
    gone = bench.stored("_key", tail="WHERE _deleted AND _source_hash IS NULL")
    assert {"-3", "100001", "31", "41"} <= set(gone) <= {"-3", "100001", "31", "41", "250"}
