"""Waits that grow, at random, until patience ends.

Exponential with full jitter: of many that failed together, no two come back together (M. Brooker,
"Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
from time import sleep

FIRST = 0.5
LONGEST = 30.0


class Backoff:
    """*patience*, in seconds, is for all failures of a run together, and for the waits between."""

    def __init__(self, patience: float) -> None:
        self._left = patience
        self._failures = 0

    def failed(self, seconds: float) -> bool:
        """Wait after a failure that took *seconds*; False: patience is at its end."""
        wait = random.uniform(0, min(LONGEST, FIRST * 2**self._failures))  # noqa: S311
        self._failures += 1
        self._left -= seconds
        if self._left <= 0:
            return False
        wait = min(wait, self._left)
        self._left -= wait
        sleep(wait)
        return True

    def succeeded(self) -> None:
        """The next failure waits briefly again."""
        self._failures = 0
