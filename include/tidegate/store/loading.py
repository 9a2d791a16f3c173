"""One increment into the store: a transaction for each page, or ONE for the first load.

The rows of a *part* are copied into a temporary table first, or into the table they are the first
of: that takes no lock anybody else could want. Then one transaction: fence, commit number, merge,
projections, quarantine, conservation check, ledger line; and with the last part the watermark, by
compare-and-set. It all becomes true, or none of it does.

A part is a page, so nobody waits longer than a page takes for the lock that orders the commits;
while PostgreSQL commits one, the next is copied. What is tried again goes on after the last part
that the ledger has. Until the first watermark is stored, a load has one part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection, Engine

from tidegate import faults, progress, stage, tombstones
from tidegate.ahead import Turn, ahead, in_turn
from tidegate.coming import whole
from tidegate.connections import Endpoint
from tidegate.errors import MismatchError, UnavailableError
from tidegate.model import Increment, Json, Mode, Report, Watermark
from tidegate.pipeline.models import Stream
from tidegate.store import agreements, engine, leases, ledger, quarantine, replay
from tidegate.store.knowledge import mapping, projection
from tidegate.store.ledger import Part
from tidegate.store.record import evolve, layouts, merge, records, staging, straight
from tidegate.store.record.layouts import Layout
from tidegate.store.record.records import Records
from tidegate.store.tables import COUNTS
from tidegate.types import Column

RECONNECTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt to ask a store that was lost at a commit what became of it."""


@dataclass(frozen=True)
class Load:
    """What is loaded: the validated increment, and the stream that says what its rows mean.

    With *judged*, *increment* is the cleaned one, and that one tells which rows may be loaded.
    *form* is what the stream's rows are hashed by.
    """

    increment: Increment
    stream: Stream
    judged: Callable[[], Increment] | None = None
    form: str = layouts.WORDS

    @property
    def columns(self) -> list[Column]:
        """Columns after cleaning."""
        return [Column.from_json(column) for column in self.increment.columns]

    @property
    def parts(self) -> list[Part]:
        """What is committed at once. The keys that are gone come with the last part."""
        if self.increment.generation == 0 or len(self.increment.pages) < 2:
            return [Part(1, 1, slice(None))]
        pages = len(self.increment.pages)
        return [Part(page + 1, pages, slice(page, page + 1)) for page in range(pages)]

    def gone(self, part: Part) -> int:
        """How many keys of *part* the source no longer has."""
        return self.increment.gone.rows if part.last and self.increment.gone else 0

    def rows(self, part: Part) -> int:
        """How many rows *part* has to account for."""
        return sum(page.rows for page in self.increment.pages[part.pages]) + self.gone(part)


@dataclass(frozen=True)
class Loader:
    """Loads into the database of *engine*, which *endpoint* leads to."""

    engine: Engine
    endpoint: Endpoint
    leases: leases.Leases

    def load(self, todo: Load) -> Report:
        """Load it; a part that was loaded before is reported again and changes nothing.

        Raises FencedError when another run took the stream over, OvertakenError when one moved the
        watermark, MismatchError when the pulled rows cannot all be accounted for, UnavailableError
        when the store is lost. The parts loaded until then stay; the watermark is where it was.
        """
        increment = todo.increment
        marks = "drop_duplicates" in [name for name, _ in increment.cleaned]
        plan = records.plan(increment.request.stream, todo.columns, todo.stream, marks)
        with engine.translated(self.endpoint), engine.snapshot(self.engine) as connection:
            done = ledger.loaded(connection, increment)
            evolve.require_names(connection, plan)
            todo = replace(todo, form=layouts.form(connection, increment.request.stream))
        left = [part for part in todo.parts if part.number not in done]
        overlap = self.engine.dialect.name != "sqlite"  # where all writers wait for each other
        with closing(in_turn(partial(self._part, todo, plan), left, overlap=overlap)) as coming:
            for part in todo.parts:
                if part.number not in done:
                    done[part.number] = next(coming)
                progress.count("load", todo.rows(part), whole(increment).rows)
        reports = [report for _, report in sorted(done.items())]
        if increment.request.mode.advances and all(report.repeated for report in reports):
            # its lease ended with the last part
            self.leases.release(increment.request.stream, increment.fence)
        return replace(_together(reports), details=self._details(reports))

    def _part(self, todo: Load, plan: Records, part: Part, turn: Turn) -> Report:
        """Load *part*: copy it, and commit it in its *turn*.

        When the store is lost meanwhile, its ledger says what became of it.
        """
        try:
            with engine.translated(self.endpoint):
                return self._transact(todo, plan, part, turn)
        except UnavailableError as error:
            found = self._outcome(todo, part) if engine.lost(error) else None
            if found is None:
                raise
            return found

    def _transact(self, todo: Load, plan: Records, part: Part, turn: Turn) -> Report:
        with self.engine.connect() as connection:
            with straight.opened(connection, plan, look=part.number == 1) as into:
                self._copy(connection, todo, into, part)
                turn()
                todo = self._settled(connection, todo, into, part)
                _require_rows(todo)
                faults.point("load.copied")
                with connection.execution_options(reads=False).begin() as transaction:
                    report = _commit(connection, todo, into, part)
                    if report.repeated:  # somebody else loaded it meanwhile: this is no commit
                        transaction.rollback()
            faults.point("load.after_commit")
            return report

    def _copy(self, connection: Connection, todo: Load, plan: Records, part: Part) -> None:
        """Into the stage, page by page: no transaction is open while one is waited for."""
        with connection.execution_options(reads=True).begin():
            staging.create(connection, plan)
        pages = self._passed(connection, todo, plan, part)
        with ThreadPoolExecutor(1) as thread, ahead(pages, thread) as coming:
            for page in coming:
                with connection.begin():
                    staging.fill(connection, plan, page)

    def _settled(self, connection: Connection, todo: Load, plan: Records, part: Part) -> Load:
        """Validated, whatever was copied before that: the rows held since leave the stage again."""
        if todo.judged is None:
            return todo
        final = replace(todo, increment=todo.judged(), judged=None)  # may take its time
        if held := [*_held_since(todo, final)]:  # one for each page that is another one now
            with connection.begin():
                left = staging.drop(connection, plan, held)
            if left != final.rows(part) - final.increment.held:
                self._copy(connection, final, plan, part)
        return final

    def _outcome(self, todo: Load, part: Part) -> Report | None:
        """The report of *part* if it was committed after all; None: it was not, or who knows.

        The head's lock is waited for: what its transaction did is decided then.
        """
        request = todo.increment.request
        for seconds in RECONNECTS:
            time.sleep(seconds)
            with (
                suppress(UnavailableError),
                engine.translated(self.endpoint),
                self.engine.begin() as connection,
            ):
                ledger.wait(connection)
                found = ledger.loaded(connection, todo.increment).get(part.number)
                if found is None and request.mode.advances:
                    leases.require(connection, request.stream, todo.increment.fence)
                return found
        return None

    def _passed(
        self, connection: Connection, todo: Load, plan: Records, part: Part
    ) -> Iterator[pa.Table]:
        """The good rows of *part*, with the columns that the stage takes."""
        increment, layout = todo.increment, Layout.of(plan, todo.stream, todo.form)
        for page in increment.pages if part.of == 1 else increment.pages[part.pages]:
            self.leases.renew(increment.request.stream, increment.fence, increment.renewed)
            table = stage.read(increment, page)
            if table.column("_held").null_count < table.num_rows:
                table = table.filter(pc.is_null(table.column("_held")))
            table = staging.kept(connection, table)
            yield layouts.dressed(
                layout, table, tombstones.among(table, todo.stream.deleted, todo.columns)
            )
        if part.last and (keys := stage.gone(whole(increment))) is not None:
            yield layouts.dressed(
                layout, layouts.bare(plan, keys), pa.array([True] * keys.num_rows)
            )

    def _details(self, reports: list[Report]) -> dict[str, Json]:
        """What there is to say of all parts together."""
        details = dict(reports[-1].details)
        for name in ("mended", "gone"):
            if any(name in report.details for report in reports):
                details[name] = sum(report.details.get(name, 0) for report in reports)
        if reports[-1].mode is Mode.REPLAY:
            with engine.translated(self.endpoint), engine.snapshot(self.engine) as connection:
                commits = [report.seq for report in reports if report.seq]
                details["fates"] = replay.fates(connection, reports[-1].stream, commits)
        return details


def _held_since(todo: Load, final: Load) -> Iterator[pa.Table]:
    """The rows that are held in *final* and were not in *todo*."""
    cleaned, judged = whole(todo.increment), final.increment
    for before, after in zip(cleaned.pages, judged.pages, strict=True):
        if before.digest != after.digest:
            passed = pc.is_null(stage.read(cleaned, before, ["_held"]).column("_held"))
            page = stage.read(judged, after, ["_key", "_token", "_source_hash", "_held"])
            yield page.filter(pc.and_(passed, pc.is_valid(page.column("_held"))))


def _require_rows(todo: Load) -> None:
    increment = todo.increment
    staged = sum(page.rows for page in increment.pages)
    if staged != increment.rows:
        raise _lost_count(increment, f"{increment.rows} rows were pulled but {staged} are staged")


def _lost_count(increment: Increment, problem: str) -> MismatchError:
    return MismatchError(
        f"{increment.request.stream}: {problem}. They were not loaded. "
        "This is a defect of Tidegate; please report it."
    )


def _together(reports: list[Report]) -> Report:
    """The sum; where the last part ended."""
    counts = {name: sum(getattr(report, name) for report in reports) for name in COUNTS}
    repeated = all(report.repeated for report in reports)
    return replace(reports[-1], **counts, repeated=repeated)


def _commit(connection: Connection, todo: Load, plan: Records, part: Part) -> Report:
    increment, request = todo.increment, todo.increment.request
    engine.make_room(connection)
    seq = ledger.next_seq(connection)
    faults.point("load.begun")
    if again := ledger.loaded(connection, increment).get(part.number):
        return again
    mark = _advance(connection, increment, part)
    projected = mapping.adopt(connection, request.stream, todo.stream)
    refs = {records.ref_name(key): key for one in projected for key in one.keys}
    plan = evolve.ensure(connection, replace(plan, refs=refs), seq)
    layouts.remember(connection, plan.stream, Layout.of(plan, todo.stream, todo.form))
    merged = merge.merge(connection, plan, seq)
    faults.point("load.merged")
    if merged.touched:
        for one in projected:
            projection.project(connection, plan, one, seq)
    held = quarantine.rows(increment, part.pages)
    if request.mode is Mode.REPLAY:
        quarantined = replay.settle(connection, plan, held, seq)
    else:
        quarantined = quarantine.hold(connection, held, request.run_id, seq, ledger.now())
    mended = quarantine.mend(connection, plan)
    report = Report(
        request.stream, request.run_id, request.mode, pulled=todo.rows(part),
        inserted=merged.inserted, updated=merged.updated, deleted=merged.deleted,
        unchanged=merged.unchanged, stale=merged.stale, deduplicated=merged.deduplicated,
        quarantined=quarantined, watermark=mark, seq=seq, details={
            "mended": mended, "gone": todo.gone(part),
            "mapping": mapping.verdict(connection, projected, todo.stream),
        },
    )  # fmt: skip
    if report.accounted != report.pulled:
        raise _lost_count(
            increment, f"{report.pulled} rows were pulled but {report.accounted} accounted for"
        )
    ledger.record(connection, increment, report, part)
    faults.point("load.before_commit")
    return report


def _advance(connection: Connection, increment: Increment, part: Part) -> Watermark | None:
    """Keep everybody else out, and with the last part move the watermark; returns where it is."""
    request = increment.request
    if request.mode.advances:
        leases.hold(connection, request.stream, increment.fence)
        if part.last:
            agreements.settle(connection, increment)
            return ledger.advance(connection, increment)
        ledger.require(connection, increment)
    return ledger.state(connection, request.stream).watermark
