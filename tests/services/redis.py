"""Redis, started privately: a queue that forgets everything at its end."""

from __future__ import annotations

import atexit
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from services import PASSWORD, process
from services.process import START_SECONDS, Private, UnavailableServerError


@dataclass
class Server:
    """A Redis server on 127.0.0.1."""

    port: int
    private: Private

    @property
    def url(self) -> str:
        """As Celery wants it, password included."""
        return f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/0"

    def close(self) -> None:
        """Stop it."""
        self.private.end()


def start() -> Server:
    """A new one. Raises :class:`UnavailableServerError`."""
    program = process.find("redis-server")
    if not program:
        raise UnavailableServerError("Redis is not installed here. Run: make services")
    folder, port = process.folder(None), process.free_port()
    config = Path(folder, "redis.conf")
    config.write_text(
        f'port {port}\nbind 127.0.0.1\nrequirepass "{PASSWORD}"\ndir {folder}\n'
        'save ""\nappendonly no\n'
    )
    server = Server(port, Private([program, str(config)], None, folder, {}))
    atexit.register(server.close)
    deadline = time.monotonic() + START_SECONDS
    while server.private.process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as line:
                line.sendall(b"PING\r\n")
                if line.recv(7) == b"-NOAUTH":
                    return server
        except OSError:
            time.sleep(0.05)
    raise UnavailableServerError(
        f"the private Redis server does not answer:\n{server.private.said()}"
    )
