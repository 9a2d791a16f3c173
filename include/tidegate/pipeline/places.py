"""What may stand at a place of the file: keys, descriptions and examples, from the models."""

from __future__ import annotations

from typing import Any, get_origin

from pydantic import BaseModel

from tidegate.clean.step import Step
from tidegate.clean.steps import STEPS
from tidegate.pipeline.document import Where

HIDDEN = "set by the reader, never written in a file"
"""The description of a field that is not offered."""


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for inner in getattr(annotation, "__args__", ()):
        found += _models(inner)
    return found


def _keys(model: type[BaseModel]) -> dict[str, Any]:
    return {
        info.alias or name: info
        for name, info in model.model_fields.items()
        if info.description != HIDDEN
    }


def examples(model: type[BaseModel], where: Where) -> str:
    """``" For example: 30s, 5m."`` for the field at *where*, or nothing."""
    for one in _at(model, where[:-1]) if where else ():
        field = _keys(one).get(str(where[-1]))
        found = [*(field.examples or ()), *_examples(field.annotation)] if field else []
        if found:
            return f" For example: {', '.join(str(example) for example in dict.fromkeys(found))}."
    return ""


def _examples(annotation: Any) -> list[Any]:
    found: list[Any] = []
    for part in getattr(annotation, "__metadata__", ()):
        found += getattr(part, "examples", None) or []
    for inner in getattr(annotation, "__args__", ()):
        found += _examples(inner)
    return found


def _at(model: type[BaseModel], where: Where) -> list[type[BaseModel]]:
    """The models that may stand at *where*, by the annotations on the way."""
    here: list[type[BaseModel]] = [model]
    named = False
    for part in where:
        if isinstance(part, int):
            continue
        if named:  # a name that the user chose
            named = False
            continue
        if here == [Step] and part in STEPS:
            here = [STEPS[part]]
            continue
        fields = [_keys(one)[part] for one in here if part in _keys(one)]
        here = [found for field in fields for found in _models(field.annotation)]
        named = any(get_origin(field.annotation) is dict for field in fields)
    return here


def known_at(model: type[BaseModel], where: Where) -> list[str]:
    """The keys that may stand at *where*."""
    return [name for one in _at(model, where) for name in _keys(one)]


def description(model: type[BaseModel], where: Where) -> str:
    """What the field at *where* is for, from its model."""
    for one in _at(model, where[:-1]):
        field = _keys(one).get(str(where[-1]))
        if field is not None and field.description:
            return str(field.description)
    return ""
