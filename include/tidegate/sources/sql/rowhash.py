"""A row's hash computed by its database: 64 bits of a digest over an unambiguous text of its cells.

The same digest is part of every page and of the aggregates that compare chunks, so that the two
agree whatever the client makes of the values. Text is hashed octet for octet: two spellings
that a collation takes for equal are two contents. NULL is not the empty string, and moving text
from one column into the next changes the hash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import DATETIME, TIME
from sqlalchemy.dialects.postgresql import BIT

from tidegate.sources.sql.catalogue import Native
from tidegate.sources.sql.dialect import RowHash, named

Expression = sa.ColumnElement[Any]

_UNICODE = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii"})
_NUMBERS = frozenset({
    "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "double", "year", "date",
})  # fmt: skip
_MOMENTS: dict[str, sa.types.TypeEngine[Any]] = {
    "datetime": DATETIME(fsp=6), "timestamp": DATETIME(fsp=6), "time": TIME(fsp=6),
}  # fmt: skip
_OCTETS = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_SHAPES = frozenset({
    "vector", "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring",
    "multipolygon", "geometrycollection", "geomcollection",
})  # fmt: skip
_SHORT = 255
"""Octets that a cell may have to be part of the text itself."""
_WIDEST = 4
"""Octets that a character may have."""


def mysql(natives: Sequence[Native]) -> RowHash:
    """For MySQL and MariaDB: SHA-1 over ``5,3:abc,,…``, its length before each short text."""
    digest = sa.func.sha1(sa.func.concat_ws(_text(","), *map(_mysql_cell, natives)))
    digits = sa.func.left(digest, _number(16))
    number = sa.cast(sa.func.conv(digits, _number(16), _number(-10)), sa.Integer())
    return RowHash(_untyped(digits), _untyped(number))


def postgres(natives: Sequence[Native]) -> RowHash:
    """For PostgreSQL: MD5 over the text of the whole row, which quotes what needs it."""
    row = sa.func.row(*(named(native.own) for native in natives))
    digits = sa.func.left(sa.func.md5(sa.cast(row, sa.Text())), _number(16))
    bits = sa.cast(_text("x").op("||")(digits), BIT(64))
    return RowHash(_untyped(digits), _untyped(sa.cast(bits, sa.BigInteger())))


def _mysql_cell(native: Native) -> Expression:
    """The empty text stands for NULL: no other cell is written so.

    How a column is declared does not matter where its cells stay what they are: VARCHAR may become
    TEXT, and a time may get more digits.
    """
    kind = native.declared.split("(")[0].split()[0]
    column: Expression = named(native.own)
    if kind in _NUMBERS:
        cell = column + _number(0) if "zerofill" in native.declared else column
    elif kind in _MOMENTS:
        cell = column if "(6)" in native.declared else sa.cast(column, _MOMENTS[kind])
    elif kind == "float":  # its text form has six digits only
        cell = sa.cast(column, sa.Double())
    elif kind == "bit":
        cell = sa.cast(column, sa.DECIMAL(20, 0))
    elif kind in _SHAPES:
        cell = sa.func.sha1(column)
    else:
        cell = _sized(native, kind)
    return sa.func.ifnull(cell, _text(""))


def _sized(native: Native, kind: str) -> Expression:
    """``3:abc`` in octets, or a digest: joined, long cells could exceed ``max_allowed_packet``.

    The hash of the row would be NULL then. Text is in UTF-8, so that another character set alone is
    no other content.
    """
    column: Expression = named(native.own)
    octets = column
    if kind not in _OCTETS:
        if native.charset not in _UNICODE or kind in {"enum", "set", "json"}:
            column = sa.cast(column, sa.CHAR())
        octets = sa.cast(column, sa.LargeBinary())
    size = sa.func.octet_length(column)
    short = sa.func.concat(size, _text(":"), octets)
    if _is_short(native):
        return short
    return sa.func.if_(size > _number(_SHORT), sa.func.sha1(octets), short)


def _is_short(native: Native) -> bool:
    """Whether no cell can have more than so many octets."""
    declared = re.match(r"(?:var)?(?:char|binary)\((\d+)\)", native.declared)
    return declared is not None and int(declared[1]) * _WIDEST <= _SHORT


def _text(text: str) -> Expression:
    return sa.literal_column(f"'{text}'", sa.Text())


def _number(number: int) -> Expression:
    return sa.literal_column(str(number), sa.Integer())


def _untyped(expression: Expression) -> Expression:
    return sa.type_coerce(expression, sa.types.NullType())
