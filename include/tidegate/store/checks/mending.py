"""Bring a stream's records back in order, as commit *seq* (what I5 finds, and mends).

Keys, times and marks follow from the columns and are set right. The reigns of a record are closed
up. Of a row whose content is not what was loaded nobody knows what it was: it is *forgotten*, as if
it had never been read. The newest version that is left reigns again, or the record is gone; and the
next full read brings back what the source still has, as it brings anything new.
"""

from __future__ import annotations

from itertools import islice

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import DataError
from tidegate.store.checks import bookkeeping
from tidegate.store.checks.bookkeeping import OPEN, Spoiled, names_of
from tidegate.store.checks.violations import Look
from tidegate.store.sqltext import Script

MOST = 1_000
"""More rows than these of one stream are not forgotten: that many were not touched by hand."""
Forgotten = tuple[str, bool]
"""The key of a record, and whether it is only a version that reigned before, or never did."""
_SOME = 10_000


def mend(
    connection: Connection, stream: str, seq: int, where: str = "true"
) -> tuple[int, set[Forgotten]]:
    """Mend the records of *stream*: how many rows were wrong, and what is forgotten.

    Content is looked at among the rows that meet *where*. Records that are not as they were have
    ``_seq`` *seq* afterwards, or are gone. Raises DataError when too many would be forgotten.
    """
    script = Script(connection, names_of(stream), {"seq": seq, "open": OPEN})
    changed, forgotten = _contents(script, stream, where)
    look = Look(connection)
    for table in names_of(stream).values():
        for ref, wanted in bookkeeping.expected_refs(look, stream).items():
            column = bookkeeping.template(ref)
            query = f"UPDATE {{t}} AS t SET {column} = {wanted} WHERE t.{column} IS DISTINCT FROM "
            changed += script.run(f"{query} ({wanted})", {"t": script.quote(table)})
        changed += script.run("UPDATE {t} SET _first = _token WHERE _first > _token",
                              {"t": script.quote(table)})  # fmt: skip
    changed += _reigns(script)
    if bookkeeping.marks_duplicates(look, stream):
        changed += _marks(script)
    return changed, forgotten


def _contents(script: Script, stream: str, where: str) -> tuple[int, set[Forgotten]]:
    """Set valid times, forget contents."""
    look, changed, forgotten = Look(script.connection), 0, set[Forgotten]()
    for table in names_of(stream).values():
        while rows := list(islice(bookkeeping.spoiled(look, stream, table, where), _SOME)):
            for row in rows:
                changed += _set_right(script, row)
            forgotten |= {(row.key, row.seq_to is not None) for row in rows if row.content}
            if len(forgotten) > MOST:
                raise DataError(
                    f"{stream}: more than {MOST:,} records have a content that was never loaded. "
                    "Nothing was changed: this is more than a few cells. Restore a backup, or drop "
                    "the stream's tables and read everything again."
                )
    return changed, forgotten


def _set_right(script: Script, row: Spoiled) -> int:
    past = "" if row.seq_to is None else "AND _seq_to = :seq_to"
    query = "DELETE FROM {t}" if row.content else "UPDATE {t} SET _valid = :moment"
    values = {"key": row.key, "hash": row.hash, "seq_to": row.seq_to, "moment": row.moment}
    return script.run(f"{query} WHERE _key = :key AND _hash = :hash {past}",
                      {"t": script.quote(row.table)}, **values)  # fmt: skip


def _reigns(script: Script) -> int:
    """The newest version reigns, and each reign ends where the next one begins."""
    columns = sa.inspect(script.connection).get_columns(script.names["current"])
    names = [column["name"] for column in columns if column["name"] not in {"_seq", "_duplicate"}]
    pieces = {"all": script.columns(names), "each": script.columns(names, "h.")}
    changed = _choose(script, bookkeeping.OUTDONE)
    script.run(_DEPOSE, pieces)
    script.run("DELETE FROM {current} WHERE _key IN (SELECT _key FROM broken)")
    changed += _choose(script, bookkeeping.HEADLESS)
    script.run(_REVIVE, pieces)
    changed += _choose(script, bookkeeping.BROKEN)
    script.run(_RAISE)
    script.run(_CHAIN, pieces)
    script.run("DELETE FROM {history} WHERE _seq <> _seq_to AND _key IN (SELECT _key FROM broken)")
    script.run(_PUT_BACK, pieces)
    for table in ("chained", "broken"):
        script.run(f"DROP TABLE {table}")
    return changed


def _choose(script: Script, query: str) -> int:
    """Note the records that *query* finds; returns how many."""
    script.run("DROP TABLE IF EXISTS broken")
    script.run("CREATE TEMPORARY TABLE broken AS " + query)
    return script.number("SELECT count(*) FROM broken")


def _marks(script: Script) -> int:
    """A record whose mark changes begins a new reign, as in a load."""
    columns = sa.inspect(script.connection).get_columns(script.names["current"])
    names = [column["name"] for column in columns if column["name"] != "_seq"]
    changed = _choose(script, bookkeeping.WRONG_MARKS)
    script.run(_KEEP, {"all": script.columns(names)})
    script.run(_MARK)
    script.run("DROP TABLE broken")
    return changed


_DEPOSE = """
INSERT INTO {history} ({all}, _duplicate, _seq, _seq_to)
SELECT {all}, _duplicate, _seq, :seq FROM {current}
WHERE _key IN (SELECT _key FROM broken) AND _seq < :seq
"""

_REVIVE = """
INSERT INTO {current} ({all}, _duplicate, _seq)
SELECT {all}, false, :seq FROM (
  SELECT {each}, row_number() OVER (
    PARTITION BY h._key ORDER BY h._token DESC, h._hash DESC, h._seq_to DESC) AS place
  FROM {history} AS h WHERE h._key IN (SELECT _key FROM broken)
) AS newest WHERE place = 1
"""

# No version reigned before the one that reigns now began to, if that began later.
_RAISE = """
UPDATE {current} SET _seq = :seq WHERE _key IN (
  SELECT c._key FROM {current} AS c JOIN {history} AS h ON h._key = c._key
  WHERE c._key IN (SELECT _key FROM broken) AND h._seq <> h._seq_to AND h._seq >= c._seq)
"""

_CHAIN = """
CREATE TEMPORARY TABLE chained AS
SELECT {all}, _duplicate, _seq, next FROM (
  SELECT {each}, h._duplicate, h._seq, h.past, lead(h._seq) OVER (
    PARTITION BY h._key ORDER BY h._seq, h._seq_to) AS next
  FROM (
    SELECT {all}, _duplicate, _seq, _seq_to, true AS past FROM {history} WHERE _seq <> _seq_to
    UNION ALL SELECT {all}, _duplicate, _seq, :open, false FROM {current}
  ) AS h WHERE h._key IN (SELECT _key FROM broken)
) AS reign WHERE past
"""

_PUT_BACK = """
INSERT INTO {history} ({all}, _duplicate, _seq, _seq_to)
SELECT {all}, _duplicate, _seq, next FROM chained WHERE true
ON CONFLICT (_key, _hash, _seq_to) DO NOTHING
"""

_KEEP = """
INSERT INTO {history} ({all}, _seq, _seq_to)
SELECT {all}, _seq, :seq FROM {current}
WHERE _key IN (SELECT _key FROM broken) AND _seq < :seq
"""

_MARK = """
UPDATE {current} SET _duplicate = NOT _duplicate, _seq = :seq
WHERE _key IN (SELECT _key FROM broken)
"""
