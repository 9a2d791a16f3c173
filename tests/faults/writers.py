"""The source's applications: they insert, update and mark rows as deleted, and some commit late.

Every row has a revision number of its own, raised by each change under the row's lock. Each version
is noted in ``item_log`` by the transaction that made it, so that the source itself says what ever
was true, and in which order.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pymysql

from faults.bare import Place

DriverError = (pymysql.err.Error, psycopg.Error, OSError)
MANY = 80
"""Transactions after which an application slows down: a long trial is not a large one."""
OLD_ROWS = 60
"""Rows that were there, an hour old, before the first run."""
_LOG = "INSERT INTO item_log (id, rev, amount, gone) SELECT id, rev, amount, gone FROM item WHERE"
TABLES = {
    "mysql": (
        (
            "CREATE TABLE item (id BIGINT PRIMARY KEY, rev BIGINT NOT NULL, amount VARCHAR(20), "
            "gone SMALLINT NOT NULL DEFAULT 0, updated_at TIMESTAMP(6) NOT NULL DEFAULT "
            "CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY by_time (updated_at, id))"
        ),
        (
            "CREATE TABLE item_log (id BIGINT, rev BIGINT, amount VARCHAR(20), gone SMALLINT, "
            "PRIMARY KEY (id, rev))"
        ),
    ),
    "postgres": (
        (
            "CREATE TABLE item (id BIGINT PRIMARY KEY, rev BIGINT NOT NULL, amount VARCHAR(20), "
            "gone SMALLINT NOT NULL DEFAULT 0, updated_at TIMESTAMPTZ NOT NULL DEFAULT now())"
        ),
        "CREATE INDEX by_time ON item (updated_at, id)",
        (
            "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$"
        ),
        "CREATE TRIGGER stamp BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION stamp()",
        (
            "CREATE TABLE item_log (id BIGINT, rev BIGINT, amount VARCHAR(20), gone SMALLINT, "
            "PRIMARY KEY (id, rev))"
        ),
    ),
}
_AGO = {
    "mysql": "NOW(6) - INTERVAL 1 HOUR - INTERVAL {} SECOND",
    "postgres": "now() - interval '1 hour' - interval '{} s'",
}


class Writers:
    """Two applications: one commits at once, one late; and the table they change."""

    def __init__(self, place: Place, seed: int, *, late: bool = True) -> None:
        self.place = place
        self.errors: list[str] = []
        self.started = False
        self.finished = 0
        self._seed = seed
        self._ids = itertools.count(1)
        self._stop = threading.Event()
        works = [self._steady, *([self._late] if late else [])]
        self._gates = [threading.Lock() for _ in works]
        self._threads = [
            threading.Thread(target=self._work, args=(number, work))
            for number, work in enumerate(works)
        ]

    def create(self) -> None:
        """The tables, and the old rows."""
        chance = random.Random(self._seed)
        self.place.run(*TABLES[self.place.kind])
        rows = [
            f"({next(self._ids)}, 1, '{_amount(chance)}', 0, "
            f"{_AGO[self.place.kind].format(number)})"
            for number in range(OLD_ROWS)
        ]
        self.place.run(
            f"INSERT INTO item (id, rev, amount, gone, updated_at) VALUES {', '.join(rows)}",
            f"{_LOG} 1 = 1",
        )

    def start(self) -> None:
        """Let them work."""
        self.started = True
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def stop(self) -> None:
        """All that they began is committed, or rolled back."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        if self.started and self.finished < len(self._threads):
            raise RuntimeError(f"an application died: {self.errors[-3:]}")

    def wait(self, seconds: float) -> None:
        """Let them work that long."""
        self._stop.wait(seconds)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """No transaction is open, and none begins."""
        with contextlib.ExitStack() as stack:
            for gate in self._gates:
                stack.enter_context(gate)
            yield

    def _work(self, number: int, work: Any) -> None:
        """Do *work* again and again, over connections that may break."""
        chance = random.Random(self._seed * 2 + number)
        connection: Any = None
        for done in itertools.count():
            if self._stop.is_set():
                break
            try:
                if connection is None:
                    connection = self.place.connect()
                with self._gates[number]:
                    work(connection.cursor(), chance)
                self._stop.wait(chance.uniform(0.01, 0.05) * (1 if done < MANY else 10))
            except DriverError as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                _close(connection)
                connection = None
                self._stop.wait(0.05)
        self.finished += 1
        _close(connection)

    def _steady(self, cursor: Any, chance: random.Random) -> None:
        cursor.execute("BEGIN")
        self._change(cursor, chance, chance.randint(1, 6))
        cursor.execute("COMMIT")

    def _late(self, cursor: Any, chance: random.Random) -> None:
        """Rows that become visible long after they were stamped; or never."""
        cursor.execute("BEGIN")
        self._change(cursor, chance, chance.randint(1, 3))
        self._stop.wait(chance.choice([0.1, 0.5, 2.0]))
        cursor.execute(chance.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))

    def _change(self, cursor: Any, chance: random.Random, rows: int) -> None:
        known = next(self._ids)  # ids of rows that were rolled back leave holes
        if chance.random() < 0.5:
            new = [known, *(next(self._ids) for _ in range(rows - 1))]
            values = ", ".join(f"({number}, 1, '{_amount(chance)}', 0)" for number in new)
            cursor.execute(f"INSERT INTO item (id, rev, amount, gone) VALUES {values}")
            cursor.execute(f"{_LOG} id IN ({_list(new)})")
            return
        some = sorted({chance.randint(max(1, known - 150), known) for _ in range(rows)})
        for number in some:
            cursor.execute(
                f"UPDATE item SET rev = rev + 1, amount = '{_amount(chance)}', gone = 0 "
                f"WHERE id = {number}"
                if chance.random() < 0.8
                else f"UPDATE item SET rev = rev + 1, amount = '0', gone = 1 WHERE id = {number}"
            )
        cursor.execute(f"{_LOG} id IN ({_list(some)})")


def _close(connection: Any) -> None:
    if connection is not None:
        with contextlib.suppress(*DriverError):
            connection.close()


def _amount(chance: random.Random) -> str:
    """Mostly a number; one in twenty cannot be read as one, and its row is held."""
    return (
        "?" if chance.random() < 0.05 else f"{chance.randint(0, 99999)}.{chance.randint(0, 99):02}"
    )


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
