"""The safe moment of MySQL and MariaDB, played through with sessions that do what they like."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.sources.rows.clocks import Clock
from tidegate.sources.sql.bounds import samples
from tidegate.sources.sql.bounds.barrier import CAP, Barrier, Look, advance, safe_moment
from tidegate.sources.sql.bounds.drain import _advance, _Lists, began

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def look(second: float, busy: set[int] = set(), **more: dict[int, int]) -> Look:  # noqa: B006
    return Look(at(second), frozenset(busy), more.get("open", {}))


def safe(*looks: Look) -> datetime | None:
    barriers: list[Barrier] = []
    for one in looks:
        barriers = advance(barriers, one)
    return safe_moment(barriers)


def test_an_idle_server_is_safe_at_once() -> None:
    assert safe(look(1)) == at(1)
    assert safe(look(1), look(2)) == at(2)


def test_a_busy_session_is_waited_for_until_it_is_seen_idle() -> None:
    assert safe(look(1, {7}), look(2, {7})) is None
    assert safe(look(1, {7}), look(2, {7}), look(3)) == at(3)
    assert safe(look(1, {7}), look(2, {8})) == at(1)


def test_a_statement_that_went_on_in_a_transaction_is_waited_for() -> None:
    idle = look(2, open={7: 100})
    assert safe(look(1, {7}), idle) is None
    assert safe(look(1, {7}), idle, look(3, open={7: 100})) is None
    assert safe(look(1, {7}), idle, look(3, open={7: 103})) == at(2), "another one: the first ended"
    assert safe(look(1, {7}), idle, look(3, {7})) == at(2), "none: it ended"


def test_an_active_session_without_a_transaction_may_still_be_in_the_same_statement() -> None:
    """As a stored function is, whose inner statements have numbers and ages of their own."""
    assert safe(*(look(second, {7}) for second in range(1, 50))) is None


def test_a_bulk_command_is_waited_for_through_all_its_transactions() -> None:
    looks = [replace(look(n, {7}, open={7: n}), bulk=frozenset({7})) for n in range(1, 5)]
    assert safe(*looks) is None
    assert safe(*looks, look(5, {7}, open={7: 9}), look(6, {7}, open={7: 10})) == at(5)


def test_barriers_are_few_whatever_is_open() -> None:
    """A session that is open for hours pins one; each of a thousand others, in turn, one more."""
    barriers = [Barrier(at(0), {})]
    for second in range(1, 1000):
        barriers = advance(barriers, look(second, {second + 10, second + 11}, open={1: 5}))
    assert len(barriers) <= CAP
    assert safe_moment(barriers) == at(0)
    barriers = advance(barriers, look(1000, {1010}))
    assert safe_moment(barriers) >= at(990)  # type: ignore[operator]


def test_what_is_kept_is_what_was_there() -> None:
    barrier = Barrier.set(look(1, {7, 8}, open={8: 100, 9: 90}))
    assert barrier.waits == {7: None, 8: 100, 9: 90}
    assert Barrier.from_json(barrier.to_json()) == barrier


# A server, played through ----------------------------------------------------------------------


@dataclass
class Client:
    """A session: what it runs, and what it has open. *stamps* are of rows not committed yet."""

    random: random.Random
    busy: bool = False
    began: float | None = None
    explicit: bool = False
    stamps: list[float] = field(default_factory=list)
    stamp: float = 0

    def step(self, now: float) -> None:
        """Do something, or nothing."""
        if self.random.random() < 0.5:
            return
        if not self.busy:
            self._begin(now)
        elif self.began is None and self.random.random() < 0.5:
            self.began = now
            self.stamps.append(self.stamp)
        elif self.random.random() < 0.6:
            self._end()

    def _begin(self, now: float) -> None:
        if self.explicit and self.random.random() < 0.4:
            self.explicit, self.began, self.stamps = False, None, []
            return
        self.busy, self.stamp = True, now
        self.explicit = self.explicit or self.random.random() < 0.4
        if self.began is not None:
            self.stamps.append(now)

    def _end(self) -> None:
        self.busy = False
        if not self.explicit:
            self.began, self.stamps = None, []


def _play(
    seed: int,
    question: Callable[[list[Client], Callable[[], None]], tuple[set[int], dict[int, int]]],
) -> int:
    """How often an unfinished stamp lay below a safe moment; *question* makes one look."""
    rng = random.Random(seed)
    clients = [Client(rng) for _ in range(rng.randint(1, 4))]
    barriers: list[Barrier] = []
    broken, clock = 0, 0.0

    def live() -> None:
        nonlocal clock
        for _ in range(rng.randint(0, 3)):
            clock += rng.random() * 0.4
            for client in clients:
                client.step(clock)

    for _ in range(60):
        live()
        moment = clock
        live()
        busy, open = question(clients, live)
        barriers = advance(barriers, Look(at(moment), frozenset(busy), open))
        until = safe_moment(barriers)
        if until is None:
            continue
        for client in clients:
            pending = [*client.stamps, *([client.stamp] if client.busy else [])]
            broken += any(at(stamp) < until for stamp in pending)
    return broken


def _busy(clients: list[Client]) -> set[int]:
    return {number for number, client in enumerate(clients) if client.busy}


def _open(clients: list[Client]) -> dict[int, int]:
    return {n: int(client.began) for n, client in enumerate(clients) if client.began is not None}


def _right(clients: list[Client], live: Callable[[], None]) -> tuple[set[int], dict[int, int]]:
    busy = _busy(clients)
    live()
    return busy, _open(clients)


def _swapped(clients: list[Client], live: Callable[[], None]) -> tuple[set[int], dict[int, int]]:
    open = _open(clients)
    live()
    return _busy(clients), open


def _sleepers(clients: list[Client], live: Callable[[], None]) -> tuple[set[int], dict[int, int]]:
    live()
    return set(), _open(clients)


def _statements(clients: list[Client], live: Callable[[], None]) -> tuple[set[int], dict[int, int]]:
    live()
    return _busy(clients), {}


@given(st.integers(0, 10**9))
@settings(max_examples=300, deadline=None)
def test_nothing_unfinished_is_ever_stamped_below_a_safe_moment(seed: int) -> None:
    assert _play(seed, _right) == 0


@pytest.mark.parametrize("question", [_swapped, _sleepers, _statements])
def test_a_look_in_the_wrong_order_or_at_half_of_it_is_found_out(
    question: Callable[[list[Client], Callable[[], None]], tuple[set[int], dict[int, int]]],
) -> None:
    assert sum(_play(seed, question) for seed in range(300)) > 0


# Clocks ------------------------------------------------------------------------------------------


def clock(server: float, here: float, slow: float = 0.0, boot: str = "a") -> Clock:
    """*slow*: how long the server took to answer."""
    return Clock(at(server), boot, (here, here + slow), (1e9 + here, 1e9 + here + slow))


def test_a_clock_that_runs_as_ours_does_was_not_set() -> None:
    assert clock(60, 60).set_back(clock(0, 0)) == timedelta(0)
    assert clock(60, 60).fallen(clock(0, 0)) < timedelta(seconds=0.1)
    assert clock(3600, 3600).set_back(clock(0, 0)) < timedelta(seconds=3), "a rate of 0.1 %"


@pytest.mark.parametrize("back", [1.5, 90, 7200])
def test_a_clock_that_was_set_back_is_covered_by_what_is_read_again(back: float) -> None:
    for passed in (1, 60, 600):
        before, after = clock(0, 0), clock(passed - back, passed)
        assert after.set_back(before) >= timedelta(seconds=back - 1)
        assert after.fallen(before) >= timedelta(seconds=back)


def test_a_slow_answer_makes_the_step_larger_never_smaller() -> None:
    for slow in ((0.0, 5.0), (5.0, 0.0), (5.0, 5.0)):
        before, after = clock(0, 0, slow[0]), clock(60 - 3, 60, slow[1])
        assert after.set_back(before) >= timedelta(seconds=2)


def test_for_a_clock_that_was_set_ahead_nothing_is_read_again() -> None:
    assert clock(160, 60).set_back(clock(0, 0)) == timedelta(0)


def test_both_clocks_of_one_machine_may_be_set_back_and_it_is_seen() -> None:
    before = Clock(at(0), "a", (0, 0), (1e9, 1e9))
    after = Clock(at(60 - 90), "a", (60, 60), (1e9 - 30, 1e9 - 30))
    assert after.set_back(before) >= timedelta(seconds=89)


@pytest.mark.parametrize("uptime", [-60, 2**64 - 60, 2**32 * 10**9])
def test_a_clock_that_was_set_back_past_the_servers_start_says_nothing_of_it(uptime: int) -> None:
    assert began(T0, uptime) is None
    assert began(T0, 60) == at(-62)


def test_another_machine_goes_by_the_time_of_day() -> None:
    assert clock(30, 7, boot="b").ticks != clock(60, 60).ticks
    before = Clock(at(0), "a", (5000, 5000), (1e9, 1e9))
    after = Clock(at(60), "b", (7, 7), (1e9 + 60, 1e9 + 60))
    assert after.set_back(before) == timedelta(0)
    assert Clock.from_json(after.to_json()) == after


def behind(times: Iterable[float], own: Callable[[int, float], Clock]) -> list[float]:
    """How far each look is behind, with transactions of 15 s, a new one every 10 s, always."""
    kept, found = None, []
    for place, second in enumerate(times):
        now = own(place, second)
        running = [k for k in range(-2, place + 1) if 10 * k <= second < 10 * k + 15]
        lists = _Lists(
            1000 + place,
            [(100 + k, "app", "h", "Sleep") for k in running],
            [(100 + k, int(T0.timestamp()) + 10 * k) for k in running],
        )
        answer = _advance(now, at(-86_400), lists, kept)
        kept = answer.kept
        assert answer.safe.moment
        found.append((now.server - answer.safe.moment).total_seconds())
    return found


def test_slow_answers_and_machines_whose_clocks_differ_do_not_hold_the_bound() -> None:
    times = [10.0 * look for look in range(30)]

    def slow(_: int, second: float) -> Clock:
        return clock(second + 0.3, second, 0.6)

    def two(place: int, second: float) -> Clock:
        host = place % 2
        return clock(second, second + host, boot="ab"[host])

    assert max(behind(times, slow)[2:]) < 25
    assert max(behind(times, two)[2:]) < 25


def test_a_barrier_from_before_a_step_back_is_lowered_by_as_much() -> None:
    lists = _Lists(1, [(7, "app", "h", "Query")], [])
    kept = _advance(clock(0, 0), None, lists, None).kept
    after = _advance(clock(20, 50), None, _Lists(2, [(8, "app", "h", "Query")], []), kept)
    assert after.safe.moment is not None
    assert at(-31) < after.safe.moment <= at(-30)


# Numbers -----------------------------------------------------------------------------------------


@given(st.integers(0, 10**9))
@settings(max_examples=200, deadline=None)
def test_a_number_that_is_given_out_is_never_passed_before_it_is_there(seed: int) -> None:
    """Numbers are given in order and become visible in any; a safe moment says who is over."""
    rng = random.Random(seed)
    pending: dict[int, float] = {}
    visible, kept = [0], ()
    for now in range(1, 80):
        if rng.random() < 0.7:
            pending[max([*visible, *pending]) + 1] = now
        for number in [number for number in pending if rng.random() < 0.3]:
            del pending[number]
            visible.append(number)
        safe = min([now, *pending.values()]) - rng.choice((0, 0, 3))
        kept = samples.settle(samples.add(kept, (at(now), max(visible))), at(safe))  # type: ignore[assignment]
        assert len(kept) <= samples.CAP
        if kept and kept[0][0] <= at(safe):
            assert all(number > kept[0][1] for number in pending)
    assert samples.from_json(samples.to_json(kept)) == kept
