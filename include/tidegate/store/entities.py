"""Entities, and the attributes their speakers give them."""

from __future__ import annotations

from tidegate.pipeline import template
from tidegate.store import jsontext
from tidegate.store.mapping import Rule
from tidegate.store.projecting import LIVE, Work
from tidegate.store.records import ref_name
from tidegate.store.sqltext import MANY


def project(work: Work, rule: Rule) -> str:
    """Project an entity rule; returns a query of the keys that it may have changed."""
    ref, cursor = ref_name(rule.key), work.mapping.cursor
    columns = {*rule.attributes.values(), *template.columns(rule.name or ""), cursor}
    needed = ["_key", "_valid", ref, *sorted(columns & work.json.kinds.keys())]
    pieces = {
        **work.pieces,
        "ref": work.script.quote(ref),
        "needed": work.script.columns(list(dict.fromkeys(needed)), "c."),
        "order": _order(work),
        "name": _name(work, rule),
        "attributes": _attributes(work, rule),
    }
    pieces["touched"] = work.filled(_TOUCHED, pieces)
    known = work.script.number(_KNOWN) > 0
    pieces["spoken"] = work.filled(_SPOKEN_ANEW + (_SPOKEN_BEFORE if known else ""), pieces)
    if known:
        work.script.run(_VANISH, pieces)
    if work.script.run(_DESCRIBE, pieces) >= MANY and not known:
        work.script.measure("entity")
    return pieces["touched"]


def _order(work: Work) -> str:
    """The speaker first. SQLite keeps exact numbers as text, where 9 comes after 10."""
    kind = work.json.kinds.get(work.mapping.cursor)
    if kind is None:
        return ""
    cell = work.json.cell(work.mapping.cursor, "c")
    number = ""
    if work.json.lite and kind in {"decimal", "numeric"}:
        number = f"CAST({cell} AS NUMERIC) DESC NULLS LAST, length({cell}) DESC, "
    return f"{number}{cell} DESC NULLS LAST, "


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


_KNOWN = """
SELECT count(*) FROM (SELECT 1 FROM entity WHERE type = :type AND rule = :rule LIMIT 1) AS one
"""

_TOUCHED = """
SELECT c.{ref} FROM {current} AS c WHERE {new} AND c.{ref} IS NOT NULL
UNION ALL SELECT c.{ref} FROM {history} AS c WHERE {old} AND c.{ref} IS NOT NULL"""

_SPOKEN_ANEW = """
SELECT {needed} FROM {current} AS c WHERE {new} AND {live} AND c.{ref} IS NOT NULL"""

# Beside them the record that spoke before may speak; where that one was touched, any other.
_SPOKEN_BEFORE = """
UNION ALL SELECT {needed} FROM entity AS e
  JOIN {current} AS c ON c._key = e.record
  WHERE e.type = :type AND e.rule = :rule AND e.key IN ({touched}) AND NOT ({new})
UNION ALL SELECT {needed} FROM entity AS e
  JOIN {current} AS w ON w._key = e.record AND {speaker_new}
  JOIN {current} AS c ON c.{ref} = e.key
  WHERE e.type = :type AND e.rule = :rule AND e.key IN ({touched}) AND NOT ({new}) AND {live}"""

_DESCRIBE = """
INSERT INTO entity (type, key, rule, stub, name, attributes, record, valid, seq)
SELECT :type, c.{ref}, :rule, false, {name}, {attributes}, c._key, c._valid, :seq
FROM (SELECT c.*, row_number() OVER (
        PARTITION BY c.{ref} ORDER BY {order}length(c._key) DESC, c._key DESC) AS _first
      FROM ({spoken}) AS c) AS c
WHERE c._first = 1
ON CONFLICT (type, key, rule) DO UPDATE SET name = excluded.name, seq = excluded.seq,
  attributes = excluded.attributes, record = excluded.record, valid = excluded.valid
WHERE entity.record <> excluded.record OR entity.attributes <> excluded.attributes
  OR entity.name IS DISTINCT FROM excluded.name OR entity.valid IS DISTINCT FROM excluded.valid
"""

_VANISH = """
DELETE FROM entity WHERE type = :type AND rule = :rule
  AND key IN (SELECT c.{ref} FROM {history} AS c WHERE {old})
  AND NOT EXISTS (SELECT 1 FROM {current} AS c WHERE c.{ref} = entity.key AND {live})
"""
