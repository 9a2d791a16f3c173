"""``doctor``: what may keep a stream from being read in full, and what to do about it."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tidegate import preflight
from tidegate.cli.pipelines import files, job
from tidegate.cli.words import DONE, NO, Add

if TYPE_CHECKING:
    from tidegate.sources import Finding, Level

_MARKS: dict[Level, str] = {"error": "✗", "warning": "!", "note": "·"}
_WIDTH = 96


def commands(add: Add) -> None:
    """Declare it."""
    doctor = add("doctor", _doctor, "look for what may keep a stream from being read in full")
    doctor.add_argument("streams", nargs="*", metavar="STREAM", help="default: every stream")


def _doctor(options: Any) -> int:
    names = options.streams or list(_all(options))
    found = {name: preflight.look(job(options, name)) for name in names}
    if options.json:
        told = [
            {"stream": name, "findings": [asdict(finding) for finding in findings]}
            for name, findings in found.items()
        ]
        print(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        print("\n\n".join(_text(name, findings) for name, findings in found.items()))
    bad = any(finding.level == "error" for findings in found.values() for finding in findings)
    return NO if bad else DONE


def _all(options: Any) -> Iterator[str]:
    for file in files(options):
        for error in file.broken.values():
            raise error
        yield from (f"{file.name}.{name}" for name in file.streams)


def _text(name: str, found: list[Finding]) -> str:
    counts = Counter(finding.level for finding in found)
    summary = ", ".join(
        f"{counts[level]} {level}{'s' if counts[level] > 1 else ''}"
        for level in _MARKS
        if counts[level]
    )
    lines = [f"{name}: {summary or 'healthy'}"]
    for finding in found:
        lines += ["", f"  {_MARKS[finding.level]} {finding.code}"]
        lines += _paragraph(finding.what.removeprefix(f"{name}: "), "    ", "    ")
        advice, *statements = finding.todo.splitlines()
        lines += _paragraph(advice, "    → ", "      ")
        lines += [f"      {statement}" for statement in statements]
    return "\n".join(lines)


def _paragraph(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
