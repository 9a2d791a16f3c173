"""Runs of the product as the campaign sees them: processes that can be killed, stopped, awaited."""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve()
_numbers = itertools.count(1)


@dataclass(frozen=True)
class End:
    """How a run ended.

    ``ok``, ``skipped`` (another run does it), ``retry`` (the other side did not answer),
    ``killed``, or ``failed``: somebody would have to look.
    """

    word: str
    error: str = ""
    text: str = ""
    pulled: int = 0


class Run:
    """One run in a process of its own."""

    def __init__(self, spec: dict[str, Any], pid: int, ended: queue.Queue[int]) -> None:
        self.spec = spec
        self.pid = pid
        self.began = time.monotonic()
        self.length = 0.0
        self._ended = ended
        self._end: End | None = None

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._end is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def stopped(self) -> bool:
        """Whether it is stopped now."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
        return False

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        with suppress(TimeoutError):
            self.wait(0)
        return self._end is None

    def until_stopped(self, seconds: float = 20) -> bool:
        """Wait until it stopped itself; False when it ended without."""
        limit = time.monotonic() + seconds
        while not self.stopped:
            if not self.running or time.monotonic() > limit:
                return False
            time.sleep(0.005)
        return True

    def wait(self, seconds: float = 150) -> End:
        """How it ended; raises TimeoutError when it has not."""
        if self._end is None:
            try:
                status = self._ended.get(timeout=seconds) if seconds else self._ended.get_nowait()
            except queue.Empty:
                raise TimeoutError(f"{self.spec['run_id']}: no end within {seconds} s") from None
            self.length = time.monotonic() - self.began
            self._end = self._told(status)
        return self._end

    def _told(self, status: int) -> End:
        try:
            result = json.loads(Path(self.spec["result"]).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return End("killed" if status < 0 else "failed", f"status {status}")
        if report := result.get("report"):
            return End("ok", pulled=report["pulled"])
        kinds = set(result["kinds"])
        word = "failed"
        if "OvertakenError" in kinds:
            word = "skipped"
        elif "UnavailableError" in kinds:
            word = "retry"
        return End(word, result["error"], result["text"])

    @property
    def resume(self) -> tuple[str, str] | None:
        """The first step that was not seen to end, and what the one before staged."""
        with suppress(FileNotFoundError):
            note = json.loads(Path(self.spec["notes"]).read_text(encoding="utf-8"))
            steps = ("pull", "clean", "validate", "load")
            return steps[steps.index(note["step"]) + 1], note["where"]
        return None


class Warm:
    """The warm parent that runs are forked from. Safe to share between threads."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        tests = HERE.parents[1]
        paths = f"{tests.parent / 'include'}{os.pathsep}{tests}"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW_", "TIDEGATE_"))
        }
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "faults.warm"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**kept, "PYTHONPATH": paths, **(environment or {})},
        )  # fmt: skip
        self._lock = threading.Lock()
        self._begun: dict[int, queue.Queue[int]] = {}
        self._ended: dict[int, queue.Queue[int]] = {}
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Its runs end with it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def run(self, spec: dict[str, Any]) -> Run:
        """Begin a run; see :mod:`faults.warm` for *spec*."""
        number = next(_numbers)
        begun: queue.Queue[int] = queue.Queue()
        ended: queue.Queue[int] = queue.Queue()
        line = json.dumps({"number": number, "spec": spec}).encode() + b"\n"
        if self._process.stdin is None:
            raise RuntimeError("the warm parent has no pipes")
        with self._lock:
            self._begun[number], self._ended[number] = begun, ended
            self._process.stdin.write(line)
            self._process.stdin.flush()
        return Run(spec, begun.get(timeout=120), ended)

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            said = json.loads(line)
            if "pid" in said:
                self._begun.pop(said["number"]).put(said["pid"])
            elif "status" in said:
                self._ended.pop(said["number"]).put(said["status"])


def until(done: Callable[[], Any], seconds: float, what: str) -> None:
    """Poll until *done*() is true; raises TimeoutError that says *what* was awaited."""
    limit = time.monotonic() + seconds
    while not done():
        if time.monotonic() > limit:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.01)
