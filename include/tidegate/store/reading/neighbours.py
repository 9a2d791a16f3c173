"""What surrounds an entity: a breadth-first walk, one query for each rule and level.

A walk costs as many queries as it has levels, rules and directions, however many entities it
reaches; no more than the limit are kept of each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError
from tidegate.store.reading import facts, versions
from tidegate.store.reading.answers import Edge, Neighbours
from tidegate.store.reading.asof import Point
from tidegate.store.reading.facts import Speaking
from tidegate.store.reading.versions import Row
from tidegate.types import Column, ColumnType

Node = tuple[str, str]
Identity = tuple[str, str, str, str, str, str]
_SIDES = {"out": ("from_key",), "in": ("to_key",), "both": ("from_key", "to_key")}


@dataclass(frozen=True, slots=True)
class Walk:
    """How to go: by which relation (None: all), ``out``, ``in`` or ``both``, how far, how much."""

    relation: str | None = None
    direction: str = "both"
    depth: int = 1
    limit: int = 100

    def __post_init__(self) -> None:
        if self.direction not in _SIDES:
            raise ConfigError(f"direction: {self.direction!r} is not one of in, out, both.")
        if self.depth < 1 or self.limit < 1:
            raise ConfigError("depth and limit are 1 or more.")


@dataclass
class _Found:
    """Edges and entities, in the order they were found."""

    edges: dict[Identity, Edge] = field(default_factory=dict)
    nodes: dict[Node, None] = field(default_factory=dict)


def neighbours(connection: Connection, type: str, key: str, walk: Walk, point: Point) -> Neighbours:
    """The relations within ``walk.depth`` steps. Raises ConfigError for words unknown."""
    rules = facts.in_force(connection)
    facts.of_type(rules, type)
    relations = facts.of_relation(rules, walk.relation)
    found = _Found(nodes={(type, key): None})
    frontier, complete = [(type, key)], True
    for depth in range(1, walk.depth + 1):
        level = _Level(connection, relations, point, walk.limit + 1)
        told = level.edges(frontier, _SIDES[walk.direction])
        fresh = [edge for name, edge in sorted(told.items()) if name not in found.edges]
        complete = len(found.edges) + len(fresh) <= walk.limit
        frontier = _add(found, fresh[: walk.limit - len(found.edges)], depth)
        if not complete or not frontier:
            break
    reached = tuple(node for node in found.nodes if node != (type, key))
    return Neighbours(type, key, point.seq, tuple(found.edges.values()), reached, complete)


def _add(found: _Found, edges: Sequence[Edge], depth: int) -> list[Node]:
    """Keep *edges*; returns the entities that are new."""
    new: list[Node] = []
    for edge in edges:
        found.edges[_identity(edge)] = replace(edge, depth=depth)
        for node in ((edge.from_type, edge.from_key), (edge.to_type, edge.to_key)):
            if node not in found.nodes:
                found.nodes[node] = None
                new.append(node)
    return new


def _identity(edge: Edge) -> Identity:
    told = json.dumps(edge.to_json()["qualifiers"], sort_keys=True)
    return (edge.type, edge.from_type, edge.from_key, edge.to_type, edge.to_key, told)


@dataclass(frozen=True)
class _Level:
    """One step of a walk: all relations that begin or end at a set of entities."""

    connection: Connection
    rules: Sequence[Speaking]
    point: Point
    limit: int

    def edges(self, frontier: Sequence[Node], sides: Sequence[str]) -> dict[Identity, Edge]:
        """By what makes them different; what several records or rules say alike is one."""
        found: dict[Identity, Edge] = {}
        for one in self.rules:
            ends = {"from_key": one.rule.from_type, "to_key": one.rule.to_type}
            seen: dict[Identity, Edge] = {}
            for side in sides:
                keys = [key for type, key in frontier if type == ends[side]]
                for edge in self._said(one, side, keys) if keys else ():
                    seen[_identity(edge)] = edge
            for name, edge in seen.items():
                other = found.get(name)
                found[name] = edge if other is None else _both(other, edge)
        return found

    def _said(self, one: Speaking, side: str, keys: list[str]) -> Iterable[Edge]:
        query = facts.statements(self.connection, one, self.point, side)
        if one.rule.single and not self.point.now:
            return self._elected(one, self._told(query, keys))
        grouped = _GROUPED.format(query=query, order=self._order)
        values = {**self.point.values, "keys": json.dumps(keys), "limit": self.limit}
        return [
            _edge(one, row) for row in versions.rows(self.connection, grouped, _COLUMNS, values)
        ]

    @property
    def _order(self) -> str:
        return 'COLLATE "C"' if self.connection.dialect.name == "postgresql" else ""

    def _told(self, query: str, keys: Iterable[str]) -> list[Row]:
        """Statement by statement, without a limit."""
        values = {**self.point.values, "keys": json.dumps(sorted(keys))}
        return list(versions.rows(self.connection, _TOLD.format(query=query), _TELLING, values))

    def _elected(self, one: Speaking, rows: Sequence[Row]) -> Iterable[Edge]:
        """Of *rows* those that no other statement about their beginning outvotes."""
        starts = {row["from_key"] for row in rows}
        votes: dict[str, tuple[tuple[Any, ...], str]] = {}
        for rival in self.rules:
            if (rival.rule.type, rival.rule.from_type) != (one.rule.type, one.rule.from_type):
                continue
            query = facts.statements(self.connection, rival, self.point, "from_key")
            for row in self._told(query, starts) if rival.rule.single else ():
                order = rival.order(row["valid"], row["record"])
                vote = ((*order, row["to_key"], row["told"]), row["to_key"])
                votes[row["from_key"]] = min(vote, votes.get(row["from_key"], vote))
        said: dict[tuple[str, str, str], list[str]] = {}
        for row in rows:
            if votes[row["from_key"]][1] == row["to_key"]:
                what = (row["from_key"], row["to_key"], row["told"])
                said.setdefault(what, []).append(row["record"])
        for (start, end, told), records in sorted(said.items()):
            yield _edge(one, {
                "from_key": start, "to_key": end, "told": told, "record": min(records),
                "statements": len(records),
            })  # fmt: skip


_GROUPED = """
SELECT from_key, to_key, told, min(record {order}) AS record, count(*) AS statements FROM (
  SELECT from_key, to_key, CAST(qualifiers AS TEXT) AS told, record FROM ({query}) AS said
) AS told GROUP BY from_key, to_key, told
ORDER BY from_key {order}, to_key {order}, told {order} LIMIT :limit
"""
_TOLD = """
SELECT from_key, to_key, CAST(qualifiers AS TEXT) AS told, record, valid FROM ({query}) AS said
"""
_TEXTS = [Column(one, ColumnType("string")) for one in ("from_key", "to_key", "told", "record")]
_COLUMNS = [*_TEXTS, Column("statements", ColumnType("int64"))]
_TELLING = [*_TEXTS, Column("valid", ColumnType("int64"))]


def _edge(one: Speaking, row: Row) -> Edge:
    return Edge(
        depth=0,
        type=one.rule.type,
        from_type=str(one.rule.from_type),
        from_key=row["from_key"],
        to_type=str(one.rule.to_type),
        to_key=row["to_key"],
        qualifiers=facts.qualifiers(one, row["told"]),
        stream=one.rule.stream,
        record=row["record"],
        statements=row["statements"],
    )


def _both(one: Edge, other: Edge) -> Edge:
    """What two rules say alike."""
    return replace(one, statements=one.statements + other.statements)
