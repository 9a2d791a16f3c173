"""What a stream's ``keep:`` no longer keeps goes to Parquet files, then out of the store.

*History*: versions whose reign ended long enough ago, by the time of the commit that ended it. No
further than the slowest subscription has read, and only where a newer version had begun to hold in
the world by then: so every question about a commit from the *horizon* on, and about a moment from
that commit's on, is answered as before. Older questions are refused (TrimmedError).
*Quarantine*: rows held long enough ago that are settled: mended, gone or replayed. One still held
stays, for the store has nothing else of it; but without a key it is never settled, and leaves.
*Arrivals*: what they said is forgotten, in no file, once it is loaded: their rows are in the store.

A part is at most some 10,000s of rows, moved in one commit: choose under the head lock, write the
files, read them back, delete, raise the horizon, note it in the ledger. The files are called by how
many parts the stream has moved before; who crashes before the commit writes the same files again.

::

    <TIDEGATE_ARCHIVE>/<first commit's time>/<stream>/000017-history.parquet
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as parquet
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from tidegate import objects, settings
from tidegate.errors import MismatchError
from tidegate.fields import duration
from tidegate.pipeline.models import Keep
from tidegate.store import arrivals, catalogue, ledger, quarantine
from tidegate.store.reading import asof
from tidegate.store.record import frames
from tidegate.store.record.effective import NAMELESS
from tidegate.store.record.records import current_name
from tidegate.store.sqltext import Script
from tidegate.store.tables import head_table, quarantine_table, run_table, subscription_table
from tidegate.types import Column, ColumnType

MODE = "keep"
"""What the ledger calls a part."""
PART_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Moved:
    """How much of *stream* left the store, or would: *history* versions, *quarantine* rows.

    Of *arrivals* it is what they said that is forgotten.
    *waits_for* is the subscription that keeps history from going further, if one does.
    """

    stream: str
    history: int = 0
    quarantine: int = 0
    arrivals: int = 0
    waits_for: str | None = None


@dataclass(frozen=True, slots=True)
class _Limits:
    """Up to which commit, and which moment (µs) in the world; before which time held."""

    seq: int
    valid: int
    held_at: str
    waits_for: str | None


def count(connection: Connection, stream: str, keep: Keep, now: datetime | None = None) -> Moved:
    """What :func:`move` would move."""
    now = now or datetime.now(UTC)
    limits = _limits(connection, keep, now)
    script = _script(connection, stream, limits)
    return Moved(
        stream,
        script.number(_COUNT_VERSIONS) if _has_history(connection, stream, limits) else 0,
        script.number(_COUNT_ROWS, _nameless(connection)),
        arrivals.forgettable(connection, stream, *_loaded(connection, stream, keep, now)).count,
        limits.waits_for,
    )


def move(engine: Engine, stream: str, keep: Keep, now: datetime | None = None) -> Moved:
    """Move what *keep* does not keep, part by part; each part is a commit.

    Raises MismatchError when a file does not hold what was written; then nothing of its part moved.
    """
    now = now or datetime.now(UTC)
    moved = Moved(stream, arrivals=_forget_arrivals(engine, stream, keep, now))
    while True:
        with engine.connect() as connection, connection.begin() as transaction:
            part = _move_part(connection, stream, keep, now)
            if not part.history + part.quarantine:
                transaction.rollback()
                return replace(moved, waits_for=part.waits_for)
        moved = replace(
            moved,
            history=moved.history + part.history,
            quarantine=moved.quarantine + part.quarantine,
        )


def _forget_arrivals(engine: Engine, stream: str, keep: Keep, now: datetime) -> int:
    """Part by part, so that nobody waits for long."""
    with engine.begin() as connection:
        until, before = _loaded(connection, stream, keep, now)
        old = arrivals.forgettable(connection, stream, until, before)
    for first in range(old.first, old.last + 1, PART_ROWS):
        with engine.begin() as connection:
            last = min(first + PART_ROWS - 1, old.last)
            arrivals.forget(connection, stream, first, last, before)
    return old.count


def _loaded(connection: Connection, stream: str, keep: Keep, now: datetime) -> tuple[int, str]:
    """The last arrival that every load has passed; before which time it must have come.

    None while a row is held that could not be read: only what arrived says what it was.
    """
    watermark = ledger.state(connection, stream).watermark
    if keep.arrivals is None or watermark is None or not isinstance(watermark.cursor, int):
        return 0, ""
    if quarantine.unread(connection, stream):
        return 0, ""
    return watermark.cursor, asof.utc_text(now - duration(keep.arrivals))


def _move_part(connection: Connection, stream: str, keep: Keep, now: datetime) -> Moved:
    seq = ledger.next_seq(connection)
    limits = _limits(connection, keep, now)
    script = _script(connection, stream, limits)
    folder, part = _place(connection, stream)
    moved = Moved(stream, waits_for=limits.waits_for)
    if _has_history(connection, stream, limits):
        versions = _versions(script, frames.columns_of(connection, stream))
        if versions.num_rows:
            _write(f"{folder}/{part}-history.parquet", versions)
            _require_all(stream, script.run(_FORGET_VERSIONS), versions)
            _raise_horizon(connection, limits.seq)
            moved = replace(moved, history=versions.num_rows)
    rows = _rows(script)
    if rows.num_rows:
        _write(f"{folder}/{part}-quarantine.parquet", rows)
        _require_all(stream, script.run(_FORGET_ROWS), rows)
        moved = replace(moved, quarantine=rows.num_rows)
    ledger.note(connection, seq, stream, MODE, f"{folder}/{part}")
    return moved


def _limits(connection: Connection, keep: Keep, now: datetime) -> _Limits:
    seq, valid, waits_for = 0, 0, None
    if keep.history:
        seq = asof.seq_at(connection, now - duration(keep.history))
        table = subscription_table
        slowest = connection.execute(sa.select(table).order_by(table.c.seq, table.c.name)).first()
        if slowest is not None and slowest.seq < seq:
            seq, waits_for = slowest.seq, slowest.name
        line = sa.select(run_table.c.committed_at).where(run_table.c.seq == seq)
        if ended := connection.execute(line).scalar():
            valid = asof.micros(datetime.fromisoformat(ended))
    held_at = asof.utc_text(now - duration(keep.quarantine)) if keep.quarantine else ""
    return _Limits(seq, valid, held_at, waits_for)


def _script(connection: Connection, stream: str, limits: _Limits) -> Script:
    current = current_name(stream)
    names = {"current": current, "history": f"{current}__history"}
    values = {
        "limit": limits.seq, "valid": limits.valid, "held_at": limits.held_at,
        "stream": stream, "rows": PART_ROWS,
    }  # fmt: skip
    return Script(connection, names, values)


def _nameless(connection: Connection) -> dict[str, str]:
    return {"nameless": NAMELESS[connection.dialect.name]}


def _has_history(connection: Connection, stream: str, limits: _Limits) -> bool:
    return limits.seq > 0 and catalogue.has(connection, current_name(stream))


def _place(connection: Connection, stream: str) -> tuple[str, str]:
    """The folder of this store's *stream*, and the name of its next part."""
    table = run_table
    first = connection.execute(sa.select(sa.func.min(table.c.committed_at))).scalar()
    done = connection.execute(
        sa.select(sa.func.count()).where(table.c.stream == stream, table.c.mode == MODE)
    ).scalar_one()
    born = re.sub(r"[^0-9T]", "", str(first).partition(".")[0])
    return f"{settings.archive_root()}/{born}/{stream}", f"{done + 1:06d}"


def _versions(script: Script, data: list[Column]) -> pa.Table:
    """The versions of this part, oldest first, typed; ``leaving`` names them."""
    script.run("DROP TABLE IF EXISTS leaving")
    script.run(_CHOOSE_VERSIONS)
    script.lead("leaving", "_key")
    columns = [*data, *frames.own(*_OWN)]
    where = _LEAVING.format(table=script.quote(script.names["history"]))
    pages = frames.pages(
        script.connection, script.names["history"], columns, where, order="_seq_to, _key, _hash"
    )
    return _together(pages, columns)


def _rows(script: Script) -> pa.Table:
    """The rows in quarantine of this part, oldest first; ``leaving_rows`` names them."""
    script.run("DROP TABLE IF EXISTS leaving_rows")
    script.run(_CHOOSE_ROWS, _nameless(script.connection))
    columns = [Column(c.name, _TYPES[type(c.type)]) for c in quarantine_table.columns]
    pages = frames.pages(
        script.connection, quarantine_table.name, columns, _LEAVING_ROW, script.values,
        order="held_at, key",
    )  # fmt: skip
    return _together(pages, columns)


def _together(pages: Iterator[pa.Table], columns: list[Column]) -> pa.Table:
    schema = pa.schema([(column.name, column.type.arrow) for column in columns])
    return pa.concat_tables([schema.empty_table(), *pages])


def _write(uri: str, table: pa.Table) -> None:
    """Write *table*, down to the disk; raises MismatchError when it does not read back."""
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    data = buffer.getvalue()
    place = objects.path(uri)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(OSError):  # object stores have no such thing, and need none
            os.fsync(file.fileno())
    if place.read_bytes() != data:
        raise MismatchError(f"{uri} does not hold what was written. Nothing was removed.")


def _require_all(stream: str, gone: int, table: pa.Table) -> None:
    if gone != table.num_rows:
        raise MismatchError(
            f"{stream}: {table.num_rows} rows were archived, but {gone} would be removed. "
            "Nothing was removed. This is a defect of Tidegate; please report it."
        )


def _raise_horizon(connection: Connection, seq: int) -> None:
    table = head_table
    connection.execute(sa.update(table).where(table.c.horizon < seq).values(horizon=seq))


_OWN = (
    "_key", "_first", "_token", "_hash", "_source_hash", "_deleted", "_duplicate", "_valid",
    "_same", "_seq", "_seq_to",
)  # fmt: skip
_TYPES = {
    sa.Text: ColumnType("string"), sa.BigInteger: ColumnType("int64"),
    sa.Integer: ColumnType("int32"),
}  # fmt: skip

# A version leaves when another one that stays, or leaves for the same reason, says more: known by
# the limit, begun to hold by then. Hence no question from the limit on would find the first one.
_OVER = """
FROM {history} AS t WHERE t._seq_to <= :limit AND (
  EXISTS (SELECT 1 FROM {current} AS n WHERE n._key = t._key
    AND (n._token, n._hash) >= (t._token, t._hash)
    AND n._seq <= :limit AND (n._valid IS NULL OR n._valid <= :valid))
  OR EXISTS (SELECT 1 FROM {history} AS n WHERE n._key = t._key
    AND (n._token, n._hash, n._seq_to) > (t._token, t._hash, t._seq_to)
    AND n._seq <= :limit AND (n._valid IS NULL OR n._valid <= :valid)))
"""
_COUNT_VERSIONS = f"SELECT count(*) {_OVER}"
_CHOOSE_VERSIONS = f"""
CREATE TEMPORARY TABLE leaving AS SELECT t._key, t._hash, t._seq_to {_OVER}
ORDER BY t._seq_to, t._key, t._hash LIMIT :rows
"""
_LEAVING = """EXISTS (SELECT 1 FROM leaving AS l WHERE l._key = {table}._key
  AND l._hash = {table}._hash AND l._seq_to = {table}._seq_to)"""
_FORGET_VERSIONS = "DELETE FROM {history} WHERE " + _LEAVING.replace("{table}", "{history}")

_PAST = """
FROM tidegate_quarantine AS q WHERE q.stream = :stream AND q.held_at < :held_at
  AND (q.state <> 'held' OR q.key = {nameless})
"""
_COUNT_ROWS = f"SELECT count(*) {_PAST}"
_CHOOSE_ROWS = f"""
CREATE TEMPORARY TABLE leaving_rows AS SELECT q.key {_PAST} ORDER BY q.held_at, q.key LIMIT :rows
"""
_LEAVING_ROW = "stream = :stream AND key IN (SELECT key FROM leaving_rows)"
_FORGET_ROWS = f"DELETE FROM tidegate_quarantine WHERE {_LEAVING_ROW}"
