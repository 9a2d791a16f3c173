"""An entity's key is the same text on both databases, whatever the type of its columns."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from store.deliveries import Delivery
from tidegate.errors import ConfigError
from tidegate.store.record.records import ref_name
from tidegate.store.sqltext import quoted
from tidegate.store.store import Store

TEXTS: list[tuple[str, Any, str]] = [
    ("bool", True, "true"),
    ("bool", False, "false"),
    ("int16", -5, "-5"),
    ("int32", 7, "7"),
    ("int64", 2**53 + 1, "9007199254740993"),
    ("decimal(12,2)", Decimal("1.10"), "1.1"),
    ("decimal(38,9)", Decimal("0.000000001"), "0.000000001"),
    ("decimal(76,20)", Decimal("-1.10000000000000000000"), "-1.1"),
    ("decimal(12,2)", Decimal("-100.00"), "-100"),
    ("decimal(12,0)", Decimal(100), "100"),
    ("numeric", "12345678901234567890.5", "12345678901234567890.5"),
    ("numeric", "0.00", "0"),
    ("string", "00501", "00501"),
    ("string", "a|b\\c :d", "a|b\\c :d"),
    ("string", "", ""),
    ("bytes", b"\0\xff", "00ff"),
    ("date", date(1969, 12, 31), "1969-12-31"),
    ("time", time(1, 2, 3), "01:02:03.000000"),
    ("datetime", datetime(2024, 2, 29, 1, 2, 3, 40), "2024-02-29 01:02:03.000040"),
    ("timestamp", datetime(2024, 2, 29, 1, tzinfo=UTC), "2024-02-29 01:00:00.000000Z"),
]


def keys(store: Store, name: str, *names: str) -> list[Any]:
    query = f"SELECT {quoted(ref_name(names))} FROM shop__{name} ORDER BY _key"
    with store._reading() as connection:
        return list(connection.exec_driver_sql(query).scalars())


def test_a_key_of_one_column_is_its_text(store: Store, tmp_path: Path) -> None:
    columns = {f"c{place:02d}": kind for place, (kind, _, _) in enumerate(TEXTS)}
    entities = [{"type": "T", "key": name} for name in columns]
    delivery = Delivery(
        store, tmp_path, "shop.one", {"id": "int64"} | columns, {"load": {"entities": entities}}
    )
    values = dict(zip(columns, (value for _, value, _ in TEXTS), strict=True))
    delivery.load([{"id": 1} | values, {"id": 2}])
    for name, (kind, _, text) in zip(columns, TEXTS, strict=True):
        assert keys(store, "one", name) == [text, None], kind


def test_a_key_stays_what_it_was_when_its_column_becomes_wider(
    store: Store, tmp_path: Path
) -> None:
    load = {"entities": [{"type": "T", "key": "n"}]}
    widths: list[tuple[str, Any]] = [
        ("decimal(5,1)", Decimal("1.5")), ("decimal(9,3)", Decimal("1.5")), ("numeric", "1.50")
    ]  # fmt: skip
    for number, (kind, value) in enumerate(widths):
        columns = {"id": "int64", "n": kind}
        delivery = Delivery(store, tmp_path, "shop.wide", columns, {"load": load})
        delivery.load([{"id": number, "n": value}])
        assert keys(store, "wide", "n") == ["1.5"] * (number + 1)
    assert store.verify() == []


def test_a_key_of_several_columns_escapes_what_joins_them(store: Store, tmp_path: Path) -> None:
    load = {"entities": [{"type": "T", "key": ["a", "b"]}]}
    delivery = Delivery(
        store, tmp_path, "shop.two", {"id": "int64", "a": "string", "b": "string"}, {"load": load}
    )
    pairs = [("x", "y"), ("x|y", ""), ("x\\", "|"), ("", "x|y"), ("x", None)]
    delivery.load([{"id": number, "a": a, "b": b} for number, (a, b) in enumerate(pairs)])
    assert keys(store, "two", "a", "b") == ["x|y", "x\\|y|", "x\\\\|\\|", "|x\\|y", None]


@pytest.mark.parametrize("kind", ["float64", "json"])
def test_a_column_without_one_text_is_no_key(store: Store, tmp_path: Path, kind: str) -> None:
    load = {"entities": [{"type": "T", "key": "a"}]}
    delivery = Delivery(store, tmp_path, "shop.odd", {"id": "int64", "a": kind}, {"load": load})
    with pytest.raises(ConfigError, match=f"key of T names column 'a' of type {kind}, which has"):
        delivery.load([{"id": 1}])
