"""One statement shows the newest of every table; what cannot be looked at keeps to itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from services import Server
from sources.tables import INSTANT, STAMP, insert, stream
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, TidegateError, UnavailableError
from tidegate.model import Watermark
from tidegate.pipeline.kinds import kinds
from tidegate.sources import Lookout, Sight
from tidegate.sources.sql import watching
from tidegate.sources.sql.options import SqlStream
from tidegate.sources.sql.watching import SqlLookout

NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def make(server: Server, *tables: str, cursor: str | None = None, index: bool = True) -> Endpoint:
    endpoint = server.fresh()
    for table in tables:
        kind = cursor or STAMP[server.kind]
        server.execute(
            endpoint, f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, changed {kind})",
            *([f"CREATE INDEX {table}_changed ON {table} (changed)"] if index else []),
        )  # fmt: skip
    return endpoint


@contextmanager
def looking(endpoint: Endpoint) -> Iterator[SqlLookout]:
    lookout = SqlLookout(endpoint)
    try:
        yield lookout
    finally:
        lookout.close()


def sight(lookout: Lookout, one: SqlStream | None = None) -> Sight:
    found = lookout.look({"shop.orders": one or stream()})["shop.orders"]
    assert isinstance(found, Sight), found
    return found


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is sent meanwhile, by whichever session."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(sa.Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("type", ["int64", "datetime", "timestamp"])
def test_many_tables_are_one_statement(sql_server: Server, type: str) -> None:
    names = [f"t{number}" for number in range(40)]
    kinds_of = {"datetime": STAMP, "timestamp": INSTANT}.get(type, {})
    endpoint = make(sql_server, *names, cursor=kinds_of.get(sql_server.kind, "INTEGER"))
    for number, name in enumerate(names):
        value = number if type == "int64" else f"2024-01-01 00:00:{number:02}"
        insert(sql_server, endpoint, name, [{"id": 1, "changed": value}])
    streams = {f"shop.{name}": stream(table=name, types={"changed": type}) for name in names}
    with looking(endpoint) as lookout:
        lookout.look(streams)
        with statements() as sent:
            seen = lookout.look(streams)
    assert len(sent) == 1
    assert len({one.mark for one in seen.values() if isinstance(one, Sight)}) == 40


def test_an_index_answers_it_and_not_the_table(sql_server: Server) -> None:
    endpoint = make(sql_server, "orders", cursor="INTEGER")
    insert(sql_server, endpoint, "orders", [{"id": n, "changed": n} for n in range(300)])
    with looking(endpoint) as lookout:
        sight(lookout)
        with statements() as sent:
            sight(lookout)
    explain = {"sqlite": "EXPLAIN QUERY PLAN ", "mysql": "EXPLAIN ", "postgres": "EXPLAIN "}
    sql_server.execute(endpoint, *(["ANALYZE"] if sql_server.kind != "mysql" else []))
    with sql_server.engine(endpoint).connect() as connection:
        told = connection.exec_driver_sql(explain[sql_server.kind] + sent[-1]).all()
    said = " ".join(str(part) for row in told for part in row).lower()
    words = {"sqlite": "orders_changed", "mysql": "optimized away", "postgres": "orders_changed"}
    assert words[sql_server.kind] in said, said
    assert "seq scan" not in said


@pytest.mark.parametrize("kind", ["stamp", "instant", "date", "number"])
def test_what_is_past_a_row_is_past_its_cursor(sql_server: Server, kind: str) -> None:
    name = {"stamp": STAMP, "instant": INSTANT}.get(kind, {}).get(sql_server.kind)
    endpoint = make(sql_server, "orders", cursor=name or {"date": "DATE", "number": "BIGINT"}[kind])
    value: Any = {"date": NOW.date() - timedelta(days=1), "number": 17}.get(kind, NOW)
    if sql_server.kind == "sqlite" and kind != "number":
        value = f"{value}+00:00" if kind == "instant" else str(value)
    types = {"changed": {"stamp": "datetime", "instant": "timestamp", "date": "date"}.get(kind)}
    one = stream(types={} if kind == "number" else types)
    with sql_server.engine(endpoint).begin() as connection:
        if sql_server.kind == "mysql":
            connection.exec_driver_sql("SET time_zone = '+00:00'")
        if sql_server.kind == "postgres":
            connection.exec_driver_sql("SET TIME ZONE 'UTC'")
        place = sa.table("orders", sa.column("id"), sa.column("changed"))
        connection.execute(sa.insert(place).values(id=1, changed=value))
    past: dict[str, int | str] = {
        "stamp": f"{NOW.isoformat()}.000001", "instant": f"{NOW.isoformat()}.000001+00:00",
        "date": NOW.date().isoformat(), "number": 17,
    }  # fmt: skip
    with looking(endpoint) as lookout:
        seen = sight(lookout, one)
    assert seen.until == Watermark(past[kind])
    assert seen.until.column == "changed"


def test_a_lookback_in_numbers_is_not_waited_for(sqlite: Server) -> None:
    endpoint = make(sqlite, "orders", cursor="INTEGER")
    insert(sqlite, endpoint, "orders", [{"id": 1, "changed": 5000}])
    with looking(endpoint) as lookout:
        for fields, until in (
            ({"lookback": 300}, 4700), ({"bound": "lookback"}, 4000), ({}, 5000),
        ):  # fmt: skip
            assert sight(lookout, stream(**fields)).until == Watermark(until)


def test_a_row_of_the_future_does_not_hide_what_is_new(sql_server: Server) -> None:
    endpoint = make(sql_server, "orders")
    rows = [{"id": 1, "changed": NOW - timedelta(hours=1)}, {"id": 2, "changed": "2999-01-01"}]
    insert(sql_server, endpoint, "orders", rows)
    with looking(endpoint) as lookout:
        before = sight(lookout)
        insert(sql_server, endpoint, "orders", [{"id": 3, "changed": NOW - timedelta(minutes=1)}])
        after = sight(lookout)
    assert before.mark == str(NOW - timedelta(hours=1))
    assert after.mark == str(NOW - timedelta(minutes=1))


def test_an_empty_table_and_rows_without_a_cursor_show_nothing(sql_server: Server) -> None:
    endpoint = make(sql_server, "orders")
    with looking(endpoint) as lookout:
        assert sight(lookout) == Sight(None)
        insert(sql_server, endpoint, "orders", [{"id": 1, "changed": None}])
        assert sight(lookout) == Sight(None)


def test_one_bad_table_does_not_hide_the_others(sql_server: Server) -> None:
    endpoint = make(sql_server, "orders", "gone", cursor="INTEGER")
    sql_server.execute(
        endpoint, "CREATE TABLE slow (id INTEGER PRIMARY KEY, changed INTEGER)",
        "CREATE VIEW seen AS SELECT * FROM orders",
    )  # fmt: skip
    insert(sql_server, endpoint, "orders", [{"id": 1, "changed": 7}])
    streams: Mapping[str, SqlStream] = {
        f"shop.{table}": stream(table=table) for table in ("orders", "gone", "slow", "seen")
    }
    with looking(endpoint) as lookout:
        seen = lookout.look(streams)
        assert {name for name, one in seen.items() if isinstance(one, TidegateError)} == {
            "shop.slow", "shop.seen",
        }  # fmt: skip
        assert "Add an index, or write watch: false" in str(seen["shop.slow"])
        sql_server.execute(endpoint, "DROP TABLE gone")
        seen = lookout.look(streams)
        assert isinstance(seen["shop.gone"], ConfigError)
        assert seen["shop.orders"] == Sight("7", Watermark(7))
        assert lookout.look(streams) == seen


def test_a_lookback_that_does_not_fit_is_the_fault_of_its_stream(sqlite: Server) -> None:
    endpoint = make(sqlite, "orders", cursor="INTEGER")
    streams = {"shop.wrong": stream(lookback="2m"), "shop.orders": stream()}
    with looking(endpoint) as lookout:
        seen = lookout.look(streams)
    assert seen["shop.orders"] == Sight(None)
    assert "'2m' is a duration" in str(seen["shop.wrong"])


LOCK = {"mysql": "LOCK TABLES held WRITE", "postgres": "LOCK TABLE held"}


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_a_locked_table_is_left_out_and_the_others_are_seen(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "TIMEOUT", 1.0)
    server: Server = request.getfixturevalue(name)
    endpoint = make(server, "orders", "held", cursor="INTEGER")
    insert(server, endpoint, "orders", [{"id": 1, "changed": 7}])
    streams = {f"shop.{table}": stream(table=table) for table in ("orders", "held")}
    with looking(endpoint) as lookout, server.engine(endpoint).connect() as other:
        lookout.look(streams)
        other.exec_driver_sql(LOCK[server.kind])
        seen = lookout.look(streams)
        assert isinstance(seen["shop.held"], UnavailableError)
        assert seen["shop.orders"] == Sight("7", Watermark(7))
        monkeypatch.setattr(watching, "SLOW_TABLES", 0)
        lookout._tables.clear()
        with pytest.raises(UnavailableError):
            lookout.look(streams)


def test_a_cursor_that_became_wider_is_seen(postgres: Server) -> None:
    endpoint = make(postgres, "orders", cursor="INTEGER")
    insert(postgres, endpoint, "orders", [{"id": 1, "changed": 7}])
    with looking(endpoint) as lookout:
        for _ in range(8):
            sight(lookout)
        postgres.execute(endpoint, "ALTER TABLE orders ALTER COLUMN changed TYPE BIGINT")
        assert sight(lookout) == Sight("7", Watermark(7))


def test_a_server_that_is_away_is_an_error_of_the_whole_look(mariadb: Server) -> None:
    endpoint, streams = make(mariadb, "orders"), {"shop.orders": stream()}
    with looking(endpoint) as lookout:
        lookout.look(streams)
        number = lookout._session.scalar(sa.text("SELECT CONNECTION_ID()"))
        mariadb.execute(endpoint, f"KILL {number}")
        with pytest.raises(UnavailableError):
            lookout.look(streams)


def test_whoever_can_be_watched_has_something_to_look_with() -> None:
    for kind in kinds().values():
        assert ("unwatchable" in vars(kind.stream)) == (kind.watch is not None), kind.name
