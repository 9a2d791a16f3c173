"""One mapping in force for each stream, the rules that it says, and facts of these (I7)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store.checks.bookkeeping import names_of
from tidegate.store.checks.violations import ENTITY, MAPPING, RECORD, Look, Thing, Violation
from tidegate.store.knowledge import mapping
from tidegate.store.knowledge.mapping import ACTIVE, BUILDING, OLD
from tidegate.store.record.records import ref_name
from tidegate.store.tables import mapping_table, rule_table


def check(look: Look, stream: str) -> Iterator[Violation]:
    """I7: facts of no rule without *stream*, else the stream's mappings, rules and speakers."""
    if not stream:
        for table, rule, count in look.rows(_ORPHANS):
            problem = f"is unknown, but there are {count:,} rows of it in {table}."
            yield Violation("I7", "", Thing(MAPPING, "", f"rule {rule}"), problem)
        return
    for name, problem in [*_mappings(look, stream)]:
        look.bent.add(stream)
        yield Violation("I7", stream, Thing(MAPPING, "", name), problem)
    if stream in look.bent:
        return
    yield from _keys(look, stream)
    for record, rule, count in look.rows(_SPEAKS, stream=stream):
        problem = f"speaks for {count} entities by rule {rule}, not for one."
        yield Violation("I7", stream, Thing(RECORD, "", record), problem)


def _mappings(look: Look, stream: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the mappings of *stream* and their rules."""
    several = [*look.rows(_MAPPINGS, stream=stream)]
    for state, count in several:
        yield f"{state} mapping", f"is there {count} times, not once."
    for rule, problem in look.rows(_RULES, stream=stream):
        yield f"rule {rule}", problem
    if not several:
        yield from _bent(look.connection, stream)


def _keys(look: Look, stream: str) -> Iterator[Violation]:
    """Entities that have not the type of their rule, or not the key of their record."""
    for type, key, rule, says in look.rows(_TYPES, stream=stream):
        problem = f"belongs to rule {rule}, which is of {says}."
        yield Violation("I7", stream, Thing(ENTITY, type, key), problem)
    names = names_of(stream)
    if not look.has(names["current"]):
        return
    for rules in mapping.projected(look.connection, stream):
        for rule in rules.rules:
            if rule.kind == ENTITY and rules.state == ACTIVE:  # others may lack the column yet
                names["ref"] = ref_name(rule.key)
                for key, record, other in look.rows(_WRONG_KEYS, names, rule=rule.id):
                    if (stream, record) in look.spoiled:
                        continue
                    problem = f"is described by record {record!r}, which is of {other!r}."
                    yield Violation("I7", stream, Thing(ENTITY, rule.type, key), problem)


def _bent(connection: Connection, stream: str) -> Iterator[tuple[str, str]]:
    """Rules of mappings in force that are not what their mapping's definition says."""
    for number, wanted, found in _wanted(connection, stream):
        there = {row["place"]: row for row in found}
        for place, row in enumerate(wanted):
            if place not in there:
                yield f"mapping {number}", f"lacks its rule at place {place}."
            elif {**there[place], "active": row["active"]} != {"id": there[place]["id"], **row}:
                yield f"rule {there[place]['id']}", "is not what its mapping says."
        for row in found:
            if row["place"] >= len(wanted) or row is not there[row["place"]]:
                yield f"rule {row['id']}", "has no place in its mapping."


def _wanted(
    connection: Connection, stream: str
) -> Iterator[tuple[int, list[dict[str, Any]], list[dict[str, Any]]]]:
    """Mapping in force, the rules it says, those that are there."""
    table = mapping_table
    found = connection.execute(
        sa.select(table).where(table.c.stream == stream, table.c.state.in_([ACTIVE, BUILDING]))
    ).all()
    for row in found:
        rules = sa.select(rule_table).where(rule_table.c.mapping == row.id)
        there = connection.execute(rules.order_by(rule_table.c.id)).mappings()
        says = json.loads(row.definition)
        wanted = mapping.rule_rows(row.id, stream, says, active=row.state == ACTIVE)
        yield row.id, wanted, [dict(rule) for rule in there]


def mend(connection: Connection, stream: str) -> int:
    """Keep one mapping in each state, and give the ones in force the rules that they say.

    Returns how many rows were wrong. What the rules say must be drawn again then.
    """
    changed = 0
    for state in (ACTIVE, BUILDING):
        values = {"stream": stream, "state": state, "old": OLD}
        changed += connection.execute(sa.text(_RETIRE), values).rowcount
    for query in (_DROP_RULES, _RETURN_RULES, _WAKE_RULES):
        changed += connection.execute(sa.text(query), {"stream": stream}).rowcount
    for number, wanted, found in list(_wanted(connection, stream)):
        changed += _straighten(connection, number, wanted, found)
    return changed


def _straighten(
    connection: Connection, number: int, wanted: list[dict[str, Any]], found: list[dict[str, Any]]
) -> int:
    table, changed = rule_table, 0
    there = {row["place"]: row for row in found if row["place"] < len(wanted)}
    kept = [row["id"] for row in there.values()]
    drop = sa.delete(table).where(table.c.mapping == number, table.c.id.not_in(kept))
    changed += connection.execute(drop).rowcount
    for place, row in enumerate(wanted):
        if place not in there:
            highest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
            connection.execute(sa.insert(table).values(id=highest + 1, **row))
            changed += 1
        elif there[place] != {"id": there[place]["id"], **row}:
            update = sa.update(table).where(table.c.id == there[place]["id"])
            changed += connection.execute(update.values(**row)).rowcount
    return changed


def forget_orphans(connection: Connection) -> int:
    """Delete the facts of rules that nobody knows; returns how many."""
    return sum(connection.execute(sa.text(query)).rowcount for query in _FORGET_ORPHANS)


_ORPHANS = """
SELECT 'entity', e.rule, count(*) FROM entity AS e
WHERE NOT EXISTS (SELECT 1 FROM tidegate_rule AS r WHERE r.id = e.rule) GROUP BY e.rule
UNION ALL SELECT 'relation', f.rule, count(*) FROM relation AS f
WHERE NOT EXISTS (SELECT 1 FROM tidegate_rule AS r WHERE r.id = f.rule) GROUP BY f.rule
"""

_FORGET_ORPHANS = [
    f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM tidegate_rule AS r WHERE r.id = rule)"
    for table in ("entity", "relation")
]

_MAPPINGS = """
SELECT state, count(*) FROM tidegate_mapping
WHERE stream = :stream AND state IN ('active', 'building') GROUP BY state HAVING count(*) > 1
"""

_RULES = """
SELECT id, problem FROM (
  SELECT r.id, CASE
    WHEN m.id IS NULL THEN 'belongs to a mapping that does not exist.'
    WHEN m.stream <> r.stream THEN 'is of another stream than its mapping.'
    WHEN r.active AND m.state <> 'active' THEN 'is active, but its mapping is not.'
    WHEN m.state = 'active' AND NOT r.active THEN 'is not active, but its mapping is.'
    END AS problem
  FROM tidegate_rule AS r LEFT JOIN tidegate_mapping AS m ON m.id = r.mapping
  WHERE r.stream = :stream
) AS found WHERE problem IS NOT NULL
"""

_TYPES = """
SELECT e.type, e.key, r.id, CASE r.kind WHEN 'entity' THEN r.type ELSE r.kind || ' ' || r.type END
FROM entity AS e JOIN tidegate_rule AS r ON r.id = e.rule
WHERE r.stream = :stream AND NOT CASE r.kind
  WHEN 'entity' THEN e.type = r.type AND NOT e.stub
  ELSE e.stub AND e.type IN (r.from_type, r.to_type) END
"""

_WRONG_KEYS = """
SELECT e.key, e.record, c.{ref} FROM entity AS e JOIN {current} AS c ON c._key = e.record
WHERE e.rule = :rule AND NOT e.stub AND c._deleted = false AND c._duplicate = false
  AND c.{ref} IS DISTINCT FROM e.key
"""

_SPEAKS = """
SELECT e.record, e.rule, count(*) FROM entity AS e
JOIN tidegate_rule AS r ON r.id = e.rule
JOIN tidegate_mapping AS m ON m.id = r.mapping AND m.state IN ('active', 'building')
WHERE r.stream = :stream AND e.record IS NOT NULL
GROUP BY e.rule, e.record HAVING count(*) > 1
"""

# Of several the newest that has rules: what facts there are, are of those.
_RETIRE = """
UPDATE tidegate_mapping SET state = :old
WHERE stream = :stream AND state = :state AND id <> (
  SELECT m.id FROM tidegate_mapping AS m WHERE m.stream = :stream AND m.state = :state
  ORDER BY EXISTS (SELECT 1 FROM tidegate_rule AS r WHERE r.mapping = m.id) DESC, m.id DESC LIMIT 1)
"""

_DROP_RULES = """
DELETE FROM tidegate_rule WHERE stream = :stream
  AND NOT EXISTS (SELECT 1 FROM tidegate_mapping AS m WHERE m.id = mapping)
"""

_RETURN_RULES = """
UPDATE tidegate_rule SET stream = m.stream FROM tidegate_mapping AS m
WHERE m.id = tidegate_rule.mapping AND m.stream <> tidegate_rule.stream
  AND :stream IN (m.stream, tidegate_rule.stream)
"""

_WAKE_RULES = """
UPDATE tidegate_rule SET active = (m.state = 'active') FROM tidegate_mapping AS m
WHERE m.id = tidegate_rule.mapping AND tidegate_rule.stream = :stream
  AND tidegate_rule.active <> (m.state = 'active')
"""
