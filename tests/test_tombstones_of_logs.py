"""What a log says is deleted becomes a tombstone, whatever else is wrong with its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sources import toy
from sources.contract.peer import old
from sources.contract.world import World
from tidegate.errors import TrimmedError
from tidegate.model import Mode
from tidegate.pipeline import kinds


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    known = {**kinds.kinds(), "journal": toy.KIND}
    monkeypatch.setattr(kinds, "kinds", lambda: known)
    (tmp_path / "peer").mkdir()
    return World(toy.JournalPeer(tmp_path / "peer"), tmp_path)


RULES: dict[str, Any] = {
    "clean": ({"to_number": {"columns": ("name",), "type": "int64"}},),
    "expect": ({"expect_column_values_to_not_be_null": {"column": "name"}},),
    "stop_above": 0,
}


def test_cleaning_and_expectations_do_not_hold_it(world: World) -> None:
    world.peer.put([row.now(str(row.id)) for row in old(4)])
    assert world.run(**RULES).inserted == 4
    world.peer.delete([2, 3])
    report = world.run(**RULES)
    assert (report.deleted, report.quarantined) == (2, 0)
    assert sorted(world.stored()) == [1, 4]


def test_a_key_that_was_never_loaded_can_be_deleted(world: World) -> None:
    world.peer.put(old(2))
    world.peer.delete([9])
    world.run()
    world.peer.put(old(1, first=9))
    world.run()
    assert sorted(world.stored()) == [1, 2, 9]


def test_all_versions_of_a_run_become_history(world: World) -> None:
    world.peer.put([row.now("one") for row in old(1)])
    world.peer.put([row.now("two") for row in old(1)])
    world.peer.delete([1])
    world.peer.put([row.now("three") for row in old(1)])
    world.run()
    with world.job().store() as store:
        names = [version.row["name"] for version in store.history("shop.orders", "1").versions]
    assert sorted(name or "" for name in names) == ["", "one", "three", "two"]
    assert world.stored()[1][0] == "three"


def test_the_watermark_goes_back_when_the_source_began_anew_and_only_then(world: World) -> None:
    world.peer.put(old(6))
    world.run()
    world.peer.forget()
    with pytest.raises(TrimmedError):
        world.run()
    report = world.run(Mode.FULL)
    assert report.watermark is not None
    assert report.watermark.cursor == 1
    world.peer.put(old(1, first=50))
    assert world.run().inserted == 1
