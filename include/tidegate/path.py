"""THE PATH: source → increment → clean → validate → load. Read this first.

Four steps, each a function from what the step before staged to what it stages itself, so that each
can be a task of its own, visible and safe to retry. :func:`run` walks them all in one process: of
an increment of several pages, all steps work at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from tidegate import deletes, faults, judging, pulling, shelf, stage
from tidegate.ahead import share_memory
from tidegate.coming import EndedError, Onward, fail, is_coming, whole
from tidegate.errors import TidegateError, UnavailableError
from tidegate.job import Job
from tidegate.model import PAGE_BITS, Increment, Mode, Report, Request
from tidegate.roomy import roomy


@roomy
def pull(job: Job, request: Request, onward: Onward | None = None) -> Increment:
    """Stage what is new. With nothing new, the watermark moves at once; skip the rest.

    *onward* is given the increment with its second page; again, when the read begins anew. Raises
    BusyError when another run holds the stream, FencedError when one took it over, ChangedError
    when the table changes again and again while it is read.
    """
    increment = pulling.pull(job, request, onward)
    if increment.empty:
        _forget(job, increment)
    return increment


class _Lease:
    """The lease of a run in one of its later steps: the store is asked only when it is time."""

    def __init__(self, job: Job, increment: Increment) -> None:
        self._job = job
        self._increment = increment
        self.renewed = increment.renewed

    def renew(self) -> None:
        """The run is alive. Raises FencedError when another one took over."""
        from tidegate.store.leases import due

        if self._increment.fence and due(self.renewed):
            with self._job.store() as store:
                store.renew(self._increment.request.stream, self._increment.fence)
            self.renewed = time.time()


@contextmanager
def _holding(job: Job, increment: Increment) -> Iterator[_Lease]:
    """A later step of the run that holds the lease; it gives it back when it fails for good."""
    try:
        yield _Lease(job, increment)
    except UnavailableError:
        raise
    except TidegateError:
        if increment.fence and increment.request.mode.advances and not is_coming(increment):
            with job.store() as store:
                store.release(increment.request.stream, increment.fence)
        raise


@roomy
def clean(job: Job, increment: Increment, onward: Onward | None = None) -> Increment:
    """Apply the stream's cleaning steps, page by page; cells that resist hold their rows."""
    from tidegate import clean as cleaning
    from tidegate.types import Column

    columns = [Column.from_json(column) for column in increment.columns]
    steps = job.stream.clean
    touched = [(step.name, 0) for step in steps]
    after = cleaning.outline(columns, steps)
    begun = replace(
        increment,
        step="clean",
        columns=tuple(column.to_json() for column in after),
        cleaned=tuple(touched),
    )
    where = stage.folder(increment.request, "clean")
    with _holding(job, increment) as lease, stage.Writer(where, begun, onward) as writer:
        for page in stage.pages(increment):
            lease.renew()
            done = cleaning.apply(page, columns, steps, partial(_look_up, job))
            writer.write(done.table)
            touched = [
                (name, count + more)
                for (name, count), (_, more) in zip(touched, done.touched, strict=True)
            ]
        result = writer.close(
            replace(
                whole(increment), step="clean", columns=begun.columns, cleaned=tuple(touched),
                renewed=lease.renewed,
            )
        )  # fmt: skip
    faults.point("clean.staged")
    return result


def _look_up(job: Job, *wanted: Any) -> dict[Any, Any]:
    """As :meth:`tidegate.store.store.Store.lookup`."""
    with job.store() as store:
        return store.lookup(*wanted)


@roomy
def validate(job: Job, increment: Increment) -> Increment:
    """Check the expectations; rows that fail are held, and too many of them stop the run.

    Raises DataError when a table-level expectation fails, or more rows are held than
    ``stop_above`` allows. Nothing has been loaded then.
    """
    with _holding(job, increment) as lease:
        found = judging.judge(job, increment, lease.renew)
        increment = replace(whole(increment), renewed=lease.renewed)
        writer = stage.Writer(stage.folder(increment.request, "validate"))
        judging.hold(job, increment, found, writer)
        result = writer.close(replace(increment, step="validate", checks=tuple(found.checks)))
        judging.stop_above(job, result)
    faults.point("validate.staged")
    return result


@roomy
def load(job: Job, increment: Increment, judged: Callable[[], Increment] | None = None) -> Report:
    """Make it true: a transaction of the store for each page, the watermark in the last.

    With *judged*, which waits for the validated increment, *increment* is the cleaned one: the
    first load of a stream copies its pages before it is known whether any of them may be loaded.
    """
    with _holding(job, increment), job.store() as store:
        report = store.load(increment, job.stream, judged)
    _forget(job, judged() if judged else increment)
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
        with shelf.kept(stage.root(request)):
            return _walk(job, request)
    except BaseException:
        with suppress(TidegateError), job.store() as store:
            store.abandon(request.stream, request.run_id)
        raise


def _walk(job: Job, request: Request) -> Report:
    share_memory()
    with ThreadPoolExecutor() as threads:
        rest = _Rest(job, threads)
        try:
            increment = pull(job, request, rest.begin)
            if rest.follows(increment):
                return rest.report()
        except EndedError as ended:
            raise ended.error from None
        except BaseException as error:
            rest.stop(error)
            raise
    if increment.empty and request.mode is not Mode.WINDOW:
        return Report(request.stream, request.run_id, request.mode, watermark=increment.high)
    return load(job, validate(job, clean(job, increment)))


class _Rest:
    """What follows a pull, while it still reads. What fails in one step, ends all.

    The lease is not given back by steps in here: a read that began anew may go on with it.
    """

    def __init__(self, job: Job, threads: ThreadPoolExecutor) -> None:
        self._job = job
        self._threads = threads
        self._pulled: Increment | None = None

    def begin(self, pulled: Increment) -> None:
        """The read of *pulled* has begun; of one that began before, nothing comes any more."""
        self._pulled = pulled
        self._cleaned = cleaned = Future[Increment]()
        submit = self._threads.submit
        try:
            cleaning = submit(clean, self._job, pulled, cleaned.set_result)
            self._judging = submit(lambda: validate(self._job, cleaned.result()))
            self._copying = submit(self._copy, cleaned, self._judging)
        except BaseException as error:
            _stop(error, pulled, cleaned)
            raise
        for step in (cleaning, self._judging, self._copying):
            step.add_done_callback(lambda done: _stop(done.exception(), pulled, cleaned))

    def _copy(self, cleaned: Future[Increment], judging: Future[Increment]) -> Report | None:
        """A first load is copied before the verdict; other ones wait for it, page by page."""
        begun = cleaned.result()
        return None if begun.generation else load(self._job, begun, judging.result)

    def follows(self, increment: Increment) -> bool:
        """Whether all this is about *increment*, and not about a read that began before it."""
        return self._pulled is not None and self._pulled.where == increment.where

    def report(self) -> Report:
        """Of the load."""
        return self._copying.result() or load(self._job, self._judging.result())

    def stop(self, error: BaseException) -> None:
        """Let nothing go on."""
        if self._pulled is not None:
            _stop(error, self._pulled, self._cleaned)


def _stop(error: BaseException | None, pulled: Increment, cleaned: Future[Increment]) -> None:
    """When a step has failed, nobody reads on for it, or waits for it."""
    if error is None:
        return
    fail(pulled, error)
    with suppress(InvalidStateError):
        cleaned.set_exception(error)
    if cleaned.exception() is None:
        fail(cleaned.result(), error)
