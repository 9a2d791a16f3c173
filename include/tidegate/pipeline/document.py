"""Safe YAML text → plain data that remembers on which line everything stands.

YAML here is data, read as a person reads it: ``true`` and ``false`` are the only booleans,
``null``, ``~`` and nothing at all the only nulls, numbers are decimal as in JSON; everything else
is text as it is written (``no``, ``010``, ``12:30:45``, ``2024-01-01``, ``12e3``). Keys are always
text. No objects are built from tags, merge keys are refused, a key may stand only once.

What makes a file unreadable (size, encoding, syntax, depth, an alias bomb) raises
:class:`~tidegate.errors.ConfigError`; what concerns one place only is kept in
:attr:`Document.mistakes`, so that the rest can still be read.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tidegate.errors import ConfigError
from tidegate.pipeline import syntax

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000
MAX_ALIASES = 50

Where = tuple[str | int, ...]
"""A path inside the file: keys and list positions."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,99})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,99})\.[0-9]{1,99}(?:[eE][-+]?[0-9]{1,2})?")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_TAG = "tag:yaml.org,2002:"
_SCALARS = {"int": int, "float": float, "bool": bool, "null": type(None)}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong at one place: the path, its line if it is not the path's own, the words."""

    where: Where
    message: str
    line: int | None = None


@dataclass
class Document:
    """A file's data. ``lines`` has the line (from 1) of every key and list item."""

    data: Any = None
    lines: dict[Where, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def line(self, where: Where) -> int:
        """The line of *where*, or of the nearest place around it that is in the file."""
        for length in range(len(where), 0, -1):
            if where[:length] in self.lines:
                return self.lines[where[:length]]
        return 1


def read(path: Path, at_least: str = "'connection:' and 'streams:'") -> Document:
    """The document in *path*, which holds *at_least* these; raises ConfigError ("file:line: …")."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path.name}: this is not a regular file. Put a text file here.")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"{path.name}: the file cannot be read ({reason}). Check its permissions."
        ) from error
    return parse(data, path.name, at_least)


def parse(data: bytes, name: str, at_least: str = "'connection:' and 'streams:'") -> Document:
    """The document in *data*; *name* is what messages call it."""
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{name}: the file is larger than {MAX_BYTES // 1024} KB. "
            "Split it: one file per source, and only settings in it."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{name}:{line}: byte 0x{data[error.start]:02x} is not UTF-8. "
            "Save the file with the encoding UTF-8."
        ) from error
    try:
        return _Composer(text, name, at_least).document()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(syntax.explain(error, name)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(syntax.character(error, f"{name}:{line}")) from None


class _Composer:
    """Builds the data from parser events, keeping within the limits as it goes."""

    def __init__(self, text: str, name: str, at_least: str) -> None:
        self.name = name
        self.at_least = at_least
        self.text = text
        self.out = Document()
        self.nodes = 0
        self.aliases = 0
        self.anchors: dict[str, tuple[Any, int] | None] = {}

    def document(self) -> Document:
        """Read the one document there is."""
        loader = _LOADER(self.text)
        try:
            self.events: Iterator[Any] = iter(loader.get_event, None)
            self._one()
        finally:
            loader.dispose()
        return self.out

    def _one(self) -> None:
        next(self.events)
        event = next(self.events)
        if isinstance(event, yaml.StreamEndEvent):
            raise ConfigError(f"{self.name}: the file is empty. Write at least {self.at_least}.")
        self.out.data = self._node(next(self.events), ())
        next(self.events)
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise ConfigError(
                f"{self.name}:{_line(event)}: a second document begins here ('---'). "
                "Write one file per source."
            )

    def _node(self, event: Any, where: Where) -> Any:
        if len(where) > MAX_DEPTH:
            raise ConfigError(
                f"{self.name}:{_line(event)}: nested deeper than {MAX_DEPTH} levels. "
                "Pipeline files are shallow; look for brackets that are never closed."
            )
        self._count(1, event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self.nodes
        if event.anchor:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, where)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._list(event, where)
        else:
            value = self._mapping(event, where)
        if event.anchor:
            self.anchors[event.anchor] = value, self.nodes - before + 1
        return value

    def _count(self, nodes: int, event: Any) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise ConfigError(
                f"{self.name}:{_line(event)}: more than {MAX_NODES} values, counting what aliases "
                "(*name) repeat. Pipeline files are small; split the file."
            )

    def _alias(self, event: Any) -> Any:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise ConfigError(
                f"{self.name}:{_line(event)}: more than {MAX_ALIASES} aliases (*name). "
                "Use 'defaults:' for what streams share."
            )
        found = self.anchors.get(event.anchor)
        if found is None:
            known = event.anchor in self.anchors
            raise ConfigError(
                f"{self.name}:{_line(event)}: alias *{event.anchor} "
                + ("stands inside its own anchor." if known else "has no anchor above it.")
                + f" Write &{event.anchor} before the value it repeats."
            )
        value, size = found
        self._count(size, event)
        return value

    def _list(self, event: Any, where: Where) -> list[Any]:
        self._check_tag(event, where, "seq")
        items: list[Any] = []
        while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
            inner = (*where, len(items))
            self.out.lines[inner] = _line(item)
            items.append(self._node(item, inner))
        return items

    def _mapping(self, event: Any, where: Where) -> dict[str, Any]:
        self._check_tag(event, where, "map")
        result: dict[str, Any] = {}
        while not isinstance(key := next(self.events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise ConfigError(
                    f"{self.name}:{_line(key)}: a key must be plain text, "
                    "not a list, a mapping or an alias."
                )
            self._pair(key, where, result)
        return result

    def _pair(self, key: Any, where: Where, result: dict[str, Any]) -> None:
        text, line = str(key.value), _line(key)
        inner = (*where, text)
        self._count(1, key)
        if key.anchor:
            self.anchors[key.anchor] = text, 1
        self._check_tag(key, inner, "str")
        self._check_text(text, inner)
        if text == "<<" and key.implicit[0]:
            text = "merge keys (<<) are not used here. Share settings by 'defaults:'."
            self._wrong(inner, text, line)
            self._node(next(self.events), inner)
            return
        if text in result:
            both = f"on line {self.out.lines[inner]} and on line {line}"
            self._wrong(inner, f"the key is written twice, {both}. Keep one of them.", line)
            self._node(next(self.events), (*inner, "(again)"))
            return
        self.out.lines[inner] = line
        result[text] = self._node(next(self.events), inner)

    def _scalar(self, event: Any, where: Where) -> Any:
        text = str(event.value)
        self._check_text(text, where)
        if event.tag in {None, "!"}:
            return plain(text) if event.implicit[0] and event.tag is None else text
        tag = event.tag.removeprefix(_TAG)
        if tag == "str":
            return text
        value = plain(text)
        if tag in _SCALARS and type(value) is _SCALARS[tag]:
            return value
        self._check_tag(event, where, "str")
        return text

    def _check_tag(self, event: Any, where: Where, kind: str) -> None:
        if event.tag in {None, "!", _TAG + kind}:
            return
        tag = event.tag.replace(_TAG, "!!")[:60]
        text = (
            f"the tag {tag} is not allowed here. Delete it: a pipeline file is plain data; "
            "text that begins with '!' needs quotes."
        )
        self._wrong(where, text, _line(event))

    def _check_text(self, text: str, where: Where) -> None:
        if _SURROGATE.search(text):
            text = "half of a surrogate pair (\\ud800 … \\udfff) is no character. Write all of it."
            self._wrong(where, text)

    def _wrong(self, where: Where, message: str, line: int | None = None) -> None:
        self.out.mistakes.append(Mistake(where, message, line))


def plain(text: str) -> Any:
    """The value of unquoted *text*: null, a boolean, a number as in JSON, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        return value if abs(value) != float("inf") else text
    return text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
