"""Entities by the value of an attribute, and what contradicts itself: questions about now.

For a searchable attribute the library's own text of the value is made, in the same pieces of SQL
that it was written with, so its index serves. Whatever was found is read, and must show the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError
from tidegate.store.knowledge import vocabulary
from tidegate.store.knowledge.jsontext import Json, literal
from tidegate.store.reading import asof, described, facts, versions
from tidegate.store.reading.answers import Conflict, Conflicts, Entity, Found, Telling
from tidegate.store.reading.asof import Point
from tidegate.store.reading.facts import Speaking
from tidegate.store.reading.versions import LIVE
from tidegate.store.record import frames
from tidegate.store.tables import relation_table, store_type
from tidegate.types import ColumnType

Named = tuple[str, str, str]
"""Type, key and attribute of an entity, or beginning and type of a relation."""


def find(
    connection: Connection, type: str, name: str, value: Any, limit: int, point: Point
) -> Found:
    """Entities of *type* whose attribute *name* is *value*, or has it among many.

    Raises ConfigError for unknown words, and for a value that is none of the attribute's.
    """
    rules = facts.of_type(facts.in_force(connection), type)
    facts.require(name, {known for one in rules for known in one.rule.attributes},
                  f"an attribute of {type}")  # fmt: skip
    rules = [one for one in rules if name in one.rule.attributes]
    wanted = [_typed(one, name, value) for one in rules]
    keys: set[str] = set()
    for one, cell in zip(rules, wanted, strict=True):
        keys |= set(_candidates(connection, one, name, cell))
    found: list[Entity] = []
    for key in sorted(keys):
        entity = described.entity(connection, type, key, point)
        shown = entity.attributes[name]
        if any(cell in shown if isinstance(shown, list) else cell == shown for cell in wanted):
            found.append(entity)
        if len(found) > limit:
            break
    return Found(point.seq, tuple(found[:limit]), len(found) <= limit)


def _type(one: Speaking, name: str) -> ColumnType:
    column = one.rule.attributes[name]
    return next(known.type for known in one.tables.columns if known.name == column)


def _typed(one: Speaking, name: str, value: Any) -> Any:
    """*value* as the column's type has it; text is read, as people write it."""
    type = _type(one, name)
    try:
        if isinstance(value, str):
            cell = pa.array([value], pa.string()).cast(type.arrow)[0].as_py()
        else:
            cell = pa.array([str(value) if type.name == "numeric" else value], type.arrow)[
                0
            ].as_py()
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise ConfigError(f"find: {value!r} is no value of {name!r}, which is {type}.") from error
    return frames.value(type, cell)


def _candidates(connection: Connection, one: Speaking, name: str, value: Any) -> Iterator[str]:
    """Keys of entities of which the rule may tell *value*: by the index, or among all records."""
    dialect = connection.dialect.name
    column, type = one.rule.attributes[name], _type(one, name)
    cell, value = ":value", frames.stored(type, value) if dialect == "sqlite" else value
    if dialect == "postgresql":
        cell = f"CAST(:value AS {store_type(type).compile(connection.dialect)})"
    query = (
        f"SELECT DISTINCT {versions.name(one.ref)} FROM {one.tables.current} "
        f"WHERE {LIVE} AND {versions.name(column)} = {cell}"
    )
    words = vocabulary.known(connection).attributes(one.rule.type)
    if name in words and words[name].searchable and name not in one.rule.many:
        pieces = Json(dialect, {column: type.name})
        made = pieces.object([(name, pieces.value(column, "c"))])
        query = (
            f"SELECT e.key FROM entity AS e WHERE e.type = {literal(one.rule.type)} "
            f"AND e.rule = {one.rule.id} AND {vocabulary.value(dialect, name, 'e')} = "
            f"(SELECT {vocabulary.value(dialect, name, 'm')} FROM (SELECT {made} AS attributes "
            f"FROM (SELECT {cell} AS {versions.name(column)}) AS c) AS m)"
        )
    for (key,) in connection.execute(sa.text(query), {"value": value}):
        if key is not None:
            yield key


# Conflicts ----------------------------------------------------------------------------------------


def conflicts(connection: Connection, limit: int, point: Point) -> Conflicts:
    """Attributes that are told differently, then relations that are, each with all tellings."""
    rules = facts.in_force(connection)
    found: list[Conflict] = []
    for kind, names in (
        ("attribute", _attributes(connection, rules)),
        ("relation", _relations(connection, rules)),
    ):
        for type, key, name in names:
            if len(found) > limit:
                break
            told = _told(connection, rules, kind, (type, key, name), point)
            found.append(Conflict(kind, type, key, name, tuple(told)))
    return Conflicts(point.seq, tuple(found[:limit]), len(found) <= limit)


def _attributes(connection: Connection, rules: Sequence[Speaking]) -> Iterator[Named]:
    members = "json_each" if connection.dialect.name == "sqlite" else "jsonb_each"
    query = (
        f"SELECT DISTINCT e.type, e.key, m.key FROM entity AS e CROSS JOIN {members}(e.outvoted) "
        f"AS m WHERE e.outvoted IS NOT NULL AND e.rule IN ({_ids(rules)}) ORDER BY 1, 2, 3"
    )
    for row in connection.execute(sa.text(query)):
        yield row[0], row[1], row[2]


def _relations(connection: Connection, rules: Sequence[Speaking]) -> Iterator[Named]:
    table = relation_table
    types = {one.rule.id: (str(one.rule.from_type), one.rule.type) for one in rules}
    query = sa.select(table.c.rule, table.c.from_key).distinct()
    query = query.where(table.c.outvoted == sa.true(), table.c.rule.in_(list(types)))
    found = {(types[rule][0], key, types[rule][1]) for rule, key in connection.execute(query)}
    yield from sorted(found)


def _ids(rules: Sequence[Speaking]) -> str:
    return ", ".join(str(one.rule.id) for one in rules) or "NULL"


def _told(
    connection: Connection, rules: Sequence[Speaking], kind: str, what: Named, point: Point
) -> list[Telling]:
    type, key, name = what
    if kind == "attribute":
        return list(described.why(connection, type, key, name, point).tellings)
    rivals = {
        one.rule.id: one
        for one in facts.of_relation(rules, name)
        if one.rule.from_type == type and one.rule.single
    }
    table = relation_table
    query = sa.select(table).where(table.c.rule.in_(list(rivals)), table.c.from_key == key)
    rows = list(connection.execute(query))
    rows.sort(key=lambda row: (*rivals[row.rule].order(row.valid, row.record), row.n))
    runs = versions.runs_of(connection, {row.seq for row in rows})
    return [
        Telling(
            attribute=name,
            value=row.to_key,
            wins=not row.outvoted,
            stream=rivals[row.rule].rule.stream,
            record=row.record,
            trust=rivals[row.rule].rule.trust,
            since=row.seq,
            run_id=(run := runs.get(row.seq, (None, None)))[0] or None,
            committed_at=asof.moment(run[1]),
            valid=asof.from_micros(row.valid),
        )
        for row in rows
    ]
