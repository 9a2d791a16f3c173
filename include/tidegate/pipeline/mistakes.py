"""From raw data to a model, or to mistakes at their places; and from those to one message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import ValidationError

from tidegate.errors import ConfigError
from tidegate.fields import Strict
from tidegate.pipeline.document import Document, Mistake, Where
from tidegate.pipeline.explain import ADDRESS, ELSEWHERE, Context, explain, path_text

LISTED = 25
"""Mistakes listed in one message; more help nobody."""

_Model = TypeVar("_Model", bound=Strict)


def validated(
    model: type[_Model], data: Any, where: Where, elsewhere: dict[str, str]
) -> tuple[_Model | None, list[Mistake]]:
    """The model of *data*, which stands at *where*; or what is wrong with it."""
    try:
        return model.model_validate(_frozen(data), strict=True), []
    except ValidationError as error:
        found = explain(error, Context(data, model, elsewhere))
        return None, [Mistake((*where, *one.where), one.message) for one in found]


def _frozen(value: Any) -> Any:
    """*value* with tuples for lists: in strict mode a tuple field takes nothing else."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value


def error(file: str, document: Document, mistakes: Iterable[Mistake]) -> ConfigError:
    """All of them in one message, "file:line: path: words", those of no stream first."""
    placed = sorted(
        ((mistake.line or document.line(mistake.where), mistake) for mistake in mistakes),
        key=lambda pair: (stream_of(document, pair[1].where) is not None, pair[0]),
    )
    lines = []
    for line, mistake in placed[:LISTED]:
        path = path_text(mistake.where)
        lines.append(f"{file}:{line}: {path}{': ' if path else ''}{mistake.message}")
    if len(placed) > LISTED:
        lines.append(f"… and {len(placed) - LISTED} more.")
    return ConfigError("\n".join(lines))


def stream_of(document: Document, where: Where) -> str | None:
    """The stream that *where* is inside of."""
    data = document.data
    streams = data.get("streams") if isinstance(data, dict) else None
    if not isinstance(streams, dict) or len(where) < 2 or where[0] != "streams":
        return None
    return str(where[1]) if where[1] in streams else None


def addresses(data: Any, where: Where = ()) -> Iterator[Mistake]:
    """Texts that carry a user or a password, anywhere."""
    if isinstance(data, str):
        if where != ("connection",) and ADDRESS.search(data):
            yield Mistake(where, f"an address with credentials stands here. {ELSEWHERE}")
        return
    pairs: Iterable[tuple[str | int, Any]] = ()
    if isinstance(data, dict):
        pairs = data.items()
    elif isinstance(data, list):
        pairs = enumerate(data)
    for key, value in pairs:
        yield from addresses(key, where)
        yield from addresses(value, (*where, key))
