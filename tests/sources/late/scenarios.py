"""Rows that commit late, each in its own way. Every one leaves the row 1 for the end.

A scenario is a generator: wherever readers poll, it yields their names, or nothing for all. Other
rows are committed in between, so that a bound that looks at them goes past the stamp of row 1.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from sources.late.readers import Readers

Scenario = Callable[[Readers], Iterator[tuple[str, ...]]]
ALL: tuple[str, ...] = ()
PRODUCT = ("product",)
LONG = 2.4
"""Seconds that a stamp is old when its row appears: beyond a lag of one, in whole seconds."""


class Statement(threading.Thread):
    """A statement that runs meanwhile; :meth:`end` waits for it and passes its error on."""

    def __init__(self, session: Any, text: str) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._text = text
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """In the thread."""
        try:
            self._session.cursor().execute(self._text)
        except BaseException as error:  # noqa: BLE001 - passed on by end()
            self._error = error

    def end(self) -> None:
        """Wait for it."""
        self.join(60)
        assert not self.is_alive(), f"{self._text} does not end"
        if self._error:
            raise self._error


class Gate:
    """What a slow statement waits for, so that it lasts exactly as long as the scenario wants."""

    def __init__(self, readers: Readers, name: str = "gate") -> None:
        self._mysql = readers.source.kind == "mysql"
        self._name = f"{readers.source.database}_{name}"
        self._keeper = readers.connect()
        self._readers = readers
        shut = "SELECT GET_LOCK('{}', 0)" if self._mysql else "SELECT pg_advisory_lock({})"
        self._keeper.cursor().execute(shut.format(self._key))

    @property
    def pass_through(self) -> str:
        """An expression that waits until the gate is open."""
        if self._mysql:
            return f"GET_LOCK('{self._key}', 60)"
        return f"pg_advisory_xact_lock({self._key})"

    @property
    def shut(self) -> str:
        """MySQL: a condition that holds until the gate is open."""
        return f"IS_USED_LOCK('{self._key}') IS NOT NULL"

    @property
    def _key(self) -> str:
        return self._name if self._mysql else str(zlib.crc32(self._name.encode()))

    def reached(self) -> None:
        """Wait until somebody waits at the gate."""
        query = (
            "SELECT 1 FROM information_schema.processlist WHERE state = 'User lock'"
            f" AND info LIKE '%{self._key}%'"
            if self._mysql
            else f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = {self._key}"
            " AND NOT granted"
        )
        _until(lambda: bool(self._readers.ask(query)), "the statement comes to the gate")

    def open(self) -> None:
        """Let it pass."""
        self._keeper.close()


def others(readers: Readers, start: int = 100) -> Iterator[tuple[str, ...]]:
    """Others commit rows, at once and when the late stamp is old."""
    readers.execute(f"INSERT INTO orders (id, value) VALUES ({start}, 0)")
    yield PRODUCT
    time.sleep(LONG)
    readers.execute(f"INSERT INTO orders (id, value) VALUES ({start + 1}, 0)")
    yield ALL


def out_of_order(readers: Readers) -> Iterator[tuple[str, ...]]:
    """A transaction inserts, and commits after others that began later."""
    with closing(readers.connect()) as late:
        cursor = late.cursor()
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO orders (id, value) VALUES (1, 1)")
        yield from others(readers)
        cursor.execute("COMMIT")
    yield ALL


def slow_statement(readers: Readers) -> Iterator[tuple[str, ...]]:
    """The statement itself takes long; its stamp is that of its beginning."""
    with closing(readers.connect()) as late:
        gate = Gate(readers)
        statement = Statement(late, _slow(gate))
        gate.reached()
        yield from others(readers)
        gate.open()
        statement.end()
    yield ALL


def slow_then_idle(readers: Readers) -> Iterator[tuple[str, ...]]:
    """A slow statement, after which the transaction stays open and does nothing."""
    with closing(readers.connect()) as late:
        gate = Gate(readers)
        late.cursor().execute("BEGIN")
        statement = Statement(late, _slow(gate))
        gate.reached()
        time.sleep(LONG)
        gate.open()
        statement.end()
        yield from others(readers)
        late.cursor().execute("COMMIT")
    yield ALL


def lock_wait(readers: Readers) -> Iterator[tuple[str, ...]]:
    """The statement waits for the table's definition, which another session holds."""
    with closing(readers.connect()) as late, closing(readers.connect()) as holder:
        readers.execute("INSERT INTO orders (id, value) VALUES (99, 0)")
        holder.cursor().execute("LOCK TABLES orders READ")
        statement = Statement(late, "INSERT INTO orders (id, value) VALUES (1, 1)")
        yield from _waiting(readers)
        holder.cursor().execute("UNLOCK TABLES")
        statement.end()
    yield ALL


def lock_wait_then_idle(readers: Readers) -> Iterator[tuple[str, ...]]:
    """The same; then the transaction stays open and does nothing."""
    with closing(readers.connect()) as late, closing(readers.connect()) as holder:
        late.cursor().execute("BEGIN")
        holder.cursor().execute("LOCK TABLES orders READ")
        statement = Statement(late, "INSERT INTO orders (id, value) VALUES (1, 1)")
        yield from _waiting(readers)
        holder.cursor().execute("UNLOCK TABLES")
        statement.end()
        yield from others(readers)
        late.cursor().execute("COMMIT")
    yield ALL


def prepared_xa(readers: Readers) -> Iterator[tuple[str, ...]]:
    """A transaction is prepared, its client goes, another one commits it."""
    name = f"late-{readers.source.database}"
    with closing(readers.connect()) as late:
        for text in (f"XA START '{name}'", "INSERT INTO orders (id, value) VALUES (1, 1)",
                     f"XA END '{name}'", f"XA PREPARE '{name}'"):  # fmt: skip
            late.cursor().execute(text)
    _until(lambda: _prepared_alone(readers), "the prepared transaction has lost its client")
    yield from others(readers)
    readers.execute(f"XA COMMIT '{name}'")
    yield ALL


def stale_list(readers: Readers) -> Iterator[tuple[str, ...]]:
    """Somebody asks for InnoDB's transactions so often that the list is never new."""
    gate = Gate(readers)
    readers.execute(
        f"CREATE PROCEDURE monitor() BEGIN WHILE {gate.shut} DO"
        " DO (SELECT COUNT(*) FROM information_schema.innodb_trx); DO SLEEP(0.02);"
        " END WHILE; END"
    )
    sessions = [readers.connect() for _ in range(2)]
    monitors = [Statement(session, "CALL monitor()") for session in sessions]
    try:
        with closing(readers.connect()) as late:
            time.sleep(0.3)  # the list is old from here on
            late.cursor().execute("BEGIN")
            late.cursor().execute("INSERT INTO orders (id, value) VALUES (1, 1)")
            yield from others(readers)
            late.cursor().execute("COMMIT")
        yield ALL
    finally:
        gate.open()
        for monitor, session in zip(monitors, sessions, strict=True):
            monitor.end()
            session.close()


def slow_function(readers: Readers) -> Iterator[tuple[str, ...]]:
    """Within a stored function each statement has a number of its own, and all have one stamp."""
    first, second = Gate(readers, "first"), Gate(readers, "second")
    readers.execute(
        "CREATE FUNCTION slow() RETURNS INT NOT DETERMINISTIC BEGIN"
        f" DO {first.pass_through}; DO {second.pass_through}; RETURN 1; END"
    )
    with closing(readers.connect()) as late:
        statement = Statement(late, "INSERT INTO orders (id, value) VALUES (1, slow())")
        first.reached()
        yield PRODUCT
        first.open()
        second.reached()
        yield from others(readers)
        second.open()
        statement.end()
    yield ALL


def prepared_transaction(readers: Readers) -> Iterator[tuple[str, ...]]:
    """PostgreSQL: a prepared transaction belongs to no session and does not say when it began."""
    name = f"late-{readers.source.database}"
    with closing(readers.connect()) as late:
        for text in ("BEGIN", "INSERT INTO orders (id, value) VALUES (1, 1)",
                     f"PREPARE TRANSACTION '{name}'"):  # fmt: skip
            late.execute(text)
    yield from others(readers)
    readers.execute(f"COMMIT PREPARED '{name}'")
    yield ALL


def read_then_write(readers: Readers) -> Iterator[tuple[str, ...]]:
    """PostgreSQL: now() is fixed by a SELECT, long before there is a transaction number."""
    with closing(readers.connect()) as late:
        late.execute("BEGIN")
        late.execute("SELECT 1")
        yield from others(readers)
        late.execute("INSERT INTO orders (id, value) VALUES (1, 1)")
        yield from others(readers, 200)
        late.execute("COMMIT")
    yield ALL


def committing_procedure(readers: Readers) -> Iterator[tuple[str, ...]]:
    """PostgreSQL: after a procedure's COMMIT the statement is older than the transaction."""
    gate = Gate(readers)
    readers.execute(
        f"CREATE PROCEDURE slow() LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({LONG}); COMMIT;"
        f" PERFORM {gate.pass_through};"
        " INSERT INTO orders (id, value, changed) VALUES (1, 1, statement_timestamp());"
        " COMMIT; END $$"
    )
    with closing(readers.connect()) as late:
        statement = Statement(late, "CALL slow()")
        gate.reached()
        yield from others(readers)
        gate.open()
        statement.end()
    yield ALL


MARIADB: dict[Scenario, set[str]] = {
    out_of_order: {">= max", "1 s lag"},
    slow_statement: {">= max", "1 s lag", "oldest transaction"},
    slow_then_idle: {">= max", "1 s lag", "oldest transaction"},
    lock_wait: {"1 s lag", "oldest transaction"},
    lock_wait_then_idle: {">= max", "1 s lag", "oldest transaction"},
    prepared_xa: {">= max", "1 s lag"},
    stale_list: {">= max", "1 s lag", "oldest transaction"},
    slow_function: {">= max", "1 s lag", "oldest transaction"},
}
"""Scenario → the wrong bounds that must lose its row."""
POSTGRES: dict[Scenario, set[str]] = {
    out_of_order: {">= max", "1 s lag"},
    slow_statement: {">= max", "1 s lag", "oldest transaction"},
    slow_then_idle: {">= max", "1 s lag"},
    prepared_transaction: {">= max", "1 s lag", "oldest transaction"},
    read_then_write: {">= max", "1 s lag", "oldest transaction"},
    committing_procedure: {">= max", "1 s lag", "oldest transaction"},
}


def _slow(gate: Gate) -> str:
    """An insert that waits before it writes."""
    return (
        "INSERT INTO orders (id, value) SELECT 1, 1 FROM"
        f" (SELECT {gate.pass_through} AS passed) AS pause"
    )


def _waiting(readers: Readers) -> Iterator[tuple[str, ...]]:
    """Nobody can write the table; the readers look at once, and when the stamp is old."""
    _until(lambda: _running(readers, "INSERT", "metadata lock"), "the insert waits for its lock")
    yield PRODUCT
    time.sleep(LONG)
    yield ALL


def _running(readers: Readers, text: str, state: str) -> bool:
    return bool(readers.ask(
        "SELECT 1 FROM information_schema.processlist WHERE id <> CONNECTION_ID()"
        f" AND info LIKE '%{text}%' AND state LIKE '%{state}%'"
    ))  # fmt: skip


def _prepared_alone(readers: Readers) -> bool:
    time.sleep(0.15)  # the list is renewed when nobody asked for 0.1 s
    return bool(readers.ask(
        "SELECT 1 FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = 0"
    ))  # fmt: skip


def _until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"it never happens that {what}"
        time.sleep(0.02)
