"""Files read by columns are what they are row by row: cells, reasons, facts and order."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sources.contract.world import Reading
from tidegate.connections import Endpoint
from tidegate.sources.files import formats, tables
from tidegate.sources.files.options import FilesStream
from tidegate.sources.rows.blocks import Block
from tidegate.sources.rows.records import Records

quietly = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = st.text(st.sampled_from('ab,"\n\r; \t\0é\ufeff1'), max_size=6)
TEXT = {"files": "*", "primary_key": "id", "columns": {"id": "string"}, "settle": "0s"}


@contextmanager
def _sized(large: int, piece: int = 64) -> Iterator[list[int]]:
    """Files of so many octets are read by columns, in pieces; yields the sizes of the blocks."""
    made: list[int] = []
    compose = Records.compose

    def counted(self: Records, block: Block, tokens: Any) -> pa.Table:
        made.append(len(block))
        return compose(self, block, tokens)

    with (
        mock.patch.object(formats, "LARGE", large),
        mock.patch.object(tables, "_PIECE", piece),
        mock.patch.object(Records, "compose", counted),
    ):
        yield made


def _rows(folder: Path, **more: Any) -> list[dict[str, Any]]:
    stream = FilesStream.model_validate({**TEXT, **more})
    rows = Reading(Endpoint("shop", "fs", options={"path": str(folder)}), stream).rows()
    for row in rows:
        row["_token"] = None  # the page's
    return rows


def _both(folder: Path, piece: int = 64, **more: Any) -> tuple[str, list[int]]:
    """What the rows are, which are the same in both ways; and the blocks of one of them."""
    with _sized(1, piece) as made:
        fast = repr(_rows(folder, **more))
    with _sized(1 << 40) as none:
        slow = repr(_rows(folder, **more))
    assert not none
    assert fast == slow
    return fast, made


@quietly
@given(
    st.lists(st.lists(WORDS, min_size=2, max_size=2), max_size=30),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([16, 64, 4096]),
    st.binary(max_size=6),
    st.integers(0, 400),
)
def test_csv_is_what_it_is_row_by_row(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], quoting: Any, end: str,
    piece: int, odd: bytes, place: int,
) -> None:  # fmt: skip
    """The octets *odd* are put somewhere into good CSV."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator=end)
    writer.writerow(["id", "name"])
    writer.writerows(rows)
    data = text.getvalue().encode()
    folder = tmp_path_factory.mktemp("landing")
    for name, octets in {"good": data, "bad": data[:place] + odd + data[place:]}.items():
        (folder / f"{name}.csv").write_bytes(octets)
    facts = {
        "file": {"type": "string", "path": "$file"},
        "line": {"type": "int64", "path": "$line"},
    }
    columns = {"id": "string", "name": "string", **facts}
    _both(folder, piece, columns=columns, null=["", "a"], primary_key=["file", "line"])


@quietly
@given(st.binary(max_size=80), st.sampled_from(["utf-8", "latin-1", "cp1252", "ascii"]))
def test_octets_of_any_kind_are_what_they_are_row_by_row(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, encoding: str
) -> None:
    folder = tmp_path_factory.mktemp("landing")
    (folder / "it.csv").write_bytes(data)
    for header, quote in ((["id"], '"'), (["id", "x"], ""), (["id", "x"], "'")):
        _both(folder, 16, header=header, quote=quote, encoding=encoding, page_rows=3)


def test_a_large_file_is_read_by_columns_until_something_is_odd(tmp_path: Path) -> None:
    lines = [f'{n},"name, ""{n}"""' for n in range(100_000)]
    lines[90_000] = "90000,too,many"
    (tmp_path / "it.csv").write_text("id,name\n" + "\n".join(lines), encoding="utf-8")
    more = {"columns": {"id": "int64", "name": "string"}, "page_rows": 20_000}
    said, blocks = _both(tmp_path, 1 << 19, **more)
    assert 60_000 < sum(blocks) <= 90_000
    assert max(blocks) <= 20_000
    assert "line 90002: 3 cells in the place of 2" in said


TABLES = {
    "flag": (pa.bool_(), st.booleans()),
    "small": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "unsigned": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "single": (pa.float32(), st.floats(width=32)),
    "double": (pa.float64(), st.floats()),
    "exact": (pa.decimal128(20, 4), st.decimals(-(10**15), 10**15, places=4)),
    "word": (pa.large_string(), st.text(max_size=4) | st.sampled_from(["5", "1.5", "2024-02-29"])),
    "octets": (pa.binary(), st.binary(max_size=4)),
    "day": (pa.date32(), st.dates()),
    "clock": (pa.time32("ms"), st.times().map(lambda t: t.replace(microsecond=5000))),
    "naive": (pa.timestamp("ns"), st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))),
    "instant": (pa.timestamp("s", "Europe/Berlin"), st.datetimes(datetime(1, 1, 2))),
    "choice": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "7"])),
    "many": (pa.list_(pa.int64()), st.lists(st.integers(0, 9), max_size=2)),
}
TYPES = (
    "bool", "int16", "int64", "decimal(18,2)", "decimal(38,9)", "numeric", "float64", "string",
    "bytes", "date", "time", "datetime", "timestamp", "json",
)  # fmt: skip


@quietly
@given(st.data())
def test_parquet_is_what_it_is_row_by_row(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("landing")
    count = data.draw(st.integers(1, 4))
    columns = {"id": pa.array(range(count))}
    for name, (kind, values) in TABLES.items():
        cells = data.draw(st.lists(st.none() | values, min_size=count, max_size=count))
        columns[name] = pa.array(cells, kind)
    parquet.write_table(pa.table(columns), folder / "it.parquet")
    declared = {name: data.draw(st.sampled_from(TYPES), name) for name in TABLES}
    zone = data.draw(st.sampled_from(["UTC", "Europe/Berlin"]))
    _both(folder, columns={"id": "int64", **declared}, time_zone=zone)


def test_plain_parquet_columns_are_taken_as_they_are(tmp_path: Path) -> None:
    cells: dict[str, tuple[str, Any]] = {
        "id": ("int64", 7), "word": ("string", "a"), "flag": ("bool", True),
        "half": ("float64", 0.5),
        "exact": ("decimal(9,2)", Decimal("1.50")), "day": ("date", date(2024, 2, 29)),
        "clock": ("time", time(12, 30)), "naive": ("datetime", datetime(2024, 2, 29)),
        "octets": ("bytes", b"a"),
    }  # fmt: skip
    block = Block({name: pa.array([value]) for name, (_, value) in cells.items()})
    columns = {name: type for name, (type, _) in cells.items()}
    for spec in Records(FilesStream.model_validate({**TEXT, "columns": columns}))._specs:
        assert isinstance(block.fitting(spec.column.name, spec), pa.Array), spec.column.name


def test_many_batches_make_one_page(tmp_path: Path) -> None:
    count, start = 23_000, datetime(2024, 1, 1)
    table = pa.table({
        "id": pa.array(range(count)),
        "at": pa.array([start + timedelta(seconds=n) for n in range(count)], pa.timestamp("us")),
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "it.parquet", row_group_size=7_000)
    columns = {"id": "int64", "at": "timestamp"}
    assert _both(tmp_path, columns=columns, page_rows=20_000)[1] == [20_000, 3_000]
    assert _both(tmp_path, columns=columns, page_rows=100)[1] == [5_000] * 4 + [3_000]
