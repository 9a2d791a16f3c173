"""Computed names: ``"{first} {last}"``, columns in braces; a brace itself is written twice."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[^{}]+")


def pieces(template: str) -> list[tuple[str, bool]]:
    """``(text, False)`` for what stands there, ``(column, True)`` for a column, in order.

    Raises ValueError when a brace is not closed, or nothing stands between braces.
    """
    found: list[tuple[str, bool]] = []
    place = 0
    while place < len(template):
        match = _PIECE.match(template, place)
        if match is None:
            raise ValueError(
                f"{template[:60]!r} has a brace without its other half, or nothing between them. "
                "Write columns like '{first} {last}', and a brace itself twice"
            )
        text = match[0]
        if match[1]:
            found.append((match[1], True))
        else:
            found.append((text[0] if text in {"{{", "}}"} else text, False))
        place = match.end()
    return found


def columns(template: str) -> tuple[str, ...]:
    """The columns that *template* names, each once."""
    return tuple(dict.fromkeys(text for text, is_column in pieces(template) if is_column))


def _checked(template: str) -> str:
    if not columns(template):
        raise ValueError(
            f"{template[:60]!r} names no column. Write columns like '{{first}} {{last}}'"
        )
    return template


Template = Annotated[str, AfterValidator(_checked), Field(examples=["{first} {last}"])]
"""Text with columns in braces."""
