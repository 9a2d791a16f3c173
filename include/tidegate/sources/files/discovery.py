"""Which streams a place of files could have: one for names that differ in their digits only."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as parquet

from tidegate.connections import Endpoint
from tidegate.pipeline.kinds import Proposal
from tidegate.sources.files import formats, place_of
from tidegate.sources.files.entry import BadFileError, ChangedFileError, Entry, Place
from tidegate.sources.files.expanding import judged, members
from tidegate.sources.files.options import LINES, FilesStream, kind_of

SAMPLE = 200
"""Rows looked at in the newest file of each stream."""
_HEAD = 64_000
_BROKEN = (csv.Error, pa.ArrowException)
_DIGITS = re.compile(r"\d+(?:[-_.T]?\d+)*")
_DAYS = ((r"\d{4}-\d\d-\d\d", "%Y-%m-%d"), (r"\d{4}_\d\d_\d\d", "%Y_%m_%d"), (r"\d{8}", "%Y%m%d"))
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
    """One for each pattern of names that has a format known here."""
    with closing(place_of(endpoint, "**/*", endpoint.name)) as place:
        newest: dict[str, Entry] = {}
        for entry in place.list():
            pattern = _pattern(entry.name)
            if kind_of(entry.name)[1] is None and kind_of(entry.name)[0] != "zip":
                continue
            if pattern not in newest or newest[pattern].modified < entry.modified:
                newest[pattern] = entry
        for pattern, entry in sorted(newest.items()):
            yield _proposal(pattern, entry, place)


def _pattern(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    stem, dot, extensions = last.partition(".") if "." in last else (last, "", "")
    while "." in extensions and not kind_of(f"x.{extensions}")[1]:
        more, _, extensions = extensions.partition(".")
        stem = f"{stem}.{more}"
    return f"{_DIGITS.sub('*', folder)}{slash}{_DIGITS.sub('*', stem)}{dot}{extensions}"


def _proposal(pattern: str, entry: Entry, place: Place) -> Proposal:
    says: dict[str, Any] = {"files": pattern}
    notes = {"files": f"the newest is {entry.name}"}
    if (day := _day(entry.name.rpartition("/")[2])) is not None:
        says["day"] = day
    columns: dict[str, str] = {}
    try:
        look = _Look(place, entry)
        says |= look.dialect()
        columns = look.columns(look.names())
    except (BadFileError, ChangedFileError, ValueError, KeyError, OSError, *_BROKEN) as error:
        notes["columns"] = f"the file could not be looked into: {error}"[:200]
    says["primary_key"] = _key(columns)
    says["columns"] = columns or {"id": "string"}
    notes["primary_key"] = "what identifies a row, in whichever file it comes"
    notes.setdefault("columns", f"as its first {SAMPLE} rows are spelled")
    return Proposal(re.sub(r"\W+", "_", pattern.partition(".")[0]).strip("_"), says, notes)


def _day(name: str) -> str | None:
    """The option *day* for a file's *name*."""
    for digits, marks in _DAYS:
        if re.search(digits, name):
            parts = re.split(digits, name, maxsplit=1)
            return marks.join(_DIGITS.sub("*", part) for part in parts)
    return None


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
                return _parquet(file) if self._format == "parquet" else _sheet(file)
        rows = self._rows({"all": {"type": "json", "path": "$"}})
        return list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))

    def columns(self, names: list[str]) -> dict[str, str]:
        """Each of *names* with the type that all of its values have."""
        names = [name for name in names if name.strip() and names.count(name) == 1]
        rows = self._rows({name: {"type": "string", "path": [name]} for name in names})
        found = [row for row in rows if isinstance(row, dict)]
        spelled = self._format in {"csv", "tsv", "xml"}
        return {name: _type([row.get(name) for row in found], spelled=spelled) for name in names}

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


def _sheet(file: BinaryIO) -> list[str]:
    from openpyxl import load_workbook

    book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
    with closing(book):
        names = next(book.worksheets[0].iter_rows(values_only=True), ())
    return [str(name) for name in names if name is not None]


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
