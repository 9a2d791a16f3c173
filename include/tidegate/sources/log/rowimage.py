"""The octets of one row in a binary log → values that MySQL and MariaDB take for constants.

mysql-replication reads the events; what it makes of cells loses zero dates, partial dates, the
order of a SET, negative fractions of a second, and text that is not what its charset says. So only
the cells are read here, by the formats of "MySQL Internals: Rows_event" and MariaDB's
``sql/log_event.h``: moments as text, ENUM and SET as text, text as octets.
"""

from __future__ import annotations

import ipaddress
import json
import struct
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.errors import ConfigError

Read = Callable[[bytes, int], tuple[Any, int]]
"""Octets and where a cell begins → the cell and where the next one begins."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
"""Octets of so many decimal digits."""


def reader(column: Any, declared: str) -> Read:
    """How the cells of *column* (one of mysql-replication's) are read.

    *declared* is its type in the catalogue. Raises ConfigError for a type not known here.
    """
    kind = column.type
    if (size := _INTEGERS.get(kind)) is not None:
        return _integer(size, signed=not column.unsigned)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in {0x0F, 0xFE, 0xFD}:  # VARCHAR, STRING, VAR_STRING
        return _special(declared, _octets(2 if column.max_length > 255 else 1))
    if kind in {0xFC, 0xFF}:  # BLOB, GEOMETRY
        return _octets(column.length_size)
    if kind in _MADE:
        return _MADE[kind](column)
    raise ConfigError(
        f"the column {column.name!r} is written to the binary log as type {kind}, which is not "
        "known here (compressed columns and formats before MySQL 5.6 are not). Read the table with "
        "table: and a cursor instead."
    )


def family(column: Any) -> str:
    """What *column* of an event can be read as, as :func:`family_of` says."""
    return _FAMILIES.get(column.type, "octets")


def family_of(declared: str) -> str:
    """The same of a type in the catalogue."""
    kind = declared.partition("(")[0].partition(" ")[0].lower()
    if kind in {"tinyint", "smallint", "mediumint", "int", "bigint"}:
        return "int"
    known = {"decimal", "float", "double", "date", "time", "datetime", "timestamp", "year", "bit",
             "enum", "set", "json"}  # fmt: skip
    return kind if kind in known else "octets"


_FAMILIES = {
    1: "int", 2: "int", 3: "int", 8: "int", 9: "int", 4: "float", 5: "double", 10: "date",
    13: "year", 16: "bit", 17: "timestamp", 18: "datetime", 19: "time", 245: "json",
    246: "decimal", 247: "enum", 248: "set", 7: "timestamp", 11: "time", 12: "datetime",
}  # fmt: skip
_INTEGERS = {1: 1, 2: 2, 9: 3, 3: 4, 8: 8}


def _integer(size: int, *, signed: bool) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        return int.from_bytes(data[at : at + size], "little", signed=signed), at + size

    return read


def _octets(size: int) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        begin = at + size
        end = begin + int.from_bytes(data[at:begin], "little")
        return data[begin:end], end

    return read


def _special(declared: str, octets: Read) -> Read:
    """What is written like CHAR or BINARY and is something else."""
    kind, _, size = declared.lower().partition("(")
    make: Callable[[bytes], Any]
    if kind == "binary":  # its zeros at the end are left out
        length = int(size.rstrip(")"))
        make = lambda value: value.ljust(length, b"\0")  # noqa: E731
    elif kind in _SPECIAL:
        make = _SPECIAL[kind]
    else:
        return octets

    def read(data: bytes, at: int) -> tuple[Any, int]:
        value, at = octets(data, at)
        return make(value), at

    return read


_SPECIAL: dict[str, Callable[[bytes], Any]] = {
    "uuid": lambda octets: str(uuid.UUID(bytes=octets.ljust(16, b"\0"))),
    "inet6": lambda octets: str(ipaddress.IPv6Address(octets.ljust(16, b"\0"))),
    "inet4": lambda octets: str(ipaddress.IPv4Address(octets.ljust(4, b"\0"))),
}


def _float(data: bytes, at: int) -> tuple[Any, int]:
    return struct.unpack_from("<f", data, at)[0], at + 4


def _double(data: bytes, at: int) -> tuple[Any, int]:
    return struct.unpack_from("<d", data, at)[0], at + 8


def _year(data: bytes, at: int) -> tuple[Any, int]:
    return data[at] and 1900 + data[at], at + 1


def _date(data: bytes, at: int) -> tuple[Any, int]:
    bits = int.from_bytes(data[at : at + 3], "little")
    return f"{bits >> 9:04}-{bits >> 5 & 15:02}-{bits & 31:02}", at + 3


_PLAIN: dict[int, Read] = {4: _float, 5: _double, 10: _date, 13: _year}


def _fraction(data: bytes, at: int, digits: int) -> tuple[str, int]:
    """``.123`` and where it ends."""
    size = (digits + 1) // 2
    number = int.from_bytes(data[at : at + size], "big")
    return (f".{number:0{2 * size}}"[: digits + 1] if digits else ""), at + size


def _timestamp(column: Any) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        seconds = int.from_bytes(data[at : at + 4], "big")
        fraction, end = _fraction(data, at + 4, column.fsp)
        if not seconds and not fraction.strip(".0"):
            return f"0000-00-00 00:00:00{fraction}", end
        moment = _EPOCH + timedelta(seconds=seconds)
        return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}", end

    return read


def _datetime(column: Any) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        bits = int.from_bytes(data[at : at + 5], "big") & (1 << 39) - 1
        year, month = divmod(bits >> 22, 13)
        day = f"{year:04}-{month:02}-{bits >> 17 & 31:02}"
        fraction, end = _fraction(data, at + 5, column.fsp)
        return f"{day} {bits >> 12 & 31:02}:{bits >> 6 & 63:02}:{bits & 63:02}{fraction}", end

    return read


def _time(column: Any) -> Read:
    size = 3 + (column.fsp + 1) // 2

    def read(data: bytes, at: int) -> tuple[Any, int]:
        """Negative spans are the complement of the whole, fraction and all."""
        shift = 8 * (size - 3)
        bits = int.from_bytes(data[at : at + size], "big") - (1 << 23 + shift)
        sign, bits = ("-", -bits) if bits < 0 else ("", bits)
        whole, rest = bits >> shift, (bits & (1 << shift) - 1).to_bytes(size - 3, "big")
        fraction, _ = _fraction(rest, 0, column.fsp)
        clock = f"{whole >> 12 & 1023:02}:{whole >> 6 & 63:02}:{whole & 63:02}"
        return f"{sign}{clock}{fraction}", at + size

    return read


def _decimal(column: Any) -> Read:
    whole = _groups(column.precision - column.decimals, first=True)
    parts = _groups(column.decimals, first=False)
    size = sum(_SIZES[digits] for digits in [*whole, *parts])

    def read(data: bytes, at: int) -> tuple[Any, int]:
        """Groups of nine digits; the first bit is the sign, and turned over."""
        octets = bytearray(data[at : at + size])
        negative = not octets[0] & 0x80
        octets[0] ^= 0x80
        if negative:
            octets = bytearray(octet ^ 0xFF for octet in octets)
        texts, place = [], 0
        for digits in [*whole, *parts]:
            number = int.from_bytes(octets[place : place + _SIZES[digits]], "big")
            texts.append(f"{number:0{digits}}")
            place += _SIZES[digits]
        text = "".join(texts[: len(whole)]) or "0"
        fraction = "".join(texts[len(whole) :])
        return f"{'-' if negative else ''}{text}{'.' if fraction else ''}{fraction}", at + size

    return read


def _groups(digits: int, *, first: bool) -> list[int]:
    """How many digits each group has; the short one comes first, or last."""
    full, rest = [9] * (digits // 9), [digits % 9] if digits % 9 else []
    return rest + full if first else full + rest


def _bit(column: Any) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        return int.from_bytes(data[at : at + column.bytes], "big"), at + column.bytes

    return read


def _enum(column: Any) -> Read:
    words = ["", *(column.enum_values or [])[1:]]

    def read(data: bytes, at: int) -> tuple[Any, int]:
        return words[int.from_bytes(data[at : at + column.size], "little")], at + column.size

    return read


def _set(column: Any) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        bits = int.from_bytes(data[at : at + column.size], "little")
        words = [word for place, word in enumerate(column.set_values) if bits >> place & 1]
        return ",".join(words), at + column.size

    return read


def _json(column: Any) -> Read:
    """MySQL's binary JSON; the server makes its own text of it again."""
    from pymysqlreplication.json_binary import parse_json

    octets = _octets(column.length_size)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        value, end = octets(data, at)
        return (json.dumps(_plain(parse_json(value[0], value[1:]))) if value else None), end

    return read


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


_MADE: dict[int, Callable[[Any], Read]] = {
    16: _bit, 17: _timestamp, 18: _datetime, 19: _time, 245: _json, 246: _decimal, 247: _enum,
    248: _set,
}  # fmt: skip
