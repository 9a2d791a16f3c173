"""JSON and XML documents: the rows in them, one after the other, in bounded memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO
from xml.etree.ElementTree import Element

from tidegate.sources.files.entry import BadFileError
from tidegate.sources.files.options import FilesStream

Why = tuple[str, str] | None
"""Rule and text of what is wrong with a row."""
Found = tuple[Any, Why]
"""A row, and what is wrong with it."""
_CHUNK = 1 << 18
_SPACE = " \t\r\n"
_STRAY = -1_000


def deeper(value: Any, depth: int) -> bool:
    """Whether *value* is nested deeper than that."""
    level = [value]
    for _ in range(depth + 1):
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


class Text:
    """JSON text that comes in pieces."""

    def __init__(self, file: BinaryIO, longest: int) -> None:
        self._file = file
        self._longest = longest
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("strict").decode
        self._scan = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse).raw_decode
        self._text = ""
        self._at = 0
        self._before = 0
        self._over = False

    def peek(self) -> str:
        """The next character that is not space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, *signs: str) -> str:
        """The next character, which must be one of *signs*."""
        if (found := self.peek()) not in signs:
            raise self.wrong(f"{found or 'the end'!r} in the place of {' or '.join(signs)}")
        self._at += 1
        return found

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            value, problem = None, ""
            try:
                value, end = self._scan(self._text, self._at)
            except RecursionError:
                raise BadFileError("too deep", f"{self._where()}: it is nested too deep") from None
            except ValueError as error:
                problem, end = str(error), len(self._text)
            except ArithmeticError:
                problem, end = "a number is beyond all bounds", len(self._text)
            if end < len(self._text) or not self._more():
                break
        if problem:
            raise self.wrong(problem)
        self._at = end
        return value

    def wrong(self, what: str) -> BadFileError:
        """The error that says what is wrong here."""
        return BadFileError("no JSON", f"{self._where()}: {what}"[:300])

    def _where(self) -> str:
        return f"at character {self._before + self._at}"

    def _more(self) -> bool:
        """Read on, as much again as waits; False at the end."""
        waiting = len(self._text) - self._at
        if waiting > self._longest:
            raise BadFileError(
                "too large", f"{self._where()}: a row is longer than {self._longest:,} octets"
            )
        if self._over:
            return False
        data = self._file.read(max(_CHUNK, waiting))
        self._over = not data
        try:
            text = self._decode(data, final=self._over)
        except UnicodeDecodeError as error:
            raise BadFileError("encoding", f"{self._where()} or later: {error}") from error
        self._before += self._at
        self._text, self._at = self._text[self._at :] + text, 0
        return bool(text) or not self._over


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def parse_json(file: BinaryIO, stream: FilesStream, longest: int) -> Iterator[Found]:
    """The items of the array at ``rows:``."""
    text = Text(file, longest)
    steps = stream.rows.split(".") if stream.rows else []
    for step in steps:
        _enter(text, step, stream.rows)
    text.take("[")
    if text.peek() == "]":
        text.take("]")
    else:
        sign = ","
        while sign == ",":
            value = text.value()
            far = deeper(value, stream.limits.depth)
            yield (None if far else value), ("too deep", "it is nested too deep") if far else None
            sign = text.take(",", "]")
    for _ in steps:
        _leave(text)
    if rest := text.peek():
        raise text.wrong(f"{rest!r} behind the end")


def _enter(text: Text, step: str, path: str) -> None:
    """Go to the member *step* of the object that comes next."""
    text.take("{")
    while text.peek() == '"':
        name = text.value()
        text.take(":")
        if name == step:
            return
        text.value()
        if text.peek() == ",":
            text.take(",")
    raise BadFileError("no rows", f"there is no {step!r} on the way to rows: {path}")


def _leave(text: Text) -> None:
    """Go behind the object that we are in."""
    while text.take(",", "}") == ",":
        text.value()
        text.take(":")
        text.value()


class _Metered:
    """A file that gives only so much between two rows."""

    def __init__(self, file: BinaryIO, longest: int) -> None:
        self._file = file
        self._longest = longest
        self.since = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.since += len(data)
        if self.since > self._longest:
            raise BadFileError("too large", f"a row is longer than {self._longest:,} octets")
        return data


def parse_xml(file: BinaryIO, stream: FilesStream, longest: int) -> Iterator[Found]:
    """The elements at ``rows:``, or those just below the root. Entities and DTDs are refused."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    steps = stream.rows.split(".") if stream.rows else ["*"]
    nulls, metered = frozenset(stream.null), _Metered(file, longest)
    open: list[Element] = []
    seen = set()
    try:
        for event, element in iterparse(metered, ("start", "end"), forbid_dtd=True):
            if event == "start":
                open.append(element)
                if len(open) > stream.limits.depth:
                    raise BadFileError("too deep", "it is nested too deep")
                continue
            open.pop()
            inside = _reached(open, element, steps)
            seen.add(inside)
            if inside == 0:
                metered.since = 0
                yield _row(element, nulls), None
            if inside <= 0 and open:
                open[-1].remove(element)
    except DefusedXmlException as error:
        raise BadFileError("entities", f"it declares a DTD or entities: {error}") from error
    if 0 not in seen and _STRAY in seen:
        raise BadFileError("no rows", f"no element is at rows: {stream.rows}")


def _reached(open: list[Element], element: Element, steps: list[str]) -> int:
    """0: a row, above 0: inside one, below 0: on the way to some, or elsewhere."""
    names = [_local(one.tag) for one in (*open[1:], element)] if open else []
    if not all(step in {name, "*"} for step, name in zip(steps, names, strict=False)):
        return _STRAY
    return len(names) - len(steps)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _row(element: Element, nulls: frozenset[str]) -> Any:
    """Members by name: children (a list where there are several), @attributes, #text beside."""
    text = (element.text or "") if len(element) == 0 else (element.text or "").strip()
    found: dict[str, Any] = {
        f"@{_local(name)}": None if value in nulls else value
        for name, value in element.attrib.items()
    }
    for child in element:
        name, value = _local(child.tag), _row(child, nulls)
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    own = None if text in nulls else text
    if not found:
        return own
    return {**found, "#text": own} if text else found
