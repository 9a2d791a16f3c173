"""What statements in a binary log do to one table.

With rows in the log, statements there are definitions. Most keep the table's rows as they are;
some change rows of which the log does not tell.
"""

from __future__ import annotations

import re

_COMMENT = re.compile(r"/\*M?!\d*|/\*.*?\*/|\*/|--[^\n]*\n|#[^\n]*\n", re.DOTALL)
"""Comments; but what is in ``/*!50000 … */`` is run."""
_WHOLE = re.compile(r"(?:truncate|drop\s+table|rename\s+table)\b", re.IGNORECASE)
_ROWS = re.compile(
    r"(?:set\s+statement\b.*?\bfor\s+)?"
    r"(?:insert|replace|update|delete|load|with|select|do|call)\b"
    r"(?!(?:\s+(?:ignore|into|from))*\s+`?mysql`?\s*\.)",
    re.IGNORECASE | re.DOTALL,
)
"""Statements in the place of rows: triggers of any table may write ours, none of system tables."""
_DATABASE = re.compile(
    r"drop\s+(?:database|schema)\s+(?:if\s+exists\s+)?(?P<name>`[^`]+`|[\w$]+)", re.IGNORECASE
)
_CREATE = re.compile(
    r"create\s+(?:or\s+replace\s+)?table\s+(?:if\s+not\s+exists\s+)?(?P<name>(?:`[^`]+`|[\w$.])+)",
    re.IGNORECASE,
)
_ALTER = re.compile(
    r"alter\s+(?:online\s+)?(?:ignore\s+)?table\s+(?:if\s+exists\s+)?"
    r"(?P<name>(?:`[^`]+`|[\w$.])+)(?P<what>.*)",
    re.IGNORECASE | re.DOTALL,
)
_MOVES = re.compile(
    r"\brename\s+(?!column|index|key)|\b(?:drop|truncate|exchange|discard|import)\s+"
    r"(?:partition|tablespace)",
    re.IGNORECASE,
)


def unseen(query: str, database: str, schema: str, table: str) -> bool:
    """Whether *query*, run in *database*, may change rows of ``schema.table`` unseen by the log."""
    text = _COMMENT.sub(" ", query).strip()
    if _ROWS.match(text):
        return True
    if _WHOLE.match(text):
        return _mentions(text, database, schema, table)
    if found := _DATABASE.match(text):
        return found["name"].strip("`").lower() == schema.lower()
    if found := _CREATE.match(text):
        return _is(found["name"], database, schema, table)
    if found := _ALTER.match(text):
        return (
            _is(found["name"], database, schema, table) and _MOVES.search(found["what"]) is not None
        ) or (_MOVES.search(found["what"]) is not None and _mentions(text, database, schema, table))
    return False


def _mentions(text: str, database: str, schema: str, table: str) -> bool:
    names = re.finditer(r"(?:(?:`[^`]+`|[\w$]+)\s*\.\s*)?(?:`[^`]+`|[\w$]+)", text)
    return any(_is(name[0], database, schema, table) for name in names)


def _is(name: str, database: str, schema: str, table: str) -> bool:
    parts = [part.strip(" `\n\t").lower() for part in re.findall(r"`[^`]+`|[^.`]+", name)]
    place = parts[-2] if len(parts) > 1 else database.lower()
    return parts[-1] == table.lower() and place == schema.lower()
