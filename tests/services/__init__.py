"""Real servers for tests: the only place that finds or starts one.

Databases are here; the others have a module each.

Order: an address in ``TIDEGATE_TEST_MARIADB`` or ``TIDEGATE_TEST_POSTGRES`` (Airflow's URI form,
a user who may create databases); else a program on this machine, started privately on 127.0.0.1
in a temporary folder; else the test is skipped and says ``make services``. Names listed in
``TIDEGATE_REQUIRE`` (``mariadb,postgres``) fail instead of being skipped.

What was started here, and only that, is stopped by its process id. Should this process die by a
signal, the kernel ends its servers (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import atexit
import itertools
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import pytest
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from services import process
from services.process import START_SECONDS, Private, UnavailableServerError
from tidegate.connections import Endpoint, parse

PASSWORD = "p@ss/W0rd+x!y %:z"
"""Of the private servers: every character that URLs and shells dislike."""
USER = "tide"
__all__ = [
    "PASSWORD", "USER", "Files", "Private", "Server", "UnavailableServerError", "or_skip", "start",
    "start_or_skip",
]  # fmt: skip
Started = TypeVar("Started")
_numbers = itertools.count(1)


class Server:
    """A database server; *admin* may create databases and users."""

    def __init__(self, admin: Endpoint, private: Private | None = None) -> None:
        self.admin = admin
        self._private = private
        self._made: list[Endpoint] = []
        self._engines: dict[URL, Engine] = {}

    @property
    def kind(self) -> str:
        """``mysql``, ``postgres`` or ``sqlite``."""
        return self.admin.kind

    @property
    def pid(self) -> int:
        """The process of a private server."""
        if self._private is None:
            raise UnavailableServerError("only a server that was started here has a known process")
        return self._private.process.pid

    def fresh(self, like: Endpoint | None = None) -> Endpoint:
        """A new database: empty, or (PostgreSQL) with all that *like* has, which nobody may use."""
        name = f"tide_{os.getpid()}_{next(_numbers)}"
        template = f" TEMPLATE {like.database}" if like else ""
        self.execute(self.admin, f"CREATE DATABASE {name}{template}")
        endpoint = replace(self.admin, database=name)
        self._made.append(endpoint)
        return endpoint

    def engine(self, endpoint: Endpoint) -> Engine:
        """A plain engine, independent of the product's settings; every use connects anew.

        The same one for the same *endpoint*. PyMySQL reads all of the system's authorities at each
        connection, unless it is told that there is no TLS: a server that was started here has none.
        """
        arguments: dict[str, object] = {}
        if endpoint.kind == "postgres":
            arguments["client_encoding"] = "utf8"
        if endpoint.kind == "mysql" and self._private is not None:
            arguments["ssl_disabled"] = True
        if (engine := self._engines.get(endpoint.url)) is None:
            engine = create_engine(endpoint.url, poolclass=NullPool, connect_args=arguments)
            self._engines[endpoint.url] = engine
        return engine

    def execute(self, endpoint: Endpoint, *statements: str) -> None:
        """Run *statements*, each committed by itself. Colons and percent signs are plain."""
        engine = self.engine(endpoint).execution_options(
            isolation_level="AUTOCOMMIT", no_parameters=True
        )
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def uri(self, endpoint: Endpoint) -> str:
        """The endpoint as an Airflow connection URI, password included."""
        if endpoint.kind == "sqlite":
            return f"sqlite:///{quote(endpoint.database or '')}"
        user, password = (quote(part or "", safe="") for part in (endpoint.user, endpoint.password))
        place = f"{endpoint.host}:{endpoint.port}/{quote(endpoint.database or '', safe='')}"
        return f"{endpoint.kind}://{user}:{password}@{place}"

    def close(self) -> None:
        """Stop what was started; on a server found elsewhere, drop the databases made."""
        if self._private is not None:
            self._private.end()
            return
        for endpoint in self._made:
            force = " WITH (FORCE)" if self.kind == "postgres" else ""
            self.execute(self.admin, f"DROP DATABASE IF EXISTS {endpoint.database}{force}")

    def crash(self) -> None:
        """End a private server at once: MariaDB by kill -9, PostgreSQL as its mode *immediate*."""
        if self._private is None:
            raise UnavailableServerError("only a server that was started here may be crashed")
        self._private.crash()

    def revive(self) -> None:
        """Start it again on the same data and the same port, and wait until it answers."""
        if self._private is None:
            raise UnavailableServerError("only a server that was started here may be started")
        self._private.start()
        if not _answers(self, self._private.process):
            raise UnavailableServerError(f"it does not come back:\n{self._private.said()}")


class Files(Server):
    """The same for SQLite: a new file each."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Endpoint("shop", "sqlite", database=str(folder / "admin.db")))
        self._folder = folder

    def fresh(self, like: Endpoint | None = None) -> Endpoint:
        """A new file, in WAL mode so that a writer and a reader do not wait for each other."""
        endpoint = replace(self.admin, database=str(self._folder / f"shop_{next(_numbers)}.db"))
        self.execute(endpoint, "PRAGMA journal_mode=WAL")
        return endpoint

    def close(self) -> None:
        """Files go with pytest's temporary folder."""


def start(
    name: str, *, private: bool = False, environment: dict[str, str] | None = None,
    flags: Sequence[str] = (),
) -> Server:  # fmt: skip
    """``mariadb`` or ``postgres``; raises :class:`UnavailableServerError`.

    A *private* one is never one found elsewhere, and keeps what was committed when it crashes;
    its process finds *environment* and *flags*, too.
    """
    variable = f"TIDEGATE_TEST_{name.upper()}"
    if not private and (uri := os.environ.get(variable)):
        return Server(parse("shop", uri))
    begin = {"mariadb": _start_mariadb, "postgres": _start_postgres}[name]
    server = begin(environment or {}, flags, keeps=private)
    atexit.register(server.close)
    return server


def start_or_skip(name: str) -> Server:
    """The same; without a server the test is skipped, or fails when it is required."""
    return or_skip(name, lambda: start(name))


def or_skip(name: str, begin: Callable[[], Started]) -> Started:
    """What *begin* starts; without it the test is skipped, or fails when *name* is required."""
    try:
        return begin()
    except UnavailableServerError as reason:
        required = os.environ.get("TIDEGATE_REQUIRE", "").replace(" ", "").split(",")
        (pytest.fail if name in required else pytest.skip)(str(reason))
        raise


# Starting one privately ------------------------------------------------------------------------


def _start_mariadb(environment: dict[str, str], more: Sequence[str], *, keeps: bool) -> Server:
    program = process.find("mariadbd", "/usr/sbin/mariadbd", "/usr/local/sbin/mariadbd")
    install = process.find("mariadb-install-db", "/usr/bin/mariadb-install-db")
    if not program or not install:
        raise UnavailableServerError("MariaDB is not installed here. Run: make services")
    owner = process.unprivileged("mysql")
    folder = process.folder(owner)
    data = f"{folder}/data"
    flags = ["--no-defaults", f"--datadir={data}", f"--tmpdir={folder}"]
    setup = [install, *flags, "--auth-root-authentication-method=normal", "--skip-test-db"]
    process.run(setup, owner, folder)
    grants = Path(folder, "grants.sql")
    grants.write_text(
        f"CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
        f"GRANT ALL ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION;\n"
        "ALTER USER 'root'@'localhost' ACCOUNT LOCK;\n"
    )
    flags += [
        f"--init-file={grants}", f"--socket={folder}/s", f"--pid-file={folder}/pid",
        "--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin",
        "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M",
        f"--innodb-flush-log-at-trx-commit={2 if keeps else 0}", "--innodb-doublewrite=0",
        "--innodb-temp-data-file-path=ibtmp1:2M:autoextend", "--performance-schema=OFF",
        "--character-set-server=utf8mb4", *more,
    ]  # fmt: skip
    return _serve(
        "mysql", lambda port: [program, *flags, f"--port={port}"], owner, folder, environment
    )


def _start_postgres(environment: dict[str, str], more: Sequence[str], *, keeps: bool) -> Server:
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    program = process.find("postgres", *(f"{place}/postgres" for place in newest))
    install = process.find("initdb", *(f"{place}/initdb" for place in newest))
    if not program or not install:
        raise UnavailableServerError("PostgreSQL is not installed here. Run: make services")
    owner = process.unprivileged("postgres")
    folder = process.folder(owner)
    secret = Path(folder, "password")
    secret.write_text(PASSWORD + "\n")
    data = f"{folder}/data"
    setup = [
        install, f"--pgdata={data}", f"--username={USER}", f"--pwfile={secret}",
        "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
    ]  # fmt: skip
    process.run(setup, owner, folder)
    settings = {
        "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
        "full_page_writes": "off", "synchronous_commit": "on" if keeps else "off",
        "shared_buffers": "64MB",
        "max_connections": "60", "max_prepared_transactions": "10", "max_wal_size": "256MB",
        "timezone": "America/New_York",
    }  # fmt: skip
    command = [program, "-D", data]
    for key, value in settings.items():
        command += ["-c", f"{key}={value}"]
    command += more
    return _serve("postgres", lambda port: [*command, "-p", str(port)], owner, folder, environment)


def _serve(
    kind: str, command: Callable[[int], list[str]], owner: str | None, folder: str,
    environment: dict[str, str],
) -> Server:  # fmt: skip
    for _ in range(5):
        port = process.free_port()
        private = Private(command(port), owner, folder, environment)
        server = Server(Endpoint("shop", kind, "127.0.0.1", port, USER, PASSWORD, kind), private)
        if _answers(server, private.process):
            return server
        reason = private.said()
        if private.process.poll() is None or "ddress already in use" not in reason:
            server.close()
            raise UnavailableServerError(f"the private {kind} server does not answer:\n{reason}")
    raise UnavailableServerError(f"no free port for a private {kind} server")


def _answers(server: Server, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            server.execute(server.admin, "SELECT 1")
        except DBAPIError:
            time.sleep(0.05)
        else:
            return True
    return False


def _version(place: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in place.parent.name.split(".") if part.isdigit())
