"""Awkward values arrive bit for bit, or their row is held; none becomes NULL unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from services import Server
from sources.tables import insert, keys, pull, stream
from tidegate.sources import open_source

EXACT = Decimal("12345678901234567890123456789.123456789")
EMOJI = "naïve 👩‍👩‍👧 \\ ' \" % :x"


def held(row: dict[str, Any]) -> dict[str, str]:
    """Rule by column."""
    return {item["column"]: item["rule"] for item in json.loads(row["_held"] or "[]")}


def test_the_golden_row_arrives_bit_for_bit(sql_server: Server) -> None:
    kind, endpoint = sql_server.kind, sql_server.fresh()
    big, exact, stamp, text, octets = {
        "mysql": ("BIGINT", "DECIMAL(38,9)", "DATETIME(6)", "VARCHAR(200)", "VARBINARY(20)"),
        "postgres": ("BIGINT", "NUMERIC(38,9)", "TIMESTAMP", "VARCHAR(200)", "BYTEA"),
        "sqlite": ("INTEGER", "TEXT", "DATETIME", "TEXT", "BLOB"),
    }[kind]
    sql_server.execute(
        endpoint,
        f"CREATE TABLE orders (id {big} PRIMARY KEY, code {text}, amount {exact}, changed {stamp} "
        f"NOT NULL, note {text}, empty {text}, raw {octets}, day DATE, clock TIME, yes BOOLEAN)",
        "CREATE INDEX by_changed ON orders (changed, id)",
    )
    moment = "2024-02-29 23:59:59.123456"
    row = {
        "id": 2**53 + 1, "code": "00501", "amount": str(EXACT), "changed": moment, "note": EMOJI,
        "empty": "", "raw": b"\0\xff", "day": "0999-12-31", "clock": "23:59:59", "yes": True,
    }  # fmt: skip
    insert(sql_server, endpoint, "orders", [row, {"id": 1, "changed": moment}])
    types = {"yes": "bool"} | ({"amount": "decimal(38,9)"} if kind == "sqlite" else {})

    nothing, golden = pull(endpoint, stream(types=types))

    data = {name: value for name, value in golden.items() if not name.startswith("_")}
    assert data == {
        "id": 2**53 + 1, "code": "00501", "amount": EXACT,
        "changed": datetime(2024, 2, 29, 23, 59, 59, 123456), "note": EMOJI, "empty": "",
        "raw": b"\0\xff", "day": date(999, 12, 31), "clock": time(23, 59, 59), "yes": True,
    }  # fmt: skip
    assert golden["_key"] == "9007199254740993"
    assert golden["_held"] is None
    assert golden["_token"] == 7 << 20
    assert nothing["empty"] is None
    assert nothing["_held"] is None


def test_types_come_from_the_catalogue_of_mariadb(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    declared = {
        "id": ("BIGINT UNSIGNED PRIMARY KEY", "decimal(20,0)"),
        "tiny": ("TINYINT UNSIGNED", "int16"), "small": ("SMALLINT UNSIGNED", "int32"),
        "medium": ("MEDIUMINT UNSIGNED", "int32"), "whole": ("INT UNSIGNED", "int64"),
        "wide": ("DECIMAL(65,30)", "decimal(65,30)"), "single": ("FLOAT", "float64"),
        "year": ("YEAR", "int16"), "choice": ("ENUM('b','a')", "string"),
        "choices": ("SET('b','a')", "string"), "bits": ("BIT(12)", "bytes"),
        "blob_": ("LONGBLOB", "bytes"), "instant": ("TIMESTAMP(6) NULL", "timestamp"),
        "span": ("TIME(6)", "time"), "uid": ("UUID", "string"),
        "changed": ("DATETIME(6) NOT NULL", "datetime"),
    }  # fmt: skip
    columns = ", ".join(f"{name} {text}" for name, (text, _) in declared.items())
    mariadb.execute(endpoint, f"CREATE TABLE orders ({columns}, KEY (changed))")
    wide = Decimal("1" * 35 + "." + "9" * 30)
    insert(mariadb, endpoint, "orders", [{
        "id": 2**64 - 1, "tiny": 255, "small": 65535, "medium": 2**24 - 1, "whole": 2**32 - 1,
        "wide": str(wide), "single": 16777217, "year": 2155, "choice": "a", "choices": "b,a",
        "bits": b"\x0a\xbc", "blob_": b"\xff", "span": "23:59:59.999999",
        "uid": "123e4567-e89b-12d3-a456-426655440000", "changed": "2024-01-01",
    }])  # fmt: skip

    with open_source(endpoint, stream(), "shop.orders") as source:
        assert {column.name: str(column.type) for column in source.columns()} == {
            name: type for name, (_, type) in declared.items()
        }
    (row,) = pull(endpoint, stream())

    assert row["_held"] is None
    assert row["_key"] == "18446744073709551615"
    assert row["wide"] == wide
    assert row["single"] == 16777216.0
    assert row["bits"] == b"\x0a\xbc"
    assert row["choices"] == "b,a"
    assert row["span"] == time(23, 59, 59, 999999)


def test_types_come_from_the_catalogue_of_postgresql(postgres: Server) -> None:
    endpoint = postgres.fresh()
    declared = {
        "id": ("UUID PRIMARY KEY", "string"), "small": ("SMALLINT", "int16"),
        "whole": ("INTEGER", "int32"), "bare": ("NUMERIC", "numeric"),
        "scaled": ("NUMERIC(1000,3)", "numeric"), "single": ("REAL", "float64"),
        "padded": ("CHAR(5)", "string"), "raw": ("JSON", "json"), "kept": ("JSONB", "json"),
        "list": ("TEXT[]", "string"), "mood": ("mood", "string"), "positive": ("positive", "int32"),
        "span": ("INTERVAL", "string"), "clock": ("TIME", "time"),
        "changed": ("TIMESTAMPTZ NOT NULL", "timestamp"),
    }  # fmt: skip
    columns = ", ".join(f"{name} {text}" for name, (text, _) in declared.items())
    postgres.execute(
        endpoint,
        "CREATE TYPE mood AS ENUM ('sad', 'happy')",
        "CREATE DOMAIN positive AS INTEGER CHECK (value > 0)",
        f"CREATE TABLE orders ({columns})",
        "CREATE INDEX ON orders (changed)",
        "INSERT INTO orders VALUES ('123e4567-e89b-12d3-a456-426655440000', 1, 2,"
        " 1e30 + 0.10, 1.500, 0.1, 'ab', '{\"a\":  9007199254740993}', '{\"a\": 1.10}',"
        " '{a,NULL}', 'happy', 3, '1 day', '01:02:03.000004', '2024-07-01 00:00:00.000001+02')",
    )

    with open_source(endpoint, stream(), "shop.orders") as source:
        assert {column.name: str(column.type) for column in source.columns()} == {
            name: type for name, (_, type) in declared.items()
        }
    (row,) = pull(endpoint, stream())

    assert row["_held"] is None
    assert row["bare"] == "1000000000000000000000000000000.1"
    assert row["scaled"] == "1.5"
    assert row["single"] == 0.1
    assert row["padded"] == "ab   "
    assert row["raw"] == '{"a":  9007199254740993}'
    assert row["list"] == "{a,NULL}"
    assert row["changed"] == datetime(2024, 6, 30, 22, 0, 0, 1, UTC)


def test_zero_dates_hold_their_row_and_different_ones_hash_differently(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(
        endpoint,
        "CREATE TABLE orders (id INT PRIMARY KEY, day DATE, changed DATETIME NOT NULL, "
        "KEY (changed))",
    )
    insert(mariadb, endpoint, "orders", [
        {"id": 1, "day": "0000-00-00", "changed": "2024-01-01"},
        {"id": 2, "day": "2024-00-15", "changed": "2024-01-01"},
        {"id": 3, "day": "2024-01-15", "changed": "0000-00-00"},
    ])  # fmt: skip

    first, second, third = pull(endpoint, stream(page_rows=1))

    assert [row["day"] for row in (first, second)] == [None, None]
    assert held(first) == held(second) == {"day": "zero date"}
    assert "'0000-00-00'" in json.loads(first["_held"])[0]["message"]
    assert held(third) == {"changed": "zero date"}
    assert keys(pull(endpoint, stream(), "2024-06-01T00:00:00.000000")) == ["3"]
    assert len({row["_source_hash"] for row in (first, second, third)}) == 3


def test_zero_dates_can_be_kept_as_text(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(
        endpoint,
        "CREATE TABLE orders (id INT PRIMARY KEY, day DATE, changed DATETIME NOT NULL, "
        "KEY (changed))",
        "INSERT IGNORE INTO orders VALUES (1, '0000-00-00', '2024-01-01')",
    )
    (row,) = pull(endpoint, stream(types={"day": "string"}))
    assert row["_held"] is None
    assert row["day"] == "0000-00-00"


def test_octets_declared_as_text_are_decoded_or_held_with_their_hex(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(
        endpoint,
        "CREATE TABLE orders (id INT PRIMARY KEY, note BLOB, changed DATETIME NOT NULL, "
        "KEY (changed))",
        "INSERT INTO orders VALUES (1, 'caf\u00e9', '2024-01-01'), (2, x'636166e9', '2024-01-01')",
    )
    good, bad = pull(endpoint, stream(types={"note": "string"}))
    assert good["note"] == "café"
    assert held(bad) == {"note": "not UTF-8"}
    assert "0x636166e9" in json.loads(bad["_held"])[0]["message"]


def test_a_time_span_is_not_a_time_of_day(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(
        endpoint,
        "CREATE TABLE orders (id INT PRIMARY KEY, span TIME, changed DATETIME NOT NULL, "
        "KEY (changed))",
        "INSERT INTO orders VALUES (1, '838:59:59', '2024-01-01'), (2, '-00:00:01', '2024-01-01')",
    )
    assert [held(row) for row in pull(endpoint, stream())] == [{"span": "out of range"}] * 2


def test_infinity_and_nan_hold_their_row(postgres: Server) -> None:
    endpoint = postgres.fresh()
    postgres.execute(
        endpoint,
        "CREATE TABLE orders (id INT PRIMARY KEY, day DATE, amount NUMERIC, exact NUMERIC(9,2), "
        "ratio FLOAT8, clock TIME, changed TIMESTAMPTZ NOT NULL)",
        "CREATE INDEX ON orders (changed)",
        "INSERT INTO orders VALUES (1, 'infinity', 'NaN', 'NaN', 'NaN', '24:00', '2024-01-01'),"
        " (2, '0044-03-15 BC', 'Infinity', 1, '-Infinity', NULL, '2024-01-01'),"
        " (3, '2024-01-01', 1, 1, 1, NULL, '-infinity'),"
        " (4, '2024-01-01', 1, 1, 1, NULL, 'infinity')",
    )
    rows = {row["id"]: row for row in pull(endpoint, stream(page_rows=1))}
    assert held(rows[1]) == {
        "day": "infinity", "amount": "not finite", "exact": "not finite", "ratio": "not finite",
        "clock": "out of range",
    }  # fmt: skip
    assert held(rows[2]) == {
        "day": "out of range", "amount": "not finite", "ratio": "not finite"
    }  # fmt: skip
    assert held(rows[3]) == held(rows[4]) == {"changed": "infinity"}
    assert {row["id"] for row in pull(endpoint, stream(), "2025-01-01T00:00:00.000000+00:00")} == {
        3, 4,
    }  # fmt: skip


def test_values_of_another_type_in_sqlite_hold_their_row(sqlite: Server) -> None:
    endpoint = sqlite.fresh()
    sqlite.execute(
        endpoint,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, count INTEGER, price DECIMAL(6,2), "
        "paid BOOLEAN, day DATE, note TEXT, raw BLOB, changed TIMESTAMP NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
        "INSERT INTO orders VALUES (1, 5, 12.30, 1, '2024-01-31', 'x', x'00', '2024-01-01'),"
        " (2, 'many', 1234567, 2, '2024-02-30', x'41', 'text', '2024-01-01 00:00:00.000'),"
        " (3, 1.5, 0.1 + 0.2, 0, 20240101, CAST(x'636166e9' AS TEXT), NULL, '2024-01-01T00:00'),"
        " (4, NULL, NULL, NULL, NULL, 'a' || char(0) || 'b', NULL, 'yesterday'),"
        " (5, NULL, NULL, NULL, NULL, NULL, NULL, 1704067200)",
    )
    rows = {row["id"]: row for row in pull(endpoint, stream(page_rows=2))}

    assert rows[1]["_held"] is None
    assert rows[1]["price"] == Decimal("12.30")
    assert rows[1]["paid"] is True
    assert rows[1]["changed"] == datetime(2024, 1, 1)
    assert held(rows[2]) == {
        "count": "wrong type", "price": "out of range", "paid": "wrong type",
        "day": "out of range", "note": "wrong type", "raw": "wrong type",
    }  # fmt: skip
    assert held(rows[3]) == {"count": "wrong type", "day": "wrong type", "note": "not UTF-8"}
    assert rows[3]["price"] == Decimal("0.30")
    assert "0x636166e9" in rows[3]["_held"]
    assert held(rows[4]) == {"note": "NUL character", "changed": "wrong type"}
    assert held(rows[5]) == {"changed": "wrong type"}
    late = pull(endpoint, stream(), "2025-01-01T00:00:00.000000")
    assert {row["id"] for row in late} == {4, 5}, "rows that no bound reaches are read every time"


def test_declared_types_read_text_as_a_person_would(sqlite: Server) -> None:
    endpoint = sqlite.fresh()
    sqlite.execute(
        endpoint,
        "CREATE TABLE orders (id TEXT PRIMARY KEY NOT NULL, count TEXT, at TEXT, doc TEXT, size, "
        "changed TEXT NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
        "INSERT INTO orders VALUES"
        " ('a', '007', '2024-07-01T12:00:00Z', '{\"a\": 1}', 5, '2024-01-01'),"
        " ('b', '7.5', '2024-07-01 12:00:00', '{a}', 'x', '2024-01-01')",
    )
    types = {"count": "int32", "at": "timestamp", "doc": "json", "changed": "datetime"}
    good, bad = pull(endpoint, stream(types=types, time_zone="Europe/Berlin"))
    assert (good["count"], good["doc"], good["size"]) == (7, '{"a": 1}', "5")
    assert good["at"] == datetime(2024, 7, 1, 12, tzinfo=UTC)
    assert bad["at"] == datetime(2024, 7, 1, 10, tzinfo=UTC)
    assert held(bad) == {"count": "wrong type", "doc": "wrong type"}


def test_half_of_a_legacy_encoding_is_held_not_fatal(postgres: Server) -> None:
    endpoint = postgres.fresh()
    name = f"{endpoint.database}_ascii"
    postgres.execute(
        postgres.admin, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'"
    )
    endpoint = replace(endpoint, database=name)
    postgres.execute(
        endpoint,
        "CREATE TABLE orders (id INT PRIMARY KEY, note TEXT, changed DATE NOT NULL)",
        "CREATE INDEX ON orders (changed)",
        r"INSERT INTO orders VALUES (1, E'caf\xe9', '2024-01-01'), (2, 'ok', '2024-01-01')",
    )
    bad, good = pull(endpoint, stream())
    assert held(bad) == {"note": "not UTF-8"}
    assert good["note"] == "ok"


@pytest.mark.parametrize(("text", "expected"), [("a", "a"), ('"', '"'), ("ü", "ü")])
def test_composite_keys_become_one_text(sql_server: Server, text: str, expected: str) -> None:
    endpoint = sql_server.fresh()
    stamp = {"mysql": "DATETIME(6)", "postgres": "TIMESTAMP", "sqlite": "DATETIME"}[sql_server.kind]
    sql_server.execute(
        endpoint,
        f"CREATE TABLE orders (a INTEGER NOT NULL, b VARCHAR(9) NOT NULL, changed {stamp} NOT NULL,"
        " PRIMARY KEY (a, b))",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    insert(sql_server, endpoint, "orders", [{"a": -1, "b": text, "changed": "2024-01-01"}])
    (row,) = pull(endpoint, stream(primary_key=["a", "b"]))
    assert row["_key"] == json.dumps(["-1", expected], ensure_ascii=False, separators=(",", ":"))
