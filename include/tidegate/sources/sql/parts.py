"""What a table's rows lie in: its own storage, its partitions, tables that inherit.

A statement that moves no row can bring rows that are stamped below the watermark: a partition is
attached or exchanged, another table takes the name, a backup is restored. So a stream remembers the
parts there were when it was read, by numbers that name storage and not by names, and asks of parts
that are new whether rows below the watermark lie in them. For an empty one nothing is read again.

MariaDB and MySQL give new numbers when a table is rebuilt (OPTIMIZE TABLE, some ALTER TABLE), too:
that cannot be told from another table under its name, and costs a whole read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tidegate.errors import RefusedError
from tidegate.sources.sql.catalogue import Table
from tidegate.sources.sql.dialect import Clause
from tidegate.sources.sql.session import Session

_POSTGRES = sa.text("""
WITH RECURSIVE tree AS (
  SELECT r.oid FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
  WHERE n.nspname = :schema AND r.relname = :table
  UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid)
SELECT p.oid AS number, n.nspname AS schema, p.relname AS name, '' AS partition,
  pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND pg_catalog.has_table_privilege(p.oid, 'SELECT') AS readable
FROM tree JOIN pg_catalog.pg_class p USING (oid)
JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace WHERE p.relkind <> 'p'
""")
_MYSQL = """
SELECT t.table_id AS number, :schema AS `schema`, :table AS name,
  CASE WHEN LOCATE('#', t.name) > 0 THEN CONVERT(CONVERT(CAST(
    SUBSTRING_INDEX(SUBSTRING_INDEX(t.name, '#', 3), '#', -1) AS BINARY) USING filename)
    USING utf8mb4) ELSE '' END AS `partition`, 1 AS readable
FROM information_schema.{tables} t
WHERE CAST(SUBSTRING_INDEX(t.name, '#', 1) AS BINARY) = CONCAT(
  CONVERT(CONVERT(COALESCE(:schema, DATABASE()) USING filename) USING binary), '/',
  CONVERT(CONVERT(:table USING filename) USING binary))
"""
_CAME = (
    "the table was replaced or rebuilt, or got a partition with rows: every row is read once more."
)


@dataclass(frozen=True, slots=True)
class Part:
    """*number* names its storage. *readable*: whether the user may ask it by itself."""

    number: str
    schema: str | None
    name: str
    partition: str = ""
    readable: bool = True


def parts(session: Session, table: Table) -> list[Part]:
    """Of *table*; one, called by its identity, where the server or the user's rights tell no more.

    Raises UnavailableError.
    """
    try:
        found = [Part(str(row.number), *row[1:]) for row in _rows(session, table)]
    except RefusedError:  # without PROCESS
        found = []
    return found or [Part(table.identity, table.schema, table.name)]


def came(
    session: Session,
    there: Sequence[Part],
    known: Sequence[str] | None,
    below: Callable[[], Sequence[Clause]],
) -> tuple[str, ...]:
    """In words, why all must be read: rows *below* lie in parts that were not *known*, or may."""
    new = [part for part in there if known is not None and part.number not in known]
    if any(not part.readable or session.rows(_one(session, part, below())) for part in new):
        return (_CAME,)
    return ()


def _rows(session: Session, table: Table) -> Sequence[Any]:
    kind, connection = session.endpoint.kind, session.connection
    if kind == "sqlite" or table.view:
        return ()
    statement = _POSTGRES
    if kind == "mysql":
        maria = bool(getattr(connection.dialect, "is_mariadb", False))
        tables = "innodb_sys_tables" if maria else "innodb_tables"
        statement = sa.text(_MYSQL.replace("{tables}", tables))
    with session.translated():
        return connection.execute(statement, {"schema": table.schema, "table": table.name}).all()


def _one(session: Session, part: Part, where: Sequence[Clause]) -> sa.Select[Any]:
    schema = None if part.schema is None else sa.quoted_name(part.schema, quote=True)
    source = sa.table(sa.quoted_name(part.name, quote=True), schema=schema)
    one: sa.Select[Any] = (
        sa.select(sa.literal_column("1")).select_from(source).where(*where).limit(1)
    )
    if part.partition:
        quote = session.connection.dialect.identifier_preparer.quote_identifier
        one = one.with_hint(source, f"PARTITION ({quote(part.partition)})".replace("%", "%%"))
    return one
