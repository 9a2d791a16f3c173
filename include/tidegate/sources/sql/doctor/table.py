"""The table's definition: its index, its keys, whether it is a table at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from tidegate.sources import Finding
from tidegate.sources.sql.doctor.case import Case, statements


def index(case: Case) -> Iterator[Finding]:
    """Each run reads by the cursor."""
    table, cursor = case.table, case.stream.by
    if table.orders_by(cursor):
        return
    if table.view:
        yield case.find(
            "warning",
            "view",
            f"{table.name!r} is a view: whether reading it by {cursor!r} uses an index, and who "
            "stamps that column, cannot be seen.",
            f"Ask the source: EXPLAIN SELECT * FROM {case.full} ORDER BY {case.column(cursor)} "
            "LIMIT 1; it should use an index. Or read the table below the view.",
        )
        return
    refused = case.stream.unindexed == "refuse"
    choice = ", or allow it with unindexed: allow" if refused else ""
    yield case.find(
        "error" if refused else "warning",
        "no-index",
        f"no index begins with the cursor {cursor!r}, so each run would read the whole table.",
        f"Run this on the source{choice}.{_index(case, cursor, *case.stream.primary_key)}",
    )


def window_index(case: Case) -> Iterator[Finding]:
    """Each window of a backfill reads by its own column."""
    by = case.stream.backfill.by
    if by and by != case.stream.cursor and not case.table.view and not case.table.orders_by(by):
        yield case.find(
            "warning",
            "window-no-index",
            f"backfill.by: no index begins with {by!r}; each window of a backfill reads the whole "
            "table.",
            f"Create one:{_index(case, by)}",
        )


def unique_key(case: Case) -> Iterator[Finding]:
    """A row is its key."""
    if case.table.view or case.table.identifies(case.stream.primary_key):
        return
    key = ", ".join(case.stream.primary_key)
    yield case.find(
        "warning",
        "no-unique-key",
        f"primary_key: the database does not keep ({key}) unique. Rows with equal keys replace "
        "each other in the store.",
        "Name the table's real key, or have it kept unique:"
        + _index(case, *case.stream.primary_key, unique="UNIQUE "),
    )


def nullable_key(case: Case) -> Iterator[Finding]:
    """A row without a key cannot be told from others."""
    names = [name for name in case.stream.primary_key if case.plan.native(name).nullable]
    if not names or case.table.view:
        return
    yield case.find(
        "warning",
        "key-nullable",
        f"primary_key: {', '.join(map(repr, names))} may be NULL. A row whose key is NULL is "
        "held in quarantine.",
        "Forbid NULL on the source:" + statements(*map(case.server.mandatory, names)),
    )


def floating_key(case: Case) -> Iterator[Finding]:
    """Two programs seldom agree on the last digit of a floating-point number."""
    for name in case.stream.primary_key:
        native = case.plan.native(name)
        if native.type.name == "float64":
            yield case.find(
                "warning",
                "key-floating",
                f"primary_key: {name!r} is a floating-point number ({native.declared}). What is "
                "written as one number may come back as another, and then is another row.",
                "Use a whole number, a DECIMAL or a text as the key.",
            )


def confused_key(case: Case) -> Iterator[Finding]:
    """The store tells keys apart by their octets."""
    for name in case.stream.primary_key:
        if case.plan.native(name).type.name != "string" or case.table.view:
            continue
        found = case.server.confused(name)
        if found is None:
            continue
        why, letters = found
        pair = "'a' and 'A'" if letters else "'a' and 'a '"
        yield case.find(
            "warning" if letters else "note",
            "key-collation" if letters else "key-padding",
            f"primary_key: {why}, so {pair} are one key in {name!r}, but two in the store. A key "
            "that is rewritten so leaves its old row behind.",
            "Never rewrite keys that way, or compare exactly:"
            + statements(case.server.exact(name)),
        )


def _index(case: Case, *names: str, unique: str = "") -> str:
    columns = list(dict.fromkeys(names))
    listed = ", ".join(case.column(column) for column in columns)
    name = case.q(_index_name(case.table.name, columns[0]))
    return statements(f"CREATE {unique}INDEX {name} ON {case.full} ({listed});")


def _index_name(table: str, column: str) -> str:
    name = f"{table}_{column}_tidegate"
    if len(name.encode()) <= 60:
        return name
    return f"tidegate_{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"
