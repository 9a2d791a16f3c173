"""What all tests share: real servers, started when the first test asks for one; their order.

``TIDEGATE_TURN``, a number, lets tests that talk to servers in several variants run with half of
them, the other half when it is odd (continuous integration has not the time for all); without it
all run.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast
from zlib import crc32

import pytest

import services

AIRFLOW = "tests/end_to_end/"
"""Tests that start a real Airflow: one at a time, for it fills a machine; first, for it is slow."""
LONG = (
    "tests/sources/contract/", "tests/test_drift.py", "tests/test_verify.py", "tests/faults/",
    "tests/sources/test_late_commits.py", "tests/test_path.py",
)  # fmt: skip
"""What takes minutes: next, so that no process is left with one of them at the end."""
VARIED = (
    "tests/cases/", "tests/end_to_end/test_kill.py", "tests/faults/", "tests/sources/",
    "tests/store/", "tests/test_drift.py", "tests/test_golden.py", "tests/test_path.py",
    "tests/test_replay.py", "tests/test_verify.py",
)  # fmt: skip
"""Where each variant is work for a server; elsewhere it costs next to nothing."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Airflow's tests begin, so that the other processes have the rest meanwhile."""
    if turn := os.environ.get("TIDEGATE_TURN"):
        waiting = [*_others_turn(items, int(turn) % 2)]
        config.hook.pytest_deselected(items=waiting)
        left = {item.nodeid for item in waiting}
        items[:] = [item for item in items if item.nodeid not in left]
    items.sort(key=lambda item: [not item.nodeid.startswith(first) for first in (AIRFLOW, LONG)])


def _others_turn(items: list[pytest.Item], turn: int) -> Iterator[pytest.Item]:
    """Of each test with several variants, the half whose turn it is not; drawn, but fixed."""
    variants: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.nodeid.startswith(VARIED):
            variants[item.nodeid.partition("[")[0]].append(item)
    for test, several in variants.items():
        if len(several) > 1:
            first = (turn + crc32(test.encode())) % 2  # the larger halves have their turns, too
            yield from sorted(several, key=lambda item: crc32(item.nodeid.encode()))[first::2]


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
