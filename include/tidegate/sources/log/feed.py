"""What the logs of MySQL and of PostgreSQL have in common: positions, and changes behind them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.errors import TrimmedError
from tidegate.model import Json
from tidegate.sources import Finding
from tidegate.sources.sql.catalogue import Native

Position = dict[str, Json]
"""A place between two transactions, plain JSON; ``epoch`` counts the logs that there were."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one transaction made of one key.

    token  its order: larger than that of every earlier change of the same key
    gone   the row was deleted; *cells* are what it was
    cells  by the table's own column names, as :meth:`Feed.constants` takes them
    """

    token: int
    gone: bool
    cells: Mapping[str, Any]


class Feed(ABC):
    """One table's part of one server's log.

    numbers_bits  whether a constant of type BIT is a number there
    """

    numbers_bits = False

    @abstractmethod
    def end(self, known: Position | None) -> Position:
        """Where the log ends now; of a later epoch than *known* when it is not the same log.

        Raises ConfigError or RefusedError when the log cannot be read.
        """

    @abstractmethod
    def begin(self) -> Position:
        """A place in the log such that whatever was committed before can be seen by SELECT now.

        What comes behind it will be there for :meth:`changes`. Of no epoch.
        """

    @abstractmethod
    def changes(
        self, start: Position, end: Position, key: Sequence[str], columns: Sequence[Native]
    ) -> Iterator[Change]:
        """What was committed between the two, in order; *key* are the table's own names.

        Of *columns*; whether the log has others does not matter.

        Raises TrimmedError when the log does not have all of it.
        """

    def reached(self, end: Position) -> Position:
        """*end*, with what is known of it once :meth:`changes` were read to it."""
        return end

    @abstractmethod
    def order(self, position: Position) -> int:
        """The position as a token: behind all changes before it, before all behind it."""

    @abstractmethod
    def text(self, position: Position) -> str:
        """The position for people, of fixed width."""

    @abstractmethod
    def constants(
        self, natives: Sequence[Native], changes: Sequence[Change]
    ) -> tuple[str, list[Any]]:
        """SQL and its parameters: ``WITH image (…) AS (…)``, *changes* as a table of constants.

        Beside the columns, numbers from 0 as the column :data:`NUMBER`.
        """

    @abstractmethod
    def findings(self) -> list[Finding]:
        """What keeps the log from being read, or may."""


NUMBER = "tidegate number"


def trimmed(name: str, why: str) -> TrimmedError:
    """The log does not lead from where the stream stopped to now."""
    return TrimmedError(
        f"{name}: {why} Run the stream once with --full: it reads the table as it is now, and then "
        "goes on with the log."
    )
