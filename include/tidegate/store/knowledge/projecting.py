"""What projecting one mapping takes: what touched records say now, and what they said before."""

from __future__ import annotations

from collections.abc import Mapping as Pieces
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from tidegate.pipeline import template
from tidegate.store.knowledge.jsontext import Json, literal
from tidegate.store.knowledge.mapping import Mapping, Rule
from tidegate.store.record import frames
from tidegate.store.record.records import Records, ref_name
from tidegate.store.sqltext import Script

LIVE = "c._deleted = false AND c._duplicate = false"
TABLES = {name: f"tidegate_{name}" for name in ("after", "before", "others")}


@dataclass(frozen=True)
class Touched:
    """Which records to look at, as conditions in SQL.

    new    on the current table, called ``{0}``: records that say something, maybe something new
    old    on ``c``, the history: what those records said before
    whole  whether *old* finds all of that
    """

    new: str
    old: str
    whole: bool = False


class Work:
    """One mapping, and the records that were touched.

    ``{after}`` is a table of what they say now, if they live, ``{before}`` of what they said. They
    are copied out, because no planner guesses how many rows the newest commit has. *fresh* means
    that nothing was said before by this mapping: then ``{after}`` is looked up in place. *added*,
    that nothing was said before by the records that were touched.
    """

    def __init__(
        self,
        connection: Connection,
        records: Records,
        mapping: Mapping,
        touched: Touched,
        values: dict[str, Any],
    ) -> None:
        names = {"current": records.current, "history": records.history}
        self.script = Script(connection, names, values)
        self.mapping = mapping
        self.json = Json(connection.dialect.name, _kinds(connection, records))
        self.pieces: dict[str, str] = {
            "live": LIVE,
            "empty": "'{}'" if self.json.lite else "CAST('{}' AS jsonb)",
        }
        self.fresh = not self._has_said()
        self._look(touched.new.format("c"), touched.old)
        self.added = self.fresh or (touched.whole and not self.script.number(_ANY, self.pieces))

    def _has_said(self) -> bool:
        rules = ", ".join(str(rule.id) for rule in self.mapping.rules) or "NULL"
        types = {rule.type for rule in self.mapping.rules if rule.kind == "entity"}
        types |= {type_ for rule in self.mapping.rules for _, type_ in rule.stubs}
        pieces = {"rules": rules, "types": ", ".join(map(literal, sorted(types))) or "NULL"}
        return self.script.number(_SAID, pieces) > 0

    def _look(self, new: str, old: str) -> None:
        refs = [ref_name(key) for key in self.mapping.keys]
        columns = ["_key", "_valid", *refs, *self.columns(*self.mapping.rules)]
        fill = {"columns": self.script.columns(columns, "c."), "new": new, "old": old}
        after, before = (self.filled(query, {**self.pieces, **fill}) for query in (_AFTER, _BEFORE))
        if self.fresh:
            self.pieces |= {"after": f"({after})", "before": f"({after} AND false)"}
            return
        self.pieces |= {name: self.script.quote(table) for name, table in TABLES.items()}
        for name, query in (("after", after), ("before", before)):
            self._make(name, f"AS {query}")
        self.script.lead(TABLES["after"], "_key")

    def empty(self, name: str, column: str) -> None:
        """Make the table ``{name}`` anew, with nothing in its one column."""
        self._make(name, f"({column} TEXT)")

    def _make(self, name: str, how: str) -> None:
        self.script.run("DROP TABLE IF EXISTS {" + name + "}", self.pieces)
        making = "CREATE TEMPORARY TABLE {" + name + "} {how}"
        self.script.run(making, {**self.pieces, "how": how})

    def filled(self, query: str, pieces: Pieces[str, str]) -> str:
        """*query* with the tables' names and *pieces* in it."""
        tables = {key: self.script.quote(name) for key, name in self.script.names.items()}
        return query.format_map({**tables, **pieces})

    def columns(self, *rules: Rule) -> list[str]:
        """The data columns that *rules* look at, as far as the tables have them."""
        used = {self.mapping.cursor}.union(*map(_used, rules))
        return sorted(used & self.json.kinds.keys())


def _used(rule: Rule) -> set[str]:
    if rule.kind == "entity":
        return {*rule.attributes.values(), *template.columns(rule.name or "")}
    return {rule.each} if rule.each else set(rule.says["qualifiers"].values())


def _kinds(connection: Connection, records: Records) -> dict[str, str]:
    """Column → type's name, of everything that the stream's tables ever held."""
    columns = [*frames.columns_of(connection, records.stream), *records.data]
    return {column.name: column.type.name for column in columns}


_SAID = """
SELECT count(*) FROM (
  SELECT 1 FROM relation WHERE rule IN ({rules})
  UNION ALL SELECT 1 FROM entity WHERE type IN ({types}) AND rule IN ({rules}) LIMIT 1) AS said
"""
_AFTER = "SELECT {columns} FROM {current} AS c WHERE {new} AND {live}"
_ANY = "SELECT count(*) FROM (SELECT 1 FROM {before} LIMIT 1) AS one"
_BEFORE = "SELECT {columns} FROM {history} AS c WHERE {old}"
