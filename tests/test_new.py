"""``tidegate new``: a pipeline file to begin with, which is right as it stands."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from services import Server
from tidegate import cli
from tidegate.pipeline import blank
from tidegate.pipeline.kinds import Kind, kinds
from tidegate.pipeline.reader import read_file
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
    assert (orders.files, orders.day) == ("orders/*/orders-*.csv", "orders-%Y-%m-%d.csv")
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
