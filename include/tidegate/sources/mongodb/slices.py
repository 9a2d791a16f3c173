"""Which documents a run reads, by queries that indexes serve.

MongoDB compares a value with others of its sort only: ``$gte`` a date finds dates, and neither
texts nor numbers nor what is missing (*type bracketing*). So a run reads three slices::

    reached    the cursor is of its sort, from the watermark on: by (cursor, _id), page by page
    arrays     an array with such a value in it, which would be sorted by its smallest
    unreached  the cursor is missing, null, or of another sort: in every run

And all of a collection is read by ``_id``, sort after sort, for ``_id > x`` has the same limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bson import Decimal128, ObjectId

from tidegate.errors import ConfigError
from tidegate.model import Watermark, Window
from tidegate.sources.mongodb.options import ID, Sort

if TYPE_CHECKING:
    from tidegate.sources.mongodb.options import MongoStream

Query = dict[str, Any]

IDS: tuple[Sequence[str], ...] = (
    ("number",), ("objectId",), ("string", "symbol"), ("date",), ("binData",), ("bool",),
    ("timestamp",), ("object",), ("null",), ("javascript",), ("javascriptWithScope",),
    ("dbPointer",), ("minKey",), ("maxKey",),
)  # fmt: skip
"""What an ``_id`` may be: those in one line are compared with each other."""
_OF: Mapping[Sort, Sequence[str]] = {
    "date": ("date",), "number": ("int", "long", "double", "decimal"), "objectId": ("objectId",),
}  # fmt: skip
_TYPES = (
    "double", "string", "object", "binData", "undefined", "objectId", "bool", "date", "regex",
    "dbPointer", "javascript", "symbol", "javascriptWithScope", "int", "timestamp", "long",
    "decimal", "minKey", "maxKey",
)  # fmt: skip
"""All but null and arrays."""


@dataclass(frozen=True, slots=True)
class Range:
    """Values of one field, of one sort: since ≤ value < until; None: open."""

    path: str
    sort: Sort
    since: Any = None
    until: Any = None

    @property
    def order(self) -> list[tuple[str, int]]:
        """What makes every document's place its own."""
        return [(name, 1) for name in dict.fromkeys((self.path, ID))]

    def reached(self, after: tuple[Any, Any] | None = None) -> Query:
        """Those behind the document with this value and ``_id``, in :attr:`order`."""
        asked: list[Query] = [{"$in": [{"$type": f"${self.path}"}, list(_OF[self.sort])]}]
        since = self.since
        if after is not None:
            since, id = after
            asked.append({"$or": [_gt(self.path, since), _gt(ID, id)]})
        bounds = {"$gte": since} if since is not None else {"$type": list(_OF[self.sort])}
        if self.until is not None:
            bounds["$lt"] = self.until
        return {self.path: bounds, "$expr": {"$and": asked}}

    def arrays(self) -> Query:
        """Arrays in which a value lies in the range."""
        bounds = {"$gte": self.since} if self.since is not None else {"$type": "array"}
        return {self.path: bounds, "$expr": {"$isArray": f"${self.path}"}}

    def unreached(self) -> Query:
        """No value of this sort; arrays that :meth:`arrays` has are left out."""
        others = [type for type in _TYPES if type not in _OF[self.sort]]
        some: list[Query] = [{self.path: None}, {self.path: []}, {self.path: {"$type": others}}]
        if self.sort == "number":
            some.append({self.path: float("nan")})
        seen = {} if self.since is None else {self.path: {"$not": {"$gte": self.since}}}
        return {"$or": some, **seen}


def by_id(type: Sequence[str], after: Sequence[Any] = ()) -> Query:
    """Documents whose ``_id`` is of these types; *after*: behind the one with this ``_id``."""
    where: Query = {"$type": list(type)}
    for id in after:
        where |= {"$gte": float("-inf")} if _is_nan(id) else {"$gt": id}
    return {ID: where}


def from_watermark(stream: MongoStream, low: Watermark, where: str) -> Range:
    """What lies at *low* or later. Raises ConfigError when it says nothing of the cursor."""
    sort, path = stream.sort, ".".join(stream.cursor_path)
    if low.column not in {None, stream.cursor} or isinstance(low.cursor, int) != (sort == "number"):
        raise ConfigError(
            f"{where}: cursor: the watermark {low.cursor!r} is one of column {low.column!r}, which "
            f"says nothing of {stream.cursor!r}. Run the stream with --full once, or name the old "
            "cursor."
        )
    return Range(path, sort, _value(low.cursor, sort))


def from_window(stream: MongoStream, window: Window, where: str) -> Range:
    """A window of history. Raises ConfigError when there is no time to cut it by."""
    by = stream.backfill.by or stream.cursor
    sort = stream.sort if by == stream.cursor else stream.sort_of(by)
    path = stream.cursor_path if by == stream.cursor else stream.path(by)
    if sort not in {"date", "objectId"}:
        raise ConfigError(
            f"{where}: backfill.by: {by!r} is no time, but a window needs one. Name a column of "
            "type timestamp with backfill: {by: ...}"
        )
    since, until = (_value(text, sort) for text in (window.since, window.until))
    return Range(".".join(path), sort, since, until)


def missing_ids() -> Query:
    """Documents without ``_id``, which only views have."""
    return {ID: {"$exists": False}}


def _value(cursor: int | str, sort: Sort | None) -> Any:
    """A watermark's cursor, or the edge of a window, as MongoDB compares it."""
    if isinstance(cursor, int):
        return cursor
    moment = datetime.fromisoformat(cursor)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return ObjectId.from_datetime(moment) if sort == "objectId" else moment


def _gt(path: str, value: Any) -> Query:
    """``$gt`` over all types: unlike in a query, in an expression every value has its place."""
    return {"$gt": [f"${path}", {"$literal": value}]}


def _is_nan(value: Any) -> bool:
    if isinstance(value, Decimal128):
        return value.to_decimal().is_nan()
    return isinstance(value, float) and value != value
