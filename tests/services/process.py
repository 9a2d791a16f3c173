"""A server's process: started privately in a temporary folder, ended by its process id.

Should this process die by a signal, the kernel ends its servers (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

START_SECONDS = 60


class UnavailableServerError(Exception):
    """There is no such server here; the text says what to do."""


class Private:
    """A server's process, and how to start it."""

    def __init__(
        self, command: list[str], owner: str | None, folder: str, environment: dict[str, str]
    ) -> None:
        self._command, self._owner, self._folder = command, owner, folder
        self._environment = environment
        self.start()

    def start(self) -> None:
        """Begin; it may take a while until it answers."""
        log = Path(self._folder, "log")
        self.process = popen(self._command, self._owner, self._folder, log, self._environment)

    def said(self) -> str:
        """The end of its log."""
        return Path(self._folder, "log").read_text(errors="replace")[-2000:]

    def crash(self) -> None:
        """End without a farewell to its clients or its data."""
        self.process.send_signal(signal.SIGQUIT if self._quits else signal.SIGKILL)
        self.process.wait(START_SECONDS)

    def end(self) -> None:
        """End, and remove the folder."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT if self._quits else signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _quits(self) -> bool:
        return "postgres" in self._command[0]


def popen(
    command: list[str], owner: str | None, folder: str, log: Path,
    environment: dict[str, str] | None = None, stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start *command* as *owner*. It ends with this process, even when that is killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def bind_to_parent() -> None:
        libc.prctl(1, signal.SIGKILL if "mariadbd" in command[0] else signal.SIGQUIT, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    identity: dict[str, Any] = {}
    if owner:
        identity = {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []}
    known = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": folder}
    with log.open("wb") as output:
        return subprocess.Popen(
            command, cwd=folder, stdin=stdin, stdout=output, stderr=output,
            env=known | (environment or {}),
            start_new_session=True, preexec_fn=bind_to_parent, **identity,
        )  # fmt: skip


def run(command: list[str], owner: str | None, folder: str) -> None:
    log = Path(folder, "setup.log")
    process = popen(command, owner, folder, log)
    try:
        code = process.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if code:
        reason = log.read_text(errors="replace")[-2000:]
        shutil.rmtree(folder, ignore_errors=True)
        raise UnavailableServerError(f"{command[0]} failed ({code}):\n{reason}")


def folder(owner: str | None) -> str:
    folder = tempfile.mkdtemp(prefix="tidegate-test-")
    if owner:
        shutil.chown(folder, owner)
    return folder


def unprivileged(preferred: str) -> str | None:
    """Whom to become when we are root (PostgreSQL refuses root); None: stay who we are."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return preferred if preferred in names else "nobody"


def find(name: str, *places: str) -> str | None:
    return shutil.which(name) or next(
        (place for place in places if os.access(place, os.X_OK)), None
    )


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """As many, each another one."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
