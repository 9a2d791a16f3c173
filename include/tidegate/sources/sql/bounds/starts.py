"""PostgreSQL: the start of the oldest open transaction is the safe moment.

Proof. ``now()`` is the start of the transaction, any other clock function says that or later; only
``statement_timestamp()`` may be older, in a procedure that commits: so the start of a statement
that runs counts, too. A session tells both to pg_stat_activity before it does anything else, and
takes the start of a transaction back after the transaction became visible, or was prepared. So
each transaction that began before the clock was read is in pg_stat_activity with its start, or is
visible, or was prepared and is in pg_prepared_xacts, which is asked after it.

A prepared transaction does not say when it began. As long as there is one, the bound stays where
it was: when that was computed, the transaction was seen open, or had not begun.

A session writes in its own database only, so others' do not count. Autovacuum stamps no rows; a
process that sends the log runs one statement for weeks.
"""

from __future__ import annotations

from datetime import datetime

from tidegate.model import Json
from tidegate.sources.rows.clocks import Clock
from tidegate.sources.sql.bounds.answer import Answer, Refusal, at, drained, held
from tidegate.sources.sql.session import Session

_FACTS = (
    "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),"
    " (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()),"
    " pg_catalog.pg_is_in_recovery(),"
    " pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'usage')"
)
_SESSIONS = (
    "SELECT pid, usename, state, least(xact_start, CASE WHEN backend_type <> 'walsender'"
    " AND state IN ('active', 'fastpath function call') THEN query_start END) AS since"
    " FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid()"
    " AND backend_type <> 'autovacuum worker' AND datid ="
    " (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
)
_PREPARED = (
    "SELECT gid, owner FROM pg_catalog.pg_prepared_xacts"
    " WHERE database = current_database() ORDER BY prepared"
)


def identify(session: Session) -> str | Refusal:
    """A name for the database and for what this user sees of it."""
    with session.translated():
        system, database, replica, sees = session.connection.exec_driver_sql(_FACTS).one()
    user = session.endpoint.user
    if replica:
        return Refusal("the server is a replica", "Connect to the primary")
    if not sees:
        return Refusal("no right to see all sessions", f'Run: GRANT pg_read_all_stats TO "{user}"')
    return f"postgres {system} {database} {user}"


def look(session: Session, name: str, kept: Json) -> Answer | Refusal:
    """The clock, then all sessions, then what is prepared: the order is part of the proof."""
    del name, kept  # one look says it all
    clock = Clock.read(session.clock)
    with session.translated():
        sessions = session.connection.exec_driver_sql(_SESSIONS).all()
        prepared = session.connection.exec_driver_sql(_PREPARED).first()
    for pid, user, state, _ in sessions:
        if state == "disabled":
            return Refusal(
                f"session {pid} of {user} runs with track_activities = off",
                "Set track_activities = on",
            )
    if prepared:
        name, owner = prepared
        return Answer(held(clock, f"prepared transaction {name!r:.60} of {owner} is open"))
    oldest = min((row for row in sessions if row.since), key=lambda row: row.since, default=None)
    if oldest is None or oldest.since >= clock.server:
        return Answer(drained(clock, clock.server, ""))
    since: datetime = oldest.since
    who = f"session {oldest.pid} of {oldest.usename}, open since {at(since, clock.server)}"
    return Answer(drained(clock, since, who))
