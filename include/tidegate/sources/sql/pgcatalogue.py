"""What PostgreSQL's catalogue says of tables."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from tidegate.sources.sql.catalogue import Index, Native, Table
from tidegate.sources.sql.dialect import split
from tidegate.types import ColumnType

_TYPES = {
    "smallint": "int16", "integer": "int32", "bigint": "int64", "numeric": "numeric",
    "real": "float64", "double precision": "float64", "text": "string",
    "character varying": "string", "character": "string", "boolean": "bool", "bytea": "bytes",
    "date": "date", "time without time zone": "time", "timestamp without time zone": "datetime",
    "timestamp with time zone": "timestamp", "json": "json", "jsonb": "json",
}  # fmt: skip
_FIND = sa.text(
    "SELECT c.oid, n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relname = :table AND c.relkind IN ('r', 'p', 'f', 'v', 'm')"
    " AND CASE WHEN :schema = '' THEN pg_catalog.pg_table_is_visible(c.oid)"
    " ELSE n.nspname = :schema END"
)
_TABLES = sa.text(
    "SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN c.relname"
    " ELSE n.nspname || '.' || c.relname END FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname <> 'information_schema'"
    " AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1"
)
_COLUMNS = sa.text(
    "SELECT a.attname, CASE WHEN t.typtype = 'd' THEN"
    " pg_catalog.format_type(t.typbasetype, t.typtypmod)"
    " ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END,"
    " NOT (a.attnotnull OR t.typnotnull) FROM pg_catalog.pg_attribute a"
    " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " WHERE a.attrelid = :oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
)
_INDEXES = sa.text(
    "SELECT i.indexrelid, i.indisunique AND i.indimmediate, m.amname = 'btree', a.attname"
    " FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid"
    " JOIN pg_catalog.pg_am m ON m.oid = x.relam"
    " JOIN LATERAL unnest(i.indkey, i.indcollation) WITH ORDINALITY k(attnum, coll, n)"
    " ON k.n <= i.indnkeyatts"
    " LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
    " AND a.attnum > 0 AND a.attcollation = k.coll"
    " WHERE i.indrelid = :oid AND i.indisvalid AND i.indpred IS NULL ORDER BY 1, k.n"
)


def find(connection: sa.Connection, wanted: str) -> Table | list[str]:
    """The table *wanted* (``table`` or ``schema.table``); else the names that exist."""
    for schema, name in split(wanted):
        found = connection.execute(_FIND, {"schema": schema or "", "table": name}).first()
        if found:
            oid = {"oid": found[0]}
            columns = (_native(*row) for row in connection.execute(_COLUMNS, oid))
            indexes: dict[int, list[Any]] = {}
            for row in connection.execute(_INDEXES, oid):
                indexes.setdefault(row[0], []).append(row)
            return Table(
                found[1],
                found[2],
                found[3] in {"v", "m"},
                tuple(columns),
                tuple(_index(parts) for parts in indexes.values()),
                str(found[0]),
            )
    return [row[0] for row in connection.execute(_TABLES)]


def _native(name: str, declared: str, nullable: bool) -> Native:
    kind = re.sub(r"\([^)]*\)", "", declared)
    if kind == "numeric" and (match := re.search(r"\((\d+),(-?\d+)\)", declared)):
        precision, scale = int(match[1]), int(match[2])
        if precision <= 76 and 0 <= scale <= precision:
            return Native(name, declared, ColumnType("decimal", precision, scale), nullable)
    known = _TYPES.get(kind)
    type = ColumnType.parse(known or "string")
    return Native(name, declared, type, nullable, loose=known is None)


def _index(parts: list[Any]) -> Index:
    return Index(tuple(part[3] for part in parts), parts[0][1], parts[0][2])
