"""Knowledge computed anew in plain Python, one record at a time, and what a store holds of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from store.deliveries import Delivery
from tidegate.store.record.records import current_name
from tidegate.store.store import Store

Place = tuple[str, int]
"""A stream and the place of a rule in its mapping."""


@dataclass(frozen=True)
class Entity:
    """One row of ``entity``, but for the commit."""

    stub: bool
    name: str | None
    attributes: Any
    record: str | None
    outvoted: Any = None


@dataclass(frozen=True)
class Relation:
    """One row of ``relation``, but for the commit."""

    types: tuple[str, str, str]
    from_key: str
    to_key: str
    qualifiers: Any
    outvoted: bool = False


@dataclass(frozen=True)
class Told:
    """Everything: (type, key, place) → entity, and (place, record, n) → relation."""

    entities: dict[tuple[str, str, Place], Entity]
    relations: dict[tuple[Place, str, int], Relation]


def stored(store: Store) -> Told:
    """What the store's active rules say."""
    with store._reading() as connection:
        entities = connection.exec_driver_sql(
            "SELECT e.type, e.key, r.stream, r.place, e.stub, e.name, CAST(e.attributes AS TEXT), "
            "e.record, CAST(e.outvoted AS TEXT) FROM entity AS e JOIN tidegate_rule AS r "
            "ON r.id = e.rule WHERE r.active"
        ).all()
        relations = connection.exec_driver_sql(
            "SELECT r.stream, r.place, t.record, t.n, r.type, r.from_type, r.to_type, t.from_key, "
            "t.to_key, CAST(t.qualifiers AS TEXT), t.outvoted FROM relation AS t "
            "JOIN tidegate_rule AS r ON r.id = t.rule WHERE r.active"
        ).all()
    return Told(
        {
            (row[0], row[1], (row[2], row[3])): Entity(
                bool(row[4]), row[5], _json(row[6]), row[7], _json(row[8])
            )
            for row in entities
        },
        _numbered(
            (
                (row[0], row[1]), row[2], row[3],
                Relation((row[4], row[5], row[6]), row[7], row[8], _json(row[9]), bool(row[10])),
            )
            for row in relations
        ),
    )  # fmt: skip


def _numbered(
    found: Iterable[tuple[Place, str, int, Relation]],
) -> dict[tuple[Place, str, int], Relation]:
    """Statements of one record numbered anew: databases write one JSON in different texts."""
    said: dict[tuple[Place, str], list[tuple[int, Relation]]] = defaultdict(list)
    for place, record, n, relation in found:
        said[place, record].append((n, relation))
    numbered: dict[tuple[Place, str, int], Relation] = {}
    for where, statements in said.items():
        assert sorted(n for n, _ in statements) == list(range(len(statements)))
        relations = [relation for _, relation in statements]
        relations.sort(key=lambda one: (one.to_key, json.dumps(one.qualifiers, sort_keys=True)))
        numbered |= {(*where, n): relation for n, relation in enumerate(relations)}
    return numbered


def differences(one: Told, other: Told) -> list[Any]:
    """Where the two say something else: place, what *one* says, what *other* says."""
    found: list[Any] = []
    pairs: list[tuple[dict[Any, Any], dict[Any, Any]]] = [
        (one.entities, other.entities),
        (one.relations, other.relations),
    ]
    for left, right in pairs:
        found += [
            (place, left.get(place), right.get(place))
            for place in {**left, **right}
            if left.get(place) != right.get(place)
        ]
    return found


def recomputed(store: Store, streams: Sequence[Delivery]) -> Told:
    """What the live records of *streams* say."""
    naive = _Naive()
    for one in streams:
        naive.stream(one, list(_live(store, one)))
    naive.settle_attributes()
    naive.settle_targets()
    return Told(naive.entities, naive.relations)


def _live(store: Store, one: Delivery) -> Iterator[dict[str, Any]]:
    with store._reading() as connection:
        for row in connection.exec_driver_sql(
            f'SELECT * FROM "{current_name(one.name)}" WHERE NOT _deleted AND NOT _duplicate'
        ).mappings():
            cells = dict(row).items()
            yield {n: float(cell) if isinstance(cell, Decimal) else cell for n, cell in cells}


@dataclass
class _Naive:
    entities: dict[tuple[str, str, Place], Entity] = field(default_factory=dict)
    relations: dict[tuple[Place, str, int], Relation] = field(default_factory=dict)
    trust: dict[str, int] = field(default_factory=dict)
    valid: dict[tuple[str, str], int | None] = field(default_factory=dict)
    single: set[Place] = field(default_factory=set)
    many: dict[Place, set[str]] = field(default_factory=dict)

    def stream(self, one: Delivery, rows: list[dict[str, Any]]) -> None:
        model = one.model
        words = model.vocabulary
        self.trust[one.name] = model.trust
        for row in rows:
            self.valid[one.name, row["_key"]] = row["_valid"]
        for place, entity in enumerate(model.load.entities):
            known = words.attributes(entity.type) if words else {}
            self.many[one.name, place] = {n for n, about in known.items() if about.many}
            self.describe(one, place, entity, rows, model.by)
        for number, relation in enumerate(model.load.relations):
            place = len(model.load.entities) + number
            if words and relation.type in words.relations:
                self.single.add((one.name, place))
            for row in rows:
                self.state(one, place, relation, row)

    def describe(
        self, one: Delivery, place: int, entity: Any, rows: list[dict[str, Any]], cursor: str
    ) -> None:
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            if (key := key_of([row[name] for name in entity.key])) is not None:
                groups[key].append(row)
        for key, group in groups.items():
            group.sort(key=lambda row: (row[cursor], len(row["_key"]), row["_key"]))
            speaker = group[-1]
            attributes = {
                name: sorted({row[column] for row in group} - {None})
                if name in self.many[one.name, place]
                else speaker[column]
                for name, column in entity.named.items()
            }
            said = {name: "" if cell is None else cell for name, cell in speaker.items()}
            name = None if entity.name is None else entity.name.format_map(said)
            self.entities[entity.type, key, (one.name, place)] = Entity(
                False, name, attributes, speaker["_key"]
            )

    def state(self, one: Delivery, place: int, relation: Any, row: dict[str, Any]) -> None:
        load = one.model.load
        start, end = load.end(relation.from_), load.end(relation.to)
        from_key = key_of([row[name] for name in start.key])
        said = []
        for element in _array(row[relation.each]) if relation.each else [row]:
            to_key = key_of([_member(element, name) for name in end.key])
            if from_key is None or to_key is None:
                continue
            says = {name: _plain(element, m) for name, m in relation.named.items()} or None
            said.append((to_key, json.dumps(says, sort_keys=True), says))
        for n, (to_key, _, says) in enumerate(sorted(said, key=lambda one: one[:2])):
            types = (relation.type, start.type, end.type)
            made = Relation(types, str(from_key), to_key, says)
            self.relations[(one.name, place), row["_key"], n] = made
            for which, type_, key in (
                (relation.from_, start.type, from_key), (relation.to, end.type, to_key),
            ):  # fmt: skip
                if not isinstance(which, str):
                    where = (type_, str(key), (one.name, place))
                    self.entities[where] = Entity(True, None, {}, None)

    def settle_attributes(self) -> None:
        said: dict[tuple[str, str, str], list[tuple[Any, Place, Any]]] = defaultdict(list)
        for (type_, key, place), entity in self.entities.items():
            for name, value in entity.attributes.items():
                if value is not None and name not in self.many[place]:
                    rank = self.rank(place, str(entity.record))
                    said[type_, key, name].append((rank, place, value))
        for (type_, key, name), tellings in said.items():
            won = min(tellings, key=lambda one: one[0])[2]
            for _, place, value in tellings:
                if value != won:
                    entity = self.entities[type_, key, place]
                    lost = {**(entity.outvoted or {}), name: won}
                    self.entities[type_, key, place] = replace(entity, outvoted=lost)

    def settle_targets(self) -> None:
        said: dict[tuple[str, str, str], list[Any]] = defaultdict(list)
        for (place, record, n), relation in self.relations.items():
            if place in self.single:
                rank = (*self.rank(place, record), n)
                said[relation.types[0], relation.types[1], relation.from_key].append(
                    (rank, (place, record, n), relation)
                )
        for tellings in said.values():
            won = min(tellings, key=lambda one: one[0])[2].to_key
            for _, where, relation in tellings:
                self.relations[where] = replace(relation, outvoted=relation.to_key != won)

    def rank(self, place: Place, record: str) -> tuple[Any, ...]:
        valid = self.valid[place[0], record]
        return (-self.trust[place[0]], valid is None, -(valid or 0), *place, record)


def key_of(cells: list[Any]) -> str | None:
    """An entity's key."""
    if any(cell is None for cell in cells):
        return None
    texts = [str(cell).lower() if isinstance(cell, bool) else str(cell) for cell in cells]
    if len(texts) == 1:
        return texts[0]
    return "|".join(text.replace("\\", "\\\\").replace("|", "\\|") for text in texts)


def _member(element: Any, name: str) -> Any:
    found = _plain(element, name)
    return None if isinstance(found, dict | list) else found


def _plain(element: Any, name: str) -> Any:
    if name == ".":
        return element
    return element.get(name) if isinstance(element, dict) else None


def _array(cell: str | None) -> list[Any]:
    try:
        found = json.loads(cell or "")
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)
