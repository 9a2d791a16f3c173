"""Machines of their own, as far as Linux goes: network, host name and processes (no Docker).

A machine is a process in new namespaces and all that descends from it. A pair of virtual network
cards joins it to this one, whose address there leads to chosen ports of 127.0.0.1; it reaches
nothing else, and no other machine. Nothing of it has a name that could be left behind: with its
first process the kernel ends all others, and removes the cards.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from services import process
from services.process import UnavailableServerError

_SPACES = ("--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
_BEGIN = 'hostname "$0" && read -r _ && exec "$@"'
_FREEBIND = 15
"""``IP_FREEBIND``: the address comes with the first machine."""
_SECONDS = 10


class Network:
    """Where machines find this one: *address* forwards to the same port of 127.0.0.1."""

    def __init__(self) -> None:
        _require()
        number = os.getpid() % 512  # of the networks that RFC 2544 sets aside for tests
        self._prefix = f"198.{18 + number // 256}.{number % 256}"
        self.address = f"{self._prefix}.1"
        self._joined = 0
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def open(self, port: int) -> None:
        """Let machines reach *port*."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_IP, _FREEBIND, 1)
        listener.bind((self.address, port))

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._link(port, reader, writer)

        serving = asyncio.start_server(accept, sock=listener)
        server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(_SECONDS)
        self._servers.append(server)

    def join(self, pid: int) -> None:
        """Two cards between this machine and the one of *pid*."""
        self._joined += 1
        card, other = f"tide{os.getpid()}n{self._joined}", f"{self._prefix}.{self._joined + 1}"
        _run("ip", "link", "add", card, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _run("ip", "address", "add", self.address, "peer", other, "dev", card)
        _run("ip", "link", "set", card, "up")
        there = ("nsenter", f"--target={pid}", "--net", "ip")
        _run(*there, "address", "add", other, "peer", self.address, "dev", "eth0")
        _run(*there, "link", "set", "eth0", "up")
        _run(*there, "link", "set", "lo", "up")

    def close(self) -> None:
        """Forward no more."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _link(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_pump(reader, forth), _pump(back, writer))
            await asyncio.gather(writer.wait_closed(), forth.wait_closed(), return_exceptions=True)
        finally:  # also when it is cut short
            writer.transport.abort()
            forth.transport.abort()
            await asyncio.sleep(0)  # the loop closes the sockets


class Machine:
    """A host *name* whose first process is *command*; what it prints goes to *log*."""

    def __init__(
        self, network: Network, name: str, command: Sequence[str], environment: dict[str, str],
        log: Path,
    ) -> None:  # fmt: skip
        self.name, self.log = name, log
        words = ["unshare", *_SPACES, "sh", "-c", _BEGIN, name, *command]
        self.process = process.popen(
            words, None, str(log.parent), log, environment, stdin=subprocess.PIPE
        )
        end = time.monotonic() + _SECONDS
        while _net(self.process.pid) == _net(os.getpid()):
            if self.process.poll() is not None or time.monotonic() > end:
                raise UnavailableServerError(f"machine {name} does not begin:\n{self.said()}")
            time.sleep(0.01)
        network.join(self.process.pid)
        if self.process.stdin is not None:
            self.process.stdin.write(b"\n")
            self.process.stdin.close()

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """As if its plug were pulled: ``kill -9`` of all its processes."""
        self.process.kill()
        self.process.wait()


def _net(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
    writer.close()


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        raise UnavailableServerError(f"{' '.join(words)}: {done.stderr.strip()}")


def _require() -> None:
    """Raises :class:`UnavailableServerError` where the kernel or the rights do not allow it."""
    names = ("unshare", "nsenter", "ip", "hostname")
    if missing := [name for name in names if not process.find(name)]:
        raise UnavailableServerError(
            f"programs are missing: {', '.join(missing)} (Debian: util-linux, iproute2, hostname)"
        )
    card = f"tide{os.getpid()}try"
    try:
        _run("unshare", *_SPACES, "hostname", "try")
        _run("ip", "link", "add", card, "type", "veth", "peer", "name", f"{card}2")
        _run("ip", "link", "delete", card)
    except UnavailableServerError as error:
        raise UnavailableServerError(
            f"namespaces and virtual network cards are not permitted here ({error}). Run as root; "
            "in a container with the capabilities SYS_ADMIN and NET_ADMIN."
        ) from error
