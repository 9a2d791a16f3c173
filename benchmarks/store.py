"""How fast does the store load, and how large does it grow, beside a bare upsert of the same rows?

Rows of 9 columns are staged as validation would stage them, then loaded: a first load, increments
of 100,000 and 10,000 rows of which half changed, and everything once more unchanged. *records* maps
nothing; *all layers* maps an entity with 2 attributes and 2 relations a row. The time is all of
``Store.load``: reading the staged pages, hashing, COPY, and the whole transaction. *bare* is what
any loader must do: COPY into a temporary table and INSERT … ON CONFLICT DO UPDATE, no history, no
knowledge. ``ROWS=200000`` for a quick look; ``STORES=postgres`` for one database.
"""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]

import services  # noqa: E402
from tidegate import hashing, stage  # noqa: E402
from tidegate.connections import Endpoint  # noqa: E402
from tidegate.model import Increment, Request  # noqa: E402
from tidegate.sources.sql.options import SqlStream  # noqa: E402
from tidegate.store import open_store  # noqa: E402
from tidegate.types import Column, ColumnType  # noqa: E402

ROWS = int(os.environ.get("ROWS") or 1_000_000)
STORES = (os.environ.get("STORES") or "postgres,sqlite").split(",")
PAGE = 50_000
TYPES = {
    "id": "int64", "customer_id": "int32", "sku": "string", "quantity": "int32",
    "amount": "decimal(10,2)", "status": "string", "note": "string", "created_at": "datetime",
    "updated_at": "datetime",
}  # fmt: skip
COLUMNS = [Column(name, ColumnType.parse(kind)) for name, kind in TYPES.items()]
TABLE = {"table": "orders", "primary_key": "id", "cursor": "updated_at"}
MAPPING = {
    "entities": [{"type": "Order", "key": "id", "attributes": ["status", "amount"]}],
    "relations": [
        {"type": "PLACED_BY", "from": "Order", "to": {"type": "Customer", "key": "customer_id"}},
        {"type": "OF_PRODUCT", "from": "Order", "to": {"type": "Product", "key": "sku"}},
    ],
}
STREAMS = {
    "records": SqlStream.model_validate(TABLE),
    "all layers": SqlStream.model_validate(TABLE | {"load": MAPPING}),
}
START = dt.datetime.fromisoformat("2026-01-01")
COPY_TYPES = {
    "int64": "bigint", "int32": "integer", "string": "text", "datetime": "timestamp",
    "decimal": "numeric(10,2)",
}  # fmt: skip


def page(first: int, last: int, changed: int) -> pa.Table:
    """Rows *first* … *last*-1; every second one differs when *changed* is another number."""
    numbers = range(first, last)
    later = [changed if changed and number % 2 else 0 for number in numbers]
    cells: dict[str, list[Any]] = {
        "id": list(numbers),
        "customer_id": [number % 50_000 for number in numbers],
        "sku": [f"SKU-{number % 9_999:05}" for number in numbers],
        "quantity": [1 + number % 48 for number in numbers],
        "amount": [number % 199_000 for number in numbers],
        "status": [("new", "paid", "shipped", "done")[number % 4] for number in numbers],
        "note": [None if number % 3 == 0 else f"note {number}" for number in numbers],
        "created_at": [START + dt.timedelta(microseconds=number) for number in numbers],
        "updated_at": [
            START + dt.timedelta(microseconds=10 * number, days=days)
            for number, days in zip(numbers, later, strict=True)
        ],
    }
    cells["status"] = [
        f"{status} {days}" if days else status
        for status, days in zip(cells["status"], later, strict=True)
    ]
    arrays = {
        name: pa.array(values).cast(pa.int64()).cast(pa.decimal128(21, 2))
        if name == "amount"
        else pa.array(values)
        for name, values in cells.items()
    }
    return pa.table(
        {column.name: arrays[column.name].cast(column.type.arrow) for column in COLUMNS}
    )


def staged(folder: Path, store: Any, rows: int, changed: int) -> Increment:
    """An increment as validation leaves it."""
    name = "bench.orders"
    state, read = store.state(name), store.issue_read(name)
    request = Request(name, f"run-{read}")
    writer = stage.Writer(str(folder / f"stage-{time.time_ns()}"))
    for number, first in enumerate(range(0, rows, PAGE)):
        table = page(first, min(first + PAGE, rows), changed)
        size = table.num_rows
        table = table.append_column("_key", table.column("id").cast(pa.string()))
        table = table.append_column("_token", pa.array([read << 20 | number] * size, pa.int64()))
        table = table.append_column("_source_hash", hashing.row_hashes(table, list(TYPES)))
        writer.write(table.append_column("_held", pa.nulls(size, pa.string())))
    return writer.close(
        Increment(
            request=request, step="validate", where=writer.where, origin=writer.where,
            columns=tuple(column.to_json() for column in COLUMNS), pages=(), read=read,
            generation=state.generation, low=state.watermark, high=None,
            observed_at="2026-01-01T00:00:00+00:00",
        )
    )  # fmt: skip


def loads(folder: Path, endpoint: Endpoint, layers: str) -> Iterator[tuple[str, int, float]]:
    """What was loaded, how many rows, in how many seconds."""
    stream = STREAMS[layers]
    with open_store(endpoint) as store:
        for what, rows, changed in scenario():
            increment = staged(folder, store, rows, changed)
            start = time.perf_counter()
            report = store.load(increment, stream)
            seconds = time.perf_counter() - start
            new = rows if what == "first load" else 0
            again = 0 if "half" not in what else rows // 2
            if (report.inserted, report.updated) != (new, again):
                raise SystemExit(f"{layers}, {what}: {report}")
            settle(endpoint)
            yield what, rows, seconds


def settle(endpoint: Endpoint) -> None:
    """What PostgreSQL does in the background after a while, so that it does not do it meanwhile."""
    if endpoint.kind == "postgres":
        with connect(endpoint) as opened:
            opened.autocommit = True
            opened.execute("VACUUM (ANALYZE)")


def connect(endpoint: Endpoint) -> psycopg.Connection[Any]:
    """The bare driver's."""
    return psycopg.connect(
        host=endpoint.host, port=endpoint.port, user=endpoint.user, password=endpoint.password,
        dbname=endpoint.database,
    )  # fmt: skip


def scenario() -> Iterator[tuple[str, int, int]]:
    """Name, rows, and which change they show."""
    yield "first load", ROWS, 0
    yield "all again, nothing changed", ROWS, 0
    yield "100k, half of them changed", min(ROWS, 100_000), 1
    yield "10k, half of them changed", min(ROWS, 10_000), 2


def bare(endpoint: Endpoint) -> Iterator[tuple[str, int, float]]:
    """The same rows, upserted and no more."""
    postgres = endpoint.kind == "postgres"
    connection: Any = (
        connect(endpoint)
        if postgres
        else sqlite3.connect(str(endpoint.database), isolation_level=None)
    )
    kinds = {column.name: COPY_TYPES[column.type.name] if postgres else "" for column in COLUMNS}
    columns = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    with closing(connection):
        connection.execute(f"CREATE TABLE bare ({columns}, PRIMARY KEY (id))")
        if postgres:
            connection.commit()
        for what, rows, changed in scenario():
            pages = [
                page(first, min(first + PAGE, rows), changed) for first in range(0, rows, PAGE)
            ]
            start = time.perf_counter()
            upsert(connection, columns, pages, postgres=postgres)
            seconds = time.perf_counter() - start
            settle(endpoint)
            yield what, rows, seconds


def upsert(connection: Any, columns: str, pages: list[pa.Table], *, postgres: bool) -> None:
    """Stage and merge, in one transaction."""
    if not postgres:
        connection.execute("BEGIN IMMEDIATE")
    connection.execute("DROP TABLE IF EXISTS staged")
    connection.execute(f"CREATE TEMPORARY TABLE staged ({columns})")
    for table in pages:
        if postgres:
            copy(connection, table)
        else:
            texts = [
                column.cast(pa.string()) if column.type.equals(pa.decimal128(10, 2))
                or pa.types.is_timestamp(column.type) else column
                for column in table.columns
            ]  # fmt: skip
            cells = zip(*(column.to_pylist() for column in texts), strict=True)
            marks = ", ".join("?" * table.num_columns)
            connection.executemany(f"INSERT INTO staged VALUES ({marks})", cells)
    sets = ", ".join(f"{name} = excluded.{name}" for name in TYPES if name != "id")
    connection.execute(
        f"INSERT INTO bare SELECT * FROM staged WHERE true ON CONFLICT (id) DO UPDATE SET {sets}"
    )
    connection.commit()


def copy(connection: psycopg.Connection[Any], table: pa.Table) -> None:
    """CSV that Arrow writes, into COPY."""
    from pyarrow import csv

    text = pa.BufferOutputStream()
    csv.write_csv(table, text, csv.WriteOptions(include_header=False, quoting_style="needed"))
    with connection.cursor() as cursor, cursor.copy("COPY staged FROM STDIN (FORMAT csv)") as out:
        out.write(text.getvalue().to_pybytes())


def sizes(endpoint: Endpoint) -> dict[str, int]:
    """Octets of every table with its indexes."""
    if endpoint.kind == "sqlite":
        with closing(sqlite3.connect(str(endpoint.database))) as opened:
            return dict(
                opened.execute(
                    "SELECT m.tbl_name, sum(d.pgsize) FROM dbstat AS d "
                    "JOIN sqlite_master AS m ON m.name = d.name GROUP BY 1"
                )
            )
    with connect(endpoint) as opened:
        return dict(
            opened.execute(
                "SELECT relname::text, pg_total_relation_size(oid) FROM pg_class "
                "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            ).fetchall()
        )


def main() -> None:
    """Measure and print."""
    for name in STORES:
        server = None if name == "sqlite" else services.start(name)
        with tempfile.TemporaryDirectory() as folder:
            measure(name, Path(folder), server)
        if server:
            server.close()


def measure(name: str, folder: Path, server: services.Server | None) -> None:
    """One database: the bare upsert, then each choice of layers."""

    def fresh(label: str) -> Endpoint:
        file = str(folder / f"{label}.db")
        return server.fresh() if server else Endpoint("store", "sqlite", database=file)

    base = {what: seconds for what, _, seconds in bare(fresh("bare"))}
    for layers in STREAMS:
        endpoint = fresh(layers.replace(" ", "_"))
        for what, rows, seconds in loads(folder, endpoint, layers):
            print(
                f"{name:9} {layers:11} {what:28} {rows:>9,} rows {seconds:7.2f} s "
                f"{rows / seconds:>9,.0f} rows/s   {seconds / base[what]:5.2f} × bare "
                f"({base[what]:.2f} s)",
                flush=True,
            )
        for table, octets in sorted(sizes(endpoint).items(), key=lambda item: -item[1]):
            if octets > ROWS:
                print(f"{name:9} {layers:11} {octets / ROWS:7.0f} octets a record in {table}")


if __name__ == "__main__":
    main()
