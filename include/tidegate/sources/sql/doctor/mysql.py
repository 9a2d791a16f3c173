"""What only MariaDB and MySQL can tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from typing_extensions import override

from tidegate.errors import RefusedError
from tidegate.sources import Finding
from tidegate.sources.sql.bounds import replicas
from tidegate.sources.sql.doctor.alter import altered
from tidegate.sources.sql.doctor.case import Case, Server, statements
from tidegate.sources.sql.doctor.stamps import offsets_apart

_HERE = "table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table"
_COLUMN = (
    "SELECT column_default, extra, generation_expression, datetime_precision, collation_name"
    f" FROM information_schema.columns WHERE {_HERE} AND column_name = :column"
)
_TRIGGERS = (
    "SELECT event_manipulation, action_statement FROM information_schema.triggers"
    " WHERE event_object_schema = COALESCE(:schema, DATABASE()) AND event_object_table = :table"
    " AND action_timing = 'BEFORE'"
)
_ENGINE = (
    "SELECT t.engine, e.transactions FROM information_schema.tables t"
    " JOIN information_schema.engines e ON e.engine = t.engine"
    f" WHERE t.{_HERE.replace('AND ', 'AND t.')}"
)
_OPEN = (
    "SELECT t.trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, t.trx_started,"
    " CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')) AS age, p.user, p.host, p.command"
    " FROM information_schema.innodb_trx t"
    " LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id"
    " WHERE t.trx_mysql_thread_id <> CONNECTION_ID() ORDER BY t.trx_started LIMIT 20"
)
_REPLICATION = (
    "SELECT COUNT(*) FROM information_schema.processlist"
    " WHERE user = 'system user' AND command <> 'Daemon'"
)
_GRANT = re.compile(r"GRANT (.+?) ON (.+?) TO .+?( WITH GRANT OPTION)?$")
_HARMLESS = frozenset({
    "USAGE", "SELECT", "PROCESS", "SHOW VIEW", "SHOW DATABASES", "REPLICATION CLIENT",
    "BINLOG MONITOR", "REPLICATION SLAVE", "REPLICA MONITOR", "SLAVE MONITOR", "TRIGGER",
    "EXECUTE", "LOCK TABLES",
})  # fmt: skip


class MySQL(Server):
    """Also MariaDB."""

    @override
    def precision(self) -> int | None:
        return None if self._column[3] is None else int(self._column[3])

    @override
    def generated(self) -> bool:
        return bool(self._column[2])

    @override
    def stamped(self) -> tuple[bool, bool]:
        default, extra = str(self._column[0] or "").lower(), str(self._column[1] or "").lower()
        name = re.escape(self.case.cursor.own)
        sets = re.compile(rf"new\s*\.\s*`?{name}`?\s*=", re.IGNORECASE)
        triggers = self.case.ask(_TRIGGERS, **self.case.place)
        events = {str(row[0]).upper() for row in triggers if sets.search(str(row[1]))}
        return (
            "current_timestamp" in default or "INSERT" in events,
            "on update current_timestamp" in extra or "UPDATE" in events,
        )

    @override
    def stamping(self) -> str:
        kind = self.case.cursor.declared.split("(")[0].split()[0]
        if kind not in {"timestamp", "datetime"}:
            return ""
        column = self.case.column(self.case.cursor.name)
        if kind == "datetime" and offsets_apart(self.case):
            return (
                f"-- {column} would be stamped in the zone of each session that writes, not in\n"
                f"-- {self.case.stream.time_zone}: make it a TIMESTAMP(6), or set their zone first"
            )
        return (
            f"ALTER TABLE {self.case.full} MODIFY {column} "
            f"{kind.upper()}(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) "
            "ON UPDATE CURRENT_TIMESTAMP(6);"
        )

    @override
    def now(self) -> str:
        zone = self.case.stream.time_zone
        if self.case.cursor.declared.startswith("timestamp"):
            return "CURRENT_TIMESTAMP(6)"
        if zone == "UTC":
            return "UTC_TIMESTAMP(6)"
        return f"CONVERT_TZ(UTC_TIMESTAMP(6), '+00:00', '{zone}')"

    @override
    def confused(self, name: str) -> tuple[str, bool] | None:
        collation = self._facts(name)[4]
        if not collation or collation == "binary":
            return None
        why = f"{name!r} is compared by {collation}"
        if not re.search("_bin$|_cs$|_as_cs", collation):
            return why, True
        fixed = self.case.plan.native(name).declared.startswith("char(")  # read without blanks
        return None if fixed or re.search("nopad|_0900_", collation) else (why, False)

    @override
    def exact(self, name: str) -> str:
        collation = "utf8mb4_nopad_bin" if self._mariadb else "utf8mb4_0900_bin"
        return altered(self.case, name, text=f" CHARACTER SET utf8mb4 COLLATE {collation}")

    @override
    def mandatory(self, name: str) -> str:
        return altered(self.case, name, null=" NOT NULL")

    @override
    def offset(self) -> float | None:
        seconds = self.case.ask(
            "SELECT TIMESTAMPDIFF(SECOND, moment, CONVERT_TZ(moment, '+00:00', @@GLOBAL.time_zone))"
            " FROM (SELECT UTC_TIMESTAMP() AS moment) now"
        )[0][0]
        return None if seconds is None else float(seconds)

    @override
    def rows(self) -> int | None:
        text = f"SELECT table_rows FROM information_schema.tables WHERE {_HERE}"
        found = self.case.ask(text, **self.case.place)[0][0]
        return None if found is None else int(found)

    @cached_property
    def _sees_all(self) -> bool:
        try:
            self.case.ask("SELECT trx_id FROM information_schema.innodb_trx LIMIT 1")
        except RefusedError:
            return False
        return True

    @override
    def sees_all(self) -> bool:
        return self._sees_all

    @override
    def excess(self) -> list[str]:
        found: dict[str, None] = {}
        for (line,) in self.case.ask("SHOW GRANTS"):
            if match := _GRANT.match(str(line)):
                listed, place, passes = match.groups()
                rights = [right.strip() for right in re.sub(r"\([^)]*\)", "", listed).split(",")]
                rights += ["GRANT OPTION"] if passes else []
                found |= {
                    f"{right} on {place.replace('`', '')}": None
                    for right in rights
                    if right not in _HARMLESS
                }
        return list(found)

    @override
    def grant(self, right: str, user: str = "") -> str:
        known = user or str(self.case.ask("SELECT CURRENT_USER()")[0][0])
        name, _, host = known.rpartition("@")
        place = "*.*" if right == "PROCESS" else self.case.full
        return f"GRANT {right} ON {place} TO '{name}'@'{host}';"

    @override
    def octets(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.octet_length(column)

    @cached_property
    def _column(self) -> Any:
        return self._facts(self.case.cursor.name)

    def _facts(self, name: str) -> Any:
        return self.case.ask(_COLUMN, **self.case.place, column=self.case.own(name))[0]

    @property
    def _mariadb(self) -> bool:
        return bool(getattr(self.case.session.connection.dialect, "is_mariadb", False))


def engine(case: Case) -> Iterator[Finding]:
    """Only transactions let a reader see all of a change, or nothing."""
    for name, transactions in case.ask(_ENGINE, **case.place):
        if transactions != "YES":
            yield case.find(
                "warning",
                "no-transactions",
                f"the table's engine {name} knows no transactions: reading locks its writers out, "
                "and half of a statement can be seen.",
                f"Use InnoDB:{statements(f'ALTER TABLE {case.full} ENGINE=InnoDB;')}",
            )


def rounding(case: Case) -> Iterator[Finding]:
    """A stamp that is rounded up lies in the future."""
    mode = case.settings.get("sql_mode", "")
    mariadb = "mariadb" in case.settings.get("version", "").lower()
    rounds = "TIME_ROUND_FRACTIONAL" in mode if mariadb else "TIME_TRUNCATE_FRACTIONAL" not in mode
    digits = case.server.precision()
    if not rounds or digits is None or digits == 6 or case.server.stamped() == (True, True):
        return
    yield case.find(
        "warning",
        "time-rounding",
        f"sql_mode rounds times to the {digits} digits that {case.cursor.name!r} keeps: stamps "
        "that applications write come to lie up to half a second in the future.",
        "SET GLOBAL sql_mode = REPLACE(@@GLOBAL.sql_mode, 'TIME_ROUND_FRACTIONAL', '');"
        if mariadb
        else "SET GLOBAL sql_mode = CONCAT(@@GLOBAL.sql_mode, ',TIME_TRUNCATE_FRACTIONAL');",
    )


def replica(case: Case) -> Iterator[Finding]:
    """On a replica, transactions of the primary cannot be seen."""
    why = "read_only is on" if case.settings.get("read_only", "OFF") not in {"OFF", "0"} else ""
    if case.server.sees_all() and case.ask(_REPLICATION)[0][0]:
        why = "it runs a replication thread"
    elif _set_up(case):
        why = "replication is set up, and stopped"
    if why:
        yield case.find(
            "warning",
            "replica",
            f"the server is a replica ({why}): rows arrive late, with older stamps.",
            "Connect to the primary; or set bound: lookback, and lookback: to more than the "
            "longest transaction and the largest lag together.",
        )


def _set_up(case: Case) -> bool:
    with case.session.translated():
        return replicas.set_up(case.session.connection)


def held(case: Case) -> Iterator[Finding]:
    """A transaction that stays open keeps the watermark where it began."""
    if case.stream.bound == "lookback" or not case.server.sees_all():
        return
    for thread, age, user, host, command in case.ask(_OPEN):
        if not thread:
            yield case.find(
                "warning",
                "held-bound",
                f"a prepared XA transaction waits since {age:,} s for its coordinator. Until its "
                "end the watermark stands still.",
                "XA RECOVER; lists it. End it by XA COMMIT or XA ROLLBACK.",
            )
        elif user and age >= case.patience:  # without a session the list is older than its end
            yield case.find(
                "warning",
                "held-bound",
                f"a transaction of {user}@{host} (connection {thread}, {command}) is open since "
                f"{age:,} s. Until its end the watermark stands still.",
                f"Have it commit, or end it: KILL {thread};",
            )


def durable(case: Case) -> Iterator[Finding]:
    """What the source forgets in a crash, the store still knows."""
    found = case.settings.get("innodb_flush_log_at_trx_commit", "1")
    if found != "1":
        yield case.find(
            "note",
            "not-durable",
            f"innodb_flush_log_at_trx_commit is {found}: a crash may undo changes that were read "
            "already.",
            "SET GLOBAL innodb_flush_log_at_trx_commit = 1; or verify: after a crash.",
        )


def log(case: Case) -> Iterator[Finding]:
    """For reading from the log: is there one, and for how long."""
    known = case.settings
    if known.get("log_bin", "OFF").upper() not in {"ON", "1"}:
        what, todo = "the server writes no binary log", "log_bin in the server's configuration"
    else:
        seconds = float(known.get("binlog_expire_logs_seconds") or 0)
        seconds = seconds or float(known.get("expire_logs_days") or 0) * 86_400
        kept = f"{seconds / 3600:,.0f} h" if seconds else "until it is purged by hand"
        what = (
            f"the binary log is {known.get('binlog_format', '?')}, row image "
            f"{known.get('binlog_row_image', '?')}, kept {kept}"
        )
        todo = "binlog_format = ROW, binlog_row_image = FULL, binlog_expire_logs_seconds = 604800"
    yield case.find(
        "note",
        "log",
        f"{what}. Reading by a cursor does not need it.",
        f"Only for tools that read the log: {todo}.",
    )
