"""Every row is read exactly once, whatever the ties, the page size, the key and the NULLs."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from services import Server
from sources.tables import STAMP, insert, keys, pull, stream
from tidegate.sources import open_source
from tidegate.sources.sql import keyset

SEEDS = range(6)
BEFORE = "2023-01-01T00:00:00.000000"
"""A watermark below all rows; without one, some servers are read in the order of the key."""
MOMENTS = [f"2024-01-01 00:00:{second:02d}.{part}" for second in range(3) for part in (0, 5)]


def make(server: Server, columns: str, *more: str) -> Any:
    endpoint = server.fresh()
    columns = columns.replace("changed STAMP", f"changed {STAMP[server.kind]}")
    server.execute(
        endpoint,
        f"CREATE TABLE orders ({columns})",
        "CREATE INDEX by_changed ON orders (changed)",
        *more,
    )
    return endpoint


@pytest.mark.parametrize("low", [None, BEFORE])
@pytest.mark.parametrize("seed", SEEDS)
def test_ties_and_page_borders_lose_nothing(sql_server: Server, seed: int, low: str | None) -> None:
    dice = random.Random(seed)
    endpoint = make(sql_server, "id INTEGER PRIMARY KEY, changed STAMP NOT NULL")
    stamps = dice.sample(MOMENTS, dice.randint(1, 4))
    rows = [{"id": i, "changed": dice.choice(stamps)} for i in dice.sample(range(-50, 50), 25)]
    insert(sql_server, endpoint, "orders", rows)
    lie_by_key = low is None and sql_server.kind == "mysql"
    by = (lambda row: row["id"]) if lie_by_key else (lambda row: (row["changed"], row["id"]))
    expected = [str(row["id"]) for row in sorted(rows, key=by)]
    for page_rows in (1, 2, 3, 5, 7, 24, 25, 26):
        assert keys(pull(endpoint, stream(page_rows=page_rows), low)) == expected


@pytest.mark.parametrize("low", [None, BEFORE])
@pytest.mark.parametrize("seed", SEEDS)
def test_composite_keys_with_ties_lose_nothing(
    sql_server: Server, seed: int, low: str | None
) -> None:
    dice = random.Random(seed)
    endpoint = make(
        sql_server,
        "a INTEGER NOT NULL, b VARCHAR(9) NOT NULL, c INTEGER NOT NULL, changed STAMP NOT NULL, "
        "PRIMARY KEY (a, b, c)",
    )
    every = [(a, b, c) for a in range(3) for b in ("", "x", "X ", "ä") for c in range(3)]
    if sql_server.kind == "mysql":  # its default collation takes 'X ' for 'x', and 'ä' for 'a'
        every = [key for key in every if key[1] != "X "]
    rows = [
        {"a": a, "b": b, "c": c, "changed": dice.choice(MOMENTS[:2])}
        for a, b, c in dice.sample(every, 20)
    ]
    insert(sql_server, endpoint, "orders", rows)
    expected = Counter(
        json.dumps([str(r["a"]), r["b"], str(r["c"])], ensure_ascii=False, separators=(",", ":"))
        for r in rows
    )
    for page_rows in (1, 2, 3, 7):
        found = pull(endpoint, stream(primary_key=["a", "b", "c"], page_rows=page_rows), low)
        assert Counter(keys(found)) == expected


COLLATED = {
    "mysql": "VARCHAR(20) COLLATE utf8mb4_general_ci",
    "postgres": 'VARCHAR(20) COLLATE "nocase"',
    "sqlite": "VARCHAR(20) COLLATE NOCASE",
}


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("seed", SEEDS[:3])
def test_text_keys_that_ignore_case_lose_nothing(
    sql_server: Server, seed: int, unique: bool
) -> None:
    dice = random.Random(seed)
    endpoint = sql_server.fresh()
    if sql_server.kind == "postgres":
        sql_server.execute(
            endpoint,
            "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', "
            "deterministic = false)",
        )
    kind = COLLATED[sql_server.kind]
    sql_server.execute(
        endpoint,
        f"CREATE TABLE orders (id {kind} NOT NULL, changed {STAMP[sql_server.kind]} NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
        *(["CREATE UNIQUE INDEX one ON orders (id)"] if unique else []),
    )
    words = ["a", "A", "b", "B", "ba", "Ba", "_", "Z", "z", "é", "aB", "AB"]
    if unique:
        words = list({word.lower(): word for word in words}.values())
    dice.shuffle(words)
    copies = 1 if unique else 2
    rows = [{"id": word, "changed": dice.choice(MOMENTS[:2])} for word in words * copies]
    insert(sql_server, endpoint, "orders", rows)
    for page_rows in (1, 2, 3, 5, 7):
        found = keys(pull(endpoint, stream(page_rows=page_rows)))
        assert Counter(found) == Counter(row["id"] for row in rows)


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_rows_without_cursor_or_key_are_read_and_keyless_ones_held(
    sql_server: Server, seed: int
) -> None:
    dice = random.Random(seed)
    endpoint = make(sql_server, "a INTEGER, b VARCHAR(9), n INTEGER NOT NULL, changed STAMP")
    rows = [
        {
            "a": dice.choice([None, 1, 2]),
            "b": dice.choice([None, "x", "y", "z"]),
            "n": n,
            "changed": dice.choice([None, *MOMENTS[:2]]),
        }
        for n in range(30)
    ]
    insert(sql_server, endpoint, "orders", rows)
    undated = {row["n"] for row in rows if row["changed"] is None}
    for page_rows in (1, 2, 3, 7):
        spec = stream(primary_key=["a", "b"], page_rows=page_rows)
        found = pull(endpoint, spec)
        assert Counter(row["n"] for row in found) == Counter(range(30))
        for row in found:
            keyless = rows[row["n"]]["a"] is None or rows[row["n"]]["b"] is None
            assert (row["_key"] is None) == keyless
            assert ("NULL key" in (row["_held"] or "")) == keyless
        later = pull(endpoint, spec, "2025-01-01T00:00:00.000000")
        assert Counter(row["n"] for row in later) == Counter(undated)
        with open_source(endpoint, spec, "shop.orders") as source:
            scanned = [row for page in source.scan() for row in page.to_pylist()]
            assert source.count() == 30
        assert Counter(row["_source_hash"] for row in scanned) == Counter(
            row["_source_hash"] for row in found
        )


def test_enums_sort_by_number_and_still_lose_nothing(mariadb: Server) -> None:
    endpoint = make(mariadb, "id ENUM('z', 'a', 'm', 'b') PRIMARY KEY, changed STAMP NOT NULL")
    rows = [{"id": word, "changed": "2024-01-01"} for word in "zamb"]
    insert(mariadb, endpoint, "orders", rows)
    for page_rows in (1, 2, 3):
        found = keys(pull(endpoint, stream(page_rows=page_rows)))
        assert sorted(filter(None, found)) == list("abmz")


@pytest.mark.parametrize("kind", ["ENUM", "SET"])
def test_members_that_differ_in_case_or_accents_are_all_read(mariadb: Server, kind: str) -> None:
    endpoint = make(
        mariadb,
        f"id {kind}('b', 'a', 'A', 'ä', 'B') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY,"
        " changed STAMP NOT NULL",
    )
    rows = [{"id": word, "changed": "2024-01-01"} for word in "baAäB"]
    insert(mariadb, endpoint, "orders", rows)
    for page_rows in (1, 2, 3):
        assert keys(pull(endpoint, stream(page_rows=page_rows))) == ["A", "B", "a", "b", "ä"]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("BIT(8)", [b"\x01", b"\x80", b"\x07"]),
        ("FLOAT", [0.1, 0.2, 0.3]),
        ("VARBINARY(4)", [b"\xff", b"\x00", b"a"]),
        ("DECIMAL(30,10)", ["0.1", "-5", "7"]),
        ("TIME(6)", ["00:00:00.000001", "23:59:59", "12:00:00"]),
        ("TIMESTAMP(6)", ["2024-01-01 00:00:00.000001", "2024-01-02", "2024-01-03"]),
    ],
)
def test_keys_of_awkward_types_lose_nothing_on_mariadb(
    mariadb: Server, kind: str, values: list[Any]
) -> None:
    endpoint = make(mariadb, f"id {kind} PRIMARY KEY, changed STAMP NOT NULL")
    insert(mariadb, endpoint, "orders", [{"id": v, "changed": "2024-01-01"} for v in values])
    found = keys(pull(endpoint, stream(page_rows=1)))
    assert len(found) == len(set(found)) == 3


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("REAL", [0.1, 0.2, 0.3]),
        ("UUID", [f"123e4567-e89b-12d3-a456-42665544000{n}" for n in range(3)]),
        ("NUMERIC", ["0.1", "-5", "NaN"]),
        ("BYTEA", [b"\xff", b"\x00", b"a"]),
        ("TIMESTAMPTZ", ["2024-01-01", "infinity", "-infinity"]),
        ("TEXT[]", ["{a}", "{a,b}", "{}"]),
        ("CHAR(5)", ["a", "b", "B"]),
        ("mood", ["z", "a", "m"]),
    ],
)
def test_keys_of_awkward_types_lose_nothing_on_postgresql(
    postgres: Server, kind: str, values: list[Any]
) -> None:
    endpoint = postgres.fresh()
    postgres.execute(endpoint, "CREATE TYPE mood AS ENUM ('z', 'a', 'm')")
    postgres.execute(
        endpoint,
        f"CREATE TABLE orders (id {kind} PRIMARY KEY, changed TIMESTAMP NOT NULL)",
        "CREATE INDEX ON orders (changed)",
    )
    insert(postgres, endpoint, "orders", [{"id": v, "changed": "2024-01-01"} for v in values])
    found = keys(pull(endpoint, stream(page_rows=1)))
    assert len(found) == len(set(found)) == 3


def test_keys_of_mixed_types_in_sqlite_lose_nothing(sqlite: Server) -> None:
    endpoint = make(sqlite, "id, changed STAMP NOT NULL")
    sqlite.execute(endpoint, "CREATE UNIQUE INDEX one ON orders (id)")
    values = ["1", "1.5", "'1'", "'a'", "x'61'", "CAST(x'e9' AS TEXT)", "CAST(x'ea' AS TEXT)", "''"]
    for value in values:
        sqlite.execute(endpoint, f"INSERT INTO orders VALUES ({value}, '2024-01-01')")
    for page_rows in (1, 2, 3):
        assert len(pull(endpoint, stream(page_rows=page_rows))) == len(values)


def test_a_whole_table_of_one_stamp_is_walked_once_on_mariadb(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(
        endpoint,
        "CREATE TABLE orders (id INT PRIMARY KEY, changed DATETIME NOT NULL, KEY (changed, id))",
        "INSERT INTO orders SELECT seq, '2024-01-01' FROM seq_1_to_3000",
        "INSERT INTO orders SELECT seq, '2024-01-02' FROM seq_3001_to_3100",
    )
    with open_source(endpoint, stream(page_rows=100), "shop.orders") as source:
        read = [row for page in source.pull(1, None, None) for row in page["_key"].to_pylist()]
        connection = source._session.connection  # type: ignore[attr-defined]
        status = connection.execute(sa.text("SHOW SESSION STATUS LIKE 'Handler_read_next'"))
        steps = int(status.one()[1])
    assert read == [str(number) for number in range(1, 3101)]
    assert steps < 3 * 3100, "each row's index entry is read about once, not once per page"


def test_rows_are_never_held_all_at_once(sql_server: Server) -> None:
    endpoint = make(sql_server, "id INTEGER PRIMARY KEY, changed STAMP NOT NULL")
    rows = [{"id": i, "changed": "2024-01-01"} for i in range(30)]
    insert(sql_server, endpoint, "orders", rows)
    sizes: list[int] = []
    with open_source(endpoint, stream(page_rows=4), "shop.orders") as source:

        def note(_: Any, cursor: Any, *__: Any) -> None:
            sizes.append(cursor.rowcount)

        event.listen(source._session.connection, "after_cursor_execute", note)  # type: ignore[attr-defined]
        pages = [page.num_rows for page in source.pull(1, None, None)]
    assert pages == [4, 4, 4, 4, 4, 4, 4, 2]
    assert len(sizes) >= len(pages), "one SELECT per page"


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_pages_of_large_rows_have_fewer(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "PAGE_OCTETS", 100_000)
    server: Server = request.getfixturevalue(name)
    endpoint = make(server, "id INTEGER PRIMARY KEY, changed STAMP NOT NULL, text VARCHAR(9000)")
    sizes = [10] * 100 + [9000] * 200 + [10] * 700
    moment = "2024-01-01 00:00:00"
    rows = [{"id": i, "changed": moment, "text": "x" * size} for i, size in enumerate(sizes)]
    insert(server, endpoint, "orders", rows)
    with open_source(endpoint, stream(page_rows=100), "shop.orders") as source:
        pages = [page.num_rows for page in source.pull(1, None, None)]
    assert sum(pages) == len(sizes)
    assert pages[0] == 100, "nobody knows yet"
    assert pages.count(100) >= 6, "small rows fill their pages"
    assert sum(size <= 12 for size in pages) >= 9, "large ones do not"


def test_only_a_pull_asks_for_a_page_before_its_turn(mariadb: Server) -> None:
    endpoint = make(mariadb, "id INTEGER PRIMARY KEY, changed STAMP NOT NULL")
    rows = [{"id": i, "changed": "2024-01-01"} for i in range(30)]
    insert(mariadb, endpoint, "orders", rows)
    with open_source(endpoint, stream(page_rows=10), "shop.orders") as source:
        session: Any = source._session  # type: ignore[attr-defined]
        asked: list[Any] = []
        fetch = session.fetch

        def note(statement: Any) -> Any:
            asked.append(statement)
            return fetch(statement)

        session.fetch = note
        pages = source.scan()
        next(pages)
        assert len(asked) == 1, "whoever scans may ask something else meanwhile"
        assert [page.num_rows for page in pages] == [10, 10]
        assert sum(page.num_rows for page in source.pull(1, None, None)) == 30
