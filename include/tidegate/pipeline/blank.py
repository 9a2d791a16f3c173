"""A new pipeline file for one kind of source: commented, and right as it stands.

Every setting is there with its default and what it does, those that need no value as a comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from tidegate.pipeline.kinds import Kind, Proposal
from tidegate.pipeline.models import Settings, Stream

WIDTH = 34
"""Where remarks begin."""
_PLACES = {"primary_key": "id", "columns": {"id": "int64", "name": "string"}}
"""What stands where only the user knows better."""


def text(kind: Kind, connection: str | None, proposals: Iterable[Proposal] = ()) -> str:
    """The file's text; without *proposals*, a stream with everything a stream of *kind* needs."""
    streams = list(proposals) or [Proposal("example", _needed(kind.stream))]
    lines = [
        "# yaml-language-server: $schema=schema.json",
        "#",
        f"# A source of kind {kind.name}. The source is called as this file.",
        "# `tidegate check --connect` says what is wrong here, where, and what would be right.",
        "",
        *_line("connection", connection or f"{kind.name}_db", f"an Airflow connection of type "
               f"{' or '.join(kind.connections)}"),
        "",
        "# What the streams share; each of them may say otherwise for itself.",
        "defaults:",
        *_indented(_line("schedule", "1m", _remark(Settings.model_fields["schedule"]))),
        *_indented(_watching(kind)),
        *_indented(_optional(kind.settings, skip={"schedule", "watch"})),
        "",
        "streams:",
    ]  # fmt: skip
    taken: set[str] = set()
    for number, one in enumerate(streams):
        name = _name(one.name, taken)
        lines += ["", f"  {name}:", *_indented(_stream(one), 4)]
        if number == 0:
            own = {*one.says, *kind.settings.model_fields}
            lines += _indented(_optional(kind.stream, skip=own), 4)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _watching(kind: Kind) -> Iterator[str]:
    """Fresh at once, where that is cheap; the schedule is the safety net then."""
    if kind.watch is not None:
        yield from _line("watch", True, _remark(Settings.model_fields["watch"]))


def _needed(stream: type[Stream]) -> dict[str, Any]:
    """What a stream cannot do without, what it reads first."""
    required = [name for name, about in stream.model_fields.items() if about.is_required()]
    names = sorted(required, key=lambda name: (name != stream.reads, name not in _PLACES))
    says = {name: _example(name, stream.model_fields[name]) for name in names}
    extra: Any = stream.model_config.get("json_schema_extra") or {}
    for choice in extra.get("anyOf", [])[:1]:
        says |= {name: _example(name, stream.model_fields[name]) for name in choice["required"]}
    return says


def _example(name: str, about: FieldInfo) -> Any:
    if name in _PLACES:
        return _PLACES[name]
    return about.examples[0] if about.examples else "orders"


def _stream(one: Proposal) -> Iterator[str]:
    for key, value in one.says.items():
        yield from _line(key, value, one.notes.get(key, ""))


def _optional(model: type[Settings], skip: Iterable[str]) -> Iterator[str]:
    """All that *model* may say beside, as comments."""
    for name, about in model.model_fields.items():
        if name not in set(skip) and not about.is_required():
            yield from _line(f"# {name}", _default(about), _remark(about))


def _default(about: FieldInfo) -> Any:
    value = about.get_default(call_default_factory=True)
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_none=True)
    if value is None and about.examples:
        return about.examples[0]
    return list(value) if isinstance(value, tuple) else value


def _remark(about: FieldInfo) -> str:
    return about.description or ""


def _line(key: str, value: Any, remark: str) -> Iterator[str]:
    """``key: value  # remark``; a remark too long for the line stands above it."""
    remark = "".join(sign for sign in " ".join(remark.split()) if sign.isprintable())
    said = f"{key}:" if value is None else f"{key}: {_flow(value)}"
    if not remark:
        yield said
    elif len(said) < WIDTH and len(remark) < 100 - WIDTH:
        yield f"{said:{WIDTH}}# {remark}"
    else:
        mark = "## " if key.startswith("# ") else "# "
        yield f"{mark}{remark}"
        yield said


def _flow(value: Any) -> str:
    """*value* on one line, as the reader will read it."""
    if isinstance(value, str):
        plain = yaml.safe_dump(value, allow_unicode=True, width=10_000).removesuffix("\n...\n")
        return plain.strip() if "\n" not in plain.strip() else json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value)


def _indented(lines: Iterable[str], by: int = 2) -> list[str]:
    return [" " * by + line for line in lines]


def _name(text: str, taken: set[str]) -> str:
    """A stream's name made of *text*, unlike those *taken*."""
    words = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "stream"
    made = words[:36].strip("_") if words[0].isalpha() else f"s_{words[:34]}".strip("_")
    made = re.sub("_+", "_", made)
    name, number = made, 2
    while name in taken or name in {"doctor", "verify"}:
        name, number = f"{made}_{number}", number + 1
    taken.add(name)
    return name
