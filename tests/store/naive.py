"""The past computed anew from everything that was ever delivered; shares no code with the store.

A *world* is a list of commits; every question is answered by looking at all of them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class End:
    """An entity type and the columns (or members) of its key."""

    type: str
    key: str
    stub: bool = False


@dataclass(frozen=True)
class Describes:
    """A row describes an entity."""

    type: str
    key: str
    attributes: Mapping[str, str]
    name: str | None = None
    many: tuple[str, ...] = ()


@dataclass(frozen=True)
class Connects:
    """A row connects two entities."""

    type: str
    start: End
    end: End
    each: str | None = None
    qualifiers: Mapping[str, str] = field(default_factory=dict)
    single: bool = False


@dataclass(frozen=True)
class Stream:
    """What the rows of a stream say."""

    key: str
    valid: str
    deleted: str | None
    trust: int
    rules: Sequence[Describes | Connects]
    same: tuple[str, ...] = ()


@dataclass(frozen=True)
class Held:
    """A version that holds at some point."""

    key: str
    row: Row
    duplicate: bool
    valid: datetime | None
    deleted: bool


class World:
    """All commits, in order: ``(stream, rows with their _token)``; commit 1 is the first."""

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self.streams = streams
        self.commits: list[tuple[str, list[Row]]] = []
        self._states: list[dict[str, dict[str, tuple[str, bool]]]] = [{}]
        self._known: dict[Any, Any] = {}

    def add(self, stream: str, rows: Sequence[Row]) -> None:
        """One more commit."""
        self._known.clear()
        self.commits.append((stream, [dict(row) for row in rows]))
        state = dict(self._states[-1])
        state[stream] = self._reigning(stream, len(self.commits))
        self._states.append(state)

    def _versions(self, stream: str, until: int) -> dict[str, dict[str, list[Any]]]:
        """Key → content → [row, largest token], of the commits up to *until*."""
        if (stream, until) not in self._known:
            self._known[stream, until] = self._count(stream, until)
        found: dict[str, dict[str, list[Any]]] = self._known[stream, until]
        return found

    def _count(self, stream: str, until: int) -> dict[str, dict[str, list[Any]]]:
        found: dict[str, dict[str, list[Any]]] = {}
        for name, rows in self.commits[:until]:
            if name != stream:
                continue
            for full in rows:
                row = {name: cell for name, cell in full.items() if name != "_token"}
                versions = found.setdefault(str(row[self.streams[stream].key]), {})
                mine = versions.setdefault(repr(sorted(row.items())), [row, full["_token"]])
                mine[1] = max(mine[1], full["_token"])
        return found

    def _reigning(self, stream: str, seq: int) -> dict[str, tuple[str, bool]]:
        """Key → (content, marked as a duplicate) after commit *seq*."""
        about = self.streams[stream]
        best = {
            key: max(versions, key=lambda content: versions[content][1])
            for key, versions in self._versions(stream, seq).items()
        }
        groups: dict[Any, list[str]] = {}
        rows = self._versions(stream, seq)
        for key, content in best.items():
            row = rows[key][content][0]
            if about.same and not self._is_deleted(stream, row):
                groups.setdefault(tuple(row[name] for name in about.same), []).append(key)
        marked = {
            key
            for keys in groups.values()
            for key in sorted(keys, key=lambda key: (len(key), key))[1:]
        }
        return {key: (content, key in marked) for key, content in best.items()}

    def _is_deleted(self, stream: str, row: Row) -> bool:
        column = self.streams[stream].deleted
        return bool(column and row[column])

    def _valid(self, stream: str, row: Row) -> datetime | None:
        at = row[self.streams[stream].valid]
        return None if at is None else at.replace(tzinfo=UTC)

    def held(self, stream: str, seq: int, valid: datetime | None) -> dict[str, Held]:
        """Key → the version that holds at a point."""
        found = {}
        final = self._versions(stream, len(self.commits))
        reigning = self._states[seq].get(stream, {})
        for key, versions in self._versions(stream, seq).items():
            picked, mark = reigning[key]
            row = versions[picked][0]
            at = self._valid(stream, row)
            if valid is not None and at is not None and at > valid:
                fitting = [
                    content
                    for content, (row, _) in versions.items()
                    if (at := self._valid(stream, row)) is None or at <= valid
                ]
                if not fitting:
                    continue
                picked = max(fitting, key=lambda content: final[key][content][1])
                row = versions[picked][0]
                mark = self._last_mark(stream, key, picked, seq)
            found[key] = Held(
                key, row, mark, self._valid(stream, row), self._is_deleted(stream, row)
            )
        return found

    def _last_mark(self, stream: str, key: str, content: str, seq: int) -> bool:
        for state in reversed(self._states[: seq + 1]):
            if key in state.get(stream, {}) and state[stream][key][0] == content:
                return state[stream][key][1]
        return False

    def since(self, stream: str, key: str, seq: int) -> int:
        """The commit since which the version that reigns at *seq* has done so, mark included."""
        now = self._states[seq][stream][key]
        while self._states[seq - 1].get(stream, {}).get(key) == now:
            seq -= 1
        return seq

    # What it means -------------------------------------------------------------------------------

    def live(self, stream: str, seq: int, valid: datetime | None) -> list[Held]:
        """The versions that knowledge is drawn from."""
        held = self.held(stream, seq, valid).values()
        return [one for one in held if not one.deleted and not one.duplicate]

    def statements(self, seq: int, valid: datetime | None) -> list[Row]:
        """Every relation that is told, outvoted ones marked."""
        if (seq, valid) not in self._known:
            self._known[seq, valid] = self._state(seq, valid)
        found: list[Row] = self._known[seq, valid]
        return found

    def _state(self, seq: int, valid: datetime | None) -> list[Row]:
        told: list[Row] = []
        for stream, about in sorted(self.streams.items()):
            for place, rule in enumerate(about.rules):
                if not isinstance(rule, Connects):
                    continue
                for held in self.live(stream, seq, valid):
                    told += [
                        {
                            "rule": rule, "stream": stream, "record": held.key,
                            "from": _text(held.row[rule.start.key]), "to": to, "told": said,
                            "order": (
                                -about.trust, held.valid is None,
                                -(held.valid.timestamp() if held.valid else 0), stream, place,
                                held.key, to, json.dumps(said, default=str),
                            ),
                        }
                        for to, said in _targets(rule, held.row)
                        if held.row[rule.start.key] is not None
                    ]  # fmt: skip
        winners: dict[tuple[str, str, str], Row] = {}
        for one in sorted(told, key=lambda one: one["order"]):
            winners.setdefault((one["rule"].type, one["rule"].start.type, one["from"]), one)
        for one in told:
            winner = winners[one["rule"].type, one["rule"].start.type, one["from"]]
            one["lost"] = one["rule"].single and winner["to"] != one["to"]
        return told

    def entity(self, type: str, key: str, seq: int, valid: datetime | None) -> Row:
        """exists, stub, name, attributes, records."""
        told = []
        for stream, about in sorted(self.streams.items()):
            for place, rule in enumerate(about.rules):
                if not isinstance(rule, Describes) or rule.type != type:
                    continue
                rows = [
                    one for one in self.live(stream, seq, valid)
                    if _text(one.row[rule.key]) == key
                ]  # fmt: skip
                if rows:
                    best = max(rows, key=lambda one: (
                        one.row[about.valid] is not None, one.row[about.valid] or datetime(1, 1, 1),
                        len(one.key), one.key,
                    ))  # fmt: skip
                    at = -best.valid.timestamp() if best.valid else 0
                    order = (-about.trust, best.valid is None, at, stream, place, best.key)
                    told.append((order, stream, rule, best, rows))
        told.sort(key=lambda one: one[0])
        ends = [
            (rule.type, one[end])
            for one in self.statements(seq, valid)
            for end, rule in (("from", one["rule"].start), ("to", one["rule"].end))
            if rule.stub
        ]
        stub = not told and (type, key) in ends
        attributes: Row = {}
        for _, _, rule, best, rows in told:
            for name, column in rule.attributes.items():
                if name in rule.many:
                    values = [one.row[column] for one in rows if one.row[column] is not None]
                    attributes[name] = sorted({*attributes.get(name, []), *values})
                elif attributes.get(name) is None:
                    attributes[name] = best.row[column]
        names = [_named(rule.name, best.row) for _, _, rule, best, _ in told if rule.name]
        return {
            "exists": bool(told) or stub, "stub": stub,
            "name": next((name for name in names if name), None), "attributes": attributes,
            "records": tuple((stream, best.key) for _, stream, _, best, _ in told),
        }  # fmt: skip

    def neighbours(
        self, type: str, key: str, depth: int, direction: str, seq: int, valid: datetime | None,
        relation: str | None = None,
    ) -> dict[tuple[Any, ...], tuple[int, set[tuple[str, str]], int]]:  # fmt: skip
        """Edge → (depth, who says so, how often)."""
        told = [
            one for one in self.statements(seq, valid)
            if not one["lost"] and relation in {None, one["rule"].type}
        ]  # fmt: skip
        found: dict[tuple[Any, ...], tuple[int, set[tuple[str, str]], int]] = {}
        seen, frontier = {(type, key)}, {(type, key)}
        for level in range(1, depth + 1):
            new: set[tuple[str, str]] = set()
            fresh: dict[tuple[Any, ...], list[tuple[str, str]]] = {}
            for one in told:
                start = (one["rule"].start.type, one["from"])
                end = (one["rule"].end.type, one["to"])
                out = direction != "in" and start in frontier
                if out or (direction != "out" and end in frontier):
                    said = json.dumps(one["told"], default=str, sort_keys=True)
                    edge = (one["rule"].type, *start, *end, said)
                    if edge not in found:
                        fresh.setdefault(edge, []).append((one["stream"], one["record"]))
                        new |= {start, end}
            for edge, sayers in fresh.items():
                found[edge] = (level, set(sayers), len(sayers))
            frontier = new - seen
            seen |= new
        return found


def _targets(rule: Connects, row: Row) -> list[tuple[str, Row]]:
    if rule.each is None:
        to = _text(row[rule.end.key])
        told = {name: row[column] for name, column in rule.qualifiers.items()}
        return [] if to is None else [(to, told)]
    found = []
    elements = json.loads(row[rule.each] or "null")
    for element in elements if isinstance(elements, list) else []:
        inside = element if isinstance(element, dict) else {}
        to = element if rule.end.key == "." else inside.get(rule.end.key)
        if to is not None and not isinstance(to, dict | list):
            told = {name: inside.get(member) for name, member in rule.qualifiers.items()}
            found.append((_text(to) or "", told))
    return found


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


def _named(template: str, row: Row) -> str:
    shown = {
        name: "" if cell is None else format(cell, "f") if isinstance(cell, Decimal) else cell
        for name, cell in row.items()
    }
    return template.format(**shown)
