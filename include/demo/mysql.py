"""A connection to MySQL or MariaDB, and the transaction that is open on it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymysql import Connection

    from tidegate.connections import Endpoint


@dataclass
class Transaction:
    """An open transaction: its connection, and the keys of the rows that it has locked."""

    session: Connection[Any]
    locked: set[str] = field(default_factory=set)
    due: int = 0
    kept: bool = True

    def run(self, text: str, values: Sequence[Any] = ()) -> tuple[tuple[Any, ...], ...]:
        """One statement; returns the rows it answers with."""
        with self.session.cursor() as cursor:
            cursor.execute(text, values)
            found: tuple[tuple[Any, ...], ...] = cursor.fetchall()
            return found


def connect(endpoint: Endpoint) -> Connection[Any]:
    """A connection to the shop's database; verified TLS to other machines, unless ``insecure``."""
    import pymysql

    plain = endpoint.is_local or endpoint.options.get("insecure")
    session = pymysql.connect(
        host=endpoint.host or "localhost", port=endpoint.port or 3306, user=endpoint.user,
        password=(endpoint.password or "").encode(), database=endpoint.database, charset="utf8mb4",
        ssl=None if plain else ssl.create_default_context(cafile=endpoint.options.get("ssl_ca")),
        init_command="SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 5",
    )  # fmt: skip
    with session.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    return session
