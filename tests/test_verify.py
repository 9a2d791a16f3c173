"""Faults that no cursor can see are found and repaired, on every source and store; nothing else."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services import Server
from shops import STAMP, Shop, bare
from tidegate import faults
from tidegate import verify as package
from tidegate.compare import compare
from tidegate.errors import BrakeError, BusyError, ChangedError, ConfigError
from tidegate.model import Mode, Watermark
from tidegate.pipeline.models import Keep
from tidegate.verify import Result, chunks, verify
from tidegate.verify.mending import Mender

SOURCES, STORES = ("sqlite", "mariadb", "postgres"), ("sqlite", "postgres")
PAIRS = list(itertools.product(SOURCES, STORES))
FEW = [("sqlite", "sqlite"), ("mariadb", "postgres"), ("postgres", "sqlite")]
ROWS = 300
OLD = "2026-03-01"
few = pytest.mark.parametrize(("source", "store"), FEW)


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

    def told_of(self, column: str) -> bool:
        """Whether the store has that column."""
        with self.job().store() as store:
            found = store.agreement("shop.orders")
        return found is not None and column in {one.column.name for one in found.columns}

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


@few
def test_a_store_that_is_what_the_source_says_is_verified(
    opened: Any, source: str, store: str
) -> None:
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


@few
def test_rows_above_the_watermark_are_no_differences(opened: Any, source: str, store: str) -> None:
    bench = opened(source, store)
    bench.execute(
        f"INSERT INTO orders VALUES (9001, 0, '1', '{later()}')",
        f"UPDATE orders SET total = '5', changed = '{later()}' WHERE id = 3",
        f"UPDATE orders SET total = '5', changed = '{later()}' WHERE id = 100",
    )
    result = bench.verify(repair=False)
    assert result.verified
    assert result.differing == 0
    assert "9001" not in bench.told()


def later() -> str:
    """A stamp that is above every watermark of a test."""
    return datetime.now(UTC).replace(year=2090).strftime("%Y-%m-%d %H:%M:%S")


@few
def test_rows_without_a_cursor_are_mended_and_not_counted_as_faults(
    opened: Any, source: str, store: str
) -> None:
    bench = opened(source, store)
    bench.execute("UPDATE orders SET changed = NULL WHERE id IN (7, 8)")
    bench.run()
    bench.execute("UPDATE orders SET total = '3333' WHERE id = 7")
    bench.spoil("DELETE FROM shop__orders WHERE _key = '8'")
    result = bench.verify()
    assert (*counts(result), result.verified) == (0, 0, 0, 2, True)
    assert bench.told() == bench.truth()


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("VARCHAR(20) NOT NULL", {}),
        ("INTEGER NOT NULL", {"primary_key": ["id", "part"]}),
        ("VARCHAR(20) NOT NULL", {"primary_key": ["id", "part"]}),
    ],
    ids=["text", "number and number", "text and number"],
)
@few
def test_any_key_will_do(
    opened: Any, source: str, store: str, key: str, fields: dict[str, Any]
) -> None:
    composite = bool(fields)

    def text(id: int) -> str:
        return f'["{id}","0"]' if composite else str(id)

    bench = opened(source, store, key, **fields)
    bench.spoil(
        f"DELETE FROM shop__orders WHERE _key = '{text(17)}'",
        bench.copy(text(5), text(-12)),
        bench.copy(text(5), "neither a number nor a list"),
    )
    bench.execute(
        "UPDATE orders SET total = '77' WHERE id = '23'",
        "DELETE FROM orders WHERE id = '31'",
        "UPDATE orders SET id = '4000' WHERE id = '41'",
    )
    result = bench.verify()
    assert (*counts(result), result.verified) == (7, 3, 4, 0, True)
    assert bench.told() == bench.truth()


@few
def test_what_the_source_does_not_keep_unique_is_no_difference(
    opened: Any, source: str, store: str
) -> None:
    bench = opened(source, store)
    bench.execute(
        "DROP INDEX by_number" + (" ON orders" if source == "mariadb" else ""),
        "CREATE INDEX by_number ON orders (id)",
        f"INSERT INTO orders VALUES (12, 1, '4', '{OLD}'), (13, 1, '4', '{OLD}')",
    )
    bench.run(Mode.FULL)
    result = bench.verify()
    assert (result.differing, result.verified) == (0, True)
    bench.spoil("DELETE FROM shop__orders WHERE _key = '12'")
    assert (*counts(bench.verify())[:3], bench.verify().verified) == (1, 1, 0, True)


@few
def test_soft_deleted_and_repeated_rows_are_compared_like_others(
    opened: Any, source: str, store: str
) -> None:
    steps = [
        {"to_number": {"columns": ["total"], "type": "int64"}},
        {"drop_duplicates": {"columns": ["total"]}},
    ]
    bench = opened(source, store, clean=steps, deleted={"column": "part", "values": [1]}, types={})
    bench.execute(f"UPDATE orders SET part = 1, changed = '{OLD}' WHERE id IN (4, 5)")
    bench.run(Mode.FULL)
    assert len(bench.stored("_key", tail="WHERE _deleted")) == 2
    assert counts(bench.verify()) == (0, 0, 0, 0)
    bench.execute("DELETE FROM orders WHERE id = 4", "UPDATE orders SET part = 2 WHERE id = 5")
    assert counts(bench.verify()) == (2, 1, 1, 0)
    assert counts(bench.verify()) == (0, 0, 0, 0)


@few
def test_a_row_that_comes_back_after_it_was_gone_is_loaded_again(
    opened: Any, source: str, store: str
) -> None:
    bench = opened(source, store)
    bench.execute("DELETE FROM orders WHERE id = 9")
    assert counts(bench.verify()) == (1, 0, 1, 0)
    bench.execute(f"INSERT INTO orders VALUES (9, 0, '{9 % 9}', '{OLD}')")
    assert counts(bench.verify()) == (1, 1, 0, 0)
    assert bench.told() == bench.truth()


def test_what_keep_leaves_of_the_quarantine_is_still_known(bench: Bench) -> None:
    bench.execute("UPDATE orders SET total = '8' WHERE id = 100")
    assert bench.verify().repaired == 1
    with bench.job().store() as store:
        later = datetime.now(UTC) + timedelta(days=40)
        assert store.trim("shop.orders", Keep(quarantine="30d"), later).quarantine == 1
    assert (*counts(bench.verify()), bench.verify().verified) == (0, 0, 0, 0, True)
    assert bench.told() == bench.truth()


# The brake ----------------------------------------------------------------------------------------


@few
def test_more_gone_than_the_brake_allows_deletes_nothing_until_somebody_says_so(
    opened: Any,
    source: str,
    store: str,
) -> None:
    bench = opened(source, store)
    bench.execute("DELETE FROM orders WHERE id > 280")
    before = bench.told()
    with pytest.raises(BrakeError) as caught:
        bench.verify()
    text = str(caught.value)
    assert "20 of the store's 300 rows are gone from the source; deletes: {brake: 5%} " in text
    assert "allows 15" in text
    assert "tidegate verify shop.orders --allow-deletes 20" in text
    assert "281" in text
    assert bench.told() == before
    with bench.job().store() as opened_store:
        newest, *_ = opened_store.verifications("shop.orders")
        assert (newest.state, newest.note) == ("done", text)
        assert opened_store.status()[0].verified_through is None
    with pytest.raises(BrakeError, match="--allow-deletes 19 allows 19"):
        bench.verify(allow_deletes=19)
    assert counts(bench.verify(allow_deletes=20)) == (20, 0, 20, 0)
    assert bench.told() == bench.truth()


@few
def test_an_emptied_source_trips_every_brake(opened: Any, source: str, store: str) -> None:
    bench = opened(source, store, deletes={"brake": "100%"})
    bench.execute("DELETE FROM orders" if source == "sqlite" else "TRUNCATE TABLE orders")
    before = bench.told()
    with pytest.raises(BrakeError, match="no rows at all are left in the source"):
        bench.verify()
    assert bench.told() == before
    assert bench.verify(allow_deletes=ROWS).tombstoned == ROWS
    assert bench.told() == {}


def test_a_source_that_fails_in_the_middle_deletes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.execute("DELETE FROM orders WHERE id = 31")
    before = bench.told()
    monkeypatch.setenv("TIDEGATE_FAULT", "verify.before_repair:fail")
    with pytest.raises(OSError, match="asked for a failure"):
        bench.verify()
    assert bench.told() == before
    monkeypatch.delenv("TIDEGATE_FAULT")
    assert counts(bench.verify()) == (1, 0, 1, 0)


# Full runs ----------------------------------------------------------------------------------------


@few
def test_a_full_run_deletes_what_is_gone_when_the_file_says_so(
    opened: Any, source: str, store: str
) -> None:
    bench = opened(source, store)
    bench.execute("DELETE FROM orders WHERE id IN (31, 250)")
    bench.run(Mode.FULL)
    assert bench.told().keys() - bench.truth().keys() == {"31", "250"}
    bench.run(Mode.FULL, deletes={"full": True})
    assert bench.told() == bench.truth()
    assert counts(bench.verify()) == (0, 0, 0, 0)


@few
def test_a_full_run_stops_at_the_brake_too(opened: Any, source: str, store: str) -> None:
    bench = opened(source, store, deletes={"full": True})
    bench.execute("DELETE FROM orders WHERE id > 200")
    before = bench.told()
    with pytest.raises(BrakeError, match="100 of the store's 300 rows are gone"):
        bench.run(Mode.FULL)
    bench.execute("DELETE FROM orders")
    with pytest.raises(BrakeError, match="no rows at all are left in the source"):
        bench.run(Mode.FULL)
    assert bench.told() == before


# Killed, stopped, beside others -------------------------------------------------------------------

SHELL = """
import sys
from tidegate.cli import main
from tidegate.verify import chunks
chunks.FIRST_ROWS, chunks.LISTED_ROWS = 40, 16
raise SystemExit(main(sys.argv[1:]))
"""
FILE = """\
connection: shop
streams:
  orders:
    table: orders
    primary_key: id
    cursor: changed
    lookback: 1m
    page_rows: 25
    clean:
      - to_number: {columns: [total], type: int64}
"""


@pytest.mark.parametrize(("source", "store"), FEW[:2])
def test_a_killed_verification_goes_on_where_it_was(
    opened: Any, source: str, store: str, tmp_path: Path
) -> None:
    bench = opened(source, store)
    (tmp_path / "shop.yaml").write_text(FILE, encoding="utf-8")

    def shell(fault: str = "") -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ, "PYTHONPATH": str(Path(package.__file__).parents[2]),
            "AIRFLOW_CONN_SHOP": bench.server.uri(bench.source),
            "AIRFLOW_CONN_TIDEGATE_STORE": bench.server.uri(bench.store),
            "TIDEGATE_FAULT": fault,
        }  # fmt: skip
        arguments = ["--pipelines", str(tmp_path), "verify", "shop.orders", "--json"]
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SHELL, *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    planted = plant(bench)
    first = watermark(bench).cursor
    for fault in ("verify.chunk:kill:4", "verify.before_repair:kill"):
        assert shell(fault).returncode == -signal.SIGKILL
    with bench.job().store() as opened_store:
        (kept,) = opened_store.verifications("shop.orders")
    assert kept.state == "running"
    assert kept.position["first" if source != "sqlite" else "after"]
    assert 0 < kept.counts["rows_compared"] < ROWS
    bench.execute(f"UPDATE orders SET changed = '{OLD}' WHERE id = 1")
    bench.run()
    assert watermark(bench).cursor > first
    done = shell()
    (said,) = json.loads(done.stdout)
    assert (done.returncode, said["verified"], said["watermark"]) == (0, True, first)
    assert said["repaired"] + said["tombstoned"] <= sum(planted.values())
    assert bench.told() == bench.truth()
    with bench.job().store() as opened_store:
        (kept,) = opened_store.verifications("shop.orders")
    assert kept.state == "done"


@few
def test_what_was_repaired_counts_though_nobody_lived_to_say_so(
    opened: Any, source: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = opened(source, store)
    bench.spoil("DELETE FROM shop__orders WHERE _key IN ('3', '204')")
    bench.execute("DELETE FROM orders WHERE id IN (7, 299)")
    monkeypatch.setenv("TIDEGATE_FAULT", "load.after_commit:fail:2")
    for _ in range(2):  # when 204 was loaded, and when 7 and 299 became tombstones
        monkeypatch.setattr(faults, "_passed", {})
        with pytest.raises(OSError, match="asked for a failure"):
            bench.verify()
    monkeypatch.delenv("TIDEGATE_FAULT")
    result = bench.verify()
    assert (*counts(result), result.verified) == (4, 2, 2, 0, True)
    assert bench.told() == bench.truth()


def test_a_stopped_verification_goes_on_unless_told_to_begin_anew(bench: Bench) -> None:
    stops = iter([False, False, True])
    stopped = bench.verify(stop=lambda: next(stops))
    assert (stopped.finished, stopped.verified, stopped.compared) == (False, False, 75)
    rest = bench.verify()
    assert (rest.finished, rest.verified, rest.compared) == (True, True, ROWS)
    assert bench.verify(stop=lambda: True).compared == 25
    assert bench.verify(again=True).compared == ROWS
    with bench.job().store() as store:
        states = [one.state for one in store.verifications("shop.orders")]
    assert states == ["done", "stopped", "done"]


@few
@pytest.mark.parametrize("type", ["INTEGER", "TIMESTAMP"])
def test_a_stopped_verification_of_another_cursor_is_not_gone_on_with(
    opened: Any, source: str, store: str, type: str
) -> None:
    bench = opened(source, store)
    value = "0" if type == "INTEGER" else f"'{OLD} 10:00:00'"
    bench.execute(
        f"ALTER TABLE orders ADD COLUMN other {type} DEFAULT {value} NOT NULL",
        f"UPDATE orders SET other = {'id' if type == 'INTEGER' else 'other'}",
        "CREATE INDEX by_other ON orders (other, id)",
    )
    bench.run(Mode.FULL)
    assert not bench.verify(stop=lambda: True).finished
    other = {"cursor": "other", "lookback": 0 if type == "INTEGER" else "1m"}
    bench.run(Mode.FULL, **other)
    bench.spoil("DELETE FROM shop__orders WHERE _key IN ('201', '202')")
    result = bench.verify(other)
    assert (result.compared, *counts(result), result.verified) == (ROWS, 2, 2, 0, 0, True)
    assert result.watermark.column == "other"


LOWER = [
    (5, 7), (Decimal(5), 7), (date(2026, 3, 1), "2026-03-02"),
    (datetime(2026, 3, 1), "2026-03-02T00:00:00.000000"),
    (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-02T00:00:00.000000+00:00"),
    ("5", None), (5.0, None),
]  # fmt: skip


@pytest.mark.parametrize("low", [7, *(low for _, low in LOWER[2:5])])
def test_a_watermark_says_nothing_of_cursors_of_another_kind(bench: Bench, low: int | str) -> None:
    nobody: Any = None
    mender = Mender(bench.job(), nobody, nobody, Watermark(low), "run")
    for cursor, above in LOWER:
        if above == low:
            assert mender._lies_below(cursor)
        else:
            with pytest.raises(ConfigError, match="which is not of the watermark's kind"):
                mender._lies_below(cursor)


def test_a_look_is_not_gone_on_with_by_a_repair_nor_a_repair_by_a_look(bench: Bench) -> None:
    bench.spoil("DELETE FROM shop__orders WHERE _key IN ('3', '4')")
    assert bench.verify(repair=False, stop=lambda: True).differing == 2
    rest = bench.verify()
    assert (rest.compared, *counts(rest), rest.verified) == (ROWS, 2, 2, 0, 0, True)
    assert bench.verify(stop=lambda: True).compared == 25
    bench.spoil("DELETE FROM shop__orders WHERE _key IN ('3', '204')")
    assert bench.verify(repair=False).differing == 2


def test_what_is_gone_is_found_whatever_else_goes_while_a_verification_rests(bench: Bench) -> None:
    stops = iter([False, True])
    bench.verify(stop=lambda: next(stops))
    bench.execute("DELETE FROM orders WHERE id = 5")
    bench.run(Mode.FULL, deletes={"full": True})
    bench.execute("DELETE FROM orders WHERE id = 280")
    assert (*counts(bench.verify()), bench.verify().verified) == (1, 0, 1, 0, True)
    assert bench.told() == bench.truth()


def test_a_stream_that_has_not_run_is_not_verified(bench: Bench, sqlite: Server) -> None:
    fresh = Bench(bench.server, bench.source, sqlite.fresh(), bench.fields)
    result = fresh.verify()
    assert (result.verified, result.note) == (False, "the stream has not run yet")


@few
def test_new_columns_wait_until_the_stream_has_read_them(
    opened: Any, source: str, store: str
) -> None:
    bench = opened(source, store, drift={"add": "accept", "drop": "keep"})
    bench.execute("ALTER TABLE orders ADD COLUMN note VARCHAR(9)")
    assert counts(bench.verify()) == (0, 0, 0, 0)
    bench.run()
    assert counts(bench.verify()) == (0, 0, 0, 0)
    bench.execute("ALTER TABLE orders DROP COLUMN note")
    with pytest.raises(ChangedError, match="It has to run before it can be verified"):
        bench.verify()
    bench.run()
    assert counts(bench.verify()) == (0, 0, 0, 0)


def test_a_verification_ends_when_the_stream_agrees_to_other_columns_meanwhile(
    bench: Bench,
) -> None:
    def sync() -> bool:
        if not bench.told_of("note"):
            bench.execute("ALTER TABLE orders ADD COLUMN note VARCHAR(9) DEFAULT 'x'")
            bench.run()
        return False

    with pytest.raises(ChangedError, match="the table changed while it was compared"):
        bench.verify({"verify": {"chunk": "1s"}}, stop=sync)
    assert bench.stored("count(*)", "tidegate_run", "WHERE mode = 'repair'") == [0]
    assert counts(bench.verify()) == (0, 0, 0, 0)


SECONDS = float(os.environ.get("TIDEGATE_VERIFY_SECONDS") or 4)
NOW = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')", "mysql": "UTC_TIMESTAMP(6)",
    "postgres": "(clock_timestamp() AT TIME ZONE 'UTC')",
}  # fmt: skip


class Writer(threading.Thread):
    """Inserts, changes and deletes orders until it is told to end; each statement is a commit."""

    def __init__(self, bench: Bench, seed: int) -> None:
        super().__init__()
        self._bench = bench
        self._random = random.Random(seed)
        self._seed = seed
        self._end = threading.Event()
        self.deleted: set[str] = set()

    def run(self) -> None:
        now, pick = NOW[self._bench.server.kind], self._random.randint
        engine = self._bench.server.engine(self._bench.source)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for number in itertools.count(1_000 * self._seed):
                if self._end.is_set():
                    break
                old = pick(1, ROWS) // 3 * 3 + self._seed % 3
                gone = 1_000 * self._seed + pick(0, max(number - 1_000 * self._seed, 1))
                for statement in (
                    f"INSERT INTO orders VALUES ({number}, 0, '{pick(1, 9)}', {now})",
                    f"UPDATE orders SET total = '{pick(1, 999)}', changed = {now} WHERE id = {old}",
                    f"DELETE FROM orders WHERE id = {gone}" if pick(0, 3) == 0 else "",
                ):
                    if statement:
                        connection.exec_driver_sql(statement)
                    if statement.startswith("DELETE"):
                        self.deleted.add(str(gone))
                time.sleep(0.02)
        engine.dispose()

    def end(self) -> None:
        """Have it end, and wait until it did."""
        self._end.set()
        self.join()


@contextmanager
def busy(bench: Bench) -> Iterator[list[Writer]]:
    """Two writers, and a sync that runs all the time."""
    writers = [Writer(bench, seed) for seed in (1, 2)]
    over = threading.Event()

    def sync() -> None:
        while not over.is_set():
            try:
                bench.run()
            except BusyError:
                time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        syncs = pool.submit(sync)
        for writer in writers:
            writer.start()
        try:
            yield writers
        finally:
            for writer in writers:
                writer.end()
            over.set()
        syncs.result()


def found_gone(bench: Bench) -> set[str]:
    """Keys that ever had a tombstone because the source lacked them."""
    tables = ("shop__orders", "shop__orders__history")
    return {
        key for table in tables for key in bench.stored("_key", table, "WHERE _source_hash IS NULL")
    }


@few
def test_beside_writers_and_syncs_nothing_is_repaired_and_nothing_lost(
    opened: Any, source: str, store: str
) -> None:
    bench = opened(source, store, lookback="1s", deletes={"brake": 100_000})
    deadline = time.monotonic() + SECONDS
    with busy(bench) as writers:
        while time.monotonic() < deadline:
            result = bench.verify()
            assert (result.repaired, result.verified) == (0, True), result
            assert result.differing == result.tombstoned
    settle(bench)
    assert bench.verify().repaired == 0
    assert bench.told() == bench.truth()
    assert found_gone(bench) <= set().union(*(writer.deleted for writer in writers))


def settle(bench: Bench) -> None:
    """Run until the watermark is above everything written."""
    end = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    deadline = time.monotonic() + 60
    while watermark(bench).cursor.replace("T", " ") <= end:
        assert time.monotonic() < deadline
        bench.run()


@few
def test_full_runs_beside_writers_delete_only_what_is_gone(
    opened: Any, source: str, store: str
) -> None:
    bench = opened(source, store, lookback="1s", deletes={"full": True, "brake": 100_000})
    deadline = time.monotonic() + SECONDS
    with busy(bench) as writers:
        while time.monotonic() < deadline:
            with suppress(BusyError):
                bench.run(Mode.FULL)
    settle(bench)
    bench.run(Mode.FULL)
    assert bench.told() == bench.truth()
    deleted = set().union(*(writer.deleted for writer in writers))
    assert found_gone(bench) <= deleted
