"""A load in parts: page by page, each true by itself, and gone on with where it stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from store.increments import Desk
from store.test_loading import row, snapshot, table
from tidegate import faults
from tidegate.errors import BusyError, FencedError, OvertakenError, UnavailableError
from tidegate.model import Increment, Mode, Report, Watermark
from tidegate.store import ledger, loading
from tidegate.store.record import staging

FIRST, LATER = "2026-01-01T00:00:00.000000", "2026-01-02T00:00:00.000000"


class Torn(Exception):
    """What a test lets happen in the middle of a load."""


@pytest.fixture
def begun(desk: Desk) -> Desk:
    """With one load behind it: all that follow have a part for each page."""
    desk.load([row(1, "9.00")], high=FIRST)
    return desk


def staged(desk: Desk, **more: Any) -> Increment:
    """Seven rows on three pages, one of them held, after the lease was taken."""
    fence = desk.store.lease(desk.name, more.pop("owner", "run"))
    rows = [row(1), row(2), row(3, _held="bad"), row(4), row(5), row(6), row(7)]
    return replace(desk.stage(rows, high=LATER, **more), fence=fence)


def at(monkeypatch: pytest.MonkeyPatch, name: str, time: int, act: Callable[[], None]) -> None:
    """Let *act* happen when the point *name* is passed for the *time*-th time."""
    passed = 0

    def point(here: str) -> None:
        nonlocal passed
        passed += here == name
        if here == name and passed == time:
            act()

    monkeypatch.setattr(faults, "point", point)


def tear() -> None:
    raise Torn


def lines(desk: Desk) -> list[tuple[int, ...]]:
    """Part, parts, pulled and quarantined of each line of the ledger, oldest first."""
    names = ("part", "parts", "pulled", "quarantined")
    return [tuple(line[name] for name in names) for line in desk.store.runs()][::-1]


def test_the_first_load_is_one_commit_and_each_later_page_one(desk: Desk) -> None:
    report = desk.store.load(staged(desk), desk.stream)
    assert (report.pulled, report.inserted, report.seq) == (7, 6, 1)
    again = desk.store.load(staged(desk), desk.stream)
    assert (again.pulled, again.unchanged, again.quarantined, again.seq) == (7, 6, 1, 4)
    assert lines(desk) == [(1, 1, 7, 1), (1, 3, 3, 1), (2, 3, 3, 0), (3, 3, 1, 0)]


def test_the_watermark_moves_with_the_last_part(
    begun: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Watermark | None] = []
    record = ledger.record

    def spy(connection: Any, increment: Increment, report: Report, part: Any) -> None:
        record(connection, increment, report, part)
        seen.append(ledger.state(connection, begun.name).watermark)

    monkeypatch.setattr(ledger, "record", spy)
    observed = replace(staged(begun), bound="drained", census={"null": 2}, memory=[7])
    assert begun.store.load(observed, begun.stream).watermark == Watermark(LATER)
    assert seen == [Watermark(FIRST), Watermark(FIRST), Watermark(LATER)]
    last, *others = begun.store.runs()[:3]
    assert (last["bound"], last["census"]) == ("drained", {"null": 2})
    assert {(line["bound"], str(line["census"])) for line in others} == {(None, "{}")}
    assert begun.store.state(begun.name).memory == [7]


POINTS = ("load.copied", "load.begun", "load.merged", "load.before_commit", "load.after_commit")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("time", [1, 2, 3])
def test_a_load_that_was_cut_off_goes_on_where_it_stopped(
    begun: Desk, monkeypatch: pytest.MonkeyPatch, point: str, time: int
) -> None:
    increment = staged(begun)
    kept = time - (point != "load.after_commit")
    with monkeypatch.context() as patch:
        at(patch, point, time, tear)
        with pytest.raises(Torn):
            begun.store.load(increment, begun.stream)
    assert len(begun.store.runs()) == 1 + kept
    assert (begun.store.state(begun.name).watermark == Watermark(LATER)) == (kept == 3)
    report = begun.store.load(increment, begun.stream)
    assert (report.pulled, report.inserted, report.updated, report.quarantined) == (7, 5, 1, 1)
    assert report.repeated == (kept == 3)
    assert report.watermark == Watermark(LATER)
    assert lines(begun) == [(1, 1, 1, 0), (1, 3, 3, 1), (2, 3, 3, 0), (3, 3, 1, 0)]
    before = snapshot(begun)
    again = begun.store.load(increment, begun.stream)
    assert (again.repeated, again.pulled, again.seq) == (True, 7, report.seq)
    assert snapshot(begun) == before


def test_the_next_part_is_copied_while_one_is_committed(
    begun: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    if begun.store.endpoint.kind == "sqlite":
        pytest.skip("all writers of SQLite wait for each other")
    filled = [threading.Event() for _ in range(3)]
    coming = iter(filled)
    fill = staging.fill

    def fill_and_tell(*arguments: Any) -> None:
        fill(*arguments)
        next(coming).set()

    def wait() -> None:
        assert filled[1].wait(60)

    monkeypatch.setattr(staging, "fill", fill_and_tell)
    at(monkeypatch, "load.begun", 1, wait)
    assert begun.store.load(staged(begun), begun.stream).inserted == 5
    assert lines(begun) == [(1, 1, 1, 0), (1, 3, 3, 1), (2, 3, 3, 0), (3, 3, 1, 0)]


def test_a_run_that_is_taken_over_between_two_parts_keeps_what_it_has_and_goes_no_further(
    begun: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    increment = staged(begun, owner="sleeper")

    def lose() -> None:
        begun.store.release(begun.name, increment.fence)
        begun.store.lease(begun.name, "other")

    with monkeypatch.context() as patch:
        at(patch, "load.copied", 2, lose)
        with pytest.raises(FencedError, match="run other took it over"):
            begun.store.load(increment, begun.stream)
    assert lines(begun) == [(1, 1, 1, 0), (1, 3, 3, 1)]
    assert begun.store.state(begun.name).watermark == Watermark(FIRST)


def test_a_part_is_refused_when_the_watermark_moved_meanwhile(begun: Desk) -> None:
    increment = staged(begun)
    moved = begun.stage([], high="2026-01-01T12:00:00.000000")
    begun.store.touch(replace(moved, fence=increment.fence))
    with pytest.raises(OvertakenError, match="another run moved the watermark"):
        begun.store.load(increment, begun.stream)
    assert len(begun.store.runs()) == 1


def test_a_window_waits_no_longer_than_for_a_page_of_the_sync(
    begun: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is loaded between two pages of a run that stands still there."""
    increment = staged(begun)
    window = begun.stage([row(8), row(2, "7.00")], mode=Mode.WINDOW)
    still, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        still.set()
        assert go_on.wait(60)

    at(monkeypatch, "load.copied", 2, wait)
    run = threading.Thread(target=begun.store.load, args=(increment, begun.stream))
    run.start()
    assert still.wait(60)
    with monkeypatch.context() as patch:
        patch.setattr(faults, "point", lambda name: None)
        report = begun.store.load(window, begun.stream)
    assert (report.inserted, report.updated) == (1, 1)
    go_on.set()
    run.join(60)
    assert begun.store.state(begun.name).watermark == Watermark(LATER)
    assert dict(table(begun, "shop__orders", "_key, _seq"))["8"] == 3


def test_two_that_load_the_same_at_once_load_each_part_once(begun: Desk) -> None:
    increment = staged(begun)
    reports: list[Report] = []
    ready = threading.Barrier(2)

    def load() -> None:
        ready.wait()
        reports.append(begun.store.load(increment, begun.stream))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(reports) == 2
    assert {(report.pulled, report.seq) for report in reports} == {(7, 4)}
    assert lines(begun) == [(1, 1, 1, 0), (1, 3, 3, 1), (2, 3, 3, 0), (3, 3, 1, 0)]


# The store is lost -----------------------------------------------------------------------------


@pytest.mark.parametrize("part", [1, 3])
def test_a_commit_whose_answer_was_lost_is_found_in_the_ledger(
    begun: Desk, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """The connection breaks after the server has committed, before the program knows."""
    if begun.store.endpoint.kind == "sqlite":
        pytest.skip("SQLite has no connection that could break")
    broken = break_after_commit(begun, monkeypatch, part)
    report = begun.store.load(staged(begun), begun.stream)
    assert broken
    assert (report.pulled, report.inserted, report.watermark) == (7, 5, Watermark(LATER))
    assert lines(begun) == [(1, 1, 1, 0), (1, 3, 3, 1), (2, 3, 3, 0), (3, 3, 1, 0)]


def break_after_commit(desk: Desk, monkeypatch: pytest.MonkeyPatch, time: int) -> list[int]:
    """Cut the connection behind the *time*-th commit of a load, as soon as it has been sent."""
    import psycopg

    commit = psycopg.Connection.commit
    done: list[int] = []
    passed: list[int] = []

    def point(name: str) -> None:
        passed.extend([threading.get_ident()] if name == "load.before_commit" else [])

    def cut(connection: psycopg.Connection[Any]) -> None:
        commit(connection)
        if len(passed) == time and passed[-1] == threading.get_ident() and not done:
            done.append(connection.info.backend_pid)
            connection.close()
            raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(faults, "point", point)
    monkeypatch.setattr(psycopg.Connection, "commit", cut)
    return done


@pytest.mark.parametrize("point", ["load.begun", "load.merged", "load.before_commit"])
def test_a_load_whose_connection_is_cut_before_the_commit_is_tried_again(
    begun: Desk, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    if begun.store.endpoint.kind == "sqlite":
        pytest.skip("SQLite has no connection that could break")

    def cut() -> None:
        with begun.store._reading() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> "
                "pg_backend_pid() AND state = 'idle in transaction' "
                "AND datname = current_database()"
            )

    increment = staged(begun)
    with monkeypatch.context() as patch:
        at(patch, point, 2, cut)
        with pytest.raises(UnavailableError):
            begun.store.load(increment, begun.stream)
    assert lines(begun) == [(1, 1, 1, 0), (1, 3, 3, 1)]
    assert begun.store.load(increment, begun.stream).inserted == 5


def test_who_is_cut_off_and_then_taken_over_hears_of_it(
    begun: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that stands still in its transaction is cut off, for everybody waits for it."""
    if begun.store.endpoint.kind == "sqlite":
        pytest.skip("who stands still in a transaction of SQLite holds up everybody")
    monkeypatch.setenv("TIDEGATE_LEASE_SECONDS", "1")
    increment = staged(begun, owner="sleeper")

    def sleep() -> None:
        fence = 0
        while not fence:  # until the server ends the transaction of the one that stands still
            with suppress(BusyError):
                fence = begun.store.lease(begun.name, "other")

    at(monkeypatch, "load.merged", 1, sleep)
    with pytest.raises(FencedError, match="run other took it over"):
        begun.store.load(increment, begun.stream)
    assert len(begun.store.runs()) == 1


def test_what_became_of_a_lost_commit_is_asked_until_the_store_is_back(
    begun: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    if begun.store.endpoint.kind == "sqlite":
        pytest.skip("SQLite has no connection that could break")
    increment = staged(begun)
    broken = break_after_commit(begun, monkeypatch, 2)
    wait, waited = ledger.wait, []

    def away(connection: Any) -> None:
        waited.append(1)
        if len(waited) < 3:
            raise UnavailableError("still away")
        wait(connection)

    monkeypatch.setattr(ledger, "wait", away)
    monkeypatch.setattr(loading, "RECONNECTS", (0.0,) * 3)
    assert begun.store.load(increment, begun.stream).inserted == 5
    assert broken
    assert len(waited) == 3
