"""Versions and reigns: what a record was, in which order, and between which commits."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from store.increments import Desk
from store.test_loading import row, table
from tidegate.model import Mode
from tidegate.store import ledger
from tidegate.store.record import merge, staging


def load(desk: Desk, total: str, token: int, id: int = 1, **more: Any) -> int:
    """One version of a record, as one commit; returns its number."""
    rows = [row(id, total, _token=token, **more)]
    return int(desk.load(rows, mode=Mode.WINDOW, marks=True).seq)


def versions(desk: Desk, key: str = "1") -> list[tuple[Any, ...]]:
    """Total, first and last token, since and until which commit (None: reigns), oldest first."""
    columns = "total, _first, _token, _seq"
    past = table(desk, "shop__orders__history", f"{columns}, _seq_to", f"_key = '{key}'")
    (now,) = table(desk, "shop__orders", f"{columns}, NULL", f"_key = '{key}'")
    found = [(str(total), *rest) for total, *rest in [*past, now]]
    return sorted(found, key=lambda version: (version[3], version[4] or 10**9))


def test_a_version_that_comes_back_begins_another_reign(desk: Desk) -> None:
    first, second, third = (load(desk, *what) for what in (("1.00", 1), ("2.00", 2), ("1.00", 3)))
    assert versions(desk) == [
        ("1.00", 1, 1, first, second), ("2.00", 2, 2, second, third), ("1.00", 1, 3, third, None),
    ]  # fmt: skip


def test_a_version_that_comes_late_is_kept_and_never_reigned(desk: Desk) -> None:
    first = load(desk, "5.00", 5)
    late = load(desk, "2.00", 2)
    assert versions(desk) == [("5.00", 5, 5, first, None), ("2.00", 2, 2, late, late)]
    load(desk, "2.00", 4)
    load(desk, "2.00", 1)
    assert versions(desk) == [("5.00", 5, 5, first, None), ("2.00", 1, 4, late, late)]
    revived = load(desk, "2.00", 9)
    assert versions(desk) == [
        ("5.00", 5, 5, first, revived), ("2.00", 1, 4, late, late), ("2.00", 1, 9, revived, None),
    ]  # fmt: skip


def test_a_touch_widens_the_bounds_and_is_no_change(desk: Desk) -> None:
    first = load(desk, "1.00", 5)
    for token in (7, 3, 6):
        load(desk, "1.00", token)
    assert versions(desk) == [("1.00", 3, 7, first, None)]


def test_what_reigned_is_touched_by_the_one_row_that_comes_with_its_successor(desk: Desk) -> None:
    first = load(desk, "1.00", 1)
    rows = [row(1, "1.00", _token=8), row(1, "2.00", _token=9)]
    after = desk.load(rows, mode=Mode.WINDOW, marks=True).seq
    assert versions(desk) == [("1.00", 1, 8, first, after), ("2.00", 9, 9, after, None)]


def test_any_increments_end_in_the_versions_that_were_seen(desk: Desk) -> None:
    random, tokens = Random(7), iter(range(1, 10**6))
    seen: dict[tuple[str, str], list[int]] = {}
    late: list[dict[str, Any]] = []
    for _ in range(12):
        rows = late + [
            row(random.randrange(12), f"{random.randrange(4)}.00", _token=next(tokens))
            for _ in range(random.randrange(1, 40))
        ]
        late = [one for one in rows if random.random() < 0.2]
        rows = [one for one in rows if one not in late] + late[: len(late) // 2]
        random.shuffle(rows)
        for one in rows:
            seen.setdefault((str(one["id"]), str(one["total"])), []).append(one["_token"])
        desk.load(rows, mode=Mode.WINDOW, marks=True)
    for key in {key for key, _ in seen}:
        found = versions(desk, key)
        for total in {total for total, *_ in found}:
            bounds = [(low, high) for name, low, high, *_ in found if name == total]
            known = seen[key, total]
            assert min(low for low, _ in bounds) == min(known)
            assert max(high for _, high in bounds) == max(known)
        last = max((max(known), total) for (one, total), known in seen.items() if one == key)
        assert [total for total, *_, until in found if until is None] == [last[1]]
        assert {total for one, total in seen if one == key} == {total for total, *_ in found}


def test_what_reigned_is_touched_even_by_the_increment_that_ends_its_reign(desk: Desk) -> None:
    first = load(desk, "1.00", 1)
    rows = [row(1, "1.00", _token=8), row(1, "2.00", _token=9), row(1, "1.00", _token=7)]
    report = desk.load(rows, mode=Mode.WINDOW, marks=True)
    assert (report.unchanged, report.updated, report.deduplicated) == (1, 1, 1)
    assert versions(desk) == [("1.00", 1, 8, first, report.seq), ("2.00", 9, 9, report.seq, None)]


def test_of_several_versions_in_one_increment_the_newest_reigns(desk: Desk) -> None:
    rows = [row(1, f"{token}.00", _token=token) for token in (2, 9, 4)]
    report = desk.load([*rows, row(1, "4.00", _token=6)], mode=Mode.WINDOW)
    assert (report.inserted, report.stale, report.deduplicated) == (1, 2, 1)
    seq = report.seq
    found = versions(desk)
    assert found[-1] == ("9.00", 9, 9, seq, None)
    assert sorted(found[:2]) == [("2.00", 2, 2, seq, seq), ("4.00", 4, 6, seq, seq)]


def test_a_record_that_becomes_a_duplicate_begins_another_reign(desk: Desk) -> None:
    first = load(desk, "1.00", 1, id=7)
    repeated = load(desk, "1.00", 2, id=3)
    marks = "_seq, _seq_to, _duplicate"
    assert table(desk, "shop__orders__history", marks) == [(first, repeated, False)]
    assert table(desk, "shop__orders", "_seq, _duplicate", "_key = '7'") == [(repeated, True)]
    freed = load(desk, "8.00", 3, id=3)
    assert table(desk, "shop__orders", "_seq, _duplicate", "_key = '7'") == [(freed, False)]
    past = table(desk, "shop__orders__history", marks, "_key = '7'")
    assert sorted(past) == [(first, repeated, False), (repeated, freed, True)]


def test_the_stage_says_which_records_a_commit_touched(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.load([row(7), row(8, "2.00"), row(9, "3.00")], marks=True)
    merged = merge.merge
    said: dict[str, str] = {}

    def spy(connection: Any, records: Any, seq: int) -> merge.Merged:
        result = merged(connection, records, seq)
        query = f"SELECT _key, _action FROM {records.stage} WHERE _action NOT IN ('same', 'stale')"
        said.update(map(tuple, connection.exec_driver_sql(query)))
        assert result.touched == len(said)
        return result

    monkeypatch.setattr(merge, "merge", spy)
    desk.load([row(3), row(4, "4.00"), row(8, "5.00"), row(9, "3.00")], marks=True, page_rows=4)
    assert said == {"3": "insert", "4": "insert", "7": "mark", "8": "update"}


def test_commits_are_numbered_without_a_gap_and_their_times_never_step_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(["2026-01-01T00:00:02.000000+00:00", "2026-01-01T00:00:01.000000+00:00"])
    moment = "2026-01-01T00:00:03.000000+00:00"
    monkeypatch.setattr(ledger, "now", lambda: next(times, moment))
    with desk.store._writing() as connection:
        ledger.note(connection, ledger.next_seq(connection), desk.name, "derive", "first")
    with desk.store._writing() as connection:
        ledger.note(connection, ledger.next_seq(connection), desk.name, "retain", "second")
    desk.load([row(1)])
    runs = [(run["seq"], run["mode"], run["committed_at"][:19]) for run in desk.store.runs()]
    assert runs == [
        (3, "increment", "2026-01-01T00:00:03"), (2, "retain", "2026-01-01T00:00:02"),
        (1, "derive", "2026-01-01T00:00:02"),
    ]  # fmt: skip


def test_all_that_is_read_at_once_is_of_one_commit(desk: Desk) -> None:
    desk.load([row(1)])
    with desk.store._reading() as connection:
        before = connection.exec_driver_sql("SELECT count(*) FROM shop__orders").scalar_one()
        desk.load([row(2)])
        after = connection.exec_driver_sql("SELECT count(*) FROM shop__orders").scalar_one()
    assert (before, after) == (1, 1)
    assert len(table(desk, "shop__orders")) == 2


def test_an_error_in_a_page_that_is_made_ahead_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = desk.stage([row(number) for number in range(9)])

    def torn(connection: Any, page: Any) -> None:
        raise RuntimeError("torn")

    monkeypatch.setattr(staging, "kept", torn)
    with pytest.raises(RuntimeError, match="torn"):
        desk.store.load(staged, desk.stream)
    monkeypatch.undo()
    assert desk.store.load(staged, desk.stream).inserted == 9
