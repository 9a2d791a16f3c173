"""A collection of MongoDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from bson import Decimal128, Int64

from services import mongodb
from sources.contract.peer import COLUMNS, Peer, Row
from tidegate.connections import Endpoint
from tidegate.pipeline.models import Stream
from tidegate.sources.mongodb.options import MongoStream


class MongoDB(Peer):
    """A collection with a cursor."""

    kind = "mongodb"
    title = "MongoDB collection"
    tick = timedelta(milliseconds=1)
    cannot = {
        "deletions_arrive": "a collection does not tell: verification, or a soft-delete field",
        "a_forgotten_position_is_an_error": "a collection forgets no position",
        "nothing_is_acknowledged_before_it_is_durable": "a collection acknowledges nothing",
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._endpoint = mongodb.server().fresh()
        self.database = mongodb.database(self._endpoint)
        self.database["orders"].create_index([("changed", 1), ("_id", 1)])

    @property
    def endpoint(self) -> Endpoint:
        return self._endpoint

    def stream(self, **more: Any) -> Stream:
        columns = {**COLUMNS, "id": {"type": "int64", "path": "_id"}}
        given = {"collection": "orders", "primary_key": "id", "cursor": "changed"}
        return MongoStream.model_validate(
            {**given, "columns": columns, "lookback": "5m", "bound": "lookback", **more}
        )

    def put(self, rows: Sequence[Row]) -> None:
        for row in rows:
            document = {"name": row.name, "amount": _number(row), "changed": row.changed}
            self.database["orders"].replace_one({"_id": Int64(row.id)}, document, upsert=True)

    def delete(self, ids: Sequence[int]) -> None:
        self.database["orders"].delete_many({"_id": {"$in": list(ids)}})

    def unreachable(self) -> Endpoint:
        return replace(self._endpoint, host="127.0.0.1", port=1)

    def refused(self) -> Endpoint:
        return replace(self._endpoint, user="tide", password="not the w0rd")

    def close(self) -> None:
        self.database.client.drop_database(self.database.name)
        self.database.client.close()


def _number(row: Row) -> Any:
    """A Decimal128, which has 34 digits; applications keep longer numbers as text."""
    if row.amount is None or len(row.amount.as_tuple().digits) > 34:
        return row.amount and str(row.amount)
    return Decimal128(row.amount)


PEERS = [MongoDB]
