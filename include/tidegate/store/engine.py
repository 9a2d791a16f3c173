"""Open a store's database, and translate its driver's errors at this edge."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from tidegate import settings
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError

_REFUSED = re.compile(
    r"password|authentication|(database|role) .* does not exist|permission|readonly|not a database"
    r"|unable to open|certificate",
    re.IGNORECASE,
)
_HOPELESS = re.compile(
    r"no such|syntax error|cannot pass more than|too many (SQL|columns|terms|arg)"
)
BUSY_SECONDS = 300
"""How long a writer waits for another writer of the store."""


def create(endpoint: Endpoint) -> Engine:
    """An engine for *endpoint*; connects lazily. Stores are SQLite or PostgreSQL."""
    if endpoint.kind == "sqlite":
        return _sqlite(endpoint)
    if endpoint.kind == "postgres":
        return _postgres(endpoint)
    raise ConfigError(
        f"store {endpoint.name!r}: a {endpoint.kind} database cannot be the store. "
        "Use a postgres or sqlite connection."
    )


def _sqlite(endpoint: Endpoint) -> Engine:
    file = Path(str(endpoint.database))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RefusedError(
            f"store {endpoint.name!r}: cannot create {file.parent}: {error}"
        ) from error
    engine = sa.create_engine(endpoint.url, poolclass=sa.NullPool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.create_aggregate("bit_xor", 1, _BitXor)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _postgres(endpoint: Endpoint) -> Engine:
    extra = {
        key: value
        for key, value in endpoint.options.items()
        if key in {"sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"}
    }
    if not endpoint.is_local and not endpoint.options.get("insecure"):
        extra.setdefault("sslmode", "verify-full")
    if "unix_socket" in endpoint.options:
        extra["host"] = endpoint.options["unix_socket"]
    engine = sa.create_engine(
        endpoint.url,
        pool_size=3,  # two load by turns, one keeps the lease; all end with the store
        max_overflow=-1,
        pool_pre_ping=True,
        hide_parameters=True,
        use_native_hstore=False,  # which would be asked for with each first connection
        connect_args={
            "connect_timeout": 10,
            "prepare_threshold": None,  # plans would outlive the columns they were made for
            "options": f"-c timezone=UTC -c lock_timeout={BUSY_SECONDS}s "
            "-c idle_in_transaction_session_timeout=600s -c datestyle=ISO",
            **extra,
        },
    )

    @event.listens_for(engine, "checkin")
    def _checkin(connection: Any, _: Any) -> None:
        """What a session holds ends with its use; a lost connection is found out later."""
        if connection is not None and not connection.closed:
            connection.pgconn.exec_(b"DISCARD TEMP; SELECT pg_advisory_unlock_all()")

    return engine


class _BitXor:
    """PostgreSQL's aggregate of this name, for SQLite."""

    def __init__(self) -> None:
        self._value = 0

    def step(self, value: int | None) -> None:
        self._value ^= value or 0

    def finalize(self) -> int:
        return self._value


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state of the store until it is closed, and changes nothing."""
    options: dict[str, Any] = {"reads": True}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"
    with engine.connect() as connection, connection.execution_options(**options).begin():
        yield connection


def make_room(connection: Connection) -> None:
    """Let this transaction sort and hash in memory, and trust indexes: there is one writer.

    A writer that does not stir for as long as a lease is cut off: everybody waits for it.
    """
    if connection.dialect.name == "postgresql":
        patience = max(1_000, round(settings.lease_seconds() * 1_000))
        connection.exec_driver_sql(
            "SET LOCAL work_mem = '128MB'; SET LOCAL maintenance_work_mem = '128MB'; "
            "SET LOCAL jit = off; SET LOCAL random_page_cost = 1.1; "
            f"SET LOCAL idle_in_transaction_session_timeout = {patience}"
        )


def lost(error: UnavailableError) -> bool:
    """Whether the connection was lost, so that nobody can tell what its last transaction did."""
    cause = error.__cause__
    return isinstance(cause, sa.exc.DBAPIError) and cause.connection_invalidated


@contextmanager
def translated(endpoint: Endpoint) -> Iterator[None]:
    """Turn the drivers' errors into ours, SQLAlchemy around them or not; everything else passes."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        translation = _translation(endpoint, error.orig)
        if translation is None:
            raise
        raise translation from error
    except _driver_errors(endpoint) as error:
        translation = _translation(endpoint, error)
        if translation is None:
            raise
        raise translation from error


def _driver_errors(endpoint: Endpoint) -> type[Exception]:
    if endpoint.kind != "postgres":
        return sqlite3.Error
    import psycopg

    return psycopg.Error


def _translation(endpoint: Endpoint, error: BaseException | None) -> TidegateError | None:
    text = " ".join(endpoint.scrub(error).split())
    where = f"store {endpoint.name!r} ({endpoint.url.render_as_string()})"
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if _REFUSED.search(text) or "InsufficientPrivilege" in kinds:
        return RefusedError(f"{where} said no: {text}. Check its connection and its rights.")
    if _HOPELESS.search(text):
        return None
    if kinds & {"OperationalError", "InterfaceError", "IdleInTransactionSessionTimeout"}:
        return UnavailableError(f"{where} did not answer: {text}")
    return None
