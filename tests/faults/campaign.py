"""Trials: each a world, a fault, recovery, and the checker's verdict; one JSON line each."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import services
from faults import clock, crashes, ddl, disk, kinds, network
from faults.world import Servers, World


def started(key: str, folder: Path) -> services.Server:
    """A server by its key; one of a fault's own can be crashed."""
    kind, _, own = key.partition(" ")
    return services.Files(folder) if kind == "sqlite" else services.start(kind, private=bool(own))


@dataclass(frozen=True)
class Fault:
    """A kind of fault: what it does, where it applies, how often a campaign tries it.

    each     how often it must strike, for each pair of source and store
    own      ``source`` or ``store``: that server is one of its own
    server   starts a server by its key, which is ``mariadb`` or, of its own, ``mariadb F6``
    at_once  how many trials may run at once
    """

    code: str
    title: str
    strike: kinds.Strike
    each: int
    sources: tuple[str, ...] = ("mariadb", "postgres")
    stores: tuple[str, ...] = ("sqlite", "postgres")
    own: str = ""
    server: Callable[[str, Path], services.Server] = started
    at_once: int = 8

    def keys(self, source: str, store: str) -> tuple[str, str]:
        """The keys of the two servers."""
        own = {"source": source, "store": store}.get(self.own)
        if own in {None, "sqlite"} and self.server is started:
            return source, store
        mine = f"{own} {self.code}"
        return (mine, store) if self.own == "source" else (source, mine)

    def begin(self, servers: Servers, source: str, store: str) -> None:
        """Start the servers that are missing.

        Raises UnableError or UnavailableServerError, which say why that cannot be.
        """
        for key in self.keys(source, store):
            if key not in servers.known:
                start = self.server if " " in key else started
                servers.known[key] = start(key, servers.folder)


COUNTS = ("lost", "duplicated", "stale", "backward")


@dataclass
class Outcome:
    """What became of one trial. *struck*: whether the fault happened at all."""

    fault: str
    source: str
    store: str
    seed: int
    variant: str = ""
    struck: bool = False
    recovered: float = 0.0
    seconds: float = 0.0
    lost: int = 0
    duplicated: int = 0
    stale: int = 0
    backward: int = 0
    other: list[str] = field(default_factory=list)
    log: str = ""
    commit: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.duplicated or self.stale or self.backward or self.other)

    def __str__(self) -> str:
        """Without the log."""
        counts = {name: getattr(self, name) for name in COUNTS if getattr(self, name)}
        words = "; ".join(self.other)[:1000]
        return f"{self.fault} ({self.variant}) {self.source} → {self.store}: {counts} {words}"

    @property
    def again(self) -> str:
        """The command that repeats it."""
        return (
            f"python -m faults --fault '{self.fault}' --source {self.source} --store {self.store} "
            f"--seed {self.seed} --trials 1"
        )


FAULTS = (
    Fault("F1", "kill -9 at a named point", kinds.kill_at_point, 150),
    Fault("F2", "kill -9 at any time", kinds.kill_at_random, 150),
    Fault("F3", "SIGSTOP beyond the lease, then SIGCONT", kinds.suspend, 25),
    Fault("F4", "two runs, a window and a repair or a whole read at once", kinds.crowd, 25),
    Fault("F5", "the store crashes", crashes.store, 12, own="store", at_once=1),
    Fault("F6", "the source crashes", crashes.source, 12, own="source", at_once=1),
    Fault("F7 cut", "a connection ends in the middle", network.cut, 10),
    Fault("F7 reset", "a connection is reset", network.reset, 10),
    Fault("F7 half-open", "nothing comes any more, and nothing ends", network.half_open, 10),
    Fault("F7 slow", "60 ms each way, or 64 kbit/s", network.slow, 10),
    Fault(
        "F7 commit", "the answer to a COMMIT is lost", network.lost_commit, 20,
        stores=("postgres",),
    ),
    Fault(
        "F8 store", "the store's disk is full", disk.store, 15, stores=("sqlite",), own="store",
        server=disk.small_disk, at_once=1,
    ),
    Fault("F8 stage", "the disk between the steps is full", disk.stage, 8),
    Fault(
        "F9", "the source's clock steps, or drifts", clock.step, 20, sources=("mariadb",),
        own="source", server=clock.faked, at_once=1,
    ),
    Fault("F12", "the table is changed between two pages", ddl.between_pages, 12),
)  # fmt: skip


def attempt(servers: Servers, fault: Fault, source: str, store: str, seed: int) -> Outcome:
    """One trial."""
    outcome = Outcome(fault.code, source, store, seed)
    began = time.monotonic()
    try:
        with World(servers, *fault.keys(source, store), seed) as world:
            _attempt(world, fault, outcome)
    except Exception:  # noqa: BLE001 - a broken trial is a failed trial
        outcome.other.append(traceback.format_exc()[-1500:])
    outcome.seconds = time.monotonic() - began
    return outcome


def _attempt(world: World, fault: Fault, outcome: Outcome) -> None:
    try:
        kinds.prepare(world)
        seconds = fault.strike(world)
        outcome.struck, outcome.recovered = seconds is not None, seconds or 0.0
        verdict = world.judge()
        for name, value in asdict(verdict).items():
            setattr(outcome, name, value)
    finally:
        outcome.variant = world.variant
        if not outcome.struck or not outcome.clean:
            outcome.log = world.log()


def trials(
    lanes: Sequence[Servers], fault: Fault, source: str, store: str, wanted: int, seed: int,
    tell: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:  # fmt: skip
    """Until the fault struck *wanted* times, or too often did not; *tell* hears of each trial.

    As many at once as there are *lanes*, each on servers of its own: what one trial has open on a
    server keeps the others' bound back.
    """
    threads = min(len(lanes), fault.at_once)
    lock = threading.Lock()
    left = wanted
    found: list[Outcome] = []

    def work(lane: int) -> None:
        nonlocal left
        number = seed + lane
        while True:
            with lock:
                if left <= 0 or len(found) > 2 * wanted + 4:
                    return
                left -= 1
            outcome = attempt(lanes[lane], fault, source, store, number)
            number += threads
            with lock:
                found.append(outcome)
                left += not outcome.struck and outcome.clean
                tell(outcome)

    if threads == 1:  # servers end with the thread that started them
        work(0)
        return found
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, lane) for lane in range(threads)]:
            future.result()
    return found
