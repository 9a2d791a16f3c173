r"""An entity's key as text, in SQL: the same text on both databases.

One column: its text. Several: their texts joined with ``|``, ``\`` and ``|`` escaped. NULL when any
of them is NULL. Octets are written in hexadecimal, times with all six digits, exact numbers without
zeros at the end: their column may become wider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.store.sqltext import quoted
from tidegate.types import Column

_POSTGRES = {
    **dict.fromkeys(("decimal", "numeric"), "trim_scale(CAST({cell} AS numeric))\\:\\:text"),
    "time": "to_char({cell}, 'HH24:MI:SS.US')",
    "datetime": "to_char({cell}, 'YYYY-MM-DD HH24:MI:SS.US')",
    "timestamp": "to_char({cell} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || 'Z'",
    "bytes": "encode({cell}, 'hex')",
    "string": "{cell}",
}
_TRIMMED = "CASE WHEN instr({cell}, '.') > 0 THEN rtrim(rtrim({cell}, '0'), '.') ELSE {cell} END"
_SQLITE = {
    **dict.fromkeys(("decimal", "numeric"), _TRIMMED),
    "bool": "CASE {cell} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END",
    "bytes": "CASE WHEN {cell} IS NOT NULL THEN lower(hex({cell})) END",
    "int16": "CAST({cell} AS TEXT)",
    "int32": "CAST({cell} AS TEXT)",
    "int64": "CAST({cell} AS TEXT)",
}


def expression(dialect: str, column: Column, alias: str) -> str:
    """The text of *column* of the table called *alias*; for SQLAlchemy's text()."""
    cell = f"{alias}.{quoted(column.name)}".replace(":", "\\:")
    texts, other = (_SQLITE, "{cell}") if dialect == "sqlite" else (_POSTGRES, "{cell}\\:\\:text")
    text = texts.get(column.type.name, other).replace(":MI:SS", "\\:MI\\:SS")
    return text.replace("{cell}", cell)


def key(dialect: str, columns: Mapping[str, Column], names: Sequence[str], alias: str) -> str:
    """The key that the columns *names* make; NULL when the stream has one of them no longer."""
    if any(name not in columns for name in names):
        return "CAST(NULL AS TEXT)"
    texts = [expression(dialect, columns[name], alias) for name in names]
    if len(texts) == 1:
        return texts[0]
    return " || '|' || ".join(_escaped(text) for text in texts)


def _escaped(text: str) -> str:
    return rf"replace(replace({text}, '\', '\\'), '|', '\|')"
