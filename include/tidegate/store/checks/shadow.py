"""Draw a stream's knowledge once more, beside what is stored, and look where the two differ.

Temporary tables called ``entity`` and ``relation`` stand before the store's own for the connection
that made them. The projection that loads use, run over the records as they are, fills them instead;
nothing of the store is written. It can be done for all records, or for *chosen* ones: then also for
all records that speak of the same entities, so that their speaker is among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store.checks.bookkeeping import names_of
from tidegate.store.checks.violations import ENTITY, Look, Thing, filled
from tidegate.store.knowledge import projection
from tidegate.store.knowledge.mapping import Mapping as Rules
from tidegate.store.knowledge.mapping import Rule
from tidegate.store.knowledge.projecting import LIVE, Touched, Work
from tidegate.store.record import frames, layouts
from tidegate.store.record.records import Records, ref_name
from tidegate.store.sqltext import Script, quoted
from tidegate.store.tables import entity_table, relation_table

_SHADOWS = (entity_table, relation_table)
_CHOSEN = {
    "chosen_record": "_key TEXT",
    "chosen_entity": "type TEXT, key TEXT",
    "shown_record": "_key TEXT",
}


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
    touched = Touched(new=scope.shown, old="false")
    with shadows(connection):
        projection.run(Work(connection, records, rules, touched, {"seq": 0}))
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
    with choosing(look.connection, rules.stream, [rules]) as choice:
        choice.add_records(_SAMPLE, sample=look.sample)
        yield choice.scope()


@dataclass(frozen=True)
class Choice:
    """Records and entities of a stream, in temporary tables; grows by what they speak of."""

    connection: Connection
    stream: str
    rules: Sequence[Rules]

    def add(self, things: Iterable[Thing]) -> None:
        """Choose *things*, and the entities of the records among them."""
        for thing in things:
            values = {"type": thing.type, "key": thing.key}
            into = "entity VALUES (:type, :key)" if thing.kind == ENTITY else "record VALUES (:key)"
            self.connection.execute(sa.text("INSERT INTO chosen_" + into), values)
        self._spread()

    def add_records(self, query: str, **values: int) -> None:
        """Choose the records that *query*, a template over the stream's tables, finds."""
        text = filled("INSERT INTO chosen_record " + query, names_of(self.stream))
        self.connection.execute(text, values)
        self._spread()

    def _spread(self) -> None:
        """Choose what chosen records speak of, or are said to."""
        for rule in self._described():
            names = {**names_of(self.stream), "ref": ref_name(rule.key)}
            values = {"type": rule.type, "rule": rule.id}
            self.connection.execute(filled(_SPOKEN, names), values)

    def scope(self) -> Scope:
        """What is chosen, with all records that speak of the same entities."""
        self.connection.exec_driver_sql("INSERT INTO shown_record SELECT _key FROM chosen_record")
        for rule in self._described():
            names = {**names_of(self.stream), "ref": ref_name(rule.key)}
            self.connection.execute(filled(_SHOW, names), {"type": rule.type})
        for table in _CHOSEN:
            Script(self.connection, {}).measure(table)
        return Scope(whole=False)

    def _described(self) -> list[Rule]:
        return [rule for one in self.rules for rule in one.rules if rule.kind == ENTITY]


@contextmanager
def choosing(connection: Connection, stream: str, rules: Sequence[Rules]) -> Iterator[Choice]:
    """Nothing chosen yet; the temporary tables are gone afterwards."""
    for table, columns in _CHOSEN.items():
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {table} ({columns})")
    yield Choice(connection, stream, rules)
    for table in _CHOSEN:
        connection.exec_driver_sql(f"DROP TABLE {table}")


_SAMPLE = f"SELECT c._key FROM {{current}} AS c WHERE {LIVE} ORDER BY random() LIMIT :sample"

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
