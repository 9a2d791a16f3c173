"""What the contract suite asks of a kind of source: the system it reads, as a test can drive it.

Each module of ``tests/sources/peers`` has a list ``PEERS`` of subclasses of :class:`Peer`; so may
a module that brings a kind of its own (see ``tests/sources/toy.py``). Every kind must have one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from tidegate.connections import Endpoint
from tidegate.pipeline.models import Stream

DAY = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = {"id": "int64", "name": "string", "amount": "decimal(38,9)", "changed": "timestamp"}
"""The columns that every peer's stream has; ``id`` is its primary key."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the source. *changed* is an instant, microseconds."""

    id: int
    name: str | None = ""
    amount: Decimal | None = Decimal(0)
    changed: datetime = DAY

    def now(self, name: str) -> Row:
        """A newer version of it, written now."""
        return Row(self.id, name, self.amount, datetime.now(UTC))


def old(count: int, first: int = 1, name: str = "row") -> list[Row]:
    """Rows a second apart, the last one an hour ago."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1, seconds=count)
    return [
        Row(id, f"{name} {id}", Decimal(id) / 4, start + timedelta(seconds=id - first + 1))
        for id in range(first, first + count)
    ]


class Peer(ABC):
    """One system, private to a test. *folder* is a place for its files.

    kind    name of the kind it is read by
    title   how the documentation calls it, like ``MariaDB``
    cannot  guarantees it does not give, and in words why: names of tests without ``test_``
    tick    the shortest time that its instants tell apart
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    cannot: ClassVar[Mapping[str, str]] = {}
    tick: ClassVar[timedelta] = timedelta(microseconds=1)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    @abstractmethod
    def endpoint(self) -> Endpoint:
        """How the product gets there."""

    @abstractmethod
    def stream(self, **more: Any) -> Stream:
        """Reads all of it, columns as :data:`COLUMNS`; *more* are further settings."""

    @abstractmethod
    def put(self, rows: Sequence[Row]) -> None:
        """Insert rows, or replace those with the same id; it returns when they can be read."""

    def delete(self, ids: Sequence[int]) -> None:
        """Rows are gone, in the way in which this source tells or does not tell of it."""
        raise NotImplementedError

    def late(self, rows: Sequence[Row]) -> None:
        """Rows that come now and say that they are older; within what the stream reads again."""
        self.put(rows)

    @abstractmethod
    def unreachable(self) -> Endpoint:
        """The same where nobody answers."""

    def refused(self) -> Endpoint:
        """The same with a wrong password."""
        raise NotImplementedError

    def forget(self) -> None:
        """Lose what the stream's watermark leads to."""
        raise NotImplementedError

    def pending(self) -> int:
        """How many rows the source would give again because nobody acknowledged them."""
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027
        """Leave nothing behind."""
