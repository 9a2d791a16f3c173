"""What the demo shows: steps while it starts, then one table that renews itself in place."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

CLEAR_LINE = "\x1b[2K\r"


class Screen:
    """Writes to a terminal, in place; or plain lines, when it is a file or a pipe."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.live = out.isatty()
        self._step = ""
        self._begun = 0.0
        self._height = 0

    def say(self, text: str = "") -> None:
        """Print lines that stay."""
        self._forget()
        self.out.write(f"{text}\n")
        self.out.flush()

    def begin(self, step: str) -> None:
        """A step of the start begins."""
        self._step, self._begun = step, time.monotonic()
        if self.live:
            self.waiting("")
        else:
            self.say(f"· {step} ...")

    def waiting(self, what: str) -> None:
        """The step goes on, waiting for *what*: shown with its seconds, on a terminal."""
        if self.live:
            text = f"· {self._step} ... {self._seconds()}"
            text += f"  waiting for {what}" if what else ""
            self.out.write(CLEAR_LINE + text[: self._width()])
            self.out.flush()

    def done(self) -> None:
        """The step is done."""
        start = CLEAR_LINE if self.live else ""
        self.out.write(f"{start}✓ {self._step} ({self._seconds()})\n")
        self.out.flush()

    def table(self, lines: Sequence[str]) -> None:
        """Show *lines*, in place of those shown before."""
        if self.live:
            if self._height:
                self.out.write(f"\x1b[{self._height}A")
            self.out.writelines(f"{CLEAR_LINE}{line[: self._width()]}\n" for line in lines)
            self._height = len(lines)
        else:
            self.out.writelines(f"{line}\n" for line in lines)
        self.out.flush()

    def _forget(self) -> None:
        self._height = 0

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._begun:.0f} s"

    def _width(self) -> int:
        return shutil.get_terminal_size().columns - 1


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side: the first to the left, the others to the right."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
