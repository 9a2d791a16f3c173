"""PostgreSQL through psycopg 3."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from typing_extensions import override

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.sources.rows.fitting import Unread
from tidegate.sources.sql import copied, pgcatalogue, rowhash
from tidegate.sources.sql.catalogue import Native, Table
from tidegate.sources.sql.dialect import (
    CONNECT_SECONDS,
    LOCK_SECONDS,
    SLOW,
    Clause,
    Dialect,
    RowHash,
    Selection,
    UndecodableError,
    named,
)
from tidegate.sources.sql.fetched import Fetched
from tidegate.sources.sql.loaders import guard
from tidegate.types import ColumnType

_AS_TEXT = frozenset({"json", "jsonb"})
_GUARDED = ("date", "time", "timestamp", "timestamptz")
_WORDS = ("text", "varchar", "bpchar")
_ENDLESS = frozenset({"date", "datetime", "timestamp"})
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

    def __init__(self) -> None:
        self._lenient = False

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
            "prepare_threshold": None,  # plans would outlive the columns they were made for
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
        return pgcatalogue.find(connection, wanted)

    @override
    def fetch(self, connection: sa.Connection, statement: Selection, endpoint: Endpoint) -> Fetched:
        if self._lenient:  # literals of any text could not be sent
            return super().fetch(connection, statement, endpoint)
        compiled = statement.compile(
            dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
        )
        try:
            return copied.read(_driver(connection), str(compiled), compiled.params, endpoint.name)
        except psycopg.Error as error:
            if _driver(connection).closed:
                connection.invalidate()
            raise self.translate(error, endpoint) from None

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
    def hashed(self, natives: Sequence[Native]) -> RowHash | None:
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
        self._lenient = True
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


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection
