"""What a check of the store finds, and the snapshot that it looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store import catalogue
from tidegate.store.sqltext import quoted

MOST = 1_000
"""Violations of one invariant in one stream that are named; what follows is not looked at."""
RECORD, ENTITY, RELATION, COMMIT, MAPPING = "record", "entity", "relation", "commit", "mapping"


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """What a violation is about.

    A record by its *key*; an entity by its *type* and *key*; the relations of a *type* that record
    *key* states; of the store's own things (commits, mappings and rules) their name in *key*.
    """

    kind: str
    type: str
    key: str

    def __str__(self) -> str:
        if self.kind == RECORD:
            return f"record {self.key!r}"
        if self.kind == ENTITY:
            return f"{self.type} {self.key!r}"
        if self.kind == RELATION:
            return f"{self.type} of record {self.key!r}"
        return self.key


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """One thing that is not as it must be.

    invariant  its id, ``I1`` … ``I7``
    stream     whose it is; empty for what belongs to the store as a whole
    object     what is wrong: ``record '17'``, ``Customer 'ann'``, ``commit 12`` …
    problem    how it is wrong, in words
    """

    invariant: str
    stream: str
    object: Thing
    problem: str

    def __str__(self) -> str:
        where = f"{self.stream}: " if self.stream else ""
        return f"{self.invariant} {where}{self.object} {self.problem}"

    def to_json(self) -> dict[str, str]:
        """For machines: its four parts as text."""
        return {
            "invariant": self.invariant, "stream": self.stream, "object": str(self.object),
            "problem": self.problem,
        }  # fmt: skip


@dataclass(frozen=True)
class Look:
    """One snapshot of a store, through which the checks look.

    *sample* is how many records of a stream to re-derive and to hash again; None means all. The
    checks gather in *spoiled* the records (stream, key) that are not in order: what was drawn from
    them need not be named too. Of *bent* streams the mapping is not in order: what it draws cannot
    be judged.
    """

    connection: Connection
    sample: int | None = None
    spoiled: set[tuple[str, str]] = field(default_factory=set)
    bent: set[str] = field(default_factory=set)

    def rows(
        self, template: str, names: Mapping[str, str] | None = None, **values: Any
    ) -> Iterator[tuple[Any, ...]]:
        """What *template* selects, a few rows in memory at a time.

        ``{name}`` of *names* becomes a quoted identifier, ``:name`` of *values* a bound value.
        """
        query = filled(template, names or {})
        found = self.connection.execute(query, values, execution_options={"yield_per": 1_000})
        yield from map(tuple, found)

    def number(self, template: str, names: Mapping[str, str] | None = None, **values: Any) -> int:
        """The single number that *template* asks for; NULL is 0."""
        return int(self.connection.execute(filled(template, names or {}), values).scalar() or 0)

    def has(self, table: str) -> bool:
        """Whether the store has *table*."""
        return catalogue.has(self.connection, table)


def filled(template: str, names: Mapping[str, str]) -> sa.TextClause:
    """*template* with the quoted *names* in it; a colon in a name is no bound value."""
    safe = {key: quoted(name).replace(":", "\\:") for key, name in names.items()}
    return sa.text(template.format_map(safe))
