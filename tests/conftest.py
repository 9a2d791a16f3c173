"""Fixtures that all tests share: real servers, started when the first test asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

import services

AIRFLOW = "tests/end_to_end/"
"""Tests that start a real Airflow: one at a time, for it fills a machine; first, for it is slow."""
LONG = (
    "tests/sources/contract/", "tests/test_drift.py", "tests/test_verify.py", "tests/faults/",
    "tests/sources/test_late_commits.py", "tests/test_path.py",
)  # fmt: skip
"""What takes minutes: next, so that no process is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Airflow's tests begin, so that the other processes have the rest meanwhile."""
    items.sort(key=lambda item: (not item.nodeid.startswith(AIRFLOW), not _long(item)))


def _long(item: pytest.Item) -> bool:
    return item.nodeid.startswith(LONG)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n``: the tests of a file share a process, and so do all that start an Airflow."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return AIRFLOW if nodeid.startswith(AIRFLOW) else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


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
