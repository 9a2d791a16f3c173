"""Stable SQL views, for whoever reads the store with SQL of their own.

``<source>__<stream>__now``  live records of a stream: every data column it ever had, by name
``entity_now``               who or what is spoken of, by which stream, with its attributes
``relation_now``             who is connected to whom, by which relation

Nothing of the store's own bookkeeping shows, so a store may change behind them. A new column comes
last; a column that the source no longer has stays, and is NULL. SQLite keeps exact numbers and
times as text, and so do the views.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError
from tidegate.store.record import frames
from tidegate.store.record.records import current_name
from tidegate.store.sqltext import Script
from tidegate.store.tables import stream_table


def view_name(stream: str) -> str:
    """The view of a stream's live records."""
    return f"{current_name(stream)}__now"


def show(connection: Connection, stream: str) -> None:
    """Create the view of *stream*, or let it show the columns that have come since."""
    script = Script(connection, {"current": current_name(stream)})
    columns = [column.name for column in frames.columns_of(connection, stream)]
    pieces = {"columns": script.columns(columns), "current": script.quote(current_name(stream))}
    _create(connection, view_name(stream), _LIVE.format_map(pieces))


def show_all(connection: Connection) -> None:
    """Create every view there should be."""
    for name, query in _KNOWLEDGE.items():
        _create(connection, name, query)
    for stream in _loaded(connection):
        show(connection, stream)


@contextmanager
def aside(connection: Connection, stream: str) -> Iterator[None]:
    """Without the view of *stream*, whose columns change their types meanwhile."""
    with _without(connection, stream, [view_name(stream)]):
        yield
        show(connection, stream)


@contextmanager
def all_aside(connection: Connection, where: str) -> Iterator[None]:
    """Without any of our views, while the tables below them change; *where* is for the message."""
    names = [*_KNOWLEDGE, *map(view_name, _loaded(connection))]
    with _without(connection, where, names):
        yield
        show_all(connection)


@contextmanager
def _without(connection: Connection, where: str, names: Iterable[str]) -> Iterator[None]:
    """Drop the views, and hand out anew afterwards what was granted on them.

    Raises ConfigError when a view that is not ours depends on one of them or on their tables.
    """
    script = Script(connection, {})
    there = set(sa.inspect(connection).get_view_names())
    gone = [name for name in names if name in there]
    granted = [(name, *grant) for name in gone for grant in _granted(script, name)]
    try:
        for name in gone:
            script.run("DROP VIEW {view}", {"view": script.quote(name)})
        yield
    except sa.exc.DBAPIError as error:
        text = " ".join(str(error.orig).split())
        if not _BUILT_ON.search(text):
            raise
        raise ConfigError(
            f"{where}: a view that is not Tidegate's is built on what must change: {text}. "
            "Nothing was changed. Drop that view, try again, then create it anew."
        ) from error
    for name, privilege, whom in granted:
        pieces = {"view": script.quote(name), "privilege": privilege, "whom": whom}
        script.run("GRANT {privilege} ON {view} TO {whom}", pieces)


def _granted(script: Script, name: str) -> list[tuple[str, str]]:
    """``(privilege, quoted grantee)`` of everybody but the owner."""
    if script.connection.dialect.name != "postgresql":
        return []
    rows = script.connection.execute(sa.text(_GRANTS), {"name": name})
    return [(row[0], row[1]) for row in rows]


def _create(connection: Connection, name: str, query: str) -> None:
    script = Script(connection, {})
    pieces = {"view": script.quote(name), "query": query}
    if connection.dialect.name == "postgresql":
        script.run("CREATE OR REPLACE VIEW {view} AS {query}", pieces)
        return
    script.run("DROP VIEW IF EXISTS {view}", pieces)
    script.run("CREATE VIEW {view} AS {query}", pieces)


def _loaded(connection: Connection) -> list[str]:
    query = sa.select(stream_table.c.name).where(stream_table.c.columns.is_not(None))
    return list(connection.execute(query.order_by(stream_table.c.name)).scalars())


_LIVE = "SELECT {columns} FROM {current} WHERE NOT _deleted AND NOT _duplicate"
_KNOWLEDGE = {
    "entity_now": """
SELECT e.type, e.key, e.name, e.attributes, e.stub, e.outvoted, r.stream, e.record
FROM entity AS e JOIN tidegate_rule AS r ON r.id = e.rule WHERE r.active
""",
    "relation_now": """
SELECT r.type, r.from_type, l.from_key, r.to_type, l.to_key, l.qualifiers, l.outvoted, r.stream,
  l.record
FROM relation AS l JOIN tidegate_rule AS r ON r.id = l.rule WHERE r.active
""",
}
_BUILT_ON = re.compile(r"view .* depends on|used by a view|error in view")
_GRANTS = """
SELECT a.privilege_type,
  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
FROM pg_class AS c, aclexplode(c.relacl) AS a
WHERE c.relname = :name AND pg_table_is_visible(c.oid) AND a.grantee <> c.relowner
ORDER BY 2, 1
"""
