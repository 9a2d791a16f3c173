"""Tables read from a log, in the store: rows that are gone, compared, and tried again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sources.contract.peer import Row, old
from sources.contract.world import World
from sources.peers.log import Log, MariaDBLog, PostgreSQLLog
from sources.peers.sql import Snapshot, Table
from tidegate import path
from tidegate.errors import BrakeError
from tidegate.model import Mode, Request
from tidegate.verify import verify

FEW = {"brake": "5%"}


@pytest.fixture(params=[MariaDBLog, PostgreSQLLog], ids=lambda peer: peer.__name__)
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    """The table ``orders`` on a server of either kind."""
    yield from made(request.param, tmp_path)


def made(kind: type[Any], tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "peer"
    folder.mkdir()
    peer = kind(folder)
    yield peer
    peer.close()


@pytest.fixture
def world(peer: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The table on its way into a store."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    return World(peer, tmp_path)


def sql(peer: Table, *statements: str) -> None:
    peer._server.execute(peer.endpoint, *statements)


def test_what_is_deleted_before_a_column_comes_is_deleted(peer: Log, world: World) -> None:
    peer.put(old(30))
    world.run()
    peer.delete([3])
    sql(peer, "ALTER TABLE orders ADD COLUMN more INT")
    world.run()
    world.run()
    assert sorted(world.stored()) == [1, 2, *range(4, 31)]


def test_a_beginning_anew_deletes_no_more_than_the_brake_allows(peer: Log, world: World) -> None:
    peer.put(old(30))
    world.run()
    peer.forget()
    peer.delete([*range(1, 16)])
    with pytest.raises(BrakeError, match="15 of the store's 30 rows are gone"):
        world.run(Mode.FULL, deletes=FEW)
    assert len(world.stored()) == 30
    verify(world.job(deletes=FEW), allow_deletes=15)
    assert sorted(world.stored()) == [*range(16, 31)]


def test_deletions_that_arrived_are_no_difference(peer: Log, world: World) -> None:
    peer.put(old(40))
    world.run()
    peer.delete([*range(1, 31)])
    world.run()
    found = verify(world.job(deletes=FEW))
    assert (found.verified, found.differing) == (True, 0)
    world.run(Mode.FULL, deletes=FEW)
    assert sorted(world.stored()) == [*range(31, 41)]


def test_without_a_cursor_every_difference_is_told(peer: Log, world: World) -> None:
    peer.put(old(10))
    world.run()
    peer.put([Row(1, "not read"), Row(50, "not read")])
    peer.delete([2])
    told = verify(world.job(), repair=False, again=True)
    assert (told.verified, told.differing) == (False, 3)
    done = verify(world.job(deletes={"brake": "50%"}), again=True)
    assert (done.verified, done.differing, done.repaired, done.tombstoned) == (True, 3, 2, 1)
    assert {id: row[0] for id, row in world.stored().items() if id in {1, 2, 50}} == {
        1: "not read", 50: "not read",
    }  # fmt: skip
    world.run()
    assert verify(world.job(), repair=False, again=True).verified


def test_what_an_expectation_held_can_be_replayed(peer: Log, world: World) -> None:
    between = "expect_column_values_to_be_between"
    low = [{between: {"column": "id", "max_value": 5}}]
    high = [{between: {"column": "id", "max_value": 50}}]
    peer.put(old(6))
    world.run(expect=low)
    peer.delete([1])
    world.run(expect=low)
    assert [row["key"] for row in world.held()] == ["6"]
    report = path.run(world.job(expect=high), Request("shop.orders", "again", Mode.REPLAY))
    assert report.inserted == 1
    assert sorted(world.stored()) == [2, 3, 4, 5, 6]


def test_a_table_read_whole_is_compared_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    for peer in made(Snapshot, tmp_path):
        world = World(peer, tmp_path)
        peer.put(old(10))
        world.run()
        peer.put([Row(1, "not read")])
        assert verify(world.job(), repair=False, again=True).differing == 1
        assert verify(world.job(), again=True).repaired == 1
        assert world.stored()[1][0] == "not read"
