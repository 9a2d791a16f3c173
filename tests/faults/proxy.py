"""A TCP proxy on 127.0.0.1 that spoils one connection, once, and is honest before and after."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Self


@dataclass
class Toxin:
    """What happens to the connection that reaches it first.

    kind    ``cut``, ``reset``, ``half-open`` after *bytes*; ``latency``, ``slow`` all the time;
            ``lost commit``: the answer to the COMMIT number *bytes* is dropped
    down    whether the octets that come from the server count, else those that go there
    """

    kind: str
    bytes: int = 0
    down: bool = True


class Proxy:
    """Forwards to *port* of this machine; ``struck`` tells whether the toxin has acted.

    tls  what to speak TLS with, in front of a server that does not
    """

    def __init__(self, port: int, toxin: Toxin, tls: ssl.SSLContext | None = None) -> None:
        self._target = port
        self._tls = tls
        self._toxin = toxin
        self.struck = False
        self.port = 0
        self._left = toxin.bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        link = _Link(self, reader, writer, back, forth)
        with suppress(asyncio.CancelledError):
            await link.work()
        link.close()


class _Link:
    """One connection: two directions, and the toxin between them."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        back: asyncio.StreamReader, forth: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        self._proxy = proxy
        self._ways = {True: (back, writer), False: (reader, forth)}
        self._silent = False
        self._deaf = False

    async def work(self) -> None:
        """Until one side ends, or the toxin does it."""
        both = [asyncio.ensure_future(self._forward(down)) for down in (True, False)]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)

    def close(self) -> None:
        """Both sides."""
        for _, writer in self._ways.values():
            writer.close()

    async def _forward(self, down: bool) -> None:
        reader, writer = self._ways[down]
        with suppress(OSError):
            while data := await reader.read(4096):
                if not await self._act(data, down, writer):
                    return
                if not self._silent:
                    writer.write(data)
                    await writer.drain()

    async def _act(self, data: bytes, down: bool, writer: asyncio.StreamWriter) -> bool:
        """What the toxin does with *data*; False: the connection is over."""
        proxy, toxin = self._proxy, self._proxy._toxin
        if toxin.kind in {"latency", "slow"}:
            proxy.struck = True
            await asyncio.sleep(0.06 if toxin.kind == "latency" else len(data) / 8000)
        if self._deaf and down:
            return False
        if toxin.kind in {"latency", "slow"} or proxy.struck or down != toxin.down:
            return True
        if toxin.kind == "lost commit":
            proxy._left -= data.count(b"COMMIT\0")
            proxy.struck = self._deaf = proxy._left <= 0
            return True
        proxy._left -= len(data)
        if proxy._left > 0:
            return True
        proxy.struck = True
        if toxin.kind == "half-open":
            self._silent = True
            return True
        await self._break(data[: len(data) + proxy._left], writer)
        return False

    async def _break(self, last: bytes, writer: asyncio.StreamWriter) -> None:
        """After these octets it is over."""
        with suppress(OSError):
            writer.write(last)
            await writer.drain()
        if self._proxy._toxin.kind == "reset":
            for _, side in self._ways.values():
                side.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                side.transport.abort()
