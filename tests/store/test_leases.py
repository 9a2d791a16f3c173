"""Who may move a watermark: one run at a time, and never one that slept through its lease."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from store.increments import Desk
from store.test_loading import row, snapshot
from tidegate.errors import BusyError, FencedError
from tidegate.model import Increment, Mode, Watermark
from tidegate.store import open_store
from tidegate.store.store import Store

HIGH = "2026-01-0{}T00:00:00.000000"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that are over at once."""
    monkeypatch.setenv("TIDEGATE_LEASE_SECONDS", "0.001")


def leased(desk: Desk, owner: str, day: int, *rows: dict[str, object]) -> Increment:
    """What a run that has the lease would load."""
    fence = desk.store.lease(desk.name, owner)
    return replace(desk.stage(rows, high=HIGH.format(day)), fence=fence)


def test_a_stream_has_one_run_at_a_time(desk: Desk) -> None:
    fence = desk.store.lease("shop.orders", "first")
    with pytest.raises(BusyError, match=r"shop\.orders: is being run by first since 20.* until 20"):
        desk.store.lease("shop.orders", "second")
    assert desk.store.lease("shop.lines", "second") > 0
    desk.store.release("shop.orders", fence)
    assert desk.store.lease("shop.orders", "second") == fence + 1


def test_of_many_that_want_a_lease_at_once_one_gets_it(store: Store) -> None:
    ready = threading.Barrier(6)

    def take(number: int) -> int:
        ready.wait()
        try:
            return store.lease("shop.orders", f"run {number}")
        except BusyError:
            return 0

    with ThreadPoolExecutor(6) as threads:
        fences = list(threads.map(take, range(6)))
    assert sorted(fences) == [0, 0, 0, 0, 0, 1]


def test_a_load_gives_the_lease_back(desk: Desk) -> None:
    desk.store.load(leased(desk, "first", 1, row(1)), desk.stream)
    assert desk.store.touch(leased(desk, "second", 2)) == Watermark(HIGH.format(2))
    assert desk.store.lease(desk.name, "third") == 3


@pytest.mark.usefixtures("short")
def test_a_run_that_slept_through_its_lease_commits_nothing_and_says_who_took_over(
    desk: Desk,
) -> None:
    desk.load([row(5)], mode=Mode.WINDOW)
    zombie = leased(desk, "sleeper", 3, row(1, "9.00"))
    after = leased(desk, "successor", 2, row(2))
    before = snapshot(desk)
    took = r"run successor took it over at 20.*\(fence 2, this run has 1\)"
    with pytest.raises(FencedError, match=took):
        desk.store.load(zombie, desk.stream)
    with pytest.raises(FencedError, match=took):
        desk.store.touch(zombie)
    with pytest.raises(FencedError, match=took):
        desk.store.renew(desk.name, 1)
    assert snapshot(desk) == before
    desk.store.release(desk.name, 1)
    desk.store.load(after, desk.stream)
    assert desk.store.state(desk.name).watermark == Watermark(HIGH.format(2))


def test_a_run_that_tries_again_keeps_its_first_attempt_out(desk: Desk) -> None:
    first = leased(desk, "run", 1, row(1))
    again = leased(desk, "run", 1, row(1))
    with pytest.raises(FencedError):
        desk.store.load(first, desk.stream)
    assert desk.store.load(again, desk.stream).inserted == 1


@pytest.mark.usefixtures("short")
def test_a_lease_that_ended_is_still_good_when_nobody_wanted_it(desk: Desk) -> None:
    late = leased(desk, "slow", 1, row(1))
    desk.store.renew(desk.name, late.fence)
    assert desk.store.load(late, desk.stream).inserted == 1


def test_a_run_that_lives_keeps_the_lease(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_LEASE_SECONDS", "0.001")
    fence = desk.store.lease(desk.name, "slow")
    monkeypatch.setenv("TIDEGATE_LEASE_SECONDS", "100")
    with open_store(desk.store.endpoint) as later_task:
        later_task.renew(desk.name, fence)
    with pytest.raises(BusyError):
        desk.store.lease(desk.name, "other")


def test_who_gives_up_gives_back_no_lease_but_its_own(desk: Desk) -> None:
    desk.store.lease(desk.name, "run")
    desk.store.abandon(desk.name, "other")
    with pytest.raises(BusyError):
        desk.store.lease(desk.name, "other")
    desk.store.abandon(desk.name, "run")
    desk.store.lease(desk.name, "other")


def test_windows_need_no_lease(desk: Desk) -> None:
    desk.store.lease(desk.name, "sync")
    assert desk.load([row(1)], mode=Mode.WINDOW).inserted == 1
    desk.store.renew(desk.name, 0)


def test_a_finished_run_that_stirs_again_keeps_nobody_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = leased(desk, "one", 1, row(1))
    desk.store.load(staged, desk.stream)
    monkeypatch.setattr(desk.store._leases, "_renewed", {})
    desk.store.renew(desk.name, staged.fence)
    with pytest.raises(BusyError):
        desk.store.lease(desk.name, "two")
    assert desk.store.load(staged, desk.stream).repeated
    desk.store.lease(desk.name, "two")


def test_status_says_who_runs_a_stream_and_how_far_it_is_safe(desk: Desk) -> None:
    staged = leased(desk, "night run", 1, row(1))
    (status,) = desk.store.status()
    assert status.running == "night run"
    desk.store.load(replace(staged, bound="drained, 2 s behind"), desk.stream)
    (status,) = desk.store.status()
    assert (status.running, status.bound) == (None, "drained, 2 s behind")


def agreed(desk: Desk) -> list[dict[str, Any]] | None:
    found = desk.store.agreement(desk.name)
    return None if found is None else [one.to_json() for one in found.columns]


def test_memory_and_columns_are_kept_with_the_watermark(desk: Desk) -> None:
    assert agreed(desk) is None
    staged = leased(desk, "run", 1, row(1))
    columns = tuple(staged.columns[:2])
    desk.store.load(
        replace(staged, memory={"samples": [1, "ä"]}, source_columns=columns), desk.stream
    )
    assert desk.store.state(desk.name).memory == {"samples": [1, "ä"]}
    assert agreed(desk) == list(columns)
    desk.load([row(2)], mode=Mode.WINDOW)
    assert desk.store.state(desk.name).memory == {"samples": [1, "ä"]}
    empty = replace(leased(desk, "other", 2), memory=None, source_columns=columns[:1])
    desk.store.touch(empty)
    assert desk.store.state(desk.name).memory is None
    assert agreed(desk) == list(columns[:1])


def test_what_streams_of_a_server_share_is_replaced_only_by_who_saw_the_last(store: Store) -> None:
    assert store.shared("mariadb:1") == (0, None)
    assert store.share("mariadb:1", 0, {"barriers": []})
    assert not store.share("mariadb:1", 0, {"barriers": [1]})
    assert store.shared("mariadb:1") == (1, {"barriers": []})
    assert store.share("mariadb:1", 1, {"barriers": [2]})
    assert not store.share("mariadb:1", 1, {})
    assert store.shared("mariadb:1") == (2, {"barriers": [2]})
    assert store.shared("other") == (0, None)
