"""What versions of records say, by the rules in force: the same in SQL for now and for any point.

The libraries hold what is said now. For any other point the rule's own pieces of SQL are applied to
the versions that held there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.pipeline import template
from tidegate.store.knowledge import jsontext, mapping
from tidegate.store.knowledge.jsontext import Json, literal
from tidegate.store.knowledge.mapping import Rule
from tidegate.store.reading import versions
from tidegate.store.reading.asof import Point
from tidegate.store.reading.versions import LIVE, OWN, Row, Tables
from tidegate.store.record import frames
from tidegate.store.record.records import ref_name
from tidegate.store.tables import mapping_table, stream_table
from tidegate.types import Column, ColumnType

NAME = "name\n"
"""The computed name beside a row's columns; no column's own name has a line break."""


@dataclass(frozen=True)
class Speaking:
    """One rule in force, and the tables of the stream whose records speak by it."""

    rule: Rule
    tables: Tables
    cursor: str | None

    @property
    def ref(self) -> str:
        """The column that holds the key of the entity that the rule describes."""
        return ref_name(self.rule.key)

    def json(self, dialect: str) -> Json:
        """Pieces of SQL over the stream's columns."""
        return Json(dialect, {column.name: column.type.name for column in self.tables.columns})

    def order(self, valid: int | None, record: str) -> tuple[Any, ...]:
        """Of contradicting statements the one with the smallest order wins."""
        return (
            -self.rule.trust, valid is None, -(valid or 0), self.rule.stream, self.rule.place,
            record,
        )  # fmt: skip


def in_force(connection: Connection) -> list[Speaking]:
    """Every active rule of the streams that were loaded, in an order of its own."""
    query = sa.select(mapping_table.c.stream, mapping_table.c.definition)
    cursors = {
        stream: json.loads(definition)["cursor"]
        for stream, definition in connection.execute(
            query.where(mapping_table.c.state == mapping.ACTIVE)
        )
    }
    tables = {stream: Tables(stream, tuple(columns)) for stream, columns in _columns(connection)}
    found = []
    for rule in sorted(mapping.active(connection), key=lambda rule: (rule.stream, rule.place)):
        of, cursor = tables[rule.stream], cursors[rule.stream]
        known = {column.name for column in of.columns}
        if known:
            found.append(Speaking(rule, of, cursor if cursor in known else None))
    return found


def _columns(connection: Connection) -> Iterator[tuple[str, list[Column]]]:
    query = sa.select(stream_table.c.name, stream_table.c.columns)
    for stream, text in connection.execute(query):
        yield stream, frames.columns_in(text)


def of_type(rules: Sequence[Speaking], type: str) -> list[Speaking]:
    """The rules that describe entities of *type*. Raises ConfigError when nothing speaks of it."""
    known = {one.rule.type for one in rules if one.rule.kind == "entity"}
    for one in rules:
        if one.rule.kind == "relation":
            known |= {str(one.rule.from_type), str(one.rule.to_type)}
    require(type, known, "an entity type")
    return [one for one in rules if one.rule.kind == "entity" and one.rule.type == type]


def of_relation(rules: Sequence[Speaking], type: str | None) -> list[Speaking]:
    """The rules of relation *type*, or of all. Raises ConfigError when there is none."""
    found = [one for one in rules if one.rule.kind == "relation"]
    if type is None:
        return found
    require(type, {one.rule.type for one in found}, "a relation")
    return [one for one in found if one.rule.type == type]


def require(word: str, known: set[str], what: str) -> None:
    """Raise ConfigError, with the nearest known word, when *word* is not one of them."""
    if word not in known:
        hint = did_you_mean(word, known) or f" There are: {', '.join(sorted(known)) or 'none'}."
        raise ConfigError(f"{word!r} is not {what} of this store.{hint}")


# Rows that describe an entity ---------------------------------------------------------------------


def descriptions(
    connection: Connection, one: Speaking, point: Point, key: str, record: str | None = None
) -> list[Row]:
    """The live versions that describe entity *key* at *point*; of *record* alone, when given."""
    wanted = dict.fromkeys([*one.rule.attributes.values(), *([one.cursor] if one.cursor else [])])
    known = {column.name for column in one.tables.columns}
    columns = one.tables.typed(*OWN, one.ref, *(name for name in wanted if name in known))
    if one.rule.name:
        columns.append(Column(NAME, ColumnType("string")))
    query = _named(connection, one, point, columns, "_key = :record" if record else "true")
    values = {**point.values, "key": key, "record": record}
    return list(versions.rows(connection, query, columns, values))


def _named(
    connection: Connection, one: Speaking, point: Point, columns: Sequence[Column], where: str
) -> str:
    """The versions with the entity's key, and its name beside their columns."""
    names = [column.name for column in columns if column.name != NAME]
    pieces = one.json(connection.dialect.name)
    text = one.rule.name
    inside = list(dict.fromkeys([*names, *(template.columns(text) if text else ())]))
    known = {column.name for column in one.tables.columns}
    inside = [name for name in inside if name in known or name in names]
    held = versions.holding(
        one.tables, point, inside, f"{LIVE} AND {versions.name(one.ref)} = :key AND {where}"
    )
    cells = [f"c.{versions.name(name)}" for name in names]
    if text:
        parts = [
            pieces.text(piece, "c") if is_column else literal(piece)
            for piece, is_column in template.pieces(text)
        ]
        cells.append(" || ".join(parts))
    return f"SELECT {', '.join(cells)} FROM ({held}) AS c"


def speaker(one: Speaking, rows: Iterable[Row]) -> Row:
    """Of an entity's rows the one that describes it: the largest cursor, then key."""

    def place(row: Row) -> tuple[Any, ...]:
        cursor = row[one.cursor] if one.cursor else None
        last = (len(row["_key"]), row["_key"])
        return (False, *last) if cursor is None else (True, cursor, *last)

    return max(rows, key=place)


# Statements that connect entities -----------------------------------------------------------------


def statements(connection: Connection, one: Speaking, point: Point, side: str) -> str:
    """A query of what the relation rule's records say at *point* of the keys ``:keys``.

    ``from_key, to_key, qualifiers, record, valid``, where *side* (one of the first two) is one of
    the keys. Outvoted statements are among them at any point but now.
    """
    near = among(connection, side)
    if point.now:
        return (
            "SELECT from_key, to_key, qualifiers, record, valid FROM relation "
            f"WHERE rule = {one.rule.id} AND outvoted = false AND {near}"
        )
    rule, pieces = one.rule, one.json(connection.dialect.name)
    start = ref_name(rule.says["from"]["key"])
    known = {column.name for column in one.tables.columns}
    names = {"_key", "_valid", start} | (known & {*rule.says["qualifiers"].values()})
    if rule.each:
        jsontext.prepare(connection)
        members = [pieces.member_text(name) for name in rule.says["to"]["key"]]
        end = jsontext.joined(members)
        names |= {rule.each}
        keyed = near.replace(side, versions.name(start)) if side == "from_key" else "true"
        source = f"c CROSS JOIN {pieces.elements(rule.each, 'c')}"
    else:
        last = ref_name(rule.says["to"]["key"])
        end, source = f"c.{versions.name(last)}", "c"
        names |= {last}
        keyed = near.replace(side, versions.name(start if side == "from_key" else last))
    held = versions.holding(one.tables, point, sorted(names), f"{LIVE} AND {keyed}")
    return (
        f"SELECT * FROM (SELECT c.{versions.name(start)} AS from_key, {end} AS to_key, "
        f"{_qualifiers(one, pieces)} AS qualifiers, c._key AS record, c._valid AS valid "
        f"FROM ({held}) AS {source}) AS said "
        f"WHERE from_key IS NOT NULL AND to_key IS NOT NULL AND {near}"
    )


def _qualifiers(one: Speaking, pieces: Json) -> str:
    says = one.rule.says["qualifiers"].items()
    if one.rule.each:
        return pieces.object((name, pieces.member(member)) for name, member in says)
    return pieces.object((name, pieces.value(column, "c")) for name, column in says)


def among(connection: Connection, column: str) -> str:
    """A condition that *column* is one of the bound ``:keys``."""
    if connection.dialect.name == "sqlite":
        return f"{column} IN (SELECT value FROM json_each(:keys))"
    return f"{column} IN (SELECT jsonb_array_elements_text(CAST(:keys AS JSONB)))"


def qualifiers(one: Speaking, text: str | None) -> Row:
    """Qualifiers as the columns' types say; of an array's elements, as their JSON says."""
    told = json.loads(text, parse_float=Decimal) if text else {}
    if one.rule.each:
        return dict(told)
    types = {column.name: column.type for column in one.tables.columns}
    says = one.rule.says["qualifiers"]
    return {name: _typed(types.get(says[name]), cell) for name, cell in told.items()}


def _typed(type: ColumnType | None, cell: Any) -> Any:
    if type is None or cell is None or type.name not in _READ:
        return cell
    return _READ[type.name](cell)


_READ: dict[str, Any] = {
    "decimal": lambda cell: Decimal(str(cell)), "numeric": lambda cell: Decimal(str(cell)),
    "float64": float, "bytes": bytes.fromhex, "date": date.fromisoformat,
    "time": time.fromisoformat, "datetime": datetime.fromisoformat,
    "timestamp": datetime.fromisoformat,
}  # fmt: skip
