"""JSON Schema of a pipeline file, for editors: completion, descriptions, red lines.

``include/pipelines/schema.json`` is its text. It is looser than the reader where JSON Schema has
no words (a relation's ends, the columns there are), never stricter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tidegate.pipeline import kinds
from tidegate.pipeline.models import Source


def schema() -> dict[str, Any]:
    """The schema (draft 2020-12), from the models of all kinds of sources."""
    known = [kind for _, kind in sorted(kinds.kinds().items())]
    settings = kinds.defaults(known)
    models: list[type[BaseModel]] = [Source, settings, *(kind.stream for kind in known)]
    names, made = models_json_schema([(model, "validation") for model in models])
    definitions = made["$defs"]
    source = names[Source, "validation"]["$ref"].rsplit("/", 1)[1]
    for unused in ("Settings", "Stream"):
        definitions.pop(unused, None)
    for kind in known:  # the cleaning steps once, not for each kind
        clean = definitions[names[kind.stream, "validation"]["$ref"].rsplit("/", 1)[1]]
        clean = clean["properties"]["clean"]
        definitions["CleanStep"] = clean["items"]
        clean["items"] = {"$ref": "#/$defs/CleanStep"}
    found = {**definitions.pop(source), "$defs": definitions}
    properties = found["properties"]
    del properties["name"]  # the file's name is the source's
    properties["defaults"] = {
        **names[settings, "validation"],
        "description": properties["defaults"]["description"],
    }
    streams = properties["streams"]
    streams.pop("default", None)
    name = next(iter(streams["patternProperties"]))
    one = {"anyOf": [names[kind.stream, "validation"] for kind in known]}
    streams["patternProperties"] = {name: one if len(known) > 1 else one["anyOf"][0]}
    streams |= {"minProperties": 1, "additionalProperties": False}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "title": "A Tidegate pipeline file",
        "description": "One source: its connection, settings for all streams, and its streams.",
        "required": ["connection", "streams"],
    }


def text() -> str:
    """The schema as text, without a line end."""
    return json.dumps(schema(), indent=2, ensure_ascii=False, sort_keys=True)


def write(path: Path) -> None:
    """Write the schema to *path*."""
    path.write_text(text() + "\n", encoding="utf-8")
