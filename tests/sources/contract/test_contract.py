"""The contract: what every kind of source gives, each in its own way, against a real system.

The docstring's first line of each test is the guarantee; ``docs/sources/README.md`` tells which
kind gives which.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sources.contract.peer import Peer, Row, old
from sources.contract.peers import PEERS
from sources.contract.world import NAME, Reading, World
from tidegate.errors import (
    ConfigError,
    RefusedError,
    TidegateError,
    TrimmedError,
    UnavailableError,
)
from tidegate.model import Mode, Window
from tidegate.sources import Apart, open_source

LONG = "x" * 100_000
TEXTS = [
    "", " ", "00501", "NULL", "null", "NaN", "true", "1e5", " padded ", "\u00e9", "e\u0301",
    "\U0001f469\u200d\U0001f680", "two\nlines", "dos\r\nlines", "tab\there", 'quo"te', "it's",
    "back\\slash", "comma, semicolon; pipe|", "\ufeffbom", "=1+1", "%s {x} $1 ?", "\x7f",
    LONG, None,
]  # fmt: skip
AMOUNTS = [
    Decimal("12345678901234567890123456789.123456789"), Decimal("-0.000000001"),
    Decimal("0.100000000"), Decimal("1234.5"), Decimal(0), None,
]  # fmt: skip
IDS = [2**53 + 1, -(2**63), 2**63 - 1, 0]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = [
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2024, 2, 29, 23, 59, 59, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each system in turn; a guarantee that it does not give is not asked for."""
    guarantee = metafunc.function.__name__.removeprefix("test_")
    able = [peer for peer in PEERS if guarantee not in peer.cannot]
    metafunc.parametrize("peer", able, indirect=True, ids=lambda peer: peer.__name__)


@pytest.fixture
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    """A system of its own."""
    folder = tmp_path / "peer"
    folder.mkdir()
    made: Peer = request.param(folder)
    yield made
    made.close()


@pytest.fixture
def world(peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The peer's rows on their way into a store."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    return World(peer, tmp_path)


@pytest.fixture
def reading(peer: Peer) -> Reading:
    """The peer's stream, read without a store."""
    return Reading(peer.endpoint, peer.stream(page_rows=4))


def newest(found: list[dict[str, Any]]) -> dict[int, str | None]:
    """The name of each id's version with the largest token."""
    ordered = sorted(found, key=lambda row: row["_token"])
    return {row["id"]: row["name"] for row in ordered if not row.get("_gone")}


def test_the_first_pull_gives_all(peer: Peer, reading: Reading) -> None:
    """The first pull gives all rows."""
    peer.put(old(11))
    assert reading.ids() == list(range(1, 12))


def test_then_only_the_new_comes(peer: Peer, reading: Reading) -> None:
    """Later pulls give what is new, and of the old at most what is read again."""
    peer.put(old(11))
    reading.rows()
    reading.rows()
    peer.put([Row(12).now("new")])
    found = reading.rows()
    assert "new" in newest(found).values()
    assert len(found) < 11


def test_with_nothing_new_nothing_comes(peer: Peer, reading: Reading) -> None:
    """With nothing new, nothing is given."""
    peer.put(old(5))
    reading.rows()
    before = reading.watermark
    assert reading.rows() == []
    assert before is not None
    assert reading.watermark is not None
    assert reading.watermark.later(before) is not before or reading.watermark == before


def test_rows_with_one_cursor_value_are_all_read(peer: Peer, reading: Reading) -> None:
    """Ties larger than a page are read whole."""
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    peer.put([Row(id, "tie", changed=moment) for id in range(1, 14)])
    assert reading.ids() == list(range(1, 14))


def test_late_rows_arrive(peer: Peer, world: World) -> None:
    """Rows that come late, within what is read again, arrive."""
    peer.put(old(6))
    world.run()
    peer.late([Row(50, "late", changed=datetime.now(UTC) - timedelta(minutes=3))])
    world.run()
    assert world.stored()[50][0] == "late"


def test_a_version_comes_once_in_a_pull(peer: Peer, reading: Reading) -> None:
    """No pull gives one version of a row twice."""
    peer.put(old(9))
    peer.put([row.now("again") for row in old(3)])
    found = Counter((row["_key"], row["_token"]) for row in reading.rows())
    assert max(found.values()) == 1
    assert {key for key, _ in found} == {str(id) for id in range(1, 10)}


def test_the_newer_version_has_the_larger_token(peer: Peer, world: World) -> None:
    """Whatever order versions are loaded in, the newest one stays."""
    peer.put(old(6))
    world.run()
    for round in range(3):
        peer.put([row.now(f"round {round}") for row in old(4)])
        world.run()
    assert {id: found[0] for id, found in world.stored().items()} == {
        **dict.fromkeys(range(1, 5), "round 2"), 5: "row 5", 6: "row 6",
    }  # fmt: skip


def test_the_same_pull_twice_gives_the_same_old(peer: Peer, reading: Reading) -> None:
    """A pull that is repeated gives the same rows: no retry loses or changes one."""
    peer.put(old(9))
    first = [{**row, "_token": 0} for row in reading.rows(keep=False)]
    again = [{**row, "_token": 0} for row in reading.rows(keep=False)]
    assert first == again
    assert len(first) == 9


def test_values_survive(peer: Peer, world: World) -> None:
    """Awkward values arrive as they are: text, exact numbers, instants before 1970."""
    wanted = [Row(1000 + place, text) for place, text in enumerate(TEXTS)]
    wanted += [Row(2000 + place, "n", amount) for place, amount in enumerate(AMOUNTS)]
    wanted += [Row(id, "id") for id in IDS]
    wanted += [Row(3000 + place, "t", changed=at) for place, at in enumerate(MOMENTS)]
    peer.put(wanted)
    world.run()
    assert [row["reasons"] for row in world.held()] == []
    stored = world.stored()
    assert {row.id: row.name for row in wanted} == {id: row[0] for id, row in stored.items()}
    assert {row.id: row.amount for row in wanted} == {id: row[1] for id, row in stored.items()}
    for row in wanted:
        assert (
            datetime.fromisoformat(stored[row.id][2])
            == row.changed - (row.changed - EPOCH) % peer.tick
        )


def test_pages_are_bounded(peer: Peer, reading: Reading) -> None:
    """Rows come in pages of at most the declared size, each read when the one before is done."""
    peer.put(old(23))
    sizes = [page.num_rows for page in reading.pages()]
    assert sum(sizes) == 23
    assert max(sizes) <= 4


def test_nobody_there_is_worth_waiting_for(peer: Peer) -> None:
    """A source that does not answer is an error to be retried."""
    with pytest.raises(UnavailableError, match="shop"):
        Reading(peer.unreachable(), peer.stream()).rows()


def test_a_wrong_password_is_refused(peer: Peer) -> None:
    """A source that says no is an error not to be retried, and no message has the password."""
    endpoint = peer.refused()
    with pytest.raises(RefusedError) as caught:
        Reading(endpoint, peer.stream()).rows()
    assert endpoint.password is None or endpoint.password not in str(caught.value)


def test_a_forgotten_position_is_an_error(peer: Peer, world: World) -> None:
    """A position that the source has forgotten stops the stream; a full run begins anew."""
    peer.put(old(6))
    world.run()
    peer.forget()
    peer.put(old(3, first=20))
    with pytest.raises(TrimmedError, match="--full"):
        world.run()
    world.run(Mode.FULL)
    assert {20, 21, 22} <= world.stored().keys()
    peer.put(old(2, first=30))
    world.run()
    assert {30, 31} <= world.stored().keys()


def test_nothing_is_acknowledged_before_it_is_durable(peer: Peer, world: World) -> None:
    """What is taken from the source is acknowledged when the store has it, not before."""
    peer.put(old(7))
    lost = Reading(peer.endpoint, peer.stream(), Broken())
    with pytest.raises(ConnectionError):
        lost.rows()
    assert peer.pending() == 7
    world.run()
    assert len(world.stored()) == 7
    assert peer.pending() == 0


class Broken(Apart):
    """A store that is lost when something arrives."""

    def arrive(self, stream: str, items: Any) -> int:
        """Lose it."""
        raise ConnectionError("the store is lost")


def test_a_look_takes_nothing(peer: Peer, world: World) -> None:
    """The doctor and the preflight take nothing from the source."""
    peer.put(old(5))
    for _ in range(2):
        with open_source(peer.endpoint, peer.stream(), NAME) as source:
            assert [finding for finding in source.check() if finding.level == "error"] == []
    world.run()
    assert len(world.stored()) == 5


def test_windows_of_history_are_read(peer: Peer, world: World) -> None:
    """History is read window by window, beside the watermark; or a message says that it cannot."""
    history = [Row(id, "old", changed=datetime(2026, 1, id, 12, tzinfo=UTC)) for id in range(1, 10)]
    peer.put(history)
    window = Window.between(datetime(2026, 1, 3, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC))
    if not peer.stream().has_windows:
        with pytest.raises(ConfigError, match=r"window"):
            world.run(Mode.WINDOW, window)
        return
    world.run(Mode.WINDOW, window)
    assert sorted(world.stored()) == [3, 4, 5]
    world.run()
    assert len(world.stored()) == 9


def test_deletions_arrive(peer: Peer, world: World) -> None:
    """Rows that are deleted in the source become tombstones by themselves."""
    peer.put(old(6))
    world.run()
    peer.delete([2, 3])
    world.run()
    assert sorted(world.stored()) == [1, 4, 5, 6]
    peer.put([Row(2, "back", changed=datetime.now(UTC))])
    world.run()
    assert world.stored()[2][0] == "back"


def test_whatever_happens_the_store_ends_as_the_source(peer: Peer, world: World) -> None:
    """After any history of writes, failed and repeated runs, the store equals the source."""
    dice = random.Random(NAME)
    wanted: dict[int, Row] = {}
    for step in range(12):
        changed = []
        for id in dice.sample(range(1, 15), 5):
            wanted[id] = Row(id, f"step {step}", Decimal(step), datetime.now(UTC))
            changed.append(wanted[id])
        peer.put(changed)
        if "deletions_arrive" not in peer.cannot and wanted and dice.random() < 0.5:
            gone = dice.choice(sorted(wanted))
            peer.delete([gone])
            del wanted[gone]
        if dice.random() < 0.4:
            with pytest.raises(Stop):
                fail_on_the_way(world)
        else:
            world.run()
    world.run()
    found = {id: (row[0], row[1]) for id, row in world.stored().items()}
    assert found == {id: (row.name, row.amount) for id, row in wanted.items()}


class Stop(TidegateError):
    """A run that ends before it has loaded."""


def fail_on_the_way(world: World) -> None:
    """Pull, and load nothing."""
    from tidegate import path

    job, request = world.job(), world.request()
    path.pull(job, request)
    with job.store() as store:
        store.abandon(request.stream, request.run_id)
    raise Stop("on the way")
