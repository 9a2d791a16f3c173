"""Online Retail as an order-line table in MariaDB, and a checker that shares no code with Tidegate.

The data: UCI Machine Learning Repository, "Online Retail", D. Chen 2015, CC BY 4.0, one CSV file a
day. It is not part of the project; its folder is ``TIDEGATE_TEST_DATA``, else ``../shared/data``.
"""

from __future__ import annotations

import csv
import io
import os
import sqlite3
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ARCHIVE = "online_retail_by_day.tar.gz"
TABLE = """
CREATE TABLE order_line (
  line_id BIGINT NOT NULL PRIMARY KEY,
  invoice_no VARCHAR(12) NOT NULL,
  stock_code VARCHAR(20) NOT NULL,
  description VARCHAR(60) NULL,
  quantity INT NOT NULL,
  invoice_date DATETIME NOT NULL,
  unit_price DECIMAL(12,3) NOT NULL,
  customer_id INT NULL,
  country VARCHAR(40) NOT NULL,
  updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  KEY updated (updated_at), KEY invoiced (invoice_date)
) CHARACTER SET utf8mb4
"""
PIPELINE = """\
description: a real shop's order lines
connection: retail_db
streams:
  order_lines:
    table: order_line
    primary_key: line_id
    cursor: updated_at
    lookback: 10s
    schedule: {schedule}
    backfill: {{by: invoice_date, every: {every}, since: "2010-12-01"}}
    clean:
      - drop_duplicates:
          columns: [invoice_no, stock_code, description, quantity, invoice_date, unit_price,
                    customer_id, country]
    expect:
      - expect_column_values_to_not_be_null: {{column: description}}
      - expect_column_values_to_be_between: {{column: unit_price, min_value: 0, strict_min: true}}
    load:
      entities:
        - {{type: OrderLine, key: line_id, attributes: [quantity, unit_price]}}
        - {{type: Invoice, key: invoice_no, attributes: [invoice_date, country]}}
        - {{type: Customer, key: customer_id, attributes: [country]}}
        - {{type: Product, key: stock_code, attributes: [description]}}
      relations:
        - {{type: CONTAINS, from: Invoice, to: OrderLine}}
        - {{type: PLACED, from: Customer, to: Invoice}}
"""

Line = tuple[str, str, str | None, int, str, Decimal, int | None, str]
"""invoice, stock code, description, quantity, date, price, customer, country."""


def archive() -> Path:
    """The data, or a skip that says what is missing."""
    folder = Path(os.environ.get("TIDEGATE_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / ARCHIVE).exists():
        pytest.skip(f"{folder / ARCHIVE} is not there; set TIDEGATE_TEST_DATA to its folder")
    return folder / ARCHIVE


def days(file: Path, limit: int | None = None) -> Iterator[tuple[str, list[Line]]]:
    """Each day's lines, oldest day first. They are not in this order in *file*."""
    texts: dict[str, bytes] = {}
    with tarfile.open(file) as tar:
        for member in tar:
            if member.name.endswith(".csv") and (opened := tar.extractfile(member)):
                texts[Path(member.name).stem] = opened.read()
    for day in sorted(texts)[:limit]:
        text = io.StringIO(texts[day].decode("utf-8"), newline="")
        yield day, [_line(row) for row in csv.DictReader(text)]


def _line(row: dict[str, str]) -> Line:
    return (
        row["InvoiceNo"], row["StockCode"], row["Description"] or None, int(row["Quantity"]),
        row["InvoiceDate"], Decimal(row["UnitPrice"]),
        int(float(row["CustomerID"])) if row["CustomerID"] else None, row["Country"],
    )  # fmt: skip


def insert(connection: Any, first: int, lines: list[Line]) -> None:
    """Add a day to the shop: one transaction of a pymysql *connection*."""
    columns = (
        "line_id, invoice_no, stock_code, description, quantity, invoice_date, unit_price, "
        "customer_id, country"
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO order_line ({columns}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [(first + place, *line) for place, line in enumerate(lines)],
        )
    connection.commit()


@dataclass(frozen=True)
class Facts:
    """What the files themselves say, counted without Tidegate."""

    rows: int
    bad: int
    distinct_good: int

    @property
    def repeats(self) -> int:
        """Good rows that repeat an earlier good row."""
        return self.rows - self.bad - self.distinct_good


def facts(lines: Iterator[Line]) -> Facts:
    """Count rows, rows that break a rule, and different good rows."""
    rows = bad = 0
    good: set[Line] = set()
    for line in lines:
        rows += 1
        if line[2] is None or line[5] <= 0:
            bad += 1
        else:
            good.add(line)
    return Facts(rows, bad, len(good))


def source_rows(connection: Any) -> dict[str, tuple[str, ...]]:
    """The shop's table as text, by line: read with the bare driver."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT CAST(line_id AS CHAR), invoice_no, stock_code, COALESCE(description, ''), "
            "CAST(quantity AS CHAR), DATE_FORMAT(invoice_date, '%Y-%m-%d %H:%i:%s'), "
            "CAST(unit_price AS CHAR), COALESCE(CAST(customer_id AS CHAR), ''), country "
            "FROM order_line"
        )
        return {row[0]: tuple(row[1:]) for row in cursor.fetchall()}


def stored_rows(store: Any, stream: str) -> dict[str, tuple[str, ...]]:
    """The live and duplicate records as text, by line, from *store*: a path (SQLite) or psycopg."""
    date = (
        "substr(invoice_date, 1, 19)"
        if isinstance(store, Path)
        else "to_char(invoice_date, 'YYYY-MM-DD HH24:MI:SS')"
    )
    query = (
        "SELECT CAST(line_id AS TEXT), invoice_no, stock_code, COALESCE(description, ''), "
        f"CAST(quantity AS TEXT), {date}, CAST(unit_price AS TEXT), "
        f"COALESCE(CAST(customer_id AS TEXT), ''), country FROM {stream.replace('.', '__')} "
        "WHERE NOT _deleted"
    )
    return {row[0]: tuple(row[1:]) for row in _rows(store, query)}


def held_keys(store: Any, stream: str) -> set[str]:
    """Primary keys in quarantine."""
    query = f"SELECT key FROM tidegate_quarantine WHERE stream = '{stream}' AND state = 'held'"
    return {row[0] for row in _rows(store, query)}


def ledger(store: Any, stream: str) -> list[tuple[Any, ...]]:
    """``(mode, watermark before, after, pulled, sum of fates, inserted)`` of each run, in order."""
    query = (
        "SELECT mode, watermark_before, watermark_after, pulled, inserted + updated + deleted + "
        "unchanged + stale + deduplicated + quarantined, inserted "
        f"FROM tidegate_run WHERE stream = '{stream}' ORDER BY seq"
    )
    return _rows(store, query)


def duplicates(store: Any, stream: str) -> int:
    """Records marked as duplicates."""
    return int(
        _rows(store, f"SELECT count(*) FROM {stream.replace('.', '__')} WHERE _duplicate")[0][0]
    )


def _rows(store: Any, query: str) -> list[tuple[Any, ...]]:
    if isinstance(store, Path):
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30) as connection:
            return connection.execute(query).fetchall()
    found: list[tuple[Any, ...]] = store.execute(query).fetchall()
    return found
