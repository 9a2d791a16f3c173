"""A point in the store's two times: what it knew after a commit, of what held at a moment.

System time is the commit number; a wall clock is resolved to one, and the answer says which. Valid
time is what the source says of a row (``_valid``). Below the horizon history was trimmed, and the
store refuses to answer rather than guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError, TrimmedError, UnavailableError
from tidegate.store.reading.answers import Head
from tidegate.store.tables import head_table, run_table

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Point:
    """Commit *seq* of a store whose newest is *head*; *valid* in µs since 1970 UTC."""

    seq: int
    head: int
    valid: int | None = None

    @property
    def now(self) -> bool:
        """Whether the current tables and the knowledge libraries say it all."""
        return self.seq == self.head and self.valid is None

    @property
    def values(self) -> dict[str, int | None]:
        """What the point's SQL binds."""
        return {"seq": self.seq, "valid": self.valid}


def head(connection: Connection) -> Head:
    """The newest commit."""
    row = connection.execute(sa.select(head_table)).one()
    return Head(row.seq, row.horizon, moment(row.committed_at))


def resolve(
    connection: Connection,
    as_of: datetime | None = None,
    as_of_seq: int | None = None,
    valid: date | None = None,
) -> Point:
    """The point that is asked for; the newest commit when nothing is.

    Raises TrimmedError when history no longer reaches back so far.
    """
    newest = head(connection)
    if as_of is not None and as_of_seq is not None:
        raise ConfigError("as_of and as_of_seq both name a commit. Give one of them.")
    seq = newest.seq if as_of_seq is None else as_of_seq
    if seq < 0:
        raise ConfigError(f"as_of_seq: there is no commit {seq}. Give 0 (nothing yet) or more.")
    if as_of is not None:
        seq = seq_at(connection, as_of)
    if seq > newest.seq:
        raise UnavailableError(
            f"as_of_seq: the store is at commit {newest.seq}, not at {seq}. "
            "Ask for an earlier one, or wait for it with min_seq."
        )
    require(newest, seq)
    point = Point(seq, newest.seq, None if valid is None else micros(valid))
    if point.valid is not None and newest.horizon:
        _require_versions(connection, newest, point.valid)
    return point


def require(newest: Head, seq: int) -> None:
    """Raise TrimmedError when the state after commit *seq* can no longer be told."""
    if seq < newest.horizon:
        raise TrimmedError(
            f"commit {seq}: history up to commit {newest.horizon} was trimmed. Ask for that one or "
            "a later one; a reader of changes starts anew from a snapshot of the streams."
        )


def _require_versions(connection: Connection, newest: Head, valid: int) -> None:
    """Versions that ended before the horizon are gone; what was true before it may be of them."""
    table = run_table
    text = connection.execute(
        sa.select(table.c.committed_at).where(table.c.seq == newest.horizon)
    ).scalar()
    if text is not None and valid < micros(datetime.fromisoformat(text)):
        raise TrimmedError(
            f"valid: versions that were replaced before {text} were trimmed. "
            "Ask for that moment or a later one."
        )


def seq_at(connection: Connection, at: datetime) -> int:
    """The last commit at or before *at* (without a zone: UTC); 0 before the first one."""
    table = run_table
    found = connection.execute(
        sa.select(sa.func.max(table.c.seq)).where(table.c.committed_at <= utc_text(at))
    ).scalar()
    return int(found or 0)


def utc_text(at: datetime) -> str:
    """ISO text in UTC, of one width, as the ledger keeps its times."""
    return _zoned(at).isoformat(timespec="microseconds")


def micros(at: date) -> int:
    """µs since 1970 UTC of a day's beginning or a moment; without a zone it is UTC."""
    if not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day)  # noqa: DTZ001
    return (_zoned(at) - _EPOCH) // timedelta(microseconds=1)


def from_micros(number: int | None) -> datetime | None:
    """The reverse of :func:`micros`."""
    return None if number is None else _EPOCH + timedelta(microseconds=number)


def moment(text: str | None) -> datetime | None:
    """A time of the ledger."""
    return None if text is None else datetime.fromisoformat(text)


def _zoned(at: datetime) -> datetime:
    try:
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:
        raise ConfigError(f"{at} is not between the years 1 and 9999 in UTC.") from error
