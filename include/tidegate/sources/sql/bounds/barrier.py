"""MySQL and MariaDB: the safe moment, from one look to the next.

A *barrier* is the server's time t just before a look, and the sessions that were found busy with a
statement, or with a transaction open. It is drained once each of them was seen without what it had
then; t is a safe moment from then on.

Proof. Let a statement begin before t (so is its stamp), in session k. The look asks first who is
busy, then who has a transaction open. Either k was busy at the first question, or the statement was
over, and its transaction was open at the second question, or was over too. In the first two cases k
is waited for. It is let go when a later look finds k

- neither busy nor with a transaction: the statement was over before the first question of that
  look; its transaction, were it open, would have been seen by the second.
- with another transaction than the one it had, or with none after it had one: a statement writes
  within one transaction and does not outlive it (a procedure's statements are stamped one by one).
  A *bulk* command, many executions under one stamp, does outlive it, and is waited for by itself.

A session that was busy and had no transaction is not let go because its statement's number or age
changed: within a stored function or trigger both change, and the stamp is that of the outer
statement. A transaction leaves the list only when all new reads see it. Two transactions of one
session that began in the same second are taken for one: that only takes longer.

When the server's clock may have been set back by δ since a look, statements that begin after it are
stamped t - δ or later: its barrier is lowered by as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegate.model import Json

CAP = 20


@dataclass(frozen=True, slots=True)
class Look:
    """*at*: the server's clock before. *open*: session → second its transaction began.

    *bulk*: those of the *busy* whose command may be many transactions.
    """

    at: datetime
    busy: frozenset[int]
    open: Mapping[int, int]
    bulk: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Barrier:
    """*waits*: session → its transaction's second of beginning, None while it has none."""

    at: datetime
    waits: Mapping[int, int | None]

    @classmethod
    def set(cls, look: Look) -> Barrier:
        """A new one."""
        sessions = look.busy | look.open.keys()
        return cls(look.at, {session: look.open.get(session) for session in sorted(sessions)})

    @classmethod
    def from_json(cls, kept: Json) -> Barrier:
        """The reverse of :meth:`to_json`."""
        return cls(datetime.fromisoformat(kept[0]), {int(key): old for key, old in kept[1].items()})

    def to_json(self) -> Json:
        """For the store."""
        return [self.at.isoformat(), {str(key): old for key, old in self.waits.items()}]

    def lowered(self, by: timedelta) -> Barrier:
        """The same, with the server's clock set back."""
        return Barrier(self.at - by, self.waits)

    def after(self, look: Look) -> Barrier:
        """What it still waits for."""
        waits: dict[int, int | None] = {}
        for session, had in self.waits.items():
            has = look.open.get(session)
            begun = had is None and (has is not None or session in look.busy)
            if begun or session in look.bulk or (had is not None and has == had):
                waits[session] = has
        return Barrier(self.at, waits)


def advance(barriers: list[Barrier], look: Look) -> list[Barrier]:
    """*barriers*, oldest first, after *look*, with one for it; only the first may be drained."""
    barriers = [*(barrier.after(look) for barrier in barriers), Barrier.set(look)]
    drained = [place for place, barrier in enumerate(barriers) if not barrier.waits]
    barriers = barriers[drained[-1] if drained else 0 :]
    kept = [
        barrier
        for place, barrier in enumerate(barriers)
        if not barrier.waits
        or all(barrier.waits.keys() != later.waits.keys() for later in barriers[place + 1 :])
    ]
    while len(kept) > CAP:
        del kept[CAP // 2]
    return kept


def safe_moment(barriers: list[Barrier]) -> datetime | None:
    """That of the newest drained one."""
    return barriers[0].at if barriers and not barriers[0].waits else None
