"""What all streams of one server know of it, replaced by compare-and-set."""

from __future__ import annotations

import json

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.model import Json
from tidegate.store.tables import server_table


def known(connection: Connection, server: str) -> tuple[int, Json]:
    """Generation and value of what is known of *server*; ``(0, None)`` at first."""
    table = server_table
    query = sa.select(table.c.generation, table.c.value).where(table.c.name == server)
    row = connection.execute(query).first()
    return (0, None) if row is None else (row.generation, json.loads(row.value))


def replace(connection: Connection, server: str, generation: int, value: Json) -> bool:
    """Replace it; False, changing nothing, when *generation* is no longer the one kept."""
    values = {"name": server, "before": generation, "value": json.dumps(value, ensure_ascii=False)}
    statement = _BEGIN if generation == 0 else _REPLACE
    return connection.execute(sa.text(statement), values).rowcount == 1


_BEGIN = """
INSERT INTO tidegate_server (name, generation, value) VALUES (:name, :before + 1, :value)
ON CONFLICT (name) DO NOTHING
"""
_REPLACE = """
UPDATE tidegate_server SET generation = generation + 1, value = :value
WHERE name = :name AND generation = :before
"""
