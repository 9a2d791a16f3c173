"""Row hashes: equal exactly when the rows are; the same next year and on the next machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.hashing import row_hashes, row_texts
from tidegate.types import ColumnType

NAMES = ["a", "b", "c"]
Cell = st.none() | st.text(alphabet="ab,:-|1 \n\u00e9\0", max_size=4)
Row = st.lists(Cell, min_size=3, max_size=3)
Octets = st.lists(st.none() | st.binary(max_size=4), min_size=3, max_size=3)


def hashes(rows: Sequence[Sequence[Any]], kind: pa.DataType) -> list[int]:
    table = pa.table({name: pa.array([row[i] for row in rows], kind)
                      for i, name in enumerate(NAMES[: len(rows[0])])})  # fmt: skip
    return list(row_hashes(table, table.column_names).to_pylist())


@settings(deadline=None)
@given(Row, Row)
def test_two_rows_of_text_have_one_hash_exactly_when_their_cells_are_equal(
    one: list[str | None], other: list[str | None]
) -> None:
    first, second = hashes([one, other], pa.string())
    assert (first == second) == (one == other)


@settings(deadline=None)
@given(Octets, Octets)
def test_two_rows_of_octets_have_one_hash_exactly_when_their_cells_are_equal(
    one: list[bytes | None], other: list[bytes | None]
) -> None:
    first, second = hashes([one, other], pa.binary())
    assert (first == second) == (one == other)


@settings(deadline=None)
@given(st.text(alphabet="ab,:1", min_size=1, max_size=6))
def test_text_that_moves_between_cells_changes_the_hash(text: str) -> None:
    cuts = [[text[:n], text[n:]] for n in range(len(text) + 1)]
    found = hashes(cuts, pa.string())
    assert len(set(found)) == len(cuts)


def test_null_is_not_the_empty_text_and_not_the_word() -> None:
    rows: list[list[str | None]] = [
        [None, ""],
        ["", None],
        ["", ""],
        [None, None],
        ["-", ""],
        ["NULL", ""],
        ["None", ""],
    ]
    assert len(set(hashes(rows, pa.string()))) == len(rows)


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=2))
def test_numbers_are_equal_to_the_last_bit_or_differ(pair: list[float]) -> None:
    one, other = hashes([[value] for value in pair], pa.float64())
    assert (one == other) == (pair[0].hex() == pair[1].hex())


def test_a_hash_does_not_depend_on_the_page_nor_on_how_it_is_cut() -> None:
    rows = [[str(number), None, "x"] for number in range(10)]
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(NAMES)})
    whole = row_hashes(table, NAMES).to_pylist()
    pieces = pa.concat_tables([table.slice(0, 3), table.slice(3, 4), table.slice(7)])
    assert row_hashes(pieces, NAMES).to_pylist() == whole
    one_by_one = [row_hashes(table.slice(n, 1), NAMES).to_pylist()[0] for n in range(10)]
    assert one_by_one == whole
    assert row_hashes(table, ["c", "a", "b"]).to_pylist() != whole


GOLDEN: list[tuple[str, Any, bytes]] = [
    ("bool", True, b"4:true"),
    ("int16", -5, b"2:-5"),
    ("int64", 2**53 + 1, b"16:9007199254740993"),
    ("decimal(38,9)", Decimal("0.000000001"), b"4:1E-9"),
    ("decimal(12,2)", Decimal("1.10"), b"4:1.10"),
    ("decimal(76,2)", Decimal("-1.10"), b"5:-1.10"),
    ("numeric", "1.1", b"3:1.1"),
    ("float64", 0.1, b"3:0.1"),
    ("float64", -0.0, b"2:-0"),
    ("string", "00501", b"5:00501"),
    ("string", "\u00e9", b"2:\xc3\xa9"),
    ("string", "", b"0:"),
    ("string", None, b"-"),
    ("bytes", b"\0\xff", b"2:\0\xff"),
    ("date", date(1969, 12, 31), b"10:1969-12-31"),
    ("time", time(1, 2, 3, 4), b"15:01:02:03.000004"),
    ("datetime", datetime(2024, 2, 29, 1, 2, 3, 4), b"26:2024-02-29 01:02:03.000004"),
    ("timestamp", datetime(2024, 2, 29, 1, tzinfo=UTC), b"27:2024-02-29 01:00:00.000000Z"),
    ("json", '{"a": 1}', b'8:{"a": 1}'),
]


@pytest.mark.parametrize(("type", "value", "text"), GOLDEN)
def test_cells_are_written_as_stores_have_them_already(type: str, value: Any, text: bytes) -> None:
    table = pa.table({"a": pa.array([value], ColumnType.parse(type).arrow)})
    assert row_texts(table, ["a"]).to_pylist() == [text]
    digest = hashlib.blake2b(text, digest_size=8).digest()
    assert row_hashes(table, ["a"]).to_pylist() == [int.from_bytes(digest, "little", signed=True)]


def test_a_row_of_several_cells_has_the_hash_it_always_had() -> None:
    table = pa.table({"a": ["x,y"], "b": pa.array([None], pa.int64()), "c": [""]})
    assert row_texts(table, NAMES).to_pylist() == [b"3:x,y,-,0:"]
    assert row_hashes(table, NAMES).to_pylist() == [-3442788600706817180]


def test_rows_without_columns_are_all_equal() -> None:
    table = pa.table({"a": [1, 2]})
    first, second = row_hashes(table, []).to_pylist()
    assert first == second
