"""A stream at its source, ready to be looked at; and what each kind of server can tell of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tidegate.sources import Finding, Level
from tidegate.sources.sql.catalogue import Native, Table
from tidegate.sources.sql.plan import Plan
from tidegate.sources.sql.session import Session
from tidegate.types import TEMPORAL, ColumnType

if TYPE_CHECKING:
    from tidegate.sources.sql.options import SqlStream

Row = Sequence[Any]
PATIENCE = 60.0
SMALL = 10_000


class Server(ABC):
    """What one kind of server can tell of a case; None where it cannot know."""

    def __init__(self, case: Case) -> None:
        self.case = case

    @abstractmethod
    def precision(self) -> int | None:
        """Digits of a second that the cursor keeps."""

    @abstractmethod
    def generated(self) -> bool:
        """Whether the cursor is computed from other columns."""

    @abstractmethod
    def stamped(self) -> tuple[bool, bool]:
        """Whether the server stamps the cursor when a row is inserted, and when it is updated."""

    @abstractmethod
    def stamping(self) -> str:
        """The SQL that makes the server stamp the cursor; empty when there is none."""

    @abstractmethod
    def now(self) -> str:
        """The SQL for the present time, as the cursor holds it."""

    @abstractmethod
    def confused(self, name: str) -> tuple[str, bool] | None:
        """Why different texts are one key of column *name*; True when letters, not only blanks."""

    @abstractmethod
    def exact(self, name: str) -> str:
        """What makes column *name* compare octet by octet."""

    @abstractmethod
    def mandatory(self, name: str) -> str:
        """What forbids NULL in column *name*."""

    @abstractmethod
    def rows(self) -> int | None:
        """How many rows the table has, by the server's own estimate."""

    @abstractmethod
    def octets(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Expression for the size of a cell."""

    def offset(self) -> float | None:
        """Seconds that the clock of a new session is ahead of UTC."""
        return None

    def sees_all(self) -> bool:
        """Whether the user sees the transactions of others, which the computed bound needs."""
        return False

    def excess(self) -> list[str]:
        """Rights of the user that reading does not need."""
        return []

    def grant(self, right: str, user: str = "") -> str:
        """The SQL that gives a right to *user*; by default to the one who asks."""
        raise NotImplementedError


@dataclass(frozen=True)
class Case:
    """A stream, its table as the catalogue has it, and a session to ask more.

    *patience*: seconds that a transaction may be open before it is worth a word.
    """

    name: str
    stream: SqlStream
    session: Session
    plan: Plan
    patience: float = PATIENCE

    @property
    def kind(self) -> str:
        """``mysql`` (also MariaDB), ``postgres`` or ``sqlite``."""
        return self.session.endpoint.kind

    @property
    def table(self) -> Table:
        """As the catalogue has it."""
        return self.plan.table

    @property
    def cursor(self) -> Native:
        """As the server declares it."""
        return self.plan.native(self.stream.by)

    @property
    def type(self) -> ColumnType:
        """The cursor's, on our pages."""
        return self.plan.type(self.stream.by)

    @property
    def temporal(self) -> bool:
        """Whether the cursor is a date or time."""
        return self.type.name in TEMPORAL

    @property
    def place(self) -> dict[str, str | None]:
        """Values for a question to the catalogue."""
        return {"schema": self.table.schema, "table": self.table.name}

    @property
    def full(self) -> str:
        """The table's name in a statement to paste."""
        return ".".join(self.q(part) for part in (self.table.schema, self.table.name) if part)

    @cached_property
    def server(self) -> Server:
        """What its kind of server can tell."""
        if self.kind == "mysql":
            from tidegate.sources.sql.doctor.mysql import MySQL

            return MySQL(self)
        if self.kind == "postgres":
            from tidegate.sources.sql.doctor.postgres import PostgreSQL

            return PostgreSQL(self)
        from tidegate.sources.sql.doctor.sqlite import SQLite

        return SQLite(self)

    @cached_property
    def settings(self) -> dict[str, str]:
        """The server's settings; empty for SQLite."""
        texts = {
            "mysql": "SHOW GLOBAL VARIABLES",
            "postgres": "SELECT name, setting FROM pg_settings",
        }
        if self.kind not in texts:
            return {}
        return {str(row[0]).lower(): str(row[1]) for row in self.ask(texts[self.kind])}

    @cached_property
    def cheap(self) -> bool:
        """Whether questions about the cursor's values are answered without reading much."""
        return self.table.orders_by(self.cursor.name) or self.few(limit=SMALL + 1) <= SMALL

    def q(self, name: str) -> str:
        """An identifier in a statement to paste."""
        return self.session.quoted(name)

    def column(self, name: str) -> str:
        """A column of the table in a statement to paste."""
        return self.q(self.own(name))

    def written(self, where: sa.ColumnElement[bool]) -> str:
        """A condition in a statement to paste."""
        text = where.compile(self.session.connection, compile_kwargs={"literal_binds": True})
        return str(text).replace("%%", "%")

    def own(self, name: str) -> str:
        """What the table calls a column."""
        return self.plan.native(name).own

    def ask(self, text: str, **values: Any) -> list[Row]:
        """The rows of a question to the catalogue."""
        connection = self.session.connection
        with self.session.translated():
            return list(connection.execute(sa.text(text), values).all())

    def few(self, *where: sa.ColumnElement[bool], limit: int) -> int:
        """How many rows there are where all of *where* hold; *limit* stands for more too."""
        one: sa.Label[Any] = sa.literal_column("1").label("one")
        some = sa.select(one).select_from(self.plan.source).where(*where).limit(limit).subquery()
        return int(self.session.scalar(sa.select(sa.func.count()).select_from(some)))

    def find(self, level: Level, code: str, what: str, todo: str) -> Finding:
        """A finding about this stream."""
        return Finding(level, f"{self.name}: {what}", code, todo)


def statements(*texts: str) -> str:
    """SQL below a text, to paste."""
    return "".join(f"\n    {line}" for text in texts for line in text.splitlines())


def counted(number: int, limit: int) -> str:
    """``1 row``; ``at least 10,000 rows`` when that is the limit of what was counted."""
    rows = f"{number:,} row{'' if number == 1 else 's'}"
    return f"at least {rows}" if number >= limit else rows
