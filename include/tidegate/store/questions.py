"""What people are asked about the columns of streams, and what they answered.

A question is *new* until somebody was told of it, then *open*; then *accepted* or *refused*.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store import ledger
from tidegate.store.tables import question_table
from tidegate.types import Column

NEW, OPEN, ACCEPTED, REFUSED = "new", "open", "accepted", "refused"
UNANSWERED = (NEW, OPEN)
_KIND = "add"


@dataclass(frozen=True, slots=True)
class Question:
    """Whether *stream* shall read *column*, which is new; *type* is what it was when asked."""

    stream: str
    column: str
    type: str
    state: str
    asked_at: str
    answered_at: str | None
    answered_by: str | None

    @property
    def answered(self) -> bool:
        """Whether nobody needs to be asked any more."""
        return self.state not in UNANSWERED


class Questions:
    """The part of the store that keeps questions about new columns."""

    def _reading(self) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    def _writing(self) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    def questions(self, stream: str | None = None) -> list[Question]:
        """All of them, answered or not, by stream and column; of one *stream* when given."""
        with self._reading() as connection:
            return _found(connection, stream)

    def ask(self, stream: str, columns: Iterable[Column]) -> None:
        """Let exactly *columns* be the unanswered questions of *stream*; the answers stay."""
        wanted = {column.name: str(column.type) for column in columns}
        table, when = question_table, ledger.now()
        with self._writing() as connection:
            for one in _found(connection, stream):
                mine = (table.c.stream == stream, table.c.column == one.column)
                if one.column in wanted:
                    change = sa.update(table).values(type=wanted.pop(one.column))
                    connection.execute(change.where(*mine, _unanswered()))
                else:
                    connection.execute(sa.delete(table).where(*mine, _unanswered()))
            for name, type in wanted.items():
                connection.execute(_ASK, {"stream": stream, "column": name, "type": type,
                                          "when": when})  # fmt: skip

    def tell(self, stream: str) -> list[Question]:
        """The new questions of *stream*; they are open from now on, so each is told once."""
        table = question_table
        statement = (
            sa.update(table)
            .where(table.c.stream == stream, table.c.state == NEW)
            .values(state=OPEN)
            .returning(table)
        )
        with self._writing() as connection:
            return sorted(map(_question, connection.execute(statement)), key=lambda one: one.column)

    def answer(
        self, stream: str, column: str, by: str, *, accept: bool, again: bool = False
    ) -> Question | None:
        """The question as it stands after this answer; None when there is no such question.

        An answer given before is kept, unless *again*.
        """
        table = question_table
        mine = (table.c.stream == stream, table.c.column == column)
        state = ACCEPTED if accept else REFUSED
        statement = (
            sa.update(table)
            .where(*mine, sa.true() if again else _unanswered())
            .values(state=state, answered_at=ledger.now(), answered_by=by)
        )
        with self._writing() as connection:
            connection.execute(statement)
            return next((one for one in _found(connection, stream) if one.column == column), None)


_ASK = sa.text(
    'INSERT INTO tidegate_question (stream, "column", kind, type, state, asked_at) '
    f"VALUES (:stream, :column, '{_KIND}', :type, '{NEW}', :when) ON CONFLICT DO NOTHING"
)


def _unanswered() -> sa.ColumnElement[bool]:
    return question_table.c.state.in_(UNANSWERED)


def _found(connection: Connection, stream: str | None) -> list[Question]:
    table = question_table
    query = sa.select(table).order_by(table.c.stream, table.c.column)
    if stream is not None:
        query = query.where(table.c.stream == stream)
    return [_question(row) for row in connection.execute(query)]


def _question(row: sa.Row[tuple[object, ...]]) -> Question:
    return Question(
        row.stream, row.column, row.type, row.state, row.asked_at, row.answered_at, row.answered_by
    )
