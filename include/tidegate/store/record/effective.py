"""The effective rows of a stream: what the store believes its source to have.

These are the current versions, but those that are gone, and in the place of a version, or beside
them, the row in quarantine. Each counts by its key and the hash of the source's cells. Rows without
a key are left out: nothing tells them apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from tidegate.store import catalogue
from tidegate.store.record.records import current_name
from tidegate.store.sqltext import Script

_LEAST, _MOST = -(2**63), 2**63 - 1


class Effective:
    """The effective rows of a stream, on one connection."""

    def __init__(self, connection: Connection, stream: str, composite: bool = False) -> None:
        current = current_name(stream)
        self._script = Script(connection, {"current": current}, {"stream": stream})
        self._dialect = connection.dialect.name
        self._loaded = catalogue.has(connection, current)
        self._numbers = [number(self._dialect, key, composite) for key in ("c._key", "q.key")]

    def range(self, first: int | None, until: int | None) -> tuple[str, str]:
        """Of the current rows and of the held ones: those in the range.

        What is no number of 64 bits, and so in no range, comes with the first one.
        """
        first = None if first is None or first < _LEAST else min(first, _MOST)
        until = None if until is None or until > _MOST else max(until, _LEAST)
        self._script.values |= {"first": first, "until": until}
        picked = []
        for text in self._numbers:
            below = "true" if until is None else f"{text} < :until"
            if first is None:
                picked.append(below if until is None else f"({below} OR {text} IS NULL)")
            else:
                picked.append(f"{text} >= :first AND {below}")
        return picked[0], picked[1]

    def among(self, keys: Sequence[str]) -> tuple[str, str]:
        """Those that have one of *keys*."""
        postgres = self._dialect == "postgresql"
        self._script.values["keys"] = list(keys) if postgres else json.dumps(keys)
        some = "= ANY(:keys)" if postgres else "IN (SELECT value FROM json_each(:keys))"
        return f"c._key {some}", f"q.key {some}"

    def sums(self, current: str, held: str) -> tuple[int, int]:
        """Count and XOR."""
        query = _SUMS.replace("{rows}", self._query(current, held))
        ((rows, xor),) = self._script.rows(query)
        return int(rows), int(xor)

    def rows(self, current: str, held: str, **values: Any) -> Iterator[tuple[str, int]]:
        """Key and hash."""
        self._script.values |= values
        found = self._script.stream(self._query(current, held))
        yield from ((key, hash_) for key, hash_ in found)

    def _query(self, current: str, held: str) -> str:
        nameless = NAMELESS[self._dialect]
        parts = [_CURRENT.replace("{picked}", current)] if self._loaded else []
        parts.append(_HELD.replace("{picked}", held).replace("{nameless}", nameless))
        return " UNION ALL ".join(parts)


def number(dialect: str, key: str, composite: bool) -> str:
    """SQL of the number that the text *key* begins with; NULL, or any, when it is none."""
    if dialect == "sqlite":
        return f"CAST({f'substr({key}, 3)' if composite else key} AS INTEGER)"
    text = f"split_part({key}, '\"', 2)" if composite else key
    return (
        f"(CASE WHEN {text} ~ '^-?[0-9]+$' AND (length({text}) < 19 "
        f"OR (length({text}) = 19 AND ({text} < '0' OR {text} <= '9223372036854775807')) "
        f"OR (length({text}) = 20 AND {text} <= '-9223372036854775808')) "
        f"THEN CAST({text} AS bigint) END)"
    )


_CURRENT = """
SELECT c._key AS key, c._source_hash AS hash FROM {current} AS c
WHERE c._source_hash IS NOT NULL AND {picked} AND NOT EXISTS (
  SELECT 1 FROM tidegate_quarantine AS q
  WHERE q.stream = :stream AND q.key = c._key AND q.state = 'held')
"""

_HELD = """
SELECT q.key AS key, q.source_hash AS hash FROM tidegate_quarantine AS q
WHERE q.stream = :stream AND q.state = 'held' AND {picked} AND q.key <> {nameless}
"""

_SUMS = "SELECT count(*), coalesce(bit_xor(hash), 0) FROM ({rows}) AS found"

NAMELESS = {
    "sqlite": "printf('?%016x', q.source_hash)",
    "postgresql": "'?' || lpad(to_hex(q.source_hash), 16, '0')",
}
"""How :func:`tidegate.store.quarantine.key_of` names rows without a key, by dialect."""
