"""Which streams a place of files could have: one for names that differ in numbers only."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import date, datetime
from decimal import Decimal
from heapq import nlargest
from itertools import islice
from typing import Any, BinaryIO

import pyarrow.parquet as parquet

from tidegate.connections import Endpoint
from tidegate.pipeline.kinds import Proposal
from tidegate.sources.files import formats, place_of
from tidegate.sources.files.entry import BadFileError, Entry, Place
from tidegate.sources.files.expanding import judged, members
from tidegate.sources.files.naming import Shape, day_of, shape_of
from tidegate.sources.files.options import LINES, FilesStream, kind_of
from tidegate.sources.files.sheets import first_row

SAMPLE = 200
"""Rows looked at in the newest file of each stream."""
MOST = 200
"""Streams proposed."""
_HEAD = 64_000
_SPELLED = {
    "int64": re.compile(r"-?(0|[1-9]\d{0,17})"),
    "numeric": re.compile(r"-?(0|[1-9]\d*)(\.\d+)?"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "datetime": re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?"),
    "timestamp": re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)"),
}
"""How texts are spelled that could be more than text; 00501 is not among them."""
_TYPES: dict[type, str] = {
    bool: "bool", int: "int64", float: "float64", Decimal: "numeric", date: "date", bytes: "bytes",
}  # fmt: skip


def proposals(endpoint: Endpoint) -> Iterator[Proposal]:
    """One for each pattern of names that has a format known here; the latest :data:`MOST`."""
    with closing(place_of(endpoint, "**/*", endpoint.name)) as place:
        newest: dict[Shape, Entry] = {}
        for entry in place.list():
            shape = shape_of(entry.name) if entry.path.endswith(entry.name) else None
            packing, format = kind_of(entry.name)
            if shape is None or (format is None and packing != "zip"):
                continue
            if shape not in newest or newest[shape].modified < entry.modified:
                newest[shape] = entry
        latest = nlargest(MOST, newest.items(), key=lambda pair: pair[1].modified)
        left = len(newest) - len(latest)
        more = f"; {left} patterns with older files were left out" if left else ""
        for shape, entry in sorted(latest, key=lambda pair: pair[0].pattern):
            yield _proposal(shape, entry, place, more)


def _proposal(shape: Shape, entry: Entry, place: Place, more: str) -> Proposal:
    says: dict[str, Any] = {"files": shape.pattern}
    notes = {"files": f"the newest is {entry.name}{more}"}
    if (day := day_of(entry.name.rpartition("/")[2])) is not None:
        says["day"] = day
    columns: dict[str, str] = {}
    try:
        look = _Look(place, entry)
        says |= look.dialect()
        columns = look.columns(look.names())
    except Exception as error:  # noqa: BLE001  # whatever is wrong with one file, others go on
        notes["columns"] = f"the file could not be looked into: {error}"[:200]
    says["primary_key"] = _key(columns)
    says["columns"] = columns or {"id": "string"}
    notes["primary_key"] = "what identifies a row, in whichever file it comes"
    notes.setdefault("columns", f"as its first {SAMPLE} rows are spelled")
    return Proposal(shape.words, says, notes)


def _key(columns: Iterable[str]) -> str:
    names = list(columns)
    ids = [name for name in names if re.search(r"(^|_| )(id|key|no|number|code)$", name.lower())]
    exact = [name for name in names if name.lower() == "id"]
    return next(iter([*exact, *ids, *names]), "id")


class _Look:
    """What is in one file, or in the first member of an archive."""

    def __init__(self, place: Place, entry: Entry) -> None:
        self._place = place
        self._entry = entry
        self._says: dict[str, Any] = {}
        with self._first() as (name, file):
            self._format = formats.format_of(name, self._with({"id": "string"}))
            self._head = file.read(_HEAD)

    def dialect(self) -> dict[str, Any]:
        """Encoding and delimiter, where they are not the usual ones."""
        if self._format in LINES:
            if self._head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                self._says["encoding"] = "utf-16"
            elif not _is_utf8(self._head):
                self._says["encoding"] = "cp1252"
        if self._format == "csv":
            line = self._text.partition("\n")[0]
            most = max(",;\t|", key=line.count)
            if most != "," and line.count(most):
                self._says["delimiter"] = most
        return dict(self._says)

    def names(self) -> list[str]:
        """The columns of its table; of JSON and XML the members of its first rows."""
        if self._format in {"csv", "tsv"}:
            delimiter = self._says.get("delimiter", "\t" if self._format == "tsv" else ",")
            lines = self._text.splitlines(keepends=True)
            return next(csv.reader(lines, delimiter=delimiter), [])
        if self._format in {"parquet", "excel"}:
            with self._first() as (_, file):
                if self._format == "parquet":
                    return _parquet(file)
                return first_row(file, self._entry.size, self._with({"id": "string"}))
        rows = self._rows({"all": {"type": "json", "path": "$"}})
        return list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))

    def columns(self, names: list[str]) -> dict[str, str]:
        """Each of *names* with the type that all of its values have."""
        often = Counter(names)
        names = [name for name in names if often[name] == 1 and self._usable(name)]
        rows = self._rows({name: {"type": "string", "path": [name]} for name in names})
        found = [row for row in rows if isinstance(row, dict)]
        spelled = self._format in {"csv", "tsv", "xml"}
        return {name: _type([row.get(name) for row in found], spelled=spelled) for name in names}

    def _usable(self, name: str) -> bool:
        """Whether a column may be called so."""
        with suppress(ValueError):
            self._with({name: "string"})
            return bool(name.strip()) and name.isprintable()
        return False

    def _rows(self, columns: dict[str, Any]) -> list[Any]:
        if not columns:
            return []
        stream = self._with(columns)
        with self._place.reading(self._entry) as file:
            every = formats.rows(file, self._entry, stream, formats.meter_of(self._entry, stream))
            return [value for value, why in islice(every, SAMPLE) if why is None]

    @contextmanager
    def _first(self) -> Iterator[tuple[str, BinaryIO]]:
        stream = self._with({"id": "string"})
        meter, packing = formats.meter_of(self._entry, stream), kind_of(self._entry.name)[0]
        with self._place.reading(self._entry) as file, judged():
            for name, inner in members(self._entry.name, file, packing, meter, stream.limits):
                yield name, inner
                return
            raise BadFileError("empty", "there is nothing in it")

    def _with(self, columns: dict[str, Any]) -> FilesStream:
        says = {"files": "any", "primary_key": next(iter(columns)), "columns": columns}
        return FilesStream.model_validate({**says, **self._says})

    @property
    def _text(self) -> str:
        return self._head.decode(self._says.get("encoding", "utf-8-sig"), "replace")


def _is_utf8(octets: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(octets)
    except UnicodeDecodeError:
        return False
    return True


def _parquet(file: BinaryIO) -> list[str]:
    with parquet.ParquetFile(file, pre_buffer=False) as found:
        return list(found.schema_arrow.names)


def _type(values: Iterable[Any], *, spelled: bool) -> str:
    """That of all *values*; string where texts differ, json where values do."""
    some = [value for value in values if value is not None and value != ""]
    if spelled:
        for name, form in _SPELLED.items():
            if some and all(isinstance(one, str) and form.fullmatch(one) for one in some):
                return name
        return "string"
    kinds = {_kind(value) for value in some}
    if kinds == {"int64", "numeric"}:
        return "numeric"
    return kinds.pop() if len(kinds) == 1 else "json" if kinds else "string"


def _kind(value: Any) -> str:
    if isinstance(value, datetime):
        return "timestamp" if value.tzinfo else "datetime"
    if isinstance(value, str):
        return next((n for n in ("timestamp", "date") if _SPELLED[n].fullmatch(value)), "string")
    return _TYPES.get(type(value), "json")
