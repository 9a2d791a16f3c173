"""What the commands share: exit codes, how a command is declared, how a run is named."""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

from tidegate.errors import ConfigError, OvertakenError, TidegateError, UnavailableError

DONE, NO, USAGE, LATER, OVERTAKEN = range(5)


class Add(Protocol):
    """Declares a command: its name, what it calls, and a text; returns its parser."""

    def __call__(
        self, name: str, command: Callable[[Any], int], text: str
    ) -> argparse.ArgumentParser:
        """Declare it."""


def code(error: TidegateError) -> int:
    """The exit code that says what to do about *error*."""
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, UnavailableError):
        return LATER
    return OVERTAKEN if isinstance(error, OvertakenError) else NO


def worst(codes: Iterable[int]) -> int:
    """The exit code of several things done one after another."""
    found = {*codes}
    return next((one for one in (NO, USAGE, LATER, OVERTAKEN) if one in found), DONE)


def moment(text: str) -> datetime:
    """A time on the command line."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        hint = "is not a time. Write it like 2026-01-31 or 2026-01-31T12:30+00:00"
        raise argparse.ArgumentTypeError(f"{text!r} {hint}") from error


def positive(text: str) -> int:
    """A number of things on the command line, at least one."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of records. Write 1 or more")
    return int(text)


def run_id() -> str:
    """A name for one more run from a shell."""
    return f"shell__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}_{uuid.uuid4().hex[:8]}"
