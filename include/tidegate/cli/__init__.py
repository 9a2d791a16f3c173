"""The same path from a shell, without Airflow: ``tidegate check | run | status | show …``.

Exit codes: 0 done · 1 the rows, the source or the store said no · 2 wrong usage or pipeline file ·
3 the other side did not answer, try again · 4 skipped: another run does the same, or did.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tidegate.cli import (
    doctor,
    drift,
    files,
    knowledge,
    new,
    quarantine,
    runs,
    upkeep,
    verification,
    words,
)
from tidegate.errors import TidegateError
from tidegate.later import defer
from tidegate.roomy import roomy

_CRYPTOGRAPHY = ("hashes", "serialization", "asymmetric.padding")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    _hurry()
    try:
        return int(roomy(options.command)(options))
    except TidegateError as error:
        print(f"tidegate: {error}", file=sys.stderr)
        return words.code(error)


def _hurry() -> None:
    """PyMySQL encrypts a password with these, where a server without TLS asks it to; few do."""
    defer(*(f"cryptography.hazmat.primitives.{name}" for name in _CRYPTOGRAPHY))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tidegate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pipelines", type=Path, help="folder of the pipeline files")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true", help="print JSON, for machines")
        return sub

    for module in (files, new, doctor, runs, knowledge, quarantine, drift, upkeep, verification):
        module.commands(add)
    return parser
