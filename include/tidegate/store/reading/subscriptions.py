"""Named readers of the change feed: what they have not seen yet is kept for them.

Retention trims no further than the slowest of them has acknowledged.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.store.reading import asof
from tidegate.store.reading.answers import Subscription
from tidegate.store.reading.feed import Place
from tidegate.store.tables import head_table
from tidegate.store.tables import subscription_table as table


def subscribe(connection: Connection, name: str, since: int | None) -> Subscription:
    """Register *name* from commit *since* (default: the newest) on; one that is there stays.

    Raises TrimmedError when history no longer reaches back so far.
    """
    # Whoever trims history holds this row: it sees the subscription, or this sees the new horizon.
    connection.execute(sa.select(head_table.c.seq).with_for_update())
    newest = asof.head(connection)
    seq = newest.seq if since is None else since
    if seq > newest.seq:
        raise ConfigError(f"since: the store is at commit {newest.seq}, not at {seq} yet.")
    asof.require(newest, seq)
    connection.execute(
        sa.text(
            "INSERT INTO tidegate_subscription (name, seq, seen_at) VALUES (:name, :seq, :at) "
            "ON CONFLICT (name) DO NOTHING"
        ),
        {"name": name, "seq": seq, "at": asof.utc_text(datetime.now(UTC))},
    )
    return _get(connection, name)


def acknowledge(connection: Connection, name: str, cursor: int | str) -> Subscription:
    """Note that *name* has seen everything up to *cursor*; it never goes back.

    Raises ConfigError when the store is not there yet: history would not wait for *name* any more.
    """
    seq = Place.parse(cursor).within(asof.head(connection).seq).complete
    later = sa.case((table.c.seq > seq, table.c.seq), else_=seq)
    connection.execute(
        sa.update(table)
        .where(table.c.name == name)
        .values(seq=later, seen_at=asof.utc_text(datetime.now(UTC)))
    )
    return _get(connection, name)


def unsubscribe(connection: Connection, name: str) -> None:
    """Forget *name*; nothing is kept for it any more."""
    _get(connection, name)
    connection.execute(sa.delete(table).where(table.c.name == name))


def every(connection: Connection) -> list[Subscription]:
    """All of them, the slowest first."""
    query = sa.select(table).order_by(table.c.seq, table.c.name)
    return [_of(row) for row in connection.execute(query)]


def _get(connection: Connection, name: str) -> Subscription:
    row = connection.execute(sa.select(table).where(table.c.name == name)).first()
    if row is None:
        known = list(connection.execute(sa.select(table.c.name)).scalars())
        hint = did_you_mean(name, known) or f" There are: {', '.join(sorted(known)) or 'none'}."
        raise ConfigError(f"{name!r} is not a subscription.{hint}")
    return _of(row)


def _of(row: sa.Row[tuple[str, int, str]]) -> Subscription:
    return Subscription(row.name, row.seq, datetime.fromisoformat(row.seen_at))
