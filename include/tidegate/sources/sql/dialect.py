"""What differs between SQL servers, in one place: sessions, catalogues, clocks, forms of values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

import sqlalchemy as sa

from tidegate.connections import Endpoint
from tidegate.errors import DataError, TidegateError
from tidegate.sources.sql.catalogue import Native, Table
from tidegate.sources.sql.fetched import Fetched, Rows
from tidegate.sources.sql.moments import Bound, local
from tidegate.types import ColumnType

CONNECT_SECONDS = 10
LOCK_SECONDS = 3

SLOW = (
    "It will be tried again; if it happens often, add an index, lower page_rows or raise "
    "statement_timeout."
)

Clause = sa.ColumnElement[bool]
Selection = sa.Select[Any] | sa.CompoundSelect[Any]


@dataclass(frozen=True, slots=True)
class RowHash:
    """A row's hash, computed by the server, in two forms.

    digits  16 hexadecimal ones: with these a row is sent, for servers are slow to make numbers
    number  a signed integer: what a server adds up
    """

    digits: sa.ColumnElement[Any]
    number: sa.ColumnElement[Any]


class UndecodableError(Exception):
    """A page holds text that is not what its encoding says; internal to a session."""


def undecodable(connection: str, error: UndecodableError) -> DataError:
    """What to tell people of it."""
    return DataError(f"{connection}: {error}. Declare the column with types: as bytes.")


def spelled(error: UnicodeDecodeError) -> UndecodableError:
    """*error* with some of the octets."""
    octets = bytes(error.object)[:40].hex()
    return UndecodableError(f"text that is not {error.encoding}: 0x{octets}")


def named(name: str) -> sa.ColumnClause[Any]:
    """A column of the table read; always quoted, so that any name is a name."""
    return sa.column(sa.quoted_name(name, quote=True))


class Dialect(ABC):
    """One kind of server.

    title       its name in messages
    row_values  whether ``(a, b) > (:a, :b)`` is what its planner likes
    clock       SQL text of its clock in UTC, as ISO text or datetime
    busy        SQL text whose last column is how many statements run there; or none
    counts_itself  whether that one is among them
    remote      whether it works while we do
    """

    title: str
    row_values: bool
    clock: str
    busy: str = ""
    counts_itself: bool = False
    remote: bool = True

    @abstractmethod
    def engine(self, endpoint: Endpoint, timeout: float) -> sa.Engine:
        """An engine whose sessions are in UTC; *timeout* in seconds ends a statement."""

    @abstractmethod
    def prepare(self, connection: sa.Connection, timeout: float) -> None:
        """Make the session read-only and bounded, right after it was opened."""

    @abstractmethod
    def find(self, connection: sa.Connection, wanted: str) -> Table | list[str]:
        """Look *wanted* up (``table`` or ``schema.table``); else the names that exist."""

    @abstractmethod
    def translate(
        self, error: BaseException, endpoint: Endpoint
    ) -> TidegateError | UndecodableError:
        """A driver's error as one of ours, without secrets."""

    def fetch(self, connection: sa.Connection, statement: Selection, endpoint: Endpoint) -> Fetched:
        """All that *statement* selects."""
        return Rows(connection.execute(statement).all())

    def selected(self, native: Native, type: ColumnType) -> sa.ColumnElement[Any]:
        """The expression that fetches a column so that nothing of it is lost."""
        return named(native.own)

    def ordered(self, native: Native) -> sa.ColumnElement[Any]:
        """The expression that a key column is sorted and compared by."""
        return named(native.own)

    def bind(self, value: Any) -> sa.ColumnElement[Any]:
        """A value fetched earlier, as a parameter that compares as it was sorted."""
        return sa.bindparam(None, value, sa.types.NullType(), unique=True)

    def sought(self, native: Native, type: ColumnType) -> sa.ColumnElement[Any] | None:
        """What equals a key's value when its text does; None when only the row itself can tell."""
        whole = native.type.name in {"int16", "int32", "int64"}
        alike = native.type == type or (whole and type.name in {"string", "bool"})
        return named(native.own) if alike and not native.loose else None

    def hashed(self, natives: Sequence[Native]) -> RowHash | None:
        """The row's hash, 64 bits, of these columns in this order; None: not by the server.

        Equal for two rows exactly when all these cells are equal.
        """
        return None

    def folds(self, connection: sa.Connection) -> bool:
        """Whether the server can XOR hashes."""
        return False

    def text_compares(self, native: Native) -> bool:
        """Whether the text fetched for a column can be compared with the column itself."""
        return False

    def bound(
        self,
        moment: Bound,
        native: Native,
        zone: tzinfo,
        samples: Sequence[Any] = (),
        *,
        end: bool = False,
    ) -> Any:
        """*moment* as the column holds it: rather too early; an *end*, rather too late.

        An instant is read off the clocks of *zone* where the column keeps such readings.
        """
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            return moment
        return local(moment, zone, end=end) if native.type.name == "datetime" else moment

    def samples(self, native: Native, moment: Bound) -> sa.Select[Any] | None:
        """A question to the table whose one row :meth:`bound` needs."""
        return None

    def since(self, native: Native, bound: Any) -> Clause:
        """Rows at *bound* or later."""
        return named(native.own) >= self.bind(bound)

    def until(self, native: Native, bound: Any) -> Clause:
        """Rows before *bound*."""
        return named(native.own) < self.bind(bound)

    def dated(self, native: Native, type: ColumnType) -> list[Clause]:
        """Conditions that leave out what no bound reaches (beside NULL)."""
        return []

    def undated(self, native: Native, type: ColumnType) -> list[Clause]:
        """The opposite of :meth:`dated`, any of them: rows to read apart."""
        return []

    def lenient(self, connection: sa.Connection) -> bool:
        """From now on fetch undecodable text as :class:`Unread`; False when that cannot be."""
        return False

    def read_clock(self, value: Any) -> datetime:
        """The result of :attr:`clock` as an aware datetime."""
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def dialect_of(kind: str) -> Dialect:
    """For an endpoint's kind."""
    if kind == "mysql":
        from tidegate.sources.sql.mysql import MySQL

        return MySQL()
    if kind == "postgres":
        from tidegate.sources.sql.postgres import PostgreSQL

        return PostgreSQL()
    from tidegate.sources.sql.sqlite import SQLite

    return SQLite()


def split(wanted: str) -> list[tuple[str | None, str]]:
    """The ways to read ``a.b``: a table of that very name first, then schema and table."""
    ways: list[tuple[str | None, str]] = [(None, wanted)]
    schema, dot, table = wanted.partition(".")
    if dot and schema and table:
        ways.append((schema, table))
    return ways
