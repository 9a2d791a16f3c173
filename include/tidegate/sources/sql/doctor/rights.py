"""What the user may do there, and how it is connected."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.sources import Apart, Finding
from tidegate.sources.sql.bounds import server
from tidegate.sources.sql.bounds.answer import Refusal
from tidegate.sources.sql.bounds.stamping import stamping
from tidegate.sources.sql.doctor.case import Case, statements

_NEEDED = {
    "mysql": ("SELECT", "PROCESS"),
    "postgres": ("USAGE", "SELECT", "pg_read_all_stats"),
}
"""The last one shows sessions."""


def bound(case: Case) -> Iterator[Finding]:
    """How far a read is complete is computed, where the server shows who writes."""
    if case.stream.bound == "lookback":
        return
    found: object = stamping(case.session, case.plan, case.cursor, case.type)
    if not isinstance(found, Refusal):
        found = server.observe(case.session, Apart(), anew=True)
    if not isinstance(found, Refusal):
        return
    right, must = _NEEDED[case.kind][-1], case.stream.bound == "computed"
    remedy = f"{found.remedy}; or set lookback: to more than the longest transaction."
    if not case.server.sees_all():
        grant = statements(case.server.grant(right))
        remedy = f"Grant {right}, which shows sessions, and no row of any table:{grant}"
    yield case.find(
        "error" if must else "warning",
        "bound-guessed",
        "how far a read is complete cannot be computed"
        + (" (bound: computed)" if must else ", and is guessed as the clock minus lookback")
        + f": {found.reason}.",
        remedy,
    )


def excess(case: Case) -> Iterator[Finding]:
    """Who only reads should be able to do no more."""
    found = case.server.excess()
    if not found:
        return
    user = "tidegate@%" if case.kind == "mysql" else "tidegate"
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    yield case.find(
        "warning",
        "too-many-rights",
        f"the user {case.session.endpoint.user!r} may do more than read: "
        f"{', '.join(found[:6])}{more}.",
        "Connect as a user of its own, with no more than this:"
        + statements(*(case.server.grant(right, user) for right in _NEEDED[case.kind])),
    )


def tls(case: Case) -> Iterator[Finding]:
    """What crosses a network can be read and changed on its way."""
    endpoint = case.session.endpoint
    insecure = str(endpoint.options.get("insecure", "")).lower() in {"1", "true", "yes"}
    if endpoint.is_local or not insecure:
        return
    yield case.find(
        "warning",
        "no-tls",
        f"connection {endpoint.name!r}: insecure: true sends rows to and from {endpoint.host} "
        "without proof of who answers, and maybe in clear text.",
        "Remove insecure from the connection's extra fields, and give the authority's certificate: "
        + ("ssl_ca." if case.kind == "mysql" else "sslrootcert."),
    )
