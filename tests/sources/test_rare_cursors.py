"""Rows that no cursor reaches: without a date, with a date of the future. Counted, never lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services import Server
from sources.tables import STAMP, insert, keys, pull, stream
from tidegate.connections import Endpoint
from tidegate.errors import DataError
from tidegate.model import Json, Watermark
from tidegate.sources import Apart, open_source
from tidegate.sources.sql.options import SqlStream

ZERO = {"mysql": "0000-00-00", "postgres": "-infinity", "sqlite": "yesterday"}
LOW = "2024-01-01T00:00:00.000000"
NOW = datetime.now(UTC)


def make(server: Server, stamps: list[str | None], kind: str = "") -> Endpoint:
    endpoint = server.fresh()
    server.execute(
        endpoint,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER, "
        f"changed {kind or STAMP[server.kind]}{' NULL' if server.kind != 'sqlite' else ''})",
        "CREATE INDEX by_changed ON orders (changed, id)",
    )
    insert(server, endpoint, "orders", [
        {"id": n, "total": n, "changed": stamp} for n, stamp in enumerate(stamps)
    ])  # fmt: skip
    return endpoint


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def run(
    endpoint: Endpoint, spec: SqlStream, low: str | None = LOW, memory: Json = None
) -> tuple[list[dict[str, Any]], dict[str, int], Json]:
    """What a run of the path asks of a source: rows, census, and what it wants to find again."""
    with open_source(endpoint, spec, "shop.orders") as source:
        seen = source.observe(Apart(), memory)
        pages = source.pull(7, None if low is None else Watermark(low), None)
        rows = [row for page in pages for row in page.to_pylist()]
        kept = {**(seen.memory or {}), **source.memory()}
        return rows, source.census(), json.loads(json.dumps(kept))


def reasons(row: dict[str, Any]) -> set[str]:
    return {item["rule"] for item in json.loads(row["_held"] or "[]")}


def test_rows_without_a_cursor_are_read_in_every_run_and_counted(sql_server: Server) -> None:
    endpoint = make(sql_server, ["2023-01-01", None, ZERO[sql_server.kind], None, "2024-05-05"])
    for low, expected in ((None, {"0", "1", "2", "3", "4"}), (LOW, {"1", "2", "3", "4"})):
        rows, census, _ = run(endpoint, stream(page_rows=1), low)
        assert set(keys(rows)) == expected
        assert census == {"null": 2, "zero": 1}
        assert {row["_key"] for row in rows if row["_held"]} == {"2"}


def test_a_source_where_every_row_has_a_cursor_has_nothing_to_count(sql_server: Server) -> None:
    assert run(make(sql_server, ["2024-05-05"]), stream())[1] == {}


def test_rows_without_a_cursor_are_held_when_the_stream_says_so(sql_server: Server) -> None:
    endpoint = make(sql_server, ["2023-01-01", None, ZERO[sql_server.kind], "2024-05-05"])
    spec = stream(null_cursor="quarantine")
    rows, census, _ = run(endpoint, spec)
    held = {row["_key"]: reasons(row) for row in rows}
    assert held["1"] == {"no cursor"}
    assert "no cursor" in held["2"]
    assert held["3"] == set()
    assert census == {"null": 1, "zero": 1}
    with open_source(endpoint, spec, "shop.orders") as source:
        again = [row for page in source.fetch(8, ["1", "3"]) for row in page.to_pylist()]
    assert {row["_key"]: reasons(row) for row in again} == {"1": {"no cursor"}, "3": set()}


def test_rows_without_a_cursor_stop_a_stream_that_says_so(sql_server: Server) -> None:
    endpoint = make(sql_server, ["2023-01-01", None, ZERO[sql_server.kind], None])
    spec = stream(null_cursor="fail")
    for low in (LOW, None):
        with pytest.raises(DataError, match=r"null_cursor: 3 rows have no value in the cursor"):
            run(endpoint, spec, low)
    sql_server.execute(endpoint, "DELETE FROM orders WHERE id > 0")
    assert keys(run(endpoint, spec, None)[0]) == ["0"]


@pytest.mark.parametrize("kind", ["", "DATE", "INSTANT"])
def test_rows_of_the_future_come_apart_and_in_turn(sql_server: Server, kind: str) -> None:
    """Three of eight in each run; after the last one it begins again."""
    kind = {
        "INSTANT": {"mysql": "TIMESTAMP(6)", "postgres": "TIMESTAMPTZ", "sqlite": ""},
    }.get(kind, {}).get(sql_server.kind, kind)  # fmt: skip
    far = [text(NOW + timedelta(days=9 + n // 3)) for n in range(8)]
    far = [stamp[:10] for stamp in far] if kind == "DATE" else far
    endpoint = make(sql_server, ["2024-05-05", *far], kind)
    spec = stream(future_rows=3, page_rows=2)
    low = {"DATE": "2024-01-01"}.get(kind, LOW)
    if kind in {"TIMESTAMP(6)", "TIMESTAMPTZ"}:
        low = f"{LOW}+00:00"
    memory: Json = None
    read = []
    for _ in range(4):
        rows, census, memory = run(endpoint, spec, low, memory)
        assert keys(rows)[0] == "0"
        assert census == {"future": len(rows) - 1}
        read.append(keys(rows)[1:])
    assert read == [["1", "2", "3"], ["4", "5", "6"], ["7", "8"], ["1", "2", "3"]]


def test_a_first_or_a_full_run_reads_the_future_at_once(sql_server: Server) -> None:
    far = [text(NOW + timedelta(days=9))] * 8
    endpoint = make(sql_server, ["2024-05-05", *far])
    spec = stream(future_rows=3, page_rows=2)
    assert len(run(endpoint, spec, None)[0]) == 9
    assert len(pull(endpoint, spec, LOW)) == 9, "nor does a read without an observation part it"


def test_the_future_is_left_alone_when_the_stream_says_so(sql_server: Server) -> None:
    endpoint = make(sql_server, ["2024-05-05", text(NOW + timedelta(days=9))])
    rows, census, memory = run(endpoint, stream(future_rows=0))
    assert keys(rows) == ["0"]
    assert census == {}
    assert "future" not in memory


def test_a_place_in_the_future_of_another_cursor_is_forgotten(sql_server: Server) -> None:
    endpoint = make(sql_server, [text(NOW + timedelta(days=9 + n)) for n in range(3)])
    _, _, memory = run(endpoint, stream(future_rows=2))
    memory["future"]["by"] = ["created", "id"]
    rows, _, _ = run(endpoint, stream(future_rows=2), LOW, memory)
    assert keys(rows) == ["0", "1"]


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("DECIMAL(20,3)", ["1.5", "2.5", "-3"]),
        ("VARCHAR(9)", ["a'b", "ä", ""]),
        ("BINARY", [b"a\x00", b"b\xff", b"c'"]),
        ("DATE", ["2024-01-01", "2024-01-02", "2024-01-03"]),
        ("TIME(6)", ["00:00:00.000001", "12:00:00", "23:00:00"]),
    ],
)
def test_the_place_in_the_future_is_kept_for_every_kind_of_key(
    name: str, kind: str, values: list[Any], request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)
    if kind == "BINARY":
        kind = {"mysql": "VARBINARY(9)", "postgres": "BYTEA"}[server.kind]
    endpoint = server.fresh()
    server.execute(
        endpoint,
        f"CREATE TABLE orders (id {kind} PRIMARY KEY, changed {STAMP[server.kind]} NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed, id)",
    )
    far = text(NOW + timedelta(days=9))
    insert(server, endpoint, "orders", [{"id": value, "changed": far} for value in values])
    memory: Json = None
    read = []
    for _ in range(3):
        rows, _, memory = run(endpoint, stream(future_rows=1), LOW, memory)
        read += keys(rows)
    assert len(set(read)) == 3


def test_numbers_have_no_future(sql_server: Server) -> None:
    endpoint = make(sql_server, ["2024-05-05"])
    rows, census, _ = run(endpoint, stream(cursor="id", future_rows=0), low=None)
    assert len(rows) == 1
    assert census == {}
    with open_source(endpoint, stream(cursor="id"), "shop.orders") as source:
        source.observe(Apart())
        pages = source.pull(7, Watermark(0), None)
        assert sum(page.num_rows for page in pages) == 1
