"""Start processes, notice when one dies, and stop every one of them with all their descendants.

Airflow's processes start others, some of those in groups of their own. So that none can get lost,
this process adopts every orphan among its descendants (Linux: "child subreaper"); the family is
then always the tree below it. If this process itself is killed outright, the system ends its
children for it ("parent death signal").
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36


class DiedError(Exception):
    """A process ended that should not have."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        super().__init__(f"{name} ended by itself (exit code {code}).")
        self.name, self.code, self.log = name, code, log


@dataclass
class Child:
    """A process we started; *lasting* ones must not end before we end them."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    lasting: bool


class Processes:
    """The processes of one demo.

    With *adopt*, orphans below this process become its children: it must start none but here.
    """

    def __init__(self, *, adopt: bool) -> None:
        self.children: list[Child] = []
        self.hurry = False
        self._adopts = adopt
        if adopt:
            _control(_SET_CHILD_SUBREAPER, 1)

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path,
        *, lasting: bool = True,
    ) -> Child:  # fmt: skip
        """Start *command* in a session of its own, its output in *log*."""
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        child = Child(name, process, log, lasting)
        self.children.append(child)
        return child

    def dead(self) -> list[Child]:
        """Lasting processes that are gone, and others that failed."""
        self._reap()
        return [
            child for child in self.children
            if (code := child.process.poll()) is not None and (child.lasting or code != 0)
        ]  # fmt: skip

    def check(self) -> None:
        """Raise :class:`DiedError` when there is a dead one."""
        for child in self.dead():
            raise DiedError(child.name, child.process.returncode, child.log)

    def family(self) -> list[int]:
        """Ids of all living processes that descend from the ones started here."""
        roots = [os.getpid()] if self._adopts else [child.process.pid for child in self.children]
        return [pid for root in roots for pid, _, state in _descendants(root) if state != "Z"]

    def orphans(self) -> list[int]:
        """Of the family, what is left of those that ended: adopted ones, and all below them."""
        ours = {child.process.pid for child in self.children}
        below = _descendants(os.getpid())
        roots = [one for one in below if one[1] == os.getpid() and one[0] not in ours]
        found = [one for root in roots for one in [root, *_descendants(root[0])]]
        return [pid for pid, _, state in found if state != "Z"]

    def end(self, names: Sequence[str], grace: float = 6) -> None:
        """Ask some to end while the others still serve them; wait for *grace* at most."""
        chosen = [child.process for child in self.children if child.name in names]
        self._signal([process.pid for process in chosen], signal.SIGTERM)
        end = time.monotonic() + grace
        while time.monotonic() < end and not self.hurry:
            self._reap()
            if all(process.poll() is not None for process in chosen):
                return
            time.sleep(0.05)

    def stop(self, grace: float = 2.5) -> None:
        """End them all: politely, then less so; returns when no descendant is left.

        Set *hurry* (from a signal handler) to be less polite at once.
        """
        left = [child.process for child in self.children if child.process.poll() is None]
        self._signal([process.pid for process in left], signal.SIGTERM)
        if not self._gone(grace):
            self._signal(self.family(), signal.SIGTERM)
            if not self._gone(min(1.0, grace)):
                while not self._gone(0.2, impatient=False):
                    self._signal(self.family(), signal.SIGKILL)
        for child in self.children:
            child.process.poll()

    def _gone(self, seconds: float, *, impatient: bool = True) -> bool:
        """Wait until nothing lives any more, or *seconds* are over."""
        end = time.monotonic() + seconds
        while True:
            self._reap()
            if not self.family() and all(c.process.poll() is not None for c in self.children):
                return True
            if time.monotonic() >= end or (impatient and self.hurry):
                return False
            time.sleep(0.05)

    def _signal(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _reap(self) -> None:
        """Take leave of adopted orphans that have ended; our own children are Popen's to reap."""
        if not self._adopts:
            return
        ours = {child.process.pid for child in self.children}
        for pid, parent, state in _descendants(os.getpid()):
            if state == "Z" and parent == os.getpid() and pid not in ours:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue


def _descendants(root: int) -> list[tuple[int, int, str]]:
    """``(pid, parent, state)`` of everything below *root*, from /proc."""
    below: dict[int, list[tuple[int, int, str]]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        state, parent = text.rpartition(") ")[2].split()[:2]
        below.setdefault(int(parent), []).append((int(entry.parent.name), int(parent), state))
    found: list[tuple[int, int, str]] = []
    queue = [root]
    while queue:
        children = below.get(queue.pop(), [])
        found += children
        queue += [pid for pid, _, _ in children]
    return found


def _control(option: int, value: int) -> None:
    """``prctl``, where there is one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with_parent() -> None:
    _control(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def tail(log: Path, lines: int = 25) -> str:
    """The last *lines* of a log, for a message."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
