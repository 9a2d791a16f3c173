"""A stream's first load on PostgreSQL: copied straight into the table that it makes.

The stage is a table with a name of its own, which the load's transaction changes
(:func:`tidegate.store.record.evolve.ensure`): until then nobody looks for it, and afterwards
nothing has to be copied once more. Whoever fills it holds a lock of that name as long as its
session lives. So a stage without one was left behind by a process that died, and is removed by the
next first load.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from secrets import token_hex

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store import catalogue
from tidegate.store.record import staging
from tidegate.store.record.records import Records
from tidegate.store.sqltext import quoted

_PREFIX = "stage__"
_LOCK = "SELECT pg_advisory_lock(hashtextextended(:name, 0))"
_LEFT = """
SELECT relname FROM pg_class
WHERE relkind = 'r' AND relnamespace = to_regnamespace(current_schema()) AND relname ~ :names
  AND pg_try_advisory_xact_lock(hashtextextended(relname, 0))
"""


@contextmanager
def opened(connection: Connection, records: Records, *, look: bool) -> Iterator[Records]:
    """*records* with such a stage, if they can have one, for as long as the block runs.

    Without a *look* nobody asks whether there is a table: there is.
    """
    if not look or connection.dialect.name != "postgresql":
        yield records
        return
    with connection.begin():
        first = _possible(connection, records)
        if first:
            _sweep(connection)
            records = replace(records, straight=f"{_PREFIX}{token_hex(8)}")
            connection.execute(sa.text(_LOCK), {"name": records.straight})
    try:
        yield records
    finally:
        if first:
            with suppress(sa.exc.SQLAlchemyError), connection.begin():
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quoted(records.stage)}")


def _possible(connection: Connection, records: Records) -> bool:
    """Whether the stage's cells are all of the current table's, and that is not there yet."""
    texts = any(staging.as_text(column.type) for column in records.data)
    more = records.refs or records.marks or texts
    return not more and not catalogue.has(connection, records.current)


def _sweep(connection: Connection) -> None:
    names = {"names": f"^{_PREFIX}[0-9a-f]{{16}}$"}
    for name in connection.execute(sa.text(_LEFT), names).scalars().all():
        connection.exec_driver_sql(f"DROP TABLE {quoted(name)}")
