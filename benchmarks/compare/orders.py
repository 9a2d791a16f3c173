"""The table that all tools copy, how it changes, and what it should be when it has arrived.

A row is written as text the same way by both servers (a DECIMAL by its two places, a time with its
microseconds), hashed by MD5, and the hashes are summed: 60 bits of each, so that no order matters.
Where the sums differ, each column is compared by itself, cell by cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services import Server
from tidegate.connections import Endpoint

TABLE = """
CREATE TABLE orders (
  id BIGINT PRIMARY KEY, customer_id INT NOT NULL, sku VARCHAR(32) NOT NULL, quantity INT NULL,
  amount DECIMAL(10,2) NULL, status VARCHAR(16) NULL, note VARCHAR(100) NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  KEY (updated_at)) ENGINE=InnoDB
"""
COPIED = """
CREATE TABLE orders (
  id bigint PRIMARY KEY, customer_id integer NOT NULL, sku varchar(32) NOT NULL, quantity integer,
  amount numeric(10,2), status varchar(16), note varchar(100), created_at timestamp NOT NULL,
  updated_at timestamp NOT NULL)
"""
FILL = """
INSERT INTO orders
SELECT seq, seq % 50000, CONCAT(' sku-', LPAD(seq % 9999, 5, '0')),
  IF(seq % 50 = 0, NULL, 1 + seq % 48), (seq % 199000) / 100,
  ELT(1 + seq % 5, 'New', ' paid', 'SHIPPED', 'delivered', NULL),
  IF(seq % 3 = 0, NULL, CONCAT('note ', seq)), '2026-01-01' + INTERVAL seq MICROSECOND,
  '2026-01-01' + INTERVAL (seq * 10) MICROSECOND
FROM seq_1_to_{rows}
"""
# SYSDATE: each row has a moment of its own, and the server stamps it.
CHANGE = """
UPDATE orders SET status = 'paid', quantity = {quantity}, updated_at = SYSDATE(6)
WHERE id % {step} = {step} - 1
"""
TEXT, TIME = "text", "time"
KINDS = {
    "id": "int", "customer_id": "int", "sku": TEXT, "quantity": "int", "amount": "decimal",
    "status": TEXT, "note": TEXT, "created_at": TIME, "updated_at": TIME,
}  # fmt: skip
# What the five cleaning steps of the pipeline make of a cell.
CLEANED = {
    "sku": "UPPER(TRIM(sku))", "status": "COALESCE(LOWER(TRIM(status)), 'unknown')",
    "note": "TRIM(note)", "quantity": "COALESCE(quantity, 1)",
}  # fmt: skip


@dataclass(frozen=True)
class Sums:
    """How many rows, and the sum of their hashes."""

    rows: int
    sum: int


def fill(server: Server, shop: Endpoint, rows: int) -> None:
    """Make the table anew."""
    server.execute(shop, "DROP TABLE IF EXISTS orders", TABLE, FILL.format(rows=rows))


def change(server: Server, shop: Endpoint, rows: int, changed: int, quantity: int) -> None:
    """Change *changed* of *rows* rows, spread over the table; each gets a stamp of its own."""
    step = max(1, rows // changed)
    server.execute(shop, CHANGE.format(quantity=quantity, step=step))


def expected(server: Server, shop: Endpoint, *, cleaned: bool) -> Sums:
    """Of the source's rows as they are, or as they should be when they are cleaned."""
    row = f"CONCAT_WS('|', {', '.join(_source(name, cleaned) for name in KINDS)})"
    sixty = f"CAST(CONV(LEFT(MD5({row}), 15), 16, 10) AS UNSIGNED)"
    return _sums(server, shop, f"SELECT COUNT(*), SUM({sixty}) FROM orders")


def arrived(server: Server, target: Endpoint, relation: str) -> Sums:
    """Of the target's rows."""
    types = columns(server, target, relation)
    row = f"concat_ws('|', {', '.join(_target(name, types[name]) for name in KINDS)})"
    sixty = f"('x' || left(md5({row}), 15))::bit(60)::bigint"
    return _sums(server, target, f"SELECT count(*), sum({sixty}) FROM {relation}")


def differences(
    source: Server, shop: Endpoint, target: Server, store: Endpoint, relation: str, *, cleaned: bool
) -> list[str]:
    """What is wrong with the copy, in words; nothing when it is exact."""
    if expected(source, shop, cleaned=cleaned) == arrived(target, store, relation):
        return []
    types = columns(target, store, relation)
    found = []
    for name in KINDS:
        says = _cells(source, shop, f"SELECT id, {_source(name, cleaned)} FROM orders")
        holds = _cells(target, store, f"SELECT id, {_target(name, types[name])} FROM {relation}")
        if name == "id":
            found += _keys(says.keys(), holds.keys())
        wrong = [id for id in says.keys() & holds.keys() if says[id] != holds[id]]
        if wrong:
            first = min(wrong)
            found.append(
                f"{name} ({types[name]}): {len(wrong):,} rows differ; "
                f"of id {first}, {says[first]!r} became {holds[first]!r}"
            )
    return found or ["a key is there more than once"]


def columns(server: Server, target: Endpoint, relation: str) -> dict[str, str]:
    """Name → type in the target."""
    return dict(
        _rows(
            server, target,
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
            f"WHERE attrelid = {_table(relation)} AND attnum > 0 AND NOT attisdropped",
        )
    )  # fmt: skip


def has_key(server: Server, target: Endpoint, relation: str) -> bool:
    """Whether a unique index keeps two rows of one key out of the target."""
    return bool(
        _rows(
            server, target,
            f"SELECT 1 FROM pg_index WHERE indrelid = {_table(relation)} "
            "AND indisunique",
        )
    )  # fmt: skip


def _keys(says: Any, holds: Any) -> list[str]:
    missing, extra = says - holds, holds - says
    return [
        f"{len(ids):,} rows {what}, for example id {min(ids)}"
        for what, ids in (("are missing", missing), ("are not in the source", extra))
        if ids
    ]


def _source(name: str, cleaned: bool) -> str:
    return f"COALESCE(CAST({CLEANED.get(name, name) if cleaned else name} AS CHAR), '<null>')"


def _target(name: str, kind: str) -> str:
    texts = {
        "int": f"{name}::text",
        "decimal": f"CASE WHEN {name}::numeric = round({name}::numeric, 2) "
        f"THEN round({name}::numeric, 2)::text ELSE {name}::text END",
        TEXT: f"{name}::text",
        TIME: f"to_char({name}::timestamp, 'YYYY-MM-DD HH24:MI:SS.US')",
    }
    text = texts[KINDS[name]]
    if kind == "timestamp with time zone":
        text = text.replace("::timestamp", " AT TIME ZONE 'UTC'")
    return f"COALESCE({text}, '<null>')"


def _table(relation: str) -> str:
    return f"'{relation.partition(' ')[0]}'::regclass"


def _sums(server: Server, endpoint: Endpoint, query: str) -> Sums:
    rows, total = _rows(server, endpoint, query)[0]
    return Sums(int(rows), int(total or 0))


def _cells(server: Server, endpoint: Endpoint, query: str) -> dict[int, str]:
    return {int(id): text for id, text in _rows(server, endpoint, query)}


def _rows(server: Server, endpoint: Endpoint, query: str) -> list[Any]:
    engine = server.engine(endpoint).execution_options(no_parameters=True)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]
