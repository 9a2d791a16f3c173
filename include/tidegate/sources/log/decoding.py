"""PostgreSQL's logical decoding as a feed, through a replication slot and plain SQL.

A slot keeps what is not read yet. It is *peeked* at, which takes nothing from it; the next run,
whose stored position proves that the rows are durable, moves the slot there.

Transactions are told in the order of their commits, each with the place of its commit. That place
is the token, with the number of the *part* of the transaction: some thousand changes, of which the
last one of each key counts. Two commits lie at least 32 octets apart, so five bits are free for it.

**Reading the table beside the log.** A commit is in the log *before* it can be seen by SELECT. So
:meth:`Decoding.begin` notes a place and waits until every transaction that was open then has ended:
it keeps a lock on its own number until it can be seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from typing_extensions import override

from tidegate.errors import ConfigError, UnavailableError
from tidegate.model import REPAIRS
from tidegate.sources import Finding
from tidegate.sources.log import partitions, pgoutput, publishing
from tidegate.sources.log.feed import NUMBER, Change, Feed, Position, trimmed
from tidegate.sources.log.transactions import PART_BITS, Transactions
from tidegate.sources.sql.catalogue import Native, Table
from tidegate.sources.sql.session import Session

_EPOCH_SHIFT = 58
_WAIT = 30.0
_AT_ONCE = 1000
"""Messages fetched at once."""
END = sa.text(
    "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint,"
    " (SELECT system_identifier FROM pg_control_system())"
)
_SLOT = sa.text(
    "SELECT plugin, database = current_database() AS here, wal_status,"
    " (confirmed_flush_lsn - '0/0')::bigint AS confirmed"
    " FROM pg_replication_slots WHERE slot_name = :slot"
)
_OPEN = sa.text(
    "SELECT array_agg(transactionid::text) FROM pg_locks"
    " WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted"
)
_ADVANCE = sa.text("SELECT pg_replication_slot_advance(:slot, '0/0'::pg_lsn + :lsn)")
_PEEK = (
    "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, ('0/0'::pg_lsn + %s), NULL,"
    " 'proto_version', '1', 'publication_names', %s)"
)


class Decoding(Feed):
    """One table's part of it."""

    def __init__(
        self, session: Session, table: Table, name: str, slot: str, publication: str, limit: float
    ) -> None:
        self._session = session
        self._table = table
        self._name = name
        self._slot = slot
        self._publication = publication
        self._limit = limit

    @override
    def end(self, known: Position | None) -> Position:
        for finding in self.findings():
            if finding.level == "error":
                raise ConfigError(finding.message)
        position = {**self._now(), "epoch": 0}
        if known is not None:
            same = position["server"] == known["server"] and position["lsn"] >= known["lsn"]
            position["epoch"] = known["epoch"] + (not same)
        return position

    @override
    def begin(self) -> Position:
        self._make_slot()
        position = self._now()
        open = self._open()
        deadline = time.monotonic() + _WAIT
        while open & self._open():
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{self._name}: a transaction that writes has been open for {_WAIT:.0f} s, and "
                    "the first read waits for it. Look for the oldest xact_start with a "
                    "backend_xid in pg_stat_activity, and in pg_prepared_xacts."
                )
            time.sleep(0.05)
        return position

    @override
    def changes(
        self, start: Position, end: Position, key: Sequence[str], columns: Sequence[Native]
    ) -> Iterator[Change]:
        self._require(start, end)
        if start["lsn"] == end["lsn"]:
            return
        transactions = Transactions(int(self._table.identity), columns, self._name, key)
        reader = Session(self._session.endpoint, self._limit)
        try:
            reader.scalar(_ADVANCE, {"slot": self._slot, "lsn": start["lsn"]})
            for message in self._messages(reader, end["lsn"]):
                for lsn, part, gone, cells in transactions.take(message):
                    if start["lsn"] <= lsn < end["lsn"]:
                        yield Change(self._token(end["epoch"], lsn, part), gone, cells)
        finally:
            reader.close()

    @override
    def order(self, position: Position) -> int:
        return self._token(position["epoch"], position["lsn"], 0) - REPAIRS - 1

    @override
    def text(self, position: Position) -> str:
        return f"{position['epoch']:02}/{position['lsn']:016X}"

    @override
    def constants(
        self, natives: Sequence[Native], changes: Sequence[Change]
    ) -> tuple[str, list[Any]]:
        quote = self._session.connection.dialect.identifier_preparer.quote_identifier
        names = ", ".join([quote(NUMBER), *(quote(native.own) for native in natives)])
        plain = [f"c{place}" for place in range(len(natives))]
        cast = [f"{one}::{native.declared}" for one, native in zip(plain, natives, strict=True)]
        arrays = ", ".join(["%s::text[]"] * len(natives))
        text = (
            f"WITH image ({names}) AS (SELECT {', '.join(['n', *cast])} FROM unnest({arrays}) "
            f"WITH ORDINALITY AS constants({', '.join([*plain, 'n'])}))"
        )
        return text, [[change.cells[native.own] for change in changes] for native in natives]

    @override
    def findings(self) -> list[Finding]:
        values = {"publication": self._publication, "table": self._table.identity}
        found = self._row(publishing.TABLE, values)
        return list(publishing.judged(found, self._name, self._place, self._publication))

    # The server -----------------------------------------------------------------------------

    @property
    def _place(self) -> str:
        parts = [self._table.schema, self._table.name]
        return ".".join(self._session.quoted(part) for part in parts if part)

    def _row(self, statement: sa.TextClause, values: Mapping[str, Any] | None = None) -> Any:
        connection = self._session.connection
        with self._session.translated():
            return connection.execute(statement, values or {}).one_or_none()

    def _run(self, statement: str, **values: Any) -> Any:
        return self._session.scalar(sa.text(statement), {"slot": self._slot, **values})

    def _open(self) -> set[str]:
        """The transactions that write."""
        return set(self._session.scalar(_OPEN) or ())

    def _parts(self) -> dict[str, bool]:
        """What the table consists of."""
        connection = self._session.connection
        with self._session.translated():
            found = connection.execute(partitions.MARKS, {"table": self._table.identity})
            return {str(mark): bool(bare) for mark, bare in found}

    def _now(self) -> Position:
        """Where the log ends on disk, and of what the table consisted just before."""
        table = {"table": self._table.identity, "parts": list(self._parts())}
        lsn, server = self._row(END)
        return {"server": str(server), "lsn": int(lsn), **table}

    def _make_slot(self) -> None:
        """Make the slot, and anew one that the server has given up."""
        slot = self._row(_SLOT, {"slot": self._slot})
        if slot is not None and not (slot.here and slot.plugin == "pgoutput"):
            raise ConfigError(
                f"{self._name}: slot: {self._slot!r} is another's: of plugin {slot.plugin}, or of "
                "another database. Name another one."
            )
        if slot is not None and slot.wal_status == "lost":
            self._run("SELECT pg_drop_replication_slot(:slot)")
            slot = None
        if slot is None:
            self._run("SELECT pg_create_logical_replication_slot(:slot, 'pgoutput')")

    def _require(self, start: Position, end: Position) -> None:
        """Raise TrimmedError unless the slot leads on from *start*."""
        if start["server"] != end["server"]:
            raise trimmed(self._name, "this is another server than the one that was read.")
        if start["table"] != end["table"]:
            raise trimmed(self._name, "the table is another one of the same name.")
        if what := partitions.difference(start["parts"], self._parts()):
            raise trimmed(self._name, what)
        if end["lsn"] < start["lsn"]:
            raise trimmed(
                self._name,
                "the server lacks transactions that were read already: it was restored, or took "
                "over without them.",
            )
        slot = self._row(_SLOT, {"slot": self._slot})
        if slot is None:
            raise trimmed(self._name, f"there is no replication slot {self._slot!r} any more.")
        if slot.wal_status == "lost":
            raise trimmed(self._name, f"the server gave up the replication slot {self._slot!r}.")
        if slot.confirmed is None or slot.confirmed > start["lsn"]:
            raise trimmed(self._name, f"somebody else read the slot {self._slot!r}.")

    def _messages(self, reader: Session, until: int) -> Iterator[pgoutput.Message]:
        """The slot's messages, some at a time; the server keeps the rest in a file."""
        driver: Any = reader.connection.connection.driver_connection
        values = (self._slot, until, self._publication)
        try:
            with driver.transaction(), driver.cursor(name="tidegate", binary=True) as cursor:
                driver.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                cursor.itersize = _AT_ONCE
                cursor.execute(_PEEK, values)
                for (data,) in cursor:
                    if (message := pgoutput.read(data)) is not None:
                        yield message
        except driver.Error as error:
            raise self._session.dialect.translate(error, self._session.endpoint) from None

    def _token(self, epoch: int, lsn: int, part: int) -> int:
        return epoch << _EPOCH_SHIFT | lsn >> 5 << PART_BITS | part
