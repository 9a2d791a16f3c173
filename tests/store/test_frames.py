"""What is read back out of a stream's table is what was written into it, to the last bit."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import test_golden as golden
from store.deliveries import Delivery
from tidegate.store.record import frames, words
from tidegate.store.store import Store
from tidegate.types import ColumnType

TYPES = {
    "id": "int64", "yes": "bool", "small": "int16", "middle": "int32", "big": "int64",
    "exact": "decimal(38,9)", "huge": "decimal(60,9)", "free": "numeric", "ratio": "float64",
    "words": "string", "octets": "bytes", "day": "date", "clock": "time", "moment": "datetime",
    "instant": "timestamp", "document": "json", 'odd: "%s" :x': "string",
}  # fmt: skip
VALUES: dict[str, list[Any]] = {
    "yes": golden.BOOLEANS, "small": [-32768, 0], "middle": [2**31 - 1], "big": golden.INTEGERS,
    "exact": golden.EXACT, "huge": [Decimal("9" * 51 + ".000000001"), Decimal("-0.000000001")],
    "free": ["0.00000000000000000001", "1" + "0" * 60, "-1.5"],
    "ratio": [*golden.FLOATS, math.nan, math.inf, -math.inf, 5e-324],
    "words": ["", *golden.TEXTS], "octets": golden.OCTETS,
    "day": [*golden.DAYS, date(1, 1, 1)], "clock": [*golden.TIMES, time(1, 2, 3, 4)],
    "moment": golden.MOMENTS, "instant": [*golden.INSTANTS, datetime(1, 1, 1, tzinfo=UTC)],
    "document": golden.DOCUMENTS, 'odd: "%s" :x': ["odd"],
}  # fmt: skip


CELLS = [(name, value) for name, values in VALUES.items() for value in values]
ROWS: list[dict[str, Any]] = [
    *({"id": number, name: value} for number, (name, value) in enumerate(CELLS)),
    {"id": 1000} | {name: values[0] for name, values in VALUES.items()},
    {"id": 1001},
]
"""A row per value, a full row, and an empty one."""


@pytest.fixture
def delivery(store: Store, tmp_path: Path) -> Delivery:
    delivery = Delivery(store, tmp_path, "shop.everything", TYPES)
    assert delivery.load(ROWS).inserted == len(ROWS)
    return delivery


def test_every_value_comes_back_and_hashes_to_what_was_stored(delivery: Delivery) -> None:
    with delivery.store._reading() as connection:
        columns = frames.columns_of(connection, delivery.name)
        found = list(
            frames.pages(
                connection, "shop__everything",
                [*columns, *frames.own("_hash", "_deleted", "_key")], order="length(_key), _key",
                rows=7,
            )
        )  # fmt: skip
    assert [page.num_rows for page in found[:-1]] == [7] * (len(found) - 1)
    table = pa.concat_tables(found)
    assert columns == delivery.columns
    written = delivery.page(ROWS, 0)
    for name in TYPES:
        read, wrote = table.column(name), written.column(name)
        assert read.type == wrote.type
        assert repr(read.to_pylist()) == repr(wrote.to_pylist()), name
    assert table.column("_deleted").to_pylist() == [False] * table.num_rows
    hashes = words.content_hashes(table, [*TYPES, "_deleted"])
    assert hashes.to_pylist() == table.column("_hash").to_pylist()


def test_a_condition_picks_rows_and_none_give_no_page(delivery: Delivery) -> None:
    with delivery.store._reading() as connection:
        columns = frames.own("_key", "_seq")
        (page,) = frames.pages(
            connection, "shop__everything", columns, "_key IN (:a, :b)", {"a": "1000", "b": "1001"}
        )
        assert sorted(page.column("_key").to_pylist()) == ["1000", "1001"]
        assert page.column("_seq").to_pylist() == [1, 1]
        assert list(frames.pages(connection, "shop__everything", columns, "false")) == []
        assert frames.columns_of(connection, "shop.nothing") == []


def test_a_numeric_is_text_in_a_page_and_a_decimal_to_people() -> None:
    numeric, text = ColumnType("numeric"), ColumnType("string")
    assert frames.value(numeric, "1.5") == Decimal("1.5")
    assert frames.value(numeric, None) is None
    assert frames.value(text, "1.5") == "1.5"
