"""A large window, chunk by chunk: each is a run of its own, in any order, as often as you like.

A chunk is a narrower window: it moves no watermark, and rows that were read before change nothing.
So several may run at once, one that was killed is repeated alone, and what a run has loaded the
ledger knows: the rest of the window is cut anew when it goes on.

A stream's first load is such a window, too. :func:`begin` takes the lease and observes the bound H
*first*; then every row below H is read by windows of the cursor; :func:`finish` moves the watermark
to H, when the ledger has all of them under this very fence. What is changed after H was observed is
stamped at H or later, and comes with the next increment, as do the rows that no cursor reaches: the
argument is that of every increment, and its read is only cut into several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tidegate import drift, path, preflight, pulling, stage
from tidegate.errors import ConfigError, DataError, UnavailableError
from tidegate.job import Job
from tidegate.model import Increment, Mode, Report, Request, Watermark, Window

if TYPE_CHECKING:
    from tidegate.store.ledger import StreamState
    from tidegate.store.store import Store


def chunks(job: Job, windows: Iterable[Window]) -> list[Window]:
    """*windows* as chunks of ``backfill: chunk_rows`` or so; whole where they cannot be cut.

    Looks at the source before a first run. Raises ConfigError when the stream has no windows.
    """
    from tidegate.sources import Cuttable, open_source

    preflight.require_window(job, Mode.WINDOW)
    with job.store() as store:
        if store.state(job.full_name).generation == 0:
            preflight.admit(job)
    with open_source(job.endpoint(), job.stream, job.full_name) as source:
        if not isinstance(source, Cuttable):
            return [*windows]
        rows = job.stream.backfill.chunk_rows
        return [chunk for window in windows for chunk in source.cut(window, rows)]


def left(job: Job, window: Window, run_id: str) -> list[Window]:
    """The chunks of *window* that the run *run_id* has not loaded yet."""
    with job.store() as store:
        done = store.windows(job.full_name, run_id)
    return chunks(job, _without(window, done))


def begin(job: Job, request: Request) -> tuple[Increment, Window]:
    """Everything: the bound, staged without any rows; and the window that is to be read.

    A stream that has a watermark is read once more below it, beside its syncs: no lease is taken.
    Raises BusyError when another run holds the stream, ConfigError when windows cannot say "all".
    """
    full = replace(request, mode=Mode.FULL)
    with job.store() as store:
        state = store.state(request.stream)
        if state.watermark is not None:
            head = _head(full, state, state.watermark)
            window = _whole(job, head)
        else:
            with pulling.leased(store, full) as fence:
                head = _observed(job, store, state, replace(full, fence=fence))
                window = _whole(job, head)
    head = replace(head, request=replace(head.request, window=window))
    return stage.Writer(stage.folder(full, "begin")).close(head), window


def _observed(job: Job, store: Store, state: StreamState, request: Request) -> Increment:
    """What a full run finds before it reads its first row."""
    from tidegate.sources import open_source

    first = state.generation == 0
    warnings = preflight.admit(job) if first else ()
    with open_source(job.endpoint(), job.stream, job.full_name) as source:
        verdict = drift.judge(job, store, source, request.mode, first=first)
        source.adopt(verdict.read)
        seen = source.observe(store, state.memory)
        if seen.high is None:
            raise UnavailableError(
                f"{job.full_name}: how far the source is complete is not known yet ({seen.bound}). "
                "Begin again when the transactions that are open there have ended."
            )
        return replace(
            _head(request, state, seen.high),
            read=drift.begin(store, request, verdict, request.fence),
            source_columns=tuple(column.to_json() for column in verdict.agreed),
            observed_at=seen.observed_at,
            bound=seen.bound,
            memory={**(seen.memory or {}), **source.memory()},
            notes=(*warnings, *verdict.notes),
        )


def _head(request: Request, state: StreamState, high: Watermark) -> Increment:
    return Increment(
        request, step="begin", where="", origin="", columns=(), pages=(), read=0, low=None,
        high=high, generation=state.generation, observed_at="", fence=request.fence,
    )  # fmt: skip


def _whole(job: Job, head: Increment) -> Window:
    """The window of all rows below the bound of *head*."""
    from tidegate.sources import Cuttable, open_source

    with open_source(job.endpoint(), job.stream, job.full_name) as source:
        window = None
        if isinstance(source, Cuttable) and job.stream.has_windows and head.high is not None:
            window = source.whole(head.high)
    if window is None:
        raise ConfigError(
            f"{job.full_name}: cannot be read as a whole in chunks: that takes a table whose "
            "cursor is a date or time, and windows by that cursor. Run it with --full, or trigger "
            f"{job.full_name} with mode 'full'."
        )
    return window


def finish(job: Job, head: Increment) -> Watermark | None:
    """Move the watermark to the bound of *head*, all below it being loaded; returns where it is.

    Raises FencedError when another run took the stream over, DataError when a chunk is missing.
    """
    request = head.request
    if not head.fence or request.window is None:
        return head.high
    with job.store() as store:
        done = store.windows(request.stream, request.run_id, head.fence)
        if gaps := [*_without(request.window, done)]:
            raise DataError(
                f"{request.stream}: {len(gaps)} parts of the table are not loaded, the first from "
                f"{gaps[0].since} until {gaps[0].until}. Clear the chunks that failed."
            )
        mark = store.touch(head)
        store.release(request.stream, head.fence)
    return mark


def part(request: Request, chunk: Window) -> Request:
    """What reads *chunk* for the run of *request*."""
    return replace(request, mode=Mode.WINDOW, window=chunk)


def run(job: Job, request: Request, todo: Iterable[Window]) -> Report:
    """Read the chunks *todo* one after another; the sum of their reports."""
    reports = [path.run(job, part(request, chunk)) for chunk in todo]
    if reports:
        return total(reports)
    with job.store() as store:
        mark = store.state(request.stream).watermark
    return Report(request.stream, request.run_id, request.mode, watermark=mark)


def total(reports: Iterable[Report]) -> Report:
    """What several runs did together; where the last one ended."""
    from tidegate.store.tables import COUNTS

    all = [*reports]
    counts = {name: sum(getattr(report, name) for report in all) for name in COUNTS}
    details = {**all[-1].details}
    for name in ("mended", "gone"):
        details[name] = sum(report.details.get(name, 0) for report in all)
    return replace(all[-1], **counts, details=details)


def _without(window: Window, done: Iterable[Window]) -> Iterator[Window]:
    """What of *window* lies in none of *done*."""
    since = window.since
    for one in sorted(done, key=lambda one: one.since):
        if since < min(one.since, window.until):
            yield Window(since, min(one.since, window.until))
        since = max(since, one.until)
    if since < window.until:
        yield Window(since, window.until)
