"""What must always be true of a store: seven invariants, each with a check that names violations.

All checks of one run look at one snapshot, so loads may go on meanwhile. An object is named once,
by the first invariant, in the order of :data:`INVARIANTS`, that it violates: a fact without a live
record is not also reported as one that no record says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.store.checks import bookkeeping, drawn, identity, numbering
from tidegate.store.checks.violations import MOST, Look, Thing, Violation
from tidegate.store.tables import stream_table


@dataclass(frozen=True)
class Invariant:
    """One of the seven: its id, its meaning in a sentence, and what finds its violations.

    *check* yields those of one stream; of the store as a whole when the stream's name is empty.
    """

    id: str
    meaning: str
    check: Callable[[Look, str], Iterator[Violation]]


def check(
    connection: Connection, streams: Collection[str] | None = None, sample: int | None = None
) -> list[Violation]:
    """All violations in the snapshot of *connection*, by invariant, stream and object.

    *streams* restricts it to these; *sample* re-derives and hashes that many records of each stream
    instead of all. Raises ConfigError when one of them is not known.
    """
    look = Look(connection, sample)
    names = _names(connection, streams)
    found: dict[tuple[str, Thing], Violation] = {}
    for invariant in INVARIANTS:
        for stream in [*([""] if streams is None else []), *names]:
            new = (
                item
                for item in invariant.check(look, stream)
                if (item.stream, item.object) not in found
            )
            for item in islice(new, MOST):
                found[item.stream, item.object] = item
    return sorted(found.values())


def _names(connection: Connection, streams: Collection[str] | None) -> list[str]:
    query = sa.select(stream_table.c.name).order_by(stream_table.c.name)
    known = list(connection.execute(query).scalars())
    for name in streams or ():
        if name not in known:
            hint = did_you_mean(name, known) or f" There are: {', '.join(known) or 'none'}."
            raise ConfigError(f"{name!r} is not a stream of this store.{hint}")
    return known if streams is None else [name for name in known if name in streams]


INVARIANTS = (
    Invariant("I6", "the head is the last commit, and every commit has its line in the ledger",
              numbering.check),
    Invariant("I5", "records are what was loaded, with one version reigning at a time",
              bookkeeping.check),
    Invariant("I7", "a stream has one mapping in force, and a fact one rule and one record's key",
              identity.check),
    Invariant("I2", "every fact has a live record", drawn.check_records),
    Invariant("I1", "both ends of every relation exist", drawn.check_ends),
    Invariant("I4", "what is single-valued has one winner", drawn.check_votes),
    Invariant("I3", "the knowledge is what the records say", drawn.check_rows),
)  # fmt: skip
"""The seven, in the order in which they are checked: what explains others comes first."""
