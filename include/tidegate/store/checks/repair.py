"""Repair what a check has named: records first, then what is drawn from them.

Each stream is one commit with a line of its own in the ledger, under the same lock as a load.
Repairing what is in order changes nothing and makes no commit, so it can always be done again.

Knowledge is drawn again from the records as they are, for the entities and records that were named.
What records themselves say cannot be known but from their source: a record whose content is spoiled
is forgotten (:mod:`tidegate.store.checks.mending`), until a full read brings it back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from tidegate.store import ledger
from tidegate.store.checks import drawn, identity, mending, numbering, shadow
from tidegate.store.checks.bookkeeping import names_of
from tidegate.store.checks.mending import Forgotten
from tidegate.store.checks.shadow import WHOLE, Scope
from tidegate.store.checks.violations import ENTITY, MOST, RECORD, RELATION, Look, Violation
from tidegate.store.knowledge import mapping
from tidegate.store.knowledge.conflicts import Conflicts
from tidegate.store.knowledge.mapping import ACTIVE, BUILDING, OLD, Rule
from tidegate.store.knowledge.mapping import Mapping as Rules
from tidegate.store.sqltext import Script
from tidegate.store.tables import mapping_table

MODE = "repair"
"""What the ledger calls these commits."""


def repair(engine: Engine, violations: Iterable[Violation]) -> list[str]:
    """Repair them; returns sentences about what only the source can bring back.

    Raises DataError, and leaves a stream as it is, when more of it is spoiled than a few cells.
    """
    streams: dict[str, list[Violation]] = defaultdict(list)
    for violation in violations:
        streams[violation.stream].append(violation)
    remarks: list[str] = []
    for stream, found in sorted(streams.items()):
        with engine.connect() as connection, connection.begin() as transaction:
            changed, forgotten = _repaired(connection, stream, found)
            if not changed:
                transaction.rollback()
        remarks += [_remark(stream, *one) for one in sorted(forgotten)]
    return remarks


def _remark(stream: str, key: str, past: bool) -> str:
    if past:
        return (
            f"{stream}: a version in the history of record {key!r} is forgotten, for its content "
            "was spoiled. The source shows it no longer; a backup may have it."
        )
    return (
        f"{stream}: what record {key!r} says is forgotten, for its content was spoiled. "
        f"Bring it back from the source: tidegate run {stream} --full"
    )


def _repaired(
    connection: Connection, stream: str, found: Sequence[Violation]
) -> tuple[int, set[Forgotten]]:
    """How many rows were changed, and which records are forgotten."""
    if stream:
        seq = ledger.next_seq(connection)
        changed, forgotten = _stream(connection, stream, found, seq)
    else:
        changed, forgotten = _whole_store(connection, found), set[Forgotten]()
        seq = ledger.next_seq(connection)
    ledger.note(connection, seq, stream, MODE, f"{MODE}:{seq}")
    return changed, forgotten


def _whole_store(connection: Connection, found: Sequence[Violation]) -> int:
    kinds = {violation.invariant for violation in found}
    changed = numbering.mend(connection) if "I6" in kinds else 0
    return changed + (identity.forget_orphans(connection) if "I7" in kinds else 0)


def _stream(
    connection: Connection, stream: str, found: Sequence[Violation], seq: int
) -> tuple[int, set[Forgotten]]:
    kinds = {violation.invariant for violation in found}
    changed = numbering.lower(connection, stream, seq) if "I6" in kinds else 0
    bent = identity.mend(connection, stream) if "I7" in kinds else 0
    whole = bent > 0 or len(found) >= MOST
    forgotten: set[Forgotten] = set()
    rules = [one for one in mapping.projected(connection, stream) if one.state == ACTIVE]
    things = [v.object for v in found if v.object.kind in {RECORD, ENTITY, RELATION}]
    with shadow.choosing(connection, stream, rules) as choice:
        if Look(connection).has(names_of(stream)["current"]):
            choice.add(things)
            if kinds & {"I5", "I6"}:
                where = "true" if whole else "_key IN (SELECT _key FROM chosen_record)"
                mended, forgotten = mending.mend(connection, stream, seq, where)
                changed += mended
                choice.add_records("SELECT _key FROM {current} WHERE _seq = :seq", seq=seq)
            for one in rules:
                changed += _redraw(connection, one, WHOLE if whole else choice.scope(), seq)
    changed += bent
    if changed or list(drawn.check_votes(Look(connection), stream)):
        changed += _vote(connection, rules)
    if changed or kinds & {"I1", "I2"}:
        changed += _begin_anew(connection, stream)
    return changed, forgotten


def _redraw(connection: Connection, rules: Rules, scope: Scope, seq: int) -> int:
    """Make what *rules* say in *scope* what the records say now; returns how many rows changed."""
    changed = 0
    with shadow.drawn(connection, rules, scope):
        for rule in rules.rules:
            described = rule.kind == ENTITY
            scoped = scope.entities if described else scope.relations
            for query in _ENTITIES if described else _RELATIONS:
                text = query.replace("{scope}", scoped)
                text = text.replace("{stored}", shadow.stored(connection))
                text = text.replace("{said}", shadow.temporary(connection))
                values = {"rule": rule.id, "seq": seq}
                changed += connection.execute(sa.text(text), values).rowcount
    for rule in rules.rules:
        if rule.kind == RELATION:
            changed += sum(_stubs(connection, rule, seq))
    return changed


def _stubs(connection: Connection, rule: Rule, seq: int) -> Iterator[int]:
    """Drop the stubs that nothing mentions, or that say something; make those that lack."""
    empty = "'{}'" if connection.dialect.name == "sqlite" else "CAST('{}' AS jsonb)"
    mentions = " OR ".join(
        f"(entity.type = '{type}' AND entity.key = f.{end})" for end, type in rule.stubs
    )
    drop = _DROP_STUBS.replace("{mentions}", mentions or "false").replace("{empty}", empty)
    yield connection.execute(sa.text(drop), {"rule": rule.id}).rowcount
    for end, type in rule.stubs:
        make = _MAKE_STUBS.replace("{end}", end).replace("{empty}", empty)
        values: dict[str, Any] = {"rule": rule.id, "type": type, "seq": seq}
        yield connection.execute(sa.text(make), values).rowcount


def _vote(connection: Connection, rules: Sequence[Rules]) -> int:
    """Vote once more on what these rules speak of."""
    mine = [rule for one in rules for rule in one.rules]
    several = [rule.id for rule in mine if rule.kind == RELATION and not rule.single]
    for number in several:
        connection.execute(sa.text(_FORGIVE), {"rule": number})
    Conflicts(Script(connection, {}, {})).settle_all(mine)
    return 1


def _begin_anew(connection: Connection, stream: str) -> int:
    """A mapping that is being built may hold what was wrong: its derivation begins again."""
    table = mapping_table
    building = sa.update(table).where(table.c.stream == stream, table.c.state == BUILDING)
    return connection.execute(building.values(state=OLD)).rowcount


_ENTITIES = (
    """
DELETE FROM {stored}.entity AS x WHERE x.rule = :rule AND {scope} AND NOT EXISTS (
  SELECT 1 FROM {said}.entity AS d WHERE d.type = x.type AND d.key = x.key AND d.rule = x.rule)
""",
    """
INSERT INTO {stored}.entity AS t (type, key, rule, stub, name, attributes, record, valid, seq)
SELECT x.type, x.key, x.rule, x.stub, x.name, x.attributes, x.record, x.valid, :seq
FROM {said}.entity AS x WHERE x.rule = :rule AND {scope}
ON CONFLICT (type, key, rule) DO UPDATE SET stub = excluded.stub, name = excluded.name,
  attributes = excluded.attributes, record = excluded.record, valid = excluded.valid,
  seq = excluded.seq
WHERE t.stub <> excluded.stub OR t.record IS DISTINCT FROM excluded.record
  OR t.name IS DISTINCT FROM excluded.name OR t.valid IS DISTINCT FROM excluded.valid
  OR t.attributes IS DISTINCT FROM excluded.attributes
""",
)

_RELATIONS = (
    """
DELETE FROM {stored}.relation AS x WHERE x.rule = :rule AND {scope} AND NOT EXISTS (
  SELECT 1 FROM {said}.relation AS d WHERE d.rule = x.rule AND d.record = x.record AND d.n = x.n)
""",
    """
INSERT INTO {stored}.relation AS t
  (rule, record, n, from_key, to_key, qualifiers, outvoted, valid, seq)
SELECT x.rule, x.record, x.n, x.from_key, x.to_key, x.qualifiers, false, x.valid, :seq
FROM {said}.relation AS x WHERE x.rule = :rule AND {scope}
ON CONFLICT (rule, record, n) DO UPDATE SET from_key = excluded.from_key,
  to_key = excluded.to_key, qualifiers = excluded.qualifiers, valid = excluded.valid,
  seq = excluded.seq
WHERE t.from_key <> excluded.from_key OR t.to_key <> excluded.to_key
  OR t.valid IS DISTINCT FROM excluded.valid
  OR t.qualifiers IS DISTINCT FROM excluded.qualifiers
""",
)

_DROP_STUBS = """
DELETE FROM entity WHERE rule = :rule AND (NOT stub OR record IS NOT NULL OR name IS NOT NULL
  OR valid IS NOT NULL OR outvoted IS NOT NULL OR attributes <> {empty}
  OR NOT EXISTS (SELECT 1 FROM relation AS f WHERE f.rule = :rule AND ({mentions})))
"""

_MAKE_STUBS = """
INSERT INTO entity (type, key, rule, stub, attributes, seq)
SELECT DISTINCT :type, f.{end}, :rule, true, {empty}, :seq FROM relation AS f
WHERE f.rule = :rule ON CONFLICT (type, key, rule) DO NOTHING
"""

_FORGIVE = "UPDATE relation SET outvoted = false WHERE rule = :rule AND outvoted"
