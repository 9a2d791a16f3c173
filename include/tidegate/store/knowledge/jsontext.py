"""Pieces of SQL that make JSON of columns, and columns of JSON, alike on both databases.

Exact numbers and times are JSON's strings on SQLite, which keeps them as text, and JSON's numbers
and strings on PostgreSQL; octets are written in hexadecimal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from tidegate.store.sqltext import quoted

_MOST = 50
"""Members of one JSON object that each database's function takes: two arguments each, of 100."""

EXACT = frozenset({"decimal", "numeric"})
"""Types that SQLite keeps as text."""

_DIGITS = """CASE WHEN typeof({cell}) = 'real' AND abs({cell}) < 9e999 THEN json(CASE
  WHEN CAST(printf('%!.15g', {cell}) AS REAL) = {cell} THEN printf('%!.15g', {cell})
  ELSE printf('%!.17g', {cell}) END) ELSE {cell} END"""
"""A double in JSON with all its digits; SQLite's own functions may stop after 15."""

ATOM = (
    "CASE {0}.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' WHEN 'real' THEN json_quote("
    + _DIGITS.replace("{cell}", "{0}.value")
    + ") ELSE json_quote({0}.value) END"
)
"""A scalar that SQLite's ``json_each``, called ``{0}``, found: as JSON text."""

_ELEMENTS = """
CREATE OR REPLACE FUNCTION pg_temp.tidegate_elements(cell text) RETURNS SETOF jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE found jsonb;
BEGIN
  BEGIN
    found := cell::jsonb;
  EXCEPTION WHEN data_exception OR program_limit_exceeded THEN RETURN;
  END;
  IF jsonb_typeof(found) = 'array' THEN RETURN QUERY SELECT jsonb_array_elements(found); END IF;
END $$
"""


def literal(text: str) -> str:
    """*text* as an SQL string, for SQLAlchemy's text()."""
    return "'" + text.replace("'", "''").replace(":", "\\:") + "'"


@dataclass(frozen=True)
class Json:
    """The pieces for one database and one table's columns (*kinds*: name → type's name)."""

    dialect: str
    kinds: Mapping[str, str]

    @property
    def lite(self) -> bool:
        """Whether this is SQLite."""
        return self.dialect == "sqlite"

    def cell(self, column: str, alias: str) -> str:
        """The column as it is; NULL when the table never had it."""
        if column not in self.kinds:
            return "NULL"
        return f"{alias}.{quoted(column)}".replace(":", "\\:")

    def value(self, column: str, alias: str) -> str:
        """The column as a value that a JSON object takes."""
        cell, kind = self.cell(column, alias), self.kinds.get(column)
        if kind == "bytes" and self.lite:
            return f"CASE WHEN {cell} IS NOT NULL THEN lower(hex({cell})) END"
        if kind == "bytes":
            return f"encode({cell}, 'hex')"
        if kind == "bool" and self.lite:
            return f"CASE {cell} WHEN 1 THEN json('true') WHEN 0 THEN json('false') END"
        if kind == "float64" and self.lite:
            return _DIGITS.format(cell=cell)
        return cell

    def text(self, column: str, alias: str) -> str:
        """The column as text for people; '' where it is NULL."""
        cell, kind = self.cell(column, alias), self.kinds.get(column)
        if kind == "bytes":
            cell = f"lower(hex({cell}))" if self.lite else f"encode({cell}, 'hex')"
        if kind == "bool" and self.lite:
            cell = f"CASE {cell} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"
        return f"coalesce(CAST({cell} AS TEXT), '')"

    def object(self, members: Iterable[tuple[str, str]]) -> str:
        """A JSON object of ``(name, SQL value)``."""
        parts = [f"{literal(name)}, {value}" for name, value in members]
        if not self.lite:
            objects = (", ".join(parts[n : n + _MOST]) for n in range(0, len(parts) or 1, _MOST))
            return " || ".join(f"jsonb_build_object({some})" for some in objects)
        if len(parts) <= _MOST:
            return f"json_object({', '.join(parts)})"
        rows = " UNION ALL SELECT ".join(["NULL AS name, NULL AS value WHERE false", *parts])
        return f"(SELECT json_group_object(name, value) FROM (SELECT {rows}))"

    @property
    def nothing(self) -> str:
        """NULL where JSON is kept."""
        return "NULL" if self.lite else "CAST(NULL AS jsonb)"

    def values(self, column: str, source: str) -> str:
        """A JSON array of the distinct values of *column* in *source* (FROM … AS g), ascending."""
        cell, value = self.cell(column, "d"), self.value(column, "d")
        order = f'{cell} COLLATE "C"' if self.kinds.get(column) == "string" else cell
        rows = f"SELECT DISTINCT {self.cell(column, 'g')} AS {self.cell(column, '')[1:]} {source}"
        if not self.lite:
            return (
                f"(SELECT coalesce(jsonb_agg({value} ORDER BY {order}), '[]') FROM ({rows}) AS d)"
            )
        number = "CAST({0} AS NUMERIC), " if self.kinds.get(column) in EXACT else ""
        ordered = f"SELECT * FROM ({rows}) AS d ORDER BY {number.format(cell)}{cell}"
        return f"json((SELECT json_group_array({value}) FROM ({ordered}) AS d))"

    def elements(self, column: str, alias: str) -> str:
        """A table ``e`` of the elements of the array in *column*; none when there is no array."""
        cell = self.cell(column, alias)
        if not self.lite:
            return f"pg_temp.tidegate_elements(CAST({cell} AS TEXT)) AS e(value)"
        array = f"json_valid({cell}) AND json_type({cell}) = 'array'"
        return f"json_each(CASE WHEN {array} THEN {cell} ELSE '[]' END) AS e"

    def member(self, name: str) -> str:
        """Member *name* of the element ``e`` as a JSON value; ``.`` is the element itself."""
        if not self.lite:
            return "e.value" if name == "." else f"(e.value -> {literal(name)})"
        if name == ".":
            return (
                "CASE e.type WHEN 'true' THEN json('true') WHEN 'false' THEN json('false') "
                "WHEN 'null' THEN NULL ELSE json(CASE WHEN e.type IN ('object', 'array') "
                "THEN e.value ELSE json_quote(e.value) END) END"
            )
        return f"CASE e.type WHEN 'object' THEN json(e.value -> {_path(name)}) END"

    def member_text(self, name: str) -> str:
        """The same as an entity's key: strings, numbers and booleans have one, others are NULL."""
        value = self.member(name)
        if not self.lite:
            plain = f"jsonb_typeof({value}) IN ('string', 'number', 'boolean')"
            return f"CASE WHEN {plain} THEN {value} #>> '{{}}' END"
        if name == ".":
            return (
                "CASE e.type WHEN 'text' THEN e.value WHEN 'integer' THEN CAST(e.value AS TEXT) "
                "WHEN 'real' THEN json_quote(e.value) WHEN 'true' THEN 'true' "
                "WHEN 'false' THEN 'false' END"
            )
        kind = f"json_type(e.value, {_path(name)})"
        return (
            f"CASE WHEN e.type <> 'object' THEN NULL WHEN {kind} = 'text' "
            f"THEN json_extract(e.value, {_path(name)}) "
            f"WHEN {kind} NOT IN ('object', 'array', 'null') THEN e.value -> {_path(name)} END"
        )


def joined(texts: list[str]) -> str:
    """The entity key that several texts make; NULL when one of them is."""
    if len(texts) == 1:
        return texts[0]
    return " || '|' || ".join(rf"replace(replace({t}, '\', '\\'), '|', '\|')" for t in texts)


def prepare(connection: Connection) -> None:
    """What :meth:`Json.elements` needs on this connection."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_ELEMENTS)


def _path(name: str) -> str:
    """The JSON path of a member, whatever its name holds."""
    import json

    return literal("$." + json.dumps(name, ensure_ascii=False))
