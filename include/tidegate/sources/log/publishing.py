"""What a PostgreSQL server must be told before a table's log can be read, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from tidegate.sources import Finding

TABLE = sa.text(
    "SELECT current_setting('wal_level') AS level, pg_is_in_recovery() AS replica,"
    " current_setting('max_slot_wal_keep_size') AS kept,"
    " (SELECT array_agg(format('%I.%I', s.nspname, l.relname) ORDER BY l.oid) FROM pg_class l"
    "  JOIN pg_namespace s ON s.oid = l.relnamespace WHERE l.relreplident <> 'f' AND (l.oid = c.oid"
    "  OR l.oid IN (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf))) AS partly,"
    " c.relkind AS kind, p.pubname IS NOT NULL AS published, t.tablename IS NOT NULL AS part,"
    " p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AS whole, p.pubviaroot AS root,"
    " to_jsonb(t) ->> 'rowfilter' AS filter,"
    " (SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_attribute a"
    "  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    "  AND (a.attgenerated <> '' OR NOT coalesce((to_jsonb(t) -> 'attnames') ? a.attname::text,"
    "  true))) AS missing, c.relkind = 'r' AND EXISTS (SELECT 1 FROM pg_inherits i"
    "  WHERE i.inhparent = c.oid) AS inherited"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN pg_publication p ON p.pubname = :publication"
    " LEFT JOIN pg_publication_tables t ON t.pubname = p.pubname AND t.schemaname = n.nspname"
    " AND t.tablename = c.relname WHERE c.oid = CAST(:table AS oid)"
)


def judged(found: Any, name: str, place: str, publication: str) -> Iterator[Finding]:
    """What *found*, the row of :data:`TABLE`, says."""
    wrong = [*_of_the_server(found), *_of_the_publication(found, place, publication)]
    for what, todo in [*wrong, *_of_the_table(found)]:
        yield Finding("error", f"{name}: {what}", "log-setting", todo)
    if found.kept == "-1":
        what = f"{name}: while the stream does not run, its slot keeps all of the server's log."
        todo = "Set max_slot_wal_keep_size, so that the disk cannot fill up."
        yield Finding("warning", what, "log-retention", todo)


def _of_the_server(found: Any) -> Iterator[tuple[str, str]]:
    if found.replica:
        yield "the server is a replica.", "Connect to its primary."
    if found.level != "logical":
        todo = "It has to be: ALTER SYSTEM SET wal_level = logical; and a restart."
        yield f"the server's wal_level is {found.level}.", todo


def _of_the_publication(found: Any, place: str, publication: str) -> Iterator[tuple[str, str]]:
    if not found.published:
        todo = f"Its owner makes it: CREATE PUBLICATION {publication} FOR TABLE {place};"
        yield f"there is no publication {publication!r}.", todo
    elif not found.part:
        todo = f"Its owner adds it: ALTER PUBLICATION {publication} ADD TABLE {place};"
        yield f"the publication {publication!r} lacks the table.", todo
    elif not found.whole or found.filter is not None or (found.kind == "p" and not found.root):
        todo = (
            "It has to publish insert, update, delete and truncate, without a filter, and "
            "partitioned tables WITH (publish_via_partition_root)."
        )
        yield f"the publication {publication!r} leaves something out.", todo


def _of_the_table(found: Any) -> Iterator[tuple[str, str]]:
    if found.partly:
        todo = " ".join(f"ALTER TABLE {one} REPLICA IDENTITY FULL;" for one in found.partly)
        yield "the log has rows in part only.", f"Its owner says: {todo}"
    if found.inherited:
        what = "other tables inherit from it: their rows are in it, not in its log."
        yield what, "Read it with table: and a cursor."
    if found.missing:
        todo = (
            "Generated columns are not in it, nor those outside the publication's list. Read the "
            "table with table: and a cursor, or publish them."
        )
        yield f"the log lacks the columns {found.missing}.", todo
