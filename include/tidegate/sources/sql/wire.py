"""Rows of MySQL's text protocol, column by column: PyMySQL asks, numpy and Arrow read the answer.

Each row is a packet (3 octets length, 1 octet sequence number); in it each cell is a text behind
its length, of one octet below 251, of 2, 3 or 8 octets behind 252, 253 or 254; 251 is NULL. The
octets of a page stay as they came; cells are found for all rows at once, a column at a time.
Source: MariaDB, "Result Set Packets"; MySQL, "Text Resultset" of the client/server protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pymysql import err
from pymysql.constants import CR

from tidegate.sources.rows.fitting import Spec
from tidegate.sources.sql.dialect import spelled, undecodable
from tidegate.sources.sql.texts import Texts, typed

Places = npt.NDArray[np.int64]
Reader = tuple[str | None, Callable[[Any], Any] | None]
"""How PyMySQL reads a cell: the encoding of its text, and what makes a value of that."""
_PIECE = 1 << 20
_HEADER = 4
_WHOLE = 0xFFFFFF
"""Octets of a packet whose row goes on in the next one."""
_NULL, _END, _ERROR = 251, 254, 255
_LONG = {252: 2, 253: 3, 254: 8}
_DISORDER = "its packets are out of order"
_LITTLE = Struct("<I").unpack_from
"""Of the four octets of a header: the length, and above it the sequence number."""


@dataclass(frozen=True)
class Wire(Texts):
    """An answer, its cells not read yet.

    name     of the connection, for messages
    readers  by column
    answer   its octets
    cells    by column: where each row's cell begins and ends in *answer*, and whether it is NULL
    """

    name: str
    readers: Sequence[Reader]
    answer: npt.NDArray[np.uint8]
    cells: Sequence[tuple[Places, Places, npt.NDArray[np.bool_]]]

    def __len__(self) -> int:
        return len(self.cells[0][0])

    @property
    def octets(self) -> int:
        """Of the whole answer."""
        return len(self.answer)

    @property
    def width(self) -> int:
        """Of the answer."""
        return len(self.cells)

    def cut(self, part: slice) -> Wire:
        """Some of the rows, of the same octets."""
        cells = [(begins[part], ends[part], null[part]) for begins, ends, null in self.cells]
        return replace(self, cells=cells)

    def at_once(self, place: int, cells: pa.Array, spec: Spec) -> pa.Array | None:
        """Octets are octets, and all else is text."""
        encoding, _ = self.readers[place]
        fits = (spec.type.name == "bytes") == (encoding is None)
        return typed(cells, spec) if fits else None

    def texts(self, place: int) -> pa.Array:
        """large_binary: the cells of a column.

        Arrow's values leave no gaps, so every second one is what lies between two cells.
        """
        begins, ends, null = self.cells[place]
        offsets = np.zeros(2 * len(begins) + 1, np.int64)
        offsets[1::2], offsets[2::2] = begins, ends
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self.answer)]
        every = pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
        odd = np.arange(1, len(offsets), 2)
        return every.take(pa.array(odd, mask=null if null.any() else None))

    def values(self, place: int, cells: pa.Array) -> list[Any]:
        """What PyMySQL makes of *cells*. Raises DataError for text it cannot decode."""
        encoding, make = self.readers[place]
        values: list[Any] = cells.to_pylist()
        if encoding is not None:
            try:
                values = [None if cell is None else cell.decode(encoding) for cell in values]
            except UnicodeDecodeError as error:
                raise undecodable(self.name, spelled(error)) from None
        if make is None:
            return values
        return [None if value is None else make(value) for value in values]


def read(cursor: Any, name: str) -> Wire:
    """The answer to what *cursor*, an unbuffered one of PyMySQL, has just sent.

    Raises PyMySQL's errors, as its own reading would.
    """
    reply = cursor._result
    readers = list(reply.converters)
    octets, starts = _receive(reply)
    found = np.frombuffer(octets, np.uint8)
    return Wire(name, readers, found, _cells(found, starts, len(readers)))


def _cells(
    octets: npt.NDArray[np.uint8], at: Places, columns: int
) -> list[tuple[Places, Places, npt.NDArray[np.bool_]]]:
    """:attr:`Wire.cells` of the rows that begin *at*."""
    found = []
    for _ in range(columns):
        first = octets[at]
        begins, sizes, null = at + 1, first.astype(np.int64), first == _NULL
        sizes[null] = 0
        for mark, width in _LONG.items() if (first > _NULL).any() else ():
            rows = np.flatnonzero(first == mark)
            sizes[rows] = _numbers(octets, begins[rows], width)
            begins[rows] += width
        at = begins + sizes
        found.append((begins, at, null))
    return found


def _numbers(octets: npt.NDArray[np.uint8], at: Places, width: int) -> Places:
    """Those of *width* octets, the lowest first."""
    found = np.zeros(len(at), np.int64)
    for place in range(width):
        found |= octets[at + place].astype(np.int64) << (8 * place)
    return found


def _receive(reply: Any) -> tuple[bytearray, Places]:
    """The octets of all rows, and where each row begins in them."""
    octets = bytearray()
    starts: list[int] = []
    packet, sequence, goes_on = 0, reply.connection._next_seq_id, False
    while True:
        octets += _piece(reply)
        if not goes_on:
            known = len(starts)
            packet = _walk(octets, packet, starts)
            sequence = _in_order(reply, octets, starts[known:], sequence)
        come = len(octets)
        while packet + _HEADER <= come:
            (header,) = _LITTLE(octets, packet)
            size, begin = header & _WHOLE, packet + _HEADER
            if begin + size > come:
                break
            if header >> 24 != sequence:
                raise _lost(reply, _DISORDER)
            sequence = (sequence + 1) % 256
            if goes_on:
                del octets[packet:begin]
                begin, come = packet, come - _HEADER
            elif octets[begin] >= _END and _ends(reply, octets, begin, size):
                return octets, np.array(starts, np.int64)
            else:
                starts.append(begin)
            goes_on, packet = size == _WHOLE, begin + size


def _walk(octets: bytearray, packet: int, starts: list[int]) -> int:
    """Note where rows begin, as long as each is a packet of its own; returns the next packet.

    Nearly all rows are; this is run for each of them.
    """
    come, note = len(octets), starts.append
    while packet + _HEADER < come:
        begin = packet + _HEADER
        end = begin + (_LITTLE(octets, packet)[0] & _WHOLE)
        if end > come or octets[begin] >= _END or end - begin == _WHOLE:
            break
        note(begin)
        packet = end
    return packet


def _in_order(reply: Any, octets: bytearray, rows: list[int], sequence: int) -> int:
    """The sequence number after those of *rows*. Raises OperationalError when one is wrong."""
    numbers = np.frombuffer(octets, np.uint8)[np.array(rows, np.int64) - 1]
    if (numbers != np.arange(sequence, sequence + len(rows)) % 256).any():
        raise _lost(reply, _DISORDER)
    return (sequence + len(rows)) % 256


def _ends(reply: Any, octets: bytearray, begin: int, size: int) -> bool:
    """Whether the packet is no row but the end of them. Raises what the server complains of."""
    if octets[begin] == _END and size > 8:
        return False
    _release(reply)
    if octets[begin] == _ERROR:
        err.raise_mysql_exception(bytes(octets[begin : begin + size]))
    return True


def _piece(reply: Any) -> bytes:
    """What the server has sent meanwhile; waits for something."""
    try:
        found: bytes = reply.connection._rfile.read1(_PIECE)
    except OSError as error:
        raise _lost(reply, str(error)) from None
    if not found:
        raise _lost(reply, "it was closed")
    return found


def _lost(reply: Any, why: str) -> err.OperationalError:
    reply.connection._force_close()
    _release(reply)
    return err.OperationalError(CR.CR_SERVER_LOST, f"Lost connection during query: {why}")


def _release(reply: Any) -> None:
    """Nothing more will come: the cursor that is closed next shall not look for it."""
    reply.unbuffered_active, reply.connection = False, None
