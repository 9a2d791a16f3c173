"""A large window, chunk by chunk: each is a run of its own, in any order, as often as you like.

A chunk is a narrower window: it moves no watermark, and rows that were read before change nothing.
So several may run at once, one that was killed is repeated alone, and what a run has loaded the
ledger knows: the rest of the window is cut anew when it goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tidegate import path, preflight
from tidegate.job import Job
from tidegate.model import Mode, Report, Request, Window


def chunks(job: Job, windows: Iterable[Window]) -> list[Window]:
    """*windows* as chunks of ``backfill: chunk_rows`` or so; whole where they cannot be cut.

    Raises ConfigError when the stream has no windows.
    """
    from tidegate.sources import Cuttable, open_source

    preflight.require_window(job, Mode.WINDOW)
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


def run(job: Job, request: Request, todo: Iterable[Window]) -> Report:
    """Read the chunks *todo* one after another; the sum of their reports."""
    reports = [path.run(job, replace(request, window=chunk)) for chunk in todo]
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
