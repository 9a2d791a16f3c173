"""Rows that commit long after their stamp: the product has them all; known guesses lose them.

``TIDEGATE_SCENARIO_RUNS=20`` repeats each scenario; the first time with all guesses, then with one.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services import Server
from sources.late.readers import WRONG, Readers
from sources.late.scenarios import MARIADB, POSTGRES, Scenario, out_of_order, read_then_write
from tidegate.errors import TidegateError
from tidegate.sources.sql.bounds import server as servers

LUCK = 3
RUNS = int(os.environ.get("TIDEGATE_SCENARIO_RUNS") or 1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(servers, "OBSERVE_SECONDS", 0)  # the bound is to move with every run


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("scenario", MARIADB, ids=lambda scenario: scenario.__name__)
def test_mariadb_no_late_row_is_lost_and_guesses_lose_it(
    mariadb: Server, sqlite: Server, scenario: Scenario, run: int
) -> None:
    _play(mariadb, sqlite, run, scenario, MARIADB[scenario])


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("scenario", POSTGRES, ids=lambda scenario: scenario.__name__)
def test_postgres_no_late_row_is_lost_and_guesses_lose_it(
    postgres: Server, sqlite: Server, scenario: Scenario, run: int
) -> None:
    _play(postgres, sqlite, run, scenario, POSTGRES[scenario])


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("scenario", [out_of_order, read_then_write], ids=["open", "read_first"])
def test_postgres_without_the_right_to_see_sessions_the_lookback_keeps_the_row(
    postgres: Server, sqlite: Server, scenario: Scenario, run: int
) -> None:
    """To such a user nobody seems to have a transaction open."""
    readers = _readers(postgres, sqlite, run)
    user = f"poor_{readers.source.database}"
    readers.execute(
        f"CREATE USER {user} PASSWORD 'x'", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}"
    )
    for shop in readers.shops.values():
        shop.source = replace(shop.source, user=user, password="x")
    with pytest.raises(TidegateError, match="GRANT pg_read_all_stats"):
        readers.poll("product")
    for shop in readers.shops.values():
        shop.fields |= {"bound": "auto", "lookback": None}

    assert _losers(readers, scenario) >= {">= max", "1 s lag", "oldest transaction"} & set(
        readers.shops
    )
    assert readers.bound() == "clock − 1m: no right to see all sessions"
    readers.execute(f"DROP OWNED BY {user}", f"DROP USER {user}")


def _readers(server: Server, stores: Server, run: int) -> Readers:
    return Readers.of(server, stores, ["1 s lag"] if run else WRONG)


def _play(server: Server, stores: Server, run: int, scenario: Scenario, losers: set[str]) -> None:
    """The product loses nothing, ever; a guess may be lucky on a busy machine, not every time."""
    for _ in range(LUCK):
        readers = _readers(server, stores, run)
        lucky = losers & set(readers.shops) - _losers(readers, scenario)
        _catches_up(readers)
        if not lucky:
            return
    pytest.fail(f"{LUCK} times not all of {losers} missed the row that commits late")


def _losers(readers: Readers, scenario: Scenario) -> set[str]:
    """The guesses that lose the row that commits late."""
    readers.execute("INSERT INTO orders (id, value) VALUES (0, 0)")
    readers.poll("product")
    for names in scenario(readers):
        readers.poll(*names)
    readers.poll("product")

    lost = {name: readers.missing(name)[0] for name in readers.shops}
    assert lost["product"] == set()
    return {name for name, keys in lost.items() if keys == {1}}


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
