"""What projecting one mapping takes: which records were touched, and pieces of SQL about them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store.jsontext import Json
from tidegate.store.mapping import Mapping
from tidegate.store.records import Records
from tidegate.store.sqltext import Script
from tidegate.store.tables import stream_table
from tidegate.types import ColumnType

LIVE = "c._deleted = false AND c._duplicate = false"


@dataclass(frozen=True)
class Touched:
    """Which records to look at, as SQL.

    new   a condition on the current table, called ``{0}``
    old   a condition on ``c``, the history: what touched records said before
    keys  a query of the records that may have said something before
    """

    new: str
    old: str
    keys: str


class Work:
    """One mapping, and the records that were touched."""

    def __init__(
        self,
        connection: Connection,
        records: Records,
        mapping: Mapping,
        touched: Touched,
        values: dict[str, Any],
    ) -> None:
        names = {"current": records.current, "history": records.history, "stage": records.stage}
        self.script = Script(connection, names, values)
        self.mapping = mapping
        self.json = Json(connection.dialect.name, _kinds(connection, records))
        self.pieces = {
            "live": LIVE,
            "empty": "'{}'" if self.json.lite else "CAST('{}' AS jsonb)",
            "new": touched.new.format("c"),
            "speaker_new": touched.new.format("w"),
            "old": touched.old,
        }
        self.pieces["keys"] = self.filled(touched.keys, {})

    def filled(self, query: str, pieces: dict[str, str]) -> str:
        """*query* with the tables' names and *pieces* in it."""
        tables = {key: self.script.quote(name) for key, name in self.script.names.items()}
        return query.format_map({**tables, **pieces})


def _kinds(connection: Connection, records: Records) -> dict[str, str]:
    """Column → type's name, of everything that the stream's tables ever held."""
    known = connection.execute(
        sa.select(stream_table.c.columns).where(stream_table.c.name == records.stream)
    ).scalar()
    kinds: dict[str, Any] = json.loads(known) if known else {}
    found = {name: ColumnType.parse(kind).name for name, kind in kinds.items()}
    return found | {column.name: column.type.name for column in records.data}
