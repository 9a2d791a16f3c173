"""The reading API: what anybody may ask of the store. :class:`Library` is the reader's half of it.

Every read is of one commit, and its answer says which (``seq``). ``as_of_seq`` asks for an earlier
commit, ``as_of`` for the one that was newest at a moment, ``valid`` for what was true in the world
at a moment, ``min_seq`` waits until the store is at least there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

from tidegate.errors import UnavailableError
from tidegate.store.reading import (
    asof,
    described,
    diff,
    feed,
    neighbours,
    searching,
    subscriptions,
    versions,
)
from tidegate.store.reading.answers import (
    Changes,
    Conflicts,
    Entity,
    Found,
    Head,
    History,
    Neighbours,
    Record,
    Subscription,
    Why,
)
from tidegate.store.reading.asof import Point
from tidegate.store.reading.neighbours import Walk

if TYPE_CHECKING:
    import pandas as pd

WAIT_SECONDS = 30.0
"""How long a read waits for its ``min_seq``."""


class Reading:
    """What can be asked, over connections that each see one commit."""

    def _reading(self) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    def head(self) -> Head:
        """The newest commit, and how far history reaches back."""
        with self._reading() as connection:
            return asof.head(connection)

    def seq_at(self, at: datetime) -> int:
        """The last commit at or before *at* (without a zone: UTC); 0 before the first one."""
        with self._reading() as connection:
            return asof.seq_at(connection, at)

    def wait(self, min_seq: int, timeout: float = 0) -> Head:
        """The newest commit. Raises UnavailableError when it is before *min_seq*."""
        newest = self.head()
        if newest.seq < min_seq:
            raise UnavailableError(
                f"min_seq: the store is at commit {newest.seq} after {timeout:g} s, "
                f"not at {min_seq} yet. Ask again later."
            )
        return newest

    @contextmanager
    def _at(
        self,
        as_of: datetime | None,
        as_of_seq: int | None,
        valid: date | None,
        min_seq: int | None,
    ) -> Iterator[tuple[Connection, Point]]:
        if min_seq is not None:
            self.wait(min_seq)
        with self._reading() as connection:
            yield connection, asof.resolve(connection, as_of, as_of_seq, valid)

    def record(
        self,
        stream: str,
        key: str,
        *,
        as_of: datetime | None = None,
        as_of_seq: int | None = None,
        valid: date | None = None,
        min_seq: int | None = None,
    ) -> Record:
        """The version of a record that holds at a point, tombstones and duplicates included."""
        with self._at(as_of, as_of_seq, valid, min_seq) as (connection, point):
            tables = versions.tables_of(connection, stream)
            version = versions.find(connection, tables, key, point)
            return Record(stream, key, point.seq, version)

    def history(self, stream: str, key: str) -> History:
        """Every version of a record that the store has, late ones included."""
        with self._reading() as connection:
            tables = versions.tables_of(connection, stream)
            seq = asof.head(connection).seq
            return History(stream, key, seq, versions.every(connection, tables, key, seq))

    def entity(
        self,
        type: str,
        key: str,
        *,
        as_of: datetime | None = None,
        as_of_seq: int | None = None,
        valid: date | None = None,
        min_seq: int | None = None,
    ) -> Entity:
        """What is known of an entity at a point; ``exists`` is false when nothing is.

        Raises ConfigError when no mapping speaks of such a type.
        """
        with self._at(as_of, as_of_seq, valid, min_seq) as (connection, point):
            return described.entity(connection, type, key, point)

    def neighbours(  # noqa: PLR0913
        self,
        type: str,
        key: str,
        *,
        relation: str | None = None,
        direction: str = "both",
        depth: int = 1,
        limit: int = 100,
        as_of: datetime | None = None,
        as_of_seq: int | None = None,
        valid: date | None = None,
        min_seq: int | None = None,
    ) -> Neighbours:
        """What surrounds an entity, breadth first: at most *limit* edges, *depth* steps away.

        *direction* is ``out`` (relations that begin at it), ``in`` or ``both``.
        """
        walk = Walk(relation, direction, depth, limit)
        with self._at(as_of, as_of_seq, valid, min_seq) as (connection, point):
            return neighbours.neighbours(connection, type, key, walk, point)

    def why(
        self,
        type: str,
        key: str,
        attribute: str | None = None,
        *,
        as_of: datetime | None = None,
        as_of_seq: int | None = None,
        valid: date | None = None,
        min_seq: int | None = None,
    ) -> Why:
        """Where an entity's values come from, and what other streams say instead."""
        with self._at(as_of, as_of_seq, valid, min_seq) as (connection, point):
            return described.why(connection, type, key, attribute, point)

    def find(self, type: str, name: str, value: Any, limit: int = 100) -> Found:
        """Entities of *type* whose attribute *name* is *value* now (text is read as its type)."""
        with self._at(None, None, None, None) as (connection, point):
            return searching.find(connection, type, name, value, limit, point)

    def conflicts(self, limit: int = 100) -> Conflicts:
        """What streams contradict each other in now, and who wins."""
        with self._at(None, None, None, None) as (connection, point):
            return searching.conflicts(connection, limit, point)

    def frame(
        self,
        stream: str,
        *,
        as_of: datetime | None = None,
        as_of_seq: int | None = None,
        valid: date | None = None,
        min_seq: int | None = None,
    ) -> pd.DataFrame:
        """The live records of *stream* by key, Arrow-backed; ``attrs["seq"]`` is the commit."""
        import pandas as pd
        import pyarrow as pa

        with self._at(as_of, as_of_seq, valid, min_seq) as (connection, point):
            tables = versions.tables_of(connection, stream)
            pages = list(versions.pages(connection, tables, point))
            columns = tables.typed("_key", *(column.name for column in tables.columns))
        schema = pa.schema([(column.name, column.type.arrow) for column in columns])
        table = pa.concat_tables(pages) if pages else schema.empty_table()
        frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype).set_index("_key")
        frame.attrs["seq"] = point.seq
        return frame

    def changes(
        self,
        since: int | str = 0,
        limit: int = 1000,
        stream: str | None = None,
        *,
        rows: bool = False,
        min_seq: int | None = None,
    ) -> Changes:
        """What became of the records after *since*: a commit, or the cursor of the page before.

        In the order of the commits; each exactly once, however often a reader asks. With *rows*,
        the values before and after. Raises TrimmedError when *since* is before the horizon.
        """
        if min_seq is not None:
            self.wait(min_seq)
        with self._reading() as connection:
            return feed.changes(connection, since, limit, stream, rows)

    def diff(
        self,
        first: int,
        last: int,
        stream: str,
        *,
        cursor: str = "",
        limit: int = 1000,
        rows: bool = False,
    ) -> Changes:
        """What differs between the live records at two commits, by key, in pages."""
        with self._reading() as connection:
            tables = versions.tables_of(connection, stream)
            return diff.diff(connection, tables, (first, last), cursor, limit, rows)

    def subscriptions(self) -> list[Subscription]:
        """Who reads the feed, the slowest first."""
        with self._reading() as connection:
            return subscriptions.every(connection)


class Snapshot(Reading):
    """Reads of one transaction: whatever is loaded meanwhile, all answers are of one commit.

    For one thread, and for minutes at most: the database keeps what it shows.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        yield self._connection


class Library(Reading):
    """Reads of a store as it is at each call, snapshots of it, and the readers of its feed."""

    def _writing(self) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    @contextmanager
    def snapshot(self, min_seq: int | None = None) -> Iterator[Snapshot]:
        """Ask several things of one commit, over one connection."""
        if min_seq is not None:
            self.wait(min_seq)
        with self._reading() as connection:
            asof.head(connection)
            yield Snapshot(connection)

    def wait(self, min_seq: int, timeout: float = WAIT_SECONDS) -> Head:
        """Wait until commit *min_seq* is there. Raises UnavailableError after *timeout* seconds."""
        deadline = time.monotonic() + timeout
        pause = 0.01
        while self.head().seq < min_seq and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(2 * pause, 0.25)
        return super().wait(min_seq, timeout)

    def subscribe(self, name: str, since: int | None = None) -> Subscription:
        """Let the store keep what *name* has not acknowledged; one that is there goes on."""
        with self._writing() as connection:
            return subscriptions.subscribe(connection, name, since)

    def acknowledge(self, name: str, cursor: int | str) -> Subscription:
        """Note that *name* has seen everything up to *cursor*."""
        with self._writing() as connection:
            return subscriptions.acknowledge(connection, name, cursor)

    def unsubscribe(self, name: str) -> None:
        """Forget *name*."""
        with self._writing() as connection:
            subscriptions.unsubscribe(connection, name)
