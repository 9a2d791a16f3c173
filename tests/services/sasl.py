"""A broker that knows nobody: it speaks as much of the protocol as it takes to refuse a login."""

from __future__ import annotations

import socketserver
import struct
from threading import Thread

API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
_KNOWN = ((API_VERSIONS, 0, 0), (HANDSHAKE, 0, 1), (AUTHENTICATE, 0, 0), (3, 0, 2))
_REFUSED = 58


class Doorkeeper:
    """Serves in a thread until the process ends."""

    def __init__(self) -> None:
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Door)
        self._server.daemon_threads = True
        self.servers = f"127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()


class _Door(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while len(head := self.rfile.read(4)) == 4:
            request = self.rfile.read(struct.unpack(">i", head)[0])
            api, version, number = struct.unpack(">hhi", request[:8])
            if (body := _answer(api, version)) is None:
                return
            reply = struct.pack(">i", number) + body
            self.wfile.write(struct.pack(">i", len(reply)) + reply)


def _answer(api: int, version: int) -> bytes | None:
    if api == API_VERSIONS:
        newer = 35 if version else 0
        known = b"".join(struct.pack(">hhh", *one) for one in _KNOWN)
        return struct.pack(">hi", newer, len(_KNOWN)) + known
    if api == HANDSHAKE:
        return struct.pack(">hi", 0, 1) + _text("PLAIN")
    if api == AUTHENTICATE:
        return struct.pack(">h", _REFUSED) + _text("Authentication failed") + struct.pack(">i", 0)
    return None


def _text(word: str) -> bytes:
    return struct.pack(">h", len(word)) + word.encode()
