"""The vocabulary as the store knows it, and the indexes of the attributes that are searched.

Each load that was told a vocabulary writes it down when it has changed; one that was not told any
(the file is broken) goes on with the words that are here.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.store.knowledge.jsontext import literal
from tidegate.store.tables import vocabulary_table

_INDEX = "entity_value_"


def words(connection: Connection, told: Vocabulary | None) -> Vocabulary:
    """The vocabulary that was *told*, else the one written down here."""
    return known(connection) if told is None else told


def learn(connection: Connection, told: Vocabulary | None) -> Vocabulary:
    """The same, after writing it down. Holds the head lock."""
    before = known(connection)
    if told is None or told == before:
        return before
    connection.execute(sa.delete(vocabulary_table))
    if rows := _rows(told):
        connection.execute(sa.insert(vocabulary_table), rows)
    _index(connection, _searchable(before), _searchable(told))
    return told


def known(connection: Connection) -> Vocabulary:
    """What is written down."""
    types: dict[str, Any] = {}
    relations: dict[str, Any] = {}
    query = sa.select(vocabulary_table).order_by(vocabulary_table.c.kind.desc())
    for row in connection.execute(query):
        says = json.loads(row.definition)
        if row.kind == "relation":
            relations[row.type] = says
        elif row.kind == "type":
            types[row.type] = {**says, "attributes": {}}
        else:
            types[row.type]["attributes"][row.name] = says
    return Vocabulary.model_validate({"types": types, "relations": relations})


def value(dialect: str, name: str, alias: str) -> str:
    """Attribute *name* as text: the expression that the indexes of searchable attributes hold.

    An index is used where ``type`` is compared with :func:`literal`, not with a bound value.
    """
    return _value(dialect, name, f"{alias}.attributes")


def _value(dialect: str, name: str, attributes: str) -> str:
    if dialect == "sqlite":
        path = literal("$." + json.dumps(name, ensure_ascii=False))
        return f"CAST(json_extract({attributes}, {path}) AS TEXT)"
    return f"({attributes} ->> {literal(name)})"


def _rows(told: Vocabulary) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(kind: str, type_: str, name: str, says: dict[str, Any]) -> None:
        text = json.dumps(says, ensure_ascii=False, sort_keys=True)
        rows.append({"kind": kind, "type": type_, "name": name, "definition": text})

    for type_, about in told.types.items():
        add("type", type_, "", {"description": about.description})
        for name, attribute in about.attributes.items():
            add("attribute", type_, name, attribute.model_dump(mode="json"))
    for type_, relation in told.relations.items():
        add("relation", type_, "", relation.model_dump(mode="json", by_alias=True))
    return rows


def _searchable(told: Vocabulary) -> set[tuple[str, str]]:
    return {
        (type_, name)
        for type_, about in told.types.items()
        for name, attribute in about.attributes.items()
        if attribute.searchable
    }


def _index(
    connection: Connection, before: set[tuple[str, str]], after: set[tuple[str, str]]
) -> None:
    """Make the indexes of *after*. A long value fits into any of them: PostgreSQL's are hashed."""
    dialect = connection.dialect.name
    method = "" if dialect == "sqlite" else "USING hash "
    for type_, name in sorted(before - after):
        connection.execute(sa.text(f"DROP INDEX IF EXISTS {_index_name(type_, name)}"))
    for type_, name in sorted(after):
        made = _value(dialect, name, "attributes")
        connection.execute(
            sa.text(
                f"CREATE INDEX IF NOT EXISTS {_index_name(type_, name)} ON entity {method}({made}) "
                f"WHERE type = {literal(type_)}"
            )
        )


def _index_name(type_: str, name: str) -> str:
    return _INDEX + blake2b(f"{type_}\0{name}".encode(), digest_size=8).hexdigest()
