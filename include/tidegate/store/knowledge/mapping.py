"""Which mapping is in force: what the store projects, whatever the pipeline file says meanwhile.

The first load of a stream makes its mapping *active*. When the file says another one later, loads
go on projecting what the store has, until a re-derivation has *built* the new one from the records
(:mod:`tidegate.store.knowledge.derive`) and switches over. Only active rules are read.

A mapping's definition holds everything its projections depend on, so equal definitions mean equal
knowledge::

    {"cursor": …, "dating": {"valid": column, "zone": …}, "trust": 50, "rules": [
      {"kind": "entity", "type": …, "key": […], "name": …, "attributes": {name: column},
       "many": [name]},
      {"kind": "relation", "type": …, "from": {"type", "key", "stub"}, "to": {…}, "each": column,
       "qualifiers": {name: column or member}, "single": false}]}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.pipeline.meaning import Entity, Load, Relation
from tidegate.pipeline.models import Stream
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.store import catalogue
from tidegate.store.knowledge import vocabulary
from tidegate.store.record import dating
from tidegate.store.record.records import current_name
from tidegate.store.tables import mapping_table, rule_table

ACTIVE, BUILDING, OLD = "active", "building", "old"
Key = tuple[str, ...]
"""The columns whose values identify an entity."""


@dataclass(frozen=True)
class Rule:
    """One entity or relation entry of a mapping; *says* is its part of the definition."""

    id: int
    mapping: int
    stream: str
    kind: str
    place: int
    type: str
    from_type: str | None
    to_type: str | None
    trust: int
    active: bool
    says: dict[str, Any]

    @property
    def key(self) -> Key:
        """Columns of the entity's key."""
        return tuple(self.says["key"])

    @property
    def name(self) -> str | None:
        """The template of the entity's name."""
        found: str | None = self.says["name"]
        return found

    @property
    def attributes(self) -> dict[str, str]:
        """Attribute name → column."""
        return dict(self.says["attributes"])

    @property
    def many(self) -> frozenset[str]:
        """Attributes that hold the list of all records' values."""
        return frozenset(self.says.get("many", ()))

    @property
    def each(self) -> str | None:
        """The column whose array's elements the relation connects to."""
        found: str | None = self.says.get("each")
        return found

    @property
    def single(self) -> bool:
        """Whether an entity has one target of this relation only."""
        return bool(self.says.get("single"))

    @property
    def keys(self) -> list[Key]:
        """The keys that the rule takes from the record's columns."""
        if self.kind == "entity":
            return [self.key]
        ends = [self.says["from"]] if self.each else [self.says["from"], self.says["to"]]
        return [tuple(end["key"]) for end in ends]

    @property
    def stubs(self) -> list[tuple[str, str]]:
        """``(end, type)`` of the ends that another stream describes: "from_key" or "to_key"."""
        if self.kind == "entity":
            return []
        return [
            (f"{name}_key", self.says[name]["type"])
            for name in ("from", "to")
            if self.says[name]["stub"]
        ]


@dataclass(frozen=True)
class Mapping:
    """A mapping that the store knows, and its rules in order."""

    id: int
    stream: str
    state: str
    definition: dict[str, Any]
    rules: tuple[Rule, ...]
    reached: str | None = None

    @property
    def keys(self) -> list[Key]:
        """The keys that the rules take from columns, each once: what ``_ref_…`` columns hold."""
        return list(dict.fromkeys(key for rule in self.rules for key in rule.keys))

    @property
    def cursor(self) -> str:
        """The column whose largest value speaks for an entity of several records."""
        return str(self.definition["cursor"])


def projected(connection: Connection, stream: str) -> list[Mapping]:
    """The mappings that a load of *stream* projects: the active one, then one being built."""
    table = mapping_table
    found = connection.execute(
        sa.select(table)
        .where(table.c.stream == stream, table.c.state.in_([ACTIVE, BUILDING]))
        .order_by(table.c.state, table.c.id)
    ).all()
    return [_mapping(connection, row) for row in found]


def adopt(connection: Connection, name: str, stream: Stream) -> list[Mapping]:
    """The same, after making the file's mapping the stream's first. Holds the head lock.

    Where records are already there, knowledge has to be derived from them first: it is *building*.
    """
    words = vocabulary.learn(connection, stream.vocabulary)
    found = projected(connection, name)
    if not found:
        state = BUILDING if _has_records(connection, name) else ACTIVE
        add(connection, name, definition(stream, words), state)
        found = projected(connection, name)
    return found


def verdict(connection: Connection, found: list[Mapping], stream: Stream) -> str:
    """What the store's mappings are to the file's.

    ``current``: the same, or none yet · ``building``: it is being derived · ``outdated``: it is to
    be derived.
    """
    wanted = definition(stream, vocabulary.words(connection, stream.vocabulary))
    same = [one for one in found if one.definition == wanted]
    if not found or any(one.state == ACTIVE for one in same):
        return "current"
    return "building" if any(one.reached is not None for one in same) else "outdated"


def _has_records(connection: Connection, name: str) -> bool:
    table = sa.table(current_name(name))
    if not catalogue.has(connection, table.name):
        return False
    query = sa.select(sa.literal(1)).select_from(table).limit(1)
    return connection.execute(query).first() is not None


def add(connection: Connection, name: str, wanted: dict[str, Any], state: str) -> int:
    """Write a mapping and its rules; returns its id. Holds the head lock."""
    number = _next(connection, mapping_table)
    text = json.dumps(wanted, ensure_ascii=False, sort_keys=True)
    connection.execute(
        sa.insert(mapping_table),
        {"id": number, "stream": name, "state": state, "definition": text, "reached": None},
    )
    first = _next(connection, rule_table)
    rules = [
        {"id": first + row["place"], **row}
        for row in rule_rows(number, name, wanted, active=state == ACTIVE)
    ]
    if rules:
        connection.execute(sa.insert(rule_table), rules)
    return number


def rule_rows(
    number: int, name: str, wanted: dict[str, Any], *, active: bool
) -> list[dict[str, Any]]:
    """The rows, but for their ids, that belong to the definition *wanted* of mapping *number*."""
    return [
        {
            "mapping": number,
            "stream": name,
            "kind": says["kind"],
            "place": place,
            "type": says["type"],
            "from_type": says["from"]["type"] if "from" in says else None,
            "to_type": says["to"]["type"] if "to" in says else None,
            "trust": wanted["trust"],
            "active": active,
        }
        for place, says in enumerate(wanted["rules"])
    ]


def definition(stream: Stream, words: Vocabulary) -> dict[str, Any]:
    """Everything the projections of *stream* depend on, as JSON."""
    rules = [_entity(entity, words) for entity in stream.load.entities]
    rules += [_relation(relation, stream.load, words) for relation in stream.load.relations]
    return {
        "cursor": stream.cursor_column,
        "dating": dating.definition(stream),
        "trust": stream.trust,
        "rules": rules,
    }


def _entity(entity: Entity, words: Vocabulary) -> dict[str, Any]:
    known = words.attributes(entity.type)
    return {
        "kind": "entity",
        "type": entity.type,
        "key": list(entity.key),
        "name": entity.name,
        "attributes": entity.named,
        "many": sorted(name for name in entity.named if name in known and known[name].many),
    }


def _relation(relation: Relation, load: Load, words: Vocabulary) -> dict[str, Any]:
    ends = {
        name: {
            "type": load.end(end).type,
            "key": list(load.end(end).key),
            "stub": not isinstance(end, str),
        }
        for name, end in (("from", relation.from_), ("to", relation.to))
    }
    declared = words.relations.get(relation.type)
    return {
        "kind": "relation",
        "type": relation.type,
        **ends,
        "each": relation.each,
        "qualifiers": relation.named,
        "single": declared is not None and declared.single,
    }


def active(connection: Connection) -> list[Rule]:
    """The rules that are read, of all streams."""
    query = sa.select(mapping_table).where(mapping_table.c.state == ACTIVE)
    found = [_mapping(connection, row) for row in connection.execute(query).all()]
    return [rule for one in found for rule in one.rules]


def _mapping(connection: Connection, row: Any) -> Mapping:
    says = json.loads(row.definition)
    rules = connection.execute(
        sa.select(rule_table).where(rule_table.c.mapping == row.id).order_by(rule_table.c.place)
    ).mappings()
    return Mapping(
        row.id, row.stream, row.state, says,
        tuple(Rule(**rule, says=says["rules"][rule["place"]]) for rule in rules), row.reached,
    )  # fmt: skip


def _next(connection: Connection, table: sa.Table) -> int:
    """One more than the largest id: nothing refers to a larger one, and there is one writer."""
    return (
        int(
            connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0))).scalar_one()
        )
        + 1
    )
