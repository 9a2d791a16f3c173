"""What arrived at a stream from where it cannot be asked for again: messages, notices of files.

An arrival is written here before its sender is told that it arrived (a transactional inbox:
C. Richardson, "Microservices Patterns", 2018, 3.3). It gets a number, larger than any before, under
the lock of its stream's row: so a reader that has come to number *n* has missed none below it. What
arrives a second time under the same id is there already, and gets no other number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.model import Arrival, Json
from tidegate.store import ledger
from tidegate.store.tables import arrival_table, stream_table

_BATCH = 500
_PAGE_CHARACTERS = 32_000_000


def add(connection: Connection, stream: str, items: Sequence[tuple[str, Json]]) -> int:
    """Number those of *items* (id, body) that are not here yet, in order; the last number given."""
    texts: dict[str, str] = {}
    for id, body in items:
        if id not in texts:
            texts[id] = json.dumps(body, ensure_ascii=False)
    ledger.register(connection, stream)
    table = stream_table
    counter = sa.update(table).where(table.c.name == stream)
    lock = counter.values(arrivals=table.c.arrivals).returning(table.c.arrivals)
    last = int(connection.execute(lock).scalar_one())
    here = set(known(connection, stream, texts))
    new = [id for id in texts if id not in here]
    if not new:
        return last
    at = ledger.now()
    connection.execute(
        sa.insert(arrival_table),
        [
            {"stream": stream, "number": number, "id": id, "body": texts[id], "at": at}
            for number, id in enumerate(new, last + 1)
        ],
    )
    connection.execute(counter.values(arrivals=last + len(new)))
    return last + len(new)


def known(connection: Connection, stream: str, ids: Iterable[str]) -> Iterator[str]:
    """Those of *ids* that arrived before."""
    table, rest = arrival_table, iter(ids)
    while some := list(islice(rest, _BATCH)):
        query = sa.select(table.c.id).where(table.c.stream == stream, table.c.id.in_(some))
        yield from connection.execute(query).scalars()


def last(connection: Connection, stream: str) -> int:
    """The number given last; 0 before the first."""
    query = sa.select(stream_table.c.arrivals).where(stream_table.c.name == stream)
    return int(connection.execute(query).scalar() or 0)


def page(connection: Connection, stream: str, after: int, until: int, size: int) -> list[Arrival]:
    """At most *size* of those with after < number ≤ until, in order; fewer when they are large."""
    table = arrival_table
    query = (
        sa.select(table)
        .where(table.c.stream == stream, table.c.number > after, table.c.number <= until)
        .order_by(table.c.number)
        .limit(size)
        .execution_options(stream_results=True, yield_per=50)
    )
    found, characters = [], 0
    with connection.execute(query) as rows:
        for row in rows:
            found.append(_arrival(row))
            characters += len(row.body or "")
            if characters > _PAGE_CHARACTERS:
                break
    return found


@dataclass(frozen=True, slots=True)
class Old:
    """Arrivals that may be forgotten: how many, the first and the last of their numbers."""

    count: int
    first: int
    last: int


def forgettable(connection: Connection, stream: str, until: int, before: str) -> Old:
    """Those up to number *until* that came *before* a time and are not forgotten yet."""
    number = arrival_table.c.number
    query = sa.select(sa.func.count(), sa.func.min(number), sa.func.max(number)).where(
        *_old(stream, before), number <= until
    )
    count, first, final = connection.execute(query).one()
    return Old(count, first or 1, final or 0)


def forget(connection: Connection, stream: str, first: int, final: int, before: str) -> None:
    """Forget what those numbered first … final said that came *before* a time; their ids stay."""
    numbered = arrival_table.c.number.between(first, final)
    connection.execute(
        sa.update(arrival_table).where(*_old(stream, before), numbered).values(body=None)
    )


def _old(stream: str, before: str) -> tuple[sa.ColumnElement[bool], ...]:
    table = arrival_table
    return table.c.stream == stream, table.c.at < before, table.c.body.is_not(None)


def _arrival(row: Any) -> Arrival:
    body = None if row.body is None else json.loads(row.body)
    return Arrival(row.number, row.id, body, row.at)
