"""What only PostgreSQL can tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from typing_extensions import override

from tidegate.sources import Finding
from tidegate.sources.sql.doctor.case import Case, Server, statements

_OID = (
    "(SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
    " ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = :table)"
)
_COLUMN = (
    "SELECT a.attgenerated, pg_catalog.pg_get_expr(d.adbin, d.adrelid), a.atttypmod, t.typname"
    " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    f" WHERE a.attrelid = {_OID} AND a.attname = :column"
)
_COLLATION = (
    "SELECT t.typname, l.collname, l.collisdeterministic FROM pg_catalog.pg_attribute a"
    " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation"
    f" WHERE a.attrelid = {_OID} AND a.attname = :column"
)
_TRIGGERS = (  # enabled, before, for each row; 4: INSERT, 16: UPDATE
    "SELECT CAST(t.tgtype AS integer), p.prosrc, encode(t.tgargs, 'escape')"
    " FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
    f" WHERE t.tgrelid = {_OID} AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')"
    " AND CAST(t.tgtype AS integer) & 3 = 3"
)
_RIGHTS = (
    "SELECT r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication,"
    f" {{checks}}, pg_catalog.pg_get_userbyid(c.relowner) = r.rolname"
    " FROM pg_catalog.pg_roles r, pg_catalog.pg_class c"
    f" WHERE r.rolname = current_user AND c.oid = {_OID}"
)
_WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
_EXCESS = ("SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", *_WRITES, "owner of the table")
_OPEN = (
    "SELECT pid, usename, application_name, state,"
    " CAST(extract(epoch FROM clock_timestamp() - xact_start) AS bigint)"
    " FROM pg_catalog.pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend' AND datname = current_database()"
    " AND xact_start <= clock_timestamp() - make_interval(secs => :patience)"
    " ORDER BY xact_start LIMIT 20"
)
_PREPARED = (
    "SELECT gid, owner, CAST(extract(epoch FROM clock_timestamp() - prepared) AS bigint)"
    " FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()"
    " ORDER BY prepared LIMIT 20"
)
_NOW = re.compile(r"now\(\)|current_timestamp|localtimestamp|_timestamp\(\)", re.IGNORECASE)
_STAMP = """\
ALTER TABLE {table} ALTER {column} SET DEFAULT {now};
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN NEW.{column} := {now}; RETURN NEW; END $$;
CREATE TRIGGER {trigger} BEFORE UPDATE ON {table}
  FOR EACH ROW EXECUTE FUNCTION {function}();"""


class PostgreSQL(Server):
    """Asks its catalogue."""

    @override
    def precision(self) -> int | None:
        if self._column[3] not in {"timestamp", "timestamptz"}:
            return None
        return 6 if self._column[2] < 0 else int(self._column[2])

    @override
    def generated(self) -> bool:
        return bool(self._column[0])

    @override
    def stamped(self) -> tuple[bool, bool]:
        name = self.case.cursor.own.lower()
        events = 0
        for kind, body, arguments in self.case.ask(_TRIGGERS, **self.case.place):
            if name in f"{body} {arguments}".lower():
                events |= int(kind)
        default = _NOW.search(str(self._column[1] or "")) is not None
        return default or bool(events & 4), bool(events & 16)

    @override
    def stamping(self) -> str:
        if not self.case.temporal:
            return ""
        name = f"stamp_{self.case.table.name}"[:60]
        return _STAMP.format(
            function=".".join(self.case.q(part) for part in (self.case.table.schema, name) if part),
            trigger=self.case.q(name), table=self.case.full, now=self.now(),
            column=self.case.column(self.case.cursor.name),
        )  # fmt: skip

    @override
    def now(self) -> str:
        if self.case.cursor.type.name == "timestamp":
            return "clock_timestamp()"
        return f"clock_timestamp() AT TIME ZONE '{self.case.stream.time_zone}'"

    @override
    def confused(self, name: str) -> tuple[str, bool] | None:
        kind, collation, exact = self.case.ask(
            _COLLATION, **self.case.place, column=self.case.own(name)
        )[0]
        if kind == "citext":
            return f"{name!r} is of type citext", True
        if exact is False:
            return f"{name!r} is compared by {collation}", True
        return None

    @override
    def exact(self, name: str) -> str:
        return f'ALTER TABLE {self.case.full} ALTER {self.case.column(name)} TYPE text COLLATE "C";'

    @override
    def mandatory(self, name: str) -> str:
        return f"ALTER TABLE {self.case.full} ALTER {self.case.column(name)} SET NOT NULL;"

    @override
    def offset(self) -> float | None:
        """Our own sessions are in UTC; one that is not told so shows what the others get."""
        session = self.case.session
        engine = session.dialect.engine(session.endpoint, 5)

        @event.listens_for(engine, "do_connect")
        def plain(_: Any, __: Any, ___: Any, arguments: dict[str, Any]) -> None:
            arguments["options"] = arguments["options"].replace("-c TimeZone=UTC", "")

        with session.translated(), closing(engine.connect()) as connection:
            text = "SELECT CAST(extract(timezone FROM now()) AS integer)"
            return float(connection.execute(sa.text(text)).scalar_one())

    @override
    def rows(self) -> int | None:
        text = f"SELECT CAST(reltuples AS bigint) FROM pg_catalog.pg_class WHERE oid = {_OID}"
        found = int(self.case.ask(text, **self.case.place)[0][0])
        return None if found < 0 else found

    @cached_property
    def _sees_all(self) -> bool:
        text = "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"
        return bool(self.case.ask(text)[0][0])

    @override
    def sees_all(self) -> bool:
        return self._sees_all

    @override
    def excess(self) -> list[str]:
        checks = ", ".join(f"has_table_privilege(c.oid, '{right}')" for right in _WRITES)
        found = self.case.ask(_RIGHTS.format(checks=checks), **self.case.place)[0]
        return [word for word, there in zip(_EXCESS, found, strict=True) if there]

    @override
    def grant(self, right: str, user: str = "") -> str:
        name = self.case.q(user or str(self.case.ask("SELECT current_user")[0][0]))
        schema = self.case.q(str(self.case.table.schema))
        places = {"SELECT": f" ON {self.case.full}", "USAGE": f" ON SCHEMA {schema}"}
        return f"GRANT {right}{places.get(right, '')} TO {name};"

    @override
    def octets(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.octet_length(sa.cast(column, sa.Text()))

    @cached_property
    def _column(self) -> Any:
        return self.case.ask(_COLUMN, **self.case.place, column=self.case.cursor.own)[0]


def foreign(case: Case) -> Iterator[Finding]:
    """Transactions of another server cannot be seen here."""
    text = f"SELECT relkind FROM pg_catalog.pg_class WHERE oid = {_OID}"
    if case.ask(text, **case.place)[0][0] == "f":
        yield case.find(
            "warning",
            "no-transactions",
            "the table is a foreign one: the transactions that write it are another server's, "
            "and no bound can be computed from those here.",
            "Connect to that server; or set bound: lookback, and lookback: to more than the "
            "longest transaction.",
        )


def select(case: Case) -> Iterator[Finding]:
    """Every column is read."""
    text = (
        "SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attnum > 0"
        f" AND NOT a.attisdropped AND a.attrelid = {_OID}"
        " AND NOT has_column_privilege(a.attrelid, a.attnum, 'SELECT') ORDER BY a.attnum"
    )
    missing = [str(row[0]) for row in case.ask(text, **case.place)]
    usage = "SELECT has_schema_privilege(:schema, 'USAGE')"
    if not case.ask(usage, schema=case.table.schema)[0][0]:
        yield case.find(
            "error",
            "no-select",
            f"the user {case.session.endpoint.user!r} may not use schema {case.table.schema!r}.",
            f"Grant it:{statements(case.server.grant('USAGE'))}",
        )
    if missing:
        some = ", ".join(missing[:6]) + (", …" if len(missing) > 6 else "")
        yield case.find(
            "error",
            "no-select",
            f"the user {case.session.endpoint.user!r} may not read {some}.",
            f"Grant it:{statements(case.server.grant('SELECT'))}",
        )


def row_security(case: Case) -> Iterator[Finding]:
    """Rows that the user may not see look like rows that are gone."""
    if case.ask(f"SELECT row_security_active({_OID})", **case.place)[0][0]:
        user = case.q(str(case.session.endpoint.user))
        yield case.find(
            "warning",
            "row-security",
            "row security is in force for this user: rows that its policies hide are not read, "
            "and a row that becomes hidden looks deleted.",
            f"ALTER ROLE {user} BYPASSRLS; or make sure that the policies show it every row.",
        )


def replica(case: Case) -> Iterator[Finding]:
    """A standby does not show the transactions of its primary."""
    if case.ask("SELECT pg_is_in_recovery()")[0][0]:
        yield case.find(
            "warning",
            "replica",
            "the server is a standby: rows arrive late, with older stamps, and the transactions "
            "that write them cannot be seen here.",
            "Connect to the primary; or set bound: lookback, and lookback: to more than the "
            "longest transaction and the largest lag together.",
        )


def held(case: Case) -> Iterator[Finding]:
    """A transaction that stays open keeps the watermark where it began."""
    if case.stream.bound == "lookback" or not case.server.sees_all():
        return
    for gid, owner, age in case.ask(_PREPARED):
        yield case.find(
            "warning",
            "held-bound",
            f"a transaction of {owner} is prepared since {age:,} s and not ended. Until its end "
            "the watermark stands still.",
            f"In its database: COMMIT PREPARED {_literal(gid)}; or ROLLBACK PREPARED.",
        )
    for pid, user, program, state, age in case.ask(_OPEN, patience=case.patience):
        yield case.find(
            "warning",
            "held-bound",
            f"a transaction of {user} (process {pid}, {program or 'unnamed'}, {state}) is open "
            f"since {age:,} s. Until its end the watermark stands still.",
            f"Have it commit, or end it: SELECT pg_terminate_backend({pid});",
        )


def durable(case: Case) -> Iterator[Finding]:
    """What the source forgets in a crash, the store still knows."""
    off = [
        name for name in ("fsync", "full_page_writes", "synchronous_commit")
        if case.settings.get(name, "on") == "off"
    ]  # fmt: skip
    if off:
        yield case.find(
            "note",
            "not-durable",
            f"{', '.join(off)} off: a crash may undo changes that were read already.",
            f"ALTER SYSTEM SET {off[0]} = on; SELECT pg_reload_conf(); or verify: after a crash.",
        )


def log(case: Case) -> Iterator[Finding]:
    """For reading from the log: what it holds, and who holds it."""
    known = case.settings
    slots = case.ask("SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE NOT active")
    idle = f"; idle slots keep it from being removed: {', '.join(row[0] for row in slots)}"
    yield case.find(
        "note",
        "log",
        f"wal_level is {known.get('wal_level')}, with room for "
        f"{known.get('max_replication_slots')} replication slots{idle if slots else ''}. Reading "
        "by a cursor does not need it.",
        "Only for tools that read the log: ALTER SYSTEM SET wal_level = logical; and a restart."
        + (" Drop slots that nobody uses: SELECT pg_drop_replication_slot(…);" if slots else ""),
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
