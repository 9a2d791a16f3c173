"""From a pipeline file to its models, or to a message that says what to mend.

A file that cannot be read breaks alone; a stream with a mistake breaks alone. Every mistake is a
line "file:line: path: what is wrong, with the value. What would be right."
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from tidegate.errors import ConfigError
from tidegate.fields import Strict
from tidegate.pipeline import document
from tidegate.pipeline.document import Document, Mistake, Where
from tidegate.pipeline.explain import ADDRESS, ELSEWHERE, Context, explain, path_text, show
from tidegate.pipeline.models import Name, Settings, Source, Stream

LISTED = 25
"""Mistakes listed in one message; more help nobody."""

_Model = TypeVar("_Model", bound=Strict)

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_NAME_RULE = (
    "Use lower-case letters, digits and single underscores, beginning with a letter, "
    "at most 40 characters"
)
_IN_SOURCE = {
    "name": "A source is called as its file.",
    **dict.fromkeys(Settings.model_fields, "Write it under 'defaults:' or under a stream."),
    **dict.fromkeys(
        Stream.model_fields.keys() - Settings.model_fields.keys(),
        "Write it under a stream, as in streams: {orders: {…}}.",
    ),
}
_IN_DEFAULTS = {
    **dict.fromkeys(Source.model_fields, "Write it at the top of the file, without indentation."),
    **dict.fromkeys(
        Stream.model_fields.keys() - Settings.model_fields.keys(),
        "It differs from stream to stream: write it under a stream.",
    ),
}
_IN_STREAM = {
    **dict.fromkeys(Source.model_fields, "Write it at the top of the file, without indentation."),
    "name": "A stream is called as its key under 'streams:'.",
}


@dataclass(frozen=True)
class PipelineFile:
    """One file: what is good in it, and what is broken.

    name     the source's name, from the file's
    source   None when the whole file is broken; then *streams* is empty
    streams  the valid ones by name
    broken   name of a stream (or of the file, when *source* is None) → what to mend
    """

    path: Path
    name: str
    source: Source | None = None
    streams: dict[str, Stream] = field(default_factory=dict)
    broken: dict[str, ConfigError] = field(default_factory=dict)


def read_all(folder: Path) -> list[PipelineFile]:
    """Every pipeline file in *folder*, by name; hidden files are left alone."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"{folder}: the folder of the pipeline files cannot be read ({reason}). "
            "Create it, or set TIDEGATE_PIPELINES."
        ) from error
    return [
        read_file(path)
        for path in paths
        if path.suffix.lower() in {".yaml", ".yml"}
        and not path.name.startswith(".")
        and not path.is_dir()
    ]


def read_file(path: Path) -> PipelineFile:
    """What *path* says; never raises for anything the file says or is."""
    if path.suffix != ".yaml":
        error = ConfigError(f"{path.name}: pipeline files end in .yaml. Rename it.")
        return PipelineFile(path, path.name, broken={path.name: error})
    try:
        found = document.read(path)
        return _File(path, found).read()
    except ConfigError as error:
        return PipelineFile(path, path.stem, broken={path.stem: error})


class _File:
    """One document on its way to models."""

    def __init__(self, path: Path, found: Document) -> None:
        self.path = path
        self.name = path.stem
        self.document = found
        self.early: dict[str | None, list[Mistake]] = {}
        for mistake in [*found.mistakes, *_addresses(found.data)]:
            self.early.setdefault(self._stream_of(mistake.where), []).append(mistake)

    def _stream_of(self, where: Where) -> str | None:
        data = self.document.data
        streams = data.get("streams") if isinstance(data, dict) else None
        if not isinstance(streams, dict) or len(where) < 2 or where[0] != "streams":
            return None
        return str(where[1]) if where[1] in streams else None

    def read(self) -> PipelineFile:
        """Models of all that is valid; raises ConfigError when the file as a whole is not."""
        data = self.document.data
        if not isinstance(data, dict):
            raise ConfigError(
                f"{self.path.name}:1: a pipeline file is a mapping with 'connection:' and "
                f"'streams:', not {show(data)}."
            )
        source, defaults, wrong = self._source(data)
        streams: dict[str, Stream] = {}
        broken: dict[str, ConfigError] = {}
        everything = list(wrong)
        found = data.get("streams")
        for name, value in found.items() if isinstance(found, dict) else ():
            stream, mistakes = self._stream(name, value, defaults)
            everything += mistakes
            if stream is None:
                broken[name] = self._error(mistakes)
            else:
                streams[name] = stream
        if wrong or source is None:
            raise self._error(everything)
        source = source.model_copy(update={"streams": streams})
        return PipelineFile(self.path, self.name, source, streams, broken)

    def _source(self, data: dict[str, Any]) -> tuple[Source | None, dict[str, Any], list[Mistake]]:
        mistakes = self.early.get(None, []) + self._file_name() + _streams_problem(data)
        raw = data.get("defaults", {})
        defaults, wrong = _validated(Settings, raw, ("defaults",), _IN_DEFAULTS)
        mistakes += wrong
        top = {key: value for key, value in data.items() if key not in {"defaults", "streams"}}
        if "name" in top:
            text = f"this key does not belong here. {_IN_SOURCE['name']}"
            mistakes.append(Mistake(("name",), text))
        named = {**top, "name": "stand_in"}  # the real one is checked in its own words
        source, wrong = _validated(Source, named, (), _IN_SOURCE)
        mistakes += wrong
        if mistakes or source is None or defaults is None:
            return None, {}, mistakes
        return source.model_copy(update={"name": self.name, "defaults": defaults}), raw, []

    def _file_name(self) -> list[Mistake]:
        if _is_name(self.name):
            return []
        text = f"the file's name is the source's name, and {show(self.name)} cannot be one."
        proposal = _proposal(self.name, ".yaml")
        return [Mistake((), f"{text} {_NAME_RULE}: rename the file{proposal}.")]

    def _stream(
        self, name: str, value: Any, defaults: dict[str, Any]
    ) -> tuple[Stream | None, list[Mistake]]:
        where = ("streams", name)
        mistakes = list(self.early.get(name, []))
        if not _is_name(name):
            text = f"{show(name)} cannot be the name of a stream. {_NAME_RULE}"
            mistakes.append(Mistake(where, f"{text}{_proposal(name)}."))
        data = {**defaults, **value} if isinstance(value, dict) else value
        stream, wrong = _validated(Stream, data, where, _IN_STREAM)
        mistakes += wrong
        return (None if mistakes else stream), mistakes

    def _error(self, mistakes: list[Mistake]) -> ConfigError:
        placed = sorted(
            ((mistake.line or self.document.line(mistake.where), mistake) for mistake in mistakes),
            key=lambda pair: (self._stream_of(pair[1].where) is not None, pair[0]),
        )
        lines = []
        for line, mistake in placed[:LISTED]:
            path = path_text(mistake.where)
            lines.append(f"{self.path.name}:{line}: {path}{': ' if path else ''}{mistake.message}")
        if len(placed) > LISTED:
            lines.append(f"… and {len(placed) - LISTED} more.")
        return ConfigError("\n".join(lines))


def _validated(
    model: type[_Model], data: Any, where: Where, elsewhere: dict[str, str]
) -> tuple[_Model | None, list[Mistake]]:
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


def _streams_problem(data: dict[str, Any]) -> list[Mistake]:
    streams = data.get("streams")
    if isinstance(streams, dict) and streams:
        return []
    like = "Write the tables under it, like 'streams: {orders: {table: orders, …}}'."
    if "streams" not in data:
        return [Mistake(("streams",), f"is missing. {like}")]
    if not streams:
        return [Mistake(("streams",), f"is empty. {like}")]
    text = f"must be a mapping of names to tables, not {show(streams)}. {like}"
    return [Mistake(("streams",), text)]


def _is_name(text: str) -> bool:
    try:
        _NAME.validate_python(text)
    except ValidationError:
        return False
    return True


def _proposal(name: str, suffix: str = "") -> str:
    """``", for example order_lines"``, when one can be made of *name*."""
    words = "".join(char if char.isascii() and char.isalnum() else " " for char in name.lower())
    made = "_".join(words.split())[:40].strip("_")
    return f", for example {made}{suffix}" if _is_name(made) else ""


def _addresses(data: Any, where: Where = ()) -> Iterator[Mistake]:
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
        yield from _addresses(key, where)
        yield from _addresses(value, (*where, key))
