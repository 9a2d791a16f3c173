"""Whether the knowledge is what the records say: ends, records, votes and rows (I1-I4).

The last two are asked by doing it again: see :mod:`tidegate.store.checks.shadow`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tidegate.store.checks import shadow
from tidegate.store.checks.shadow import Scope
from tidegate.store.checks.violations import ENTITY, MOST, RELATION, Look, Thing, Violation
from tidegate.store.knowledge import mapping
from tidegate.store.knowledge.conflicts import Conflicts
from tidegate.store.knowledge.mapping import ACTIVE, Rule
from tidegate.store.knowledge.mapping import Mapping as Rules
from tidegate.store.record.records import current_name
from tidegate.store.sqltext import Script


def check_ends(look: Look, stream: str) -> Iterator[Violation]:
    """I1: an end that no row of a rule in force knows."""
    if stream in look.bent:
        return
    for type, key, relation, record, count in look.rows(_ENDLESS, stream=stream):
        others = f" and {count - 1:,} more say" if count > 1 else " says"
        problem = f"does not exist, but record {record!r}{others} {relation} of it."
        yield Violation("I1", stream, Thing(ENTITY, type, key), problem)


def check_records(look: Look, stream: str) -> Iterator[Violation]:
    """I2: facts of records that are not live, stubs that nothing mentions."""
    names = {"current": current_name(stream)}
    if not stream or stream in look.bent or not look.has(names["current"]):
        return
    for type, key, record in look.rows(_ENTITIES_OF_NOTHING, names, stream=stream):
        if (stream, record) in look.spoiled:
            continue
        who = "no record" if record is None else f"record {record!r}, which is not live"
        yield Violation("I2", stream, Thing(ENTITY, type, key), f"is described by {who}.")
    for type, record in look.rows(_RELATIONS_OF_NOTHING, names, stream=stream):
        if (stream, record) in look.spoiled:
            continue
        thing = Thing(RELATION, type, record)
        yield Violation("I2", stream, thing, "is stated, but the record is not live.")
    for rule in _in_force(look, stream):
        for type, key in _unmentioned(look, rule):
            problem = f"is a stub, but no record says {rule.type} of it."
            yield Violation("I2", stream, Thing(ENTITY, type, key), problem)


def check_rows(look: Look, stream: str) -> Iterator[Violation]:
    """I3: rows that the records do not say, and those that are missing."""
    for rules in mapping.projected(look.connection, stream):
        if rules.state != ACTIVE or stream in look.bent:
            continue  # what is still being built is not complete
        with shadow.sampled(look, rules) as scope, shadow.drawn(look.connection, rules, scope):
            found = list(_differences(look, rules, scope))
        yield from found
        for rule in rules.rules:
            for type, key in look.rows(_TALKING_STUBS, rule=rule.id):
                problem = "is a stub, but has more than a key."
                yield Violation("I3", stream, Thing(ENTITY, type, key), problem)
            for end, type in rule.stubs:
                for key, record in look.rows(_UNSTUBBED.replace("{end}", end), rule=rule.id,
                                             type=type):  # fmt: skip
                    problem = f"has no stub, but record {record!r} says {rule.type} of it."
                    yield Violation("I3", stream, Thing(ENTITY, type, key), problem)


def _differences(look: Look, rules: Rules, scope: Scope) -> Iterator[Violation]:
    fills = {"stored": shadow.stored(look.connection), "said": shadow.temporary(look.connection)}
    for rule in rules.rules:
        described = rule.kind == ENTITY
        query = _ENTITY_ROWS if described else _RELATION_ROWS
        scoped = scope.entities if described else scope.relations
        for old, new in fills.items():
            query = query.replace(f"{{{old}}}", new)
        query = query.replace("{scope}", scoped) + f"LIMIT {MOST}"
        for key, problem, record, was in look.rows(query, rule=rule.id):
            if {(rules.stream, record), (rules.stream, was)} & look.spoiled:
                continue  # the record is what is wrong
            thing = Thing(rule.kind, rule.type, key)
            text = _PROBLEMS.get(problem, problem).format(record=record)
            yield Violation("I3", rules.stream, thing, text)


def check_votes(look: Look, stream: str) -> Iterator[Violation]:
    """I4: marks of losers that are not what the vote over the stored rows says."""
    connection = look.connection
    rules = mapping.active(connection)
    mine = [rule for rule in rules if rule.stream == stream]
    if look.bent or not mine:
        return
    types = {rule.type for rule in mine if rule.kind == ENTITY}
    told = Counter(rule.type for rule in rules if rule.kind == ENTITY)
    shared = [r for r in rules if r.kind == ENTITY and r.type in types and told[r.type] > 1]
    alone = {rule.type for rule in mine if rule.single}
    single = [r for r in rules if r.kind == RELATION and r.single and r.type in alone]
    where, shadows = shadow.stored(connection), shadow.temporary(connection)
    with shadow.shadows(connection):
        for template, chosen in ((_COPY_ENTITIES, shared), (_COPY_RELATIONS, single)):
            ids = ", ".join(str(rule.id) for rule in chosen) or "NULL"
            query = template.replace("{stored}", where).replace("{rules}", ids)
            connection.exec_driver_sql(query)
        script = Script(connection, {}, {})
        for table in ("entity", "relation"):
            script.measure(table)
        Conflicts(script).settle_all([*shared, *single])
        found = [
            (rule, key)
            for rule in mine
            for (key,) in look.rows(_votes(where, shadows, rule), rule=rule.id)
        ]
    for rule, key in found:
        problem = "is not marked as the vote over what is said decides."
        yield Violation("I4", stream, Thing(rule.kind, rule.type, key), problem)


def _votes(where: str, shadows: str, rule: Rule) -> str:
    query = _ENTITY_VOTES if rule.kind == ENTITY else _RELATION_VOTES
    return query.replace("{stored}", where).replace("{said}", shadows) + f"LIMIT {MOST}"


def _in_force(look: Look, stream: str) -> Iterator[Rule]:
    for rules in mapping.projected(look.connection, stream):
        yield from rules.rules


def _unmentioned(look: Look, rule: Rule) -> Iterator[tuple[str, str]]:
    for type in dict.fromkeys(type for _, type in rule.stubs):
        ends = [end for end, of in rule.stubs if of == type]
        said = " OR ".join(f"f.{end} = e.key" for end in ends)
        query = _UNMENTIONED.replace("{said}", said)
        for (key,) in look.rows(query, rule=rule.id, type=type):
            yield type, key


_FORCE = "m.state IN ('active', 'building')"

_ENDLESS = f"""
SELECT type, key, min(relation), min(record), count(*) FROM (
  SELECT CASE x.place WHEN 'from' THEN r.from_type ELSE r.to_type END AS type,
    CASE x.place WHEN 'from' THEN f.from_key ELSE f.to_key END AS key,
    r.type AS relation, f.record AS record
  FROM relation AS f
  JOIN tidegate_rule AS r ON r.id = f.rule
  JOIN tidegate_mapping AS m ON m.id = r.mapping AND {_FORCE}
  CROSS JOIN (SELECT 'from' AS place UNION ALL SELECT 'to') AS x
  WHERE r.stream = :stream
) AS stated WHERE NOT EXISTS (
  SELECT 1 FROM entity AS e
  JOIN tidegate_rule AS r ON r.id = e.rule
  JOIN tidegate_mapping AS m ON m.id = r.mapping AND {_FORCE}
  WHERE e.type = stated.type AND e.key = stated.key)
GROUP BY type, key
"""

_LIVE = "c._deleted = false AND c._duplicate = false"

_ENTITIES_OF_NOTHING = f"""
SELECT e.type, e.key, e.record FROM entity AS e
JOIN tidegate_rule AS r ON r.id = e.rule
JOIN tidegate_mapping AS m ON m.id = r.mapping AND {_FORCE}
WHERE r.stream = :stream AND NOT e.stub AND NOT EXISTS (
  SELECT 1 FROM {{current}} AS c WHERE c._key = e.record AND {_LIVE})
"""

_RELATIONS_OF_NOTHING = f"""
SELECT DISTINCT r.type, f.record FROM relation AS f
JOIN tidegate_rule AS r ON r.id = f.rule
JOIN tidegate_mapping AS m ON m.id = r.mapping AND {_FORCE}
WHERE r.stream = :stream AND NOT EXISTS (
  SELECT 1 FROM {{current}} AS c WHERE c._key = f.record AND {_LIVE})
"""

_UNMENTIONED = """
SELECT e.key FROM entity AS e
WHERE e.type = :type AND e.rule = :rule AND e.stub AND NOT EXISTS (
  SELECT 1 FROM relation AS f WHERE f.rule = :rule AND ({said}))
"""

_TALKING_STUBS = """
SELECT type, key FROM entity WHERE rule = :rule AND stub AND (record IS NOT NULL
  OR name IS NOT NULL OR valid IS NOT NULL OR outvoted IS NOT NULL
  OR CAST(attributes AS TEXT) <> '{{}}')
"""

_UNSTUBBED = """
SELECT f.{end}, min(f.record) FROM relation AS f
WHERE f.rule = :rule AND NOT EXISTS (
  SELECT 1 FROM entity AS e WHERE e.type = :type AND e.key = f.{end} AND e.rule = :rule)
GROUP BY f.{end}
"""

_PROBLEMS = {
    "missing": "is missing: record {record!r} says it.",
    "extra": "is there, but no record says it.",
}

_ENTITY_ROWS = """
SELECT x.key, CASE
  WHEN d.key IS NULL THEN 'extra'
  WHEN x.record IS DISTINCT FROM d.record THEN 'is not described by the record that speaks for it.'
  WHEN x.name IS DISTINCT FROM d.name THEN 'has another name than its records say.'
  WHEN x.valid IS DISTINCT FROM d.valid THEN 'has another valid time than its record.'
  ELSE 'has other attributes than its records say.' END, d.record, x.record
FROM {stored}.entity AS x LEFT JOIN {said}.entity AS d
  ON d.type = x.type AND d.key = x.key AND d.rule = x.rule
WHERE x.rule = :rule AND x.stub = false AND {scope} AND (d.key IS NULL
  OR x.record IS DISTINCT FROM d.record OR x.name IS DISTINCT FROM d.name
  OR x.valid IS DISTINCT FROM d.valid OR x.attributes IS DISTINCT FROM d.attributes)
UNION ALL SELECT x.key, 'missing', x.record, NULL FROM {said}.entity AS x
WHERE x.rule = :rule AND x.stub = false AND {scope} AND NOT EXISTS (
  SELECT 1 FROM {stored}.entity AS t
  WHERE t.type = x.type AND t.key = x.key AND t.rule = x.rule AND t.stub = false)
"""

_RELATION_ROWS = """
SELECT record, min(problem), record, record FROM (
  SELECT x.record, CASE
    WHEN d.record IS NULL THEN 'extra'
    WHEN x.valid IS DISTINCT FROM d.valid THEN 'has another valid time than the record.'
    WHEN x.qualifiers IS DISTINCT FROM d.qualifiers
      THEN 'has other qualifiers than the record says.'
    ELSE 'connects others than the record says.' END AS problem
  FROM {stored}.relation AS x LEFT JOIN {said}.relation AS d
    ON d.rule = x.rule AND d.record = x.record AND d.n = x.n
  WHERE x.rule = :rule AND {scope} AND (d.record IS NULL
    OR x.from_key <> d.from_key OR x.to_key <> d.to_key
    OR x.valid IS DISTINCT FROM d.valid OR x.qualifiers IS DISTINCT FROM d.qualifiers)
  UNION ALL SELECT x.record, 'missing' FROM {said}.relation AS x
  WHERE x.rule = :rule AND {scope} AND NOT EXISTS (
    SELECT 1 FROM {stored}.relation AS t
    WHERE t.rule = x.rule AND t.record = x.record AND t.n = x.n)
) AS differing GROUP BY record
"""

_COPY_ENTITIES = """
INSERT INTO entity (type, key, rule, stub, name, attributes, outvoted, record, valid, seq)
SELECT type, key, rule, stub, name, attributes, NULL, record, valid, seq
FROM {stored}.entity WHERE rule IN ({rules})
"""

_COPY_RELATIONS = """
INSERT INTO relation (rule, record, n, from_key, to_key, qualifiers, outvoted, valid, seq)
SELECT rule, record, n, from_key, to_key, qualifiers, false, valid, seq
FROM {stored}.relation WHERE rule IN ({rules})
"""

_ENTITY_VOTES = """
SELECT t.key FROM {stored}.entity AS t LEFT JOIN {said}.entity AS d
  ON d.type = t.type AND d.key = t.key AND d.rule = t.rule
WHERE t.rule = :rule AND t.outvoted IS DISTINCT FROM d.outvoted
"""

_RELATION_VOTES = """
SELECT DISTINCT t.record FROM {stored}.relation AS t LEFT JOIN {said}.relation AS d
  ON d.rule = t.rule AND d.record = t.record AND d.n = t.n
WHERE t.rule = :rule AND t.outvoted <> coalesce(d.outvoted, false)
"""
