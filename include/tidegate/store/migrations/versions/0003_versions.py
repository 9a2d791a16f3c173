"""Versions with bounds, and reigns that meet.

Old content hashes covered the mapping's key columns, and not the tombstone mark. All rows are
hashed anew, over the data and the mark; the key columns go, a mapping adds what it needs. Versions
of a key that are one by then become one: the widest bounds, one reign where their reigns met. The
oldest token of a version is the oldest that is known. A reign begins where the one before it ended:
old stores wrote the commit that last marked a row there.

A row is hashed over all columns that its stream ever had. Where those are not what the source has
now, the next read of the row makes a new version of it, once.

``_valid`` stays empty: which column it comes from is in the pipeline file, not in the store.
"""

from __future__ import annotations

import json
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from alembic import op
from sqlalchemy.engine import Connection

from tidegate.hashing import content_hashes
from tidegate.store.record import cells, frames
from tidegate.store.record.records import current_name
from tidegate.store.sqltext import Script
from tidegate.store.tables import store_type
from tidegate.types import Column, ColumnType

revision = "0003"
down_revision = "0002"

OPEN = 2**62
text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Change the tables of every stream that was ever loaded."""
    connection = op.get_bind()
    op.add_column("tidegate_stream", sa.Column("layouts", sa.Text))
    streams = connection.execute(sa.text("SELECT name, columns FROM tidegate_stream")).all()
    for name, columns in streams:
        if columns is not None:
            types = json.loads(columns)
            data = [Column(column, ColumnType.parse(kind)) for column, kind in types.items()]
            _stream(connection, current_name(name), data)
            connection.execute(_REMEMBER, {"name": name, "layouts": _layouts(types)})


def _layouts(types: dict[str, str]) -> str:
    """How the rows are hashed now, as later versions tell: with or without ``_same``."""
    way = {"columns": types, "valid": None, "zone": "UTC"}
    return json.dumps([{**way, "same": same} for same in (True, False)], ensure_ascii=False)


def _stream(connection: Connection, current: str, data: list[Column]) -> None:
    names = {"current": current, "history": f"{current}__history"}
    script = Script(connection, names, {"open": OPEN})
    if connection.dialect.name == "postgresql":  # before every row is written once more
        script.run("ALTER TABLE {current} SET (fillfactor = 50)")
    inputs = [*data, *frames.own("_same", "_deleted")]
    for table, stamp in ((current, "_seq"), (names["history"], "_seq_to")):
        cells.compute(script, table, "_hash", inputs, partial(_hashes, data), stamp=stamp)
    _drop_refs(connection, current)
    for name in ("_first", "_valid"):
        op.add_column(current, sa.Column(name, sa.BigInteger))
    script.run("UPDATE {current} SET _first = _token")
    script.run(_REIGNS)
    script.lead("reign", "_key")
    script.run(_JOIN_CURRENT)
    script.run("CREATE TEMPORARY TABLE superseded AS SELECT * FROM {history}")
    op.drop_table(names["history"])
    _history(names["history"], data).create(connection)
    columns = [column.name for column in data]
    pieces = {"names": script.columns(columns), "data": script.columns(columns, "h.")}
    script.run(_JOIN_HISTORY, pieces)
    for table in ("superseded", "reign"):
        script.run(f"DROP TABLE {table}")


def _hashes(data: list[Column], page: pa.Table) -> pa.Array:
    """Over the data, ``_same`` in rows that have it, and the tombstone mark."""
    names = [column.name for column in data]
    marked = pc.is_valid(page.column("_same"))
    plain = content_hashes(page, [*names, "_deleted"])
    if not pc.any(marked).as_py():
        return plain
    return pc.if_else(marked, content_hashes(page, [*names, "_same", "_deleted"]), plain)


def _drop_refs(connection: Connection, table: str) -> None:
    there = [column["name"] for column in sa.inspect(connection).get_columns(table)]
    columns = [name for name in there if name.startswith("_ref_")]
    for index in sa.inspect(connection).get_indexes(table):
        if set(columns) & set(index["column_names"]):
            op.drop_index(str(index["name"]), table)
    for name in columns:
        op.drop_column(table, name)


def _history(name: str, data: list[Column]) -> sa.Table:
    numbers = [
        sa.Column(column, sa.BigInteger)
        for column in ("_first", "_token", "_source_hash", "_valid", "_seq")
    ]
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("_key", text, primary_key=True),
        *(sa.Column(column.name, store_type(column.type)) for column in data),
        sa.Column("_hash", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("_seq_to", sa.BigInteger, primary_key=True, autoincrement=False),
        *numbers,
        sa.Column("_deleted", sa.Boolean),
        sa.Column("_duplicate", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("_same", text),
    )
    sa.Index(f"{name}__seq_to", table.c._seq_to)
    sa.Index(f"{name}__seq", table.c._seq)
    return table


_REMEMBER = sa.text("UPDATE tidegate_stream SET layouts = :layouts WHERE name = :name")

# Neighbours of one content are one reign; all reigns of one content have its bounds.
_REIGNS = """
CREATE TEMPORARY TABLE reign AS
SELECT _key, min(since) AS _seq, max(_seq_to) AS _seq_to,
  min(min(_token)) OVER (PARTITION BY _key, _hash, _deleted) AS _first,
  max(max(_token)) OVER (PARTITION BY _key, _hash, _deleted) AS _token
FROM (
  SELECT _key, _hash, _deleted, _token, since, _seq_to,
    sum(news) OVER (PARTITION BY _key ORDER BY _seq_to) AS island
  FROM (
    SELECT _key, _hash, _deleted, _token, _seq_to,
      coalesce(lag(_seq_to) OVER reigns, _seq) AS since,
      CASE WHEN lag(_hash) OVER reigns = _hash AND lag(_deleted) OVER reigns = _deleted
        THEN 0 ELSE 1 END AS news
    FROM (
      SELECT _key, _hash, _deleted, _token, _seq, _seq_to FROM {history}
      UNION ALL SELECT _key, _hash, _deleted, _token, _seq, :open FROM {current}
      WHERE _key IN (SELECT _key FROM {history})
    ) AS every
    WINDOW reigns AS (PARTITION BY _key ORDER BY _seq_to)
  ) AS compared
) AS numbered
GROUP BY _key, _hash, _deleted, island
"""

_JOIN_CURRENT = """
UPDATE {current} SET _seq = reign._seq, _first = reign._first, _token = reign._token
FROM reign WHERE reign._key = {current}._key AND reign._seq_to = :open
"""

_JOIN_HISTORY = """
INSERT INTO {history} ({names}, _key, _hash, _source_hash, _deleted, _same, _duplicate,
  _first, _token, _seq, _seq_to)
SELECT {data}, h._key, h._hash, h._source_hash, h._deleted, h._same, false,
  reign._first, reign._token, reign._seq, reign._seq_to
FROM superseded AS h JOIN reign ON reign._key = h._key AND reign._seq_to = h._seq_to
"""
