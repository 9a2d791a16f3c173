"""Content hashes by words: equal exactly when the cells are; the same next year, however cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.hashing import kind_of
from tidegate.store.record import siphash, words
from tidegate.store.record.siphash import Tails
from tidegate.types import ColumnType

MASK = (1 << 64) - 1
LONG = st.text(alphabet="ab", min_size=120, max_size=140)
Cell = st.none() | st.text(alphabet="ab,:1\n\u00e9\0", max_size=18) | LONG
Row = st.tuples(Cell, st.none() | st.integers(-3, 3), Cell, st.none() | st.booleans())
KINDS = (pa.string(), pa.int64(), pa.string(), pa.bool_())


def slowly(numbers: list[int], key: bytes) -> int:
    """SipHash-2-4 of 64-bit words, as the paper writes it down, but for its last word."""
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D]
    v += [k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def turned(number: int, bits: int) -> int:
        return (number << bits | number >> (64 - bits)) & MASK

    def turn() -> None:
        v[0] = (v[0] + v[1]) & MASK
        v[1] = turned(v[1], 13) ^ v[0]
        v[0] = turned(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK
        v[3] = turned(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK
        v[3] = turned(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK
        v[1] = turned(v[1], 17) ^ v[2]
        v[2] = turned(v[2], 32)

    for number in numbers:
        v[3] ^= number
        turn()
        turn()
        v[0] ^= number
    v[2] ^= 0xFF
    for _ in range(4):
        turn()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[] for _ in KINDS]
    names = [f"c{place}" for place in range(len(KINDS))]
    cells = [pa.array(column, kind) for column, kind in zip(columns, KINDS, strict=True)]
    return pa.table(dict(zip(names, cells, strict=True)))


def hashes(rows: list[tuple[Any, ...]]) -> list[int]:
    page = table(rows)
    return list(words.content_hashes(page, page.column_names).to_pylist())


def spelled(row: tuple[Any, ...]) -> Iterator[int]:
    """The words of a row, one cell after the other."""
    yield sum((cell is None) << place for place, cell in enumerate(row))
    texts = b""
    for cell in row:
        if isinstance(cell, str):
            octets = cell.encode()
            yield len(octets)
            long = len(octets) > 128
            texts += hashlib.blake2b(octets, digest_size=16).digest() if long else octets
        else:
            yield (cell or 0) & MASK
    texts += bytes(-len(texts) % 8)
    yield from (int.from_bytes(texts[at : at + 8], "little") for at in range(0, len(texts), 8))


def test_the_digest_is_that_of_the_paper() -> None:
    """Its appendix: the octets 0 to 14 with the key 0 to 15; the last word holds the length."""
    heads = [np.array([0x0706050403020100], np.uint64)]
    tail = np.array([0x0F0E0D0C0B0A0908], np.uint64)
    found = siphash.hashes(heads, Tails(tail, *np.array([[0], [1]])), bytes(range(16)))
    assert found.tolist() == [signed(0xA129CA6149BE45E5)]


@settings(deadline=None)
@given(st.lists(Row, max_size=9))
def test_rows_of_any_lengths_are_hashed_as_one_by_one(rows: list[tuple[Any, ...]]) -> None:
    kind = kind_of([f"c{place}" for place in range(len(KINDS))])
    assert hashes(rows) == [signed(slowly([*spelled(row)], kind)) for row in rows]


@settings(deadline=None)
@given(Row, Row)
def test_two_rows_have_one_hash_exactly_when_their_cells_are_equal(
    one: tuple[Any, ...], other: tuple[Any, ...]
) -> None:
    first, second = hashes([one, other])
    assert (first == second) == (one == other)


@settings(deadline=None)
@given(st.text(alphabet="ab,:1", min_size=1, max_size=20))
def test_text_that_moves_between_cells_changes_the_hash(text: str) -> None:
    cuts = [(text[:n], None, text[n:], None) for n in range(len(text) + 1)]
    assert len(set(hashes(cuts))) == len(cuts)


def test_a_hash_depends_neither_on_the_page_nor_on_how_it_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [(f"{n}" * n, n, None if n % 3 else "x" * (10 * n), n % 2 == 0) for n in range(20)]
    whole = hashes(rows)
    page = table(rows)
    pieces = pa.concat_tables([page.slice(0, 3), page.slice(3, 9), page.slice(12)])
    assert words.content_hashes(pieces, page.column_names).to_pylist() == whole
    assert [hashes([row])[0] for row in rows] == whole
    monkeypatch.setattr(words, "_BLOCK", 7)
    assert hashes(rows) == whole


def test_the_order_of_the_columns_does_not_matter_their_names_do() -> None:
    page = table([("a", 1, "b", True)])
    names = page.column_names
    (hash_,) = words.content_hashes(page, names).to_pylist()
    assert words.content_hashes(page, names[::-1]).to_pylist() == [hash_]
    assert words.content_hashes(page.select(names[::-1]), names).to_pylist() == [hash_]
    renamed = page.rename_columns(["c0", "c1", "c2", "c4"])
    assert words.content_hashes(renamed, renamed.column_names).to_pylist() != [hash_]


def test_of_more_columns_than_a_word_has_bits_each_null_counts() -> None:
    page = pa.table({f"c{place:02d}": pa.array([0], pa.int64()) for place in range(70)})
    found = {words.content_hashes(page, page.column_names)[0].as_py()}
    for place, name in enumerate(page.column_names):
        empty = page.set_column(place, name, pa.nulls(1, pa.int64()))
        found.add(words.content_hashes(empty, page.column_names)[0].as_py())
    assert len(found) == 71


GOLDEN: list[tuple[str, Any, list[int], bytes]] = [
    ("bool", True, [1], b""),
    ("int16", -5, [MASK - 4], b""),
    ("int64", 2**53 + 1, [2**53 + 1], b""),
    ("decimal(12,2)", Decimal("1.10"), [4], b"1.10"),
    ("decimal(76,2)", Decimal("-1.10"), [5], b"-1.10"),
    ("numeric", "1.1", [3], b"1.1"),
    ("float64", 0.5, [0x3FE0000000000000], b""),
    ("float64", -0.0, [0x8000000000000000], b""),
    ("float64", float("nan"), [0x7FF8000000000000], b""),
    ("string", "00501", [5], b"00501"),
    ("string", "", [0], b""),
    ("bytes", b"\0\xff", [2], b"\0\xff"),
    ("date", date(1969, 12, 31), [MASK], b""),
    ("time", time(1, 2, 3, 4), [3_723_000_004], b""),
    ("datetime", datetime(1970, 1, 1, 0, 0, 1, 4), [1_000_004], b""),
    ("timestamp", datetime(1970, 1, 1, 0, 1, tzinfo=UTC), [60_000_000], b""),
    ("json", '{"a": 1}', [8], b'{"a": 1}'),
]


@pytest.mark.parametrize(("type", "value", "numbers", "text"), GOLDEN)
def test_cells_are_the_words_that_stores_have_already(
    type: str, value: Any, numbers: list[int], text: bytes
) -> None:
    page = pa.table({"a": pa.array([value, None], ColumnType.parse(type).arrow)})
    text += bytes(-len(text) % 8)
    tail = [int.from_bytes(text[at : at + 8], "little") for at in range(0, len(text), 8)]
    expected = [[0, *numbers, *tail], [1, 0]]
    found = words.content_hashes(page, ["a"]).to_pylist()
    assert found == [signed(slowly(row, kind_of(["a"]))) for row in expected]


def test_a_row_has_the_hash_it_always_had() -> None:
    rows = [("a", 1, None, True), ("\u00e9" * 70, None, "", False)]
    assert hashes(rows) == [-1883446657977124674, 6665211796786781045]
