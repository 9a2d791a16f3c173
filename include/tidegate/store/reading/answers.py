"""What the reading API answers: frozen records of plain Python values, each with its commit.

``seq`` of an answer is the commit it was read at: asked again with ``as_of_seq=answer.seq``, the
store says the same, whatever was loaded since. With ``valid`` too, unless a read that arrived
late showed an older version once more: of versions that do not reign, the one seen last counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from tidegate.model import Json


class Answer:
    """A frozen dataclass that can be printed as JSON."""

    def to_json(self) -> dict[str, Json]:
        """Exact numbers and times as text, octets as hexadecimal digits."""
        return {part.name: plain(getattr(self, part.name)) for part in fields(self)}  # type: ignore[arg-type]


def plain(value: Any) -> Json:
    """*value* as :mod:`json` can write it without loss."""
    if isinstance(value, Answer):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return _text(value) if isinstance(value, _TEXTS) else value


_TEXTS = (datetime, date, time, Decimal, bytes, float)


def _text(value: Any) -> Json:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.hex() if isinstance(value, bytes) else value.isoformat()


@dataclass(frozen=True, slots=True)
class Head(Answer):
    """The newest commit; history is complete after commit *horizon*."""

    seq: int
    horizon: int
    committed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Version(Answer):
    """One version of a record, and its reign.

    row           its values by column
    since, until  commits between which it was the current one; *until* is None while it reigns,
                  and equals *since* when it arrived too late to reign
    valid         since when it is true in the world; None: the source does not say
    run_id        of the run that brought it (or its reign); None for the store's own commits
    """

    row: Mapping[str, Any]
    since: int
    until: int | None
    valid: datetime | None
    deleted: bool
    duplicate: bool
    hash: int
    run_id: str | None
    committed_at: datetime | None

    @property
    def live(self) -> bool:
        """Whether knowledge is drawn from it while it reigns."""
        return not self.deleted and not self.duplicate


@dataclass(frozen=True, slots=True)
class Record(Answer):
    """A record at one point; *version* is None when nothing was known of it."""

    stream: str
    key: str
    seq: int
    version: Version | None


@dataclass(frozen=True, slots=True)
class History(Answer):
    """All versions of a record, in the order of their commits."""

    stream: str
    key: str
    seq: int
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Entity(Answer):
    """An entity at one point.

    exists      whether anything speaks of it
    stub        it is only mentioned, by the end of a relation
    records     ``(stream, record key)`` of those that describe it, the most trusted first
    attributes  of several tellings the winning one; lists where the vocabulary says ``many``
    """

    type: str
    key: str
    seq: int
    exists: bool
    stub: bool
    name: str | None
    attributes: Mapping[str, Any]
    records: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Edge(Answer):
    """A relation between two entities, *depth* steps away from where the walk began.

    *statements* records say so; *stream* and *record* are the first of them.
    """

    depth: int
    type: str
    from_type: str
    from_key: str
    to_type: str
    to_key: str
    qualifiers: Mapping[str, Any]
    stream: str
    record: str
    statements: int


@dataclass(frozen=True, slots=True)
class Neighbours(Answer):
    """What surrounds an entity; not *complete* when the limit cut it.

    *entities* are ``(type, key)`` of all that were reached, nearest first, without the start.
    """

    type: str
    key: str
    seq: int
    edges: tuple[Edge, ...]
    entities: tuple[tuple[str, str], ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Telling(Answer):
    """What one stream says of an attribute, and since when its record has said so.

    wins           whether this is the value that the entity shows
    since, run_id, committed_at   the commit since which the record has held this value
    valid          since when the record's present version is true in the world
    """

    attribute: str
    value: Any
    wins: bool
    stream: str
    record: str
    trust: int
    since: int
    run_id: str | None
    committed_at: datetime | None
    valid: datetime | None


@dataclass(frozen=True, slots=True)
class Why(Answer):
    """Where an entity's values come from; the winner of each attribute first."""

    type: str
    key: str
    seq: int
    tellings: tuple[Telling, ...]


@dataclass(frozen=True, slots=True)
class Conflict(Answer):
    """What contradicts itself: an attribute of an entity, or a ``single`` relation from it.

    *tellings* say a value each, or the key that the relation leads to; the winner first.
    """

    kind: str
    type: str
    key: str
    name: str
    tellings: tuple[Telling, ...]


@dataclass(frozen=True, slots=True)
class Conflicts(Answer):
    """Conflicts at commit *seq*, by type and key; not *complete* when the limit cut them."""

    seq: int
    conflicts: tuple[Conflict, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Found(Answer):
    """Entities with a value, by key; not *complete* when the limit cut them."""

    seq: int
    entities: tuple[Entity, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Change(Answer):
    """A record changed in commit *seq*.

    op             what it means for a copy of the live records: ``insert``, ``update``,
                   ``delete`` (tombstone or duplicate now), ``restore`` (live again)
    before, after  64 bits of the versions' content; *before* is None for a new record
    row            the new version's values by column, and *row_before*; only when asked for
    """

    seq: int
    stream: str
    key: str
    op: str
    before: int | None
    after: int | None
    deleted: bool
    duplicate: bool
    row: Mapping[str, Any] | None = None
    row_before: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Changes(Answer):
    """A page of changes; ask on from *cursor*, at once when there is *more*."""

    seq: int
    changes: tuple[Change, ...]
    cursor: str
    more: bool


@dataclass(frozen=True, slots=True)
class Subscription(Answer):
    """A named reader of the feed; history after commit *seq* is kept for it."""

    name: str
    seq: int
    seen_at: datetime
