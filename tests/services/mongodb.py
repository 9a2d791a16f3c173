"""A real MongoDB engine on a Unix socket, or the server in ``TIDEGATE_TEST_MONGODB``.

The private engine is the server's own code in a process of Node.js. It has no replica set, no
sessions, no users: whoever gives a password is refused.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import subprocess
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

import services
from services import process
from services.process import START_SECONDS, Private, UnavailableServerError
from tidegate.connections import Endpoint, parse
from tidegate.sources.mongodb.session import arguments

VERSION = "0.1.1"
VARIABLE = "TIDEGATE_TEST_MONGODB"
_numbers = itertools.count(1)


class MongoDB:
    """A server; whoever asks gets a database of their own."""

    def __init__(self, admin: Endpoint, private: Private | None = None) -> None:
        self.admin = admin
        self._private = private
        self._made: list[str] = []

    def fresh(self) -> Endpoint:
        """A new, empty database."""
        name = f"tide_{os.getpid()}_{next(_numbers)}"
        self._made.append(name)
        return replace(self.admin, database=name)

    def close(self) -> None:
        """Stop what was started; on a server found elsewhere, drop the databases made."""
        if self._private is not None:
            self._private.end()
            return
        with client(self.admin) as there:
            for name in self._made:
                there.drop_database(name)


def client(endpoint: Endpoint) -> MongoClient[dict[str, Any]]:
    """The driver's own client."""
    return MongoClient(**arguments(endpoint, 30))


def database(endpoint: Endpoint) -> Database[dict[str, Any]]:
    """The endpoint's database, to write into."""
    return client(endpoint)[endpoint.database or ""]


@cache
def server() -> MongoDB:
    """One for all tests of this process; without one the test is skipped."""
    return services.or_skip("mongodb", start)


def start() -> MongoDB:
    """A private one, unless the environment names another."""
    if uri := os.environ.get(VARIABLE):
        return MongoDB(parse("shop", uri))
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    program = place / "tidegate" / f"mongodb-{VERSION}" / "run"
    if not program.exists() or not shutil.which("node"):
        raise UnavailableServerError("The MongoDB engine is not installed here. Run: make services")
    folder = process.folder(None)
    Path(folder, "data").mkdir()
    private = Private([str(program), f"{folder}/data"], None, folder, {"TMPDIR": folder})
    made = MongoDB(Endpoint("shop", "mongo", _socket(private)), private)
    atexit.register(made.close)
    return made


def _socket(private: Private) -> str:
    deadline = time.monotonic() + START_SECONDS
    while private.process.poll() is None and time.monotonic() < deadline:
        if (said := private.said().strip()).endswith("mongodb.sock"):
            return said.splitlines()[-1]
        try:
            private.process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    reason = private.said()
    private.end()
    raise UnavailableServerError(f"the private MongoDB engine does not answer:\n{reason}")
