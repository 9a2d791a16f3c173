"""MySQL's and MariaDB's binary log as a feed.

A position is the end of a group of transactions: file and octet, and the GTIDs up to there, with
the server that wrote it. A token is the file's number and the octet where the event begins, plus
the number of the change in it: an event has more octets than rows.

**Reading the table beside the log.** A transaction is in the binary log *before* it can be seen by
SELECT (the engine commits after the log does). MariaDB tells the position that belongs to a
consistent snapshot. MySQL tells the GTIDs between the two; :meth:`Binlog.begin` waits until those
are through.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pymysql
import sqlalchemy as sa
from pymysqlreplication.event import ExecuteLoadQueryEvent, FormatDescriptionEvent, QueryEvent
from typing_extensions import override

from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.sources import Finding
from tidegate.sources.log import gtids, replica, settings, statements
from tidegate.sources.log.feed import NUMBER, Change, Feed, Position, trimmed
from tidegate.sources.log.rowevents import Rows, constant
from tidegate.sources.log.server import Server
from tidegate.sources.sql.catalogue import Native, Table
from tidegate.sources.sql.session import Session

_WAIT = 30.0


class Binlog(Server, Feed):
    """One table's part of it."""

    numbers_bits = True

    def __init__(self, session: Session, table: Table, name: str) -> None:
        super().__init__(session)
        self._table = table
        self._name = name
        self._born: int | None = None

    @override
    def end(self, known: Position | None) -> Position:
        if wrong := self.findings():
            for finding in wrong:
                if finding.level == "error":
                    raise ConfigError(finding.message)
        position = self.now()
        if known is not None:
            same = position["server"] == known["server"]
            later = same and replica.place(position) >= replica.place(known)
            position["epoch"] = known["epoch"] + (not later)
        return position

    @override
    def begin(self) -> Position:
        position = self._snapshot() if self._mariadb else self._settled()
        self._require_no_prepared()
        return position

    def _snapshot(self) -> Position:
        """MariaDB: the position of a consistent snapshot."""
        gtid = self._gtids()
        self._run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        rows = dict(self._run("SHOW STATUS LIKE 'binlog_snapshot_%%'"))
        self._run("COMMIT")
        file, pos = rows["Binlog_snapshot_file"], int(rows["Binlog_snapshot_position"])
        return {"server": self._server, "file": file, "pos": pos, "gtid": gtid}

    @override
    def changes(
        self, start: Position, end: Position, key: Sequence[str], columns: Sequence[Native]
    ) -> Iterator[Change]:
        moved = start["server"] != end["server"]
        self._require(start, moved=moved)
        self._born = None if moved else start.get("born")
        if not moved and replica.place(start) == replica.place(end):
            return
        where = (self._schema, self._table.name)
        found = replica.events(
            self._connect, start, end, where, mariadb=self._mariadb, moved=moved
        )  # fmt: skip
        try:
            rows = Rows(columns, self._name, key)
            yield from self._read(found, start, end["epoch"] << 52, rows)
        except pymysql.MySQLError as error:
            raise self._translated(error) from None

    @override
    def reached(self, end: Position) -> Position:
        return {**end, "born": self._born}

    @override
    def order(self, position: Position) -> int:
        file, pos = replica.place(position)
        return int(position["epoch"]) << 52 | file << 32 | pos

    @override
    def text(self, position: Position) -> str:
        file, pos = replica.place(position)
        return f"{position['epoch']:04}/{file:010}/{pos:010}"

    @override
    def constants(
        self, natives: Sequence[Native], changes: Sequence[Change]
    ) -> tuple[str, list[Any]]:
        quote = self._session.connection.dialect.identifier_preparer.quote_identifier
        names = ", ".join([quote(NUMBER), *(quote(native.own) for native in natives)])
        row = "(" + ", ".join(["%s", *map(constant, natives)]) + ")"
        rows = ", ".join([row if self._mariadb else f"ROW{row}"] * len(changes))
        values: list[Any] = []
        for number, change in enumerate(changes):
            values += [number, *(change.cells[native.own] for native in natives)]
        return f"WITH image ({names}) AS (VALUES {rows})", values

    @override
    def findings(self) -> list[Finding]:
        quote = self._session.connection.dialect.identifier_preparer.quote_identifier
        table = f"{quote(self._schema)}.{quote(self._table.name)}"
        asked = settings.Asked(self._run, self._mariadb, self._schema, table, self._status())
        return list(settings.findings(asked, self._name))

    # The server -----------------------------------------------------------------------------

    @property
    def _schema(self) -> str:
        return self._table.schema or str(self._session.endpoint.database)

    def _require_no_prepared(self) -> None:
        """Rows of a transaction that is prepared lie before the position, and nobody sees them."""
        prepared: list[Any] = []
        with suppress(RefusedError):  # MySQL: it takes XA_RECOVER_ADMIN to ask
            prepared = self._run("XA RECOVER")
        if prepared:
            raise UnavailableError(
                f"{self._name}: {len(prepared)} XA transactions are prepared (see XA RECOVER), and "
                "the first read waits for them. Commit them, or roll them back."
            )

    def _settled(self) -> Position:
        """MySQL: what the log has at a position can be seen when nobody owns its GTID any more."""
        if str(self._run("SELECT @@GLOBAL.gtid_mode")[0][0]) != "ON":
            raise ConfigError(
                f"{self._name}: the server's gtid_mode is not ON. MySQL's log is read beside its "
                "tables by GTID: turn it on (it goes online, step by step)."
            )
        position = self.now()
        owned = gtids.owned(self._run("SELECT @@GLOBAL.gtid_owned")[0][0])
        deadline = time.monotonic() + _WAIT
        while owned & gtids.owned(self._run("SELECT @@GLOBAL.gtid_owned")[0][0]):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{self._name}: a transaction has been committing for {_WAIT:.0f} s: "
                    f"{', '.join(sorted(owned))}."
                )
            time.sleep(0.05)
        return position

    def _require(self, start: Position, *, moved: bool) -> None:
        """Raise TrimmedError unless the log leads on from *start*."""
        where = f"{start['file']}:{start['pos']}"
        if moved:
            self._require_gtids(start)
            return
        sizes = {str(row[0]): int(row[1]) for row in self._run("SHOW BINARY LOGS")}
        if start["file"] not in sizes:
            raise trimmed(self._name, f"the server has no binary log {start['file']} any more.")
        if sizes[start["file"]] < start["pos"] or not self._has(start["gtid"]):
            raise trimmed(self._name, f"the binary log began anew since {where}.")

    def _require_gtids(self, start: Position) -> None:
        """On another server: it has all transactions that we have, and nobody purged the next."""
        ours = start["gtid"]
        if not ours or not self._has(ours):
            raise trimmed(
                self._name,
                f"this is another server ({self._server}), and it lacks transactions that were "
                f"read already (up to GTID {ours}): it took over without them.",
            )
        if not self._mariadb:
            asked = sa.text("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_purged, :ours)")
            if self._session.scalar(asked, {"ours": ours}):
                raise trimmed(self._name, "the new server purged transactions not yet read.")

    def _has(self, ours: str) -> bool:
        """Whether the server has all of *ours*."""
        if not self._mariadb:
            asked = sa.text("SELECT GTID_SUBSET(:ours, @@GLOBAL.gtid_executed)")
            return bool(self._session.scalar(asked, {"ours": ours}))
        there = gtids.sequences(self._run("SELECT @@gtid_binlog_state")[0][0])
        return all(there.get(one, -1) >= most for one, most in gtids.sequences(ours).items())

    def _connect(self) -> Any:
        """One more connection, the product's way, for whoever takes it."""
        engine = self._session.connection.engine
        with self._session.translated():
            pooled = engine.raw_connection()
        driver = pooled.driver_connection
        pooled.detach()
        return driver

    def _translated(self, error: pymysql.MySQLError) -> TidegateError:
        if error.args and error.args[0] == 1236:
            return trimmed(self._name, f"the server cannot read on from there: {error.args[-1]}.")
        found = self._session.dialect.translate(error, self._session.endpoint)
        return found if isinstance(found, TidegateError) else UnavailableError(str(error))

    # Events ---------------------------------------------------------------------------------

    def _read(
        self, found: Iterator[tuple[int, Any]], start: Position, epoch: int, rows: Rows
    ) -> Iterator[Change]:
        some = False
        for file, event in found:
            if isinstance(event, replica.ROWS):
                token = epoch | file << 32 | event.packet.log_pos - event.packet.event_size
                for number, (gone, cells) in enumerate(rows.changes(event)):
                    some = True
                    yield Change(token + number, gone, cells)
            elif isinstance(event, FormatDescriptionEvent):
                self._recognize(event.timestamp, file, start)
            elif isinstance(event, QueryEvent):
                self._judge(event, some)
                some = some and event.query.upper().startswith("SAVEPOINT")
            elif isinstance(event, ExecuteLoadQueryEvent):
                raise self._unseen("LOAD DATA")
            elif event.event_type == replica.INCIDENT:
                raise trimmed(self._name, "the server lost transactions before it logged them.")
            else:
                some = False

    def _recognize(self, born: int, file: int, start: Position) -> None:
        """Each file begins with the second in which it was made: another one of the same name?"""
        same = file == replica.number(start["file"]) and self._born is not None
        if same and self._born != born:
            raise trimmed(self._name, f"{start['file']} is not the file that was read before.")
        self._born = born

    def _judge(self, event: Any, some: bool) -> None:
        database = event.schema.decode("utf-8", "replace")
        query = event.query
        if some and query.upper().startswith("ROLLBACK"):
            raise trimmed(self._name, "a transaction of several engines was rolled back in part.")
        if some and query.upper().startswith("XA "):  # END, before it is prepared
            raise ConfigError(
                f"{self._name}: the table is written by XA transactions. The log tells of them "
                "before they are committed: read the table with table: and a cursor instead."
            )
        if statements.unseen(query, database, self._schema, self._table.name):
            raise self._unseen(query)

    def _unseen(self, query: str) -> TidegateError:
        what = " ".join(query.split())[:200]
        return trimmed(self._name, f"the log does not tell which rows this changed: {what!r}.")
