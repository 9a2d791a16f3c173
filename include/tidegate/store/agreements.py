"""The columns that a stream agreed on: those with which every row in the store was read.

Only a run that moves the watermark agrees to other columns, and reads every row once more for them.
A window or a repair knows those agreed on when it began. When it is loaded after such a run, or its
read has the larger number, its rows stay as they were read. So the agreement goes back to what both
read: the next run sees the change again, and reads every row again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.model import Increment, Mode
from tidegate.store.tables import run_table, stream_table
from tidegate.types import Agreed


def agreed(connection: Connection, stream: str) -> list[Agreed] | None:
    """The columns of *stream*; None before its watermark was stored for the first time."""
    text = connection.execute(
        sa.select(stream_table.c.agreed).where(stream_table.c.name == stream)
    ).scalar()
    return None if text is None else _columns(text)


def settle(connection: Connection, increment: Increment) -> None:
    """Agree to the columns of *increment*, as far as all rows in the store were read with them.

    To be called in the transaction that moves its watermark, or, for a window or a repair, in
    every transaction that loads rows of it.
    """
    request = increment.request
    if request.mode is Mode.REPLAY or not increment.source_columns:
        return
    known = agreed(connection, request.stream)
    mine = [Agreed.from_json(column) for column in increment.source_columns]
    if mine == known or (known is None and not request.mode.advances):
        return
    if request.mode.advances:
        after = mine
        for theirs in _read_later(connection, increment):
            after = common(after, theirs)
    else:
        after = common(known or (), mine)
    if after != known:
        text = json.dumps([one.to_json() for one in after], ensure_ascii=False)
        row = sa.update(stream_table).where(stream_table.c.name == request.stream)
        connection.execute(row.values(agreed=text))


def common(known: Sequence[Agreed], other: Sequence[Agreed]) -> list[Agreed]:
    """*known* without what rows that were read as *other* lack, and with their types."""
    theirs = {one.column.name: one for one in other}
    return [
        theirs.get(one.column.name, one)
        for one in known
        if one.column.name in theirs or one.seen is None
    ]


def _read_later(connection: Connection, increment: Increment) -> list[list[Agreed]]:
    """The columns of loads that this one did not see, and whose rows win over its own."""
    table = run_table
    query = sa.select(table.c.source_columns).distinct()
    found = connection.execute(
        query.where(
            table.c.stream == increment.request.stream,
            table.c.read_number > increment.read,
            table.c.mode.in_([str(Mode.WINDOW), str(Mode.REPAIR)]),
            table.c.source_columns.is_not(None),
        )
    )
    return [_columns(text) for text in found.scalars()]


def _columns(text: str) -> list[Agreed]:
    return [Agreed.from_json(one) for one in json.loads(text)]
