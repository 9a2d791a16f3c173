"""The lease of a stream, and the fence that keeps everybody else from moving its watermark.

A run that moves the watermark takes the stream's lease first (Gray and Cheriton, "Leases", 1989),
and with it a *fence*, a number larger than any before. Every commit of the run compares the fence
in its own transaction. So the lease's time decides only how soon another run may try: one that was
stopped for longer, and wakes up, finds another fence and commits nothing.

Times are the store's: PostgreSQL's clock, or that of the machine that has the SQLite file.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from tidegate import settings
from tidegate.errors import BusyError, FencedError
from tidegate.model import utc_text
from tidegate.store import engine as engines
from tidegate.store import ledger
from tidegate.store.tables import stream_table

OFTEN = 4
"""A lease is renewed this many times before it would end."""


class Leases:
    """Those of one store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._renewed: dict[tuple[str, int], float] = {}

    def take(self, stream: str, owner: str) -> int:
        """Take the lease of *stream* for the run *owner*; returns its fence.

        A run that asks again gets another fence: what is left of its first attempt is kept out.
        Raises BusyError while another run has the lease.
        """
        with engines.snapshot(self._engine) as connection:
            _require_free(connection, stream, owner)
        with self._engine.begin() as connection:
            ledger.register(connection, stream)
            values = {"stream": stream, "owner": owner, **_term(connection)}
            fence = connection.execute(sa.text(_TAKE), values).scalar()
            if fence is None:
                _require_free(connection, stream, owner)
        if fence is None:  # it was given back between two looks
            return self.take(stream, owner)
        self._renewed[stream, fence] = time.time()
        return int(fence)

    def renew(self, stream: str, fence: int, renewed: float = 0.0) -> None:
        """The run that has *fence* is alive; seldom more than a look at the clock.

        *renewed* is when somebody else did it, as far as known. Raises FencedError when another
        run took over. Fence 0 needs no lease.
        """
        if fence and due(renewed) and due(self._renewed.get((stream, fence), 0.0)):
            with self._engine.begin() as connection:
                hold(connection, stream, fence)
            self._renewed[stream, fence] = time.time()

    def release(self, stream: str, fence: int) -> None:
        """Give the lease back, if *fence* is still the one that has it."""
        with self._engine.begin() as connection:
            connection.execute(sa.text(_RELEASE), {"stream": stream, "fence": fence})

    def abandon(self, stream: str, owner: str) -> None:
        """Give back what the run *owner* has: nobody will try it again."""
        with self._engine.begin() as connection:
            connection.execute(sa.text(_ABANDON), {"stream": stream, "owner": owner})


def due(renewed: float) -> bool:
    """Whether to renew a lease that was renewed at *renewed* (seconds since 1970).

    The clock may have been another machine's: what is of the future is due, too.
    """
    return not 0 <= time.time() - renewed < settings.lease_seconds() / OFTEN


def hold(connection: Connection, stream: str, fence: int) -> None:
    """Renew the lease in this transaction, and let nobody take it over until the transaction ends.

    Raises FencedError when another run has.
    """
    values = {"stream": stream, "fence": fence, **_term(connection)}
    if connection.execute(sa.text(_HOLD), values).rowcount != 1:
        raise fenced(connection, stream, fence)


def require(connection: Connection, stream: str, fence: int) -> None:
    """Raise FencedError when another run took over."""
    if (row := _row(connection, stream)) is not None and row.fence != fence:
        raise fenced(connection, stream, fence)


def fenced(connection: Connection, stream: str, fence: int) -> FencedError:
    """The error that says who took over, and since when."""
    row = _row(connection, stream)
    who = f"run {row.lease_owner} took it over at {row.lease_since}" if row else "it is gone"
    return FencedError(
        f"{stream}: this run did not stir for too long: {who} "
        f"(fence {row.fence if row else 0}, this run has {fence}). "
        "Nothing more of this run is kept, and nothing is lost: that run reads on from the "
        "watermark."
    )


def _require_free(connection: Connection, stream: str, owner: str) -> None:
    row = _row(connection, stream)
    if row is None or row.lease_until is None or row.lease_owner == owner:
        return
    if row.lease_until > _term(connection)["now"]:
        raise BusyError(
            f"{stream}: is being run by {row.lease_owner} since {row.lease_since}, which keeps it "
            f"until {row.lease_until} at least. This run is skipped: that one, or the next, reads "
            "what is new."
        )


def _row(connection: Connection, stream: str) -> Any:
    return connection.execute(sa.select(stream_table).where(stream_table.c.name == stream)).first()


def _term(connection: Connection) -> dict[str, str]:
    """The store's time, and when a lease that begins now will end."""
    moment = datetime.now(UTC)
    if connection.dialect.name == "postgresql":
        moment = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    until = moment + timedelta(seconds=settings.lease_seconds())
    return {"now": utc_text(moment), "until": utc_text(until)}


_TAKE = """
UPDATE tidegate_stream
SET fence = fence + 1, lease_owner = :owner, lease_since = :now, lease_until = :until
WHERE name = :stream AND (lease_until IS NULL OR lease_until <= :now OR lease_owner = :owner)
RETURNING fence
"""
_HOLD = "UPDATE tidegate_stream SET lease_until = :until WHERE name = :stream AND fence = :fence"
_RELEASE = "UPDATE tidegate_stream SET lease_until = NULL WHERE name = :stream AND fence = :fence"
_ABANDON = (
    "UPDATE tidegate_stream SET lease_until = NULL WHERE name = :stream AND lease_owner = :owner"
)
