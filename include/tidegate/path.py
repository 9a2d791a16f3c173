"""THE PATH: source → increment → clean → validate → load. Read this first.

Four steps, each a function from what the step before staged to what it stages itself, so that each
can be a task of its own, visible and safe to retry. :func:`run` walks them all in one process.

The order inside :func:`pull` is the protocol: take the stream's lease, look at the watermark, let
the source say how far it is safe (*observe*), take a read number, read from the OLD watermark on,
and store the new one in one transaction with the rows: a bound computed later or apart loses some.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tidegate import deletes, drift, faults, judging, preflight, progress, stage
from tidegate.errors import ChangedError, TidegateError, UnavailableError
from tidegate.job import Job
from tidegate.model import PAGE_BITS, Increment, Mode, Report, Request, StagedPage, Watermark

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.drift import Verdict
    from tidegate.sources import Observation, Rows
    from tidegate.store.store import Store

RESTARTS = 3
"""How often a read begins again when the table's definition changes meanwhile."""


def pull(job: Job, request: Request) -> Increment:
    """Stage what is new. With nothing new, the watermark moves at once; skip the rest.

    Raises BusyError when another run holds the stream, FencedError when one took it over,
    ChangedError when the table changes again and again while it is read.
    """
    preflight.require_window(job, request.mode)
    with job.store() as store, leased(store, request) as fence:
        faults.point("pull.leased")
        increment = _steady(job, request, store, fence)
    if increment.empty:
        _forget(job, increment)
    return increment


def _steady(job: Job, request: Request, store: Store, fence: int) -> Increment:
    """Pull; a table that changed meanwhile is read once more from the beginning."""
    for _ in range(RESTARTS):
        with suppress(ChangedError), _rows(job, store, request) as source:
            return _pull(job, request, store, source, fence)
    with _rows(job, store, request) as source:
        return _pull(job, request, store, source, fence)


def _pull(job: Job, request: Request, store: Store, source: Rows, fence: int) -> Increment:
    state = store.state(request.stream)
    first = state.generation == 0 and request.mode is not Mode.REPLAY
    warnings = preflight.admit(job) if first and not request.chunk else ()
    verdict = drift.judge(job, store, source, request.mode, first=first)
    source.adopt(verdict.read)
    seen = source.observe(store, state.memory)
    faults.point("pull.observed")
    read = drift.begin(store, request, verdict, fence)
    low = _start(request, state.watermark, seen)
    came = source.came(low) if low else ()
    low = None if came or verdict.reread else low
    writer = stage.Writer(stage.folder(request, "pull"))
    gone = _stage(
        source, writer, request, verdict, Reading(store, fence, read, low, seen.absent(read))
    )
    increment = writer.close(
        Increment(
            request=request,
            step="pull",
            where=writer.where,
            origin=writer.where,
            columns=tuple(column.to_json() for column in verdict.columns),
            source_columns=tuple(column.to_json() for column in verdict.agreed),
            pages=(),
            read=read,
            generation=state.generation,
            low=low,
            high=seen.high if request.mode.advances else None,
            observed_at=seen.observed_at,
            notes=(*warnings, *verdict.notes, *came),
            fence=fence,
            bound=seen.bound,
            memory={**(seen.memory or {}), **source.memory()},
            census=source.census(),
            gone=gone,
            anew=seen.anew and low is None,
        )
    )
    faults.point("pull.staged")
    if increment.empty and request.mode.advances:
        return replace(increment, high=store.touch(increment))
    return increment


@dataclass(frozen=True, slots=True)
class Reading:
    """A read that begins: its fence, number, start; and a log's token of what is not there."""

    store: Store
    fence: int
    number: int
    low: Watermark | None
    token: int | None


def _stage(
    source: Rows, writer: stage.Writer, request: Request, verdict: Verdict, reading: Reading
) -> StagedPage | None:
    """Read and stage the pages; returns the page of keys asked for and not found.

    Raises ChangedError when the table is not, at the end, what it was in the beginning.
    """
    absent = set(request.keys if request.deletes else ())
    for page in _read(source, request, reading.number, reading.low):
        absent -= set(page.column("_key").to_pylist() if absent else ())
        writer.write(verdict.complete(page))
        progress.count("pull", page.num_rows, request.window.rows if request.window else None)
        reading.store.renew(request.stream, reading.fence)
        faults.point("pull.page")
    faults.point("pull.read")
    if what := source.changed():
        raise ChangedError(f"{request.stream}: the table changed while it was read: {what}.")
    return _gone(writer, absent, reading)


def _gone(writer: stage.Writer, absent: set[str], reading: Reading) -> StagedPage | None:
    """The page of keys that this read asked for and did not find; newer than any row of it."""
    token = reading.token or reading.number << PAGE_BITS | len(writer.pages)
    return writer.write_gone(sorted(absent), token) if absent else None


def _read(source: Rows, request: Request, read: int, low: Watermark | None) -> Iterator[pa.Table]:
    """The pages; a table that changes under the read fails in words of its own."""
    try:
        if request.mode is Mode.REPAIR:
            yield from source.fetch(read, request.keys)
        else:
            yield from source.pull(read, low, request.window)
    except UnavailableError:
        raise
    except TidegateError as error:
        if what := source.changed():
            raise ChangedError(
                f"{request.stream}: the table changed while it was read: {what}."
            ) from error
        raise


def _start(request: Request, watermark: Watermark | None, seen: Observation) -> Watermark | None:
    """Where to read from: the old watermark, or the floor that a clock that stepped back left."""
    if request.mode is not Mode.INCREMENT:
        return None
    if watermark is None or seen.floor is None:
        return watermark
    return watermark if seen.floor.later(watermark) is seen.floor else seen.floor


@contextmanager
def leased(store: Store, request: Request) -> Iterator[int]:
    """Hold the stream's lease, which the load gives back; yields its fence, or that of *request*.

    It is given back here when nobody will try this run again.
    """
    if not request.mode.advances:
        yield request.fence
        return
    fence = store.lease(request.stream, request.run_id)
    try:
        yield fence
    except UnavailableError:
        raise
    except TidegateError:
        store.release(request.stream, fence)
        raise


@contextmanager
def _holding(job: Job, increment: Increment) -> Iterator[None]:
    """A later step of the run that holds the lease; it gives it back when it fails for good."""
    try:
        yield
    except UnavailableError:
        raise
    except TidegateError:
        if increment.fence and increment.request.mode.advances:
            with job.store() as store:
                store.release(increment.request.stream, increment.fence)
        raise


def _rows(job: Job, store: Store, request: Request) -> Rows:
    """Where this run's rows come from: the stream's source, or the quarantine."""
    from tidegate.replay import Quarantine
    from tidegate.sources import open_source

    def source() -> Rows:
        return open_source(job.endpoint(), job.stream, job.full_name)

    if request.mode is Mode.REPLAY:
        return Quarantine(store, request, job.stream.page_rows, source)
    return source()


def clean(job: Job, increment: Increment) -> Increment:
    """Apply the stream's cleaning steps, page by page; cells that resist hold their rows."""
    from tidegate import clean as cleaning
    from tidegate.types import Column

    columns = [Column.from_json(column) for column in increment.columns]
    steps = job.stream.clean
    touched = [(step.name, 0) for step in steps]
    after = cleaning.outline(columns, steps)
    writer = stage.Writer(stage.folder(increment.request, "clean"))
    with _holding(job, increment), job.store() as store:
        for page in stage.pages(increment):
            store.renew(increment.request.stream, increment.fence)
            done = cleaning.apply(page, columns, steps, store.lookup)
            writer.write(done.table)
            touched = [
                (name, count + more)
                for (name, count), (_, more) in zip(touched, done.touched, strict=True)
            ]
    result = writer.close(
        replace(
            increment,
            step="clean",
            columns=tuple(column.to_json() for column in after),
            cleaned=tuple(touched),
        )
    )
    faults.point("clean.staged")
    return result


def validate(job: Job, increment: Increment) -> Increment:
    """Check the expectations; rows that fail are held, and too many of them stop the run.

    Raises DataError when a table-level expectation fails, or more rows are held than
    ``stop_above`` allows. Nothing has been loaded then.
    """
    with _holding(job, increment):
        with job.store() as store:
            request, fence = increment.request, increment.fence
            found = judging.judge(job, increment, lambda: store.renew(request.stream, fence))
        writer = stage.Writer(stage.folder(increment.request, "validate"))
        judging.hold(job, increment, found, writer)
        result = writer.close(replace(increment, step="validate", checks=tuple(found.checks)))
        judging.stop_above(job, result)
    faults.point("validate.staged")
    return result


def load(job: Job, increment: Increment) -> Report:
    """Make it true: a transaction of the store for each page, the watermark in the last."""
    with _holding(job, increment), job.store() as store:
        report = store.load(increment, job.stream)
    _forget(job, increment)
    return report


def _forget(job: Job, increment: Increment) -> None:
    """After a full read: rows that it did not see become tombstones, where that is wanted.

    The source is asked for each of them. Raises BrakeError when too many are gone.
    """
    from tidegate.sources import open_source

    request = increment.request
    if not deletes.wanted(job.stream, increment):
        return
    with (
        job.store() as store,
        open_source(job.endpoint(), job.stream, request.stream) as source,
    ):
        unseen = store.unseen(request.stream, increment.first or increment.read << PAGE_BITS)
        keys = deletes.gone(job, store, source, unseen)
    for some in deletes.batches(keys):
        run(job, replace(request, mode=Mode.REPAIR, keys=tuple(some), deletes=True))


def run(job: Job, request: Request) -> Report:
    """The whole path in one process; whatever ends it frees the lease: nobody tries it again."""
    try:
        increment = pull(job, request)
        if increment.empty and request.mode is not Mode.WINDOW:
            return Report(request.stream, request.run_id, request.mode, watermark=increment.high)
        return load(job, validate(job, clean(job, increment)))
    except BaseException:
        with suppress(TidegateError), job.store() as store:
            store.abandon(request.stream, request.run_id)
        raise
