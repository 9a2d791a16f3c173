"""PostgreSQL's logical decoding as a feed, through a replication slot and plain SQL.

A slot keeps what is not read yet. It is *peeked* at, which takes nothing from it; the next run,
whose stored position proves that the rows are durable, moves the slot there.

Transactions are told in the order of their commits, each with the place of its commit. That place
is the token, with the number of the *part* of the transaction: some thousand changes, of which the
last one of each key counts. Two commits lie at least 32 octets apart, so five bits are free for it.

**Reading the table beside the log.** A commit is in the log *before* it can be seen by SELECT. So
:meth:`Decoding.begin` notes a place and waits until every transaction that was open then has ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from typing_extensions import override

from tidegate.errors import ConfigError, UnavailableError
from tidegate.sources import Finding
from tidegate.sources.log import pgoutput
from tidegate.sources.log.feed import NUMBER, Change, Feed, Position, trimmed
from tidegate.sources.sql.catalogue import Native, Table
from tidegate.sources.sql.session import Session

PART_ROWS = 8192
PART_OCTETS = 8_000_000
"""Changes of a part, and octets of them."""
_PART_BITS = 14
_EPOCH_SHIFT = 58
_WAIT = 30.0
_AT_ONCE = 1000
"""Messages fetched at once."""
_END = sa.text(
    "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint,"
    " (SELECT system_identifier FROM pg_control_system())"
)
_SLOT = sa.text(
    "SELECT plugin, database = current_database() AS here, wal_status,"
    " (confirmed_flush_lsn - '0/0')::bigint AS confirmed"
    " FROM pg_replication_slots WHERE slot_name = :slot"
)
_TABLE = sa.text(
    "SELECT current_setting('wal_level') AS level, pg_is_in_recovery() AS replica,"
    " current_setting('max_slot_wal_keep_size') AS kept, c.relreplident AS identity,"
    " c.relkind AS kind, p.pubname IS NOT NULL AS published, t.tablename IS NOT NULL AS part,"
    " p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AS whole, p.pubviaroot AS root,"
    " to_jsonb(t) ->> 'rowfilter' AS filter,"
    " (SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_attribute a"
    "  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    "  AND (a.attgenerated <> '' OR NOT coalesce((to_jsonb(t) -> 'attnames') ? a.attname::text,"
    "  true))) AS missing"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN pg_publication p ON p.pubname = :publication"
    " LEFT JOIN pg_publication_tables t ON t.pubname = p.pubname AND t.schemaname = n.nspname"
    " AND t.tablename = c.relname WHERE c.oid = CAST(:table AS oid)"
)
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
        open = self._one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        deadline = time.monotonic() + _WAIT
        while self._one("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint") < open:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{self._name}: a transaction that writes has been open for {_WAIT:.0f} s, and "
                    "the first read waits for it. Look for the oldest xact_start with a "
                    "backend_xid in pg_stat_activity, and in pg_prepared_xacts."
                )
            time.sleep(0.05)
        return position

    @override
    def changes(self, start: Position, end: Position, key: Sequence[str]) -> Iterator[Change]:
        self._require(start, end)
        if start["lsn"] == end["lsn"]:
            return
        self._run(
            "SELECT pg_replication_slot_advance(:slot, '0/0'::pg_lsn + :lsn)", lsn=start["lsn"]
        )
        transactions = Transactions(self._table, self._name, key)
        reader = Session(self._session.endpoint, self._limit)
        try:
            for message in self._messages(reader, end["lsn"]):
                for lsn, part, gone, cells in transactions.take(message):
                    if start["lsn"] <= lsn < end["lsn"]:
                        yield Change(self._token(end["epoch"], lsn, part), gone, cells)
        finally:
            reader.close()

    @override
    def order(self, position: Position) -> int:
        return self._token(position["epoch"], position["lsn"], 0) - 1

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
        found = self._row(_TABLE, values)
        return list(_judged(found, self._name, self._place, self._publication))

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

    def _one(self, statement: str) -> Any:
        return self._session.scalar(sa.text(statement))

    def _now(self) -> Position:
        """Where the log ends on disk."""
        lsn, server = self._row(_END)
        return {"server": str(server), "lsn": int(lsn), "table": self._table.identity}

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
        return epoch << _EPOCH_SHIFT | lsn >> 5 << _PART_BITS | part


class Transactions:
    """Makes of messages the last change of each key in each part of a transaction."""

    def __init__(self, table: Table, name: str, key: Sequence[str]) -> None:
        self._id = int(table.identity)
        self._names = {native.own for native in table.columns}
        self._name = name
        self._key = key
        self._columns: tuple[str, ...] = ()
        self._lsn = self._part = self._octets = self._rows = 0
        self._last: dict[tuple[Any, ...], tuple[bool, dict[str, Any]]] = {}

    def take(self, message: pgoutput.Message) -> Iterator[tuple[int, int, bool, dict[str, Any]]]:
        """Commit's place, part, whether it is gone, and cells; of those that are complete now."""
        if isinstance(message, pgoutput.Begin):
            self._lsn, self._part = message.lsn, 0
        elif isinstance(message, pgoutput.Relation) and message.id == self._id:
            self._columns = message.columns
            if missing := self._names - set(self._columns):
                raise trimmed(self._name, f"the log is older than column {min(missing)!r}.")
        elif isinstance(message, pgoutput.Row) and message.table == self._id:
            self._add(message)
            if self._rows >= PART_ROWS or self._octets >= PART_OCTETS:
                yield from self._flush()
        elif isinstance(message, pgoutput.Truncate) and self._id in message.tables:
            raise trimmed(self._name, "the table was truncated.")
        elif isinstance(message, pgoutput.Commit):
            yield from self._flush()

    def _add(self, row: pgoutput.Row) -> None:
        before, after = pgoutput.completed(row)
        old = None if before is None else dict(zip(self._columns, before, strict=True))
        new = None if after is None else dict(zip(self._columns, after, strict=True))
        if new is not None and pgoutput.UNCHANGED in new.values():
            raise trimmed(self._name, "a row was logged in part (REPLICA IDENTITY was not FULL).")
        if old is not None and (new is None or self._of(old) != self._of(new)):
            self._put(True, old)
        if new is not None:
            self._put(False, new)

    def _put(self, gone: bool, cells: dict[str, Any]) -> None:
        self._last.pop(self._of(cells), None)
        self._last[self._of(cells)] = gone, cells
        self._rows += 1
        self._octets += sum(len(cell) for cell in cells.values() if cell is not None)

    def _of(self, cells: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(cells[name] for name in self._key)

    def _flush(self) -> Iterator[tuple[int, int, bool, dict[str, Any]]]:
        for gone, cells in self._last.values():
            yield self._lsn, self._part, gone, cells
        self._last.clear()
        self._rows = self._octets = 0
        self._part = min(self._part + 1, (1 << _PART_BITS) - 1)


def _judged(found: Any, name: str, place: str, publication: str) -> Iterator[Finding]:
    """What *found*, the row of :data:`_TABLE`, says."""

    def wrong(what: str, todo: str) -> Finding:
        return Finding("error", f"{name}: {what}", "log-setting", todo)

    if found.replica:
        yield wrong("the server is a replica.", "Connect to its primary.")
    if found.level != "logical":
        yield wrong(
            f"the server's wal_level is {found.level}.",
            "It has to be: ALTER SYSTEM SET wal_level = logical; and a restart.",
        )
    if not found.published:
        todo = f"Its owner makes it: CREATE PUBLICATION {publication} FOR TABLE {place};"
        yield wrong(f"there is no publication {publication!r}.", todo)
    elif not found.part:
        todo = f"Its owner adds it: ALTER PUBLICATION {publication} ADD TABLE {place};"
        yield wrong(f"the publication {publication!r} lacks the table.", todo)
    elif not found.whole or found.filter is not None or (found.kind == "p" and not found.root):
        yield wrong(
            f"the publication {publication!r} leaves something out.",
            "It has to publish insert, update, delete and truncate, without a filter, and "
            "partitioned tables WITH (publish_via_partition_root).",
        )
    if found.identity != "f":
        todo = f"Its owner says: ALTER TABLE {place} REPLICA IDENTITY FULL;"
        yield wrong("the log has rows in part only.", todo)
    if found.missing:
        yield wrong(
            f"the log lacks the columns {found.missing}.",
            "Generated columns are not in it, nor those outside the publication's list. Read the "
            "table with table: and a cursor, or publish them.",
        )
    if found.kept == "-1":
        what = f"{name}: while the stream does not run, its slot keeps all of the server's log."
        todo = "Set max_slot_wal_keep_size, so that the disk cannot fill up."
        yield Finding("warning", what, "log-retention", todo)
