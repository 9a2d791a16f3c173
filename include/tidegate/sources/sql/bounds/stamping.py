"""Who stamps a cursor: only for the server's own stamps is its safe moment a bound."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tidegate.errors import ChangedError
from tidegate.sources.sql.bounds.answer import Refusal
from tidegate.sources.sql.catalogue import Native
from tidegate.sources.sql.plan import Plan
from tidegate.sources.sql.session import Session
from tidegate.types import TEMPORAL, ColumnType

_MYSQL = (  # not joined: names that differ in case only would be taken for one
    "SELECT (SELECT t.engine FROM information_schema.tables t"
    " WHERE t.table_schema = COALESCE(%(schema)s, DATABASE()) AND t.table_name = %(table)s),"
    " c.column_default, c.extra FROM information_schema.columns c"
    " WHERE c.table_schema = COALESCE(%(schema)s, DATABASE()) AND c.table_name = %(table)s"
    " AND c.column_name = %(column)s"
)
_POSTGRES = """
SELECT EXISTS (
    WITH RECURSIVE tree AS (SELECT r.oid UNION SELECT i.inhrelid
      FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid)
    SELECT FROM tree JOIN pg_catalog.pg_class p USING (oid)
    LEFT JOIN pg_catalog.pg_subscription_rel s ON s.srrelid = p.oid
    WHERE p.relkind = 'f' OR s.srrelid IS NOT NULL) AS elsewhere,
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
    WHERE d.adrelid = r.oid AND d.adnum = a.attnum) AS default_text,
  EXISTS (SELECT FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid
    WHERE g.tgrelid = r.oid AND g.tgtype & 19 = 19 AND g.tgenabled IN ('O', 'A')
    AND (strpos(f.prosrc, a.attname) > 0 OR strpos(encode(g.tgargs, 'escape'), a.attname) > 0)
  ) AS touched,
  (SELECT q.seqcache = 1 AND q.seqincrement = 1 FROM pg_catalog.pg_sequence q
    WHERE q.seqrelid = pg_catalog.pg_get_serial_sequence(
      format('%%I.%%I', n.nspname, r.relname), a.attname)::regclass) AS numbered
FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid
WHERE n.nspname = %(schema)s AND r.relname = %(table)s AND a.attname = %(column)s
"""
_NOW = re.compile(r"\b(now|current_date|localtimestamp|\w+_timestamp)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stamping:
    """*own*: the server stamps the cursor of each new and each changed row, or numbers it."""

    own: bool


def stamping(session: Session, plan: Plan, cursor: Native, type: ColumnType) -> Stamping | Refusal:
    """What the catalogue says; a refusal for a table whose writers the server does not see.

    Raises ChangedError when the table is gone meanwhile.
    """
    table = plan.table
    if table.view:
        return Refusal("it is a view, of tables unknown", "Read the table itself")
    ask = {"mysql": _mysql, "postgres": _postgres}.get(session.endpoint.kind)
    if ask is None:
        return Refusal("SQLite shows no transactions", "Use bound: lookback")
    query, judge = ask
    with session.translated():
        place = {"schema": table.schema, "table": table.name, "column": cursor.own}
        row = session.connection.exec_driver_sql(query, place).first()
    if row is None:
        raise ChangedError(
            f"{session.endpoint.name}: the table {table.name!r} changed while it was looked at."
        )
    return judge(row, type.name in TEMPORAL)


def _in_mysql(row: Any, temporal: bool) -> Stamping | Refusal:
    engine, default, extra = (str(value or "") for value in row)
    if engine.lower() != "innodb":
        return Refusal(f"the table's engine is {engine}", "ALTER TABLE … ENGINE = InnoDB")
    if temporal:
        stamped = "on update current_timestamp" in extra.lower()
        return Stamping(stamped and _NOW.search(default) is not None)
    return Stamping("auto_increment" in extra.lower())


def _in_postgres(row: Any, temporal: bool) -> Stamping | Refusal:
    if row.elsewhere:
        return Refusal(
            "another server writes the rows (a subscription or a foreign table)",
            "Connect to that server",
        )
    if temporal:
        return Stamping(row.touched and _NOW.search(row.default_text or "") is not None)
    return Stamping(bool(row.numbered))


_mysql = (_MYSQL, _in_mysql)
_postgres = (_POSTGRES, _in_postgres)
