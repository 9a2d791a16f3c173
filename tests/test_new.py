"""``tidegate new``: a pipeline file to begin with, which is right as it stands."""

from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from services import Server
from tidegate import cli
from tidegate.pipeline import blank
from tidegate.pipeline.kinds import Kind, Proposal, kinds
from tidegate.pipeline.reader import read_file
from tidegate.sources.files import discovery
from tidegate.sources.files.options import FilesStream
from tidegate.sources.sql.options import SqlStream

KINDS = list(kinds().values())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_new_file_is_right_as_it_stands(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "fresh.yaml"
    path.write_text(blank.text(kind, None), encoding="utf-8")
    found = read_file(path)
    assert found.broken == {}
    assert type(found.streams["example"]) is kind.stream


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_a_comment_in_it_are_the_defaults(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "fresh.yaml"
    text = blank.text(kind, None)
    path.write_text(text, encoding="utf-8")
    before = read_file(path).streams["example"]
    for line in re.findall(r"^ +# (\w+: \S.*)$", text, re.MULTILINE):
        name = line.partition(":")[0]
        path.write_text(text.replace(f"# {line}", line), encoding="utf-8")
        found = read_file(path)
        assert found.broken == {}, line
        if getattr(before, name) is not None:
            assert getattr(found.streams["example"], name) == getattr(before, name), line


def test_it_is_filled_from_the_catalogue(
    sql_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = sql_server.fresh()
    stamp = {"mysql": "DATETIME(6)", "postgres": "TIMESTAMP", "sqlite": "DATETIME"}[sql_server.kind]
    sql_server.execute(
        endpoint,
        f"CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, total INTEGER, created {stamp}, "
        f"updated_at {stamp}, deleted_at {stamp})",
        "CREATE INDEX orders_updated ON orders (updated_at)",
        "CREATE TABLE stock (shelf INTEGER NOT NULL, sku INTEGER NOT NULL, "
        "PRIMARY KEY (shelf, sku))",
    )
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", sql_server.uri(endpoint))
    arguments = ["--pipelines", str(tmp_path), "new", "sql", "shop", "--connection", "shop_db"]
    assert cli.main(arguments) == 0
    found = read_file(tmp_path / "shop.yaml")
    assert found.broken == {}
    orders, stock = found.streams["orders"], found.streams["stock"]
    assert isinstance(orders, SqlStream)
    assert isinstance(stock, SqlStream)
    assert (orders.primary_key, orders.cursor) == (("id",), "updated_at")
    assert orders.deleted is not None
    assert orders.deleted.column == "deleted_at"
    assert (stock.primary_key, stock.snapshot) == (("shelf", "sku"), True)
    assert cli.main(["--pipelines", str(tmp_path), "check", "shop", "--connect"]) == 0


def test_files_are_found_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "landing"
    (root / "orders/2026").mkdir(parents=True)
    for day, text in (("03-01", "Bestell-Nr;Größe;Preis;Tag\n1;x;1.5;2026-03-01\n"),
                      ("03-02", "Bestell-Nr;Größe;Preis;Tag\n00501;y;;2026-03-02\n")):  # fmt: skip
        (root / f"orders/2026/orders-2026-{day}.csv").write_text(text, encoding="cp1252")
    lines = ['{"id": 1, "at": "2026-03-01T10:00:00Z", "inner": {"a": 1}}', '{"id": 2, "n": 1.5}']
    with gzip.open(root / "events.ndjson.gz", "wt") as file:
        file.write("\n".join(lines))
    pq.write_table(pa.table({"sku": ["a"], "left": [3]}), root / "stock.parquet")
    book = Workbook()
    book.worksheets[0].append(["id", "name"])
    book.worksheets[0].append([1, "x"])
    book.save(root / "staff.xlsx")
    (root / "menu.xml").write_text("<all><row><id>1</id></row></all>")
    (root / "broken.parquet").write_bytes(b"PAR1 not")
    (root / "README").write_text("no data")
    monkeypatch.setenv("AIRFLOW_CONN_LANDING", f"fs:///?path={quote(str(root), safe='')}")
    arguments = ["--pipelines", str(tmp_path), "new", "files", "drop", "--connection", "landing"]
    assert cli.main(arguments) == 0
    found = read_file(tmp_path / "drop.yaml")
    assert found.broken == {}
    streams = {name: one for name, one in found.streams.items() if isinstance(one, FilesStream)}
    assert streams.keys() == {"broken", "events", "menu", "orders_orders", "staff", "stock"}
    orders = streams["orders_orders"]
    assert (orders.files, orders.day) == (
        "orders/[0-9]*/orders-[0-9]*.csv", "orders-%Y-%m-%d.csv",
    )  # fmt: skip
    assert (orders.delimiter, orders.encoding) == (";", "cp1252")
    assert orders.columns == {
        "Bestell-Nr": "string", "Größe": "string", "Preis": "string", "Tag": "date",
    }  # fmt: skip
    assert streams["events"].columns == {
        "id": "int64", "at": "timestamp", "inner": "json", "n": "numeric",
    }  # fmt: skip
    assert streams["stock"].columns == {"sku": "string", "left": "int64"}
    assert streams["staff"].columns == {"id": "int64", "name": "string"}
    assert "could not be looked into" in (tmp_path / "drop.yaml").read_text()


def proposed(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, FilesStream]:
    """The streams of a new pipeline file for what is in *root*, by their patterns."""
    monkeypatch.setenv("AIRFLOW_CONN_LANDING", f"fs:///?path={quote(str(root), safe='')}")
    folder = root.parent
    (folder / "drop.yaml").unlink(missing_ok=True)
    arguments = ["--pipelines", str(folder), "new", "files", "drop", "--connection", "landing"]
    assert cli.main(arguments) == 0
    found = read_file(folder / "drop.yaml")
    assert found.broken == {}
    return {one.files: one for one in found.streams.values() if isinstance(one, FilesStream)}


def test_a_pattern_takes_in_what_differs_in_numbers_and_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "landing"
    root.mkdir()
    for name in (
        "sales-2026-01-31.csv", "sales-returns-2026-01-31.csv", "daily.2026-01-01.csv",
        "daily.2026-01-02.csv", "app.log.1.csv", "app.log.22.csv", "no-20261399.csv",
        "no-20260101234.csv", "part-00000-3f2c9a1e-0b4d-4c55-9d2a-7e6f5a4b3c2d-c000.csv",
        "part-00001-aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee-c000.csv", "list-9f86d081884c7d65.csv",
        "odd[1]*?.csv", "100%-20260101.csv", "evil\n  injected:\n    files: x.csv",
    ):  # fmt: skip
        (root / name).write_text("id\n1\n")
    found = proposed(root, monkeypatch)
    assert {pattern: one.day for pattern, one in found.items()} == {
        "sales-[0-9]*.csv": "sales-%Y-%m-%d.csv",
        "sales-returns-[0-9]*.csv": "sales-returns-%Y-%m-%d.csv",
        "daily.[0-9]*.csv": "daily.%Y-%m-%d.csv",
        "app.log.[0-9]*.csv": None,
        "no-[0-9]*.csv": None,
        "part-[0-9]*-[0-9A-Fa-f]*-c[0-9]*.csv": None,
        "list-[0-9A-Fa-f]*.csv": None,
        "odd[[][0-9]*][*][?].csv": None,
        "[0-9]*%-[0-9]*.csv": None,
    }
    monkeypatch.setattr(discovery, "MOST", 2)
    assert len(proposed(root, monkeypatch)) == 2
    text = (tmp_path / "drop.yaml").read_text()
    assert "7 patterns with older files were left out" in text


def test_no_file_keeps_others_from_being_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "landing"
    root.mkdir()
    (root / "a.csv").write_text('id,"Order\nNo",,twice,twice,_token,good\n1,2,3,4,5,6,7\n')
    (root / "b.xml").write_text('<?xml version="1.0" encoding="x-9"?><r/>')
    (root / "c.ndjson").write_text('{"id": 1e99999999999999999999}\n{"id": 1}\n')
    with zipfile.ZipFile(root / "d.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b"x" * 20_000_000)
    chart = Workbook()
    chart.create_chartsheet("chart")
    chart.remove(chart.worksheets[0])
    chart.save(root / "e.xlsx")
    found = proposed(root, monkeypatch)
    assert found.keys() == {"a.csv", "b.xml", "c.ndjson", "d.xlsx", "e.xlsx"}
    assert found["a.csv"].columns == {"id": "int64", "good": "int64"}
    text = (tmp_path / "drop.yaml").read_text()
    assert "unpack to more than 100 times that" in text


def test_a_remark_stays_a_remark() -> None:
    notes = {"files": "the newest is evil\n  injected:\n    files: x\u2028\x1b.csv"}
    proposal = Proposal("drop", {"files": "*.csv", "primary_key": "id"}, notes)
    text = blank.text(kinds()["files"], None, [proposal])
    assert "# the newest is evil injected: files: x .csv" in text


def test_a_file_that_is_there_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop.yaml").write_text("mine")
    assert cli.main(["--pipelines", str(tmp_path), "new", "sql", "shop"]) == 2
    assert "there is such a file already" in capsys.readouterr().err
    assert (tmp_path / "shop.yaml").read_text() == "mine"


def test_an_unknown_kind_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", "sqll"]) == 2
    assert "no kind of source 'sqll'. Did you mean 'sql'?" in capsys.readouterr().err
