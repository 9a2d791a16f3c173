"""Rows that commit long after their stamp: the product has them all; known guesses lose them.

``TIDEGATE_SCENARIO_RUNS=20`` repeats each scenario.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services import Server
from sources.late.readers import Readers
from sources.late.scenarios import MARIADB, POSTGRES, Scenario

RUNS = int(os.environ.get("TIDEGATE_SCENARIO_RUNS") or 1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("scenario", MARIADB, ids=lambda scenario: scenario.__name__)
def test_mariadb_no_late_row_is_lost_and_guesses_lose_it(
    mariadb: Server, sqlite: Server, scenario: Scenario, run: int
) -> None:
    _play(Readers.of(mariadb, sqlite), scenario, MARIADB[scenario])


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("scenario", POSTGRES, ids=lambda scenario: scenario.__name__)
def test_postgres_no_late_row_is_lost_and_guesses_lose_it(
    postgres: Server, sqlite: Server, scenario: Scenario, run: int
) -> None:
    _play(Readers.of(postgres, sqlite), scenario, POSTGRES[scenario])


def _play(readers: Readers, scenario: Scenario, losers: set[str]) -> None:
    readers.execute("INSERT INTO orders (id, value) VALUES (0, 0)")
    readers.poll("product")
    for names in scenario(readers):
        readers.poll(*names)
    readers.poll("product")

    lost = {name: readers.missing(name)[0] for name in readers.shops}
    assert lost["product"] == set()
    assert {name for name, keys in lost.items() if keys == {1}} >= losers, lost
    _catches_up(readers)


def _catches_up(readers: Readers, seconds: float = 20) -> None:
    """When nothing is open any more, the bound goes past all that was written."""
    written = datetime.now(UTC)
    until = time.monotonic() + seconds
    while True:
        readers.poll("product")
        settled = readers.settled()
        if settled and settled > written:
            return
        assert time.monotonic() < until, f"the watermark stays at {settled}: {readers.bound()}"
        time.sleep(0.2)
