"""Rows per second of cleaning and validation alone: five steps, twelve expectations, nine columns.

Pages of 50,000 rows are staged as a pull would stage them, in a folder of its own; then come the
steps of :mod:`tidegate.path` as a task runs them, against a SQLite store. First ``ROWS`` rows
(1,000,000), then an increment of 10,000 on the warm process: median of 5 (fastest – slowest), and
the median of the processor time that all threads took, which a busy machine changes less.
``PROFILE=clean`` or ``validate`` prints where the time of that step goes.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from tidegate import path, stage, validate  # noqa: E402
from tidegate.connections import Endpoint  # noqa: E402
from tidegate.job import Job  # noqa: E402
from tidegate.model import Increment, Request  # noqa: E402
from tidegate.pipeline.reader import read_file  # noqa: E402
from tidegate.types import Column, ColumnType  # noqa: E402

Seconds = tuple[float, float]
ROWS = int(os.environ.get("ROWS") or 1_000_000)
PAGE = 50_000
PROFILE = os.environ.get("PROFILE", "")
TYPES = {
    "id": "int64", "customer_id": "int32", "sku": "string", "quantity": "int32",
    "amount": "decimal(10,2)", "status": "string", "note": "string",
    "created_at": "datetime", "updated_at": "datetime",
}  # fmt: skip
PIPELINE = r"""
connection: shop
streams:
  orders:
    table: orders
    primary_key: id
    cursor: updated_at
    clean:
      - trim: [sku, status, note]
      - upper: [sku]
      - lower: [status]
      - fill_missing: {columns: [status], value: unknown}
      - fill_missing: {columns: [quantity], value: 1}
    expect:
      - expect_table_columns_to_match_set:
          {column_set: [id, customer_id, sku, quantity, amount, status, note, created_at,
                        updated_at]}
      - expect_table_row_count_to_be_between: {min_value: 1}
      - expect_column_values_to_not_be_null: {column: id}
      - expect_column_values_to_be_unique: {column: id}
      - expect_column_values_to_not_be_null: {column: amount, mostly: 0.9}
      - expect_column_values_to_be_between: {column: quantity, min_value: 1, max_value: 48}
      - expect_column_values_to_be_between: {column: amount, min_value: 0, max_value: 1990}
      - expect_column_values_to_be_in_set:
          {column: status, value_set: [new, paid, shipped, delivered, cancelled, unknown]}
      - expect_column_values_to_match_regex: {column: sku, regex: '^SKU-\d{5}$'}
      - expect_column_value_lengths_to_be_between: {column: note, max_value: 60}
      - expect_column_values_to_not_be_null: {column: updated_at}
      - expect_column_pair_values_a_to_be_greater_than_b:
          {column_A: updated_at, column_B: created_at, or_equal: true}
"""


def page(first: int, rows: int) -> pa.Table:
    """A pulled page: keys from *first* on."""
    keys = np.arange(first, first + rows)
    start = np.datetime64("2026-01-01", "us")
    statuses = np.array(["New", " paid", "SHIPPED", "delivered", ""])[keys % 5]
    data = {
        "id": pa.array(keys),
        "customer_id": pa.array(keys % 50_000, pa.int32()),
        "sku": pa.array([f" sku-{key % 9999:05d}" for key in keys.tolist()]),
        "quantity": pa.array(1 + keys % 48, pa.int32(), mask=keys % 50 == 0),
        "amount": pa.array([Decimal(key % 199_000).scaleb(-2) for key in keys.tolist()],
                           pa.decimal128(10, 2)),
        "status": pa.array(statuses, pa.string(), mask=keys % 5 == 4),
        "note": pa.array([f"note {key}" for key in keys.tolist()], mask=keys % 3 == 0),
        "created_at": pa.array(start + keys.astype("m8[us]")),
        "updated_at": pa.array(start + (keys * 10).astype("m8[us]")),
    }  # fmt: skip
    return pa.table(
        {
            "_key": pa.array(keys).cast(pa.string()),
            "_token": pa.array(np.full(rows, first + 1)),
            "_source_hash": pa.array(keys * 7919),
            "_held": pa.nulls(rows, pa.string()),
            **data,
        }
    )


def pulled(rows: int, run: str) -> Increment:
    """An increment of *rows* rows, staged."""
    request = Request("shop.orders", run)
    columns = tuple(Column(name, ColumnType.parse(type)).to_json() for name, type in TYPES.items())
    writer = stage.Writer(stage.folder(request, "pull"))
    for first in range(1, rows + 1, PAGE):
        writer.write(page(first, min(PAGE, rows + 1 - first)))
    increment = Increment(
        request, "pull", writer.where, writer.where, columns, (), 1, 0, None, None, ""
    )
    return writer.close(increment)


def measure(name: str, step: Callable[..., Any], *arguments: Any) -> tuple[Seconds, Any]:
    """Wall and processor seconds that *step* takes, and what it gives."""
    profile = cProfile.Profile() if name == PROFILE else None
    if profile:
        profile.enable()
    start, used = time.perf_counter(), time.process_time()
    result = step(*arguments)
    seconds = time.perf_counter() - start, time.process_time() - used
    if profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    return seconds, result


def show(rows: int, step: str, times: list[Seconds], held: int) -> None:
    """One line."""
    walls, used = [wall for wall, _ in times], statistics.median(cpu for _, cpu in times)
    middle = statistics.median(walls)
    print(
        f"{rows:>9,} rows  {step:<8} {middle:6.3f} s ({min(walls):.3f} – {max(walls):.3f}), "
        f"processor {used:6.3f} s, {rows / middle:>9,.0f} rows/s; {held} held"
    )


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TIDEGATE_HOME"] = os.environ["TIDEGATE_STAGE"] = folder
        file = Path(folder) / "shop.yaml"
        file.write_text(PIPELINE, encoding="utf-8")
        source = read_file(file)
        assert source.source is not None
        store = Endpoint("tidegate_store", "sqlite", database=f"{folder}/store.db")
        job = Job(
            source.source, "orders", source.streams["orders"], {store.name: store}.__getitem__
        )
        (imported, _), _ = measure("import", validate.warm)
        print(f"Great Expectations imported in {imported:.2f} s; load {os.getloadavg()[0]:.1f}")
        for rows in (ROWS, 10_000):
            increment = pulled(rows, f"run-{rows}")
            taken: dict[str, list[Seconds]] = {"clean": [], "validate": []}
            held = 0
            for _ in range(5):
                seconds, cleaned = measure("clean", path.clean, job, increment)
                taken["clean"].append(seconds)
                seconds, judged = measure("validate", path.validate, job, cleaned)
                taken["validate"].append(seconds)
                held = judged.held
            for step, times in taken.items():
                show(rows, step, times, held)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak {peak:.0f} MB; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
