"""What the names of files tell: a date."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

_DATES = {"%Y": r"(?P<Y>\d{4})", "%m": r"(?P<m>\d\d)", "%d": r"(?P<d>\d\d)", "%H": r"(?P<H>\d\d)"}


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
