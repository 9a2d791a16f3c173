"""The store as the rest of the program sees it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, OvertakenError
from tidegate.model import Increment, Json, Mode, Replay, Report, Watermark
from tidegate.pipeline.models import Keep, Stream
from tidegate.store import digest as digests
from tidegate.store import engine as engines
from tidegate.store import ledger, loading, quarantine, replay, retention, tables, upgrade
from tidegate.store.checks import invariants, repair
from tidegate.store.checks.violations import Violation
from tidegate.store.digest import Digest
from tidegate.store.knowledge import derive, mapping
from tidegate.store.knowledge.derive import Step
from tidegate.store.ledger import StreamState
from tidegate.store.reading.library import Library
from tidegate.store.record.records import current_name
from tidegate.store.retention import Moved
from tidegate.types import Column


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream at a glance; *rows* counts live records.

    *observed_at* is the source's clock when the last committed pull looked: the store shows the
    source at least as of then.
    """

    stream: str
    rows: int
    deleted: int
    duplicates: int
    quarantined: int
    watermark: Watermark | None
    observed_at: str | None
    loaded_at: str | None
    seq: int | None


class Store(Library):
    """A knowledge store. Opens one connection per operation; safe to share between threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._engine = engines.create(endpoint)
        with engines.translated(endpoint):
            upgrade.ensure(self._engine, endpoint.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release what the store holds."""
        self._engine.dispose()

    def state(self, stream: str) -> StreamState:
        """Watermark and generation of *stream*."""
        with self._reading() as connection:
            return ledger.state(connection, stream)

    def lease(self, stream: str, owner: str) -> int:
        """Take the lease of *stream* for the run *owner*; returns its fence."""
        return 0

    def renew(self, stream: str, fence: int) -> None:
        """The run that has *fence* is alive. Raises FencedError when another took over."""

    def release(self, stream: str, fence: int) -> None:
        """Give the lease back, if *fence* is still the one that holds it."""

    def shared(self, server: str) -> tuple[int, Json]:
        """As :meth:`tidegate.sources.Shared.shared`."""
        return 0, None

    def share(self, server: str, generation: int, value: Json) -> bool:
        """As :meth:`tidegate.sources.Shared.share`."""
        return True

    def issue_read(self, stream: str) -> int:
        """The number of a read that begins now; see :func:`tidegate.store.ledger.issue_read`."""
        with self._writing() as connection:
            return ledger.issue_read(connection, stream)

    def load(self, increment: Increment, stream: Stream) -> Report:
        """Load a validated increment in one transaction; see :mod:`tidegate.store.loading`."""
        with engines.translated(self.endpoint):
            report = loading.load(self._engine, loading.Load(increment, stream))
        if report.mode is not Mode.REPLAY or report.seq is None:
            return report
        with self._reading() as connection:
            fates = replay.fates(connection, report.stream, report.seq)
        return dataclasses.replace(report, details={**report.details, "fates": fates})

    def derive(self, name: str, stream: Stream, rows: int = 20_000) -> Iterator[Step]:
        """Derive what *name* says by another mapping, commit by commit; see :mod:`.derive`."""
        with engines.translated(self.endpoint):
            yield from derive.steps(self._engine, name, stream, rows)

    def verdict(self, name: str, stream: Stream) -> str:
        """What the mapping in force is to the file's: ``current``, ``building``, ``outdated``."""
        with self._reading() as connection:
            return mapping.verdict(connection, mapping.projected(connection, name), stream)

    def touch(self, increment: Increment) -> Watermark | None:
        """Nothing was new: move the watermark alone, unless another run did; returns it."""
        with self._writing() as connection:
            try:
                return ledger.advance(connection, increment)
            except OvertakenError:
                return ledger.state(connection, increment.request.stream).watermark

    def digest(self, streams: Iterable[str] | None = None) -> Digest:
        """Equal for two stores exactly when they say the same; of *streams* only, when given."""
        with self._reading() as connection:
            return digests.digest(connection, streams)

    def trim(
        self, stream: str, keep: Keep, now: datetime | None = None, *, dry_run: bool = False
    ) -> Moved:
        """Move what *keep* does not keep into the archive; see :mod:`tidegate.store.retention`."""
        if dry_run:
            with self._reading() as connection:
                return retention.count(connection, stream, keep, now)
        with engines.translated(self.endpoint):
            return retention.move(self._engine, stream, keep, now)

    def verify(
        self, streams: Collection[str] | None = None, sample: int | None = None
    ) -> list[Violation]:
        """What is not as it must be; see :func:`tidegate.store.checks.invariants.check`."""
        with self._reading() as connection:
            return invariants.check(connection, streams, sample)

    def repair(self, violations: Iterable[Violation]) -> list[str]:
        """Repair what :meth:`verify` found; see :func:`tidegate.store.checks.repair.repair`."""
        with engines.translated(self.endpoint):
            return repair.repair(self._engine, violations)

    def held_before(self, stream: str, rows: Iterable[tuple[str, int]]) -> int:
        """How many of *rows* (key, source hash) are in quarantine already, just as they are."""
        with self._reading() as connection:
            return quarantine.held_before(connection, stream, rows)

    def source_columns(self, stream: str) -> list[Column]:
        """The columns that *stream* was last pulled with; none when no run has noted any."""
        with self._reading() as connection:
            return replay.columns(connection, stream)

    def replay(
        self, stream: str, wanted: Replay, columns: list[Column], size: int
    ) -> Iterator[pa.Table]:
        """Rows in quarantine as pages of a pull; see :mod:`tidegate.store.replay`."""
        with self._reading() as connection:
            yield from replay.pages(connection, stream, wanted, columns, size)

    def status(self) -> list[StreamStatus]:
        """Every stream that was ever pulled, by name."""
        with self._reading() as connection:
            names = connection.execute(
                sa.select(tables.stream_table).order_by(tables.stream_table.c.name)
            ).all()
            return [_status(connection, row) for row in names]

    def held(
        self,
        stream: str | None = None,
        limit: int = 100,
        state: str | None = "held",
        key: str | None = None,
    ) -> list[dict[str, Json]]:
        """Rows in quarantine, newest first, as plain dictionaries; of any *state* when None."""
        table = tables.quarantine_table
        query = sa.select(table)
        for column, value in ((table.c.stream, stream), (table.c.state, state), (table.c.key, key)):
            if value is not None:
                query = query.where(column == value)
        query = query.order_by(table.c.seq.desc(), table.c.key).limit(limit)
        with self._reading() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            row["reasons"] = json.loads(row["reasons"])
            row["row"] = json.loads(row["row"])
        return rows

    def runs(self, stream: str | None = None, limit: int = 100) -> list[dict[str, Json]]:
        """The ledger, newest first."""
        table = tables.run_table
        query = sa.select(table).order_by(table.c.seq.desc()).limit(limit)
        if stream:
            query = query.where(table.c.stream == stream)
        with self._reading() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            row["checks"] = json.loads(row["checks"])
            row["cleaned"] = json.loads(row["cleaned"])
        return rows

    def keys(self, stream: str) -> Iterator[tuple[str, int, str]]:
        """``(key, source hash, "record" | "held")`` of everything known of *stream*."""
        held = tables.quarantine_table
        with self._reading() as connection:
            current = current_name(stream)
            if sa.inspect(connection).has_table(current):
                table = sa.table(current, sa.column("_key"), sa.column("_source_hash"))
                query = sa.select(table.c._key, table.c._source_hash)
                for row in connection.execution_options(yield_per=10_000).execute(query):
                    yield row[0], row[1], "record"
            query = sa.select(held.c.key, held.c.source_hash).where(
                held.c.stream == stream, held.c.state == "held"
            )
            for row in connection.execute(query):
                yield row[0], row[1], "held"

    def lookup(self, stream: str, match: str, value: str, values: list[Any]) -> dict[Any, Any]:
        """For each of *values* of column *match* of *stream*: column *value* of its live record."""
        current = current_name(stream)
        with self._reading() as connection:
            inspector = sa.inspect(connection)
            if not inspector.has_table(current):
                return {}
            table = sa.Table(current, sa.MetaData(), autoload_with=connection)
            for name in (match, value):
                if name not in table.c:
                    raise ConfigError(f"lookup: {stream} has no column {name!r} in the store.")
            found: dict[Any, Any] = {}
            for start in range(0, len(values), 500):
                query = (
                    sa.select(table.c[match], table.c[value])
                    .where(table.c[match].in_(values[start : start + 500]))
                    .where(table.c._deleted == sa.false(), table.c._duplicate == sa.false())
                    .order_by(table.c._key)
                )
                found |= {row[0]: row[1] for row in connection.execute(query)}
            return found

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One snapshot: all that is read in it is of the same commit."""
        with engines.translated(self.endpoint), engines.snapshot(self._engine) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with engines.translated(self.endpoint), self._engine.begin() as connection:
            yield connection


def _status(connection: Connection, row: Any) -> StreamStatus:
    current = current_name(row.name)
    counts = {"live": 0, "deleted": 0, "duplicate": 0}
    if sa.inspect(connection).has_table(current):
        quote = connection.dialect.identifier_preparer.quote
        query = (
            "SELECT CASE WHEN _deleted THEN 'deleted' WHEN _duplicate THEN 'duplicate' ELSE 'live' "
            f"END AS fate, count(*) FROM {quote(current)} GROUP BY 1"
        )
        counts |= {row[0]: row[1] for row in connection.exec_driver_sql(query)}
    held = tables.quarantine_table
    quarantined = connection.execute(
        sa.select(sa.func.count()).where(held.c.stream == row.name, held.c.state == "held")
    ).scalar_one()
    runs = tables.run_table
    seq = connection.execute(
        sa.select(sa.func.max(runs.c.seq)).where(runs.c.stream == row.name)
    ).scalar()
    return StreamStatus(
        row.name, counts["live"], counts["deleted"], counts["duplicate"], quarantined,
        ledger.watermark_of(row.watermark), row.observed_at, row.loaded_at, seq,
    )  # fmt: skip
