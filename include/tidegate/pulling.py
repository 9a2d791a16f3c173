"""The protocol of a pull: in which order a run looks, promises and reads.

Take the stream's lease, look at the watermark, let the source say how far it is safe (*observe*),
take a read number, read from the OLD watermark on, and let the new one be stored in one transaction
with the rows: a bound computed later or apart loses some.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tidegate import drift, faults, preflight, progress, stage
from tidegate.coming import Onward
from tidegate.errors import ChangedError, LargeLoadError, TidegateError, UnavailableError
from tidegate.job import Job
from tidegate.model import PAGE_BITS, Increment, Mode, Request, StagedPage, Watermark

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.drift import Verdict
    from tidegate.sources import Observation, Rows
    from tidegate.store.store import Store

RESTARTS = 3
"""How often a read begins again when the table's definition changes meanwhile."""


def pull(job: Job, request: Request, onward: Onward | None) -> Increment:
    """Stage what is new; with nothing new, move the watermark.

    Raises BusyError when another run holds the stream, FencedError when one took it over,
    ChangedError when the table changes again and again while it is read, LargeLoadError when the
    first load has more rows than *request* allows.
    """
    preflight.require_window(job, request.mode)
    with job.store() as store, leased(store, request) as fence:
        faults.point("pull.leased")
        return _steady(job, request, store, fence, onward)


def _steady(
    job: Job, request: Request, store: Store, fence: int, onward: Onward | None
) -> Increment:
    """Pull; a table that changed meanwhile is read once more from the beginning."""
    for _ in range(RESTARTS):
        with suppress(ChangedError), _rows(job, store, request) as source:
            return _pull(job, Reading(request, store, source, fence), onward)
    with _rows(job, store, request) as source:
        return _pull(job, Reading(request, store, source, fence), onward)


@dataclass(frozen=True, slots=True)
class Reading:
    """A read: of what, on whose behalf."""

    request: Request
    store: Store
    source: Rows
    fence: int


def _pull(job: Job, reading: Reading, onward: Onward | None) -> Increment:
    request, store, source = reading.request, reading.store, reading.source
    began = time.time()  # the lease was taken just now
    state = store.state(request.stream)
    if state.watermark is None and request.most is not None:
        _require_few(source, request.stream, request.most)
    first = state.generation == 0 and request.mode is not Mode.REPLAY
    warnings = preflight.admit(job) if first and not request.chunk else ()
    verdict = drift.judge(job, store, source, request.mode, first=first)
    source.adopt(verdict.read)
    seen = source.observe(store, state.memory)
    faults.point("pull.observed")
    read = drift.begin(store, request, verdict, reading.fence)
    low = _start(request, state.watermark, seen)
    came = source.came(low) if low else ()
    low = None if came or verdict.reread else low
    where = stage.folder(request, "pull")
    begun = Increment(
        request=request,
        step="pull",
        where=where,
        origin=where,
        columns=tuple(column.to_json() for column in verdict.columns),
        source_columns=tuple(column.to_json() for column in verdict.agreed),
        pages=(),
        read=read,
        generation=state.generation,
        low=low,
        high=seen.high if request.mode.advances else None,
        observed_at=seen.observed_at,
        notes=(*warnings, *verdict.notes, *came),
        fence=reading.fence,
        renewed=began,
        bound=seen.bound,
        anew=seen.anew and low is None,
    )
    with stage.Writer(where, begun, onward) as writer:
        gone = _stage(reading, writer, begun, verdict, seen.absent(read))
        memory = {**(seen.memory or {}), **source.memory()}
        increment = writer.close(replace(begun, memory=memory, census=source.census(), gone=gone))
    faults.point("pull.staged")
    if increment.empty and request.mode.advances:
        return replace(increment, high=store.touch(increment))
    return increment


def _require_few(source: Rows, stream: str, most: int) -> None:
    from tidegate.sources import Cuttable

    rows = source.estimate() if isinstance(source, Cuttable) else None
    if rows is not None and rows > most:
        raise LargeLoadError(
            f"{stream}: about {rows:,} rows, more than {most:,}, for the first load."
        )


def _stage(
    reading: Reading, writer: stage.Writer, begun: Increment, verdict: Verdict, token: int | None
) -> StagedPage | None:
    """Read and stage the pages; returns the page of keys asked for and not found.

    Raises ChangedError when the table is not, at the end, what it was in the beginning.
    """
    request, source = reading.request, reading.source
    absent = set(request.keys if request.deletes else ())
    for page in _read(source, begun):
        absent -= set(page.column("_key").to_pylist() if absent else ())
        writer.write(verdict.complete(page))
        progress.count("pull", page.num_rows, request.window.rows if request.window else None)
        reading.store.renew(request.stream, reading.fence)
        faults.point("pull.page")
    faults.point("pull.read")
    if what := source.changed():
        raise ChangedError(f"{request.stream}: the table changed while it was read: {what}.")
    # They are newer than any row of this read; a log has a token of its own for them.
    token = token or begun.read << PAGE_BITS | len(writer.pages)
    return writer.write_gone(sorted(absent), token) if absent else None


def _read(source: Rows, begun: Increment) -> Iterator[pa.Table]:
    """The pages; a table that changes under the read fails in words of its own."""
    request = begun.request
    try:
        if request.mode is Mode.REPAIR:
            yield from source.fetch(begun.read, request.keys)
        else:
            yield from source.pull(begun.read, begun.low, request.window)
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


def _rows(job: Job, store: Store, request: Request) -> Rows:
    """Where this run's rows come from: the stream's source, or the quarantine."""
    from tidegate.replay import Quarantine
    from tidegate.sources import open_source

    def source() -> Rows:
        return open_source(job.endpoint(), job.stream, job.full_name)

    if request.mode is Mode.REPLAY:
        return Quarantine(store, request, job.stream.page_rows, source)
    return source()
