"""A stream is due the sooner the later it changed; whoever asks may die in between."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services import Server
from shops import Shop
from tidegate import pacing
from tidegate.connections import Endpoint
from tidegate.fields import Span
from tidegate.model import Mode
from tidegate.pacing import Pace, Pacer, interval
from tidegate.rounds import BACK_OFF
from tidegate.store import open_store
from tidegate.store.ledger import Activity

START = datetime(2026, 3, 1, tzinfo=UTC)
SPAN = Span(10, 600)
LONG_AGO = START - timedelta(days=9)


def _at(second: float) -> datetime:
    return START + timedelta(seconds=second)


@dataclass
class World:
    """Seconds pass; changes happen; the clock starts a run every 600."""

    changes: Collection[int]
    read: int = 0
    found: int | None = 0

    def runs(
        self, until: int, *, forgetful: bool = False, fails: Collection[int] = ()
    ) -> list[int]:
        """When there were runs; whoever asks dies every second, if *forgetful*."""
        pace, waiting, told = Pace(), set(self.changes), []
        for now in range(1, until):
            pace = Pace() if forgetful else pace
            found = None if self.found is None else _at(self.found)
            due = pace.due(Activity(_at(self.read), found), SPAN)
            clock = now % SPAN.most == 0
            if not clock and (due is None or due > _at(now)):
                continue
            if not clock:
                pace.announced(_at(now))
            told.append(now)
            if now in fails:
                continue
            seen = {change for change in waiting if change <= now}
            waiting -= seen
            self.read = now
            self.found = now if seen else self.found
        return told


def _gaps(times: list[int]) -> list[int]:
    return [late - early for early, late in itertools.pairwise([0, *times])]


def test_a_stream_that_rests_is_asked_half_as_often_each_time() -> None:
    assert World([]).runs(5000) == [10, 20, 40, 80, 160, 320, *range(600, 5000, 600)]


def test_a_stream_that_changes_all_the_time_is_asked_as_often_as_may_be() -> None:
    assert set(_gaps(World(range(1, 3000)).runs(3000))) <= {10}


def test_a_change_after_a_rest_speeds_the_stream_up_at_once() -> None:
    found = World([500]).runs(1000)
    assert found == [10, 20, 40, 80, 160, 320, 600, 610, 620, 640, 680, 760, 920]


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(1, 3000), max_size=40), st.booleans())
def test_a_change_waits_no_longer_than_the_stream_had_rested(
    changes: set[int], forgetful: bool
) -> None:
    runs = World(changes).runs(4000, forgetful=forgetful)
    assert all(gap <= SPAN.most for gap in _gaps(runs))
    found = {change: next(run for run in runs if run >= change) for change in changes}
    for change, run in found.items():
        before = max((other for other in found.values() if other < run), default=0)
        assert run - change <= min(max(SPAN.least, change - before), SPAN.most)
    assert len(runs) <= 4000 / SPAN.most + (len(changes) + 1) * 7


def test_a_stream_that_fails_is_asked_less_and_less() -> None:
    assert World([]).runs(600, fails=range(1, 4000)) == [10, 30, 70, 150, 310]


def test_a_stream_that_was_never_seen_to_change_is_left_to_the_clock() -> None:
    assert interval(Activity(START, None), SPAN) == SPAN.most
    assert Pace().due(Activity(START, None), SPAN) is None


# On a real store ---------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres"])
def shop(sqlite: Server, request: pytest.FixtureRequest) -> Shop:
    stores: Server = request.getfixturevalue(request.param)
    endpoint = sqlite.fresh()
    sqlite.execute(
        endpoint, "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed INTEGER NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
    )  # fmt: skip
    return Shop(sqlite, endpoint, stores.fresh(), {"lookback": 5})


def test_the_store_tells_when_a_stream_was_read_and_when_it_changed(shop: Shop) -> None:
    with open_store(shop.store) as store:
        assert store.activity(["shop.orders"], LONG_AGO) == {}
        shop.run()
        assert store.activity(["shop.orders"], LONG_AGO)["shop.orders"].found is None
        shop.insert({"id": 1, "changed": 41})
        before = datetime.now(UTC)
        shop.run()
        first = store.activity(["shop.orders", "shop.others"], LONG_AGO)["shop.orders"]
        assert first.found is not None
        assert before <= first.found <= first.read <= datetime.now(UTC)
        shop.run()  # reads the row again: the lookback
        second = store.activity(["shop.orders"], LONG_AGO)["shop.orders"]
        assert (second.found, second.read > first.read) == (first.found, True)
        assert store.activity(["shop.orders"], datetime.now(UTC))["shop.orders"].found is None
        shop.insert({"id": 2, "changed": 42})
        shop.run(Mode.FULL)
        third = store.activity(["shop.orders"], LONG_AGO)["shop.orders"]
        assert third.found is not None
        assert third.found > first.found


def test_a_stream_is_announced_when_it_is_due_whoever_asks(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.insert({"id": 1, "changed": 41})
    shop.run()
    moment = datetime.now(UTC)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return moment

    monkeypatch.setattr(pacing, "datetime", Later)
    one, other = Pacer(shop.resolve), Pacer(shop.resolve)
    streams = {"shop.orders": SPAN, "shop.unknown": SPAN}
    found = one.look(streams)
    assert found.news == {}
    assert 8 < found.pause <= 10
    moment += timedelta(seconds=11)
    assert list(one.look(streams).news) == ["shop.orders"]
    assert one.look(streams).news == {}
    assert list(other.look(streams).news) == ["shop.orders"], "after the death of the first"
    one.close()
    other.close()


def test_a_store_that_is_away_is_asked_again_later() -> None:
    def resolve(name: str) -> Endpoint:
        raise RuntimeError(name)

    assert Pacer(resolve).look({"shop.orders": SPAN}).pause == BACK_OFF
