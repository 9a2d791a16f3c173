"""A look at a stream's source before its first run: what may keep it from being read in full."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tidegate.errors import (
    ConfigError,
    DataError,
    RefusedError,
    TidegateError,
    UnavailableError,
)
from tidegate.job import Job
from tidegate.model import Mode

if TYPE_CHECKING:
    from tidegate.sources import Finding

_KINDS: dict[str, type[TidegateError]] = {
    "unavailable": UnavailableError, "refused": RefusedError, "no-select": RefusedError,
    "unreadable": DataError,
}  # fmt: skip
"""Who is to mend an error, by its code; all others are for the pipeline file or the table."""
_log = logging.getLogger(__name__)


def look(job: Job) -> list[Finding]:
    """Every finding, errors first; what keeps us from looking is one too."""
    from tidegate.sources import open_source

    with open_source(job.endpoint(), job.stream, job.full_name) as source:
        return source.check()


def require_window(job: Job, mode: Mode) -> None:
    """Raise ConfigError when a window is asked of a source that has none."""
    if mode is Mode.WINDOW and not job.stream.has_windows:
        raise ConfigError(
            f"{job.full_name}: '{job.stream.reads}:' cannot be read by window: it cannot be asked "
            "for a part of its history. Run the stream with --full for all that there still is."
        )


def admit(job: Job) -> tuple[str, ...]:
    """The warnings, logged, for the increment's notes.

    Raises what :func:`refusal` makes of errors among the findings.
    """
    found = look(job)
    if error := refusal(job.full_name, found):
        raise error
    warnings = [finding for finding in found if finding.level == "warning"]
    for warning in warnings:
        _log.warning("%s (%s)", warning.what, warning.code)
    if warnings:
        _log.warning("What to do about that: tidegate doctor %s", job.full_name)
    return tuple(
        f"{warning.code}: {warning.what.removeprefix(f'{job.full_name}: ')}" for warning in warnings
    )


def refusal(name: str, found: list[Finding]) -> TidegateError | None:
    """The errors among *found* as one; None: the stream *name* may run."""
    errors = [finding for finding in found if finding.level == "error"]
    if not errors:
        return None
    kind = _KINDS.get(errors[0].code, ConfigError)
    if len(errors) == 1:
        return kind(errors[0].message)
    listed = "\n".join(f"- {finding.message} ({finding.code})" for finding in errors)
    return kind(f"{name}: {len(errors)} errors\n{listed}")
