"""MySQL and MariaDB: whether another server's statements come here, with that server's stamps.

A replica that is stopped shows no thread, and brings the stamps of all that time when it goes on.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

DENIED = 1227
"""The error: access denied, for lack of a privilege."""
_SYNTAX = 1064
_MARIADB = "SHOW ALL SLAVES STATUS"
_MYSQL = "SHOW REPLICA STATUS"  # since 8.0.22
_HEARTBEAT = "SHOW GLOBAL STATUS WHERE Variable_name = 'Slave_heartbeat_period'"


def set_up(connection: sa.Connection) -> bool:
    """Whether the server is a replica, running or not.

    Who may not ask sees on MariaDB whether its unnamed connection was set up since it started.
    """
    maria = bool(getattr(connection.dialect, "is_mariadb", False))
    try:
        return connection.exec_driver_sql(_MARIADB if maria else _MYSQL).first() is not None
    except DBAPIError as error:
        if code(error) not in {DENIED, _SYNTAX}:
            raise
    return any(float(row[1]) for row in connection.exec_driver_sql(_HEARTBEAT))


def code(error: DBAPIError) -> int:
    """The server's own."""
    known = getattr(error.orig, "args", ())
    return known[0] if known and isinstance(known[0], int) else 0
