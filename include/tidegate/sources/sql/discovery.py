"""Which streams a database could have: its tables, with the key and the cursor that suit them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from tidegate.connections import Endpoint
from tidegate.pipeline.kinds import Proposal
from tidegate.sources.rows.naming import CHANGED, DELETED
from tidegate.sources.sql.catalogue import Native, Table
from tidegate.sources.sql.session import Session
from tidegate.types import TEMPORAL

TIMEOUT = 30.0
_NO_TABLE = " "


def proposals(endpoint: Endpoint) -> Iterator[Proposal]:
    """One for each table or view that the user may see, by name."""
    with closing(Session(endpoint, TIMEOUT)) as session:
        with session.translated():
            names = session.dialect.find(session.connection, _NO_TABLE)
        for name in sorted(names) if isinstance(names, list) else ():
            with session.translated():
                table = session.dialect.find(session.connection, name)
            if isinstance(table, Table):
                yield _proposal(name, table)


def _proposal(name: str, table: Table) -> Proposal:
    says: dict[str, Any] = {"table": name}
    notes: dict[str, str] = {}
    key = _key(table)
    says["primary_key"] = key[0] if len(key) == 1 else list(key)
    if not table.identifies(key):
        notes["primary_key"] = "nothing in the table makes it unique: is it the key?"
    cursor = _cursor(table)
    if cursor is None:
        says["snapshot"] = True
        notes["snapshot"] = "no column tells when a row changed, so each run reads the whole table"
    else:
        says["cursor"] = cursor.name
        notes["cursor"] = f"{cursor.declared}: does every change of a row touch it?"
        if not table.orders_by(cursor.name) and not table.view:
            notes["cursor"] += " It needs an index, see tidegate doctor."
    for column in table.columns:
        if DELETED.match(column.name):
            says["deleted"] = {"column": column.name}
            notes["deleted"] = "rows that it marks become tombstones"
            break
    return Proposal(name, says, notes)


def _key(table: Table) -> tuple[str, ...]:
    """The smallest unique key without NULLs; else the first column."""
    found = [
        tuple(name for name in index.columns if name is not None)
        for index in table.indexes
        if index.unique and None not in index.columns
    ]
    sure = [key for key in found if not any(table.column(name).nullable for name in key)]
    return min(sure or found, key=len, default=(table.columns[0].name,))


def _cursor(table: Table) -> Native | None:
    """A column of times that is called as such columns are; one with an index first."""
    named = [
        column
        for column in table.columns
        if column.type.name in TEMPORAL and CHANGED.search(column.name)
    ]
    return min(named, key=lambda column: not table.orders_by(column.name), default=None)
