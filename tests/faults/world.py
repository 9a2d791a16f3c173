"""A trial's world: a source that changes, a store, and a scheduler that never gives up."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import services
from faults.bare import Place
from faults.checker import Verdict, check
from faults.runs import End, Run, Warm
from faults.writers import Writers
from tidegate.connections import Endpoint

LEASE_SECONDS = 4.0
"""The shortest; on a machine that is slow now, twice the longest run."""
RECOVERY_SECONDS = 60.0
"""Beyond the lease."""
EXPECT = """\
    expect:
      - expect_column_values_to_not_be_null: {column: amount}
"""
STREAMS = """\
streams:
  item:
    table: item
    primary_key: id
    cursor: updated_at
    deleted: {column: gone}
    clean:
      - to_number: {columns: [amount], type: "decimal(12,2)"}
{expect}    load:
      entities:
        - {type: Item, key: id, attributes: [rev, amount]}
"""
PIPELINE = f"""\
connection: items_db
defaults: {{page_rows: 40, statement_timeout: 4s}}
{STREAMS}"""


class UnableError(Exception):
    """This machine cannot play that fault; the text says why."""


@dataclass
class Servers:
    """What worlds are made on: servers of kinds ``mariadb``, ``postgres``, ``sqlite``."""

    warm: Warm
    known: dict[str, services.Server]
    folder: Path


@dataclass
class World:
    """One private source and store; *seed* decides all that is drawn by lot."""

    servers: Servers
    source_kind: str
    store_kind: str
    seed: int
    late: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.home = Path(tempfile.mkdtemp(prefix="world-", dir=self.servers.folder))
        self.source = self.servers.known[self.source_kind].fresh()
        self.store = self.servers.known[self.store_kind].fresh()
        self.writers = Writers(place_of(self.source), self.seed, late=self.late)
        self.writers.create()
        text = PIPELINE.replace("{expect}", EXPECT if self.chance.random() < 0.2 else "")
        (self.home / "items.yaml").write_text(text, encoding="utf-8")
        self.variant = ""
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.writers.stop()
        for run in self.runs:
            run.kill()
        shutil.rmtree(self.home, ignore_errors=True)
        for kind, endpoint in ((self.source_kind, self.source), (self.store_kind, self.store)):
            with suppress(Exception):  # a server that a fault took away
                drop(self.servers.known[kind], endpoint)

    def start(
        self, mode: str = "increment", *, fault: str = "", after: Run | None = None,
        whole: bool = True, source: Endpoint | None = None, store: Endpoint | None = None,
        lease: float = 0, **more: Any,
    ) -> Run:  # fmt: skip
        """Begin a run; *after* another: the next attempt of that one, as far as it had come."""
        self._number += 1
        place = self.home / f"run-{self._number}"
        uri = self.servers.known[self.source_kind].uri
        spec: dict[str, Any] = {
            "pipeline": str(self.home / "items.yaml"), "mode": mode, "whole": whole,
            "run_id": f"run-{self._number}", "attempt": 1, "log": str(self.home / "log"),
            "result": f"{place}.json", "notes": f"{place}.note",
            "env": {
                "AIRFLOW_CONN_ITEMS_DB": uri(source or self.source),
                "AIRFLOW_CONN_TIDEGATE_STORE": uri(store or self.store),
                "TIDEGATE_HOME": str(self.home), "TIDEGATE_FAULT": fault,
                "TIDEGATE_LEASE_SECONDS": str(lease or self.lease), **self.environment,
            }, **more,
        }  # fmt: skip
        if after is not None:
            kept = ("mode", "run_id", "whole", "window", "keys")
            spec |= {name: after.spec[name] for name in kept if name in after.spec}
            spec |= {"attempt": after.spec["attempt"] + 1, "resume": after.resume}
        run = self.servers.warm.run(spec)
        self.runs.append(run)
        return run

    @property
    def longest(self) -> float:
        """Seconds that the longest run took; a guess before there is one."""
        return max((run.length for run in self.runs), default=0.5)

    @property
    def lease(self) -> float:
        """Seconds for which a run holds the stream unless it stirs."""
        return max(LEASE_SECONDS, 2 * self.longest)

    def once(self, **how: Any) -> End:
        """Begin a run and see it end."""
        return self.start(**how).wait()

    def recover(self, run: Run | None = None) -> float:
        """What a scheduler does after *run* broke: again, until one ends well; how long it took.

        Mostly the run itself is tried again; one time in four only the next one comes.
        """
        began = time.monotonic()
        last = run if run is not None and self.chance.random() < 0.75 else None
        while True:
            following = self.start(after=last)
            end = following.wait()
            if end.word == "ok":
                return time.monotonic() - began
            if end.word in {"failed", "killed"}:
                self.complain(end)
            if time.monotonic() - began > self.lease + RECOVERY_SECONDS:
                self.complaints.append(f"no recovery in {time.monotonic() - began:.0f} s: {end}")
                return time.monotonic() - began
            last = following if end.word == "retry" else None
            time.sleep(self.lease / 3 if end.word == "skipped" else 0.05)

    def complain_unless(self, end: End, *words: str) -> None:
        """Note an end that is none of *words*."""
        if end.word not in words:
            self.complain(end)

    def complain(self, end: End) -> None:
        """Note that a run ended in a way that somebody would have to look at."""
        text = f"a run ended {end.word}: {end.error}: {end.text[:300]}"
        if text not in self.complaints:
            self.complaints.append(text)

    def judge(self) -> Verdict:
        """Let the writers stop, run at most twice more, and look."""
        self.writers.stop()
        source, store = place_of(self.source), place_of(self.store)
        self.recover()
        verdict = check(source, store)
        if not verdict.clean:
            self.recover()
            verdict = check(source, store)
        verdict.other += self.complaints
        return verdict

    def log(self) -> str:
        """What the runs wrote on stderr, its end."""
        with suppress(FileNotFoundError):
            return (self.home / "log").read_text(errors="replace")[-20000:]
        return ""


def place_of(endpoint: Endpoint) -> Place:
    """The same address, for the bare drivers."""
    return Place(
        endpoint.kind, endpoint.database or "", endpoint.host or "", endpoint.port or 0,
        endpoint.user or "", endpoint.password or "",
    )  # fmt: skip


def drop(server: services.Server, endpoint: Endpoint) -> None:
    """Remove the database of a world that is over."""
    if endpoint.kind == "sqlite":
        for ending in ("", "-wal", "-shm"):
            Path(f"{endpoint.database}{ending}").unlink(missing_ok=True)
        return
    force = " WITH (FORCE)" if endpoint.kind == "postgres" else ""
    server.execute(server.admin, f"DROP DATABASE IF EXISTS {endpoint.database}{force}")


def through(endpoint: Endpoint, port: int) -> Endpoint:
    """The same database, by way of a port of this machine."""
    return replace(endpoint, host="127.0.0.1", port=port)
