"""A store follows the program's version: killed half-way it is as before, and never goes back."""

from __future__ import annotations

import itertools
import json
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

import services
from store import old_store
from store.deliveries import Delivery
from store.upgrading import contents, opened, opening
from tidegate.connections import Endpoint
from tidegate.store import engine as engines
from tidegate.store import open_store, upgrade
from tidegate.store.checks import invariants
from tidegate.store.digest import Digest
from tidegate.store.record import layouts
from tidegate.store.store import Store

MIGRATIONS = Path(upgrade.__file__).parent / "migrations"
LINES = ("shop__lines", "shop__lines__history")
KILLS = [
    "ALTER TABLE tidegate_head",  # nothing but a lock so far
    "CREATE TABLE entity",  # the old knowledge is dropped
    "CREATE TEMPORARY TABLE computed",  # fixed tables are new, the first stream's are old
    "CREATE TABLE shop__lines__history",  # a table dropped, its rows in a temporary one
    "CREATE TABLE tidegate_server",  # the ledger is of parts
    "UPDATE tidegate_schema SET version_num='0004'",  # all but the version
]


@pytest.fixture
def by_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """New stores hash rows as old ones did: two forms of one content cannot be compared."""
    monkeypatch.setattr(layouts, "form", lambda *_: layouts.TEXT)


def loaded_anew(
    server: services.Server, streams: list[old_store.OldStream], folder: Path
) -> Digest:
    """The digest of a new store that was given the same increments."""
    with open_store(server.fresh()) as store:
        for stream in streams:
            for rows in stream.increments:
                delivery(store, stream, folder).load(rows)
        return store.digest()


def delivery(store: Store, stream: old_store.OldStream, folder: Path) -> Delivery:
    meaning: dict[str, Any] = {"deleted": {"column": "gone"}}
    if stream.refs:
        meaning = old_store.MAPPING
    return Delivery(store, folder, stream.name, stream.types, meaning, stream.marks)


@pytest.mark.usefixtures("by_texts")
@pytest.mark.parametrize("seed", range(4))
def test_an_upgraded_store_says_what_a_new_one_says(
    server: services.Server, seed: int, tmp_path: Path
) -> None:
    endpoint = server.fresh()
    streams = old_store.build(server, endpoint, random.Random(seed))
    with open_store(endpoint) as store:
        mine = store.digest()
    theirs = loaded_anew(server, streams, tmp_path)
    assert (mine.records, mine.history) == (theirs.records, theirs.history)
    assert mine.records[0] > 10
    assert mine.history[0] > mine.records[0]


@pytest.mark.usefixtures("by_texts")
def test_an_upgrade_killed_six_times_has_not_happened_and_then_ends(
    server: services.Server, tmp_path: Path
) -> None:
    endpoint = server.fresh()
    streams = old_store.build(server, endpoint, random.Random(7))
    before = contents(server, endpoint)
    for statement in KILLS:
        assert opened(opening(server, endpoint, statement)) == -signal.SIGKILL, statement
        assert contents(server, endpoint) == before, statement
    assert opened(opening(server, endpoint)) == 0
    with open_store(endpoint) as store:
        for stream in streams:
            list(store.derive(stream.name, delivery(store, stream, tmp_path).model))
        assert store.digest() == loaded_anew(server, streams, tmp_path)


@pytest.mark.usefixtures("by_texts")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("loads_first", [False, True])
def test_knowledge_is_empty_until_it_is_derived_and_then_complete(
    server: services.Server, seed: int, loads_first: bool, tmp_path: Path
) -> None:
    endpoint = server.fresh()
    streams = old_store.build(server, endpoint, random.Random(seed))
    with open_store(server.fresh()) as new, open_store(endpoint) as store:
        for stream in streams:
            for rows in stream.increments:
                delivery(new, stream, tmp_path).load(rows)
        if loads_first:
            for stream in streams:
                again = [{**row, "_token": 1 << 40} for row in stream.increments[0]]
                delivery(new, stream, tmp_path).load(again)
                report = delivery(store, stream, tmp_path).load(again)
                assert report.details["mapping"] == "outdated"
        assert store.digest().entities[0] == 0
        for stream in streams:
            what = delivery(store, stream, tmp_path)
            steps = [step.what for step in store.derive(stream.name, what.model, rows=7)]
            assert "switch" in steps
        assert store.digest() == new.digest()
        assert new.digest().entities[0] > 10
        assert dates(server, endpoint) == dates(server, new.endpoint)
        with store._reading() as connection:
            assert invariants.check(connection) == []


def dates(server: services.Server, endpoint: Endpoint) -> set[tuple[Any, ...]]:
    """Since when each version holds in the world."""
    with server.engine(endpoint).connect() as connection:
        return {
            (table, *row)
            for table in ("shop__orders", "shop__orders__history", "shop__lines")
            for row in connection.exec_driver_sql(f"SELECT _key, _hash, _valid FROM {table}")
        }


@pytest.mark.parametrize("seed", range(3))
def test_reading_everything_again_after_an_upgrade_changes_no_record(
    server: services.Server, seed: int, tmp_path: Path
) -> None:
    endpoint = server.fresh()
    streams = old_store.build(server, endpoint, random.Random(seed))
    with open_store(endpoint) as store:
        before = store.digest()
        for stream in streams:
            rows = {row["_key"]: row for rows in stream.increments for row in rows}
            again = [{**row, "_token": 1 << 40} for row in rows.values()]
            report = delivery(store, stream, tmp_path).load(again)
            assert report.unchanged == len(again)
            with store._reading() as connection:
                assert layouts.form(connection, stream.name) == layouts.TEXT
        after = store.digest()
    assert (before.records, before.history) == (after.records, after.history)


def test_versions_that_differed_in_their_keys_columns_only_become_one(
    server: services.Server,
) -> None:
    endpoint = server.fresh()
    old_store.build(server, endpoint, random.Random(1))
    columns = "_key, id, product, amount, _token, _hash, _source_hash, _deleted, _seq"
    no = "0" if server.kind == "sqlite" else "false"
    history = [("pen", 1, 11, 1, 2), ("pen", 2, 12, 2, 3), ("ink", 3, 13, 3, 4)]
    server.execute(
        endpoint,
        "DELETE FROM shop__lines",
        "DELETE FROM shop__lines__history",
        *(
            f"INSERT INTO shop__lines__history ({columns}, _seq_to) VALUES "
            f"('7', 7, '{product}', 1, {token}, {hash}, 0, {no}, {seq}, {seq_to})"
            for product, token, hash, seq, seq_to in history
        ),
        f"INSERT INTO shop__lines ({columns}) VALUES ('7', 7, 'pen', 1, 9, 19, 0, {no}, 6)",
    )
    open_store(endpoint).close()
    with server.engine(endpoint).connect() as connection:
        read = connection.exec_driver_sql
        past = read("SELECT _hash, _first, _token, _seq, _seq_to FROM shop__lines__history").all()
        now = read("SELECT _hash, _first, _token, _seq FROM shop__lines").one()
    pen, ink = sorted(past, key=lambda row: row[3])
    assert tuple(pen[1:]) == (1, 9, 1, 3)
    assert tuple(ink[1:]) == (3, 3, 3, 4)
    assert tuple(now) == (pen[0], 1, 9, 4)


def test_a_column_that_came_late_makes_no_new_version_of_an_upgraded_row(
    server: services.Server, tmp_path: Path
) -> None:
    endpoint = server.fresh()
    _, lines = old_store.build(server, endpoint, random.Random(1))
    types = {**lines.types, "more": "int64"}
    server.execute(
        endpoint,
        *(f"ALTER TABLE {table} ADD COLUMN more BIGINT" for table in LINES),
        f"UPDATE tidegate_stream SET columns = '{json.dumps(types)}' WHERE name = 'shop.lines'",
    )
    rows = {row["_key"]: row for rows in lines.increments for row in rows}
    again = [{**row, "more": None, "_token": 1 << 40} for row in rows.values()]
    with open_store(endpoint) as store:
        late = replace(delivery(store, lines, tmp_path), types=types)
        assert late.load(again).unchanged == len(again)


def test_every_moment_of_an_upgraded_key_belongs_to_one_reign(server: services.Server) -> None:
    endpoint = server.fresh()
    old_store.build(server, endpoint, random.Random(1))
    open_store(endpoint).close()
    with server.engine(endpoint).connect() as connection:
        for table in ("shop__orders", "shop__lines"):
            rows = connection.exec_driver_sql(
                f"SELECT _key, _seq, _seq_to FROM {table}__history UNION ALL "
                f"SELECT _key, _seq, NULL FROM {table} ORDER BY 1, 2"
            ).all()
            assert len(rows) > 10
            for one, next_ in itertools.pairwise(rows):
                if one[0] == next_[0]:
                    assert one[2] == next_[1], (table, one, next_)
                else:
                    assert one[2] is None


def test_the_ledger_of_an_upgraded_store_has_no_gaps_and_no_steps_back(
    server: services.Server,
) -> None:
    endpoint = server.fresh()
    old_store.build(server, endpoint, random.Random(1))
    with open_store(endpoint) as store:
        lines = store.runs(limit=1000)[::-1]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    moments = [line["committed_at"] for line in lines]
    assert moments == sorted(moments)
    with server.engine(endpoint).connect() as connection:
        head = connection.exec_driver_sql("SELECT seq, committed_at FROM tidegate_head").one()
    assert tuple(head) == (lines[-1]["seq"], moments[-1])


def test_rows_in_quarantine_survive_an_upgrade(server: services.Server) -> None:
    endpoint = server.fresh()
    old_store.build(server, endpoint, random.Random(1))
    with open_store(endpoint) as store:
        held = store.held()
    assert sorted(row["key"] for row in held) == ["100", "101", "102"]
    assert {row["attempts"] for row in held} == {1}


def schema(server: services.Server, endpoint: Endpoint) -> dict[str, Any]:
    """What the database says of each table: columns, keys, indexes, whatever their order."""
    with server.engine(endpoint).connect() as connection:
        inspector = sa.inspect(connection)
        return {
            table: {
                "columns": {
                    column["name"]: (
                        repr(column["type"]), column["nullable"],
                        column.get("default") if table != "tidegate_head" else None,
                    )
                    for column in inspector.get_columns(table)
                },
                "key": inspector.get_pk_constraint(table)["constrained_columns"],
                "unique": sorted(
                    item["column_names"] for item in inspector.get_unique_constraints(table)
                ),
                "indexes": {
                    index["name"]: index["column_names"] for index in inspector.get_indexes(table)
                },
            }
            for table in inspector.get_table_names()
        }  # fmt: skip


def test_migrated_and_created_stores_have_the_same_fixed_tables(server: services.Server) -> None:
    created, migrated = server.fresh(), server.fresh()
    open_store(created).close()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    made = engines.create(migrated)
    with made.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    made.dispose()
    assert schema(server, migrated) == schema(server, created)


def test_upgraded_and_created_streams_have_the_same_tables(
    server: services.Server, tmp_path: Path
) -> None:
    upgraded, created = server.fresh(), server.fresh()
    streams = old_store.build(server, upgraded, random.Random(3))
    for endpoint in (upgraded, created):
        with open_store(endpoint) as store:
            for stream in streams:
                for rows in stream.increments:
                    delivery(store, stream, tmp_path).load(rows)
    assert schema(server, upgraded) == schema(server, created)


def test_the_newest_migration_is_the_version_of_the_program() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == upgrade.HEAD
