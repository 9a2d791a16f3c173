"""Relations, and the stubs of entities that are mentioned and not described."""

from __future__ import annotations

from tidegate.store.knowledge import jsontext
from tidegate.store.knowledge.mapping import Rule
from tidegate.store.knowledge.projecting import Work
from tidegate.store.record.records import ref_name


def project(work: Work, rule: Rule) -> str:
    """Project a relation rule; returns a query of the keys that its relations begin at."""
    new, old = (_statements(work, rule, table) for table in ("after", "before"))
    pieces = {**work.pieces, "new": new, "old": old}
    if not work.added:
        # An array is said anew as a whole: its statements are numbered.
        kept = "" if rule.each else work.filled(_STILL_SAID, pieces)
        pieces["unsaid"] = work.filled(_UNSAID, {**pieces, "kept": kept})
        if work.script.number(_ANY_UNSAID, pieces):
            work.script.run(_UNSAY, pieces)
    work.script.run(_SAY + (_IN_ORDER if work.added else _UNLESS_SAID + _IN_ORDER + _AGAIN), pieces)
    for type_ in dict.fromkeys(type_ for _, type_ in rule.stubs):
        _stubs(work, rule, type_, pieces)
    return f"SELECT from_key FROM ({new}) AS n UNION SELECT from_key FROM ({old}) AS o"


def _stubs(work: Work, rule: Rule, type_: str, pieces: dict[str, str]) -> None:
    ends = [end for end, of in rule.stubs if of == type_]
    mention = "EXISTS (SELECT 1 FROM relation AS r WHERE r.rule = :rule AND r.{0} = entity.key)"
    unmentioned = " AND ".join(f"NOT {mention.format(end)}" for end in ends)
    for end in ends:
        filled = {**pieces, "end": end, "unmentioned": unmentioned}
        work.script.run(_MENTION, filled, type=type_)
        if not work.added:
            work.script.run(_FORGET, filled, type=type_)


def _statements(work: Work, rule: Rule, table: str) -> str:
    """A query of what the rows of *table* state by *rule*."""
    start, end = (tuple(rule.says[name]["key"]) for name in ("from", "to"))
    pieces = {
        "from": work.script.quote(ref_name(start)),
        "table": work.pieces[table],
        # Asked by the vote alone; without one, a record seen again leaves its statements alone.
        "valid": "c._valid" if rule.single else "CAST(NULL AS BIGINT)",
    }
    members = rule.says["qualifiers"].items()
    if rule.each:
        pieces["by_octets"] = "" if work.json.lite else ' COLLATE "C"'
        pieces["elements"] = work.json.elements(rule.each, "c")
        pieces["to"] = jsontext.joined([work.json.member_text(name) for name in end])
        values = [(name, work.json.member(member)) for name, member in members]
    else:
        pieces["to"] = "c." + work.script.quote(ref_name(end))
        values = [(name, work.json.value(column, "c")) for name, column in members]
    pieces["qualifiers"] = work.json.object(values) if values else work.json.nothing
    query = _STATED_BY_ELEMENTS if rule.each else _STATED_BY_ROWS
    return work.filled(query, pieces)


_STATED_BY_ROWS = """
SELECT c._key AS record, 0 AS n, c.{from} AS from_key, {to} AS to_key,
  {qualifiers} AS qualifiers, {valid} AS valid
FROM {table} AS c WHERE c.{from} IS NOT NULL AND {to} IS NOT NULL"""

_STATED_BY_ELEMENTS = """
SELECT s.record, row_number() OVER (
    PARTITION BY s.record
    ORDER BY s.to_key{by_octets}, CAST(s.qualifiers AS TEXT){by_octets}) - 1 AS n,
  s.from_key, s.to_key, s.qualifiers, s.valid
FROM (SELECT c._key AS record, c.{from} AS from_key, {to} AS to_key,
        {qualifiers} AS qualifiers, {valid} AS valid
      FROM {table} AS c CROSS JOIN {elements}
      WHERE c.{from} IS NOT NULL) AS s
WHERE s.to_key IS NOT NULL"""

_UNSAID = "SELECT _key FROM {before} UNION SELECT _key FROM {after} {kept}"

_STILL_SAID = "EXCEPT SELECT s.record FROM ({new}) AS s"

_ANY_UNSAID = "SELECT count(*) FROM (SELECT 1 FROM ({unsaid}) AS u LIMIT 1) AS one"

_UNSAY = "DELETE FROM relation WHERE rule = :rule AND record IN ({unsaid})"

_SAY = """
INSERT INTO relation (rule, record, n, from_key, to_key, qualifiers, outvoted, valid, seq)
SELECT :rule, s.record, s.n, s.from_key, s.to_key, s.qualifiers, false, s.valid, :seq
FROM ({new}) AS s WHERE true"""

# Two of three indexes grow at one end then, which is faster and leaves them smaller by a third.
_IN_ORDER = """
ORDER BY s.record, s.n"""

# Asked row by row, which is by key: no plan of a join is needed, so none can be bad.
_UNLESS_SAID = """
  AND (SELECT r.from_key = s.from_key AND r.to_key = s.to_key
        AND r.qualifiers IS NOT DISTINCT FROM s.qualifiers
        AND r.valid IS NOT DISTINCT FROM s.valid
      FROM relation AS r
      WHERE r.rule = :rule AND r.record = s.record AND r.n = s.n) IS NOT TRUE"""

_AGAIN = """
ON CONFLICT (rule, record, n) DO UPDATE SET from_key = excluded.from_key, to_key = excluded.to_key,
  qualifiers = excluded.qualifiers, valid = excluded.valid, seq = excluded.seq
"""

_MENTION = """
INSERT INTO entity (type, key, rule, stub, attributes, seq)
SELECT DISTINCT :type, s.{end}, :rule, true, {empty}, :seq FROM ({new}) AS s WHERE true
ON CONFLICT (type, key, rule) DO NOTHING
"""

_FORGET = """
DELETE FROM entity WHERE type = :type AND rule = :rule
  AND key IN (SELECT s.{end} FROM ({old}) AS s EXCEPT SELECT s.{end} FROM ({new}) AS s)
  AND {unmentioned}
"""
