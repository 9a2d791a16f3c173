"""What a store's database knows of its tables, in one short question each.

SQLAlchemy's inspector asks several, builds each of them anew, and is for all databases: of a small
increment that would be a tenth of its time.

PostgreSQL is asked for rows of ``pg_class``. Its ``to_regclass`` answers from a cache of the
session: who has waited for a lock while another one made the table would still be told that there
is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection


@dataclass(frozen=True)
class Made:
    """A table as it was made: the names of its *columns*, in their order, and of its *indexes*."""

    columns: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    keyed: bool = False
    """Whether it has a primary key."""


def has(connection: Connection, table: str) -> bool:
    """Whether there is *table*, or a view of that name."""
    if connection.dialect.name == "sqlite":
        return bool(connection.execute(_COLUMNS, {"table": table}).first())
    return bool(connection.execute(_HAS, {"table": table}).first())


def made(connection: Connection, table: str) -> Made:
    """How *table* was made; without columns where there is none."""
    if connection.dialect.name != "sqlite":
        row = connection.execute(_MADE, {"table": table}).one_or_none()
        return Made(tuple(row.columns), tuple(row.indexes), row.keyed) if row else Made()
    columns = connection.execute(_COLUMNS, {"table": table}).all()
    indexes = connection.execute(_INDEXES, {"table": table}).scalars()
    return Made(tuple(name for name, _ in columns), tuple(indexes), any(key for _, key in columns))


_SEEN = "FROM pg_class AS c WHERE c.relname = :table AND pg_table_is_visible(c.oid)"

_HAS = sa.text(f"SELECT 1 {_SEEN}")

_MADE = sa.text(f"""
SELECT
  ARRAY(SELECT CAST(a.attname AS TEXT) FROM pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
  ARRAY(SELECT CAST(n.relname AS TEXT) FROM pg_index AS i JOIN pg_class AS n
    ON n.oid = i.indexrelid WHERE i.indrelid = c.oid) AS indexes,
  EXISTS (SELECT 1 FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary) AS keyed
{_SEEN}
""")

_COLUMNS = sa.text("SELECT name, pk FROM pragma_table_info(:table)")

_INDEXES = sa.text("SELECT name FROM pragma_index_list(:table)")
