"""The versioned upsert: from stage into the current and history tables, in a few statements.

The version rule is the lexicographic maximum of (order token, content hash): any order, any
duplication and any split of the same reads ends in the same current table (a join-semilattice;
Shapiro et al., "Conflict-free Replicated Data Types", 2011). Equal content is a touch: the token
moves up, nothing else changes. Tombstones are versions like any other.

Rows that ``drop_duplicates`` gave the same ``_same`` text are all kept; all but the one with the
smallest key are marked ``_duplicate``. The mark is a function of the table's content, so it does
not depend on how rows were cut into increments, and a duplicate comes back by itself when the row
it repeated changes or goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from tidegate.store.sqltext import MANY, Script
from tidegate.store.tables import Records


@dataclass(frozen=True, slots=True)
class Merged:
    """How many staged rows met which fate; they add up to the rows staged."""

    inserted: int
    updated: int
    deleted: int
    unchanged: int
    stale: int
    deduplicated: int


def merge(connection: Connection, records: Records, seq: int) -> Merged:
    """Apply the staged rows as commit *seq*."""
    names = {"current": records.current, "history": records.history, "stage": records.stage}
    script = Script(connection, names, {"seq": seq})
    repeated = script.run(_KEEP_LAST)
    script.lead(script.quote(records.stage), "_key")
    script.run(_CLASSIFY)
    columns = {
        "values": script.columns(records.values),
        "all": script.columns(records.values + list(records.gone)),
        "olds": script.columns(records.values + list(records.gone), "c."),
        "sets": ", ".join(_sets(script, records)),
    }
    script.run(_SUPERSEDE, columns)
    if script.run(_UPSERT, columns) >= MANY:
        script.measure(script.quote(records.current))
    script.run(_TOUCH)
    doubles = 0
    if records.marks:
        script.run(_MARK)
        doubles = script.number(_COUNT_MARKED)
    fates = dict.fromkeys(("insert", "update", "delete", "same", "stale"), 0)
    for action in fates:
        fates[action] = script.number(_COUNT, action=action)
    return Merged(
        inserted=fates["insert"] - doubles,
        updated=fates["update"],
        deleted=fates["delete"],
        unchanged=fates["same"],
        stale=fates["stale"],
        deduplicated=repeated + doubles,
    )


def _sets(script: Script, records: Records) -> Iterator[str]:
    """A new version has nothing of what the stream no longer has; its history keeps it."""
    for name in records.values:
        if name != "_key":
            yield f"{script.quote(name)} = excluded.{script.quote(name)}"
    for name in records.gone:
        yield f"{script.quote(name)} = NULL"
    if not records.marks:
        yield "_duplicate = false"


_KEEP_LAST = """
DELETE FROM {stage} WHERE _n IN (
  SELECT _n FROM (
    SELECT _n, row_number() OVER (
      PARTITION BY _key ORDER BY _token DESC, _hash DESC, _n DESC) AS place
    FROM {stage}
  ) AS ranked WHERE place > 1)
"""

_CLASSIFY = """
UPDATE {stage} SET _action = CASE
  WHEN c._hash = {stage}._hash AND c._deleted = {stage}._deleted THEN 'same'
  WHEN ({stage}._token, {stage}._hash) < (c._token, c._hash) THEN 'stale'
  WHEN {stage}._deleted AND NOT c._deleted THEN 'delete'
  ELSE 'update' END
FROM {current} AS c WHERE c._key = {stage}._key
"""

_SUPERSEDE = """
INSERT INTO {history} ({all}, _seq, _seq_to)
SELECT {olds}, c._seq, :seq FROM {current} AS c
JOIN {stage} AS s ON s._key = c._key WHERE s._action IN ('update', 'delete')
"""

_UPSERT = """
INSERT INTO {current} ({values}, _seq)
SELECT {values}, :seq FROM {stage} WHERE _action IN ('insert', 'update', 'delete')
ON CONFLICT (_key) DO UPDATE SET {sets}, _seq = excluded._seq
"""

_TOUCH = """
UPDATE {current} SET _token = s._token, _source_hash = s._source_hash
FROM {stage} AS s
WHERE s._key = {current}._key AND s._action = 'same' AND s._token > {current}._token
"""

_MARK = """
UPDATE {current} SET _duplicate = ranked.again, _seq = :seq
FROM (
  SELECT _key, _deleted = false AND row_number() OVER (
    PARTITION BY _same, _deleted ORDER BY length(_key), _key) > 1 AS again
  FROM {current} WHERE _same IN (
    SELECT _same FROM {stage} WHERE _action IN ('insert', 'update', 'delete')
    UNION SELECT _same FROM {history} WHERE _seq_to = :seq)
) AS ranked
WHERE ranked._key = {current}._key AND {current}._duplicate <> ranked.again
"""

_COUNT_MARKED = """
SELECT count(*) FROM {stage} AS s JOIN {current} AS c ON c._key = s._key
WHERE s._action = 'insert' AND c._duplicate
"""

_COUNT = "SELECT count(*) FROM {stage} WHERE _action = :action"
