"""Streams, watermarks and runs: the store's own account of what was loaded.

The watermark moves by compare-and-set on *generation*, inside the load's transaction; the numbers
of a run are written there too. ``tidegate_head`` is one row, updated first by every load: its lock
orders the commits, so the sequence has neither gaps nor surprises.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import OvertakenError
from tidegate.model import Increment, Json, Mode, Report, Watermark
from tidegate.store.tables import COUNTS, head_table, run_table, stream_table


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where a stream stands; *generation* is what a load must still find.

    *memory* is what the source asked to find again, with the watermark stored last.
    """

    watermark: Watermark | None
    generation: int
    observed_at: str | None
    memory: Json = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one commit loads of a pull: these *pages*, as number *number* of *of*."""

    number: int
    of: int
    pages: slice

    @property
    def last(self) -> bool:
        """Whether the watermark moves with it."""
        return self.number == self.of


def now() -> str:
    """This machine's UTC time, ISO with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def watermark_text(watermark: Watermark | None) -> str | None:
    """A watermark as the store keeps it."""
    return None if watermark is None else json.dumps(asdict(watermark), ensure_ascii=False)


def watermark_of(text: str | None) -> Watermark | None:
    """The reverse of :func:`watermark_text`."""
    return None if text is None else Watermark(**json.loads(text))


def state(connection: Connection, stream: str) -> StreamState:
    """The state of *stream*; a stream never loaded has no watermark and generation 0."""
    row = connection.execute(sa.select(stream_table).where(stream_table.c.name == stream)).first()
    if row is None:
        return StreamState(None, 0, None)
    return StreamState(
        watermark_of(row.watermark), row.generation, row.observed_at, _value(row.memory)
    )


def states(
    connection: Connection, streams: Iterable[str], *, memory: bool = False
) -> dict[str, StreamState]:
    """The state of each of *streams* that was ever pulled; its *memory* only if wanted."""
    table = stream_table.c
    kept = table.memory if memory else sa.null().label("memory")
    query = sa.select(table.name, table.watermark, table.generation, table.observed_at, kept)
    return {
        row.name: StreamState(
            watermark_of(row.watermark), row.generation, row.observed_at, _value(row.memory)
        )
        for row in connection.execute(query.where(table.name.in_(sorted(streams))))
    }


@dataclass(frozen=True, slots=True)
class Activity:
    """When a stream was *read* last, and when what a run *found* there was loaded; None: long ago.

    Runs find what is new, changed or deleted; rows that they read again do not count.
    """

    read: datetime
    found: datetime | None


def activity(
    connection: Connection, streams: Iterable[str], since: datetime
) -> dict[str, Activity]:
    """That of each of *streams* that was ever read; what was found before *since* is long ago."""
    names, line = sorted(streams), run_table.c
    before = since.isoformat(timespec="microseconds")
    edge = sa.select(line.seq).where(line.committed_at < before).order_by(line.seq.desc()).limit(1)
    finds = (
        sa.select(line.stream, sa.func.max(line.committed_at))
        .where(line.seq > sa.func.coalesce(edge.scalar_subquery(), 0), line.stream.in_(names))
        .where(line.mode.in_([Mode.INCREMENT, Mode.FULL]))
        .where(line.inserted + line.updated + line.deleted > 0)
        .group_by(line.stream)
    )
    found = {name: datetime.fromisoformat(at) for name, at in connection.execute(finds)}
    table = stream_table.c
    reads = sa.select(table.name, table.loaded_at).where(
        table.name.in_(names), table.loaded_at.is_not(None)
    )
    return {
        name: Activity(datetime.fromisoformat(at), found.get(name))
        for name, at in connection.execute(reads)
    }


def issue_read(connection: Connection, stream: str) -> int:
    """A number larger than any issued for *stream* before: the order of reads.

    It is taken after the safe bound was observed and before the first row is read. So if read A has
    the smaller number, A's bound was observed before B read anything; whatever A saw and B did not
    was committed after that, lies above A's and B's bounds, and is read again with a larger number.
    Hence "the larger number wins" never keeps an older version for good.
    """
    register(connection, stream)
    table = stream_table
    statement = (
        sa.update(table)
        .where(table.c.name == stream)
        .values(reads=table.c.reads + 1)
        .returning(table.c.reads)
    )
    return int(connection.execute(statement).scalar_one())


def register(connection: Connection, stream: str) -> None:
    """Let the store know *stream*."""
    statement = sa.text(
        "INSERT INTO tidegate_stream (name, generation, reads) VALUES (:name, 0, 0) "
        "ON CONFLICT (name) DO NOTHING"
    )
    connection.execute(statement, {"name": stream})


def advance(connection: Connection, increment: Increment) -> Watermark | None:
    """Move the watermark from what the pull saw to what it reached; returns where it is now.

    The lease ends with it. Raises OvertakenError when another run moved it meanwhile. Never moves
    back, unless the source has begun anew.
    """
    stream = increment.request.stream
    before = state(connection, stream)
    after = increment.high or before.watermark
    if after is not None and not increment.anew:
        after = after.later(before.watermark)
    table = stream_table
    moved = connection.execute(
        sa.update(table)
        .where(table.c.name == stream, table.c.generation == increment.generation)
        .values(
            watermark=watermark_text(after),
            generation=table.c.generation + 1,
            observed_at=increment.observed_at,
            loaded_at=now(),
            lease_until=None,
            bound=increment.bound,
            memory=_text(increment.memory),
        )
    )
    if moved.rowcount != 1:
        raise _overtaken(increment, before.generation)
    return after


def require(connection: Connection, increment: Increment) -> None:
    """Raise OvertakenError when another run moved the watermark since the pull saw it."""
    found = state(connection, increment.request.stream).generation
    if found != increment.generation:
        raise _overtaken(increment, found)


def _overtaken(increment: Increment, found: int) -> OvertakenError:
    return OvertakenError(
        f"{increment.request.stream}: another run moved the watermark since this one pulled "
        f"(generation {increment.generation}, now {found}). "
        "Nothing more of this run is kept, and nothing is lost: the next run reads on from there."
    )


def next_seq(connection: Connection) -> int:
    """The number of this commit. Holds the store's one write lock until the end.

    Every commit's time is at or after the one before, whatever the clocks of their machines say.
    """
    time, before = now(), head_table.c.committed_at
    statement = (
        sa.update(head_table)
        .values(
            seq=head_table.c.seq + 1,
            committed_at=sa.case((before > time, before), else_=time),
        )
        .returning(head_table.c.seq)
    )
    return int(connection.execute(statement).scalar_one())


def committed_at(connection: Connection) -> str:
    """The time of the commit whose number was taken last."""
    return str(connection.execute(sa.select(head_table.c.committed_at)).scalar_one())


def note(connection: Connection, seq: int, stream: str, mode: str, batch: str) -> None:
    """The ledger's line of a commit that loads nothing: what it does (*mode*), under which name."""
    values: dict[str, Any] = {
        "seq": seq, "stream": stream, "batch": batch, "run_id": "", "attempt": 1, "mode": mode,
        "read_number": 0, "cleaned": "[]", "checks": "[]", "committed_at": committed_at(connection),
    }  # fmt: skip
    connection.execute(sa.insert(run_table), {**values, **dict.fromkeys(COUNTS, 0)})


def wait(connection: Connection) -> None:
    """Wait until no commit is under way, and begin none before this transaction ends."""
    connection.execute(sa.select(head_table.c.seq).with_for_update())


def loaded(connection: Connection, increment: Increment) -> dict[int, Report]:
    """The parts of this very pull that have been committed already, by number."""
    table = run_table
    query = sa.select(table).where(
        table.c.stream == increment.request.stream, table.c.batch == increment.origin
    )
    return {row.part: _report(row) for row in connection.execute(query)}


def _report(row: Any) -> Report:
    return Report(
        row.stream, row.run_id, Mode(row.mode), **{name: getattr(row, name) for name in COUNTS},
        watermark=watermark_of(row.watermark_after), seq=row.seq, repeated=True,
    )  # fmt: skip


def _text(value: Json) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _value(text: str | None) -> Json:
    return None if text is None else json.loads(text)


def record(connection: Connection, increment: Increment, report: Report, part: Part) -> None:
    """Write the line of *part*; what is said of all parts together stands in that of the last."""
    request = increment.request
    window = request.window
    values: dict[str, Any] = {
        "seq": report.seq, "stream": request.stream, "batch": increment.origin,
        "run_id": request.run_id, "attempt": request.attempt, "mode": str(request.mode),
        "window_since": window.since if window else None,
        "window_until": window.until if window else None,
        "watermark_before": watermark_text(increment.low),
        "watermark_after": watermark_text(report.watermark),
        "read_number": increment.read, "cleaned": "[]", "checks": "[]",
        "source_columns": _text(increment.source_columns or None),
        "committed_at": committed_at(connection),
        "fence": increment.fence, "part": part.number, "parts": part.of,
    }  # fmt: skip
    if part.last:
        values |= {
            "cleaned": json.dumps(increment.cleaned),
            "checks": json.dumps([asdict(check) for check in increment.checks], default=str),
            "bound": increment.bound, "census": _text(dict(increment.census)),
            "gone": increment.gone.rows if increment.gone else 0,
        }  # fmt: skip
    connection.execute(
        sa.insert(run_table), {**values, **{name: getattr(report, name) for name in COUNTS}}
    )
