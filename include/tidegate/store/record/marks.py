"""Records that repeat another one: kept and marked, not dropped.

Rows that ``drop_duplicates`` gave the same ``_same`` text are all kept; all but the one with the
smallest key are marked ``_duplicate``. The mark is a function of the table's content, so it does
not depend on how rows were cut into increments, and a duplicate comes back by itself when the row
it repeated changes or goes. A record whose mark changes begins a new reign.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.store.sqltext import Script


def mark(script: Script, pieces: Mapping[str, str]) -> tuple[int, int]:
    """Mark what repeats another record now, unmark what does not, where this commit had a hand in.

    Returns how many records changed nothing but their mark (they are in the stage now, with the
    action ``mark``), and how many of the inserted ones begin with it. *script* knows the tables and
    the commit, *pieces* their columns.
    """
    script.run(_FIND_MARKS)
    marked = script.run(_KEEP_MARKED, pieces)
    script.run(_MARK)
    script.run(_FORGET_MARKS)
    return marked, script.number(_COUNT_HIDDEN)


# What this commit wrote begins with its mark; the others begin a new reign with it.
_FIND_MARKS = """
INSERT INTO {stage} (_key, _action)
SELECT _key, CASE WHEN _seq = :seq THEN 'begin' ELSE 'mark' END FROM (
  SELECT _key, _seq, _duplicate, _deleted = false AND row_number() OVER (
    PARTITION BY _same, _deleted ORDER BY length(_key), _key) > 1 AS again
  FROM {current} WHERE _same IN (
    SELECT _same FROM {stage} WHERE _action IN ('insert', 'update', 'delete')
    UNION SELECT _same FROM {history} WHERE _seq_to = :seq)
) AS ranked WHERE again <> _duplicate
"""

_KEEP_MARKED = """
INSERT INTO {history} ({all}, _seq, _seq_to)
SELECT {olds}, c._seq, :seq FROM {current} AS c
JOIN {stage} AS s ON s._key = c._key WHERE s._action = 'mark'
"""

_MARK = """
UPDATE {current} SET _duplicate = NOT _duplicate, _seq = :seq
WHERE _key IN (SELECT _key FROM {stage} WHERE _action IN ('mark', 'begin'))
"""

_FORGET_MARKS = "DELETE FROM {stage} WHERE _action = 'begin'"

_COUNT_HIDDEN = """
SELECT count(*) FROM {stage} AS s JOIN {current} AS c ON c._key = s._key
WHERE s._action = 'insert' AND c._duplicate
"""
