"""From a pipeline file to its models, or to a message that says what to mend.

A file that cannot be read breaks alone; a stream with a mistake breaks alone. Every mistake is a
line "file:line: path: what is wrong, with the value. What would be right."
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tidegate.errors import ConfigError
from tidegate.pipeline import document, kinds
from tidegate.pipeline.document import Document, Mistake
from tidegate.pipeline.explain import show
from tidegate.pipeline.mistakes import addresses, error, stream_of, validated
from tidegate.pipeline.models import Name, Source, Stream
from tidegate.pipeline.vocabulary import FILE, Vocabulary

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_NAME_RULE = (
    "Use lower-case letters, digits and single underscores, beginning with a letter, "
    "at most 40 characters"
)
_TAKEN = {"doctor", "verify"}
"""A source's own DAGs: shop.doctor, shop.verify."""
_OURS = "tidegate"
"""The DAGs of the store: tidegate.verify, tidegate.derive."""
_AT_THE_TOP = "Write it at the top of the file, without indentation."
_IN_STREAM = {
    **dict.fromkeys(Source.model_fields, _AT_THE_TOP),
    "name": "A stream is called as its key under 'streams:'.",
}
_IN_VOCABULARY = dict.fromkeys(
    (*Source.model_fields, *Stream.model_fields), "It belongs into a source's file."
)


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
    """Every pipeline file in *folder*, by name; hidden files are left alone.

    A vocabulary is read with them, and listed when it is broken; the streams run on without it,
    with the words that the store knows.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"{folder}: the folder of the pipeline files cannot be read ({reason}). "
            "Create it, or set TIDEGATE_PIPELINES."
        ) from error
    files = [
        path
        for path in paths
        if path.suffix.lower() in {".yaml", ".yml"}
        and not path.name.startswith(".")
        and not path.is_dir()
    ]
    shared = folder / FILE
    broken: list[PipelineFile] = []
    vocabulary: Vocabulary | None = None
    try:
        vocabulary = read_vocabulary(shared) if shared in files else Vocabulary()
    except ConfigError as problem:
        broken = [PipelineFile(shared, shared.stem, broken={shared.stem: problem})]
    return broken + [read_file(path, vocabulary) for path in files if path != shared]


def read_file(path: Path, vocabulary: Vocabulary | None = None) -> PipelineFile:
    """What *path* says with the words of *vocabulary*; never raises for anything it says or is."""
    if path.suffix != ".yaml":
        wrong = ConfigError(f"{path.name}: pipeline files end in .yaml. Rename it.")
        return PipelineFile(path, path.name, broken={path.name: wrong})
    try:
        found = document.read(path)
        return _File(path, found, vocabulary).read()
    except ConfigError as wrong:
        return PipelineFile(path, path.stem, broken={path.stem: wrong})


def read_vocabulary(path: Path) -> Vocabulary:
    """What the vocabulary in *path* declares; raises ConfigError that lists what to mend."""
    found = document.read(path, "'types:'")
    mistakes = [*found.mistakes, *addresses(found.data)]
    if not isinstance(found.data, dict):
        text = f"a vocabulary is a mapping with 'types:' and 'relations:', not {show(found.data)}."
        raise ConfigError(f"{path.name}:1: {text}")
    vocabulary, wrong = validated(Vocabulary, found.data, (), _IN_VOCABULARY)
    if vocabulary is None or mistakes:
        raise error(path.name, found, [*mistakes, *wrong])
    return vocabulary


class _File:
    """One document on its way to models."""

    def __init__(self, path: Path, found: Document, vocabulary: Vocabulary | None) -> None:
        self.path = path
        self.name = path.stem
        self.document = found
        self.vocabulary = vocabulary
        data = found.data if isinstance(found.data, dict) else {}
        streams = data.get("streams")
        self.kinds = {
            name: kinds.kind_of(value)
            for name, value in (streams.items() if isinstance(streams, dict) else ())
        }
        self.settings = kinds.defaults(self.kinds.values())
        self.early: dict[str | None, list[Mistake]] = {}
        for mistake in [*found.mistakes, *addresses(found.data)]:
            self.early.setdefault(stream_of(found, mistake.where), []).append(mistake)

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
                broken[name] = error(self.path.name, self.document, mistakes)
            else:
                streams[name] = stream
        if wrong or source is None:
            raise error(self.path.name, self.document, everything)
        source = source.model_copy(update={"streams": streams})
        return PipelineFile(self.path, self.name, source, streams, broken)

    def _source(self, data: dict[str, Any]) -> tuple[Source | None, dict[str, Any], list[Mistake]]:
        mistakes = self.early.get(None, []) + self._file_name() + _streams_problem(data)
        raw = data.get("defaults", {})
        defaults, wrong = validated(self.settings, raw, ("defaults",), self._in_defaults())
        mistakes += wrong
        top = {key: value for key, value in data.items() if key not in {"defaults", "streams"}}
        if "name" in top:
            text = "this key does not belong here. A source is called as its file."
            mistakes.append(Mistake(("name",), text))
        named = {**top, "name": "stand_in"}  # the real one is checked in its own words
        source, wrong = validated(Source, named, (), self._in_source())
        mistakes += wrong
        if mistakes or source is None or defaults is None:
            return None, {}, mistakes
        return source.model_copy(update={"name": self.name, "defaults": defaults}), raw, []

    def _in_source(self) -> dict[str, str]:
        return {
            **self._of_streams("Write it under a stream, as in streams: {orders: {…}}."),
            **dict.fromkeys(
                self.settings.model_fields, "Write it under 'defaults:' or under a stream."
            ),
            "name": "A source is called as its file.",
        }

    def _in_defaults(self) -> dict[str, str]:
        return {
            **self._of_streams("It differs from stream to stream: write it under a stream."),
            **dict.fromkeys(Source.model_fields, _AT_THE_TOP),
        }

    def _of_streams(self, text: str) -> dict[str, str]:
        """*text* for every key that only streams of these kinds have."""
        fields = {key for kind in self.kinds.values() for key in kind.stream.model_fields}
        return dict.fromkeys(sorted(fields - self.settings.model_fields.keys()), text)

    def _file_name(self) -> list[Mistake]:
        if self.name == _OURS:
            text = f"{show(self.name)} cannot be the name of a source: Tidegate's own DAGs have it."
            return [Mistake((), f"{text} Rename the file.")]
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
        if name in _TAKEN:
            text = (
                f"{show(name)} cannot be the name of a stream: each source has a DAG of that name"
            )
            mistakes.append(Mistake(where, f"{text}. Call it otherwise, for example {name}_rows."))
        model = self.kinds[name].stream
        data = value
        if isinstance(value, dict):
            meant = {key: each for key, each in defaults.items() if key in model.model_fields}
            data = {**meant, **value}
            mistakes += _two_kinds(value, where)
        stream, wrong = validated(model, data, where, _IN_STREAM)
        mistakes += wrong
        if stream and stream.unwatchable and isinstance(value, dict) and value.get("watch"):
            text = f"{stream.what} cannot be watched: {stream.unwatchable}. Delete 'watch:'; it is"
            mistakes.append(Mistake((*where, "watch"), f"{text} read on its schedule."))
        if stream is not None and self.vocabulary is not None:
            mistakes += [
                Mistake((*where, "load", *one.where), one.message)
                for one in self.vocabulary.mistakes(stream.load)
            ]
            stream = stream.speaking(self.vocabulary)
        return (None if mistakes else stream), mistakes


def _two_kinds(value: dict[str, Any], where: tuple[str, ...]) -> list[Mistake]:
    """What a stream says that reads two things."""
    first, *rest = [key for key in value if key in kinds.kinds()] or [""]
    text = f"this stream reads {first!r} already. Make two streams, each with one of them."
    return [Mistake((*where, key), text) for key in rest]


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
