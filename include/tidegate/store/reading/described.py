"""What is known of one entity at a point, and why: one row for each rule that describes it.

Where rules contradict each other, the larger trust wins, then the later valid time, then the
stream's name, the rule's place and the record's key; NULL says nothing. Attributes that the
vocabulary calls ``many`` are the list of all values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store.reading import facts, versions
from tidegate.store.reading.answers import Entity, Telling, Why
from tidegate.store.reading.asof import Point, from_micros, moment
from tidegate.store.reading.facts import NAME, Speaking
from tidegate.store.reading.versions import LIVE, Row
from tidegate.store.tables import entity_table


@dataclass(frozen=True)
class Description:
    """What one rule says of an entity: the row that speaks, and all of its rows."""

    by: Speaking
    speaker: Row
    rows: Sequence[Row]

    @property
    def order(self) -> tuple[Any, ...]:
        """The smallest wins."""
        return self.by.order(self.speaker["_valid"], self.speaker["_key"])

    def rows_of(self, attribute: str) -> list[Row]:
        """The rows that tell *attribute*: the speaker's, or all where it has many values."""
        column = self.by.rule.attributes.get(attribute)
        several = attribute in self.by.rule.many
        rows = self.rows if several else [self.speaker]
        return [row for row in rows if column in row and row[column] is not None]

    def values_of(self, attribute: str) -> list[Any]:
        """Their values."""
        column = self.by.rule.attributes.get(attribute, "")
        return [row[column] for row in self.rows_of(attribute)]


def entity(connection: Connection, type: str, key: str, point: Point) -> Entity:
    """Entity *key* at *point*. Raises ConfigError when nothing speaks of such a type."""
    rules = facts.in_force(connection)
    found = describe(connection, facts.of_type(rules, type), key, point)
    stub = not found and _mentioned(connection, rules, type, key, point)
    names = (one.speaker.get(NAME) for one in found)
    return Entity(
        type=type,
        key=key,
        seq=point.seq,
        exists=bool(found) or stub,
        stub=stub,
        name=next((name for name in names if name), None),
        attributes={name: _value(found, name) for name in _attributes(found)},
        records=tuple((one.by.rule.stream, one.speaker["_key"]) for one in found),
    )


def describe(
    connection: Connection, rules: Sequence[Speaking], key: str, point: Point
) -> list[Description]:
    """What each rule says of entity *key*, the most trusted first."""
    speakers = _speakers(connection, rules, key) if point.now else {}
    found = []
    for one in rules:
        if point.now and one.rule.id not in speakers:
            continue
        record = None if one.rule.many else speakers.get(one.rule.id)
        rows = facts.descriptions(connection, one, point, key, record)
        if rows:
            found.append(Description(one, facts.speaker(one, rows), rows))
    return sorted(found, key=lambda one: one.order)


def _speakers(connection: Connection, rules: Sequence[Speaking], key: str) -> dict[int, str]:
    """Rule → the record that speaks for the entity now, as the library knows."""
    table = entity_table
    types = {one.rule.type for one in rules}
    query = sa.select(table.c.rule, table.c.record).where(
        table.c.type.in_(types), table.c.key == key, table.c.stub == sa.false()
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _mentioned(
    connection: Connection, rules: Sequence[Speaking], type: str, key: str, point: Point
) -> bool:
    """Whether the end of a relation names the entity, so that it exists as a stub."""
    ends = [
        (one, end)
        for one in facts.of_relation(rules, None)
        for end, of in one.rule.stubs
        if of == type
    ]
    if point.now:
        table = entity_table
        query = sa.select(sa.func.count()).where(
            table.c.type == type, table.c.key == key, table.c.stub == sa.true(),
            table.c.rule.in_([one.rule.id for one, _ in ends]),
        )  # fmt: skip
        return bool(connection.execute(query).scalar_one())
    values = {**point.values, "keys": json.dumps([key])}
    for one, end in ends:
        said = facts.statements(connection, one, point, end)
        if connection.execute(sa.text(f"{said} LIMIT 1"), values).first():
            return True
    return False


def _attributes(found: Sequence[Description]) -> list[str]:
    return list(dict.fromkeys(name for one in found for name in one.by.rule.attributes))


def _is_many(found: Sequence[Description], name: str) -> bool:
    return any(name in one.by.rule.many for one in found)


def _value(found: Sequence[Description], name: str) -> Any:
    """The winning value, or the sorted list of all."""
    values = [value for one in found for value in one.values_of(name)]
    if not _is_many(found, name):
        return values[0] if values else None
    distinct = list(dict.fromkeys(values))
    try:
        return sorted(distinct)
    except TypeError:  # streams tell it in different types
        return sorted(distinct, key=lambda value: (type(value).__name__, str(value)))


# Why ----------------------------------------------------------------------------------------------


def why(connection: Connection, type: str, key: str, attribute: str | None, point: Point) -> Why:
    """Where the entity's values come from: each that is told, winners first."""
    rules = facts.of_type(facts.in_force(connection), type)
    if attribute is not None:
        facts.require(attribute, {name for one in rules for name in one.rule.attributes},
                      f"an attribute of {type}")  # fmt: skip
    found = describe(connection, rules, key, point)
    names = _attributes(found) if attribute is None else [attribute]
    told = [telling for name in names for telling in _tellings(connection, found, name, key)]
    return Why(type, key, point.seq, tuple(told))


def _tellings(
    connection: Connection, found: Sequence[Description], name: str, key: str
) -> Iterator[Telling]:
    many = _is_many(found, name)
    winner: list[Any] = []
    for one in found:
        for row in one.rows_of(name):
            value = row[one.by.rule.attributes[name]]
            winner = winner or [value]
            since = _since(connection, one.by, row, one.by.rule.attributes[name], key)
            run_id, at = versions.runs_of(connection, {since}).get(since, (None, None))
            yield Telling(
                attribute=name,
                value=value,
                wins=many or value == winner[0],
                stream=one.by.rule.stream,
                record=row["_key"],
                trust=one.by.rule.trust,
                since=since,
                run_id=run_id or None,
                committed_at=moment(at),
                valid=from_micros(row["_valid"]),
            )


def _since(connection: Connection, by: Speaking, row: Row, column: str, key: str) -> int:
    """Walk the record's reigns back while it was live, of this entity, and said the same."""
    columns = by.tables.typed("_seq", "_seq_to", by.ref, column)
    cells = ", ".join(versions.name(one.name) for one in columns)
    query = (
        f"SELECT {cells} FROM {by.tables.history} WHERE _key = :key AND _seq < _seq_to "
        f"AND +_seq_to <= :seq AND {LIVE} ORDER BY _seq_to DESC"
    )
    since = int(row["_seq"])
    values = {"key": row["_key"], "seq": since}
    for before in versions.rows(connection, query, columns, values):
        if before["_seq_to"] != since or before[by.ref] != key or before[column] != row[column]:
            break
        since = before["_seq"]
    return since
