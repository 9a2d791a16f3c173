"""One rule of the protocol each, in the smallest scenario that shows it.

Where a rule has a test beside the code that keeps it, it is not repeated here; the list of all
rules, and of the tests that watch them, is ``tests/faults/mutants.py``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from services import Server
from shops import Shop
from sources.late.readers import TABLE
from tidegate import faults, path
from tidegate.model import Mode, Report, Window
from tidegate.sources.sql.bounds import server as servers
from tidegate.verify import verify

PAIRS = [("sqlite", "sqlite"), ("mariadb", "postgres")]


class Crash(BaseException):
    """The process ends here, as far as the product can tell."""


@pytest.fixture(params=PAIRS, ids="-to-".join)
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Orders numbered as they change, and no lookback: only the protocol keeps them."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(servers, "OBSERVE_SECONDS", 0)  # the bound is to move with every run
    origin, store = (request.getfixturevalue(name) for name in request.param)
    shop = Shop(origin, origin.fresh(), store.fresh(), {"lookback": 0, "page_rows": 3})
    shop.execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed INTEGER NOT NULL, day DATE)",
        "CREATE INDEX by_changed ON orders (changed, id)",
    )
    shop.insert(*({"id": n, "changed": n, "day": "2026-02-01"} for n in range(1, 11)))
    return shop


def at(monkeypatch: pytest.MonkeyPatch, place: str, action: Callable[[], None]) -> None:
    """Do *action* when the product passes *place* for the first time."""
    waiting = [action]

    def point(name: str) -> None:
        if name == place and waiting:
            waiting.pop()()

    monkeypatch.setattr(faults, "point", point)


def keys(shop: Shop) -> list[int]:
    """What the store has, as numbers."""
    return sorted(shop.stored("id", "shop__orders"))


def test_a_row_that_arrives_while_the_last_page_is_read_is_not_passed_over(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run()
    at(
        monkeypatch,
        "pull.read",
        lambda: shop.insert({"id": 11, "changed": 11}, {"id": 12, "changed": 12}),
    )
    shop.insert({"id": 20, "changed": 10})
    shop.run()
    shop.run()
    assert keys(shop) == [*range(1, 13), 20]


def test_rows_between_the_old_watermark_and_the_new_one_are_read(shop: Shop) -> None:
    shop.run()
    shop.insert(*({"id": n, "changed": n} for n in range(11, 21)))
    shop.run()
    assert keys(shop) == [*range(1, 21)]


def test_a_crash_before_the_commit_leaves_rows_and_watermark(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash() -> None:
        raise Crash

    shop.run()
    with shop.job().store() as store:
        before = store.state("shop.orders").watermark
    shop.insert(*({"id": n, "changed": n} for n in range(11, 21)))
    at(monkeypatch, "load.before_commit", crash)
    request, job = shop.request(), shop.job(page_rows=100)
    staged = path.validate(job, path.clean(job, path.pull(job, request)))
    with pytest.raises(Crash):
        path.load(job, staged)
    with shop.job().store() as store:
        assert store.state("shop.orders").watermark == before
    assert keys(shop) == [*range(1, 11)]
    path.run(job, request)
    assert keys(shop) == [*range(1, 21)]


def test_a_crash_between_two_parts_is_made_up_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash() -> None:
        raise Crash

    monkeypatch.setenv("TIDEGATE_LEASE_SECONDS", "0.001")
    shop.run()
    shop.insert(*({"id": n, "changed": n} for n in range(11, 21)))
    at(monkeypatch, "load.after_commit", crash)
    with pytest.raises(Crash):
        shop.run()
    assert keys(shop) == [*range(1, 13)]  # the watermark's row and two more are a page
    shop.run()
    assert keys(shop) == [*range(1, 21)]


def test_a_load_that_is_repeated_changes_nothing(shop: Shop) -> None:
    request = shop.request(Mode.WINDOW, Window("2026-01-01", "2027-01-01"))
    job = shop.job(backfill={"by": "day"})
    staged = path.validate(job, path.clean(job, path.pull(job, request)))
    first = attempt(lambda: path.load(job, staged))
    again = attempt(lambda: path.load(job, staged))
    assert first.inserted == 10
    assert (again.repeated, again.seq, again.inserted) == (True, first.seq, 10)
    assert shop.stored("seq", "tidegate_run") == [first.seq]


def attempt(load: Callable[[], Report]) -> Report:
    """It must not fail."""
    try:
        return load()
    except Exception as error:  # noqa: BLE001 - whatever a driver calls it
        pytest.fail(f"the load fails: {error}")


# Clocks, rights, deletions ------------------------------------------------------------------------


@pytest.fixture
def stamped(
    postgres: Server, sqlite: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    """Orders that PostgreSQL itself stamps."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    shop = Shop(postgres, postgres.fresh(), sqlite.fresh(), {"lookback": None})
    shop.execute(*TABLE["postgres"], "INSERT INTO orders (id, value) VALUES (0, 0)")
    return shop


def test_a_clock_that_was_set_back_hides_no_row(stamped: Shop) -> None:
    stamped.run()
    an_hour_ahead(stamped)
    stamped.execute("INSERT INTO orders (id, value) VALUES (1, 1)")
    stamped.run()
    assert keys(stamped) == [0, 1]


def an_hour_ahead(shop: Shop) -> None:
    """As if the source's clock had been an hour ahead until now."""

    def later(text: str) -> str:
        moment = datetime.fromisoformat(text) + timedelta(hours=1)
        return moment.isoformat(timespec="microseconds")

    with closing(sqlite3.connect(str(shop.store.database))) as store, store:
        store.execute("DELETE FROM tidegate_server")
        mark, memory = map(
            json.loads, store.execute("SELECT watermark, memory FROM tidegate_stream").fetchone()
        )
        mark["cursor"] = later(mark["cursor"])
        memory["moment"] = later(memory["moment"])
        memory["clock"][0] = later(memory["clock"][0])
        store.execute(
            "UPDATE tidegate_stream SET watermark = ?, memory = ?",
            (json.dumps(mark), json.dumps(memory)),
        )


def test_without_the_right_to_see_sessions_no_row_is_lost(stamped: Shop) -> None:
    reader = replace(stamped.source, user=f"reader_{stamped.source.database}", password="x")
    stamped.execute(
        f"CREATE USER {reader.user} PASSWORD 'x'", f"GRANT SELECT ON orders TO {reader.user}"
    )
    writer, stamped.source = stamped.source, reader
    with psycopg.connect(
        host=writer.host, port=writer.port, user=writer.user, password=writer.password,
        dbname=writer.database,
    ) as late:  # fmt: skip
        late.execute("INSERT INTO orders (id, value) VALUES (1, 1)")
        late.execute("SELECT pg_sleep(2.5)")
        stamped.run()
        late.commit()
    stamped.run()
    assert keys(stamped) == [0, 1]


def test_a_row_that_returns_while_deletions_are_sought_stays(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run()
    shop.execute("DELETE FROM orders WHERE id = 4")
    at(
        monkeypatch,
        "verify.chunk",
        lambda: shop.insert({"id": 4, "changed": 4, "day": "2026-02-01"}),
    )
    verify(shop.job(page_rows=100), allow_deletes=10)
    assert shop.stored("id", "shop__orders", "WHERE NOT _deleted ORDER BY 1") == [*range(1, 11)]
