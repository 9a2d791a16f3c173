"""What is packed, unpacked as a stream; and what would be too much of it."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa

from tidegate.errors import TidegateError
from tidegate.sources.files.entry import BadFileError
from tidegate.sources.files.options import Limits, Packing

FREE = 16_000_000
"""Octets that may come out of a file however small it is."""


class Meter:
    """How many octets came out of a file."""

    given = 0

    def take(self, size: int) -> None:
        """Count them."""
        self.given += size


class Allowance(Meter):
    """The same of a packed file, all members together; it may not be too much."""

    def __init__(self, packed: int, limits: Limits) -> None:
        self._packed = packed
        self._limits = limits

    def take(self, size: int) -> None:
        """Raise BadFileError when that is too much."""
        super().take(size)
        if self.given > self._limits.expanded:
            raise BadFileError(
                "too large",
                f"it unpacks to more than {self._limits.expanded:,} octets. If it is meant to, "
                "raise limits: {expanded: ...}",
            )
        if self.given > max(FREE, self._limits.ratio * self._packed):
            raise BadFileError(
                "bomb",
                f"its {self._packed:,} octets unpack to more than {self._limits.ratio} times that. "
                "If they are meant to, raise limits: {ratio: ...}",
            )


class _Measured(io.RawIOBase):
    """A stream that counts what it gives."""

    def __init__(self, stream: Any, meter: Meter) -> None:
        self._stream = stream
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._meter.take(len(data))
        buffer[: len(data)] = data
        return len(data)


def members(
    name: str, file: BinaryIO, packing: Packing, meter: Meter, limits: Limits
) -> Iterator[tuple[str, BinaryIO]]:
    """What is in *file*: itself, or of an archive each member, by name."""
    if packing == "none":
        yield name, file
    elif packing == "gzip":
        with gzip.GzipFile(fileobj=file, mode="rb") as stream:
            yield _inner(name), metered(stream, meter)
    elif packing == "zstd":
        with pa.CompressedInputStream(
            pa.PythonFile(_Measured(file, Meter()), mode="r"), "zstd"
        ) as stream:
            yield _inner(name), metered(stream, meter)
    else:
        yield from _archive(file, meter, limits)


def _archive(file: BinaryIO, meter: Meter, limits: Limits) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(file) as archive:
        found = admitted(archive, limits)
        for one in sorted(found, key=lambda one: one.filename):
            if one.is_dir():
                continue
            if one.flag_bits & 1:
                raise BadFileError("encrypted", f"{one.filename!r} in it has a password")
            with archive.open(one) as stream:
                yield one.filename, metered(stream, meter)


def admitted(archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    """The members of an *archive*; raises BadFileError when there are too many."""
    found = archive.infolist()
    if len(found) > limits.members:
        raise BadFileError(
            "too many members", f"it has {len(found):,} members, more than {limits.members:,}"
        )
    return found


def metered(stream: Any, meter: Meter) -> BinaryIO:
    """*stream*, buffered; *meter* counts what it gives."""
    return io.BufferedReader(_Measured(stream, meter), 1 << 18)


def _inner(name: str) -> str:
    return name.rpartition(".")[0]


@contextmanager
def judged() -> Iterator[None]:
    """What readers of formats raise, as BadFileError; the machine's own errors as they are."""
    try:
        yield
    except Exception as error:
        ours = isinstance(error, TidegateError) or type(error) is MemoryError
        if ours or getattr(error, "errno", None) is not None:
            raise
        what = str(error) or type(error).__name__
        raise BadFileError("damaged", f"it cannot be read: {what[:200]}") from error
