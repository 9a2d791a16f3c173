"""A store's schema: made new, or brought up to this program's version; never past it.

A new store is created whole from :mod:`tidegate.store.tables`. An older one is migrated by Alembic
(``migrations/``), under a lock and in one transaction: who waits for the lock finds it done, and
what is killed half-way has not happened. The version stands in ``tidegate_schema``; a store that
has no such table is of version 0001.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from tidegate import settings
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError
from tidegate.store import catalogue, tables
from tidegate.store import engine as engines
from tidegate.store.record import views

HEAD = "0006"
"""The version this program reads and writes."""
_BEFORE_VERSIONS = "0001"
_LOCK = 7421931
_in_turn = Lock()  # Alembic keeps what it works on in a global


def run(endpoint: Endpoint) -> tuple[str | None, str]:
    """Upgrade because somebody asks for it; returns the versions before and after."""
    engine = engines.create(endpoint)
    try:
        with engines.translated(endpoint):
            return ensure(engine, endpoint.name, asked=True), HEAD
    finally:
        engine.dispose()


def ensure(engine: Engine, name: str, *, asked: bool = False) -> str | None:
    """Make the store fit this program; returns the version it had, None for a new one.

    *asked*: somebody said so, whatever ``TIDEGATE_STORE_UPGRADE`` says. Raises ConfigError when the
    store is newer than the program, or older while upgrading by itself is refused.
    """
    with engines.snapshot(engine) as connection:
        found = version(connection)
    if found == HEAD:
        return found
    if found is not None:
        _require_older(name, found)
        if not asked and not settings.upgrades_itself():
            raise ConfigError(
                f"store {name!r} has schema {found}, this program works with {HEAD}, and "
                "TIDEGATE_STORE_UPGRADE is 'refuse'. Nothing was changed. Make a backup, stop what "
                "still runs the older program, then run: tidegate upgrade"
            )
    with engine.begin() as connection:
        _lock(connection)
        _bring_up(connection, name)
    return found


def version(connection: Connection) -> str | None:
    """The store's version; None where there is no store yet."""
    if catalogue.has(connection, tables.schema_table.name):
        return str(connection.execute(sa.select(tables.schema_table.c.version_num)).scalar_one())
    return _BEFORE_VERSIONS if catalogue.has(connection, "tidegate_head") else None


def _lock(connection: Connection) -> None:
    """Until the end of the transaction; SQLite's began as the only writer."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _bring_up(connection: Connection, name: str) -> None:
    """Create or migrate, unless somebody did while this one waited for the lock."""
    found = version(connection)
    if found is None:
        _create(connection)
    elif found != HEAD:
        _require_older(name, found)
        with _in_turn, views.all_aside(connection, f"store {name!r}"):
            _migrate(connection, found)


def _create(connection: Connection) -> None:
    tables.metadata.create_all(connection)
    connection.execute(sa.insert(tables.head_table).values(id=1, seq=0))
    connection.execute(sa.insert(tables.schema_table).values(version_num=HEAD))
    views.show_all(connection)


def _migrate(connection: Connection, found: str) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    if not catalogue.has(connection, tables.schema_table.name):
        tables.schema_table.create(connection)
        connection.execute(sa.insert(tables.schema_table).values(version_num=found))
    command.upgrade(config, HEAD)


def _require_older(name: str, found: str) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found not in known:
        raise ConfigError(
            f"store {name!r} has schema {found}, this program knows none above {HEAD}: a newer "
            "Tidegate has upgraded it. Nothing was changed. Install that version here too."
        )


def _config() -> Any:
    from alembic.config import Config

    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
