"""Which streams a database could have: its collections, and the fields of some documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from bson import Decimal128, Int64, ObjectId, decode

from tidegate.connections import Endpoint
from tidegate.pipeline.kinds import Proposal
from tidegate.sources.mongodb.session import Session
from tidegate.sources.rows.naming import CHANGED, DELETED

SAMPLE = 200
"""Documents looked at in each collection."""
TIMEOUT = 30.0
_TYPES: dict[type, str] = {
    bool: "bool", int: "int64", Int64: "int64", float: "float64", Decimal128: "numeric",
    str: "string", datetime: "timestamp", ObjectId: "string", bytes: "bytes",
}  # fmt: skip


def proposals(endpoint: Endpoint) -> Iterator[Proposal]:
    """One for each collection that the user may see, by name."""
    with closing(Session(endpoint, TIMEOUT)) as session:
        for name, kind in sorted(session.collections().items()):
            if kind == "collection" and not name.startswith("system."):
                sample = session.find(name, {}, limit=SAMPLE)
                yield _proposal(name, [decode(document) for document in sample])


def _proposal(name: str, sample: list[Mapping[str, Any]]) -> Proposal:
    types = {"_id": "string", **_census(sample)}
    times = [field for field, type in types.items() if type == "timestamp"]
    cursor = next((field for field in times if CHANGED.search(field)), "_id")
    says: dict[str, Any] = {"collection": name, "primary_key": "_id", "cursor": cursor}
    notes = {
        "columns": f"the fields of {len(sample)} documents; a path like address.city leads inside",
        "cursor": "no field tells when a document changed: only new documents are seen"
        if cursor == "_id"
        else "does every change of a document touch it? It needs an index",
    }
    if deleted := next((field for field in types if DELETED.match(field)), None):
        says["deleted"] = {"column": deleted}
        notes["deleted"] = "documents that it marks become tombstones"
    says["columns"] = {
        _column(field): type if "." not in field else {"type": type, "path": [field]}
        for field, type in types.items()
    }
    return Proposal(name, says, notes)


def _census(sample: list[Mapping[str, Any]]) -> dict[str, str]:
    """Field → the type of all its values; json where they differ, or hold others."""
    found: dict[str, set[str]] = {}
    for document in sample:
        for field, value in document.items():
            kinds = found.setdefault(field, set())
            if value is not None:
                kinds.add(_TYPES.get(type(value), "json"))
    return {field: kinds.pop() if len(kinds) == 1 else "json" for field, kinds in found.items()}


def _column(field: str) -> str:
    return field.replace(".", "_")
