"""Rows are found again by the texts of their keys: whatever the key's type, and no others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any

import pytest

from services import Server
from sources.tables import STAMP, insert, pull, stream
from tidegate.connections import Endpoint
from tidegate.sources import open_source
from tidegate.sources.sql.fetched import Fetched
from tidegate.sources.sql.options import SqlStream

BIG = 2**53
KINDS: dict[str, list[tuple[str, list[Any]]]] = {
    "mariadb": [
        ("BIGINT", [BIG, BIG + 1, -(2**63), 0]),
        ("BIGINT UNSIGNED", [2**64 - 1, 2**64 - 2, BIG + 1]),
        ("DECIMAL(38,9)", ["12345678901234567890123456789.000000001", "-0.5", "7"]),
        ("DECIMAL(20,0)", ["18446744073709551615", "18446744073709551614", "-1"]),
        ("DOUBLE", [0.1, 1e22, -2.5]),
        ("FLOAT", [0.1, 16777216.0, -2.5]),
        ("DATE", ["2024-02-29", "1000-01-01", "0000-00-00"]),
        ("DATETIME(6)", ["2024-01-01 00:00:00.000001", "2024-01-01", "9999-12-31 23:59:59.999999"]),
        ("DATETIME", ["2024-01-01 00:00:01", "2024-01-01", "0000-00-00"]),
        ("TIMESTAMP(6)", ["2024-01-01 00:00:00.000001", "2024-07-02", "2024-01-03"]),
        ("TIME(6)", ["00:00:00.000001", "23:59:59", "-12:00:00"]),
        ("YEAR", [1999, 2155, 2001]),
        ("VARBINARY(4)", [b"\xff", b"\x00", b"a", b""]),
        ("BINARY(4)", [b"\xff", b"\x00", b"a"]),
        ("BIT(12)", [b"\x0a\xbc", b"\x00\x01", b"\x00\x00"]),
        ("UUID", [f"123e4567-e89b-12d3-a456-42665544000{n}" for n in range(3)]),
        ("ENUM('z', 'a', 'it''s', '1')", ["z", "a", "it's", "1"]),
        ("VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_bin", ["ä", "it's", '"', "0x61", "'a'"]),
        ("VARCHAR(40) COLLATE utf8mb4_bin", ["a", "A", "a'b", "a\\'b", "%s :x", "👩", "", "1e3"]),
        ("VARCHAR(40) COLLATE utf8mb4_general_ci", ["a", "b", "é", "ö"]),
    ],
    "postgres": [
        ("BIGINT", [BIG, BIG + 1, -(2**63), 0]),
        ("SMALLINT", [1, -32768]),
        ("NUMERIC", ["0.10", "-5", "123456789012345678901234567890.1", "NaN"]),
        ("NUMERIC(38,9)", ["12345678901234567890123456789.000000001", "-0.5"]),
        ("DOUBLE PRECISION", [0.1, 1e22, -2.5, "NaN"]),
        ("REAL", [0.1, 16777216.0, -2.5]),
        ("DATE", ["2024-02-29", "infinity", "0044-03-15 BC"]),
        ("TIMESTAMP", ["2024-01-01 00:00:00.000001", "2024-01-01", "infinity"]),
        ("TIMESTAMPTZ", ["2024-01-01", "2024-07-01 12:00+02", "-infinity"]),
        ("TIME", ["00:00:00.000001", "23:59:59", "24:00"]),
        ("BYTEA", [b"\xff", b"\x00", b"a", b""]),
        ("UUID", [f"123e4567-e89b-12d3-a456-42665544000{n}" for n in range(3)]),
        ("BOOLEAN", [True, False]),
        ("TEXT[]", ["{a}", '{"a,b"}', "{}"]),
        ("INTERVAL", ["1 day", "24 hours 1 second", "-3 months"]),
        ("BIT(4)", ["1010", "0000"]),
        ("INET", ["10.0.0.1", "::1"]),
        ("CHAR(5)", ["a", "b", "B"]),
        ("mood", ["z", "a", "it's"]),
        ("positive", [1, 2]),
        ("TEXT", ["a", "A", "a'b", "a\\'b", "%s :x", "👩", "", "0x61", "'a'", '"']),
    ],
    "sqlite": [
        ("INTEGER", [BIG, BIG + 1, -(2**63), 0]),
        ("BIGINT", [BIG + 1, "many", 1.5]),
        ("TEXT", ["a", "A", "a'b", "%s :x", "👩", "", "0x61", b"\x62", b"\xff"]),
        ("UUID", ["123", "123e4567-e89b-12d3-a456-426655440001", "abc"]),
        ("BLOB", [b"\xff", b"\x00", "text"]),
        ("DATE", ["2024-02-29", 20240101, "yesterday"]),
        ("DATETIME", ["2024-01-01", "2024-01-02T00:00:00.100", "2024-01-03 12:00", 5]),
        ("DECIMAL(9,2)", ["0.3", 7, 0.25, "x"]),
        ("REAL", [0.1, 7, -2.5]),
        ("BOOLEAN", [1, 0]),
        ("", [1, "1.5", "a", b"b\xff", 2.5]),
    ],
}  # fmt: skip
CASES = [(name, *case) for name, cases in KINDS.items() for case in cases]


_numbers = count(1)


@cache
def database(server: Server) -> Endpoint:
    """One for all tests here; each has a table of its own."""
    endpoint = server.fresh()
    if server.kind == "postgres":
        server.execute(
            endpoint,
            "CREATE TYPE mood AS ENUM ('z', 'a', 'it''s')",
            "CREATE DOMAIN positive AS INTEGER CHECK (value > 0)",
        )
    return endpoint


def shop(server: Server, columns: str, rows: list[dict[str, Any]]) -> tuple[Endpoint, str]:
    endpoint, table = database(server), f"orders_{next(_numbers)}"
    server.execute(
        endpoint,
        f"CREATE TABLE {table} (changed {STAMP[server.kind]} NOT NULL, {columns})",
        f"CREATE INDEX by_changed_{table} ON {table} (changed)",
    )
    insert(server, endpoint, table, [{**row, "changed": "2024-01-01"} for row in rows])
    return endpoint, table


def fetched(
    endpoint: Endpoint, spec: SqlStream, asked: list[list[str]]
) -> list[list[dict[str, Any]]]:
    """The rows of each list of keys."""
    with open_source(endpoint, spec, "shop.orders") as source:
        return [
            [row for page in source.fetch(9, keys) for row in page.to_pylist()] for keys in asked
        ]


def fetch(endpoint: Endpoint, spec: SqlStream, keys: list[str]) -> list[dict[str, Any]]:
    return fetched(endpoint, spec, [keys])[0]


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without tokens, in order of the key."""
    cut = [{name: cell for name, cell in row.items() if name != "_token"} for row in rows]
    return sorted(cut, key=lambda row: str(row["_key"]))


@pytest.mark.parametrize(
    ("name", "kind", "values"), CASES, ids=[f"{n}-{kind or 'any'}" for n, kind, _ in CASES]
)
def test_a_row_is_found_by_its_key_as_it_was_pulled(
    name: str, kind: str, values: list[Any], request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)
    endpoint, table = shop(server, f"id {kind} PRIMARY KEY NOT NULL", [{"id": v} for v in values])
    spec = stream(table=table)
    rows = pull(endpoint, spec)
    assert len(rows) == len(values)
    keys = [row["_key"] for row in rows]
    assert len(set(keys)) == len(keys)
    found = fetched(endpoint, spec, [keys, *([key] for key in keys), []])
    assert [plain(rows) for rows in found] == [plain(rows), *(plain([row]) for row in rows), []]


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (
            "a BIGINT NOT NULL, b VARCHAR(20) NOT NULL, c DECIMAL(20,3) NOT NULL",
            [{"a": BIG + n, "b": b, "c": 7 + n} for n in (0, 1) for b in ('"', "a'b", "", "x\\")],
        ),
        (
            "a DATE NOT NULL, b INTEGER NOT NULL, c VARCHAR(20) NOT NULL",
            [{"a": f"2024-01-0{n}", "b": -n, "c": f'["{n}"]'} for n in (1, 2)],
        ),
    ],
)
def test_composite_keys_are_found(
    sql_server: Server, columns: str, rows: list[dict[str, Any]]
) -> None:
    if "DECIMAL" in columns and sql_server.kind == "sqlite":
        columns = columns.replace("DECIMAL(20,3)", "DECIMAL(20,0)")
    endpoint, table = shop(sql_server, f"{columns}, PRIMARY KEY (a, b, c)", rows)
    spec = stream(table=table, primary_key=["a", "b", "c"])
    pulled = pull(endpoint, spec)
    assert len(pulled) == len(rows)
    keys = [row["_key"] for row in pulled]
    found = fetched(endpoint, spec, [keys, *([key] for key in keys)])
    assert [plain(rows) for rows in found] == [plain(pulled), *(plain([row]) for row in pulled)]


@pytest.mark.parametrize("declared", ["string", "decimal(30,0)", "bytes", "timestamp"])
def test_a_key_of_another_declared_type_is_found(mariadb: Server, declared: str) -> None:
    kinds: dict[str, tuple[str, list[Any]]] = {
        "string": ("BIGINT", [BIG, BIG + 1]),
        "decimal(30,0)": ("VARCHAR(30)", ["007", "8"]),
        "bytes": ("VARCHAR(30)", ["a", "ö"]),
        "timestamp": ("DATETIME", ["2024-03-31 12:00:00", "2024-01-01 12:00:00"]),
    }
    kind, values = kinds[declared]
    endpoint, table = shop(mariadb, f"id {kind} PRIMARY KEY", [{"id": value} for value in values])
    spec = stream(table=table, types={"id": declared}, time_zone="Europe/Berlin")
    rows = pull(endpoint, spec)
    assert [row["_held"] for row in rows] == [None, None]
    for row in rows:
        assert plain(fetch(endpoint, spec, [row["_key"]])) == plain([row])


def test_keys_that_are_not_there_or_are_no_such_keys_are_not_found(sql_server: Server) -> None:
    endpoint, table = shop(sql_server, "id INTEGER PRIMARY KEY", [{"id": 1}, {"id": 2}])
    found = fetch(
        endpoint, stream(table=table), ["3", "1.0", " 1", "one", "", "1;2", "01x", "['1']", "2"]
    )
    assert [row["_key"] for row in found] == ["2"]
    pair = stream(table=table, primary_key=["id", "changed"])
    assert fetch(endpoint, pair, ["2", '["2"]', '["2","x"]', "{}", "[", "[1,2,3]"]) == []


def test_rows_that_the_collation_takes_for_equal_are_not_mixed_up(mariadb: Server) -> None:
    endpoint, table = shop(mariadb, "id VARCHAR(9) NOT NULL, n INT", [
        {"id": word, "n": n} for n, word in enumerate(["a", "A", "ä", "b"])
    ])  # fmt: skip
    assert [row["n"] for row in fetch(endpoint, stream(table=table), ["A"])] == [1]
    found = fetch(endpoint, stream(table=table), ["A", "ä"])
    assert sorted(row["n"] for row in found) == [1, 2]


def test_many_keys_are_asked_for_some_hundred_at_a_time(sql_server: Server) -> None:
    endpoint, table = shop(sql_server, "id INTEGER PRIMARY KEY", [{"id": n} for n in range(1200)])
    asked: list[int] = []
    with open_source(endpoint, stream(table=table), "shop.orders") as source:
        source.columns()

        def note(statement: Any) -> Fetched:
            whole = statement.compile(compile_kwargs={"render_postcompile": True})
            asked.append(len(whole.params))
            return ask(statement)

        session: Any = source._session  # type: ignore[attr-defined]
        ask: Callable[[Any], Fetched] = session.fetch
        session.fetch = note
        pages = list(source.fetch(9, [str(n) for n in range(-100, 1200)] * 2))
    rows = [row for page in pages for row in page.to_pylist()]
    assert sorted(int(row["_key"]) for row in rows) == list(range(1200))
    assert [page.num_rows for page in pages] == [400, 500, 300]
    assert max(asked) == 500
    assert len({row["_token"] for row in rows}) == 3
