"""Ranges of keys, counted and hashed by the server, add up to what the rows themselves say."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import event

from services import Server
from sources.tables import STAMP, insert, pull, stream
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError
from tidegate.model import Watermark
from tidegate.sources import Chunk, open_source
from tidegate.sources.sql.options import SqlStream

OLD, NEW, LATER = "2024-01-01 00:00:00", "2024-06-01 00:00:00", "2024-06-01 00:00:00.000001"
MARK = Watermark("2024-06-01T00:00:00.000000")
SERVERS = ["mariadb", "postgres"]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def make(server: Server, columns: str, rows: list[dict[str, Any]]) -> Endpoint:
    endpoint = server.fresh()
    server.execute(
        endpoint,
        f"CREATE TABLE orders ({columns}, note VARCHAR(20), changed {STAMP[server.kind]})",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    insert(server, endpoint, "orders", rows)
    return endpoint


def chunks(
    endpoint: Endpoint, spec: SqlStream, rows: int, below: Watermark | None = None
) -> list[Chunk]:
    """One after the other, from the first key to the last."""
    found: list[Chunk] = []
    with open_source(endpoint, spec, "shop.orders") as source:
        assert source.chunked()
        while not found or found[-1].until is not None:
            found.append(source.chunk(found[-1].until if found else None, rows, below))
    return found


def within(chunk: Chunk, key: int) -> bool:
    return (chunk.first is None or key >= chunk.first) and (
        chunk.until is None or key < chunk.until
    )


@pytest.mark.parametrize("below", [None, MARK])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_chunks_add_up_to_the_rows(server: Server, rows: int, below: Watermark | None) -> None:
    dice = random.Random(rows)
    stamps = [None, OLD, NEW, LATER]
    keys = [*dice.sample(range(-500, 500), 57), 2**63 - 1, -(2**63)]
    data = [
        {"id": key, "note": dice.choice([None, "", "x"]), "changed": dice.choice(stamps)}
        for key in keys
    ]
    endpoint = make(server, "id BIGINT PRIMARY KEY", data)
    pulled = pull(endpoint, stream())
    found = chunks(endpoint, stream(), rows, below)

    assert found[0].first is None
    assert [chunk.first for chunk in found[1:]] == [chunk.until for chunk in found[:-1]]
    for chunk in found:
        xor, count, hot = 0, 0, set()
        for row in pulled:
            if not within(chunk, row["id"]):
                continue
            stamp = row["changed"] and row["changed"].isoformat(timespec="microseconds")
            if below is not None and stamp is not None and stamp >= str(below.cursor):
                hot.add(row["_key"])
            else:
                count, xor = count + 1, xor ^ row["_source_hash"]
        assert (chunk.rows, chunk.xor, chunk.hot) == (count, xor, frozenset(hot))
        assert chunk.rows + len(chunk.hot) <= max(rows, 1)
        assert chunk.seconds > 0
        assert -(2**63) <= chunk.xor < 2**63


def test_a_changed_row_shows_in_its_chunk_only(server: Server) -> None:
    rows = [{"id": n, "note": "x", "changed": OLD} for n in range(100)]
    endpoint = make(server, "id INTEGER PRIMARY KEY", rows)
    before = chunks(endpoint, stream(), 10)
    server.execute(endpoint, "UPDATE orders SET note = 'y' WHERE id = 42")
    after = chunks(endpoint, stream(), 10)
    assert len(before) == 10
    differ = [new.first for old, new in zip(before, after, strict=True) if old.xor != new.xor]
    assert differ == [40]


def test_composite_keys_are_cut_by_their_first_column_and_never_within(server: Server) -> None:
    rows = [
        {"tenant": tenant, "id": n, "changed": OLD}
        for tenant, size in ((1, 30), (2, 3), (5, 4), (6, 50))
        for n in range(size)
    ]
    columns = "tenant INTEGER NOT NULL, id INTEGER NOT NULL"
    endpoint = make(server, f"{columns}, PRIMARY KEY (tenant, id)", rows)
    found = chunks(endpoint, stream(primary_key=["tenant", "id"]), 7)
    assert sum(chunk.rows for chunk in found) == len(rows)
    sizes = {chunk.first: chunk.rows for chunk in found}
    assert sizes == {None: 30, 2: 7, 6: 50, 7: 0}
    hot = chunks(endpoint, stream(primary_key=["tenant", "id"]), 7, Watermark("2024-01-01T00:00"))
    assert {key for chunk in hot for key in chunk.hot} == {
        f'["{row["tenant"]}","{row["id"]}"]' for row in rows
    }


def test_keys_with_a_null_in_them_are_in_no_chunk(server: Server) -> None:
    rows = [{"a": a, "b": b, "changed": OLD} for a in (None, 1, 2) for b in (None, "x")]
    endpoint = make(server, "a INTEGER, b VARCHAR(9)", rows)
    server.execute(endpoint, "CREATE INDEX by_key ON orders (a, b)")
    found = chunks(endpoint, stream(primary_key=["a", "b"]), 100)
    assert [chunk.rows for chunk in found] == [2]


def test_numbers_beyond_any_double_are_cut_exactly(server: Server) -> None:
    kind = {"mysql": "BIGINT UNSIGNED", "postgres": "NUMERIC(20,0)"}[server.kind]
    keys = [2**64 - 1, 2**64 - 2, 2**64 - 3, 2**53 + 1, 2**53]
    rows = [{"id": str(key), "changed": OLD} for key in keys]
    endpoint = make(server, f"id {kind} PRIMARY KEY", rows)
    found = chunks(endpoint, stream(), 2)
    assert [(chunk.first, chunk.rows) for chunk in found] == [
        (None, 2), (2**64 - 3, 2), (2**64 - 1, 1),
    ]  # fmt: skip


def test_an_empty_table_is_one_empty_chunk(server: Server) -> None:
    endpoint = make(server, "id INTEGER PRIMARY KEY", [])
    (chunk,) = chunks(endpoint, stream(), 10, MARK)
    assert (chunk.first, chunk.until, chunk.rows, chunk.xor, chunk.hot) == (
        None, None, 0, 0, frozenset(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "more"),
    [
        ("id VARCHAR(9) PRIMARY KEY", {}),
        ("id DECIMAL(9,2) PRIMARY KEY", {}),
        ("id INTEGER PRIMARY KEY", {"types": {"id": "string"}}),
        ("id INTEGER NOT NULL", {}),
    ],
)
def test_other_keys_cannot_be_cut(server: Server, columns: str, more: dict[str, Any]) -> None:
    endpoint = make(server, columns, [])
    with open_source(endpoint, stream(**more), "shop.orders") as source:
        assert not source.chunked()


def test_sqlite_cannot_hash(sqlite: Server) -> None:
    endpoint = make(sqlite, "id INTEGER PRIMARY KEY", [])
    with open_source(endpoint, stream(), "shop.orders") as source:
        assert not source.chunked()


def test_a_watermark_of_another_column_is_refused(server: Server) -> None:
    endpoint = make(server, "id INTEGER PRIMARY KEY", [])
    with (
        open_source(endpoint, stream(), "shop.orders") as source,
        pytest.raises(ConfigError, match="says nothing of 'changed'"),
    ):
        source.chunk(None, 10, Watermark("2024-01-01T00:00:00", "updated"))


def test_a_chunk_is_one_aggregate_and_reads_its_own_rows_only(mariadb: Server) -> None:
    endpoint = make(mariadb, "id INTEGER PRIMARY KEY", [])
    mariadb.execute(endpoint, f"INSERT INTO orders SELECT seq, 'x', '{OLD}' FROM seq_1_to_5000")
    asked: list[str] = []
    with open_source(endpoint, stream(pause_above=None), "shop.orders") as source:
        source.columns()
        connection = source._session.connection  # type: ignore[attr-defined]

        def note(*event: Any) -> None:
            asked.append(event[2])

        event.listen(connection, "before_cursor_execute", note)
        source.chunk(2001, 1000, MARK)
        statements = list(asked)
        handlers = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read_next'")
        steps = int(handlers.one()[1])
    assert sum("bit_xor" in statement for statement in statements) == 1
    assert len(statements) == 3
    assert steps < 3 * 1000 + 100, "the range is walked for its end, for the sum, for hot rows"
