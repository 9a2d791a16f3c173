"""Leaves a busy source alone: waits before a statement while it runs too many."""

from __future__ import annotations

import time
from collections.abc import Callable

from tidegate.errors import UnavailableError

PATIENCE = 3
"""How many times ``statement_timeout`` a read waits; less than the lease of its stream lasts."""
_FIRST, _LONGEST = 0.05, 2.0


class Pressure:
    """*running* counts the statements; more than *most* make :meth:`wait` wait."""

    def __init__(
        self, name: str, running: Callable[[], int], most: int | None, timeout: float
    ) -> None:
        self._name = name
        self._running = running
        self._most = most
        self._patience = PATIENCE * timeout

    def wait(self) -> None:
        """Return when the source is calm. Raises UnavailableError when it does not become so."""
        if self._most is None:
            return
        deadline = time.monotonic() + self._patience
        pause = _FIRST
        while (found := self._running()) > self._most:
            if time.monotonic() + pause > deadline:
                raise UnavailableError(
                    f"{self._name}: the source runs {found} statements, more than pause_above: "
                    f"{self._most}, for {self._patience:g} s now. It will be tried again; if it "
                    "is always so busy, raise pause_above."
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)
