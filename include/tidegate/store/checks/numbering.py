"""The commit numbers: the head is the last one, and each has its line in the ledger (I6)."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import DataError
from tidegate.store.checks.bookkeeping import names_of
from tidegate.store.checks.violations import (
    COMMIT,
    ENTITY,
    RECORD,
    RELATION,
    Look,
    Thing,
    Violation,
    filled,
)
from tidegate.store.tables import COUNTS, head_table

_LOST = 1_000_000
"""More lines than these are not lost: somebody wrote another head."""


def check(look: Look, stream: str) -> Iterator[Violation]:
    """I6: of the store as a whole without *stream*, else whether the stream's rows keep to it."""
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
    queries = {ENTITY: _ENTITIES_BEYOND, RELATION: _RELATIONS_BEYOND}
    if look.has(names_of(stream)["current"]):
        queries[RECORD] = _RECORDS_BEYOND
    for kind, query in queries.items():
        for type, key, seq in look.rows(query, names_of(stream), head=head, stream=stream):
            problem = f"names commit {seq}, which is after the head {head}."
            yield Violation("I6", stream, Thing(kind, type, key), problem)


def mend(connection: Connection) -> int:
    """Bring the head up to the ledger, and note the commits that have no line; returns how many.

    Raises DataError when so many are missing that the head itself must be wrong.
    """
    look = Look(connection)
    if look.number("SELECT count(*) FROM tidegate_head") == 0:
        connection.execute(sa.insert(head_table).values(id=1, seq=0))
    raised = connection.execute(sa.text(_RAISE)).rowcount
    head = look.number("SELECT seq FROM tidegate_head")
    lost = head - look.number("SELECT count(*) FROM tidegate_run WHERE seq > 0")
    if lost > _LOST:
        raise DataError(
            f"tidegate_head says {head:,} commits, but {lost:,} of them have no line in the ledger."
            " Nothing was changed. Set its seq to the largest of tidegate_run, and check again."
        )
    counts = {"names": ", ".join(COUNTS), "zeros": ", ".join("0" for _ in COUNTS)}
    return raised + connection.execute(sa.text(_NOTE.format_map(counts))).rowcount


def lower(connection: Connection, stream: str, seq: int) -> int:
    """Let what names a commit after *seq* name this one; returns how many rows did."""
    values = {"seq": seq, "stream": stream}
    names = names_of(stream)
    queries = list(_LOWER_FACTS)
    if Look(connection).has(names["current"]):
        queries += _LOWER_RECORDS
    return sum(connection.execute(filled(query, names), values).rowcount for query in queries)


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

_RAISE = """
UPDATE tidegate_head SET seq = (SELECT max(seq) FROM tidegate_run)
WHERE seq < (SELECT max(seq) FROM tidegate_run)
"""

# A line that was lost has the time of the commit before it.
_NOTE = """
INSERT INTO tidegate_run
  (seq, stream, batch, run_id, attempt, mode, read_number, {names}, cleaned, checks, committed_at)
WITH RECURSIVE number(seq) AS (
  SELECT 1 UNION ALL SELECT seq + 1 FROM number WHERE seq < (SELECT seq FROM tidegate_head))
SELECT n.seq, '', 'lost-' || n.seq, '', 1, 'lost', 0, {zeros}, '[]', '[]', coalesce(
  (SELECT max(r.committed_at) FROM tidegate_run AS r WHERE r.seq < n.seq),
  (SELECT min(r.committed_at) FROM tidegate_run AS r), '')
FROM number AS n
WHERE n.seq <= (SELECT seq FROM tidegate_head)
  AND n.seq NOT IN (SELECT seq FROM tidegate_run)
"""

_LOWER_FACTS = [
    f"""UPDATE {table} SET seq = :seq
    WHERE seq > :seq AND rule IN (SELECT id FROM tidegate_rule WHERE stream = :stream)"""
    for table in ("entity", "relation")
]

_LOWER_RECORDS = [
    "UPDATE {current} SET _seq = :seq WHERE _seq > :seq",
    "UPDATE {history} SET _seq = :seq WHERE _seq > :seq",
    "UPDATE {history} SET _seq_to = :seq WHERE _seq_to > :seq",
]
