"""Entities, attributes and relations: projected from the records that commit *seq* touched.

Everything here is a function of the live records (neither deleted nor duplicate), so it can be
rebuilt from them. An entity described by several records of a stream takes its attributes from the
one with the largest cursor, then key. Values an attribute had before are kept with the range of
commits in which they held; a first load writes none. A relation is the statement of one record.
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tidegate.pipeline.meaning import Entity, Load, Relation
from tidegate.store.sqltext import MANY, Script
from tidegate.store.tables import OPEN, Records, ref_name


def project(
    connection: Connection, records: Records, load: Load, cursor: str | None, seq: int
) -> None:
    """Bring the knowledge libraries up to commit *seq* for the records it touched."""
    names = {"current": records.current, "history": records.history}
    values = {"seq": seq, "stream": records.stream, "open": OPEN}
    script = Script(connection, names, values)
    for entity in load.entities:
        _entities(script, records, entity, cursor)
    for relation in load.relations:
        _relations(script, load, relation)


def _entities(script: Script, records: Records, entity: Entity, cursor: str | None) -> None:
    ref = script.quote(ref_name(entity.key))
    pieces = {
        "ref": ref,
        "order": _order(script, records, cursor) if cursor else "",
        "touched": script.quote("touched__" + entity.type),
        "speaker": script.quote("speaker__" + entity.type),
        "facts": script.quote("facts__" + entity.type),
        "json": _json(script, records, entity),
    }
    script.values["type"] = entity.type
    for name, query in _STEPS.items():
        script.run("DROP TABLE IF EXISTS {" + name + "}", pieces)
        script.run(query, pieces)
        script.lead(pieces[name], "key")
    for name in entity.named:
        old, new = _member(script, "e"), _member(script, "f")
        script.run(_OUTDATED, {**pieces, "old": old, "new": new}, name=name)
    script.run(_VANISH, pieces)
    if script.run(_DESCRIBE, pieces) >= MANY:
        script.measure("entity")
    for name in _STEPS:
        script.run("DROP TABLE {" + name + "}", pieces)


def _order(script: Script, records: Records, cursor: str) -> str:
    """The largest cursor first. SQLite keeps exact numbers as text, where 9 comes after 10."""
    cell = "c." + script.quote(cursor)
    exact = any(c.name == cursor and c.type.name in {"decimal", "numeric"} for c in records.data)
    number = ""
    if exact and script.connection.dialect.name == "sqlite":
        number = f"CAST({cell} AS NUMERIC) DESC NULLS LAST, length({cell}) DESC, "
    return f"{number}{cell} DESC NULLS LAST, "


def _relations(script: Script, load: Load, relation: Relation) -> None:
    start, end = load.end(relation.from_), load.end(relation.to)
    pieces = {
        "from": script.quote(ref_name(start.key)),
        "to": script.quote(ref_name(end.key)),
    }
    values = {"type": relation.type, "from_type": start.type, "to_type": end.type}
    script.run(_CLOSE, pieces, **values)
    if script.run(_CONNECT, pieces, **values) >= MANY:
        script.measure("relation")


def _json(script: Script, records: Records, entity: Entity) -> str:
    """An SQL expression: the entity's attributes as one JSON object."""
    kinds = {column.name: column.type.name for column in records.data}
    lite = script.connection.dialect.name == "sqlite"
    parts = []
    for name, column in entity.named.items():
        cell = "c." + script.quote(column)
        if kinds[column] == "bytes":
            cell = f"hex({cell})" if lite else f"encode({cell}, 'hex')"
        if kinds[column] == "float64" and lite:
            cell = _DIGITS.format(cell=cell)
        parts.append("'" + name.replace("'", "''").replace(":", "\\:") + "', " + cell)
    if not lite:
        objects = (", ".join(parts[n : n + _MOST]) for n in range(0, len(parts) or 1, _MOST))
        return " || ".join(f"jsonb_build_object({some})" for some in objects)
    if len(parts) <= _MOST:
        return f"json_object({', '.join(parts)})"
    rows = " UNION ALL SELECT ".join(["NULL AS name, NULL AS value WHERE false", *parts])
    return f"(SELECT json_group_object(name, value) FROM (SELECT {rows}))"


_DIGITS = """CASE WHEN typeof({cell}) = 'real' AND abs({cell}) < 9e999 THEN json(CASE
  WHEN CAST(printf('%!.15g', {cell}) AS REAL) = {cell} THEN printf('%!.15g', {cell})
  ELSE printf('%!.17g', {cell}) END) ELSE {cell} END"""
"""A double in JSON with all its digits; SQLite's own functions may stop after 15."""

_MOST = 50
"""Members of one JSON object that each database's function takes: two arguments each, of 100."""


def _member(script: Script, alias: str) -> str:
    if script.connection.dialect.name == "sqlite":
        return f"json_extract({alias}.attributes, '$.' || json_quote(CAST(:name AS TEXT)))"
    return f"({alias}.attributes ->> CAST(:name AS TEXT))"


_LIVE = "_deleted = false AND _duplicate = false"

_TOUCHED = """
CREATE TEMPORARY TABLE {touched} AS
SELECT {ref} AS key FROM {current} WHERE _seq = :seq AND {ref} IS NOT NULL
UNION SELECT {ref} FROM {history} WHERE _seq_to = :seq AND {ref} IS NOT NULL
"""

# Who may speak for a touched entity now: the records just touched; the one that spoke before; and,
# where that one was itself touched, every record of the entity.
_CANDIDATES = """
  SELECT _key FROM {current} WHERE _seq = :seq
  UNION SELECT e.record FROM {touched} AS t
    JOIN entity AS e ON e.stream = :stream AND e.type = :type AND e.key = t.key
  UNION SELECT g._key FROM {current} AS g WHERE g.{ref} IN (
    SELECT t.key FROM {touched} AS t
    JOIN entity AS e ON e.stream = :stream AND e.type = :type AND e.key = t.key
    JOIN {current} AS w ON w._key = e.record WHERE w._seq = :seq)"""

_SPEAKER = f"""
CREATE TEMPORARY TABLE {{speaker}} AS
SELECT ranked.key AS key, ranked.record AS record FROM (
  SELECT c.{{ref}} AS key, c._key AS record, row_number() OVER (
    PARTITION BY c.{{ref}} ORDER BY {{order}}length(c._key) DESC, c._key DESC) AS place
  FROM {{current}} AS c
  WHERE c.{{ref}} IS NOT NULL AND c._deleted = false AND c._duplicate = false
    AND c._key IN ({_CANDIDATES})
) AS ranked WHERE ranked.place = 1
"""

_FACTS = """
CREATE TEMPORARY TABLE {facts} AS
SELECT t.key AS key, {json} AS attributes, s.record AS record
FROM {touched} AS t
LEFT JOIN {speaker} AS s ON s.key = t.key
LEFT JOIN {current} AS c ON c._key = s.record
"""

_STEPS = {"touched": _TOUCHED, "speaker": _SPEAKER, "facts": _FACTS}

_OUTDATED = """
INSERT INTO attribute (stream, type, key, name, seq_from, seq_to, value)
SELECT e.stream, e.type, e.key, :name,
  coalesce((SELECT max(a.seq_to) FROM attribute AS a WHERE a.stream = e.stream AND a.type = e.type
            AND a.key = e.key AND a.name = :name AND a.seq_to > e.seq_from), e.seq_from),
  :seq, {old}
FROM entity AS e JOIN {facts} AS f ON f.key = e.key
WHERE e.stream = :stream AND e.type = :type AND e.deleted = false
  AND (f.record IS NULL OR {old} IS DISTINCT FROM {new})
"""

_DESCRIBE = """
INSERT INTO entity (stream, type, key, attributes, record, deleted, seq_from, seq)
SELECT :stream, :type, key, attributes, record, false, :seq, :seq FROM {facts}
WHERE record IS NOT NULL
ON CONFLICT (stream, type, key) DO UPDATE SET
  attributes = excluded.attributes, record = excluded.record, deleted = false, seq = excluded.seq,
  seq_from = CASE WHEN entity.deleted THEN excluded.seq_from ELSE entity.seq_from END
WHERE entity.attributes <> excluded.attributes OR entity.record <> excluded.record OR entity.deleted
"""

_VANISH = """
UPDATE entity SET deleted = true, seq = :seq
WHERE stream = :stream AND type = :type AND deleted = false
  AND key IN (SELECT key FROM {facts} WHERE record IS NULL)
"""

_SAID = """SELECT 1 FROM {current} AS c
  WHERE c._key = relation.record AND c._deleted = false AND c._duplicate = false
    AND c.{from} = relation.from_key AND c.{to} = relation.to_key"""

_MINE = """stream = :stream AND type = :type AND from_type = :from_type AND to_type = :to_type"""

_CLOSE = f"""
UPDATE relation SET seq_to = :seq
WHERE {_MINE} AND seq_to = :open AND record IN (SELECT _key FROM {{current}} WHERE _seq = :seq)
  AND NOT EXISTS ({_SAID})
"""

_CONNECT = f"""
INSERT INTO relation (stream, type, from_type, to_type, record, seq_from, seq_to, from_key, to_key)
SELECT :stream, :type, :from_type, :to_type, _key, :seq, :open, {{from}}, {{to}}
FROM {{current}}
WHERE _seq = :seq AND {_LIVE} AND {{from}} IS NOT NULL AND {{to}} IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM relation AS r WHERE r.stream = :stream AND r.type = :type
    AND r.from_type = :from_type AND r.to_type = :to_type AND r.seq_to = :open
    AND r.record = {{current}}._key)
"""
