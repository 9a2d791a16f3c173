"""A file as it was found; what may be wrong with one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Protocol

from tidegate.errors import DataError, UnavailableError
from tidegate.model import Arrival

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AFTER = re.compile(r" after \d+\Z")
_LONGEST = 1_000
"""Octets of an id: PostgreSQL's indexes take no more than some thousands."""


class BadFileError(DataError):
    """A file cannot be read: it is held as a whole. *rule* is one or two words, for counting."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class ChangedFileError(UnavailableError):
    """A file is not, or is no longer, what it was when it arrived; it will arrive again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, as a look at its place found it.

    name      its path below the root, as text
    path      the same as the place knows it
    modified  when, in nanoseconds since 1970
    mark      what else tells two states of it apart
    content   what tells its content, when the place does so by itself: an ETag
    """

    name: str
    path: str
    size: int
    modified: int
    mark: str = ""
    content: str = ""

    @property
    def moment(self) -> datetime:
        """When it was modified."""
        return _EPOCH + timedelta(microseconds=self.modified // 1000)

    @property
    def state(self) -> str:
        """Names how it was found, whatever is in it."""
        return _id("state", self.name, self.size, self.modified, self.mark)

    @property
    def known(self) -> str:
        """The id under which it arrived, if it did."""
        return self.delivery(self.content) if self.content else self.state

    def delivery(self, content: str) -> str:
        """Names the file with this *content*."""
        return _id("file", self.name, self.size, self.modified, content)

    def same(self, other: Entry | None) -> bool:
        """Whether *other* has the same size and time."""
        return other is not None and self.mtime_size == other.mtime_size

    @property
    def mtime_size(self) -> tuple[int, int]:
        """What writing changes."""
        return self.size, self.modified


class Place(Protocol):
    """Where files lie. Errors are of ours; whole places are missing or refuse, or single files."""

    whole: bool
    """Whether a file is only ever seen whole."""

    def list(self) -> Iterator[Entry]:
        """The files that the stream's pattern names."""

    def reading(self, entry: Entry, *, grows: bool = False) -> AbstractContextManager[BinaryIO]:
        """*entry*, opened, seekable.

        Raises ChangedFileError, also in the end, when it is not what it was; *grows*: when it is
        shorter.
        """

    def has(self, path: str) -> bool:
        """Whether a file is there, whatever is in it."""

    def digest(self, entry: Entry) -> str:
        """Of its content; empty where that would cost too much."""

    def close(self) -> None:
        """Let go of connections."""


def delivered(id: str) -> str:
    """The id of the first delivery of what arrived as *id*, see :func:`returned`."""
    return _AFTER.sub("", id)


def returned(id: str, number: int) -> str:
    """The id of a delivery that arrived before as *id*, and is there again after that *number*."""
    return f"{id} after {number}"


def file_of(arrival: Arrival) -> str | None:
    """The name of the file that was delivered; None when it is no delivery."""
    if isinstance(arrival.body, dict):
        return str(arrival.body["file"])
    found = arrival.id.startswith('["file", ')
    return str(json.loads(delivered(arrival.id))[1]) if found else None


def _id(*parts: Any) -> str:
    text = json.dumps(parts, ensure_ascii=False)
    if len(text.encode()) <= _LONGEST:
        return text
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()
