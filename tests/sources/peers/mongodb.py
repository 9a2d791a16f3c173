"""A collection of MongoDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bson import Decimal128, Int64

from services import mongodb
from sources.contract.peer import COLUMNS, Peer, Row
from tidegate.connections import Endpoint
from tidegate.pipeline.models import Stream
from tidegate.sources.mongodb.options import MongoStream


class MongoDB(Peer):
    """A collection with a cursor. Its dates keep milliseconds, so numbers keep the rest."""

    kind = "mongodb"
    title = "MongoDB collection"
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
            amount = None if row.amount is None else Decimal128(row.amount)
            document = {"name": row.name, "amount": amount, "changed": row.changed}
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


PEERS = [MongoDB]
