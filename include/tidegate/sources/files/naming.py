"""What the names of files tell: what they have in common, and a date."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from fsspec.utils import glob_translate

from tidegate.sources.files.options import FORMATS, PACKINGS

_DATES = {"%Y": r"(?P<Y>\d{4})", "%m": r"(?P<m>\d\d)", "%d": r"(?P<d>\d\d)", "%H": r"(?P<H>\d\d)"}
_FORMAT, _PACKING = "|".join(FORMATS), "|".join(PACKINGS)
_EXTENSIONS = re.compile(rf"(\.({_FORMAT}))?(\.({_PACKING}))?\Z", re.IGNORECASE)
_HEX = re.compile(
    r"(?<![0-9A-Za-z])([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
    r"|(?=[0-9]*[A-Fa-f])(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{12,})(?![0-9A-Za-z])"
)
_DIGITS = re.compile(r"[0-9]+(?:[-_.T]?[0-9]+)*")
_DAYS = tuple(
    (re.compile(rf"(?<![0-9])(?:19|20)[0-9]{{2}}{sign}[0-9]{{2}}{sign}[0-9]{{2}}(?![0-9])"),
     sign.join(("%Y", "%m", "%d")))
    for sign in ("-", "_", "")
)  # fmt: skip
_GLOBS = {"\0": "[0-9A-Fa-f]*", "\1": "[0-9]*"}
"""Numbers and hexadecimal ids, as patterns name them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What names have in common: the pattern that takes all of them in, and its words."""

    pattern: str
    words: str


def shape_of(name: str) -> Shape | None:
    """That of *name*: its numbers and hexadecimal ids may be others. None: no pattern names it."""
    end = _extensions(name)
    varied = _DIGITS.sub("\1", _HEX.sub("\0", name[:end]))
    pattern = glob.escape(varied)
    for mark, any in _GLOBS.items():
        pattern = pattern.replace(mark, any)
    pattern += name[end:]
    if not name.isprintable() or not re.match(glob_translate(pattern), name):
        return None
    return Shape(pattern, re.sub(r"[\W_]+", "_", varied).strip("_"))


def day_of(name: str) -> str | None:
    """The option *day* for a file's *name*."""
    end = _extensions(name)
    stem = _HEX.sub("\0", name[:end])
    for found, marks in _dates(stem):
        parts = (stem[: found.start()], stem[found.end() :])
        day = marks.join(re.sub("[\0\1]", "*", _DIGITS.sub("\1", part)) for part in parts)
        return None if "%" in stem else day + name[end:]
    return None


def moment_of(name: str, day: str, zone: str) -> datetime | None:
    """The moment that *name* has where *day* says; None: there is none, or no such one."""
    pattern = re.escape(day).replace("\\*", ".*")
    for mark, group in _DATES.items():
        pattern = pattern.replace(mark, group, 1)
    if found := re.fullmatch(pattern, name):
        year, month, date = (int(found[mark]) for mark in "Ymd")
        hour = int(found.groupdict().get("H") or 0)
        with suppress(ValueError, OverflowError):
            return datetime(year, month, date, hour, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return None


def _extensions(name: str) -> int:
    """Where those begin that say what a file is."""
    found = _EXTENSIONS.search(name)
    return found.start() if found else len(name)


def _dates(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Where dates are in *text* that a calendar has, and how they are spelled."""
    for digits, marks in _DAYS:
        for found in digits.finditer(text):
            with suppress(ValueError):
                datetime.strptime(found[0], marks).replace(tzinfo=UTC)
                yield found, marks
