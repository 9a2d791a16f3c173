"""THE PATH: source → increment → clean → validate → load. Read this first.

Four steps, each a function from what the step before staged to what it stages itself, so that each
can be a task of its own, visible and safe to retry. :func:`run` walks them all in one process.

The order inside :func:`pull` is the protocol: look at the watermark, let the source say how far it
is safe (*observe*), take a read number from the store, read from the OLD watermark on, and store
the new one in the same transaction as the rows. A bound that is computed after reading, or stored
apart from the rows, loses some.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tidegate import settings, stage
from tidegate.connections import Endpoint, Resolve
from tidegate.errors import ConfigError, DataError, UndefinedConnectionError
from tidegate.fields import share
from tidegate.model import Increment, Mode, Reason, Report, Request
from tidegate.pipeline.models import Source, Stream

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.sources import Rows
    from tidegate.store.store import Store
    from tidegate.types import Column
    from tidegate.validate import Outcome, Suite

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A stream and what it takes to run it."""

    source: Source
    name: str
    stream: Stream
    resolve: Resolve

    @property
    def full_name(self) -> str:
        """``source.stream``, the stream's name everywhere."""
        return f"{self.source.name}.{self.name}"

    def endpoint(self) -> Endpoint:
        """Where the rows come from."""
        return self.resolve(self.source.connection)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Where they go: connection ``tidegate_store``, else a SQLite file in the home folder."""
        from tidegate.store import open_store

        with open_store(store_endpoint(self.resolve)) as store:
            yield store


def store_endpoint(resolve: Resolve) -> Endpoint:
    """The store's connection, or the embedded default when none is defined."""
    try:
        return resolve(settings.STORE_CONNECTION)
    except UndefinedConnectionError:
        file = str(settings.home() / "store.db")
    return Endpoint(settings.STORE_CONNECTION, "sqlite", database=file)


def pull(job: Job, request: Request) -> Increment:
    """Stage what is new. With nothing new, the watermark moves at once; skip the rest."""
    with job.store() as store, _rows(job, store, request) as source:
        state = store.state(request.stream)
        bound = source.observe()
        read = store.issue_read(request.stream)
        low = state.watermark if request.mode is Mode.INCREMENT else None
        writer = stage.Writer(stage.folder(request, "pull"))
        for page in source.pull(read, low, request.window):
            writer.write(page)
        columns = tuple(column.to_json() for column in source.columns())
        increment = writer.close(
            Increment(
                request=request,
                step="pull",
                where=writer.where,
                origin=writer.where,
                columns=columns,
                source_columns=columns,
                pages=(),
                read=read,
                generation=state.generation,
                low=low,
                high=bound.high if request.mode.advances else None,
                observed_at=bound.observed_at,
            )
        )
        if not increment.rows and request.mode.advances:
            increment = replace(increment, high=store.touch(increment))
    return increment


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
    with job.store() as store:
        for page in stage.pages(increment):
            done = cleaning.apply(page, columns, steps, store.lookup)
            writer.write(done.table)
            touched = [
                (name, count + more)
                for (name, count), (_, more) in zip(touched, done.touched, strict=True)
            ]
    return writer.close(
        replace(
            increment,
            step="clean",
            columns=tuple(column.to_json() for column in after),
            cleaned=tuple(touched),
        )
    )


def validate(job: Job, increment: Increment) -> Increment:
    """Check the expectations; rows that fail are held, and too many of them stop the run.

    Raises DataError when a table-level expectation fails, or more rows are held than
    ``stop_above`` allows. Nothing has been loaded then.
    """
    from tidegate.types import Column
    from tidegate.validate import Suite

    stream = increment.request.stream
    columns = [Column.from_json(column) for column in increment.columns]
    suite = Suite(stream, job.stream.expect, columns)
    outcome = suite.check(lambda names: _judged(job, increment, columns, names))
    _keep(suite, outcome)
    if outcome.failures:
        raise DataError(f"{stream}: nothing was loaded. " + "; ".join(outcome.failures))
    writer = stage.Writer(stage.folder(increment.request, "validate"))
    reasons: Counter[str] = Counter()
    held: dict[int, dict[int, list[Reason]]] = {}
    for (number, row), why in outcome.held.items():
        held.setdefault(number, {})[row] = why
    for number, page in enumerate(stage.pages(increment)):
        table = _hold(page, held[number]) if number in held else page
        writer.write(table)
        reasons.update(_rules(table))
    result = writer.close(replace(increment, step="validate", checks=tuple(outcome.checks)))
    _stop_above(job, result, reasons)
    return result


def load(job: Job, increment: Increment) -> Report:
    """Make it true: one transaction of the store."""
    with job.store() as store:
        return store.load(increment, job.stream)


def run(job: Job, request: Request) -> Report:
    """The whole path in one process."""
    increment = pull(job, request)
    if not increment.rows and request.mode is not Mode.WINDOW:
        return Report(request.stream, request.run_id, request.mode, watermark=increment.high)
    return load(job, validate(job, clean(job, increment)))


def _judged(
    job: Job, increment: Increment, columns: list[Column], names: list[str] | None
) -> Iterator[pa.Table]:
    """The staged pages as validation sees them: tombstones stand aside as held rows do."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from tidegate import tombstones

    rule = job.stream.deleted
    if rule is None:
        yield from stage.pages(increment, names)
        return
    tombstones.require(increment.request.stream, rule, columns)
    wanted = names and list(dict.fromkeys([*names, rule.column]))
    for page in stage.pages(increment, wanted):
        gone = tombstones.among(page, rule, columns)
        aside = pc.if_else(gone, pa.scalar("tombstone"), page.column("_held"))
        place = page.schema.get_field_index("_held")
        yield page.set_column(place, "_held", aside)


def _keep(suite: Suite, outcome: Outcome) -> None:
    """Keep the suite and its counts where Data Docs are built from; a run does not fail for them.

    The suite is written when its text changed only; both take about a millisecond.
    """
    if not suite.rules:
        return
    from tidegate.validate.docs import save_outcome, save_suite

    try:
        save_suite(suite, settings.home())
        save_outcome(suite.stream_name, outcome, settings.home())
    except (OSError, ConfigError) as error:
        _log.warning("%s: nothing was kept for Data Docs: %s", suite.stream_name, error)


def _hold(page: pa.Table, found: dict[int, list[Reason]]) -> pa.Table:
    import pyarrow as pa

    from tidegate.clean.page import held_text

    texts = page.column("_held").to_pylist()
    for row, why in found.items():
        texts[row] = held_text(why)
    place = page.schema.get_field_index("_held")
    return page.set_column(place, "_held", pa.array(texts, pa.string()))


def _rules(page: pa.Table) -> Iterator[str]:
    import json

    for text in page.column("_held").drop_null().to_pylist():
        for reason in json.loads(text):
            yield f"{reason['column']}: {reason['rule']}" if reason["column"] else reason["rule"]


def _stop_above(job: Job, increment: Increment, reasons: Counter[str]) -> None:
    """Rows in quarantine that are tried again as they were are no news: they do not count."""
    limit = job.stream.stop_above
    if increment.request.mode is Mode.REPLAY:
        return
    if limit is None or increment.held <= share(limit, increment.rows):
        return
    with job.store() as store:
        known = store.held_before(increment.request.stream, _held_rows(increment))
    held, rows = increment.held - known, increment.rows - known
    if held <= share(limit, rows):
        return
    most = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    raise DataError(
        f"{increment.request.stream}: {held:,} of {rows:,} rows "
        f"({held / rows:.1%}) are held, more than stop_above: {limit}. "
        f"Nothing was loaded. Most of them: {most}. "
        "Mend the rows or the rule, then run the stream again."
    )


def _held_rows(increment: Increment) -> Iterator[tuple[str, int]]:
    """Quarantine key and source hash of each held row."""
    import pyarrow.compute as pc

    from tidegate.store.quarantine import key_of

    for page in stage.pages(increment, ["_key", "_source_hash", "_held"]):
        held = page.filter(pc.is_valid(page.column("_held")))
        keys, hashes = (held.column(name).to_pylist() for name in ("_key", "_source_hash"))
        yield from zip(map(key_of, keys, hashes), hashes, strict=True)
