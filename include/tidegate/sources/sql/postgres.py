"""PostgreSQL through psycopg 3."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from typing_extensions import override

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.sources.rows.fitting import Unread
from tidegate.sources.sql import rowhash
from tidegate.sources.sql.catalogue import Index, Native, Table
from tidegate.sources.sql.dialect import (
    CONNECT_SECONDS,
    LOCK_SECONDS,
    SLOW,
    Clause,
    Dialect,
    UndecodableError,
    named,
    split,
)
from tidegate.sources.sql.loaders import guard
from tidegate.types import ColumnType

_TYPES = {
    "smallint": "int16", "integer": "int32", "bigint": "int64", "numeric": "numeric",
    "real": "float64", "double precision": "float64", "text": "string",
    "character varying": "string", "character": "string", "boolean": "bool", "bytea": "bytes",
    "date": "date", "time without time zone": "time", "timestamp without time zone": "datetime",
    "timestamp with time zone": "timestamp", "json": "json", "jsonb": "json",
}  # fmt: skip
_AS_TEXT = frozenset({"json", "jsonb"})
_GUARDED = ("date", "time", "timestamp", "timestamptz")
_WORDS = ("text", "varchar", "bpchar")
_ENDLESS = frozenset({"date", "datetime", "timestamp"})
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
_BUSY = ("08", "53", "57P", "40", "58")
_WAITING = re.compile(
    r"starting up|shutting down|too many|remaining connection slots|recovery|not yet accepting",
    re.IGNORECASE,
)


class PostgreSQL(Dialect):
    """One SELECT per page, each its own transaction; types that are not ours come as text."""

    title = "PostgreSQL"
    row_values = True
    clock = "SELECT pg_catalog.clock_timestamp()"
    busy = (
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE state = 'active'"
        " AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()"
    )

    @override
    def engine(self, endpoint: Endpoint, timeout: float) -> sa.Engine:
        settings = {
            "TimeZone": "UTC",
            "DateStyle": "ISO",
            "IntervalStyle": "postgres",
            "extra_float_digits": "3",
            "bytea_output": "hex",
            "statement_timeout": f"{timeout * 1000:.0f}",
            "lock_timeout": f"{LOCK_SECONDS}s",
            "idle_in_transaction_session_timeout": "60s",
            "default_transaction_read_only": "on",
        }
        arguments: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS,
            "client_encoding": "utf8",
            "application_name": "tidegate",
            "options": " ".join(f"-c {key}={value}" for key, value in settings.items()),
            **_tls(endpoint),
        }
        return sa.create_engine(
            endpoint.url,
            connect_args=arguments,
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
        )

    @override
    def prepare(self, connection: sa.Connection, timeout: float) -> None:
        """Values outside Python's calendar come as ``Unread`` instead of ending the read."""
        guard(_driver(connection), _GUARDED)

    @override
    def find(self, connection: sa.Connection, wanted: str) -> Table | list[str]:
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

    @override
    def selected(self, native: Native, type: ColumnType) -> sa.ColumnElement[Any]:
        column: sa.ColumnElement[Any] = named(native.own)
        textual = native.type.name in {"string", "bytes"} and not native.loose
        if native.declared in _AS_TEXT or native.loose or (type.name == "string" and not textual):
            return sa.cast(column, sa.Text())
        return column

    @override
    def sought(self, native: Native, type: ColumnType) -> sa.ColumnElement[Any] | None:
        """A text that the type does not take would be an error: those are compared as text."""
        if native.loose and type == native.type:
            own = named(native.own)
            return own if native.declared == "uuid" else sa.cast(own, sa.Text())
        return super().sought(native, type)

    @override
    def hashed(self, natives: Sequence[Native]) -> sa.ColumnElement[Any] | None:
        return rowhash.postgres(natives)

    @override
    def folds(self, connection: sa.Connection) -> bool:
        return (connection.dialect.server_version_info or (0,)) >= (14,)

    @override
    def text_compares(self, native: Native) -> bool:
        """A parameter without a type takes the column's."""
        return True

    @override
    def bind(self, value: Any) -> sa.ColumnElement[Any]:
        """Text has no type until PostgreSQL gives it the column's; a float4 is one only so."""
        if isinstance(value, Unread):
            value = value.raw
        return super().bind(repr(value) if isinstance(value, float) else value)

    @override
    def dated(self, native: Native, type: ColumnType) -> list[Clause]:
        if native.type.name in _ENDLESS:
            return [named(native.own) > sa.literal_column("'-infinity'")]
        if native.type.name in {"decimal", "numeric"}:
            return [named(native.own) < sa.literal_column("'NaN'")]
        return []

    @override
    def undated(self, native: Native, type: ColumnType) -> list[Clause]:
        if native.type.name in _ENDLESS:
            return [named(native.own) == sa.literal_column("'-infinity'")]
        if native.type.name in {"decimal", "numeric"}:
            return [named(native.own) == sa.literal_column("'NaN'")]
        return []

    @override
    def lenient(self, connection: sa.Connection) -> bool:
        """A database of encoding SQL_ASCII may hold any octets: fetch them as they are."""
        _driver(connection).execute("SET client_encoding TO 'SQL_ASCII'")
        guard(_driver(connection), _WORDS)
        return True

    @override
    def translate(
        self, error: BaseException, endpoint: Endpoint
    ) -> TidegateError | UndecodableError:
        from tidegate.sources.sql.session import place

        where = f"{endpoint.name}: {place(endpoint, self.title)}"
        state = getattr(error, "sqlstate", None) or ""
        text = " ".join(endpoint.scrub(error).split())
        if state == "22021":
            return UndecodableError(text)
        if state == "57014":
            return UnavailableError(f"{where} took too long ({state}): {text}. {SLOW}")
        if state.startswith(_BUSY) or state in {"55P03", "55006"} or isinstance(error, OSError):
            return UnavailableError(f"{where} does not answer ({state or 'network'}): {text}")
        if state and not state.startswith(("28", "3D")):
            return _refused(where, state, text, endpoint)
        return _unconnected(where, state, text, endpoint)


def _refused(where: str, state: str, text: str, endpoint: Endpoint) -> TidegateError:
    if state in {"42P01", "42703", "3F000"}:
        return ConfigError(f"{where}: {text} ({state}). Did someone change the table?")
    if state == "42501":
        todo = f"Grant SELECT on the table, and USAGE on its schema, to {endpoint.user!r}."
        return RefusedError(f"{where}: {text} ({state}). {todo}")
    return RefusedError(f"{where} refused ({state}): {text}")


def _unconnected(where: str, state: str, text: str, endpoint: Endpoint) -> TidegateError:
    """Before a session exists there is often no code: the server's word FATAL has to do."""
    if "certificate" in text or "SSL" in text:
        return RefusedError(
            f"{where}: no trusted TLS connection: {text}. Give sslrootcert in the connection's "
            "extra fields, or insecure: true to do without."
        )
    if not state and ("FATAL" not in text or _WAITING.search(text)):
        return UnavailableError(f"{where} does not answer: {text}")
    if state == "3D000" or re.search(r'database ".*" does not exist', text):
        return RefusedError(
            f"{where} has no database {endpoint.database!r}. Check the connection's schema."
        )
    return RefusedError(
        f"{where} refused the user {endpoint.user!r} ({state or 'login'}). "
        "Check the connection's user and password."
    )


def _tls(endpoint: Endpoint) -> dict[str, Any]:
    """Verified TLS for other hosts, unless the connection says ``insecure``."""
    options = endpoint.options
    passed = {
        key: str(options[key]) for key in ("sslrootcert", "sslcert", "sslkey") if key in options
    }
    if socket := options.get("unix_socket"):
        passed["host"] = str(socket)
    if str(options.get("insecure", "")).lower() in {"1", "true", "yes"}:
        return {**passed, "sslmode": "prefer"}
    if endpoint.is_local and "sslrootcert" not in passed:
        return {**passed, "sslmode": str(options.get("sslmode", "prefer"))}
    trusted = ssl.get_default_verify_paths().cafile or "system"
    return {"sslrootcert": trusted, **passed, "sslmode": "verify-full"}


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


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection
