"""One look after the other, for ever: what goes wrong is told once, and tried again later."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.errors import TidegateError

_log = logging.getLogger(__name__)

EVERY = 1.05
"""Seconds between two looks, where nothing speaks for another time: never two in one second."""
BACK_OFF, LONGEST_BACK_OFF = 2.0, 60.0
"""Seconds before the next look after a failed one, and what they grow to."""


@dataclass(slots=True)
class Round:
    """What one look came to: streams to announce with what they show; seconds until the next."""

    news: dict[str, Any] = field(default_factory=dict)
    pause: float = EVERY


class Rounds(ABC):
    """Looks at streams, again and again; for one thread at a time. *name* begins its messages."""

    instead = "is not watched for now, only its schedule is kept"

    def __init__(self, name: str) -> None:
        self._name = name
        self._said: dict[str, str] = {}
        self._back_off = 0.0

    def look(self, streams: Mapping[str, Any]) -> Round:
        """Look at *streams* once; raises nothing."""
        try:
            found = self._look(streams) if streams else Round()
        except Exception as error:  # noqa: BLE001 - whatever it is, the rounds go on
            self.close()
            self._back_off = min(2 * self._back_off or BACK_OFF, LONGEST_BACK_OFF)
            self._complain(self._name, error)
            return Round(pause=self._back_off)
        self._back_off = 0.0
        self._settle(self._name)
        return found

    @abstractmethod
    def close(self) -> None:
        """Give all connections back; the next look opens them anew."""

    @abstractmethod
    def _look(self, streams: Mapping[str, Any]) -> Round:
        """As :meth:`look`; it may raise."""

    def _complain(self, what: str, error: Exception) -> None:
        """Once for each reason. A driver's own words stay here: they may hold a secret."""
        ours = isinstance(error, TidegateError)
        text = str(error) if ours else f"unexpected {type(error).__name__}"
        if self._said.get(what) != text:
            self._said[what] = text
            _log.warning("%s %s: %s", what, self.instead, text)

    def _settle(self, what: str) -> None:
        if self._said.pop(what, None):
            _log.warning("%s is watched again.", what)
