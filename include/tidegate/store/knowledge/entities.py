"""Entities, and the attributes their speakers give them."""

from __future__ import annotations

from tidegate.pipeline import template
from tidegate.store.knowledge import jsontext
from tidegate.store.knowledge.mapping import Rule
from tidegate.store.knowledge.projecting import LIVE, Work
from tidegate.store.record.records import ref_name

SAMPLE = 100
"""Touched entities of which none may be known, or it is not tried whether all of them are new."""


def project(work: Work, rule: Rule) -> str:
    """Project an entity rule; returns a query of the keys that it may have changed."""
    pieces = {
        **work.pieces,
        "ref": work.script.quote(ref_name(rule.key)),
        "order": _order(work),
        "not_lower": _not_lower(work),
        "name": _name(work, rule),
        "attributes": _attributes(work, rule),
    }
    pieces["touched"] = work.filled(_TOUCHED, pieces)
    pieces["needed"] = work.script.columns(
        ["_key", "_valid", ref_name(rule.key), *work.columns(rule)], "c."
    )
    if work.added and _described(work, pieces):
        return pieces["touched"]
    others = _others(work, pieces)
    pieces["spoken"] = work.filled(_SPOKEN + (_BESIDE if others else ""), pieces)
    work.script.run(_VANISH, pieces)
    work.script.run(_DESCRIBE + _AGAIN, pieces)
    return pieces["touched"]


def _described(work: Work, pieces: dict[str, str]) -> bool:
    """Whether all touched entities are new; then they are described now."""
    pieces["spoken"] = work.filled(_SPOKEN, pieces)
    if work.fresh:
        work.script.run(_DESCRIBE, pieces)
        return True
    if work.script.number(_KNOWN, pieces, sample=SAMPLE):
        return False
    return work.script.run(_DESCRIBE + _UNLESS, pieces) == work.script.number(_COUNT, pieces)


def _others(work: Work, pieces: dict[str, str]) -> bool:
    """Whether there are other records than the touched ones that may speak; lists them.

    Those are the ones that spoke before; where that one was touched and does not speak as well as
    it did, all the others.
    """
    pieces["still"] = work.filled(_STILL, pieces)
    work.empty("others", "_key")
    found = work.script.run(_SPOKE, pieces)
    if work.script.number(_FALLEN, pieces):
        found += work.script.run(_ANYBODY, pieces)
    return found > 0


def _order(work: Work) -> str:
    """The speaker first. SQLite keeps exact numbers as text, where 9 comes after 10."""
    kind = work.json.kinds.get(work.mapping.cursor)
    if kind is None:
        return ""
    cell = work.json.cell(work.mapping.cursor, "c")
    number = ""
    if work.json.lite and kind in jsontext.EXACT:
        number = f"CAST({cell} AS NUMERIC) DESC NULLS LAST, length({cell}) DESC, "
    return f"{number}{cell} DESC NULLS LAST, "


def _not_lower(work: Work) -> str:
    """Whether ``a``, a record as it is, speaks as well as ``b``, the same record as it was."""
    kind = work.json.kinds.get(work.mapping.cursor)
    if kind is None:
        return "true"
    now, then = (work.json.cell(work.mapping.cursor, alias) for alias in "ab")
    number = "CAST({0} AS NUMERIC)" if work.json.lite and kind in jsontext.EXACT else "{0}"
    return f"({now} = {then} OR {number.format(now)} > {number.format(then)})"


def _name(work: Work, rule: Rule) -> str:
    if rule.name is None:
        return "NULL"
    return " || ".join(
        work.json.text(text, "c") if is_column else jsontext.literal(text)
        for text, is_column in template.pieces(rule.name)
    )


def _attributes(work: Work, rule: Rule) -> str:
    return work.json.object(
        (
            name,
            _told(work, rule, column) if name in rule.many else work.json.value(column, "c"),
        )
        for name, column in rule.attributes.items()
    )


def _told(work: Work, rule: Rule, column: str) -> str:
    """All values of *column* in the records of the entity that ``c`` is of."""
    current = work.script.quote(work.script.names["current"])
    ref, cell = work.script.quote(ref_name(rule.key)), work.json.cell(column, "g")
    live = LIVE.replace("c.", "g.")
    said = f"FROM {current} AS g WHERE g.{ref} = c.{ref} AND {live} AND {cell} IS NOT NULL"
    return work.json.values(column, said)


_TOUCHED = """
SELECT c.{ref} FROM {after} AS c WHERE c.{ref} IS NOT NULL
UNION SELECT c.{ref} FROM {before} AS c WHERE c.{ref} IS NOT NULL"""

_SPOKEN = "SELECT {needed} FROM {after} AS c WHERE c.{ref} IS NOT NULL"

_BESIDE = """
UNION ALL SELECT {needed} FROM {others} AS o JOIN {current} AS c ON c._key = o._key
  WHERE {live} AND c.{ref} IS NOT NULL"""

# Asked row by row, which is by key, in the order of the keys: no plan of a join can be bad.
_SPOKE = """
INSERT INTO {others}
WITH s AS MATERIALIZED (
  SELECT (SELECT e.record FROM entity AS e
    WHERE e.type = :type AND e.key = t.{ref} AND e.rule = :rule) AS record
  FROM (SELECT u.{ref} FROM ({touched}) AS u ORDER BY u.{ref}) AS t)
SELECT s.record FROM s
WHERE s.record IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {after} AS a WHERE a._key = s.record)
"""

_STILL = """
EXISTS (SELECT 1 FROM {after} AS a WHERE a._key = b._key AND a.{ref} = b.{ref} AND {not_lower})"""

_FALLEN = """
SELECT count(*) FROM (
  SELECT 1 FROM {before} AS b WHERE b.{ref} IS NOT NULL AND NOT {still} LIMIT 1) AS one
"""

_ANYBODY = """
INSERT INTO {others} SELECT c._key FROM {before} AS b
  JOIN entity AS e ON e.type = :type AND e.key = b.{ref} AND e.rule = :rule AND e.record = b._key
  JOIN {current} AS c ON c.{ref} = b.{ref}
  WHERE {live} AND NOT {still} AND NOT EXISTS (SELECT 1 FROM {after} AS a WHERE a._key = c._key)
"""

_DESCRIBE = """
INSERT INTO entity (type, key, rule, stub, name, attributes, record, valid, seq)
SELECT :type, c.{ref}, :rule, false, {name}, {attributes}, c._key, c._valid, :seq
FROM (SELECT c.*, row_number() OVER (
        PARTITION BY c.{ref} ORDER BY {order}length(c._key) DESC, c._key DESC) AS _first
      FROM ({spoken}) AS c) AS c
WHERE c._first = 1"""

_AGAIN = """
ON CONFLICT (type, key, rule) DO UPDATE SET name = excluded.name, seq = excluded.seq,
  attributes = excluded.attributes, record = excluded.record, valid = excluded.valid
WHERE entity.record <> excluded.record OR entity.attributes <> excluded.attributes
  OR entity.name IS DISTINCT FROM excluded.name OR entity.valid IS DISTINCT FROM excluded.valid
"""

_UNLESS = """
ON CONFLICT (type, key, rule) DO NOTHING
"""

_KNOWN = """
SELECT count((SELECT e.seq FROM entity AS e
  WHERE e.type = :type AND e.key = c.{ref} AND e.rule = :rule))
FROM (SELECT c.{ref} FROM {after} AS c LIMIT :sample) AS c
"""

_COUNT = "SELECT count(*) FROM ({touched}) AS t"

_VANISH = """
DELETE FROM entity WHERE type = :type AND rule = :rule
  AND key IN (SELECT c.{ref} FROM {before} AS c EXCEPT SELECT c.{ref} FROM {after} AS c)
  AND NOT EXISTS (SELECT 1 FROM {current} AS c WHERE c.{ref} = entity.key AND {live})
"""
