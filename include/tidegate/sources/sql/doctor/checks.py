"""The table of all checks, and how they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.fields import seconds
from tidegate.sources import Finding
from tidegate.sources.sql.doctor import mysql, postgres, rights, rows, stamps, table
from tidegate.sources.sql.doctor.case import Case
from tidegate.sources.sql.plan import make_plan
from tidegate.sources.sql.session import Session

if TYPE_CHECKING:
    from tidegate.sources.sql.options import SqlStream

Check = Callable[[Case], Iterator[Finding]]
LONGEST = 5.0
"""Seconds for one question."""

_ALL = ("mysql", "postgres", "sqlite")
_SERVERS = ("mysql", "postgres")
_MYSQL = ("mysql",)
_POSTGRES = ("postgres",)
CHECKS: tuple[tuple[tuple[str, ...], Check, tuple[str, ...]], ...] = (
    (_ALL, table.index, ("no-index", "view")),
    (_ALL, table.window_index, ("window-no-index",)),
    (_ALL, table.unique_key, ("no-unique-key",)),
    (_ALL, table.nullable_key, ("key-nullable",)),
    (_ALL, table.floating_key, ("key-floating",)),
    (_ALL, table.confused_key, ("key-collation", "key-padding")),
    (_MYSQL, mysql.engine, ("no-transactions",)),
    (_POSTGRES, postgres.foreign, ("no-transactions",)),
    (_ALL, stamps.generated, ("cursor-generated",)),
    (_ALL, stamps.never_moves, ("cursor-is-key",)),
    (_ALL, stamps.stamped, ("not-stamped",)),
    (_MYSQL, mysql.rounding, ("time-rounding",)),
    (_ALL, stamps.summer, ("zone-dst",)),
    (_SERVERS, stamps.zone, ("zone-differs",)),
    (_SERVERS, stamps.clock, ("clock-apart",)),
    (_ALL, rows.ties, ("coarse-cursor", "large-tie")),
    (_ALL, rows.null_cursor, ("null-cursor",)),
    (_ALL, rows.zero_cursor, ("zero-cursor",)),
    (_ALL, rows.future, ("future-rows",)),
    (_ALL, rows.large_pages, ("large-pages",)),
    (_ALL, rows.slow_read, ("slow-read",)),
    (_SERVERS, rows.first_load, ("large-first-load",)),
    (_POSTGRES, postgres.select, ("no-select",)),
    (_POSTGRES, postgres.row_security, ("row-security",)),
    (_SERVERS, rights.excess, ("too-many-rights",)),
    (_SERVERS, rights.tls, ("no-tls",)),
    (_MYSQL, mysql.replica, ("replica",)),
    (_POSTGRES, postgres.replica, ("replica",)),
    (_MYSQL, mysql.held, ("held-bound",)),
    (_POSTGRES, postgres.held, ("held-bound",)),
    (_SERVERS, rights.bound, ("bound-guessed",)),
    (_MYSQL, mysql.durable, ("not-durable",)),
    (_POSTGRES, postgres.durable, ("not-durable",)),
    (_MYSQL, mysql.log, ("log",)),
    (_POSTGRES, postgres.log, ("log",)),
)
"""Kinds of servers, the check, and the codes of what it may find."""
OF_CURSORS: tuple[Check, ...] = (
    table.index, stamps.generated, stamps.never_moves, stamps.stamped, mysql.rounding,
    stamps.summer, stamps.zone, stamps.clock, rows.ties, rows.null_cursor, rows.zero_cursor,
    rows.future, rows.slow_read, rows.first_load, mysql.replica, postgres.replica, mysql.held,
    postgres.held, rights.bound,
)  # fmt: skip
"""What is of no interest where the whole table is read in every run."""

FAILURES: tuple[tuple[type[TidegateError], str], ...] = (
    (UnavailableError, "unavailable"),
    (RefusedError, "refused"),
    (ConfigError, "not-as-declared"),
    (TidegateError, "unreadable"),
)
_ORDER = ("error", "warning", "note")


def examine(
    endpoint: Endpoint, stream: SqlStream, name: str, attempt: Callable[[], None]
) -> list[Finding]:
    """Every finding, errors first; raises nothing of ours.

    *attempt* begins to read, as a pull would; it is called when nothing else stands against it.
    """
    with closing(Session(endpoint, min(seconds(stream.statement_timeout), LONGEST))) as session:
        try:
            found = diagnose(Case(name, stream, session, make_plan(session, stream, name)))
        except TidegateError as error:
            return [told(error)]
    if not any(finding.level == "error" for finding in found):
        try:
            attempt()
        except TidegateError as error:
            return [told(error), *found]
    return found


def diagnose(case: Case) -> list[Finding]:
    """What all checks find, errors first."""
    found: list[Finding] = []
    for kinds, check, codes in CHECKS:
        if case.kind not in kinds or (case.stream.snapshot and check in OF_CURSORS):
            continue
        try:
            found += check(case)
        except TidegateError as error:
            found.append(_unseen(case, codes, error))
    return sorted(found, key=lambda finding: _ORDER.index(finding.level))


def blocking(case: Case) -> Iterator[Finding]:
    """Only what keeps the stream from being read and is known without a question."""
    return (finding for finding in table.index(case) if finding.level == "error")


def told(error: TidegateError) -> Finding:
    """An error that kept us from looking, as a finding."""
    code = next(code for kind, code in FAILURES if isinstance(error, kind))
    return Finding("error", str(error), code, "Until then nothing else can be looked at.")


def _unseen(case: Case, codes: tuple[str, ...], error: TidegateError) -> Finding:
    return case.find(
        "note",
        "not-seen",
        f"whether there is anything of {', '.join(codes)} could not be seen: {error}",
        "Look again when the server is less busy, or with a user who may see it.",
    )
