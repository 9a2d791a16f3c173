"""What must always be true of a store: seven invariants, each with a check that names violations.

All checks of one run look at one snapshot, so loads may go on meanwhile. An object is named once,
by the first invariant, in the order of :data:`INVARIANTS`, that it violates: a fact without a live
record is not also reported as one that no record says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store import bookkeeping, drawn
from tidegate.store.tables import stream_table
from tidegate.store.violations import (
    COMMIT,
    ENTITY,
    MAPPING,
    RECORD,
    RELATION,
    Look,
    Thing,
    Violation,
)

MOST = 1_000
"""Violations of one invariant in one stream that are named; what follows is not looked at."""


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
    instead of all.
    """
    look = Look(connection, sample)
    known = connection.execute(sa.select(stream_table.c.name).order_by(stream_table.c.name))
    names = [name for (name,) in known.all() if streams is None or name in streams]
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


def _ledger_is_whole(look: Look, stream: str) -> Iterator[Violation]:
    head = look.number("SELECT seq FROM tidegate_head")
    if stream:
        yield from _beyond(look, stream, head)
        return
    last = look.number("SELECT max(seq) FROM tidegate_run")
    if head < last:
        problem = f"is {head}, but the ledger goes on to {last}."
        yield Violation("I6", "", Thing(COMMIT, "", "head"), problem)
    for low, high in look.rows(_MISSING, head=head):
        line = f"commit {low}" if low == high else f"commits {low} to {high}"
        yield Violation("I6", "", Thing(COMMIT, "", line), "has no line in the ledger.")


def _beyond(look: Look, stream: str, head: int) -> Iterator[Violation]:
    names = bookkeeping.names_of(stream)
    queries = {ENTITY: _ENTITIES_BEYOND, RELATION: _RELATIONS_BEYOND}
    if look.has(names["current"]):
        queries[RECORD] = _RECORDS_BEYOND
    for kind, query in queries.items():
        for type, key, seq in look.rows(query, names, head=head, stream=stream):
            problem = f"names commit {seq}, which is after the head {head}."
            yield Violation("I6", stream, Thing(kind, type, key), problem)


def _one_identity(look: Look, stream: str) -> Iterator[Violation]:
    if not stream:
        for table, rule, count in look.rows(_ORPHANS):
            problem = f"is unknown, but there are {count:,} rows of it in {table}."
            yield Violation("I7", "", Thing(MAPPING, "", f"rule {rule}"), problem)
        return
    for state, count in look.rows(_MAPPINGS, stream=stream):
        thing = Thing(MAPPING, "", f"{state} mapping")
        yield Violation("I7", stream, thing, f"is there {count} times, not once.")
    for rule, problem in look.rows(_RULES, stream=stream):
        yield Violation("I7", stream, Thing(MAPPING, "", f"rule {rule}"), problem)
    for mapping, definition, count in look.rows(_RULES_OF, stream=stream):
        wanted = len(json.loads(definition)["rules"])
        if wanted != count:
            thing = Thing(MAPPING, "", f"mapping {mapping}")
            yield Violation("I7", stream, thing, f"has {count} rules, not {wanted}.")
    for type, key, rule, says in look.rows(_TYPES, stream=stream):
        problem = f"belongs to rule {rule}, which is of {says}."
        yield Violation("I7", stream, Thing(ENTITY, type, key), problem)
    yield from drawn.wrong_keys(look, stream)
    for record, rule, count in look.rows(_SPEAKS, stream=stream):
        problem = f"speaks for {count} entities by rule {rule}, not for one."
        yield Violation("I7", stream, Thing(RECORD, "", record), problem)


INVARIANTS = (
    Invariant("I6", "the head is the last commit, and every commit has its line in the ledger",
              _ledger_is_whole),
    Invariant("I7", "a stream has one mapping in force, and a fact one rule and one record's key",
              _one_identity),
    Invariant("I5", "records are what was loaded, with one version reigning at a time",
              bookkeeping.check),
    Invariant("I2", "every fact has a live record", drawn.check_records),
    Invariant("I1", "both ends of every relation exist", drawn.check_ends),
    Invariant("I4", "what is single-valued has one winner", drawn.check_votes),
    Invariant("I3", "the knowledge is what the records say", drawn.check_rows),
)  # fmt: skip
"""The seven, in the order in which they are checked: what explains others comes first."""

_MISSING = """
SELECT low, high FROM (
  SELECT seq + 1 AS low, coalesce(lead(seq) OVER (ORDER BY seq) - 1, :head) AS high
  FROM (SELECT 0 AS seq UNION ALL SELECT seq FROM tidegate_run) AS line
) AS gap WHERE low <= high ORDER BY low
"""

_RECORDS_BEYOND = """
SELECT '', _key, max(seq) FROM (
  SELECT _key, _seq AS seq FROM {current} WHERE _seq > :head
  UNION ALL SELECT _key, _seq FROM {history} WHERE _seq > :head
  UNION ALL SELECT _key, _seq_to FROM {history} WHERE _seq_to > :head
) AS late GROUP BY _key
"""

_ENTITIES_BEYOND = """
SELECT e.type, e.key, e.seq FROM entity AS e JOIN tidegate_rule AS r ON r.id = e.rule
WHERE r.stream = :stream AND e.seq > :head
"""

_RELATIONS_BEYOND = """
SELECT r.type, f.record, f.seq FROM relation AS f JOIN tidegate_rule AS r ON r.id = f.rule
WHERE r.stream = :stream AND f.seq > :head
"""

_ORPHANS = """
SELECT 'entity', e.rule, count(*) FROM entity AS e
WHERE NOT EXISTS (SELECT 1 FROM tidegate_rule AS r WHERE r.id = e.rule) GROUP BY e.rule
UNION ALL SELECT 'relation', f.rule, count(*) FROM relation AS f
WHERE NOT EXISTS (SELECT 1 FROM tidegate_rule AS r WHERE r.id = f.rule) GROUP BY f.rule
"""

_MAPPINGS = """
SELECT state, count(*) FROM tidegate_mapping
WHERE stream = :stream AND state IN ('active', 'building') GROUP BY state HAVING count(*) > 1
"""

_RULES = """
SELECT id, problem FROM (
  SELECT r.id, CASE
    WHEN m.id IS NULL THEN 'belongs to a mapping that does not exist.'
    WHEN m.stream <> r.stream THEN 'is of another stream than its mapping.'
    WHEN r.active AND m.state <> 'active' THEN 'is active, but its mapping is not.'
    WHEN m.state = 'active' AND NOT r.active THEN 'is not active, but its mapping is.'
    END AS problem
  FROM tidegate_rule AS r LEFT JOIN tidegate_mapping AS m ON m.id = r.mapping
  WHERE r.stream = :stream
) AS found WHERE problem IS NOT NULL
"""

_RULES_OF = """
SELECT m.id, m.definition, (SELECT count(*) FROM tidegate_rule AS r WHERE r.mapping = m.id)
FROM tidegate_mapping AS m WHERE m.stream = :stream AND m.state IN ('active', 'building')
"""

_TYPES = """
SELECT e.type, e.key, r.id, CASE r.kind WHEN 'entity' THEN r.type ELSE r.kind || ' ' || r.type END
FROM entity AS e JOIN tidegate_rule AS r ON r.id = e.rule
WHERE r.stream = :stream AND NOT CASE r.kind
  WHEN 'entity' THEN e.type = r.type AND NOT e.stub
  ELSE e.stub AND e.type IN (r.from_type, r.to_type) END
"""

_SPEAKS = """
SELECT e.record, e.rule, count(*) FROM entity AS e
JOIN tidegate_rule AS r ON r.id = e.rule
JOIN tidegate_mapping AS m ON m.id = r.mapping AND m.state IN ('active', 'building')
WHERE r.stream = :stream AND e.record IS NOT NULL
GROUP BY e.rule, e.record HAVING count(*) > 1
"""
