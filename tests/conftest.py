"""Fixtures that all tests share: real servers, started when the first test asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

import services


@pytest.fixture(scope="session")
def mariadb() -> Iterator[services.Server]:
    """A MariaDB server; ``.fresh()`` gives a new database."""
    server = services.start_or_skip("mariadb")
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[services.Server]:
    """A PostgreSQL server; ``.fresh()`` gives a new database."""
    server = services.start_or_skip("postgres")
    yield server
    server.close()


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> services.Server:
    """SQLite files; ``.fresh()`` gives a new one."""
    return services.Files(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def sql_server(request: pytest.FixtureRequest) -> services.Server:
    """Each of the three in turn."""
    return cast("services.Server", request.getfixturevalue(request.param))
