"""Values put into bodies and messages, and found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.sources.rows.records import reach

PLACE = "{value}"


def fill(template: Any, value: Any) -> Any:
    """*template* with *value* wherever it says ``{value}``; a text that is all of it becomes it."""
    if isinstance(template, str):
        return value if template == PLACE else template.replace(PLACE, str(value))
    if isinstance(template, Mapping):
        return {name: fill(item, value) for name, item in template.items()}
    if isinstance(template, Sequence):
        return [fill(item, value) for item in template]
    return template


def put(body: Any, path: Sequence[str], value: Any) -> Any:
    """*body* with *value* at *path*; mappings on the way are made where there are none."""
    if not path:
        return value
    here = dict(body) if isinstance(body, Mapping) else {}
    here[path[0]] = put(here.get(path[0]), path[1:], value)
    return here


def at(value: Any, path: str | Sequence[str]) -> Any:
    """What lies at *path* (``a.b``, or its steps) inside *value*; None: nothing."""
    return reach(value, path.split(".") if isinstance(path, str) else path)
