"""One connection to a source: opened when needed, read-only; its driver's errors end here."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import (
    DBAPIError,
    NoSuchModuleError,
    PendingRollbackError,
    ResourceClosedError,
    SQLAlchemyError,
)

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, TidegateError, UnavailableError
from tidegate.sources.sql.dialect import (
    Dialect,
    Selection,
    UndecodableError,
    dialect_of,
    spelled,
    undecodable,
)
from tidegate.sources.sql.fetched import Fetched, Row

Answer = TypeVar("Answer")


class Session:
    """Runs short SELECTs, each in a transaction of its own."""

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self.endpoint = endpoint
        self.dialect: Dialect = dialect_of(endpoint.kind)
        self._timeout = timeout
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None

    @property
    def connection(self) -> sa.Connection:
        """The one connection; opened at first use."""
        if self._connection is None:
            with self.translated():
                self._engine = self.dialect.engine(self.endpoint, self._timeout)
                connection = self._engine.connect()
                try:
                    self.dialect.prepare(connection, self._timeout)
                except BaseException:
                    connection.close()
                    raise
                self._connection = connection
        return self._connection

    def rows(self, statement: Selection) -> list[Row]:
        """What *statement* selects, row by row. Text that cannot be decoded is ``Unread``."""
        return self._decoded(lambda: list(self.connection.execute(statement).all()))

    def fetch(self, statement: Selection) -> Fetched:
        """What *statement* selects, to be read column by column; the quick way for many rows."""
        return self._decoded(lambda: self.dialect.fetch(self.connection, statement, self.endpoint))

    def scalar(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> Any:
        """One value."""
        connection = self.connection
        with self.translated():
            return connection.execute(statement, values or {}).scalar()

    def running(self) -> int:
        """How many statements the server runs, ours aside; 0 where nobody can tell."""
        if not self.dialect.busy:
            return 0
        connection = self.connection
        with self.translated():
            row = connection.execute(sa.text(self.dialect.busy)).one()
        return int(row[-1]) - self.dialect.counts_itself

    def clock(self) -> datetime:
        """What time the server thinks it is."""
        return self.dialect.read_clock(self.scalar(sa.text(self.dialect.clock)))

    def quoted(self, name: str) -> str:
        """An identifier for a person to paste, quoted if need be."""
        preparer = self.connection.dialect.identifier_preparer
        return preparer.quote(name.replace("%", "\0")).replace("\0", "%")

    def close(self) -> None:
        """Give the connection back; never raises on a broken one."""
        connection, engine = self._connection, self._engine
        self._connection = self._engine = None
        if connection is not None:
            with suppress(SQLAlchemyError, OSError):
                connection.close()
        if engine is not None:
            engine.dispose()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn a driver's error into one of ours; its text is scrubbed, its chain is cut."""
        try:
            yield
        except TidegateError:
            raise
        except UnicodeDecodeError as error:
            raise spelled(error) from None
        except NoSuchModuleError as error:
            raise ConfigError(f"{self.endpoint.name}: {error}") from None
        except DBAPIError as error:
            raise self.dialect.translate(error.orig or error, self.endpoint) from None
        except (PendingRollbackError, ResourceClosedError):  # an earlier statement lost it
            where = place(self.endpoint, self.dialect.title)
            raise UnavailableError(f"{self.endpoint.name}: {where} was lost meanwhile.") from None
        except (sqlite3.Error, OSError) as error:
            raise self.dialect.translate(error, self.endpoint) from None

    def _decoded(self, ask: Callable[[], Answer]) -> Answer:
        """The answer; if need be, asked for again where the driver decodes less."""
        connection = self.connection
        try:
            with self.translated():
                return ask()
        except UndecodableError as error:
            if not self.dialect.lenient(connection):
                raise undecodable(self.endpoint.name, error) from None
        with self.translated():
            return ask()


def place(endpoint: Endpoint, title: str) -> str:
    """``MariaDB at db:3306`` or ``SQLite file /data/shop.db``."""
    if endpoint.kind == "sqlite":
        return f"{title} file {endpoint.database}"
    if socket := endpoint.options.get("unix_socket"):
        return f"{title} at {socket}"
    port = endpoint.port or {"mysql": 3306, "postgres": 5432}[endpoint.kind]
    return f"{title} at {endpoint.host or 'localhost'}:{port}"
