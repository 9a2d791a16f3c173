"""The first relations of a store on PostgreSQL: written without indexes, which are made afterwards.

Row by row three indexes take three times as long as the rows. To do without, the table must be this
transaction's alone until its end: so only while it is empty, and if nobody else has it just now.
Nobody is waited for; who comes later waits for the first relations that there will be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, CursorResult

from tidegate.store.knowledge.projecting import Work
from tidegate.store.sqltext import MANY


@contextmanager
def unindexed(work: Work) -> Iterator[None]:
    """Let ``relation`` be without indexes in here, where that is worth it and possible."""
    connection = work.script.connection
    indexes = _dropped(connection) if _wanted(work) else []
    yield
    for making in indexes:
        _say(connection, making)


def _wanted(work: Work) -> bool:
    relations = any(rule.kind == "relation" for rule in work.mapping.rules)
    if work.json.lite or not (work.fresh and relations):
        return False
    script = work.script
    return script.number(_ANY) == 0 and script.number(_SOME, work.pieces, many=MANY) == MANY


def _dropped(connection: Connection) -> list[str]:
    """The statements that make the indexes again; none when somebody or something needs them."""
    try:
        with connection.begin_nested():
            _say(connection, "LOCK TABLE relation IN ACCESS EXCLUSIVE MODE NOWAIT")
            indexes = _say(connection, _INDEXES).all()
            for index in indexes:
                _say(connection, index.drop)
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return []
    return [index.make for index in indexes]


def _say(connection: Connection, text: str) -> CursorResult[Any]:
    """Execute *text* as it stands: a percent sign in it begins no value."""
    return connection.exec_driver_sql(text, execution_options={"no_parameters": True})


_ANY = "SELECT count(*) FROM (SELECT 1 FROM relation LIMIT 1) AS one"

_SOME = "SELECT count(*) FROM (SELECT 1 FROM {after} AS c LIMIT :many) AS first"

# As they are, whoever made them.
_INDEXES = """
SELECT
  CASE WHEN c.oid IS NULL THEN format('DROP INDEX %s', i.indexrelid::regclass)
    ELSE format('ALTER TABLE relation DROP CONSTRAINT %I', c.conname) END AS drop,
  CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid)
    ELSE format('ALTER TABLE relation ADD CONSTRAINT %I %s', c.conname,
      pg_get_constraintdef(c.oid)) END AS make
FROM pg_index AS i
LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')
WHERE i.indrelid = 'relation'::regclass
"""
