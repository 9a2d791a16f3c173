"""JSON Schema of a pipeline file, for editors: completion, descriptions, red lines.

``include/pipelines/schema.json`` is its text. It is looser than the reader where JSON Schema has
no words (a relation's ends, the columns there are), never stricter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tidegate.pipeline.models import Source


def schema() -> dict[str, Any]:
    """The schema (draft 2020-12), from the models."""
    found = Source.model_json_schema()
    properties = found["properties"]
    del properties["name"]  # the file's name is the source's
    properties["streams"].pop("default", None)
    properties["streams"] |= {"minProperties": 1, "additionalProperties": False}
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
