"""Files as they come: whole and half, renamed and rewritten, in every format, and hostile."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import sqlite3
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from services import s3
from sources.contract.world import NAME, Reading
from tidegate import faults, path
from tidegate.connections import Endpoint, parse
from tidegate.errors import ConfigError, RefusedError, UnavailableError
from tidegate.job import Job
from tidegate.model import Mode, Report, Request, Window
from tidegate.pipeline.models import Source
from tidegate.sources import open_source
from tidegate.sources.files import local
from tidegate.sources.files.options import FilesStream

COLUMNS = {"id": "int64", "name": "string"}
PLAIN = {"files": "*", "primary_key": "id", "columns": COLUMNS, "settle": "0s"}


class Landing:
    """A folder, and the product that reads it: with a store, or (``rows``) without."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "landing"
        self.root.mkdir()
        self._folder = folder
        self._runs = 0

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("shop", "fs", options={"path": str(self.root)})

    def stream(self, **more: Any) -> FilesStream:
        return FilesStream.model_validate({**PLAIN, **more})

    def drop(self, name: str, data: bytes | str, at: float | None = None) -> Path:
        """Write a file, *at* seconds since 1970."""
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        if at is not None:
            os.utime(file, (at, at))
        return file

    def reading(self, **more: Any) -> Reading:
        return Reading(self.endpoint, self.stream(**more))

    def rows(self, **more: Any) -> list[dict[str, Any]]:
        """All rows of a first pull."""
        return self.reading(**more).rows()

    def names(self, **more: Any) -> list[str | None]:
        """Of rows that are held, rule and column's value; of the others the name."""
        return [row["name"] for row in self.rows(**more) if row["_held"] is None]

    def why(self, **more: Any) -> str:
        """The reasons of the one row that is held; no other came."""
        (row,) = self.rows(**more)
        return " ".join(f"[{one['rule']}] {one['message']}" for one in json.loads(row["_held"]))

    def run(self, mode: Mode = Mode.INCREMENT, window: Window | None = None, **more: Any) -> Report:
        """The whole path, once, into a store."""
        known = {
            "shop": self.endpoint,
            "tidegate_store": Endpoint("store", "sqlite", database=str(self._folder / "store.db")),
        }
        stream = self.stream(**more)
        source = Source(name="shop", connection="shop", streams={"orders": stream})
        self._runs += 1
        return path.run(
            Job(source, "orders", stream, known.__getitem__),
            Request(NAME, f"run-{self._runs}", mode, window),
        )

    def stored(self, column: str = "name") -> dict[int, Any]:
        return dict(self._query(f"SELECT id, {column} FROM shop__orders WHERE NOT _deleted"))

    def held(self) -> dict[str, str]:
        """Reasons of what waits in quarantine, by key."""
        return dict(
            self._query("SELECT key, reasons FROM tidegate_quarantine WHERE state = 'held'")
        )

    def _query(self, text: str) -> list[Any]:
        with closing(sqlite3.connect(self._folder / "store.db")) as connection:
            return connection.execute(text).fetchall()


@pytest.fixture
def landing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Landing:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    return Landing(tmp_path)


def csv_of(*names: str, first: int = 1) -> str:
    return "id,name\n" + "".join(f"{id},{name}\n" for id, name in enumerate(names, first))


# What is new -----------------------------------------------------------------------------------


def test_a_file_that_is_older_than_all_others_is_read_when_it_comes(landing: Landing) -> None:
    landing.drop("b.csv", csv_of("b"), at=2e9)
    reading = landing.reading()
    reading.rows()
    landing.drop("a.csv", csv_of("a", first=2), at=1e9)
    assert [row["name"] for row in reading.rows()] == ["a"]


def test_files_with_one_time_are_all_read_by_name(landing: Landing) -> None:
    for name in "cab":
        landing.drop(f"{name}.csv", csv_of(name, name, first=ord(name)), at=1e9)
    assert landing.names() == ["a", "a", "b", "b", "c", "c"]
    assert {row["id"]: row["name"] for row in landing.rows()}[ord("b")] == "b"


def test_a_file_rewritten_in_place_is_read_again(landing: Landing) -> None:
    landing.drop("a.csv", csv_of("one"))
    landing.run()
    landing.drop("a.csv", csv_of("two", "three"))
    landing.run()
    assert landing.stored() == {1: "two", 2: "three"}


def test_a_file_of_the_same_size_and_time_but_other_content_is_read(landing: Landing) -> None:
    landing.drop("a.csv", csv_of("one"), at=1e9)
    landing.run()
    landing.drop("a.csv", csv_of("two"), at=1e9)
    landing.run()
    assert landing.stored() == {1: "two"}


def test_other_rights_are_no_other_file(landing: Landing) -> None:
    old = landing.drop("old.csv", csv_of("old"), at=1e9)
    landing.drop("new.csv", csv_of("new"), at=1.1e9)
    landing.run()
    old.chmod(0o600)
    assert landing.run().pulled == 0
    assert landing.stored() == {1: "new"}


def test_of_one_key_the_file_written_last_wins_in_a_full_run_too(landing: Landing) -> None:
    landing.drop("z.csv", csv_of("old"), at=1e9)
    landing.drop("a.csv", csv_of("new"), at=1.1e9)
    landing.run()
    assert landing.stored() == {1: "new"}
    landing.run(Mode.FULL)
    landing.run(Mode.FULL, page_rows=1)
    assert landing.stored() == {1: "new"}
    landing.drop("y.csv", csv_of("newest"), at=1.05e9)
    landing.run()
    assert landing.stored() == {1: "newest"}


def test_a_small_old_file_does_not_win_over_a_large_new_one_in_a_full_run(landing: Landing) -> None:
    landing.drop("z.csv", csv_of("old"), at=1e9)
    landing.drop("a.csv", csv_of("new", "b", "c", "d"), at=1.1e9)
    landing.run(page_rows=2)
    landing.run(Mode.FULL, page_rows=2)
    assert landing.stored()[1] == "new"


def test_a_full_run_that_broke_off_hides_nothing_that_comes_later(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing.drop("a.csv", csv_of(*"abcd"))
    landing.run(page_rows=1)
    with monkeypatch.context() as patch:
        patch.setattr(faults, "_passed", {})
        patch.setenv(faults.VARIABLE, "load.after_commit:fail:2")
        with pytest.raises(OSError, match=r"load\.after_commit"):
            landing.run(Mode.FULL, page_rows=1)
    landing.drop("b.csv", csv_of("new"))
    landing.run(page_rows=1)
    assert landing.stored()[1] == "new"


def test_a_new_column_is_filled_for_old_files(landing: Landing) -> None:
    landing.drop("a.csv", "id,name,city\n1,a,Rome\n2,b,Oslo\n")
    landing.run()
    landing.run(columns={**COLUMNS, "city": "string"})
    assert landing.stored("city") == {1: "Rome", 2: "Oslo"}


def test_windows_go_by_the_time_of_a_file_or_the_date_in_its_name(landing: Landing) -> None:
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    for id, day in enumerate(days, 1):
        landing.drop(f"x-{day:%Y%m%d}.csv", csv_of(str(id), first=id), at=day.timestamp())
    window = Window.between(days[1], days[2])
    landing.run(Mode.WINDOW, window)
    assert landing.stored() == {2: "2"}
    named = {"day": "x-%Y%m%d.csv", "time_zone": "America/New_York"}
    landing.run(Mode.WINDOW, Window.between(days[2], days[2] + timedelta(hours=6)), **named)
    assert landing.stored() == {2: "2", 3: "3"}
    landing.drop("x-20260231.csv", csv_of("no such day", first=4), at=days[0].timestamp())
    landing.run(Mode.WINDOW, Window.between(days[0] - timedelta(days=1), days[1]), **named)
    assert landing.stored()[4] == "no such day"


def test_an_old_window_read_again_brings_back_nothing_old(landing: Landing) -> None:
    landing.drop("a.csv", csv_of("old"), at=1e9)
    landing.drop("b.csv", csv_of("new"), at=1.1e9)
    landing.run()
    since = datetime.fromtimestamp(1e9, UTC)
    landing.run(Mode.WINDOW, Window.between(since, since + timedelta(days=1)))
    assert landing.stored() == {1: "new"}


def test_a_file_removed_before_it_was_read_is_told(landing: Landing) -> None:
    landing.drop("a.csv", csv_of("a"))
    reading = landing.reading()
    reading.rows()
    file = landing.drop("b.csv", csv_of("b"))
    with open_source(landing.endpoint, landing.stream(), NAME) as source:
        source.observe(reading.shared)
    file.unlink()
    (row,) = reading.rows()
    assert "b.csv: it arrived, and was removed before it was read" in row["_held"]


def test_a_file_put_back_in_the_place_of_another_is_read_again(landing: Landing) -> None:
    for place in ("good", "bad", "good", "bad"):
        backup = landing.drop(f".{place}", csv_of(place), at=1e9)
        backup.rename(landing.root / "a.csv")
        landing.run()
        assert landing.stored() == {1: place}
        assert landing.run().pulled == 0
    landing.run(Mode.FULL)
    assert landing.stored() == {1: "bad"}


def test_what_was_away_when_it_was_to_be_read_is_read_when_it_is_back(landing: Landing) -> None:
    landing.drop("in/a.csv", csv_of("a"))
    reading = landing.reading(files="**/*.csv")
    with open_source(landing.endpoint, reading.stream, NAME) as source:
        source.observe(reading.shared)
    inner, away = landing.root / "in", landing.root / ".away"
    inner.rename(away)
    assert reading.rows() == []  # all of them anew
    away.rename(inner)
    assert [row["name"] for row in reading.rows()] == ["a"]
    landing.drop("in/b.csv", csv_of("b"))
    with open_source(landing.endpoint, reading.stream, NAME) as source:
        source.observe(reading.shared)
    inner.rename(away)
    (row,) = reading.rows()
    assert "in/b.csv: it arrived, and was removed before it was read" in row["_held"]
    assert reading.rows() == []
    away.rename(inner)
    assert [row["name"] for row in reading.rows()] == ["b"]
    assert reading.rows() == []


def test_a_file_swapped_while_it_was_read_and_put_back_is_read(landing: Landing) -> None:
    file = landing.drop("a.csv", csv_of("one"), at=1e9)
    reading = landing.reading()
    with open_source(landing.endpoint, reading.stream, NAME) as source:
        source.adopt(source.columns())
        seen = source.observe(reading.shared)
        file.write_text(csv_of("other"))
        assert list(source.pull(1, None, None)) == []
        reading.watermark = seen.high
        reading.memory = {**seen.memory, **source.memory()}
    landing.drop("a.csv", csv_of("one"), at=1e9)
    assert [row["name"] for row in reading.rows()] == ["one"]


def test_a_fault_that_passes_skips_no_file(landing: Landing) -> None:
    landing.drop("a.csv", csv_of("a"))
    reading = landing.reading()
    with open_source(landing.endpoint, reading.stream, NAME) as source:
        source.adopt(source.columns())
        source.observe(reading.shared)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            with pytest.raises(UnavailableError, match="Too many open files") as caught:
                list(source.pull(1, None, None))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert type(caught.value) is UnavailableError


@pytest.mark.parametrize("grows", [False, True])
def test_what_another_run_noted_meanwhile_is_read(landing: Landing, grows: bool) -> None:
    landing.drop("a.csv", csv_of("one"), at=1e9)
    reading = landing.reading(grows=grows, files="*.csv")
    reading.rows()
    landing.drop("d.csv", csv_of("d", first=4))
    place = local.Folder(landing.endpoint, "*.csv", NAME)
    listed = list(place.list())
    landing.drop("c.csv", csv_of("c", first=3))
    landing.drop("a.csv", csv_of("one", "two"))
    with open_source(landing.endpoint, reading.stream, NAME) as other:
        other.observe(reading.shared)
    with pytest.MonkeyPatch.context() as patch:
        lists = iter([listed])
        there = local.Folder.list
        patch.setattr(local.Folder, "list", lambda self: next(lists, None) or there(self))
        found = {row["name"]: row["_held"] for row in reading.rows()}
    assert found.keys() - {"one"} == {"c", "d", "two"}
    assert set(found.values()) == {None}
    assert reading.rows() == []


# When a file is whole --------------------------------------------------------------------------


def test_a_file_is_read_when_it_has_been_the_same_for_a_while(landing: Landing) -> None:
    reading = landing.reading(settle="0.4s")
    file = landing.drop("a.csv", csv_of("a"))
    assert reading.rows() == []
    file.write_text(csv_of("a", "b"))
    time.sleep(0.45)
    assert reading.rows() == []  # it changed since
    time.sleep(0.45)
    assert [row["name"] for row in reading.rows()] == ["a", "b"]


def test_a_file_with_an_old_time_is_looked_at_twice_too(landing: Landing) -> None:
    landing.drop("a.csv", csv_of("a"), at=1e9)
    reading = landing.reading(settle="0.3s")
    assert reading.rows() == []
    time.sleep(0.35)
    assert [row["name"] for row in reading.rows()] == ["a"]


def test_a_marker_beside_a_file_says_that_it_is_whole(landing: Landing) -> None:
    reading = landing.reading(files="*.csv", ready="marker")
    landing.drop("a.csv", csv_of("a"))
    assert reading.rows() == []
    landing.drop("a.csv.done", "")
    assert [row["name"] for row in reading.rows()] == ["a"]


def test_a_renamed_file_is_read_at_once_and_hidden_ones_never(landing: Landing) -> None:
    hidden = landing.drop(".a.csv", csv_of("a"))
    reading = landing.reading(ready="rename", settle="30s")
    assert reading.rows() == []
    hidden.rename(landing.root / "a.csv")
    assert [row["name"] for row in reading.rows()] == ["a"]


def test_nothing_is_loaded_of_a_file_that_changes_while_it_is_read(landing: Landing) -> None:
    file = landing.drop("a.csv", csv_of(*map(str, range(100))))
    landing.drop("b.csv", csv_of("b", first=1000))
    landing.drop("c.csv", csv_of("c", first=2000))
    reading = landing.reading(page_rows=10)
    with open_source(landing.endpoint, reading.stream, NAME) as source:
        source.adopt(source.columns())
        source.observe(reading.shared)
        file.write_text(csv_of(*(f"new {number}" for number in range(100))))
        pages = list(source.pull(1, None, None))
    assert {row["id"] for page in pages for row in page.to_pylist()} == {1000, 2000}
    reading.watermark = None
    found = {row["name"] for row in reading.rows()}
    assert {"new 0", "new 99", "b", "c"} <= found


def test_writers_at_work_lose_nothing_and_load_no_halves(landing: Landing) -> None:
    stop = threading.Event()
    written: dict[int, str] = {}

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            name = f"{number % 5}.csv"
            rows = [f"{number % 5 * 1000 + row},v{number}\n" for row in range(200)]
            with (landing.root / name).open("w") as file:
                file.write("id,name\n")
                for row in rows:
                    file.write(row)
                    file.flush()
            for id in range(200):
                written[number % 5 * 1000 + id] = f"v{number}"

    writer = threading.Thread(target=write)
    writer.start()
    rounds = int(os.environ.get("TIDEGATE_FILE_ROUNDS", "6"))
    for _ in range(rounds):
        landing.run(settle="0.2s", page_rows=50)
    stop.set()
    writer.join()
    landing.run()
    assert landing.stored() == written


# Files that grow -------------------------------------------------------------------------------


@pytest.mark.parametrize("page_rows", [2, 1000])
def test_a_file_that_grows_is_read_on_where_it_ended(landing: Landing, page_rows: int) -> None:
    file = landing.drop("a.csv", 'id,name\n1,a\n2,"two\nlines"\n3,ha')
    reading = landing.reading(grows=True, page_rows=page_rows)
    assert [row["name"] for row in reading.rows()] == ["a", "two\nlines"]
    assert reading.rows() == []
    with file.open("a") as more:
        more.write('lf\n4,"open')
    assert [row["name"] for row in reading.rows()] == ["half"]
    with file.open("a") as more:
        more.write('\nend"\n5,é\n')
    assert [row["name"] for row in reading.rows()] == ["open\nend", "é"]


def test_a_log_that_was_rotated_or_rewritten_is_read_from_its_beginning(landing: Landing) -> None:
    line = '{{"id": {0}, "name": "{1}"}}\n'.format
    file = landing.drop("log.ndjson", line(1, "a") + line(2, "b"))
    settings: dict[str, Any] = {"grows": True, "files": "log*"}
    landing.run(**settings)
    file.rename(landing.root / "log.1.ndjson")
    landing.drop("log.ndjson", line(3, "c"))
    landing.run(**settings)
    landing.drop("log.ndjson", line(4, "d") + line(3, "changed"))
    landing.run(**settings)
    assert landing.stored() == {1: "a", 2: "b", 3: "changed", 4: "d"}


def test_a_run_that_fails_does_not_move_on_in_a_file_that_grows(landing: Landing) -> None:
    file = landing.drop("a.ndjson", '{"id": 1, "name": "a"}\n')
    reading = landing.reading(grows=True)
    reading.rows()
    with file.open("a") as more:
        more.write('{"id": 2, "name": "b"}\n')
    assert len(reading.rows(keep=False)) == 1
    with file.open("a") as more:
        more.write('{"id": 3, "name": "c"}\n')
    assert [row["id"] for row in reading.rows()] == [2, 3]


# Formats ---------------------------------------------------------------------------------------


def test_csv_has_dialects(landing: Landing) -> None:
    landing.drop("a.txt", "1;'O''Brien; Pat';x\r\n2;-;y\r\n".encode("utf-16"))
    found = landing.rows(
        format="csv", delimiter=";", quote="'", encoding="utf-16", null="-",
        header=["id", "name", "more"],
    )  # fmt: skip
    assert [row["name"] for row in found] == ["O'Brien; Pat", None]


def test_a_byte_order_mark_is_no_part_of_the_first_name(landing: Landing) -> None:
    landing.drop("a.csv", b"\xef\xbb\xbf" + csv_of("é").encode())
    landing.drop("a.json", b"\xef\xbb\xbf" + b'[{"id": 2, "name": "j"}]')
    assert landing.names() == ["é", "j"]


def test_octets_that_are_not_of_the_encoding_hold_their_row_and_say_where(landing: Landing) -> None:
    text = csv_of("a", "Müller", "c")
    landing.drop("a.csv", text.encode("latin-1"))
    found = {row["id"]: row["_held"] for row in landing.rows()}
    assert found[1] is None
    assert found[3] is None
    assert "a.csv: line 3, octet 15: 0xfc is not utf-8. Declare" in found[2]
    assert landing.names(encoding="latin-1") == ["a", "Müller", "c"]


def test_quoted_newlines_and_large_cells_are_cells(landing: Landing) -> None:
    large = "x" * 10_000_000
    landing.drop("a.csv", f'id,name\n1,"two\r\nlines, ""quoted"""\n2,{large}\n3,"{large}\n"\n')
    assert landing.names() == ['two\r\nlines, "quoted"', large, large + "\n"]


def test_a_cell_that_never_ends_holds_the_file(landing: Landing) -> None:
    landing.drop("a.csv", 'id,name\n1,"' + "line\n" * 10_000)
    assert "[no CSV] a.csv: line 2: field larger than field limit (2000)" in landing.why(
        limits={"cell": 2000}
    )
    assert "unexpected end of data" in landing.why()


@pytest.mark.parametrize("row", ["3", "3,c,more"])
def test_a_row_with_other_cells_than_the_header_is_held(landing: Landing, row: str) -> None:
    landing.drop("a.csv", csv_of("a", "b") + row + "\n")
    found = {row["id"]: row["_held"] for row in landing.rows()}
    assert found[1] is found[2] is None
    assert f"line 4: {len(row.split(','))} cells in the place of 2" in found[3]


def test_json_rows_lie_where_the_file_says(landing: Landing) -> None:
    rows = [{"id": id, "name": "x" * 100_000, "n": {"m": 10**20}} for id in range(20)]
    text = json.dumps({"meta": {"rows": [1]}, "data": {"of": 1, "rows": rows, "z": [{}]}, "e": 1})
    landing.drop("a.json", text)
    assert len(landing.names(rows="data.rows")) == 20
    assert "there is no 'lines' on the way" in landing.why(rows="data.lines")
    assert "[no JSON]" in landing.why()


def test_json_numbers_are_exact(landing: Landing) -> None:
    landing.drop("a.json", '[{"id": 9007199254740993, "name": 12345678901234567890.10}]')
    (row,) = landing.rows(columns={"id": "int64", "name": "decimal(38,9)"})
    assert (row["id"], row["name"]) == (2**53 + 1, Decimal("12345678901234567890.1"))


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_json_that_is_cut_off_is_held_whole(landing: Landing, cut: int) -> None:
    landing.drop("a.json", json.dumps([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])[:-cut])
    assert "[no JSON] a.json: at character" in landing.why()


def test_a_line_that_is_not_json_is_held_alone(landing: Landing) -> None:
    landing.drop("a.ndjson", '{"id": 1, "name": "a"}\n{"id": 2,\n\n{"id": 3, "name": NaN}\n[]\n')
    landing.drop("b.ndjson", '{"id": 4, "a": ' + "[" * 150 + "]" * 150 + "}\n")
    found = landing.rows()
    assert [row["name"] for row in found if row["_held"] is None] == ["a"]
    assert len({row["_key"] for row in found}) == 5
    assert "nested too deep" in found[4]["_held"]
    assert "a.ndjson: line 2: '{\\\"id\\\": 2,' is not JSON" in found[1]["_held"]


def test_xml_elements_are_rows(landing: Landing) -> None:
    landing.drop(
        "a.xml",
        '<?xml version="1.0" encoding="ISO-8859-1"?><r xmlns="urn:x"><head>h</head><o no="1">'
        "<name>M\xfcller</name><item><sku>a</sku></item><item><sku>b</sku></item></o>"
        '<o no="2"><name/></o></r>'.encode("latin-1"),
    )
    columns = {
        "id": {"type": "int64", "path": "@no"}, "name": "string",
        "sku": {"type": "string", "path": "item.1.sku"}, "whole": {"type": "json", "path": "$"},
    }  # fmt: skip
    one, two = landing.rows(columns=columns, rows="o")
    assert (one["id"], one["name"], one["sku"]) == (1, "Müller", "b")
    assert json.loads(two["whole"]) == {"@no": "2", "name": None}
    assert "no element is at rows: order" in landing.why(columns=columns, rows="order")


def test_parquet_types_are_made_to_fit(landing: Landing) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    table = pa.table({
        "id": pa.array([1, 2], pa.uint8()),
        "name": pa.array(["a", None]).dictionary_encode(),
        "at": pa.array([moment, None], pa.timestamp("ns", "Europe/Berlin")),
        "price": pa.array([Decimal("1.10"), None], pa.decimal128(9, 2)),
        "day": pa.array([date(2026, 1, 2), None]),
        "more": pa.array([[1, 2], None]),
        "left out": pa.array([b"x", b"y"]),
    })  # fmt: skip
    parquet.write_table(table, landing.root / "a.parquet")
    columns = {
        **COLUMNS, "at": "timestamp", "price": "decimal(12,2)", "day": "date", "more": "json",
    }  # fmt: skip
    one, two = landing.rows(columns=columns)
    assert one["_held"] is None
    assert (one["at"], one["price"], one["day"]) == (moment, Decimal("1.10"), date(2026, 1, 2))
    assert one["more"] == "[1, 2]"
    assert (two["id"], two["name"], two["at"], two["_held"]) == (2, None, None, None)


def test_excel_sheets_are_tables(landing: Landing) -> None:
    from openpyxl import Workbook

    book = Workbook()
    book.create_sheet("data").append(["id", "name", "at", "price"])
    book["data"].append([1, "é", datetime(2026, 1, 2, 3, 4, 5), 1.1])
    book["data"].append([None, None, None, None])
    book["data"].append([2, 7, None, None])
    book.save(landing.root / "a.xlsx")
    columns = {**COLUMNS, "at": "datetime", "price": "decimal(12,2)"}
    one, two = landing.rows(columns=columns, sheet="data")
    assert (one["name"], one["at"]) == ("é", datetime(2026, 1, 2, 3, 4, 5))
    assert one["price"] == Decimal("1.10")
    assert (two["id"], two["name"], two["_held"]) == (2, "7", None)
    assert "it has no sheet 'x', but: Sheet, data" in landing.why(columns=columns, sheet="x")


def test_packed_files_are_unpacked(landing: Landing) -> None:
    landing.drop("a.csv.gz", gzip.compress(csv_of("gz").encode()) + gzip.compress(b"2,gz2\n"))
    landing.drop("b.csv.zst", pa.compress(csv_of("zst", first=3).encode(), "zstd", asbytes=True))
    with zipfile.ZipFile(landing.root / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/x.csv", csv_of("up", first=4))
        archive.writestr("/abs/y.json", '[{"id": 5, "name": "abs"}]')
        archive.mkdir("z.csv")
    parquet.write_table(pa.table({"id": [6], "name": ["p"]}), landing.root / "d.parquet")
    landing.drop("e.parquet.gz", gzip.compress((landing.root / "d.parquet").read_bytes()))
    found = landing.rows()
    assert {row["name"] for row in found} == {"gz", "gz2", "zst", "up", "abs", "p"}
    assert [row["_held"] for row in found] == [None] * len(found)
    assert not Path("/etc/x.csv").exists()


def test_facts_of_a_file_are_columns(landing: Landing) -> None:
    landing.drop("in/a.csv", csv_of("a", "b"), at=1e9)
    columns = {
        "file": {"type": "string", "path": "$file"}, "line": {"type": "int64", "path": "$line"},
        "at": {"type": "timestamp", "path": "$modified"}, "name": "string",
    }  # fmt: skip
    _, two = landing.rows(files="**/*.csv", columns=columns, primary_key=["file", "line"])
    assert (two["file"], two["line"], two["name"]) == ("in/a.csv", 2, "b")
    assert two["at"] == datetime.fromtimestamp(1e9, UTC)
    landing.drop("in/a.csv", "name\n\xff")
    landing.drop("in/b.csv", "no such column\n1\n")
    landing.drop("in/c.csv", "nor here\n1\n")
    keys = {
        row["_key"]
        for row in landing.rows(files="**/*.csv", columns=columns, primary_key=["file", "line"])
        if row["_held"]
    }
    assert len(keys) == 2


# Hostile files ---------------------------------------------------------------------------------


def zip_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.csv", data)
    return buffer.getvalue()


def lying_zip() -> bytes:
    """Says that its member unpacks to 10 octets."""
    data = bytearray(zip_of(a=csv_of("a" * 30_000_000).encode()))
    place = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, place + 24, 10)
    return bytes(data)


def odd_xlsx(rows: str = "") -> bytes:
    """A workbook whose one sheet has *rows*; without them, is a chart."""
    from openpyxl import Workbook

    book, buffer, out = Workbook(), io.BytesIO(), io.BytesIO()
    if not rows:
        book.create_chartsheet("chart")
        book.remove(book.worksheets[0])
    book.save(buffer)
    with zipfile.ZipFile(buffer) as before, zipfile.ZipFile(out, "w") as after:
        for name in before.namelist():
            data = before.read(name)
            if rows and name == "xl/worksheets/sheet1.xml":
                data = data.replace(b"</sheetData>", f"{rows}</sheetData>".encode())
            after.writestr(name, data)
    return out.getvalue()


def far_parquet() -> bytes:
    """A day that no calendar of Python has."""
    buffer = io.BytesIO()
    days = pa.array([2**31 - 1], pa.int32()).cast(pa.date32())
    parquet.write_table(pa.table({"id": [1], "name": days}), buffer)
    return buffer.getvalue()


NAMES = '<row r="1"><c t="str"><v>id</v></c><c t="str"><v>name</v></c></row>'
WIDE = b"id,name\n" + (b"1," + b"x" * 10_000 + b"\n") * 4_000
HOSTILE: dict[str, tuple[Callable[[], bytes | str], str]] = {
    "bomb.zip": (lambda: zip_of(a=WIDE), "[bomb]"),
    "bomb.csv.gz": (lambda: gzip.compress(WIDE), "[bomb]"),
    "bomb.csv.zst": (lambda: pa.compress(b"1" * 40_000_000, "zstd", asbytes=True), "[bomb]"),
    "lying.zip": (lying_zip, "[damaged]"),
    "crowd.zip": (lambda: zip_of(**{f"m{n}": b"" for n in range(10_001)}), "[too many members]"),
    "half.csv.gz": (lambda: gzip.compress(os.urandom(99) + csv_of("a").encode())[:-9], "[damaged]"),
    "cut.csv.gz": (lambda: gzip.compress(csv_of(*"ab" * 20_000).encode())[:-9], "[damaged]"),
    "crc.csv.gz": (lambda: gzip.compress(csv_of("a").encode())[:-8] + b"\0" * 8, "[damaged]"),
    "cut.csv.zst": (lambda: pa.compress(b"id,name\n", "zstd", asbytes=True)[:-3], "[damaged]"),
    "no.csv.gz": (lambda: csv_of("a"), "[damaged]"),
    "no.zip": (lambda: csv_of("a"), "[damaged]"),
    "no.parquet": (lambda: csv_of("a"), "[damaged]"),
    "no.xlsx": (lambda: csv_of("a"), "[damaged]"),
    "zip.xlsx": (lambda: zip_of(a=b"x"), "[damaged]"),
    "empty.json": (lambda: "", "[no JSON]"),
    "empty.parquet": (lambda: "", "[damaged]"),
    "entities.xml": (
        lambda: '<!DOCTYPE r [<!ENTITY a "x">]><r><o><id>1</id><name>&a;</name></o></r>',
        "[entities]",
    ),
    "outside.xml": (
        lambda: '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><r><o>&a;</o></r>',
        "[entities]",
    ),
    "laughs.xml": (
        lambda: "<!DOCTYPE r [<!ENTITY a 'ha'>"
        + "".join(f"<!ENTITY a{n} '{f'&a{n - 1 or str()};' * 10}'>" for n in range(1, 10))
        + "]><r>&a9;</r>",
        "[entities]",
    ),
    "deep.xml": (lambda: "<r>" + "<o>" * 200_000, "[too deep]"),
    "deep.json": (lambda: "[" * 200_000, "[too deep]"),
    "deeper.json": (lambda: '[{"a":' * 150 + "1" + "}]" * 150, "[too deep]"),
    "deep.ndjson": (lambda: "[" * 200_000, "too deep"),
    "wide.json": (lambda: '[{"id": 1, "name": "' + "x" * 70_000_000 + '"}]', "[too large]"),
    "wide.xml": (lambda: "<r><o>" + "x" * 70_000_000 + "</o></r>", "[too large]"),
    "wide.csv": (lambda: "id,name\n1," + "x" * 17_000_000, "field larger"),
    "header.csv": (lambda: "id,Name\n1,a\n", "[columns]"),
    "twice.csv": (lambda: "id,name,name\n1,a,b\n", "column 'name' is there twice"),
    "quotes.csv": (lambda: 'id,name\n1,"a"b\n', "[no CSV]"),
    "sjis.xml": (
        lambda: '<?xml version="1.0" encoding="Shift_JIS"?><r><o>\u3042</o></r>'.encode("cp932"),
        "[damaged]",
    ),
    "unknown.xml": (lambda: '<?xml version="1.0" encoding="x-9"?><r/>', "[damaged]"),
    "far.parquet": (far_parquet, "[damaged]"),
    "huge.json": (lambda: '[{"id": 1e99999999999999999999}]', "beyond all bounds"),
    "huge.ndjson": (lambda: '{"id": 1e99999999999999999999}', "beyond all bounds"),
    "number.xlsx": (
        lambda: odd_xlsx(NAMES + '<row r="2"><c t="n"><v>one</v></c></row>'), "[damaged]",
    ),
    "chart.xlsx": (odd_xlsx, "[damaged]"),
    "what.bin": (lambda: "x", "does not say what it is"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_file_is_held_as_a_file_and_the_others_go_on(landing: Landing, name: str) -> None:
    make, why = HOSTILE[name]
    landing.drop("a.csv", csv_of("good", first=100), at=1e9)
    landing.drop(name, make(), at=1.1e9)
    landing.drop("z.csv", csv_of("good", first=200), at=1.2e9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = landing.rows(page_rows=1000)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert [row["id"] for row in found if row["_held"] is None] == [100, 200]
    (bad,) = (row for row in found if row["_held"])
    reasons = [f"[{one['rule']}] {one['message']}" for one in json.loads(bad["_held"])]
    assert why in reasons[0]
    assert name in reasons[0]
    assert name in bad["_key"]
    assert grown < 300_000  # KB


def test_bad_files_wait_in_quarantine_until_good_ones_come(landing: Landing) -> None:
    landing.drop("a.csv.gz", gzip.compress(csv_of("a").encode())[:-9])
    landing.drop("b.json", '[{"id": 2')
    landing.run()
    assert sorted(landing.held()) == ["'a.csv.gz'", "'b.json'"]
    landing.drop("a.csv.gz", gzip.compress(csv_of("a").encode()))
    landing.drop("b.json", '[{"id": 2, "name": "b"}]')
    landing.run()
    assert landing.stored() == {1: "a", 2: "b"}


def test_nothing_is_loaded_of_a_file_whose_end_is_bad(landing: Landing) -> None:
    rows = csv_of(*map(str, range(10_000))).encode()
    landing.drop("a.csv.gz", gzip.compress(rows)[:-4])
    report = landing.run(page_rows=100)
    assert (report.inserted, report.quarantined) == (0, 1)


def test_empty_files_folders_and_odd_names_do_no_harm(landing: Landing) -> None:
    landing.drop("empty.csv", "")
    landing.drop("header.csv", "id,name\n")
    landing.drop("empty list.json", "[]")
    (landing.root / "folder.csv").mkdir()
    landing.drop("folder.csv/inner.csv", csv_of("inner"))
    os.mkfifo(landing.root / "pipe.csv")
    landing.drop("name with spaces & \u00e9\U0001f600 'quote' 100%.csv", csv_of("odd"))
    (landing.root / os.fsdecode(b"not \xff utf-8.csv")).write_text(csv_of("raw", first=2))
    landing.run(ready="rename")
    assert landing.stored() == {1: "odd", 2: "raw"}
    assert landing.held() == {}


def test_no_link_leads_out_of_the_folder(landing: Landing, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text(csv_of("secret"))
    (landing.root / "link.csv").symlink_to(outside / "secret.csv")
    (landing.root / "folder").symlink_to(outside)
    inner = landing.drop("in/a.csv", csv_of("a"))
    reading = landing.reading(files="**/*.csv")
    with open_source(landing.endpoint, reading.stream, NAME) as source:
        source.adopt(source.columns())
        source.observe(reading.shared)
        inner.unlink()
        inner.parent.rmdir()
        inner.parent.symlink_to(outside)
        (outside / "a.csv").write_text(csv_of("secret"))
        assert list(source.pull(1, None, None)) == []
    assert reading.rows() == []


# Connections -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri", ["fs://?path={}", "file:///{}", '{{"conn_type": "fs", "extra": {{"path": "{}"}}}}']
)
def test_a_folder_is_named_by_a_connection(landing: Landing, uri: str) -> None:
    landing.drop("a.csv", csv_of("a"))
    endpoint = parse("shop", uri.format(landing.root))
    assert len(Reading(endpoint, landing.stream()).rows()) == 1


def test_what_is_wrong_with_a_connection_is_said(landing: Landing) -> None:
    for options, error, words in [
        ({}, ConfigError, "names no folder"),
        ({"path": "landing"}, ConfigError, "Write an absolute path"),
        ({"path": "/not/there"}, UnavailableError, "/not/there is not there"),
    ]:
        with pytest.raises(error, match=words):
            Reading(Endpoint("shop", "fs", options=options), landing.stream()).rows()
    far = Endpoint("shop", "aws", None, None, "k", "s3cret", "b", {"endpoint_url": "http://far"})
    with pytest.raises(ConfigError, match="without TLS to http://far"):
        Reading(far, landing.stream()).rows()
    with pytest.raises(ConfigError, match="names no bucket"):
        Reading(Endpoint("shop", "aws"), landing.stream()).rows()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"files": "/etc/*"}, "is not a pattern below"),
        ({"files": "../x.csv"}, "is not a pattern below"),
        ({"encoding": "utf-99"}, "is not an encoding"),
        ({"delimiter": ";;"}, "is not one character"),
        ({"day": "x-%y.csv"}, "does not say where the date is"),
        ({"grows": True, "files": "*.json"}, "a file of json cannot be read on"),
        ({"grows": True, "files": "*.csv.gz"}, "a file of gzip cannot be read on"),
        ({"grows": True, "files": "*.csv", "encoding": "utf-16"}, "has no line ends"),
    ],
)
def test_what_is_wrong_with_a_stream_is_said(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FilesStream.model_validate({**PLAIN, **more})


# S3 --------------------------------------------------------------------------------------------


@pytest.fixture
def bucket() -> Iterator[tuple[s3.Server, str]]:
    server = s3.start_or_skip()
    name = server.fresh()
    yield server, name
    server.drop(name)


def test_every_format_is_read_from_s3(bucket: tuple[s3.Server, str], landing: Landing) -> None:
    server, name = bucket
    landing.drop("a.csv", csv_of("csv"))
    parquet.write_table(pa.table({"id": [2], "name": ["parquet"]}), landing.root / "b.parquet")
    (landing.root / "c.zip").write_bytes(zip_of(x=csv_of("zip", first=3).encode()))
    landing.drop("d e/\u00e9 &.json", '[{"id": 4, "name": "json"}]')
    landing.drop("f.csv.gz", gzip.compress(csv_of("cut", first=5).encode())[:-9])
    for file in landing.root.rglob("*.*"):
        server.put(name, f"in/{file.relative_to(landing.root)}", file.read_bytes())
    server.put(name, "in/folder/", b"")
    endpoint = server.endpoint("")
    found = Reading(endpoint, landing.stream(files=f"s3://{name}/in/**")).rows()
    assert {row["name"] for row in found if not row["_held"]} == {"csv", "parquet", "zip", "json"}
    (bad,) = (row for row in found if row["_held"])
    assert "in/f.csv.gz" in bad["_key"]


def test_an_object_rewritten_meanwhile_is_read_as_its_next_version(
    bucket: tuple[s3.Server, str], landing: Landing
) -> None:
    server, name = bucket
    server.put(name, "a.csv", csv_of("one").encode())
    reading = Reading(server.endpoint(name), landing.stream())
    with open_source(reading.endpoint, reading.stream, NAME) as source:
        source.adopt(source.columns())
        source.observe(reading.shared)
        server.put(name, "a.csv", csv_of("two").encode())
        assert list(source.pull(1, None, None)) == []
    assert [row["name"] for row in reading.rows()] == ["two"]


def test_a_refusal_to_read_one_object_holds_no_file(
    bucket: tuple[s3.Server, str], landing: Landing
) -> None:
    server, name = bucket
    server.put(name, "a.csv", csv_of("a").encode())
    reading = Reading(server.endpoint(name), landing.stream())
    lister = Reading(replace(reading.endpoint, user=s3.LISTER), reading.stream, reading.shared)
    with pytest.raises(RefusedError, match="give them the right to list and to read"):
        lister.rows()
    assert [row["name"] for row in reading.rows()] == ["a"]


def test_keys_that_have_expired_are_waited_for(landing: Landing) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(400)
            self.end_headers()
            self.wfile.write(b"<Error><Code>ExpiredToken</Code><Message>expired</Message></Error>")

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {"endpoint_url": f"http://127.0.0.1:{server.server_port}"}
        endpoint = Endpoint("shop", "aws", None, None, "k", "s3cret", "b", options)
        with pytest.raises(UnavailableError, match="refuses: expired"):
            Reading(endpoint, landing.stream()).rows()
        server.shutdown()


def test_no_error_of_s3_has_the_secret(bucket: tuple[s3.Server, str], landing: Landing) -> None:
    server, name = bucket
    endpoint = Endpoint(
        "shop", "aws", None, None, "nobody", "hidden/W0rd", name, server.admin.options
    )
    with pytest.raises(RefusedError) as caught:
        Reading(endpoint, landing.stream()).rows()
    assert "hidden" not in str(caught.value)
    with pytest.raises(ConfigError, match="is not there"):
        Reading(server.endpoint("no-such-bucket"), landing.stream()).rows()
