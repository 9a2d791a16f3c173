"""One increment, one transaction: fates, repeats, crashes, watermark."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from store.increments import Desk
from tidegate.errors import ConfigError, MismatchError, OvertakenError
from tidegate.model import Mode, Watermark
from tidegate.store import ledger

T0 = dt.datetime.fromisoformat("2026-01-01")


def row(id: int | None, total: str = "1.00", customer: str = "ann", **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "customer": customer,
        "total": Decimal(total),
        "gone": False,
        "updated_at": T0,
        **more,
    }


def table(desk: Desk, name: str, columns: str = "*", where: str = "true") -> list[tuple[Any, ...]]:
    query = f'SELECT {columns} FROM "{name}" WHERE {where}'
    with desk.store._reading() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def snapshot(desk: Desk) -> dict[str, list[tuple[Any, ...]]]:
    names = {
        "shop__orders": "_key, total, customer, _hash, _deleted, _duplicate, _seq",
        "shop__orders__history": "_key, total, _first, _token, _seq, _seq_to",
        "entity": "type, key, rule, stub, CAST(attributes AS TEXT), record, seq",
        "relation": "rule, record, n, from_key, to_key, seq",
        "tidegate_quarantine": "key, state, source_hash",
    }
    return {name: sorted(table(desk, name, columns), key=repr) for name, columns in names.items()}


def test_each_row_meets_exactly_one_fate(desk: Desk) -> None:
    first = desk.load(
        [row(1), row(2), row(3, _held="bad"), row(4)], high="2026-01-01T00:00:00.000000"
    )
    assert (first.inserted, first.quarantined, first.pulled) == (3, 1, 4)
    second = desk.load(
        [row(1), row(2, "5.00"), row(4, gone=True), row(5), row(5, "7.00", _token=1 << 60)],
        high="2026-01-02T00:00:00.000000",
        page_rows=5,
    )
    assert (second.unchanged, second.updated, second.deleted) == (1, 1, 1)
    assert (second.inserted, second.stale, second.pulled) == (1, 1, 5)
    past = sorted(table(desk, "shop__orders__history", "_key, _seq, _seq_to"))
    assert past == [("2", 1, 2), ("4", 1, 2), ("5", 2, 2)]
    assert str(dict(table(desk, "shop__orders", "_key, total"))["5"]) == "7.00"


def test_the_same_increment_twice_changes_nothing(desk: Desk) -> None:
    rows = [row(1), row(2), row(3, _held="bad")]
    staged = desk.stage(rows)
    first = desk.store.load(staged, desk.stream)
    before = snapshot(desk)
    again = desk.store.load(staged, desk.stream)
    assert again.repeated
    assert not first.repeated
    assert (again.seq, again.inserted) == (first.seq, 2)
    desk.load(rows)
    after = snapshot(desk)
    assert after == before


def test_an_older_read_never_overwrites_a_newer_one(desk: Desk) -> None:
    early, late = desk.store.issue_read(desk.name), desk.store.issue_read(desk.name)
    desk.load([row(1, "2.00")], read=late)
    report = desk.load([row(1, "1.00")], read=early, mode=Mode.WINDOW)
    assert report.stale == 1
    assert [str(total) for (total,) in table(desk, "shop__orders", "total")] == ["2.00"]


def test_a_touch_keeps_an_older_version_out(desk: Desk) -> None:
    reads = [desk.store.issue_read(desk.name) for _ in range(3)]
    desk.load([row(1, "1.00")], read=reads[0])
    desk.load([row(1, "1.00")], read=reads[2])
    assert desk.load([row(1, "9.00")], read=reads[1]).stale == 1


def test_the_watermark_moves_only_from_where_the_pull_saw_it(desk: Desk) -> None:
    slow = desk.stage([row(1)], high="2026-01-05T00:00:00.000000")
    desk.load([row(2)], high="2026-01-06T00:00:00.000000")
    before = snapshot(desk)
    with pytest.raises(OvertakenError, match="another run moved the watermark"):
        desk.store.load(slow, desk.stream)
    assert snapshot(desk) == before
    assert desk.store.state(desk.name).watermark == Watermark("2026-01-06T00:00:00.000000")


def test_the_watermark_never_moves_back(desk: Desk) -> None:
    desk.load([row(1)], high="2026-01-06T00:00:00.000000")
    desk.load([row(2)], high="2026-01-05T00:00:00.000000")
    assert desk.store.state(desk.name).watermark == Watermark("2026-01-06T00:00:00.000000")


def test_a_window_leaves_the_watermark_alone(desk: Desk) -> None:
    desk.load([row(1)], high="2026-01-06T00:00:00.000000")
    before = desk.store.state(desk.name)
    report = desk.load([row(2)], mode=Mode.WINDOW, high="2027-01-01T00:00:00.000000")
    assert report.inserted == 1
    assert desk.store.state(desk.name) == before


@pytest.mark.parametrize("broken", ["advance", "record"])
def test_a_crash_inside_the_transaction_leaves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    desk.load([row(1)], high="2026-01-01T00:00:00.000000")
    before, state = snapshot(desk), desk.store.state(desk.name)
    original = getattr(ledger, broken)

    def crash(*arguments: Any) -> Any:
        original(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, broken, crash)
    with pytest.raises(KeyboardInterrupt):
        desk.load([row(1, "3.00"), row(9, _held="bad")], high="2026-01-02T00:00:00.000000")
    assert snapshot(desk) == before
    assert desk.store.state(desk.name) == state


def test_rows_that_do_not_add_up_are_rolled_back(desk: Desk) -> None:
    staged = desk.stage([row(1), row(2)])
    wrong = replace(staged, rows=3)
    with pytest.raises(MismatchError, match="3 rows were pulled but 2 are staged"):
        desk.store.load(wrong, desk.stream)
    wrong = replace(wrong, pages=(replace(staged.pages[0], rows=3),))
    with pytest.raises(MismatchError, match="3 rows were pulled but 2 accounted"):
        desk.store.load(wrong, desk.stream)
    assert not desk.store.runs()


def test_duplicates_do_not_depend_on_how_rows_were_cut(desk: Desk) -> None:
    desk.load([row(12)], marks=True)
    report = desk.load([row(9), row(30)], marks=True)
    assert (report.inserted, report.deduplicated) == (1, 1)
    marked = dict(table(desk, "shop__orders", "_key, _duplicate"))
    assert {key for key, mark in marked.items() if not mark} == {"9"}
    assert {key for (key,) in table(desk, "entity", "key")} == {"9", "ann"}
    desk.load([row(9, "8.00")], marks=True)
    marked = dict(table(desk, "shop__orders", "_key, _duplicate"))
    assert {key for key, mark in marked.items() if not mark} == {"9", "12"}


def test_knowledge_follows_the_records(desk: Desk) -> None:
    desk.load([row(1, "1.00", "ann"), row(2, "2.00", "bob")])
    desk.load([row(1, "4.00", "bob"), row(2, "2.00", "bob", gone=True)])
    entities = set(table(desk, "entity", "type, key, record"))
    assert entities == {("Order", "1", "1"), ("Customer", "bob", "1")}
    assert table(desk, "relation", "from_key, to_key") == [("bob", "1")]


def test_a_held_row_is_kept_with_its_reason_and_mended_when_it_comes_right(desk: Desk) -> None:
    desk.load([row(1, _held="total is odd"), row(None, _held="NULL key")])
    held = {item["key"]: item for item in desk.store.held()}
    assert held["1"]["reasons"][0]["message"] == "total is odd"
    assert held["1"]["row"]["customer"] == "ann"
    assert any(key.startswith("?") for key in held)
    desk.load([row(1)])
    assert "1" not in {item["key"] for item in desk.store.held()}
    assert [item["key"] for item in desk.store.held(state="mended")] == ["1"]


def test_reserved_and_missing_columns_are_refused_by_name(desk: Desk) -> None:
    bad = desk.stream.model_copy(update={"load": desk.stream.load.model_validate(
        {"entities": [{"type": "Order", "key": "idd"}]})})  # fmt: skip
    with pytest.raises(ConfigError, match="key of Order names column 'idd'"):
        desk.store.load(desk.stage([row(1)]), bad)


def test_two_processes_may_create_the_store_at_once(desk: Desk) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tidegate.store import open_store

    with ThreadPoolExecutor(4) as pool:
        for opened in pool.map(lambda _: open_store(desk.store.endpoint), range(8)):
            opened.close()
    with desk.store._reading() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM tidegate_head")).scalar_one() == 1
