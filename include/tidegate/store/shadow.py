"""Draw a stream's knowledge once more, beside what is stored, and look where the two differ.

Temporary tables called ``entity`` and ``relation`` stand before the store's own for the connection
that made them. The projection that loads use, run over the records as they are, fills them instead;
nothing of the store is written. It can be done for all records, or for *chosen* ones: then also for
all records that speak of the same entities, so that their speaker is among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store import frames, knowledge, layouts
from tidegate.store.mapping import Mapping as Rules
from tidegate.store.mapping import Rule
from tidegate.store.projecting import LIVE, Touched, Work
from tidegate.store.records import Records, ref_name
from tidegate.store.sqltext import quoted
from tidegate.store.tables import entity_table, relation_table
from tidegate.store.violations import ENTITY, Look, Thing, filled

_SHADOWS = (entity_table, relation_table)
_CHOSEN = ("chosen_record", "chosen_entity", "shown_record")


@dataclass(frozen=True)
class Scope:
    """What of a stream is looked at: everything, or what stands in the temporary tables.

    ``chosen_record`` (_key) and ``chosen_entity`` (type, key) hold what is compared,
    ``shown_record`` (_key) the records that are drawn again for it.
    """

    whole: bool

    @property
    def shown(self) -> str:
        """A condition on the records ``{0}``."""
        return "true" if self.whole else "{0}._key IN (SELECT _key FROM shown_record)"

    @property
    def entities(self) -> str:
        """A condition on rows ``x`` of ``entity``."""
        if self.whole:
            return "true"
        return "(x.type, x.key) IN (SELECT type, key FROM chosen_entity)"

    @property
    def relations(self) -> str:
        """A condition on rows ``x`` of ``relation``."""
        return "true" if self.whole else "x.record IN (SELECT _key FROM chosen_record)"


WHOLE = Scope(whole=True)


def records_of(connection: Connection, stream: str, rules: Rules) -> Records:
    """The tables of *stream* with the columns that *rules* need."""
    data = frames.columns_of(connection, stream)
    marks = any(layout.same for layout in layouts.known(connection, stream)[:1])
    return Records(stream, tuple(data), {ref_name(key): key for key in rules.keys}, marks)


@contextmanager
def shadows(connection: Connection) -> Iterator[None]:
    """The two shadows, empty; they are gone afterwards."""
    for table in _SHADOWS:
        copy = table.to_metadata(sa.MetaData())
        copy._prefixes = ["TEMPORARY"]
        copy.create(connection, checkfirst=False)
    yield
    for table in _SHADOWS:
        connection.exec_driver_sql(f"DROP TABLE {temporary(connection)}.{table.name}")


@contextmanager
def drawn(connection: Connection, rules: Rules, scope: Scope) -> Iterator[None]:
    """The shadows, with what *rules* draw from the records in *scope*."""
    records = records_of(connection, rules.stream, rules)
    keys = "SELECT c._key FROM {current} AS c WHERE " + scope.shown.format("c")
    touched = Touched(new=scope.shown, old="false", keys=keys)
    with shadows(connection):
        knowledge.run(Work(connection, records, rules, touched, {"seq": 0}))
        yield


def temporary(connection: Connection) -> str:
    """The schema of the shadows."""
    return "temp" if connection.dialect.name == "sqlite" else "pg_temp"


def stored(connection: Connection) -> str:
    """The schema of the store's own tables, quoted."""
    if connection.dialect.name == "sqlite":
        return "main"
    name = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
    return quoted(name)


@contextmanager
def sampled(look: Look, rules: Rules) -> Iterator[Scope]:
    """Everything; or as many live records as the look samples, and what they speak of."""
    if look.sample is None:
        yield WHOLE
        return
    names = {"current": records_of(look.connection, rules.stream, rules).current}
    with chosen(look.connection, rules, [], sample=look.sample, names=names) as scope:
        yield scope


@contextmanager
def chosen(
    connection: Connection,
    rules: Rules,
    things: Iterable[Thing],
    *,
    names: Mapping[str, str],
    sample: int = 0,
) -> Iterator[Scope]:
    """These *things*, *sample* other records, and what all of them speak of."""
    connection.exec_driver_sql("CREATE TEMPORARY TABLE chosen_record (_key TEXT)")
    connection.exec_driver_sql("CREATE TEMPORARY TABLE chosen_entity (type TEXT, key TEXT)")
    connection.exec_driver_sql("CREATE TEMPORARY TABLE shown_record (_key TEXT)")
    for thing in things:
        if thing.kind == ENTITY:
            values = {"type": thing.type, "key": thing.key}
            connection.execute(sa.text("INSERT INTO chosen_entity VALUES (:type, :key)"), values)
        else:
            values = {"key": thing.key}
            connection.execute(sa.text("INSERT INTO chosen_record VALUES (:key)"), values)
    connection.execute(filled(_SAMPLE, names), {"sample": sample})
    described = [rule for rule in rules.rules if rule.kind == "entity"]
    for rule in described:
        _choose(connection, rule, names)
    connection.exec_driver_sql("INSERT INTO shown_record SELECT _key FROM chosen_record")
    for rule in described:
        pieces = {**names, "ref": ref_name(rule.key)}
        connection.execute(filled(_SHOW, pieces), {"type": rule.type})
    yield Scope(whole=False)
    for table in _CHOSEN:
        connection.exec_driver_sql(f"DROP TABLE {table}")


def _choose(connection: Connection, rule: Rule, names: Mapping[str, str]) -> None:
    """The entities that chosen records speak of, and those they are said to speak of."""
    pieces = {**names, "ref": ref_name(rule.key)}
    connection.execute(filled(_SPOKEN, pieces), {"type": rule.type, "rule": rule.id})


_SAMPLE = f"""
INSERT INTO chosen_record SELECT c._key FROM {{current}} AS c WHERE {LIVE}
ORDER BY random() LIMIT :sample
"""

_SPOKEN = f"""
INSERT INTO chosen_entity
SELECT :type, c.{{ref}} FROM {{current}} AS c
WHERE c._key IN (SELECT _key FROM chosen_record) AND c.{{ref}} IS NOT NULL AND {LIVE}
UNION SELECT :type, e.key FROM entity AS e
WHERE e.rule = :rule AND e.record IN (SELECT _key FROM chosen_record)
"""

_SHOW = """
INSERT INTO shown_record SELECT c._key FROM {current} AS c
WHERE c.{ref} IN (SELECT key FROM chosen_entity WHERE type = :type)
"""
