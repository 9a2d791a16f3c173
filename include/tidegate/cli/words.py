"""What the commands share: exit codes, and how a command is declared."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Protocol

DONE, NO, USAGE, LATER, OVERTAKEN = range(5)


class Add(Protocol):
    """Declares a command: its name, what it calls, and a text; returns its parser."""

    def __call__(
        self, name: str, command: Callable[[Any], int], text: str
    ) -> argparse.ArgumentParser:
        """Declare it."""
