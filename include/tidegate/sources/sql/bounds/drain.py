"""MySQL and MariaDB: one look at who is busy, and who has a transaction open.

InnoDB serves its list of transactions from a cache, which a reader can refresh only when nobody
has read it for 0.1 s: a monitor that asks more often keeps it old for everybody. So the look is a
session of its own, new each time, whose own transaction must be on the list: the *canary*.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tidegate.model import Json
from tidegate.sources.rows.clocks import Clock
from tidegate.sources.sql.bounds import replicas
from tidegate.sources.sql.bounds.answer import Answer, Refusal, at, drained, held
from tidegate.sources.sql.bounds.barrier import Barrier, Look, advance, safe_moment
from tidegate.sources.sql.session import Session

_FACTS = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'hostname', 'port', 'server_id', "
    "'server_uid', 'server_uuid', 'read_only', 'wsrep_on', 'group_replication_group_name', "
    "'performance_schema')"
)
_UPTIME = "SHOW GLOBAL STATUS WHERE Variable_name = 'Uptime'"
_IDENTITY = ("server_uuid", "server_uid", "server_id", "hostname", "port")
_SESSIONS = (
    "SELECT id, user, host, command FROM information_schema.processlist"
    " WHERE id <> CONNECTION_ID() AND command <> 'Daemon' AND command NOT LIKE 'Binlog Dump%%'"
)
_THREADS = (  # MySQL: without the lock that its other list takes
    "SELECT processlist_id, processlist_user, processlist_host, processlist_command"
    " FROM performance_schema.threads WHERE processlist_id <> CONNECTION_ID()"
    " AND processlist_command <> 'Daemon' AND processlist_command NOT LIKE 'Binlog Dump%%'"
)
_TRANSACTIONS = (
    "SELECT trx_mysql_thread_id, CAST(UNIX_TIMESTAMP(trx_started) AS SIGNED)"
    " FROM information_schema.innodb_trx"
)
_AGES = 100 * 366 * 86_400
LOOK_SECONDS = 10
_REFRESH = 0.13
_TRIES = 4
_AGAIN = 2
_MOST = 5000
"""Transactions; the server's cache has room for some 10,000, and is silent about the others."""
_STALE = (
    "InnoDB's list of transactions is stale, or too long; does a monitor read it more often than "
    "every 100 ms?"
)
_PREPARED = "a prepared XA transaction without a client is open; XA RECOVER shows it"

Facts = Mapping[str, str]
Rows = list[Any]


@dataclass(frozen=True, slots=True)
class _Lists:
    """*transactions*: of each session, the second its transaction began; None: too old to use."""

    own: int
    sessions: Rows
    transactions: Rows | None


def identify(session: Session) -> str | Refusal:
    """A name for the server and for what this user sees of it."""
    with session.translated():
        facts = _facts(session.connection)
    return _unfit(facts) or _name(session, facts)


def look(session: Session, name: str, kept: Json) -> Answer | Refusal:
    """Who is busy or has a transaction open on the server *name*, and what follows.

    *kept* is the last answer's. On a busy server a second look, right after, finds most of the
    first one's statements over, so that the bound is not a whole run behind.
    """
    with session.translated():
        try:
            answer = first = _look(session, name, kept)
            for _ in range(_AGAIN):
                if not isinstance(first, Answer) or not isinstance(answer, Answer):
                    break
                if answer.safe.moment and answer.safe.moment >= first.safe.clock.server:
                    break
                time.sleep(_REFRESH)
                answer = _look(session, name, answer.kept)
            return answer
        except DBAPIError as error:
            if replicas.code(error) != replicas.DENIED:
                raise
    user = session.endpoint.user
    return Refusal("no PROCESS privilege", f"Run: GRANT PROCESS ON *.* TO {user!r}@…")


def _look(session: Session, name: str, kept: Json) -> Answer | Refusal:
    engine = session.dialect.engine(session.endpoint, LOOK_SECONDS)
    try:
        with engine.connect() as connection:
            facts = _facts(connection)
            if _name(session, facts) != name:
                return Refusal(
                    "its connections lead to different servers",
                    "Give the connection the address of the primary itself",
                )
            connection.exec_driver_sql("SET time_zone = 'SYSTEM'")  # as in the lists
            clock = Clock.read(lambda: _clock(connection))
            started = began(clock.server, int(_pairs(connection, _UPTIME)["Uptime"]))
            lists = _lists(connection, facts)
            replica = replicas.set_up(connection)
    finally:
        engine.dispose()
    if any(user == "system user" for _, user, _, _ in lists.sessions):
        return Refusal(
            "replication writes here, with another server's stamps", "Connect to the primary"
        )
    if replica:
        return Refusal(
            "the server is set up as a replica that is stopped",
            "Connect to the primary; or, if it is one by now: RESET REPLICA ALL, and "
            "GRANT REPLICA MONITOR ON *.*",
        )
    if lists.transactions is None:
        return Answer(held(clock, _STALE), kept)
    return _advance(clock, started, lists, kept)


def began(now: datetime, uptime: int) -> datetime | None:
    """No statement on the server is older; None when its clock was set back past its start.

    *uptime* is by that clock, too: it is below zero then, and some servers write that without sign.
    """
    if not 0 <= uptime < _AGES:
        return None
    return now - timedelta(seconds=uptime + 2)


def _lists(connection: sa.Connection, facts: Facts) -> _Lists:
    """First the sessions, then the transactions: the order is part of the proof."""
    own = int(connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())
    maria = "MariaDB" in facts["version"]
    sessions = connection.exec_driver_sql(_SESSIONS if maria else _THREADS).all()
    connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    for attempt in range(_TRIES):
        time.sleep(_REFRESH if attempt else 0)
        found = connection.exec_driver_sql(_TRANSACTIONS).all()
        others = [row for row in found if row[0] != own]
        if len(others) < len(found) < _MOST:
            return _Lists(own, list(sessions), others)
    return _Lists(own, list(sessions), None)


def _advance(clock: Clock, started: datetime | None, lists: _Lists, kept: Json) -> Answer:
    """The barriers after this look. Those from before a restart count no more.

    All statements began after the server did: its start is the barrier to begin with.
    """
    transactions = lists.transactions or []
    fallen = clock.fallen(Clock.from_json(kept["clock"])) if kept else timedelta(0)
    barriers = [Barrier(started, {})] if started else []
    if kept and kept["own"] < lists.own:
        barriers = [Barrier.from_json(barrier) for barrier in kept["barriers"]]
    barriers = [barrier.lowered(fallen) for barrier in barriers]
    commands = {int(row[0]): str(row[3]) for row in lists.sessions}
    barriers = advance(
        barriers,
        Look(
            clock.server,
            frozenset(number for number, command in commands.items() if command != "Sleep"),
            {int(number): int(began) for number, began in transactions if number},
            frozenset(number for number, command in commands.items() if command == "Bulk_execute"),
        ),
    )
    kept = {
        "clock": clock.to_json(),
        "own": lists.own,
        "barriers": [barrier.to_json() for barrier in barriers],
    }
    moment = safe_moment(barriers)
    if any(not number for number, _ in transactions):
        return Answer(held(clock, _PREPARED), kept)
    waits = _named(next((item for item in barriers if item.waits), None), lists, clock)
    if moment is None:
        return Answer(held(clock, f"the clock was set; waits for {waits}"), kept)
    return Answer(drained(clock, moment, waits), kept)


def _named(barrier: Barrier | None, lists: _Lists, clock: Clock) -> str:
    """Who is waited for longest: an open transaction rather than a statement without one."""
    if barrier is None:
        return ""
    number, began = min(barrier.waits.items(), key=lambda item: (item[1] is None, item[1] or 0))
    user, host = next(((row[1], row[2]) for row in lists.sessions if row[0] == number), ("?", "?"))
    since = (
        f"open since {at(datetime.fromtimestamp(began, UTC), clock.server)}" if began else "busy"
    )
    others = f" and {len(barrier.waits) - 1} more" if len(barrier.waits) > 1 else ""
    return f"session {number} of {user}@{host}, {since}{others}"[:120]


def _unfit(facts: Facts) -> Refusal | None:
    """Where others' transactions end up, their beginnings are not to be seen."""
    if facts.get("read_only", "OFF") not in {"OFF", "0"}:
        return Refusal("the server is read-only, like a replica", "Connect to the primary")
    if facts.get("wsrep_on") == "ON" or facts.get("group_replication_group_name"):
        return Refusal("other servers of a cluster write, too", "Write through one server only")
    if "MariaDB" not in facts["version"] and facts.get("performance_schema") != "ON":
        return Refusal("performance_schema is off", "Set performance_schema = ON")
    return None


def _name(session: Session, facts: Facts) -> str:
    places = (facts[name] for name in _IDENTITY if name in facts)
    return " ".join(["mysql", *places, session.endpoint.user or ""])


def _facts(connection: sa.Connection) -> Facts:
    return _pairs(connection, _FACTS)


def _pairs(connection: sa.Connection, query: str) -> Facts:
    return {row[0]: row[1] for row in connection.exec_driver_sql(query)}


def _clock(connection: sa.Connection) -> datetime:
    moment: datetime = connection.exec_driver_sql("SELECT UTC_TIMESTAMP(6)").scalar_one()
    return moment.replace(tzinfo=UTC)
