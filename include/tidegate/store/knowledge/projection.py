"""Entities, attributes and relations: projected from the records that a commit touched.

Everything here is a function of the live records (neither deleted nor duplicate) and holds what is
so now; what was so before is asked of the records' versions. An entity described by several records
of a stream takes its attributes from its *speaker*: the record with the largest cursor, then the
longest and largest key. A relation is the statement of one record, or of each element of an array
in it. Where it leads to an entity that another stream describes, the entity exists at least as a
*stub*, for as long as it is mentioned.

A few statements over whole sets do it for each rule, the same ones on both databases.
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tidegate.store.knowledge import bulk, entities, jsontext, relations
from tidegate.store.knowledge.conflicts import Conflicts
from tidegate.store.knowledge.mapping import ACTIVE, Mapping, Rule
from tidegate.store.knowledge.projecting import Touched, Work
from tidegate.store.record.records import Records

_BY_COMMIT = Touched(new="{0}._seq = :seq", old="c._seq_to = :seq AND c._seq < :seq", whole=True)


def project(connection: Connection, records: Records, mapping: Mapping, seq: int) -> None:
    """Bring what *mapping* says up to commit *seq*, for the records that it touched."""
    if mapping.rules:
        run(Work(connection, records, mapping, _BY_COMMIT, {"seq": seq}))


def rebuild(
    connection: Connection,
    records: Records,
    mapping: Mapping,
    seq: int,
    low: str | None = None,
    high: str | None = None,
) -> None:
    """Say once more, as commit *seq*, what the records with low < key ≤ high say.

    Without bounds: all of them. What they said before and say no longer is not taken back.
    """
    bounds = (("low", low, "{0}._key > :low"), ("high", high, "{0}._key <= :high"))
    new = " AND ".join(sign for _, bound, sign in bounds if bound is not None) or "true"
    values = {name: bound for name, bound, _ in bounds if bound is not None}
    if mapping.rules:
        run(Work(connection, records, mapping, Touched(new, "false"), {"seq": seq, **values}))


def run(work: Work) -> None:
    """Entities, then relations; what rules that are read contradict is settled then."""
    if any(rule.each for rule in work.mapping.rules):
        jsontext.prepare(work.script.connection)
    told: list[tuple[Rule, str]] = []
    with bulk.unindexed(work):
        for rule in work.mapping.rules:
            _about(work, rule)
            kind = entities if rule.kind == "entity" else relations
            told.append((rule, kind.project(work, rule)))
    if work.fresh:
        work.script.measure("entity", "type", "key", "rule")
        work.script.measure("relation", "rule", "record", "from_key", "to_key")
    if work.mapping.state == ACTIVE:
        conflicts = Conflicts(work.script)
        for rule, keys in told:
            _about(work, rule)
            conflicts.settle(rule, keys)


def _about(work: Work, rule: Rule) -> None:
    """Bind what statements say of *rule*."""
    work.script.values |= {"rule": rule.id, "type": rule.type}
