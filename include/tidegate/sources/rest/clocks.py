"""How far a list is complete, by the server's own clock; and times as the server writes them.

The bound is what the header ``Date`` says before the first page is asked for, minus lookback: a
change that is stamped below it had so long to become visible. Should that clock step back, changes
are stamped below the watermark until it has caught up: these are read from where it stepped to.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.errors import ConfigError
from tidegate.fields import duration
from tidegate.model import Watermark, Window, utc_text
from tidegate.sources import Observation
from tidegate.sources.rest.ask import Ask
from tidegate.sources.rest.options import RestStream, Value

_UNITS = {"seconds": timedelta(seconds=1), "milliseconds": timedelta(milliseconds=1)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIER = timedelta(seconds=1)
"""Some servers give what is later than since, not what is at since."""
WEST, EAST = timedelta(hours=12), timedelta(hours=14)
"""A server's day may begin as much later than that of UTC, or earlier."""


class Clock:
    """Of one stream with a cursor."""

    def __init__(self, stream: RestStream, name: str) -> None:
        kind = stream.types[stream.cursor or ""].name
        self._stream = stream
        self._name = name
        self._unit = _UNITS[stream.times] if kind == "int64" else None

    def observe(self, date: datetime | None, known: dict[str, Any]) -> Observation:
        """By the server's *date*; *known* is the memory of the last observation."""
        here = datetime.now(UTC)
        whose = "the server's clock" if date else "this machine's clock (the server tells no time)"
        now = (date or here).replace(microsecond=0)
        lookback = duration(self._stream.lookback)
        earliest, latest = self._stepped(now, here, known), now
        if "latest" in known:
            latest = max(now, datetime.fromisoformat(known["latest"]))
        return Observation(
            self.watermark(now - lookback),
            utc_text(now),
            f"{whose} {now:%Y-%m-%d %H:%M:%S} UTC minus {self._stream.lookback}",
            self.watermark(earliest - lookback) if earliest < latest else None,
            {"server": utc_text(now), "here": utc_text(here), "latest": utc_text(latest)},
        )

    def _stepped(self, now: datetime, here: datetime, known: dict[str, Any]) -> datetime:
        """The earliest that the clock may have said since the last observation."""
        if "server" not in known:
            return now
        last = datetime.fromisoformat(known["server"])
        passed = max(here - datetime.fromisoformat(known["here"]), timedelta(0))
        return min(last, now - passed) if now < last else last

    def watermark(self, moment: datetime) -> Watermark:
        """*moment* as the cursor's column counts."""
        if self._unit is None:
            return Watermark(utc_text(moment), self._stream.cursor)
        return Watermark((moment - _EPOCH) // self._unit, self._stream.cursor)

    def moment(self, mark: Watermark) -> datetime:
        """What :meth:`watermark` was made of. Raises ConfigError when it was made otherwise."""
        cursor = mark.cursor
        if mark.column in {None, self._stream.cursor}:
            if isinstance(cursor, str) and self._unit is None:
                return datetime.fromisoformat(cursor)
            if isinstance(cursor, int) and self._unit is not None:
                return _EPOCH + cursor * self._unit
        raise ConfigError(
            f"{self._name}: cursor: the watermark is {cursor!r} of column {mark.column!r}. "
            "Run the stream with --full once."
        )

    def since(self, ask: Ask, mark: Watermark) -> Ask:
        """*ask* for what changed from *mark* on."""
        return ask.put(self._stream.since or "", self._write(self.moment(mark) - EARLIER))

    def between(self, ask: Ask, window: Window) -> Ask:
        """*ask* for what changed in *window*. Raises ConfigError when it cannot be asked so."""
        if not self._stream.until:
            raise no_window(self._name)
        since, until = (datetime.fromisoformat(text) for text in (window.since, window.until))
        ask = ask.put(self._stream.since or "", self._write(since - EARLIER))
        return ask.put(self._stream.until, self._write(until, up=True))

    def _write(self, moment: datetime, *, up: bool = False) -> Value:
        times = self._stream.times
        if times == "milliseconds":
            unit = _UNITS[times]
            return -((_EPOCH - moment) // unit) if up else (moment - _EPOCH) // unit
        step = timedelta(seconds=1)
        if times == "day":
            step = timedelta(days=1)
            moment += EAST if up else -WEST
        rest = (moment - _EPOCH) % step
        moment += step - rest if rest and up else -rest
        if times == "seconds":
            return (moment - _EPOCH) // step
        return moment.strftime("%Y-%m-%d" if times == "day" else "%Y-%m-%dT%H:%M:%SZ")


def no_window(name: str) -> ConfigError:
    """What a window of such a stream is answered."""
    return ConfigError(
        f"{name}: there is no window of this list, for its server takes no time to end at. Name "
        "the parameter that does with until: (beside cursor: and since:), if there is one."
    )
