"""Does a row get lost, however late it commits? Random writers against the product's bound.

24 sessions write one table with all that makes a row commit long after its stamp: transactions that
stay open, slow statements, stored functions, procedures that commit, prepared transactions whose
client goes; a lock on the table's definition every 2 s, and every tenth time a new definition. The
product polls it into a SQLite store. In the end the writers stop, the product runs twice more, and
the bare drivers compare the tables: *lost* rows are missing in the store, *stale* ones are there as
they were before. *lag* is the time of day minus the watermark, after each poll.

``SECONDS=60`` for a quick look; ``SERVERS=mariadb`` for one; ``BOUND="1 s lag"`` (or ``>= max``,
``oldest transaction``) puts a known guess in the place of the product's bound, and loses rows.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]

import psycopg  # noqa: E402
import pymysql  # noqa: E402

import services  # noqa: E402
from sources.late.readers import Readers  # noqa: E402

SECONDS = float(os.environ.get("SECONDS") or 600)
SERVERS = (os.environ.get("SERVERS") or "mariadb,postgres").split(",")
BOUND = os.environ.get("BOUND") or "product"
WRITERS = int(os.environ.get("WRITERS") or 24)
PAUSE = 0.5
ERRORS = (pymysql.err.MySQLError, psycopg.Error)
KINDS = {
    "short": 40, "open": 20, "read first": 6, "slow": 8, "slow update": 8, "slow, then open": 6,
    "routine": 6, "prepared": 2, "rolled back": 4,
}  # fmt: skip
FUNCTION = """
CREATE FUNCTION nap(length DOUBLE) RETURNS INT NOT DETERMINISTIC
BEGIN DO SLEEP(length / 2); DO SLEEP(length / 2); RETURN 1; END
"""
PROCEDURE = """
CREATE PROCEDURE nap(number BIGINT, length DOUBLE PRECISION) LANGUAGE plpgsql AS $$
BEGIN
  COMMIT;
  PERFORM pg_sleep(length);
  INSERT INTO orders (id, value, changed) VALUES (number, 0, statement_timestamp());
  COMMIT;
END $$
"""


ALTER = {
    "mysql": "ALTER TABLE orders MODIFY value BIGINT NOT NULL COMMENT 'changed'",
    "postgres": "ALTER TABLE orders ALTER COLUMN value SET DEFAULT 0",
}


class Writers:
    """Sessions that write until they are told to stop."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._mysql = readers.source.kind == "mysql"
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self._prepared = threading.Semaphore(8)
        self.done: Counter[str] = Counter()
        tasks = [self._locks, *([self._writes] * WRITERS)]
        self._threads = [threading.Thread(target=task, daemon=True) for task in tasks]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _locks(self) -> None:
        """Every 2 s somebody needs the table for himself."""
        patience = "SET lock_wait_timeout = 5" if self._mysql else "SET lock_timeout = '5s'"
        shut = ["LOCK TABLES orders WRITE"]
        if not self._mysql:
            shut = ["BEGIN", "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"]
        while not self._over.wait(2):
            with closing(self._readers.connect()) as session:
                try:
                    for text in (patience, *shut):
                        session.cursor().execute(text)
                    time.sleep(0.2)
                    self.done["locks"] += 1
                    session.cursor().execute("UNLOCK TABLES" if self._mysql else "COMMIT")
                    if not self.done["locks"] % 10:  # a new definition: reads begin again
                        session.cursor().execute(ALTER[self._readers.source.kind])
                except ERRORS:
                    self.done["locks refused"] += 1

    def _writes(self) -> None:
        chance = random.Random()
        session = self._readers.connect()
        while not self._over.is_set():
            kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
            try:
                self._transaction(session, kind, chance)
                self.done[kind] += 1
            except ERRORS:
                self.done["failed"] += 1
                session.close()
                session = self._readers.connect()
        session.close()

    def _transaction(self, session: Any, kind: str, chance: random.Random) -> None:
        execute = session.cursor().execute
        length = chance.uniform(0.1, 2)
        if kind == "prepared":
            self._prepare(length)
        elif kind == "slow":
            execute(self._slow(length))
        elif kind == "slow update":
            execute(self._update(chance, length))
        elif kind == "routine":
            number = next(self._numbers)
            execute(
                f"INSERT INTO orders (id, value) VALUES ({number}, nap({length}))"
                if self._mysql
                else f"CALL nap({number}, {length})"
            )
        else:
            execute("BEGIN")
            if kind == "read first":
                execute("SELECT 1")
                time.sleep(length)
            execute(self._slow(length) if kind == "slow, then open" else self._write(chance))
            execute(self._write(chance))
            if kind != "short":
                time.sleep(length)
            execute("ROLLBACK" if kind == "rolled back" else "COMMIT")

    def _write(self, chance: random.Random) -> str:
        if chance.random() < 0.4:
            return self._update(chance)
        return f"INSERT INTO orders (id, value) VALUES ({next(self._numbers)}, 0)"

    def _slow(self, length: float) -> str:
        pause = f"SLEEP({length})" if self._mysql else f"pg_sleep({length})"
        return (
            f"INSERT INTO orders (id, value) SELECT {next(self._numbers)}, 0"
            f" FROM (SELECT {pause} AS slept) AS pause"
        )

    def _update(self, chance: random.Random, length: float = 0) -> str:
        """Of one row, not a hot one: who waits for a lock is late, and soon all would be."""
        last = next(self._numbers)
        text = f"UPDATE orders SET value = value + 1 WHERE id = {chance.randint(1, last)}"
        if not length:
            return text
        pause = f"SLEEP({length}) = 0" if self._mysql else f"pg_sleep({length}) IS NOT NULL"
        return f"{text} AND {pause}"

    def _prepare(self, length: float) -> None:
        number = next(self._numbers)
        name = f"late-{self._readers.source.database}-{number}"
        insert = f"INSERT INTO orders (id, value) VALUES ({number}, 0)"
        begin = [f"XA START '{name}'", insert, f"XA END '{name}'", f"XA PREPARE '{name}'"]
        commit = f"XA COMMIT '{name}'"
        if not self._mysql:
            begin = ["BEGIN", insert, f"PREPARE TRANSACTION '{name}'"]
            commit = f"COMMIT PREPARED '{name}'"
        with self._prepared:
            with closing(self._readers.connect()) as session:
                for text in begin:
                    session.cursor().execute(text)
            time.sleep(length / 2)
            while True:  # until its own session has let go of it
                try:
                    self._readers.execute(commit)
                    return
                except ERRORS:
                    time.sleep(0.05)


def stress(name: str) -> dict[str, Any]:
    """One server; returns the figures."""
    server, stores = services.start(name), services.Files(Path(os.environ["TIDEGATE_HOME"]))
    wrong = () if BOUND == "product" else (BOUND,)
    readers = Readers.of(server, stores, wrong)
    readers.execute(FUNCTION if server.kind == "mysql" else PROCEDURE)
    writers = Writers(readers)
    lags, polls, until = [], 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        readers.poll(BOUND)
        polls += 1
        settled = readers.settled(BOUND)
        if settled is not None:
            lags.append((datetime.now(UTC) - settled.astimezone(UTC)).total_seconds())
        time.sleep(PAUSE)
    writers.stop()
    for _ in range(2):
        readers.poll(BOUND)
    lost, stale = readers.missing(BOUND)
    done = Counter(writers.done)
    locks, refused, failed = (done.pop(key, 0) for key in ("locks", "locks refused", "failed"))
    rows = readers.ask("SELECT count(*) FROM orders")[0][0]
    server.close()
    return {
        "server": name, "bound": BOUND, "s": round(SECONDS), "transactions": done.total(),
        "per 45 s": round(done.total() / SECONDS * 45), "prepared": done["prepared"],
        "rows": rows, "locks": f"{locks} (+{refused} refused)", "failed": failed, "polls": polls,
        "unanswered": readers.unanswered, "lag, mean s": round(sum(lags) / len(lags), 1),
        "lag, max s": round(max(lags), 1), "lost": len(lost), "stale": len(stale),
    }  # fmt: skip


def main() -> None:
    if only := os.environ.get("ONLY"):
        with tempfile.TemporaryDirectory() as home:
            os.environ["TIDEGATE_HOME"] = home
            print(json.dumps(stress(only)))
        return
    runs = [
        subprocess.Popen(
            [sys.executable, __file__], env={**os.environ, "ONLY": name}, stdout=subprocess.PIPE
        )
        for name in SERVERS
    ]
    results = [json.loads(run.communicate()[0].splitlines()[-1]) for run in runs]
    print("| " + " | ".join(results[0]) + " |")
    print("|" + "---|" * len(results[0]))
    for result in results:
        print("| " + " | ".join(str(value) for value in result.values()) + " |")
    sys.exit(any(result["lost"] or result["stale"] for result in results))


if __name__ == "__main__":
    main()
