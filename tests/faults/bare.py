"""Databases through their bare drivers, for the writers and the checker. Nothing of Tidegate."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import pymysql

Row = tuple[Any, ...]


class Readable(Protocol):
    """What can be asked."""

    @property
    def kind(self) -> str:
        """Which kind of database."""

    def rows(self, query: str) -> list[Row]:
        """What *query* finds."""


@dataclass(frozen=True)
class Place:
    """A database of *kind* ``mysql``, ``postgres`` or ``sqlite``; of that, *database* is a file."""

    kind: str
    database: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""

    def connect(self) -> Any:
        """A connection that commits each statement by itself until BEGIN is said."""
        if self.kind == "sqlite":
            return sqlite3.connect(self.database, timeout=30, isolation_level=None)
        if self.kind == "mysql":
            return pymysql.connect(
                host=self.host, port=self.port, user=self.user, password=self.password,
                database=self.database, charset="utf8mb4", autocommit=True, connect_timeout=5,
                read_timeout=60, init_command="SET time_zone = '+00:00'",
            )  # fmt: skip
        return psycopg.connect(
            host=self.host, port=self.port, user=self.user, password=self.password,
            dbname=self.database, autocommit=True, connect_timeout=5,
            options="-c timezone=UTC", cursor_factory=psycopg.ClientCursor,
        )  # fmt: skip

    def rows(self, query: str) -> list[Row]:
        """What *query* finds now."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]

    def run(self, *statements: str) -> None:
        """Each commits by itself."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
