"""What is new is announced until the store has it, in whatever order things happen and fail."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services import Server
from shops import Shop
from tidegate import watching
from tidegate.connections import Endpoint
from tidegate.errors import TidegateError, UndefinedConnectionError
from tidegate.model import Watermark
from tidegate.pipeline.models import Stream
from tidegate.rounds import BACK_OFF, EVERY
from tidegate.sources import Sight
from tidegate.store.ledger import StreamState
from tidegate.watching import AHEAD, LONGEST, SHARE, Level, Watch

# The level logic, in a world of its own ----------------------------------------------------------

FATES = ("loads", "fails", "is skipped", "event lost", "event doubled")


@dataclass
class World:
    """A source that stamps rows with the second, a store, and runs as Airflow would start them."""

    now: int = 0
    newest: int | None = None
    held: int | None = None
    watermark: int = 0
    generation: int = 0
    queued: int = 0
    under_way: tuple[int, int, str] | None = None
    announced: int = 0

    def look(self, level: Level, fate: str) -> bool:
        """A second passes, with one look."""
        self.now += 1
        self._work(fate)
        mark = self.newest
        level.see(Sight(mark, None if mark is None else Watermark(mark + 1)))
        state = StreamState(Watermark(self.watermark), self.generation, None)
        if not (level.behind and level.announce(state, self.now)):
            return False
        self.announced += 1
        if fate != "event lost":
            self.queued = 1 if fate != "event doubled" else 2
        return True

    def _work(self, fate: str) -> None:
        """Runs take three seconds; events that come meanwhile make one more."""
        if self.under_way is None and self.queued:
            self.queued -= 1
            bound = self.now - 1 if self.held is None else min(self.held, self.now - 1)
            self.under_way = (self.now + 3, bound, fate)
        if self.under_way and self.under_way[0] <= self.now:
            _, bound, fate = self.under_way
            self.under_way = None
            if fate in {"fails", "is skipped"}:
                return
            self.watermark, self.generation = max(self.watermark, bound), self.generation + 1


steps = st.lists(
    st.tuples(
        st.sampled_from(["row", "nothing", "restart", "open", "close"]), st.sampled_from(FATES)
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=400, deadline=None)
def test_all_that_was_seen_is_loaded_once_things_go_well_again(
    what: list[tuple[str, str]],
) -> None:
    world, level = World(), Level()
    for step, fate in what:
        if step == "row":
            world.newest = world.now
        elif step == "restart":
            level = Level()
        elif step == "open":
            world.held = min(world.now, world.held or world.now)
        elif step == "close":
            world.held = None
        world.look(level, fate)
    world.held = None
    for _ in range(2 * 60 + 20):  # a delay is at most twice what has passed since the last row
        world.look(level, "loads")
    assert world.newest is None or world.watermark > world.newest
    assert not level.behind
    announced = world.announced
    for _ in range(2000):
        world.look(level, "loads")
    assert world.announced == announced


def test_an_open_transaction_is_waited_for_ever_more_patiently() -> None:
    world, level = World(newest=1, held=1), Level()
    told = [world.now for _ in range(3600) if world.look(level, "loads")]
    gaps = [late - early for early, late in itertools.pairwise(told)]
    assert gaps == sorted(gaps)
    assert gaps[0] <= 3
    assert gaps[-1] == LONGEST
    assert len(told) <= 14
    world.held = None
    for _ in range(int(LONGEST) + 10):
        world.look(level, "loads")
    assert world.watermark > 1


def test_a_source_that_never_rests_has_one_announcement_a_look_and_two_a_run() -> None:
    world, level = World(), Level()
    for _ in range(60):
        world.newest = world.now
        world.look(level, "loads")
    assert world.announced <= 60
    assert world.watermark >= 60 - 2 * 4
    slow = Level()
    state = StreamState(None, 5, None)
    told = 0
    for now in range(600):  # one run that takes ten minutes
        slow.see(Sight(now, Watermark(now)))
        told += slow.announce(state, now)
    assert told <= AHEAD + 9


def test_rows_that_vanish_start_nothing() -> None:
    level = Level()
    loaded = StreamState(Watermark(10), 3, None)
    for newest in (9, 5, None):
        level.see(Sight(newest, None if newest is None else Watermark(newest + 1)))
        assert not (level.behind and level.announce(loaded, 1))


def test_rows_that_come_below_the_watermark_are_announced_once() -> None:
    level = Level()
    loaded = StreamState(Watermark(5000), 3, None)
    told = []
    for newest in (4000, 4000, 4001, 4001, 4002, 3000, 3000, 3001):
        level.see(Sight(newest, Watermark(newest)))
        told.append(level.behind and level.announce(loaded, 1))
    assert told == [False, False, True, False, True, False, False, False]
    level.announce(StreamState(Watermark(5000), 4, None), 2)
    level.see(Sight(3002, Watermark(3002)))
    assert level.announce(StreamState(Watermark(5000), 4, None), 3), "after a commit again"


# The same on real servers ------------------------------------------------------------------------


@pytest.fixture
def shop(sql_server: Server, sqlite: Server) -> Shop:
    endpoint = sql_server.fresh()
    sql_server.execute(
        endpoint, "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed INTEGER NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
    )  # fmt: skip
    return Shop(sql_server, endpoint, sqlite.fresh(), {"lookback": 0})


def test_a_row_is_announced_until_it_is_loaded(shop: Shop) -> None:
    streams = {"shop.orders": shop.job().stream}
    watch = Watch("shop", "table", shop.resolve)
    assert watch.look(streams).news == {}
    shop.insert({"id": 1, "changed": 41})
    assert watch.look(streams).news == {"shop.orders": "41"}
    assert watch.look(streams).news == {}
    again = Watch("shop", "table", shop.resolve)  # after the death of the first
    assert again.look(streams).news == {"shop.orders": "41"}
    shop.run()
    shop.run()
    for one in (watch, again, Watch("shop", "table", shop.resolve)):
        assert one.look(streams).news == {}
        assert not one._levels["shop.orders"].behind
        one.close()


def test_a_look_that_fails_is_tried_again_later_and_told_once(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    streams, known = {"shop.orders": shop.job().stream}, dict.fromkeys(("shop",), shop.source)
    known["shop"] = replace(shop.source, database="nowhere", user="nobody", password="hush/hush")

    def resolve(name: str) -> Endpoint:
        return known[name] if name in known else shop.resolve(name)

    watch = Watch("shop", "table", resolve)
    with caplog.at_level(logging.WARNING):
        pauses = [watch.look(streams).pause for _ in range(7)]
    assert pauses == [BACK_OFF, 4, 8, 16, 32, 60, 60]
    assert len(caplog.records) == 1
    assert "hush" not in caplog.text
    assert "shop is not watched for now" in caplog.text
    known["shop"] = shop.source
    shop.insert({"id": 1, "changed": 41})
    with caplog.at_level(logging.WARNING):
        found = watch.look(streams)
    assert found.news == {"shop.orders": "41"}
    assert "shop is watched again" in caplog.text
    assert watch.look(streams).pause <= EVERY or found.pause >= EVERY
    watch.close()


def test_whatever_goes_wrong_a_watch_goes_on_and_keeps_secrets(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    def resolve(name: str) -> Endpoint:
        raise RuntimeError("hush/hush")

    def nothing(name: str) -> Endpoint:
        raise UndefinedConnectionError(f"connection {name!r} is not defined")

    for broken in (resolve, nothing):
        watch = Watch("shop", "table", broken)
        assert watch.look({"shop.orders": shop.job().stream}).pause == BACK_OFF
    assert "unexpected RuntimeError" in caplog.text
    assert "connection 'shop' is not defined" in caplog.text
    assert "hush" not in caplog.text


class Sleepy:
    """A source that takes *seconds* to answer."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)

    def look(self, streams: Mapping[str, Stream]) -> Mapping[str, Sight | TidegateError]:
        time.sleep(self.seconds.pop(0))
        return {}

    def close(self) -> None:
        pass


def test_a_source_that_is_always_slow_is_asked_less_often(shop: Shop) -> None:
    streams, watch = {"shop.orders": shop.job().stream}, Watch("shop", "table", shop.resolve)
    watch._lookout, watch._opened = Sleepy(0.5, 0.5, 0, 0.3, 0.3, 0.3), time.monotonic()
    pauses = [watch.look(streams).pause for _ in range(6)]
    assert max(pauses[:5]) <= EVERY
    assert pauses[5] >= 0.3 / SHARE


def test_connections_that_lead_elsewhere_now_are_followed(
    shop: Shop, sql_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams, source = {"shop.orders": shop.job().stream}, shop.source
    watch = Watch("shop", "table", lambda name: source if name == "shop" else shop.resolve(name))
    assert watch.look(streams).news == {}
    source = sql_server.fresh()
    sql_server.execute(
        source, "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed INTEGER NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)", "INSERT INTO orders VALUES (1, 7)",
    )  # fmt: skip
    assert watch.look(streams).news == {}
    monkeypatch.setattr(watching, "RENEWED", 0.0)
    assert watch.look(streams).news == {"shop.orders": "7"}
    watch.close()


def test_nothing_to_watch_asks_nobody() -> None:
    def resolve(name: str) -> Endpoint:
        raise AssertionError(name)

    assert Watch("shop", "table", resolve).look({}).pause == pytest.approx(EVERY, abs=0.1)
