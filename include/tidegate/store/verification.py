"""What a verification asks of the store, and what it keeps there."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import islice
from time import sleep
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from tidegate.connections import Endpoint
from tidegate.errors import FencedError
from tidegate.model import Json, Watermark
from tidegate.store import catalogue, engine, ledger
from tidegate.store.record.effective import Effective, number
from tidegate.store.record.records import current_name, index_name
from tidegate.store.sqltext import quoted
from tidegate.store.tables import VERIFIED, stream_table, verification_table

_BATCH = 10_000
_PAUSE = 1.0
"""Seconds between two looks whether somebody else still makes an index."""
_MINE = sa.text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")


@dataclass(frozen=True, slots=True)
class Sums:
    """How many rows, and the XOR of their hashes (signed, 64 bits)."""

    rows: int
    xor: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A verification as the store keeps it.

    repair     whether what differs is read again
    state      ``running``, ``stopped`` (it may go on), ``done``
    watermark  rows whose cursor lies below it are compared
    position   where it goes on; nobody but the verification reads it
    counts     by the names in :data:`tidegate.store.tables.VERIFIED`
    """

    stream: str
    watermark: Watermark
    started_at: str
    updated_at: str
    repair: bool = True
    state: str = "running"
    position: Json = None
    counts: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(VERIFIED, 0))
    note: str | None = None
    finished_at: str | None = None

    @property
    def id(self) -> str:
        """Unique in a store."""
        return f"{self.stream}#{self.started_at}"


class Verifying:
    """The half of the store that a verification talks to.

    *composite* says that keys have several columns: then their text is a JSON list, and *number*
    is the first of it. *first* and *until* are such numbers: first ≤ number < until.
    """

    endpoint: Endpoint
    _engine: Engine

    def _reading(self) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    def _writing(self) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    def sums(
        self, stream: str, first: int | None, until: int | None, apart: Collection[str] = (),
        *, composite: bool = False,
    ) -> Sums:  # fmt: skip
        """Of the effective rows in a range, without those whose key is in *apart*."""
        with self._reading() as connection:
            asked = Effective(connection, stream, composite)
            rows, xor = asked.sums(*asked.range(first, until))
            for some in _batches(apart):
                less = asked.sums(*asked.among(some))
                rows, xor = rows - less[0], xor ^ less[1]
        return Sums(rows, xor)

    def effective(
        self, stream: str, first: int | None = None, until: int | None = None,
        *, composite: bool = False,
    ) -> Iterator[tuple[str, int]]:  # fmt: skip
        """``(key, hash)`` of the effective rows in a range; all by default. In no order."""
        with self._reading() as connection:
            asked = Effective(connection, stream, composite)
            yield from asked.rows(*asked.range(first, until))

    def unseen(self, stream: str, token: int) -> Iterator[str]:
        """Keys of effective rows that no read with an order token from *token* on has seen."""
        with self._reading() as connection:
            asked = Effective(connection, stream)
            for key, _ in asked.rows("c._token < :token", "q.token < :token", token=token):
                yield key

    def hashes(self, stream: str, keys: Iterable[str]) -> dict[str, int]:
        """Key → hash, of those of *keys* that are effective rows."""
        with self._reading() as connection:
            asked = Effective(connection, stream)
            found: dict[str, int] = {}
            for some in _batches(keys):
                found |= dict(asked.rows(*asked.among(some)))
            return found

    def size(self, stream: str) -> int:
        """How many effective rows there are."""
        return self.sums(stream, None, None).rows

    def number_keys(self, stream: str, *, composite: bool = False) -> None:
        """Make the index that finds a range of keys, unless it is there. Loads go on meanwhile."""
        current = current_name(stream)
        name = index_name(current, "_key_number")
        expression = number(self._engine.dialect.name, "_key", composite)
        make = f"INDEX {{how}} IF NOT EXISTS {quoted(name)} ON {quoted(current)} (({expression}))"
        with self._reading() as connection:
            if not catalogue.has(connection, current) or _indexed(connection, name):
                return
        if self._engine.dialect.name == "sqlite":
            with self._writing() as connection:
                connection.exec_driver_sql(f"CREATE {make.format(how='')}")
            return
        endless = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.translated(self.endpoint), endless.connect() as connection:
            while not connection.execute(_MINE, {"name": name}).scalar_one():
                sleep(_PAUSE)  # who waits in a lock instead is waited for: a deadlock
            if not _indexed(connection, name):
                connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name)}")
                connection.exec_driver_sql(f"CREATE {make.format(how='CONCURRENTLY')}")
                connection.exec_driver_sql(f"ANALYZE {quoted(current)}")

    # Progress -------------------------------------------------------------------------------

    def unfinished(self, stream: str, since: str) -> Progress | None:
        """The newest verification of *stream*, if it began after *since* and is not done."""
        newest = self.verifications(stream, 1)
        if newest and newest[0].state != "done" and newest[0].started_at >= since:
            return newest[0]
        return None

    def verifications(self, stream: str | None = None, limit: int = 100) -> list[Progress]:
        """The verifications there were, newest first."""
        table = verification_table
        query = sa.select(table).order_by(table.c.started_at.desc()).limit(limit)
        if stream is not None:
            query = query.where(table.c.stream == stream)
        with self._reading() as connection:
            return [_progress(row) for row in connection.execute(query)]

    def begin_verification(
        self, stream: str, watermark: Watermark, *, repair: bool = True
    ) -> Progress:
        """Note that one begins."""
        now = ledger.now()
        begun = Progress(stream, watermark, now, now, repair)
        with self._writing() as connection:
            connection.execute(sa.insert(verification_table), {"id": begun.id, **_values(begun)})
        return begun

    def keep_verification(self, progress: Progress, *, verified: bool = False) -> Progress:
        """Keep how far it is; and when all is *verified*, how far the stream is.

        Raises FencedError when another process went on with it meanwhile.
        """
        table = verification_table
        now = ledger.now()
        kept = replace(progress, updated_at=now)
        if kept.state == "done":
            kept = replace(kept, finished_at=now, position=None)
        mine = table.c.id == progress.id, table.c.updated_at == progress.updated_at
        with self._writing() as connection:
            done = connection.execute(sa.update(table).where(*mine).values(_values(kept)))
            if done.rowcount != 1:
                raise FencedError(
                    f"{progress.stream}: another process went on with this verification. "
                    "Nothing is lost; look at what that one says."
                )
            if verified:
                _note_verified(connection, kept)
        return kept


def _indexed(connection: Connection, name: str) -> bool:
    """Whether the index is there, and whole: one whose making was interrupted is not."""
    if connection.dialect.name == "sqlite":
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name = :name"
    else:
        query = "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(:name) AND indisvalid"
        name = quoted(name)
    return bool(connection.execute(sa.text(query), {"name": name}).scalar_one())


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while some := list(islice(rest, _BATCH)):
        yield some


def _values(progress: Progress) -> dict[str, Any]:
    return {
        "stream": progress.stream, "started_at": progress.started_at,
        "updated_at": progress.updated_at, "finished_at": progress.finished_at,
        "state": progress.state, "repair": progress.repair,
        "watermark": ledger.watermark_text(progress.watermark),
        "position": json.dumps(progress.position), "note": progress.note, **progress.counts,
    }  # fmt: skip


def _progress(row: Any) -> Progress:
    watermark = Watermark(**json.loads(row.watermark))
    return Progress(
        row.stream, watermark, row.started_at, row.updated_at, row.repair, row.state,
        json.loads(row.position or "null"), {name: getattr(row, name) for name in VERIFIED},
        row.note, row.finished_at,
    )  # fmt: skip


def _note_verified(connection: Connection, progress: Progress) -> None:
    connection.execute(
        sa.update(stream_table)
        .where(stream_table.c.name == progress.stream)
        .values(
            verified_through=ledger.watermark_text(progress.watermark),
            verified_at=progress.finished_at,
        )
    )
