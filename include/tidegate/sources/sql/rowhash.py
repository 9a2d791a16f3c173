"""A row's hash computed by its database: 64 bits of MD5 over an unambiguous text of its cells.

The same expression is part of every page and of the aggregates that compare chunks, so that the
two agree whatever the client makes of the values. Text is hashed octet for octet: two spellings
that a collation takes for equal are two contents. NULL is not the empty string, and moving text
from one column into the next changes the hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BIT

from tidegate.sources.sql.catalogue import Native
from tidegate.sources.sql.dialect import named

Expression = sa.ColumnElement[Any]

_UNICODE = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii"})
_NUMBERS = frozenset({
    "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "double", "year",
    "date", "time", "datetime", "timestamp",
})  # fmt: skip
_SHORT = frozenset({"char", "varchar"})
_OCTETS = frozenset({"binary", "varbinary"})
_LONG_TEXTS = frozenset({"tinytext", "text", "mediumtext", "longtext", "json"})
_LONG_OCTETS = frozenset({
    "tinyblob", "blob", "mediumblob", "longblob", "vector", "geometry", "point", "linestring",
    "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
    "geomcollection",
})  # fmt: skip


def mysql(natives: Sequence[Native]) -> Expression:
    """For MySQL and MariaDB: MD5 over ``5,3:abc,,…``, a cell's length before each text."""
    digest = sa.func.md5(sa.func.concat_ws(_text(","), *map(_mysql_cell, natives)))
    number = sa.func.conv(sa.func.left(digest, _number(16)), _number(16), _number(-10))
    return _untyped(sa.cast(number, sa.Integer()))


def postgres(natives: Sequence[Native]) -> Expression:
    """For PostgreSQL: MD5 over the text of the whole row, which quotes what needs it."""
    row = sa.func.row(*(named(native.own) for native in natives))
    digits = sa.func.left(sa.func.md5(sa.cast(row, sa.Text())), _number(16))
    bits = sa.cast(_text("x").op("||")(digits), BIT(64))
    return _untyped(sa.cast(bits, sa.BigInteger()))


def _mysql_cell(native: Native) -> Expression:
    """The empty text stands for NULL: no other cell is written so.

    Long cells count by a digest of their own: joined, they could exceed ``max_allowed_packet``,
    and the hash would be NULL.
    """
    kind = native.declared.split("(")[0].split()[0]
    column: Expression = named(native.own)
    if kind in _NUMBERS:
        cell = column
    elif kind == "float":  # its text form has six digits only
        cell = sa.cast(column, sa.Double())
    elif kind == "bit":
        cell = sa.cast(column, sa.DECIMAL(20, 0))
    elif kind in _LONG_OCTETS:
        cell = sa.func.md5(column)
    elif kind in _LONG_TEXTS:
        cell = sa.func.md5(_unicode(column, native))
    else:
        octets = column if kind in _OCTETS else _unicode(column, native)
        cell = sa.func.concat(sa.func.octet_length(octets), _text(":"), octets)
    return sa.func.ifnull(cell, _text(""))


def _unicode(column: Expression, native: Native) -> Expression:
    """The octets of a text in UTF-8, so that another character set alone is no other content."""
    if native.charset not in _UNICODE or native.declared.startswith(("enum", "set", "json")):
        column = sa.cast(column, sa.CHAR())
    return sa.cast(column, sa.LargeBinary())


def _text(text: str) -> Expression:
    return sa.literal_column(f"'{text}'", sa.Text())


def _number(number: int) -> Expression:
    return sa.literal_column(str(number), sa.Integer())


def _untyped(expression: Expression) -> Expression:
    return sa.type_coerce(expression, sa.types.NullType())
