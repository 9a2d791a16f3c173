"""The versioned upsert: from stage into the current and history tables, in a few statements.

A *version* of a record is its key and its content; it carries the smallest and the largest order
token that showed it. The largest (token, hash) reigns. So the versions of a record are a
join-semilattice (Shapiro et al., "Conflict-free Replicated Data Types", 2011): any order, any
duplication and any split of the same reads ends in the same versions and the same one reigning.
Tombstones are versions like any other. A version that comes late is kept: it goes into history
with an empty reign, ``_seq = _seq_to``.

Afterwards ``_action`` of the stage says what happened to each row: ``insert``, ``update``,
``delete`` (a new version reigns), ``same`` (equal to what reigned), ``stale`` (older than what
reigns now), ``mark`` (a row added by :mod:`tidegate.store.record.marks`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store.record import evolve, marks, pieces
from tidegate.store.record.pieces import Pieces
from tidegate.store.record.records import Records
from tidegate.store.sqltext import MANY, Script

Fates = dict[str, int]
"""How many staged rows met which fate, by ``_action``."""


@dataclass(frozen=True, slots=True)
class Merged:
    """How many staged rows met which fate, which adds up to the rows staged; and *marked* records.

    *marked* counts the records of which nothing but the duplicate mark changed.
    """

    inserted: int
    updated: int
    deleted: int
    unchanged: int
    stale: int
    deduplicated: int
    marked: int
    hidden: int
    """Of the *deduplicated*, those inserted with the mark."""

    @property
    def touched(self) -> int:
        """How many records are not as they were."""
        return self.inserted + self.hidden + self.updated + self.deleted + self.marked


def merge(connection: Connection, records: Records, seq: int) -> Merged:
    """Apply the staged rows as commit *seq*, to tables that :func:`evolve.ensure` made fit."""
    script = _script(connection, records, seq)
    if records.stage == records.current:
        repeated, fates = _adopted(script, records)
    else:
        repeated, fates = _merged(script, records)
    marked = hidden = 0
    if records.marks:
        marked, hidden = marks.mark(script, pieces.of(script, records))
    merged = Merged(
        inserted=fates.get("insert", 0) - hidden,
        updated=fates.get("update", 0),
        deleted=fates.get("delete", 0),
        unchanged=fates.get("same", 0),
        stale=fates.get("stale", 0),
        deduplicated=repeated + hidden,
        marked=marked,
        hidden=hidden,
    )
    if merged.inserted >= MANY:
        script.measure(records.current, "_key", "_seq", *records.refs)
    return merged


def _script(connection: Connection, records: Records, seq: int) -> Script:
    names = {"current": records.current, "history": records.history, "stage": records.stage}
    return Script(connection, names, {"seq": seq})


def _merged(script: Script, records: Records) -> tuple[int, Fates]:
    """How many rows of the stage repeated another one, and the fates of the others."""
    made = pieces.of(script, records)
    empty = script.number(_COUNT_SOME) == 0
    script.run(_ADD_ACTION)
    return (_begin if empty else _go_on)(script, made, records)


def _adopted(script: Script, records: Records) -> tuple[int, Fates]:
    """The stage is the current table now: done, unless a key comes twice, which its index tells."""
    try:
        with script.connection.begin_nested():
            evolve.index(script.connection, records, script.values["seq"])
            return 0, {"insert": script.number(_COUNT)}
    except sa.exc.IntegrityError:
        records = replace(records, straight="")
    script = _script(script.connection, records, script.values["seq"])
    script.run(_TAKE_BACK, {"values": script.columns(records.values)})
    script.run(_EMPTY)
    return _merged(script, records)


def _begin(script: Script, pieces: Pieces, records: Records) -> tuple[int, Fates]:
    """Nothing is there yet: all rows are new, unless a key comes twice, which its index tells."""
    try:
        with script.connection.begin_nested():
            inserted = script.run(_INSERT, pieces)
            evolve.index(script.connection, records, script.values["seq"])
            return 0, {"insert": inserted}
    except sa.exc.IntegrityError:
        repeated = _fold(script, pieces)
    fates = dict(script.rows(_COUNT_ACTIONS))
    script.run(_KEEP_LATE, pieces)
    script.run(_INSERT, pieces)
    evolve.index(script.connection, records, script.values["seq"])
    return repeated, fates


def _go_on(script: Script, pieces: Pieces, records: Records) -> tuple[int, Fates]:
    """Late versions and those that reigned go into history, the new ones reign.

    The current table is searched once: the stage notes where the record of each row is.
    """
    evolve.index(script.connection, records)
    script.run(_ADD_PLACE, pieces)
    several = script.number(_COUNT_SEVERAL) > 0
    repeated = _fold(script, pieces) if several else 0
    if several:  # a version that reigns may be in the stage beside one that follows it
        _widen(script, records.current, _SAME)
    script.run(_CLASSIFY, pieces)
    fates = dict(script.rows(_COUNT_ACTIONS))
    if fates.get("update", 0) + fates.get("delete", 0):
        script.run(_BEGIN_EARLIER)
        script.run(_SUPERSEDE, pieces)
        script.run(_UPDATE, pieces)
    if fates.get("stale", 0):
        _widen(script, records.history, "s._action = 'stale' AND " + _SAME)
        script.run(_KEEP_LATE, pieces)
    if fates.get("same", 0) and not several:
        _widen(script, records.current, _THERE, pieces["row"])
    if fates.get("insert", 0):
        script.run(_INSERT, pieces)
    return repeated, fates


def _widen(script: Script, table: str, which: str, row: str = "") -> None:
    """Let the versions of *table* that the stage has too have the bounds of both."""
    names = {"table": script.quote(table), "row": row}
    script.run(_WIDEN, {**names, "which": which.format_map(names)})


def _fold(script: Script, pieces: Pieces) -> int:
    """One row for each version in the stage; of several for one key, all but the newest are stale.

    Returns how many rows repeated another one.
    """
    script.run(_WIDEN_STAGED)
    repeated = script.run(_DROP_REPEATED, pieces)
    script.run(_OUTDO, pieces)
    return repeated


_COUNT_SOME = "SELECT count(*) FROM (SELECT 1 FROM {current} LIMIT 1) AS one"

_COUNT = "SELECT count(*) FROM {current}"

_TAKE_BACK = "CREATE TEMPORARY TABLE {stage} AS SELECT {values} FROM {current}"

_EMPTY = "TRUNCATE {current}"

_ADD_ACTION = "ALTER TABLE {stage} ADD COLUMN _action TEXT DEFAULT 'insert'"

_ADD_PLACE = "ALTER TABLE {stage} ADD COLUMN _place {place}"

_COUNT_SEVERAL = """
SELECT count(*) FROM (SELECT 1 FROM {stage} GROUP BY _key HAVING count(*) > 1 LIMIT 1) AS found
"""

_WIDEN_STAGED = """
UPDATE {stage} SET _first = g.low FROM (
  SELECT _key, _hash, min(_first) AS low FROM {stage} GROUP BY _key, _hash HAVING count(*) > 1
) AS g WHERE g._key = {stage}._key AND g._hash = {stage}._hash
"""

_DROP_REPEATED = """
DELETE FROM {stage} WHERE {row} IN (
  SELECT place FROM (
    SELECT {row} AS place, row_number() OVER (
      PARTITION BY _key, _hash ORDER BY _token DESC, _source_hash DESC) AS rank
    FROM {stage}
  ) AS ranked WHERE rank > 1)
"""

_OUTDO = """
UPDATE {stage} SET _action = 'stale' WHERE {row} IN (
  SELECT place FROM (
    SELECT {row} AS place, row_number() OVER (
      PARTITION BY _key ORDER BY _token DESC, _hash DESC) AS rank
    FROM {stage}
  ) AS ranked WHERE rank > 1)
"""

_CLASSIFY = """
UPDATE {stage} SET _place = found.there, _action = found.action FROM (
  SELECT s.{row} AS place, c.{row} AS there, CASE
    WHEN c._hash = s._hash THEN 'same'
    WHEN s._action = 'stale' THEN 'stale'
    WHEN (s._token, s._hash) < (c._token, c._hash) THEN 'stale'
    WHEN s._deleted AND NOT c._deleted THEN 'delete'
    ELSE 'update' END AS action
  FROM {stage} AS s CROSS JOIN {found}
) AS found WHERE found.place = {stage}.{row}
"""

# What equals the reigning version widens its bounds, also when a newer version takes its place.
_WIDEN = """
UPDATE {table} SET
  _first = CASE WHEN s._first < {table}._first THEN s._first ELSE {table}._first END,
  _token = CASE WHEN s._token > {table}._token THEN s._token ELSE {table}._token END,
  _source_hash = CASE
    WHEN (s._token, s._source_hash) > ({table}._token, {table}._source_hash)
    THEN s._source_hash ELSE {table}._source_hash END
FROM {stage} AS s
WHERE {which}
  AND (s._first < {table}._first
    OR (s._token, s._source_hash) > ({table}._token, {table}._source_hash))
"""

_SAME = "s._key = {table}._key AND s._hash = {table}._hash"

_THERE = "s._action = 'same' AND s._place = {table}.{row}"

_COUNT_ACTIONS = "SELECT _action, count(*) FROM {stage} GROUP BY _action"

# A version that comes back was seen before.
_BEGIN_EARLIER = """
UPDATE {stage} SET _first = h.low FROM (
  SELECT h._key, h._hash, min(h._first) AS low FROM {history} AS h
  JOIN {stage} AS s ON s._key = h._key AND s._hash = h._hash
  WHERE s._action IN ('update', 'delete') GROUP BY h._key, h._hash
) AS h WHERE h._key = {stage}._key AND h._hash = {stage}._hash AND h.low < {stage}._first
"""

_SUPERSEDE = """
INSERT INTO {history} ({all}, _seq, _seq_to)
SELECT {olds}, c._seq, :seq FROM {current} AS c
JOIN {stage} AS s ON s._place = c.{row} WHERE s._action IN ('update', 'delete')
"""

_UPDATE = """
UPDATE {current} SET {sets}, _seq = :seq FROM {stage} AS s
WHERE s._place = {current}.{row} AND s._action IN ('update', 'delete')
"""

_KEEP_LATE = """
INSERT INTO {history} ({values}, _seq, _seq_to)
SELECT {staged}, :seq, :seq FROM {stage} AS s
WHERE s._action = 'stale' AND NOT EXISTS (
  SELECT 1 FROM {history} AS h WHERE h._key = s._key AND h._hash = s._hash)
"""

_INSERT = """
INSERT INTO {current} ({values}, _seq)
SELECT {staged}, :seq FROM {stage} AS s WHERE s._action = 'insert'
"""
