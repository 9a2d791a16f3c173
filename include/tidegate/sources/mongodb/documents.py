"""BSON → rows: a document that its Extended JSON would not tell exactly is held, never bent.

The whole document (``$``) is canonical Extended JSON, which keeps every type: Int32, Int64, double,
Decimal128, dates of any year, binary subtypes. Parts of it, in columns of type ``json``, are
relaxed Extended JSON: there 5 is 5, so that keys and attributes are what people mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import bson
from bson import Binary, CodecOptions, DatetimeMS, Decimal128, Int64, ObjectId, json_util
from bson.codec_options import DatetimeConversion
from bson.errors import InvalidBSON
from bson.json_util import CANONICAL_JSON_OPTIONS, RELAXED_JSON_OPTIONS

from tidegate.model import Reason
from tidegate.sources.rows.fitting import Unread
from tidegate.sources.rows.options import WHOLE
from tidegate.sources.rows.records import Record, reach
from tidegate.types import INTEGERS, ColumnType

if TYPE_CHECKING:
    from tidegate.sources.mongodb.options import MongoStream

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS
)
"""Dates stay numbers, for Python has no words for most of them; UUIDs stay binary."""
_LENIENT = OPTIONS.with_options(unicode_decode_error_handler="replace")
_OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MISSING = object()
_BINARY_UUID = 4


class Whole(dict[str, Any]):
    """A document, and no part of one; *exact* is what it was before a key in it was marked."""

    exact: dict[str, Any]


def exact(record: Record) -> dict[str, Any]:
    """The document that *record* was made of."""
    value = record.value
    return value.exact if isinstance(value, Whole) else value


class Documents:
    """Makes records of one stream's documents."""

    def __init__(self, stream: MongoStream) -> None:
        self._path = stream.cursor_path
        self._sort = stream.sort
        self._cursor = stream.cursor
        self._required = stream.null_cursor == "quarantine"
        self._exact = [name for name in stream.columns if stream.path(name) == (WHOLE,)]
        self._keys = [
            (name, stream.path(name), stream.types[name].name) for name in stream.primary_key
        ]

    def record(self, octets: bytes) -> Record:
        """One document; *reasons* say why it cannot be a row."""
        reasons: list[Reason] = []
        try:
            value = bson.decode(octets, OPTIONS)
        except InvalidBSON as error:
            value = bson.decode(octets, _LENIENT)
            reasons.append(Reason("pull", "not UTF-8", f"the document cannot be read: {error}"))
        else:
            if self._exact and bson.encode(value, codec_options=OPTIONS) != octets:
                reasons.append(Reason("pull", "not exact", _NOT_EXACT, self._exact[0]))
        if self._required and (kind := self.unreached(value)):
            why = f"the cursor {self._cursor!r} is {kind} (null_cursor: quarantine)"
            reasons.append(Reason("pull", "no cursor", why, self._cursor))
        row = Whole(value) if self._exact else value
        for name, path, type in self._keys:
            if not _tells(found := reach(value, path), type):
                reasons.append(Reason("pull", "ambiguous key", _ambiguous(found, type), name))
                row = Whole(_marked(row, path, found))
        if isinstance(row, Whole):
            row.exact = value
        return Record(row, reasons=tuple(reasons))

    def cursor(self, value: Mapping[str, Any]) -> Any:
        """The cursor of a document, as BSON has it."""
        return reach(value, self._path)

    def unreached(self, value: Mapping[str, Any]) -> str | None:
        """What the cursor is, when no bound reaches the document; None: it is as it should be."""
        found = _look(value, self._path)
        kind = sort_of(found)
        return None if kind == self._sort else kind


_NOT_EXACT = (
    "the document has a name twice, or a type that MongoDB has given up (undefined, symbol, "
    "DBPointer); its Extended JSON would be of another document"
)


def spell(value: Any) -> str:
    """Extended JSON: canonical for a whole document, relaxed for a part."""
    whole = isinstance(value, Whole)
    options = CANONICAL_JSON_OPTIONS if whole else RELAXED_JSON_OPTIONS
    told = value.exact if whole else value
    text: str = json_util.dumps(told, json_options=options, ensure_ascii=False)
    return text


def sort_of(value: Any) -> str:
    """The sort of a cursor's value; numbers that are none are not of theirs."""
    if value is _MISSING:
        return "missing"
    if value is None:
        return "null"
    if isinstance(value, DatetimeMS):
        return "date"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float | Decimal128):
        number = value.to_decimal() if isinstance(value, Decimal128) else value
        return "number" if number == number else "NaN"
    known = {str: "string", list: "array", dict: "object", ObjectId: "objectId"}
    return known.get(type(value), type(value).__name__.lower())


def level(one: Mapping[str, Any], other: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> bool:
    """Whether two documents have the same place in an order by *paths*."""
    return all(reach(one, path) == reach(other, path) for path in paths)


def ids(text: str, type: ColumnType) -> list[Any] | None:
    """Every ``_id`` that has the ``_key`` *text* in a column of *type*; None: it does not tell."""
    if type.name in {"int16", "int32", "int64"}:
        return [int(text)] if re.fullmatch(r"-?[0-9]{1,19}", text) else None
    if type.name == "string" and not text.startswith(("'", '"', "0x", "{", "[")):
        found: list[Any] = [text]
        if ObjectId.is_valid(text):
            found.append(ObjectId(text))
        if _UUID.fullmatch(text):
            found.append(Binary(bytes.fromhex(text.replace("-", "")), _BINARY_UUID))
        return found
    if type.name == "json":
        try:
            return [json_util.loads(text, json_options=RELAXED_JSON_OPTIONS)]
        except (ValueError, TypeError):
            return None
    return None


def _tells(value: Any, type: str) -> bool:
    """Whether no other value of MongoDB has the same text as *value* in a key of this *type*."""
    if value is None or (value.__class__ is Int64 and type in INTEGERS):
        return True  # the first is held for being NULL
    if type == "string":
        if isinstance(value, str):
            return not (_OBJECT_ID.fullmatch(value) or _UUID.fullmatch(value))
        uuid = isinstance(value, Binary) and value.subtype == _BINARY_UUID
        return uuid or isinstance(value, ObjectId)
    if type in {"int16", "int32", "int64", "numeric", "decimal", "float64"}:
        return sort_of(value) == "number"
    if type == "timestamp":
        return sort_of(value) == "date"
    return True


def _marked(document: Mapping[str, Any], path: Sequence[str], found: Any) -> dict[str, Any]:
    """*document* with a key in the place of *found* that no other document has."""
    if not path:
        raw = found if isinstance(found, str) else repr(found)[:200]
        return Unread(raw, "ambiguous key")  # type: ignore[return-value]
    return {**document, path[0]: _marked(document[path[0]], path[1:], found)}


def _ambiguous(value: Any, type: str) -> str:
    return (
        f"{value!r:.80} of type {sort_of(value)} would be the same text as another key in a column "
        f"of type {type}. Declare the key as json where keys are of several types"
    )


def _look(value: Any, path: Sequence[str]) -> Any:
    """As MongoDB looks: through documents only; an array on the way makes it an array."""
    for step in path:
        if isinstance(value, list):
            return value
        if not isinstance(value, Mapping) or step not in value:
            return _MISSING
        value = value[step]
    return value
