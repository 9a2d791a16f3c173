"""Awkward values through the whole path: in the store they are what was put into the source."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services import Server
from shops import Shop
from tidegate import path
from tidegate.compare import compare
from tidegate.model import Mode, Report

STAMP = datetime(2026, 3, 1, 12, 0, 0, 1)
E_COMPOSED, E_COMBINED = "\u00e9", "e\u0301"
TEXTS = [
    "00501",
    " leading and trailing ",
    "\N{FAMILY}\N{ZERO WIDTH JOINER}\N{ROCKET}\U0001f469\u200d\U0001f469\u200d\U0001f467",
    E_COMPOSED,
    E_COMBINED,
    "\N{RIGHT-TO-LEFT MARK}\u05d0\u0628\N{NO-BREAK SPACE}\N{LINE SEPARATOR}\N{ZERO WIDTH SPACE}",
    "\ufeffbom",
    "two\nlines",
    "dos\r\nlines\rand mac",
    "tab\there",
    "comma, semicolon; pipe|",
    "single ' double \" both ''\"\"",
    '"quoted"',
    '"',
    "back\\slash \\n \\t \\",
    r"\N",
    r"\.",
    "before\n\\.\nafter",
    "NULL",
    "null",
    "%s %(x)s {x} :x ? $1 @x #",
    "'; DROP TABLE orders; --",
    "=1+1",
    "\x01\x1f\x7f",
    "nan",
    "true",
]
INTEGERS = [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0]
EXACT = [
    Decimal("12345678901234567890123456789.123456789"),
    Decimal("-99999999999999999999999999999.999999999"),
    Decimal("0.000000001"),
    Decimal("-0.000000001"),
    Decimal("0.000000000"),
    Decimal("1.100000000"),
]
FLOATS = [1e-308, 1.7976931348623157e308, 0.1, 1 / 3, 123456789.123456789, -2.5, 1e22]
MOMENTS = [
    datetime(1969, 12, 31, 23, 59, 59, 999999),
    datetime(1000, 1, 1),
    datetime(9999, 12, 31, 23, 59, 59, 999999),
    datetime(2024, 2, 29, 0, 0, 0, 1),
    datetime(2026, 3, 29, 2, 30),
]
INSTANTS = [
    datetime(2026, 3, 29, 1, 0, 0, 123456, UTC),
    datetime(1999, 12, 31, 23, 59, 59, 999999, UTC),
]
DAYS = [date(1000, 1, 1), date(1582, 10, 10), date(1969, 12, 31), date(9999, 12, 31)]
TIMES = [time(0), time(23, 59, 59, 999999)]
OCTETS = [b"", b"\0\xff\x80\\x41", bytes(range(256))]
DOCUMENTS = ['{"a": 9007199254740993, "b": [1.10, null, "\\u00e9"]}', '"x"']
BOOLEANS = [True, False]
LONG = '\N{OCTOPUS} of the deep, "quoted"\n' * 6_000

KINDS: dict[str, tuple[str, str, str]] = {
    # column:   MariaDB, PostgreSQL, SQLite
    "big": ("BIGINT", "BIGINT", "INTEGER"),
    "exact": ("DECIMAL(38,9)", "NUMERIC(38,9)", "TEXT"),
    "ratio": ("DOUBLE", "DOUBLE PRECISION", "REAL"),
    "words": ("VARCHAR(500)", "VARCHAR(500)", "TEXT"),
    "moment": ("DATETIME(6)", "TIMESTAMP(6)", "DATETIME"),
    "instant": ("TIMESTAMP(6) NULL", "TIMESTAMPTZ", "DATETIME"),
    "day": ("DATE", "DATE", "DATE"),
    "clock": ("TIME(6)", "TIME(6)", "TIME"),
    "octets": ("VARBINARY(300)", "BYTEA", "BLOB"),
    "document": ("JSON", "JSON", "JSON"),
    "yes": ("BOOLEAN", "BOOLEAN", "BOOLEAN"),
    "story": ("LONGTEXT", "TEXT", "TEXT"),
    "dirty": ("BLOB", "TIMESTAMP", "TEXT"),
    "changed": ("DATETIME(6) NOT NULL", "TIMESTAMP(6) NOT NULL", "DATETIME NOT NULL"),
}
VALUES: dict[str, list[Any]] = {
    "big": INTEGERS, "exact": EXACT, "ratio": FLOATS, "words": ["", *TEXTS], "moment": MOMENTS,
    "instant": INSTANTS, "day": DAYS, "clock": TIMES, "octets": OCTETS, "document": DOCUMENTS,
    "yes": BOOLEANS, "story": [LONG],
}  # fmt: skip


@dataclass(frozen=True)
class Database:
    """How a source takes values: its column of KINDS, the types to declare, what it cannot keep."""

    place: int
    types: dict[str, str]
    put: Callable[[str, Any], Any]


def _as_is(column: str, value: Any) -> Any:
    return value


def _to_sqlite(column: str, value: Any) -> Any:
    """SQLite has numbers, text and octets; the rest is text."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")
    if isinstance(value, time):
        return value.isoformat("microseconds")
    return value.isoformat() if isinstance(value, date) else _text_if_exact(column, value)


def _text_if_exact(column: str, value: Any) -> Any:
    return format(value, "f") if isinstance(value, Decimal) else value


def _to_mysql(column: str, value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


DATABASES = {
    "mysql": Database(0, {"yes": "bool", "document": "json", "dirty": "string"}, _to_mysql),
    "postgres": Database(1, {}, _as_is),
    "sqlite": Database(2, {"exact": "decimal(38,9)", "instant": "timestamp"}, _to_sqlite),
}
"""MariaDB's JSON is LONGTEXT to its catalogue, its BOOLEAN is TINYINT."""


def golden_rows() -> dict[int, dict[str, Any]]:
    """By primary key: a row per value, and rows full of values and of nothing."""
    rows: dict[int, dict[str, Any]] = {2**53 + 1: {}, 2**63 - 1: {}}
    number = 1
    for column, values in VALUES.items():
        for value in values:
            rows[number] = {column: value}
            number += 1
    rows[2**53 + 1] = {column: values[-1] for column, values in VALUES.items()}
    rows[2**53 + 2] = {column: values[0] for column, values in VALUES.items()}
    return rows


@pytest.fixture(params=["sqlite", "postgres"])
def shop(
    request: pytest.FixtureRequest,
    sql_server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Shop:
    """Each source with each store; the golden rows are in the source."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    store: Server = request.getfixturevalue(request.param)
    database = DATABASES[sql_server.kind]
    fields = {"types": database.types, "page_rows": 7}
    shop = Shop(sql_server, sql_server.fresh(), store.fresh(), fields)
    columns = ", ".join(f"{name} {kinds[database.place]}" for name, kinds in KINDS.items())
    key = "INTEGER" if sql_server.kind == "sqlite" else "BIGINT"
    shop.execute(
        f"CREATE TABLE orders (id {key} PRIMARY KEY, {columns})",
        "CREATE INDEX by_changed ON orders (changed, id)",
    )
    shop.insert(
        *(
            {"id": id, "changed": database.put("changed", STAMP)}
            | {name: database.put(name, value) for name, value in row.items()}
            for id, row in golden_rows().items()
        )
    )
    return shop


def kept(store: str, column: str, value: Any) -> Any:
    """How a store's driver shows *value*; SQLite keeps exact numbers and times as text."""
    if store == "postgres" or value is None:
        return value
    if isinstance(value, Decimal):
        return f"{value:.9f}"
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(" ", "microseconds")
        return text + ("Z" if value.tzinfo else "")
    if isinstance(value, time):
        return value.isoformat("microseconds")
    return value.isoformat() if isinstance(value, date) else value


def stored(shop: Shop) -> dict[int, dict[str, Any]]:
    columns = ["id", *VALUES]
    return {
        row[0]: dict(zip(VALUES, row[1:], strict=True)) for row in shop.stored(", ".join(columns))
    }


def test_every_awkward_value_is_in_the_store_as_it_was_in_the_source(shop: Shop) -> None:
    rows = golden_rows()

    report = shop.run()

    assert (report.pulled, report.inserted, report.quarantined) == (len(rows), len(rows), 0)
    found = stored(shop)
    assert set(found) == set(rows)
    for id, row in rows.items():
        for column in VALUES:
            wanted = kept(shop.store.kind, column, row.get(column))
            assert found[id][column] == wanted, f"{column} of row {id}"
            assert type(found[id][column]) is type(wanted) or column == "yes"
    assert sorted(shop.stored("_key")) == sorted(map(str, rows))


def test_a_second_look_changes_nothing(shop: Shop) -> None:
    rows = golden_rows()
    shop.run()
    columns = "_key, _hash, _source_hash, _deleted, _duplicate, _seq"
    before = [stored(shop), shop.stored(columns)]

    for mode in (Mode.INCREMENT, Mode.FULL):
        report = shop.run(mode)
        assert (report.pulled, report.unchanged) == (len(rows), len(rows))

    assert [stored(shop), shop.stored(columns)] == before
    assert shop.stored("*", "shop__orders__history") == []


def spoil(shop: Shop) -> dict[str, tuple[str, str, str]]:
    """Put in what no store could keep as it is; by key: (column, rule, what the message shows)."""
    stamp = "'2026-03-01 12:00:00'"
    if shop.source.kind == "sqlite":
        shop.execute(
            "INSERT INTO orders (id, dirty, changed) VALUES "
            f"(901, CAST(x'636166e9' AS TEXT), {stamp})",
            f"INSERT INTO orders (id, day, changed) VALUES (902, '2026-02-30', {stamp})",
            f"INSERT INTO orders (id, big, changed) VALUES (903, 'many', {stamp})",
        )
        return {
            "901": ("dirty", "not UTF-8", "0x636166e9"),
            "902": ("day", "out of range", "2026-02-30"),
            "903": ("big", "wrong type", "many"),
        }
    if shop.source.kind == "mysql":
        shop.execute(
            f"INSERT INTO orders (id, dirty, changed) VALUES (901, x'636166e9', {stamp})",
            f"INSERT IGNORE INTO orders (id, day, changed) VALUES (902, '0000-00-00', {stamp})",
            f"INSERT IGNORE INTO orders (id, moment, changed) VALUES (903, '0000-00-00', {stamp})",
            f"INSERT INTO orders (id, clock, changed) VALUES (904, '-11:00:00', {stamp})",
        )
        return {
            "901": ("dirty", "not UTF-8", "0x636166e9"),
            "902": ("day", "zero date", "0000-00-00"),
            "903": ("moment", "zero date", "0000-00-00"),
            "904": ("clock", "out of range", "-1 day"),
        }
    shop.execute(
        f"INSERT INTO orders (id, dirty, changed) VALUES (901, '-infinity', {stamp})",
        f"INSERT INTO orders (id, ratio, changed) VALUES (902, 'NaN', {stamp})",
        f"INSERT INTO orders (id, day, changed) VALUES (903, '12026-01-01', {stamp})",
    )
    return {
        "901": ("dirty", "infinity", "-infinity"),
        "902": ("ratio", "not finite", "nan"),
        "903": ("day", "out of range", "12026-01-01"),
    }


def test_what_cannot_be_kept_is_held_with_its_reason_and_the_rest_is_loaded(shop: Shop) -> None:
    wanted = spoil(shop)

    first, second = shop.run(), shop.run()

    assert (first.inserted, first.quarantined) == (len(golden_rows()), len(wanted))
    assert (second.unchanged, second.quarantined) == (len(golden_rows()), len(wanted))
    held = shop.stored("key, reasons, row", "tidegate_quarantine")
    assert [key for key, _, _ in held] == sorted(wanted)
    for key, reasons, row in held:
        column, rule, shown = wanted[key]
        (reason,) = json.loads(reasons)
        assert (reason["step"], reason["column"], reason["rule"]) == ("pull", column, rule)
        assert shown in reason["message"]
        assert json.loads(row)["id"] == int(key)
    assert not set(wanted) & set(shop.stored("_key"))


def replay(shop: Shop) -> Report:
    return path.run(shop.job(), shop.request(Mode.REPLAY))


def test_every_awkward_value_is_after_a_replay_what_it_is_without_one(
    shop: Shop, request: pytest.FixtureRequest
) -> None:
    store: Server = request.getfixturevalue(shop.store.kind)
    straight, detour = replace(shop, store=store.fresh()), shop
    straight.run()
    nothing = [{"expect_column_values_to_be_null": {"column": "changed"}}]
    assert detour.run(expect=nothing).inserted == 0
    assert replay(detour).inserted == len(golden_rows())
    assert stored(detour) == stored(straight)
    own = "_key, _first, _token, _hash, _source_hash, _deleted, _valid, changed"
    assert detour.stored(own) == straight.stored(own)
    assert compare(detour.job()).agrees


def test_what_the_reading_could_not_take_is_never_replayed_without_it(shop: Shop) -> None:
    wanted = spoil(shop)
    shop.run()
    before = shop.stored("key, reasons, state", "tidegate_quarantine")
    assert replay(shop).details["fates"] == {"held": len(wanted)}
    assert shop.stored("key, reasons, state", "tidegate_quarantine") == before
    assert not set(wanted) & set(shop.stored("_key"))


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_negative_zero_and_the_smallest_numbers_stay_as_both_databases_can(
    name: str,
    store: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    server: Server = request.getfixturevalue(name)
    shop = Shop(server, server.fresh(), request.getfixturevalue(store).fresh())
    shop.execute(
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, ratio DOUBLE PRECISION, "
        "changed TIMESTAMP NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed, id)",
        "INSERT INTO orders VALUES (1, '-0', '2026-03-01'), (2, -1e-320, '2026-03-01')",
    )
    with server.engine(shop.source).connect() as connection:
        query = "SELECT ratio FROM orders ORDER BY id"
        wanted = [repr(value) for (value,) in connection.exec_driver_sql(query)]
    assert wanted[0] == ("-0.0" if name == "postgres" else "0.0"), "MariaDB drops the sign itself"
    assert shop.run().inserted == 2
    if store == "sqlite":  # and SQLite drops it when it writes
        wanted[0] = "0.0"
    assert [repr(value) for value in shop.stored("ratio", tail="ORDER BY _key")] == wanted
    with shop.job().store() as kept:
        assert kept.verify() == []
