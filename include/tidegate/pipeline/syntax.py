"""What the YAML parser says, in plain words; never with the line itself, it may hold a secret."""

from __future__ import annotations

from typing import Any

import yaml

_COLON = (
    "a ':' stands where none can be. Text that holds ': ' needs quotes; otherwise look at the "
    "indentation"
)
_CHARACTER = (
    "a character stands here that cannot begin a value. Indent with spaces, not tabs, and put "
    "text that begins with @, ` or % in quotes"
)
_AFTER_END = "the file goes on after its end. One document per file; look at the indentation"
_KEY = "the indentation does not fit the lines above, or a key or list item is missing"
_LIST = "a list in [ ] is not closed, or a comma is missing"
_MAPPING = "a mapping in { } is not closed, or a comma is missing"
_TAG = "unknown tag. Tags (!…) are not used here; put text that begins with '!' in quotes"

_PLAIN = {
    "mapping values are not allowed": _COLON,
    "that cannot start any token": _CHARACTER,
    "could not find expected ':'": "a key without ':'. Write 'key: value'",
    "expected <document start>": _AFTER_END,
    "expected key": _KEY,
    "expected <block end>": _KEY,
    "expected '-' indicator": "the indentation does not fit the list above",
    "expected ',' or ']'": _LIST,
    "expected ',' or '}'": _MAPPING,
    "found unexpected end of stream": "a quote is opened and never closed",
    "undefined tag handle": _TAG,
    "invalid Unicode character escape": "an escape (\\u…) in double quotes is not a character",
    "unknown escape character": "an unknown escape (\\…) in double quotes. Single quotes need none",
}
"""Words of libyaml or of PyYAML → ours."""


def explain(error: yaml.MarkedYAMLError, name: str) -> str:
    """The message for text that is not YAML."""
    mark = error.problem_mark or error.context_mark
    place = f"{name}:{mark.line + 1}" if mark else name
    column = f" (column {mark.column + 1})" if mark else ""
    problem = error.problem or error.context or "it cannot be read"
    plain = next((plain for words, plain in _PLAIN.items() if words in problem), problem)
    begun = error.context_mark
    if begun and mark and begun.line != mark.line:
        plain += f"; what begins on line {begun.line + 1} is not complete"
    return f"{place}: this is not YAML{column}: {plain}."


def character(error: yaml.reader.ReaderError, place: str) -> str:
    """The message for a character that YAML does not allow."""
    found: Any = error.character
    code = found if isinstance(found, int) else ord(str(found)[:1] or "\0")
    return (
        f"{place}: the character U+{code:04X} is not allowed in YAML. "
        "Delete it, or write it as an escape in double quotes."
    )
