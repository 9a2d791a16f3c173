"""Another mapping: knowledge derived anew from the records, while loads go on.

The new mapping is *building* from its first commit on, so every load projects it beside the active
one. The records that were there before are projected in the order of their keys, some thousands in
each commit, and how far that reached is part of the commit: whatever dies goes on from there. Only
the last commit of them makes the new mapping active and the other one old. Then what the old one
said is removed, which nobody reads any more.

A record is projected by whoever comes first and maybe twice; both say the same, what the record
says now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from tidegate.pipeline.models import Stream
from tidegate.store import catalogue, ledger
from tidegate.store.engine import make_room
from tidegate.store.knowledge import mapping, projection, vocabulary
from tidegate.store.knowledge.conflicts import Conflicts
from tidegate.store.knowledge.mapping import ACTIVE, BUILDING, OLD
from tidegate.store.record import dating, evolve, frames, keytext
from tidegate.store.record.records import Records, current_name, ref_name
from tidegate.store.sqltext import Script
from tidegate.store.tables import mapping_table, rule_table

MODE = "derive"
"""What the ledger calls these commits."""


@dataclass(frozen=True, slots=True)
class Step:
    """One commit: ``begin``, ``project``, ``switch`` or ``remove``, and how many rows it was of."""

    what: str
    rows: int = 0


def steps(engine: Engine, name: str, stream: Stream, rows: int = 20_000) -> Iterator[Step]:
    """Derive the knowledge of *name* by the mapping of *stream*; yields after every commit.

    *rows* records or facts at once. With nothing to derive, and nothing old to remove, no step.
    """
    while True:
        with engine.connect() as connection, connection.execution_options(reads=True).begin():
            building = _wanted(connection, name, stream)
        with engine.begin() as connection:
            step = (
                _next(connection, name, stream, rows)
                if building
                else _remove(connection, name, rows)
            )
        if step is None:
            return
        yield step


def _wanted(connection: Connection, name: str, stream: Stream) -> bool:
    """Whether anything is left to do before the file's mapping is the one that is read."""
    if not catalogue.has(connection, current_name(name)):
        return False
    found = mapping.projected(connection, name)
    wanted = mapping.definition(stream, vocabulary.words(connection, stream.vocabulary))
    return [(one.state, one.definition) for one in found] != [(ACTIVE, wanted)]


def _next(connection: Connection, name: str, stream: Stream, rows: int) -> Step:
    """The next commit of a derivation; one of nothing when another has ended it meanwhile."""
    make_room(connection)
    seq = ledger.next_seq(connection)
    words = vocabulary.learn(connection, stream.vocabulary)
    wanted = mapping.definition(stream, words)
    found = mapping.projected(connection, name)
    step = Step("begin")
    fitting = [one for one in found if one.definition == wanted]
    for one in found:
        if one.state == BUILDING and one not in fitting:
            _turn(connection, one.id, OLD)
    if not fitting:
        mapping.add(connection, name, wanted, BUILDING)
    elif fitting[0].state == BUILDING:
        step = _project(connection, fitting[0], seq, rows)
    ledger.note(connection, seq, name, MODE, f"{MODE}:{seq}")
    return step


def _turn(connection: Connection, number: int, state: str) -> None:
    connection.execute(
        sa.update(mapping_table).where(mapping_table.c.id == number).values(state=state)
    )
    connection.execute(
        sa.update(rule_table).where(rule_table.c.mapping == number).values(active=state == ACTIVE)
    )


def _project(connection: Connection, building: mapping.Mapping, seq: int, rows: int) -> Step:
    """Project the next *rows* records; after the last ones, switch."""
    found = mapping.projected(connection, building.stream)
    records = _records(connection, building.stream, found)
    if building.reached is None:
        records = evolve.ensure(connection, records)
        evolve.index(connection, records)
    low = building.reached or None
    undated = _undated(building, found)
    if undated and low is None:
        dating.begin(connection, records.stream, building.definition["dating"])
    script = Script(
        connection,
        {"current": records.current, "history": records.history},
        {"low": low or "", "rows": rows - 1},
    )
    bound = "" if low is None else "WHERE _key > :low"
    ends = script.rows(_END.replace("{bound}", bound))
    high = ends[0][0] if ends else None
    known = {key for one in found if one.state == ACTIVE for key in one.keys}
    _fill(script, records, [key for key in building.keys if key not in known], low, high)
    if undated:
        values = {name: key for name, key in (("low", low), ("high", high)) if key is not None}
        where = _between(low, high)["between"]
        dating.fill(connection, records.stream, building.definition["dating"], where, values)
    for one in found if undated else [building]:
        projection.rebuild(connection, records, one, seq, low, high)
    if high is not None:
        connection.execute(
            sa.update(mapping_table).where(mapping_table.c.id == building.id).values(reached=high)
        )
        return Step("project", rows)
    if undated:
        dating.end(connection, records.stream, building.definition["dating"])
    _switch(connection, found)
    return Step("switch")


def _undated(building: mapping.Mapping, found: list[mapping.Mapping]) -> bool:
    """Whether the rows that were there before are dated in another way, or in none."""
    active = [one.definition["dating"] for one in found if one.state == ACTIVE]
    return active != [building.definition["dating"]]


def _records(connection: Connection, name: str, found: list[mapping.Mapping]) -> Records:
    """The tables of *name*, with every column that they ever had."""
    columns = tuple(frames.columns_of(connection, name))
    refs = {ref_name(key): key for one in found for key in one.keys}
    return Records(name, columns, refs, marks=False)


def _fill(
    script: Script, records: Records, keys: list[mapping.Key], low: str | None, high: str | None
) -> None:
    """Write the keys that the tables do not have yet."""
    if not keys:
        return
    columns = {column.name: column for column in records.data}
    dialect = script.connection.dialect.name
    for table in ("current", "history"):
        quoted = script.quote(script.names[table])
        sets = [
            f"{script.quote(ref_name(key))} = {keytext.key(dialect, columns, key, quoted)}"
            for key in keys
        ]
        script.run(
            _FILL, {"table": quoted, "sets": ", ".join(sets), **_between(low, high)}, high=high
        )


def _between(low: str | None, high: str | None) -> Mapping[str, str]:
    signs = [("_key > :low", low), ("_key <= :high", high)]
    return {"between": " AND ".join(sign for sign, bound in signs if bound is not None) or "true"}


def _switch(connection: Connection, found: list[mapping.Mapping]) -> None:
    """From this commit on the mapping that was being built is the one that is read."""
    for one in found:
        _turn(connection, one.id, OLD if one.state == ACTIVE else ACTIVE)
    script = Script(connection, {})
    for table in ("entity", "relation"):
        script.measure(table)
    Conflicts(script).settle_all([rule for one in found for rule in one.rules])


def _remove(connection: Connection, name: str, rows: int) -> Step | None:
    """Remove some of what old mappings said; None when nothing is left."""
    table = mapping_table
    old = sa.select(table.c.id).where(table.c.stream == name, table.c.state == OLD)
    rules = connection.execute(
        sa.select(rule_table).where(rule_table.c.mapping.in_(old)).order_by(rule_table.c.id)
    ).all()
    script = Script(connection, {}, {"rows": rows})
    for rule in rules:
        removed = script.run(_REMOVE_RELATIONS, rule=rule.id)
        for type_ in {rule.type, rule.from_type, rule.to_type} - {None}:
            removed += script.run(_REMOVE_ENTITIES, rule=rule.id, type=type_)
        if removed:
            return Step("remove", removed)
        connection.execute(sa.delete(rule_table).where(rule_table.c.id == rule.id))
    return None


_END = "SELECT _key FROM {current} {bound} ORDER BY _key LIMIT 1 OFFSET :rows"

_FILL = "UPDATE {table} SET {sets} WHERE {between}"

_REMOVE_RELATIONS = """
DELETE FROM relation WHERE rule = :rule AND record IN (
  SELECT record FROM relation WHERE rule = :rule ORDER BY record LIMIT :rows)
"""

_REMOVE_ENTITIES = """
DELETE FROM entity WHERE type = :type AND rule = :rule AND key IN (
  SELECT key FROM entity WHERE type = :type AND rule = :rule ORDER BY key LIMIT :rows)
"""
