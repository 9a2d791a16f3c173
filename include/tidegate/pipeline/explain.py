"""What pydantic found, in plain words: path, value, what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tidegate.fields import did_you_mean
from tidegate.pipeline.document import Mistake, Where
from tidegate.pipeline.places import description, examples, known_at

SECRET = re.compile(
    r"passw|passphrase|secret|token|credential|(api|private|access)_?key"
    r"|(?<![a-z])(pwd|uri|url|dsn|login|user|username|host|hostname|port|database)(?![a-z])",
    re.IGNORECASE,
)
ADDRESS = re.compile(r"://[^\s/]{1,300}@")
ELSEWHERE = (
    "Credentials and addresses belong in the Airflow connection (Admin, Connections); "
    "a pipeline file names only its id."
)
MOST = 40
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

_KINDS = {
    "string": "text", "int": "a whole number", "float": "a number", "bool": "true or false",
    "tuple": "a list", "list": "a list", "set": "a list", "dict": "a mapping (key: value)",
    "model": "a mapping (key: value)", "mapping": "a mapping (key: value)", "decimal": "a number",
}  # fmt: skip
_PATTERNS = {
    r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$":
        "Use lower-case letters, digits and single underscores, beginning with a letter, "
        "like order_lines",
    r"^[A-Za-z][A-Za-z0-9_]*$":
        "Use letters, digits and underscores, beginning with a letter, like Customer",
    r"^[A-Za-z0-9_.-]+$":
        "Use letters, digits, '_', '.' and '-', like shop_db",
    r"^[A-Za-z_][A-Za-z0-9_]*$":
        "Use letters, digits and underscores",
}  # fmt: skip


def show(value: Any) -> str:
    """*value* as the file has it, short, and never with a password in it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str) and ADDRESS.search(value):
        return "an address with credentials"
    if isinstance(value, str) and len(value) > 60:
        value = value[:57] + "..."
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def path_text(where: Where) -> str:
    """``streams.orders.expect[0]``; keys that are not plain words stand in quotes."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _BARE.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{show(part)}]"
    return text


def unknown_key(key: str, known: Iterable[str], elsewhere: Mapping[str, str] | None = None) -> str:
    """The message for a key that is not *known*; *elsewhere* says where it does belong."""
    names = sorted(known)
    near = did_you_mean(key, names)
    if SECRET.search(key[:100]):
        return f"this key is not allowed. {ELSEWHERE}"
    if elsewhere and key in elsewhere:
        return f"this key does not belong here. {elsewhere[key]}"
    if near:
        return f"unknown key.{near}"
    return f"unknown key. Known: {', '.join(names)}." if names else "unknown key. Delete it."


@dataclass(frozen=True)
class Context:
    """What is validated, and how to name what its places allow.

    data       the raw data that was given to *model*
    elsewhere  for unknown keys at the top: where they belong
    """

    data: Any
    model: type[BaseModel]
    elsewhere: Mapping[str, str]


def explain(error: ValidationError, context: Context) -> list[Mistake]:
    """What is wrong, place by place (at most some dozens); paths begin at the data's root."""
    groups: dict[Where, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        groups.setdefault(_real(details, context.data), []).append(details)
    mistakes = []
    for where, found in list(_settled(groups).items())[:MOST]:
        texts = dict.fromkeys(_words(where, found, context))
        mistakes += [Mistake(where, text) for text in texts]
    return _without_echoes(mistakes)


def _without_echoes(mistakes: list[Mistake]) -> list[Mistake]:
    """Without "is missing" for a key that is there, misspelt, and named as such."""
    meant = {
        (*mistake.where[:-1], found[1])
        for mistake in mistakes
        if (found := re.fullmatch(r"unknown key\. Did you mean '(.+)'\?", mistake.message))
    }
    return [
        mistake
        for mistake in mistakes
        if mistake.where not in meant or not mistake.message.startswith("is missing")
    ]


def _real(details: ErrorDetails, data: Any) -> Where:
    """The error's path without the labels pydantic adds for unions and validators."""
    where: list[str | int] = []
    for part in details["loc"]:
        inside = isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data)
        if inside or (isinstance(data, dict) and part in data):
            data = data[part]
        elif data != part:  # '- trim' is short for '- trim:'
            continue
        where.append(part)
    if details["type"] in {"missing", "plain_missing"}:
        where.append(details["loc"][-1])
    return tuple(where)


def _is_kind(details: ErrorDetails) -> bool:
    return details["type"].endswith("_type") and details["type"].removesuffix("_type") in _KINDS


def _settled(groups: dict[Where, list[ErrorDetails]]) -> dict[Where, list[ErrorDetails]]:
    """Of a union's errors keep those of the branch that fits the value's kind."""
    around = {where[:length] for where in groups for length in range(len(where))}
    kept: dict[Where, list[ErrorDetails]] = {}
    for where, found in groups.items():
        real = [details for details in found if not _is_kind(details)]
        if real:
            kept[where] = real
        elif where not in around:
            kept[where] = found
    return kept


def _words(where: Where, found: list[ErrorDetails], context: Context) -> list[str]:
    kinds = [details for details in found if _is_kind(details)]
    if kinds:
        return [_kind_words(where, kinds, examples(context.model, where))]
    return [_one(where, details, context) for details in found]


def _kind_words(where: Where, found: list[ErrorDetails], example: str) -> str:
    value = found[0]["input"]
    names = dict.fromkeys(_KINDS[details["type"].removesuffix("_type")] for details in found)
    *first, last = names
    wanted = f"{', '.join(first)} or {last}" if first else last
    if where and where[-1] == "connection":
        return f"must be the id of an Airflow connection, not {show(value)}. {ELSEWHERE}"
    if value is None:
        return f"nothing is written here; it must be {wanted}. Write a value or delete the key."
    hint = example
    if not hint and names.keys() == {"text"} and isinstance(value, (int, float)):
        hint = f" Put it in quotes: '{show(value)}'."
    elif isinstance(value, str) and names.keys() & {"a whole number", "a number"}:
        hint = " Write it without quotes, in decimal digits, with no leading zero."
    elif isinstance(value, str) and "true or false" in names:
        hint = " Only true and false are booleans here, in lower case and without quotes."
    return f"must be {wanted}, not {show(value)}.{hint}"


Say = Callable[[ErrorDetails], str]


def _ctx(details: ErrorDetails) -> dict[str, Any]:
    return details.get("ctx", {})


_COMPARED = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def _limits(details: ErrorDetails) -> str:
    context = _ctx(details)
    for key, words in _COMPARED.items():
        if key in context:
            return f"must be {words} {context[key]}, not {show(details['input'])}."
    return "is out of range."


def _length(details: ErrorDetails) -> str:
    context = _ctx(details)
    if not details["input"]:
        return "is empty. Write at least one value."
    if "min_length" in context:
        return f"must have at least {context['min_length']} characters or items."
    return (
        f"is too long: {len(details['input'])}, at most {context.get('max_length')} are allowed. "
        "Shorten it."
    )


def _literal(details: ErrorDetails) -> str:
    allowed = re.findall(r"'([^']*)'", str(_ctx(details).get("expected")))
    value = details["input"]
    if value is None and "null" in allowed:
        return "null without quotes means nothing. Put it in quotes: 'null'."
    near = did_you_mean(value, allowed) if isinstance(value, str) else ""
    return f"{show(value)} is not known.{near} Write one of: {', '.join(allowed)}."


def _pattern(details: ErrorDetails) -> str:
    pattern = str(_ctx(details).get("pattern"))
    rule = _PATTERNS.get(pattern, f"It must match the pattern {pattern}")
    return f"{show(details['input'])} cannot be used here. {rule}."


def _said(details: ErrorDetails) -> str:
    text = str(_ctx(details).get("error") or details["msg"]).strip()
    return text if text.endswith((".", "?", "!")) else f"{text}."


_SAY: dict[str, Say] = {
    "greater_than": _limits, "greater_than_equal": _limits, "less_than": _limits,
    "less_than_equal": _limits, "too_short": _length, "too_long": _length,
    "string_too_short": _length, "string_too_long": _length, "literal_error": _literal,
    "enum": _literal, "string_pattern_mismatch": _pattern, "value_error": _said,
    "assertion_error": _said,
    "int_from_float": lambda details: f"must be a whole number, not {show(details['input'])}.",
    "finite_number": lambda details: f"must be a finite number, not {show(details['input'])}.",
}  # fmt: skip


def _one(where: Where, details: ErrorDetails, context: Context) -> str:
    kind = details["type"]
    name = str(where[-1]) if where else ""
    if name == "connection" and kind in {"string_pattern_mismatch", "string_too_short"}:
        return _connection(details["input"])
    if kind == "extra_forbidden":
        elsewhere = context.elsewhere if len(where) == 1 else None
        return unknown_key(name, known_at(context.model, where[:-1]), elsewhere)
    if kind == "missing":
        about = description(context.model, where)
        return f"is missing. Add '{name}:'" + (f" – {about}." if about else ".")
    return _SAY[kind](details) if kind in _SAY else _said(details)


def _connection(value: Any) -> str:
    if re.search(r"[/@:]", str(value)):
        return f"this looks like an address, not the id of an Airflow connection. {ELSEWHERE}"
    return f"{show(value)} cannot be an Airflow connection id. {_PATTERNS[r'^[A-Za-z0-9_.-]+$']}."
