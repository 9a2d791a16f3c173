"""MySQL and MariaDB through PyMySQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import pymysql
import sqlalchemy as sa
from pymysql.cursors import SSCursor
from sqlalchemy import event
from typing_extensions import override

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.sources.sql import connecting, rowhash, wire
from tidegate.sources.sql.catalogue import Index, Native, Table
from tidegate.sources.sql.dialect import (
    CONNECT_SECONDS,
    LOCK_SECONDS,
    SLOW,
    Clause,
    Dialect,
    RowHash,
    Selection,
    named,
    split,
)
from tidegate.sources.sql.fetched import Fetched
from tidegate.types import ColumnType

_TYPES = {
    "tinyint": "int16", "smallint": "int16", "mediumint": "int32", "int": "int32",
    "bigint": "int64", "year": "int16", "float": "float64", "double": "float64", "date": "date",
    "time": "time", "datetime": "datetime", "timestamp": "timestamp", "json": "json",
    "binary": "bytes", "varbinary": "bytes", "tinyblob": "bytes", "blob": "bytes",
    "mediumblob": "bytes", "longblob": "bytes", "bit": "bytes", "vector": "bytes",
    "geometry": "bytes", "point": "bytes", "linestring": "bytes", "polygon": "bytes",
    "multipoint": "bytes", "multilinestring": "bytes", "multipolygon": "bytes",
    "geometrycollection": "bytes", "geomcollection": "bytes",
}  # fmt: skip
_UNSIGNED = {"smallint": "int32", "int": "int64", "bigint": "decimal(20,0)"}
_TEXTUAL = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_COLUMNS = sa.text(
    "SELECT column_name, data_type, column_type, is_nullable, numeric_precision, numeric_scale,"
    " character_set_name FROM information_schema.columns"
    " WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table"
    " ORDER BY ordinal_position"
)
_INDEXES = sa.text(
    "SELECT * FROM information_schema.statistics WHERE table_schema = COALESCE(:schema, DATABASE())"
    " AND table_name = :table ORDER BY index_name, seq_in_index"
)
_TABLE = sa.text(
    "SELECT table_name, table_type, create_time FROM information_schema.tables"
    " WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table"
)
_TABLES = sa.text(
    "SELECT table_name FROM information_schema.tables"
    " WHERE table_schema = DATABASE() ORDER BY table_name"
)
_UNAVAILABLE = frozenset({
    1040, 1053, 1129, 1152, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1317, 1927, 1969, 2002,
    2003, 2006, 2013, 2014, 2055, 3024,
})  # fmt: skip
_TIMEOUTS = frozenset({1969, 3024, 1317})
_GONE = frozenset({1051, 1054, 1109, 1146})


class MySQL(Dialect):
    """Also MariaDB; where the two differ, the server's version decides."""

    title = "MariaDB/MySQL"
    row_values = False
    clock = "SELECT UTC_TIMESTAMP(6)"
    busy = "SHOW GLOBAL STATUS LIKE 'Threads_running'"
    counts_itself = True

    @override
    def engine(self, endpoint: Endpoint, timeout: float) -> sa.Engine:
        arguments: dict[str, Any] = {
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": timeout + CONNECT_SECONDS,
            "write_timeout": timeout + CONNECT_SECONDS,
            "local_infile": False,
            "cursorclass": SSCursor,  # which sends, and leaves the reading to us
            "autocommit": True,
            "sql_mode": "STRICT_ALL_TABLES",
            "init_command": (
                f"SET SESSION time_zone = '+00:00', lock_wait_timeout = {LOCK_SECONDS}, "
                f"innodb_lock_wait_timeout = {LOCK_SECONDS}"
            ),
            **connecting.tls(endpoint),
        }
        if endpoint.password:  # PyMySQL takes text for Latin-1, servers take UTF-8
            arguments["password"] = endpoint.password.encode()
        if socket := endpoint.options.get("unix_socket"):
            arguments["unix_socket"] = str(socket)
        engine = sa.create_engine(
            endpoint.url,
            connect_args=arguments,
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
        )
        event.listen(engine, "do_connect", lambda *to: connecting.Connection(*to[2], **to[3]))
        event.listen(engine, "connect", _isolate)
        return engine

    @override
    def prepare(self, connection: sa.Connection, timeout: float) -> None:
        connection.execute(sa.text("SET SESSION TRANSACTION READ ONLY"))
        if getattr(connection.dialect, "is_mariadb", False):
            connection.execute(
                sa.text("SET SESSION max_statement_time = :limit"), {"limit": timeout}
            )
        else:
            limit = {"limit": int(timeout * 1000)}
            connection.execute(sa.text("SET SESSION max_execution_time = :limit"), limit)

    @override
    def find(self, connection: sa.Connection, wanted: str) -> Table | list[str]:
        for schema, name in split(wanted):
            place = {"schema": schema, "table": name}
            if found := connection.execute(_TABLE, place).first():
                return Table(
                    schema,
                    found[0],
                    "VIEW" in found[1],
                    tuple(_native(*row) for row in connection.execute(_COLUMNS, place)),
                    tuple(_indexes(connection.execute(_INDEXES, place).mappings())),
                    str(found[2]),
                )
        return [row[0] for row in connection.execute(_TABLES)]

    @override
    def fetch(self, connection: sa.Connection, statement: Selection, endpoint: Endpoint) -> Fetched:
        with connection.execute(statement) as result:
            try:
                return wire.read(result.cursor, endpoint.name)
            except pymysql.MySQLError as error:
                if not connection.connection.driver_connection.open:  # type: ignore[union-attr]
                    connection.invalidate()
                raise self.translate(error, endpoint) from None

    @override
    def selected(self, native: Native, type: ColumnType) -> sa.ColumnElement[Any]:
        column: sa.ColumnElement[Any] = named(native.own)
        kind = native.declared.split("(")[0].split()[0]
        if kind == "float":  # its text form has six digits only
            return sa.cast(column, sa.Double())
        if type.name == "string" and native.type.name not in {"string", "json", "bytes"}:
            return sa.cast(column, sa.CHAR())
        return column

    @override
    def ordered(self, native: Native) -> sa.ColumnElement[Any]:
        """ENUM and SET sort by number but compare as text; BIT the other way round.

        The text of a cast would be compared by the session's collation, which ignores case.
        """
        column: sa.ColumnElement[Any] = named(native.own)
        kind = native.declared.split("(")[0].split()[0]
        if kind in {"enum", "set"}:
            return sa.cast(column, sa.CHAR()).collate("utf8mb4_bin")
        if kind == "bit":
            return sa.cast(column, sa.DECIMAL(20, 0))
        if kind == "float":
            return sa.cast(column, sa.Double())
        return column

    @override
    def sought(self, native: Native, type: ColumnType) -> sa.ColumnElement[Any] | None:
        """ENUM and SET are compared with text as they are; FLOAT would be in six digits."""
        if native.declared.startswith("float"):
            return self.ordered(native)
        return super().sought(native, type)

    @override
    def hashed(self, natives: Sequence[Native]) -> RowHash | None:
        return rowhash.mysql(natives)

    @override
    def folds(self, connection: sa.Connection) -> bool:
        return True

    @override
    def dated(self, native: Native, type: ColumnType) -> list[Clause]:
        """0000-00-00 is the number 0, and below every bound."""
        if native.type.name in {"date", "datetime", "timestamp"}:
            return [named(native.own) > sa.literal_column("0")]
        return []

    @override
    def undated(self, native: Native, type: ColumnType) -> list[Clause]:
        if native.type.name in {"date", "datetime", "timestamp"}:
            return [named(native.own) == sa.literal_column("0")]
        return []

    @override
    def translate(self, error: BaseException, endpoint: Endpoint) -> TidegateError:
        from tidegate.sources.sql.session import place

        where = f"{endpoint.name}: {place(endpoint, self.title)}"
        code = next((item for item in getattr(error, "args", ()) if isinstance(item, int)), 0)
        text = endpoint.scrub(error.args[-1] if error.args else error)
        if code == 1045:
            return RefusedError(
                f"{where} refused the user {endpoint.user!r} (1045). "
                "Check the connection's user and password."
            )
        if code in {1044, 1049}:
            return RefusedError(
                f"{where} has no database {endpoint.database!r} for the user {endpoint.user!r} "
                f"({code}). Check the connection's schema and the user's rights."
            )
        if "certificate" in text.lower() or "SSL" in text:
            return RefusedError(
                f"{where}: no trusted TLS connection: {text}. Give ssl_ca in the connection's "
                "extra fields, or insecure: true to do without."
            )
        return _translate(code, where, text, lost=isinstance(error, OSError))


def _isolate(driver: Any, _: Any) -> None:
    """Whatever the server's sessions begin with: only what was committed is read."""
    with driver.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _translate(code: int, where: str, text: str, *, lost: bool) -> TidegateError:
    if code in _TIMEOUTS:
        return UnavailableError(f"{where} took too long ({code}): {text}. {SLOW}")
    if code in _GONE:
        return ConfigError(f"{where}: {text} ({code}). Did someone change the table?")
    if code in _UNAVAILABLE or lost:
        return UnavailableError(f"{where} does not answer ({code or 'network'}): {text}")
    return RefusedError(f"{where} refused ({code}): {text}")


def _native(name: str, kind: str, declared: str, nullable: str, *more: Any) -> Native:
    precision, scale, charset = more
    kind = kind.lower()
    if kind == "decimal":
        type = ColumnType("decimal", int(precision or 10), int(scale or 0))
    elif "unsigned" in declared.lower() and kind in _UNSIGNED:
        type = ColumnType.parse(_UNSIGNED[kind])
    else:
        type = ColumnType.parse(_TYPES.get(kind, "string"))
    return Native(name, declared, type, nullable == "YES", charset=charset or "")


def _indexes(rows: Iterable[Mapping[Any, Any]]) -> list[Index]:
    """MariaDB may ignore an index, MySQL not show it to its optimizer: each has its own word.

    In InnoDB rows lie in the order of their primary key.
    """
    found = []
    lowered = [{str(key).lower(): value for key, value in row.items()} for row in rows]
    for _, group in groupby(lowered, key=lambda row: row["index_name"]):
        parts = list(group)
        first = parts[0]
        used = first.get("ignored", "NO") == "NO" and first.get("is_visible", "YES") == "YES"
        ordered = used and first["index_type"] == "BTREE" and first["sub_part"] is None
        columns = tuple(part["column_name"] for part in parts)
        primary = first["index_name"] == "PRIMARY"
        found.append(Index(columns, not first["non_unique"], ordered, clustered=primary))
    return found
