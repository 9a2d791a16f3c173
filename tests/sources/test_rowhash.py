"""The hash of a row: equal exactly when all its cells are, whoever computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from typing import Any

import pyarrow as pa
import pytest

from services import Server
from sources.tables import STAMP, insert, pull, stream
from tidegate.connections import Endpoint
from tidegate.sources import open_source
from tidegate.sources.sql.fetched import Rows, signed
from tidegate.sources.sql.options import SqlStream

LONG = "naïve 👩 \\ ' \" , : \n" * 4000
TEXTS = [
    "",
    "a",
    "A",
    "a ",
    "ä",
    "a\u0308",
    "1:a",
    "NULL",
    "\\N",
    '"',
    "''",
    "(,)",
    LONG,
    LONG + "x",
]
OCTETS = [b"", b"\0", b"\0\0", b"a\0", b"a\0b", b"\xff", b"\\x00", bytes(range(256))]
FLOATS = [0.1, 0.1 + 2**-56, 1e22, -1e-308, 1.7976931348623157e308, 5e-324, 0.0]
CELLS: dict[str, dict[str, Sequence[Any]]] = {
    "mariadb": {
        "BIGINT": [2**53, 2**53 + 1, -1, 0],
        "BIGINT UNSIGNED": [2**64 - 1, 2**64 - 2],
        "DECIMAL(38,9)": ["12345678901234567890123456789.123456789", "0.000000001", "-0.000000001"],
        "DOUBLE": FLOATS,
        "FLOAT": [16777215.0, 16777214.0, 0.1],
        "VARCHAR(300)": TEXTS[:-2],
        "VARCHAR(300) CHARACTER SET latin1": ["ä", "a", "A", "Ã¤"],
        "VARCHAR(90) CHARACTER SET utf16": ["ä", "a", "A", "\U0001f469"],
        "CHAR(5)": ["a", "A", "ä"],
        "LONGTEXT": TEXTS,
        "JSON": ['{"a": 1}', '{"a":1}', '"x"', "null"],
        "VARBINARY(300)": OCTETS,
        "BINARY(3)": [b"a", b"a\0b", b""],
        "LONGBLOB": OCTETS,
        "ENUM('z','a','z,a')": ["z", "a", "z,a"],
        "SET('a','b')": ["", "a", "b", "a,b"],
        "BIT(12)": [b"\x0a\xbc", b"\x00\x00", b"\x00\x01"],
        "DATE": ["0000-00-00", "2024-01-00", "9999-12-31"],
        "DATETIME(6)": ["2024-01-01 00:00:00.000001", "2024-01-01", "0000-00-00"],
        "TIMESTAMP(6) NULL": ["2024-01-01 00:00:00.000001", "2024-01-01"],
        "TIME(6)": ["-00:00:01", "00:00:01", "838:59:59"],
        "YEAR": [2024, 1999, 0],
        "UUID": ["123e4567-e89b-12d3-a456-426655440000", "123e4567-e89b-12d3-a456-426655440001"],
        "INET6": ["::1", "::2"],
    },
    "postgres": {
        "BIGINT": [2**53, 2**53 + 1, -1, 0],
        "NUMERIC": ["1.0", "1.00", "NaN", "1e30", "-0.000000001"],
        "NUMERIC(38,9)": ["12345678901234567890123456789.123456789", "0.000000001"],
        "DOUBLE PRECISION": [*FLOATS, "-0", "NaN", "Infinity"],
        "REAL": ["0.1", "0.10000001", "-0", "0"],
        "TEXT": TEXTS,
        "VARCHAR(300)": TEXTS[:-2],
        'TEXT COLLATE "nocase"': ["a", "A", "ä"],
        "CHAR(5)": ["a", "A", "ä"],
        "JSON": ['{"a": 1}', '{"a":1}', '"x"', "null"],
        "JSONB": ['{"a": 1}', '{"a": 1.0}', '"x"', "null"],
        "BYTEA": OCTETS,
        "BOOLEAN": [True, False],
        "DATE": ["0044-03-15 BC", "0044-03-15", "infinity", "-infinity"],
        "TIMESTAMP": ["2024-01-01 00:00:00.000001", "2024-01-01", "infinity"],
        "TIMESTAMPTZ": ["2024-01-01 00:00:00.000001Z", "2024-01-01Z", "294276-01-01Z"],
        "TIME": ["24:00", "00:00", "00:00:00.000001"],
        "TIMETZ": ["00:00+00", "01:00+01"],
        "INTERVAL": ["1 day", "24 hours", "1 month", "30 days"],
        "TEXT[]": ["{}", "{NULL}", '{"NULL"}', '{""}', '{"a,b"}', "{a,b}", "{{a},{b}}"],
        "INT[]": ["{1,2}", "[0:1]={1,2}"],
        "mood": ["z", "a"],
        "positive": [1, 2],
        "pair": ["(1,a)", "(1,)", '(1,"")'],
        "UUID": ["123e4567-e89b-12d3-a456-426655440000", "123e4567-e89b-12d3-a456-426655440001"],
        "INT4RANGE": ["[1,3)", "[1,4)", "empty"],
        "BIT VARYING": ["1", "01", ""],
    },
    "sqlite": {
        "INTEGER": [1, "x", 1.5, b"1"],
        "TEXT": [*TEXTS, b"\xff"],
        "BLOB": [*OCTETS, "text"],
        "REAL": FLOATS,
        "DATETIME": ["2024-01-01", "2024-01-01 00:00:00.000001", 5],
    },
}
_numbers = count(1)


@cache
def database(server: Server) -> Endpoint:
    endpoint = server.fresh()
    if server.kind == "postgres":
        server.execute(
            endpoint,
            "CREATE TYPE mood AS ENUM ('z', 'a')",
            "CREATE TYPE pair AS (a INTEGER, b TEXT)",
            "CREATE DOMAIN positive AS INTEGER CHECK (value > 0)",
            "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', "
            "deterministic = false)",
            # what another program's sessions look like here
            f"ALTER DATABASE {endpoint.database} SET IntervalStyle = 'iso_8601'",
            f"ALTER DATABASE {endpoint.database} SET DateStyle = 'German'",
            f"ALTER DATABASE {endpoint.database} SET bytea_output = 'escape'",
            f"ALTER DATABASE {endpoint.database} SET extra_float_digits = 0",
        )
    return endpoint


def table(
    server: Server,
    columns: str,
    rows: Sequence[dict[str, Any]],
    endpoint: Endpoint | None = None,
    key: str = "INTEGER PRIMARY KEY",
) -> tuple[Endpoint, str]:
    """A new table; its key counts the rows, unless they tell theirs."""
    endpoint, name = endpoint or database(server), f"orders_{next(_numbers)}"
    server.execute(
        endpoint,
        f"CREATE TABLE {name} (id {key}, changed {STAMP[server.kind]} NOT NULL, {columns})",
        f"CREATE INDEX by_changed_{name} ON {name} (changed)",
    )
    dated = [{"id": n, "changed": "2024-01-01", **row} for n, row in enumerate(rows)]
    insert(server, endpoint, name, dated)
    return endpoint, name


def hashes(endpoint: Endpoint, spec: SqlStream) -> list[int]:
    return [row["_source_hash"] for row in pull(endpoint, spec)]


@pytest.mark.parametrize("name", CELLS)
def test_each_value_of_each_cell_has_a_hash_of_its_own(
    name: str, request: pytest.FixtureRequest
) -> None:
    """In each of these rows one cell has a value; all others are NULL, and the key is the same."""
    server: Server = request.getfixturevalue(name)
    kinds = {f"cell{n}": kind for n, kind in enumerate(CELLS[name])}
    columns = ", ".join(f"{cell} {kind}" for cell, kind in kinds.items())
    rows: list[dict[str, Any]] = [{"id": 7}]
    rows += [{"id": 7, cell: value} for cell, kind in kinds.items() for value in CELLS[name][kind]]
    seen = []
    for _ in range(2):
        endpoint, place = table(server, columns, rows, key="INTEGER NOT NULL")
        found = pull(endpoint, stream(table=place, page_rows=40))
        by_hash: dict[int, list[Any]] = {}
        for row in found:
            cells = {kinds[n]: c for n, c in row.items() if c is not None and n in kinds}
            by_hash.setdefault(row["_source_hash"], []).append(cells)
        assert [rows for rows in by_hash.values() if len(rows) > 1] == []
        assert len(by_hash) == len(rows)
        seen.append(set(by_hash))
    assert seen[0] == seen[1], "the hash is one of the row, not of its session or its table"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a", ""), ("", "a")),
        ((None, ""), ("", None)),
        ((None, None), ("", "")),
        ((None, None), ("NULL", "NULL")),
        (("1:a,1:b", None), ("1:a", "b")),
        (("a,", "b"), ("a", ",b")),
        (('a","b', None), ("a", "b")),
        (("a,b", None), ("a", "b")),
        (("1", "2"), ("2", "1")),
    ],
)
def test_what_moves_into_the_next_column_changes_the_hash(
    sql_server: Server, one: tuple[Any, Any], other: tuple[Any, Any]
) -> None:
    pairs = [("a", "b"), ("c", "d")]
    rows = [
        {"id": 7, **dict(zip(pair, cells, strict=True))} for pair in pairs for cells in (one, other)
    ]
    columns = "a VARCHAR(20), b VARCHAR(20), c TEXT, d TEXT"
    endpoint, place = table(sql_server, columns, rows, key="INTEGER NOT NULL")
    different = len({tuple(row.get(name) for name in "abcd") for row in rows})
    assert len(set(hashes(endpoint, stream(table=place)))) == different


def test_the_order_of_the_columns_does_not_matter(sql_server: Server) -> None:
    row = {"b": "x", "a": 1, "z": None}
    endpoint, one = table(sql_server, "a INTEGER, b VARCHAR(9), z TEXT", [row])
    _, other = table(sql_server, "z TEXT, b VARCHAR(9), a INTEGER", [row])
    assert hashes(endpoint, stream(table=one)) == hashes(endpoint, stream(table=other))


def test_only_the_columns_that_were_adopted_count(sql_server: Server) -> None:
    rows = [{"a": 1, "b": "x"}]
    endpoint, name = table(sql_server, "a INTEGER, b VARCHAR(9)", rows)
    _, less = table(sql_server, "a INTEGER", [{"a": 1}])
    found = []
    for _ in range(2):
        with open_source(endpoint, stream(table=name), "shop.orders") as source:
            source.adopt([column for column in source.columns() if column.name != "b"])
            pages = [*source.pull(1, None, None), *source.scan(), *source.fetch(1, ["0"])]
            found += [hash_ for page in pages for hash_ in page["_source_hash"].to_pylist()]
        sql_server.execute(endpoint, f"UPDATE {name} SET b = 'y'")
    assert set(found) == set(hashes(endpoint, stream(table=less)))
    assert len(found) == 6


def test_the_scan_gives_the_hashes_of_the_pull(sql_server: Server) -> None:
    rows = [{"note": text, "n": None if n % 3 else n} for n, text in enumerate(TEXTS[:-2])]
    endpoint, name = table(sql_server, "note TEXT, n INTEGER", rows)
    spec = stream(table=name, page_rows=3)
    pulled = {row["_key"]: row["_source_hash"] for row in pull(endpoint, spec)}
    with open_source(endpoint, spec, "shop.orders") as source:
        pages = list(source.scan())
        assert all(page.column_names == ["_key", "_source_hash"] for page in pages)
        scanned = [row for page in pages for row in page.to_pylist()]
        assert [row["_key"] for row in scanned] == [str(n) for n in range(len(rows))]
        part = [key for page in source.scan(3, 8) for key in page["_key"].to_pylist()]
    assert {row["_key"]: row["_source_hash"] for row in scanned} == pulled
    assert part == ["3", "4", "5", "6", "7"]


def test_another_character_set_is_no_other_content(mariadb: Server) -> None:
    rows = [{"note": "naïve"}]
    kinds = ["VARCHAR(9) CHARACTER SET latin1", "VARCHAR(9)", "VARCHAR(9) CHARACTER SET utf16"]
    places = [table(mariadb, f"note {kind}", rows) for kind in kinds]
    found = [hashes(endpoint, stream(table=name)) for endpoint, name in places]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("before", "after", "cells"),
    [
        ("VARCHAR(300)", "TEXT", ["", "abc", "a ", "x" * 255, "x" * 256, "ä" * 128]),
        ("CHAR(9)", "LONGTEXT", ["", "abc"]),
        ("VARBINARY(300)", "LONGBLOB", [b"", b"a\0", b"x" * 256]),
        ("BINARY(3)", "BLOB", [b"a\0b"]),
        ("INT", "BIGINT(9) UNSIGNED ZEROFILL", [0, 7]),
        ("DECIMAL(9,2)", "DECIMAL(9,2) UNSIGNED ZEROFILL", ["1.50"]),
        ("FLOAT", "DOUBLE ZEROFILL", [0.1]),
        ("DATETIME", "DATETIME(6)", ["2024-01-01 10:00:00", "0000-00-00"]),
        ("TIMESTAMP NULL", "TIMESTAMP(3) NULL", ["2024-01-01 10:00:00"]),
        ("TIME", "TIME(6)", ["-00:00:01"]),
    ],
)
def test_another_declaration_of_the_same_cells_changes_no_hash(
    mariadb: Server, before: str, after: str, cells: list[Any]
) -> None:
    endpoint, name = table(mariadb, f"cell {before}", [{"cell": cell} for cell in cells])
    found = hashes(endpoint, stream(table=name))
    mariadb.execute(endpoint, f"ALTER TABLE {name} MODIFY cell {after}")
    assert hashes(endpoint, stream(table=name)) == found


def test_cells_larger_than_a_packet_together_have_a_hash(mariadb: Server) -> None:
    """CONCAT gives NULL where its result exceeds ``max_allowed_packet``, 16 MB here."""
    endpoint, name = table(mariadb, "a LONGTEXT, b LONGTEXT, c LONGTEXT", [])
    seven = "REPEAT('x', 7000000)"
    mariadb.execute(
        endpoint,
        f"INSERT INTO {name} VALUES (1, '2024-01-01', {seven}, {seven}, CONCAT({seven}, 'y'))",
        f"INSERT INTO {name} VALUES (2, '2024-01-01', {seven}, {seven}, CONCAT({seven}, 'z'))",
    )
    with open_source(endpoint, stream(table=name), "shop.orders") as source:
        (page,) = source.scan()
        assert source.chunk(None, 10, None).rows == 2
    assert len(set(page["_source_hash"].to_pylist())) == 2


def test_a_database_without_an_encoding_hashes_octets(postgres: Server) -> None:
    name = f"{database(postgres).database}_ascii"
    postgres.execute(
        postgres.admin, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'"
    )
    endpoint = replace(database(postgres), database=name)
    endpoint, place = table(postgres, "note TEXT", [], endpoint, "INTEGER NOT NULL")
    postgres.execute(
        endpoint,
        rf"INSERT INTO {place} VALUES (7, '2024-01-01', E'caf\xe9'), (7, '2024-01-01', E'caf\xe8')",
    )
    with open_source(endpoint, stream(table=place), "shop.orders") as source:
        (page,) = source.scan()
        assert len(set(page["_source_hash"].to_pylist())) == 2


def test_digits_are_numbers_with_a_sign() -> None:
    texts = ["0" * 16, "7fffffffffffffff", "8000000000000000", None, "ffffffffffffffff"]
    numbers = [0, 2**63 - 1, -(2**63), None, -1]
    digits = pa.array(texts, pa.large_binary())
    assert signed(digits).to_pylist() == numbers
    assert signed(digits[2:4]).to_pylist() == numbers[2:4]
    assert signed(digits[:0]).to_pylist() == []
    assert Rows([(7, text) for text in texts]).hashes(1).to_pylist() == numbers
