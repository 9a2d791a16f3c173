"""Four numbers that two stores share exactly when they say the same.

A digest knows what the store says, not how it came to say it: neither the order and the numbers of
the commits, nor the absolute values of order tokens, nor the ids of mappings take part. Contents
are compared by their hashes, so both must hash a stream's rows in the same form
(:mod:`tidegate.store.record.layouts`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store.record.records import current_name
from tidegate.store.sqltext import Script
from tidegate.store.tables import entity_table, relation_table, rule_table, stream_table

Part = tuple[int, str]
"""How many facts, and 128 bits of them, in hexadecimal; in whichever order they were read."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What a store says, by layer.

    records    key, content and marks of every record
    history    every version of every record, in their order
    entities   what the active mappings say of entities, and who was outvoted
    relations  the same of relations
    """

    records: Part
    history: Part
    entities: Part
    relations: Part


def digest(connection: Connection, streams: Iterable[str] | None = None) -> Digest:
    """The digest of *streams*; of all by default."""
    wanted = _loaded(connection, streams)
    return Digest(
        records=part(_rows(connection, wanted, _RECORDS)),
        history=part(_rows(connection, wanted, _VERSIONS)),
        entities=part(_entities(connection, wanted)),
        relations=part(_relations(connection, wanted)),
    )


def _loaded(connection: Connection, streams: Iterable[str] | None) -> list[str]:
    names = connection.execute(sa.select(stream_table.c.name)).scalars().all()
    wanted = set(names if streams is None else streams)
    tables = set(sa.inspect(connection).get_table_names())
    return sorted(name for name in names if name in wanted and current_name(name) in tables)


def part(facts: Iterable[tuple[Any, ...]]) -> Part:
    """The digest of some facts."""
    count = total = 0
    for fact in facts:
        text = json.dumps(fact, ensure_ascii=False).encode()
        total += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
        count += 1
    return count, f"{total % 2**128:032x}"


def _rows(connection: Connection, streams: list[str], query: str) -> Iterator[tuple[Any, ...]]:
    for stream in streams:
        current = current_name(stream)
        script = Script(connection, {"current": current, "history": f"{current}__history"})
        for key, place, content, deleted, duplicate in script.stream(query):
            yield stream, key, place, content, bool(deleted), bool(duplicate)


_RECORDS = "SELECT _key, 0, _hash, _deleted, _duplicate FROM {current}"

_VERSIONS = """
SELECT _key, row_number() OVER (PARTITION BY _key ORDER BY token, _hash), _hash, _deleted, false
FROM (
  SELECT _key, _hash, _deleted, max(_token) AS token FROM (
    SELECT _key, _hash, _deleted, _token FROM {current}
    UNION ALL SELECT _key, _hash, _deleted, _token FROM {history}
  ) AS shown GROUP BY _key, _hash, _deleted
) AS versions
"""


def _entities(connection: Connection, streams: list[str]) -> Iterator[tuple[Any, ...]]:
    table, rule = entity_table, rule_table
    query = sa.select(
        table.c.type, table.c.key, rule.c.stream, rule.c.place, table.c.stub, table.c.name,
        table.c.record, sa.cast(table.c.attributes, sa.Text), sa.cast(table.c.outvoted, sa.Text),
    ).join(rule, rule.c.id == table.c.rule)  # fmt: skip
    for *plain, attributes, outvoted in _active(connection, query, streams):
        yield *plain, _canonical(attributes), _canonical(outvoted)


def _relations(connection: Connection, streams: list[str]) -> Iterator[tuple[Any, ...]]:
    table, rule = relation_table, rule_table
    query = sa.select(
        rule.c.stream, rule.c.place, rule.c.type, rule.c.from_type, rule.c.to_type,
        table.c.record, table.c.n, table.c.from_key, table.c.to_key, table.c.outvoted,
        sa.cast(table.c.qualifiers, sa.Text),
    ).join(rule, rule.c.id == table.c.rule)  # fmt: skip
    for *plain, qualifiers in _active(connection, query, streams):
        yield *plain, _canonical(qualifiers)


def _active(connection: Connection, query: Any, streams: list[str]) -> Iterator[Any]:
    rule = rule_table
    for stream in streams:
        found = query.where(rule.c.active == sa.true(), rule.c.stream == stream)
        yield from connection.execute(found, execution_options={"yield_per": 10_000})


def _canonical(text: str | None) -> Any:
    """JSON as it was written, but for the order of members and the space between them."""
    if text is None:
        return None
    value = json.loads(text, parse_int=_number, parse_float=_number)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _number(text: str) -> list[str]:
    return ["#", text]
