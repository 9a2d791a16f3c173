"""SQLite files. Any column may hold any type of value there, so nothing is taken on trust."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from typing_extensions import override

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.sources.rows.fitting import Unread
from tidegate.sources.sql.catalogue import Index, Native, Table
from tidegate.sources.sql.dialect import (
    LOCK_SECONDS,
    SLOW,
    Clause,
    Dialect,
    UndecodableError,
    named,
    split,
)
from tidegate.sources.sql.moments import AROUND, Bound, local
from tidegate.types import TEMPORAL, ColumnType

_STEPS = 20_000
"""Steps of SQLite's machine between two looks at the clock: some milliseconds."""
_OFFSET = re.compile(r":\d\d(?:\.\d+)?\s?(Z|[+-]\d\d(?::?\d\d)?)$")
_UTC = ("Z", "+00", "+0000", "+00:00")
_SIZED = re.compile(r"(?:DECIMAL|NUMERIC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_EXACT = {
    "DATE": "date", "TIME": "time", "DATETIME": "datetime", "TIMESTAMP": "datetime",
    "JSON": "json", "DECIMAL": "numeric", "NUMERIC": "numeric",
}  # fmt: skip
_PARTS = (
    ("BOOL", "bool"), ("INT", "int64"), ("CHAR", "string"), ("CLOB", "string"),
    ("TEXT", "string"), ("BLOB", "bytes"), ("REAL", "float64"), ("FLOA", "float64"),
    ("DOUB", "float64"), ("UUID", "string"),
)  # fmt: skip
_FIND = sa.text(
    "SELECT name, type, sql, rootpage FROM sqlite_master"
    " WHERE type IN ('table', 'view') AND name = :table"
)
_TABLES = sa.text(
    "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
    " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
)
_COLUMNS = sa.text(
    'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(:table) WHERE hidden <> 1'
)
_INDEXES = sa.text(
    'SELECT l.name, l."unique", x.name, x.coll FROM pragma_index_list(:table) l'
    " JOIN pragma_index_xinfo(l.name) x WHERE NOT l.partial AND x.key ORDER BY l.seq, x.seqno"
)


class SQLite(Dialect):
    """A file, opened read-only."""

    title = "SQLite"
    row_values = True
    clock = "SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')"
    remote = False

    @override
    def engine(self, endpoint: Endpoint, timeout: float) -> sa.Engine:
        file = Path(str(endpoint.database)).absolute()
        if not file.is_file():
            raise RefusedError(
                f"{endpoint.name}: there is no file {file}. Check the connection: "
                "sqlite:////absolute/path.db"
            )

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                f"{file.as_uri()}?mode=ro",
                uri=True,
                timeout=LOCK_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )

        return sa.create_engine(
            "sqlite://", creator=connect, poolclass=sa.NullPool, hide_parameters=True
        )

    @override
    def prepare(self, connection: sa.Connection, timeout: float) -> None:
        driver = _driver(connection)
        driver.execute("PRAGMA query_only = ON")
        deadline = [0.0]

        def start(*_: Any) -> None:
            deadline[0] = time.monotonic() + timeout

        event.listen(connection, "before_cursor_execute", start)
        driver.set_progress_handler(lambda: time.monotonic() > deadline[0], _STEPS)

    @override
    def find(self, connection: sa.Connection, wanted: str) -> Table | list[str]:
        for schema, name in split(wanted):
            if schema not in {None, "main"}:
                continue
            found = connection.execute(_FIND, {"table": name}).first()
            if found:
                place = {"table": name}
                columns = connection.execute(_COLUMNS, place).all()
                return Table(
                    schema,
                    found[0],
                    found[1] == "view",
                    tuple(
                        _native(row[0], row[1], nullable=_nullable(row, columns)) for row in columns
                    ),
                    tuple(_indexes(connection, name, columns, found[2] or "")),
                    str(found[3]),
                )
        return [row[0] for row in connection.execute(_TABLES)]

    @override
    def sought(self, native: Native, type: ColumnType) -> sa.ColumnElement[Any] | None:
        """Numbers with fractions and times have several spellings here."""
        several = type.name in {"decimal", "numeric", "time", "datetime", "timestamp", "json"}
        return None if several else super().sought(native, type)

    @override
    def bind(self, value: Any) -> sa.ColumnElement[Any]:
        if isinstance(value, Unread):  # text again, octet for octet
            return sa.cast(super().bind(value.raw), sa.Text())
        return super().bind(value)

    @override
    def samples(self, native: Native, moment: Bound) -> sa.Select[Any] | None:
        """A time of each kind near *moment*: in UTC, with another offset, without one."""
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            return None
        column: sa.ColumnElement[Any] = named(native.own)
        utc = sa.or_(*(column.op("GLOB")(f"*{offset}") for offset in _UTC))
        apart = sa.func.substr(column, len("2026-11-20") + 1).op("GLOB")("*[-+]*")
        kind = sa.case((utc, 0), (apart, 1), else_=2)
        days = [(moment + span).date() for span in (-AROUND, AROUND + timedelta(days=1))]
        near = self.since(native, days[0].isoformat()), self.until(native, days[1].isoformat())
        plain = sa.type_coerce(column, sa.types.NullType())
        return sa.select(*(sa.func.max(sa.case((kind == k, plain))) for k in range(3))).where(*near)

    @override
    def bound(
        self,
        moment: Bound,
        native: Native,
        zone: tzinfo,
        samples: Sequence[Any] = (),
        *,
        end: bool = False,
    ) -> Any:
        """The shortest spelling of *moment*: no spelling of the same moment sorts below it."""
        if not isinstance(moment, datetime):
            return moment.isoformat() if isinstance(moment, date) else moment
        if moment.tzinfo is not None:
            zones = _zones([text for text in samples if isinstance(text, str)], zone)
            moment = (max if end else min)(local(moment, each, end=end) for each in zones)
        text = moment.isoformat(" ", "microseconds").rstrip("0").rstrip(".")
        if not moment.microsecond:
            text = text.removesuffix(":00").removesuffix(" 00:00")
        return text

    @override
    def since(self, native: Native, bound: Any) -> Clause:
        """Of its day, times behind a blank sort below all that are behind a T."""
        column: sa.ColumnElement[Any] = named(native.own)
        if not (times := _behind_t(bound)):
            return super().since(native, bound)
        first, same = map(self.bind, times)
        return sa.and_(column >= self.bind(bound), sa.or_(column < first, column >= same))

    @override
    def until(self, native: Native, bound: Any) -> Clause:
        column: sa.ColumnElement[Any] = named(native.own)
        if not (times := _behind_t(bound)):
            return super().until(native, bound)
        first, same = map(self.bind, times)
        return sa.and_(column < same, sa.or_(column < self.bind(bound), column >= first))

    @override
    def dated(self, native: Native, type: ColumnType) -> list[Clause]:
        """Numbers sort below all text and octets above: no bound would ever reach them."""
        column: sa.ColumnElement[Any] = named(native.own)
        if type.name in TEMPORAL:
            return [column >= _word("1000-"), column < _word(":")]
        return [column < _word("")]

    @override
    def undated(self, native: Native, type: ColumnType) -> list[Clause]:
        column: sa.ColumnElement[Any] = named(native.own)
        if type.name in TEMPORAL:
            return [column < _word("1000-"), column >= _word(":")]
        return [column >= _word("")]

    @override
    def lenient(self, connection: sa.Connection) -> bool:
        def decode(octets: bytes) -> str | Unread:
            try:
                return octets.decode()
            except UnicodeDecodeError:
                return Unread(octets, "not UTF-8")

        _driver(connection).text_factory = decode
        return True

    @override
    def translate(
        self, error: BaseException, endpoint: Endpoint
    ) -> TidegateError | UndecodableError:
        where = f"{endpoint.name}: SQLite file {endpoint.database}"
        text = endpoint.scrub(error)
        if "Could not decode to UTF-8" in text:
            return UndecodableError("text that is not UTF-8")
        if "interrupted" in text:
            return UnavailableError(f"{where} took too long. {SLOW}")
        if "no such table" in text or "no such column" in text:
            return ConfigError(f"{where}: {text}. Did someone change the table?")
        if re.search("locked|busy|disk I/O", text):
            return UnavailableError(f"{where} does not answer: {text}")
        return RefusedError(f"{where} refused: {text}. Check the path and who may read it.")


def _word(text: str) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"'{text}'")


def _zones(texts: Sequence[str], zone: tzinfo) -> list[tzinfo]:
    """Where the readings of *texts* are; those without an offset in *zone*."""
    zones: list[tzinfo] = []
    for text in texts:
        offset = _OFFSET.search(text)
        if offset and offset[1] not in _UTC:
            raise ConfigError(
                f"the column holds times like {text!r}: with such offsets the order of the "
                "text is not the order of time. Store them in UTC, or read a view that does."
            )
        zones.append(UTC if offset else zone)
    return zones or [UTC, zone]


def _behind_t(bound: Any) -> tuple[str, str] | None:
    """The first spelling with a T of the bound's day, and of the bound itself."""
    if not isinstance(bound, str) or " " not in bound:
        return None
    day, _, time = bound.partition(" ")
    return f"{day}T", f"{day}T{time}"


def _native(name: str, declared: str, *, nullable: bool) -> Native:
    words = " ".join(declared.upper().split())
    if match := _SIZED.match(words):
        precision, scale = int(match[1]), int(match[2] or 0)
        if 1 <= precision <= 76 and scale <= precision:
            return Native(name, words, ColumnType("decimal", precision, scale), nullable)
    kind = _EXACT.get(re.sub(r"\s*\(.*", "", words))
    kind = kind or next((known for part, known in _PARTS if part in words), None)
    loose = kind in {None, "json"}
    return Native(name, words, ColumnType.parse(kind or "string"), nullable, loose=loose)


def _indexes(
    connection: sa.Connection, table: str, columns: Sequence[Any], definition: str
) -> list[Index]:
    """A unique index counts only when it surely compares as its columns do."""
    parts: dict[str, list[Any]] = {}
    for row in connection.execute(_INDEXES, {"table": table}):
        parts.setdefault(row[0], []).append(row)
    collated = re.search(r"\bcollate\b", definition, re.IGNORECASE) is not None
    found = []
    for rows in parts.values():
        same = not collated or all(row[3] != "BINARY" for row in rows)
        found.append(Index(tuple(row[2] for row in rows), bool(rows[0][1]) and same))
    found += [Index((row[0],), unique=True) for row in columns if _is_rowid(row, columns)]
    return found


def _nullable(column: Any, columns: Sequence[Any]) -> bool:
    return not column[2] and not _is_rowid(column, columns)


def _is_rowid(column: Any, columns: Sequence[Any]) -> bool:
    """``INTEGER PRIMARY KEY``: the one key that is never NULL; the table itself is its index."""
    keys = sum(bool(other[3]) for other in columns)
    return bool(column[3]) and keys == 1 and column[1].upper() == "INTEGER"


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection
