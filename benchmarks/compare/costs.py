"""What a command costs: time, CPU, memory, and what others did on the machine meanwhile."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
EVERY = 0.02
KEPT = 2000
"""So many characters of what a failed command said."""


@dataclass(frozen=True)
class Cost:
    """Of one command with all its descendants.

    seconds  by the clock, from its start to its end
    cpu      seconds of user and system time of all processes that were waited for
    mb       the most resident memory of them all at one moment, looked at every 20 ms
    servers  CPU seconds of each server meanwhile, by name
    others   how many cores everything else on the machine used, on average
    failed   what it said when it failed
    """

    seconds: float
    cpu: float
    mb: float
    servers: Mapping[str, float]
    others: float
    failed: str | None = None


class Watch:
    """The servers and the machine, between its making and :meth:`read`."""

    def __init__(self, servers: Mapping[str, int]) -> None:
        self._pids = servers
        self._servers = {name: server_seconds(pid) for name, pid in servers.items()}
        self._busy, self._start = _busy(), time.perf_counter()

    def read(self, own: float) -> tuple[float, dict[str, float], float]:
        """Seconds, CPU of each server, and cores others used; *own* CPU seconds are not theirs."""
        seconds = time.perf_counter() - self._start
        servers = {
            name: server_seconds(pid) - self._servers[name] for name, pid in self._pids.items()
        }
        others = _busy() - self._busy - own - sum(servers.values())
        return seconds, servers, max(0.0, others / seconds)


def run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, servers: Mapping[str, int]
) -> Cost:
    """Run *command* in *folder*; a failure is part of the result."""
    with (folder / "said.txt").open("w+b") as said:
        watch = Watch(servers)
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        memory = Memory(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        own = used.ru_utime + used.ru_stime
        seconds, cpu, others = watch.read(own)
        peak = memory.stop()
        said.seek(0)
        words = said.read().decode(errors="replace")[-KEPT:].strip()
    failed = (words or f"exit code {process.returncode}") if process.returncode else None
    return Cost(seconds, own, peak, cpu, others, failed)


class Memory:
    """The most that a process and its descendants held at one moment, in MB."""

    def __init__(self, pid: int) -> None:
        self._pid, self._most = pid, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Look no more; returns the most."""
        self._over.set()
        self._thread.join()
        return self._most

    def _look(self) -> None:
        while not self._over.is_set():
            family = [*tree(self._pid)]
            together = sum(_resident(pid, parent) for pid, parent in family)
            alone = max(_most_resident(pid) for pid, _ in family)
            self._most = max(self._most, together, alone)
            self._over.wait(EVERY)


def tree(pid: int, parent: int = 0) -> Iterator[tuple[int, int]]:
    """A process and its descendants, each with its parent."""
    yield pid, parent
    try:
        threads = [*Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return  # it is gone
    for thread in threads:
        for child in _read(thread / "children").split():
            yield from tree(int(child), pid)


def server_seconds(pid: int) -> float:
    """CPU seconds of a server: its own, its children's, and those of children that ended."""
    ended = sum(_times(pid)[2:])
    return (ended + sum(sum(_times(one)[:2]) for one, _ in tree(pid))) / TICKS


def _times(pid: int) -> list[int]:
    """User and system ticks; the same of children waited for."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return [int(ticks) for ticks in fields[11:15]] or [0, 0, 0, 0]


def _busy() -> float:
    """CPU seconds that all cores worked since the machine began."""
    user, nice, system, _, _, irq, soft, steal = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, irq, soft, steal))) / TICKS


def _resident(pid: int, parent: int) -> float:
    """Nothing for a child that is still its parent's image, between vfork and exec."""
    sizes = _read(Path(f"/proc/{pid}/statm"))
    if not sizes or (parent and sizes == _read(Path(f"/proc/{parent}/statm"))):
        return 0
    return int(sizes.split()[1]) * PAGE / 1e6


def _most_resident(pid: int) -> float:
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0


def _read(file: Path) -> str:
    """Nothing, when the process is gone."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
