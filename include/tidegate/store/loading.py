"""One increment into the store, in ONE transaction: rows, knowledge, quarantine, ledger, watermark.

The rows are copied into a temporary table first, which takes no lock anybody else could want.
Then one transaction: compare-and-set of the watermark, commit number, merge, projections,
quarantine, conservation check, ledger line. It all becomes true, or none of it does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection, Engine

from tidegate import stage, tombstones
from tidegate.errors import MismatchError
from tidegate.model import BOOKKEEPING, Increment, Mode, Report
from tidegate.pipeline.models import Stream
from tidegate.store import engine, leases, ledger, originals, quarantine, replay
from tidegate.store.knowledge import mapping, projection
from tidegate.store.record import evolve, layouts, merge, records, staging
from tidegate.store.record.layouts import Layout
from tidegate.store.record.records import Records
from tidegate.types import Column


@dataclass(frozen=True)
class Load:
    """What is loaded: the validated increment, and the stream that says what its rows mean."""

    increment: Increment
    stream: Stream

    @property
    def columns(self) -> list[Column]:
        """Columns after cleaning."""
        return [Column.from_json(column) for column in self.increment.columns]


def load(database: Engine, todo: Load) -> Report:
    """Load it; a pull that was loaded before is reported again and changes nothing.

    Raises OvertakenError when another run moved the watermark, MismatchError when the pulled rows
    cannot all be accounted for; in both cases the store is as it was.
    """
    increment = todo.increment
    marks = "drop_duplicates" in [name for name, _ in increment.cleaned]
    plan = records.plan(increment.request.stream, todo.columns, todo.stream, marks)
    with database.connect() as connection:
        with connection.execution_options(reads=True).begin():
            done = ledger.find(connection, increment)
            if done is None:
                evolve.require_names(connection, plan)
                staging.create(connection, plan)
                staging.fill(connection, plan, _passed(connection, todo, plan))
        if done is not None:
            return done
        with connection.execution_options(reads=False).begin() as transaction:
            report = _commit(connection, todo, plan)
            if report.repeated:  # somebody else loaded it meanwhile: this is no commit
                transaction.rollback()
            return report


def _commit(connection: Connection, todo: Load, plan: Records) -> Report:
    increment = todo.increment
    request = increment.request
    engine.make_room(connection)
    seq = ledger.next_seq(connection)
    if again := ledger.find(connection, increment):
        return again
    mark = ledger.state(connection, request.stream).watermark
    if request.mode.advances:
        leases.hold(connection, request.stream, increment.fence)
        mark = ledger.advance(connection, increment)
    projected = mapping.adopt(connection, request.stream, todo.stream)
    refs = {records.ref_name(key): key for one in projected for key in one.keys}
    plan = evolve.ensure(connection, replace(plan, refs=refs))
    layouts.remember(connection, plan.stream, Layout.of(plan, todo.stream))
    merged = merge.merge(connection, plan, seq)
    if merged.touched:
        for one in projected:
            projection.project(connection, plan, one, seq)
    if request.mode is Mode.REPLAY:
        replay.settle(connection, plan, _held(increment), seq)
    else:
        quarantine.hold(connection, _held(increment), request.run_id, seq, ledger.now())
    mended = quarantine.mend(connection, plan)
    report = Report(
        request.stream, request.run_id, request.mode, pulled=increment.rows,
        inserted=merged.inserted, updated=merged.updated, deleted=merged.deleted,
        unchanged=merged.unchanged, stale=merged.stale, deduplicated=merged.deduplicated,
        quarantined=increment.held, watermark=mark, seq=seq, details={
            "mended": mended, "mapping": mapping.verdict(connection, projected, todo.stream),
        },
    )  # fmt: skip
    if report.accounted != report.pulled:
        raise MismatchError(
            f"{request.stream}: {report.pulled} rows were pulled but {report.accounted} accounted "
            f"for ({report}). Nothing was loaded. This is a defect of Tidegate; please report it."
        )
    ledger.record(connection, increment, report)
    return report


def _passed(connection: Connection, todo: Load, plan: Records) -> Iterator[pa.Table]:
    """The pages' good rows, with the columns that the stage takes."""
    layout = Layout.of(plan, todo.stream)
    for page in stage.pages(todo.increment):
        table = page.filter(pc.is_null(page.column("_held")))
        table = staging.kept(connection, table)
        gone = tombstones.among(table, todo.stream.deleted, todo.columns)
        table = table.append_column("_deleted", gone)
        table = table.append_column("_hash", layout.hashes(table))
        table = table.append_column("_first", table.column("_token"))
        yield table.append_column("_valid", layout.moments(table))


def _held(increment: Increment) -> Iterator[quarantine.Held]:
    """The pages' held rows, each with the row as it was pulled."""
    if not increment.held:
        return
    pulled = stage.load_manifest(increment.origin)
    for number, page in enumerate(
        stage.pages(increment, ["_key", "_token", "_source_hash", "_held"])
    ):
        rows = [
            row for row, held in enumerate(page.column("_held").to_pylist()) if held is not None
        ]
        if not rows:
            continue
        source = stage.read(pulled, pulled.pages[number]).take(rows)
        data = [name for name in source.column_names if name not in BOOKKEEPING]
        cells = source.select(data).to_pylist()
        for bookkeeping, original in zip(page.take(rows).to_pylist(), cells, strict=True):
            yield quarantine.Held(
                increment.request.stream,
                quarantine.key_of(bookkeeping["_key"], bookkeeping["_source_hash"]),
                bookkeeping["_token"],
                bookkeeping["_source_hash"],
                json.loads(bookkeeping["_held"]),
                {name: originals.to_json(value) for name, value in original.items()},
            )
