"""Rows that the source was asked for and no longer has."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from store.increments import COLUMNS, Desk
from store.test_loading import row, table
from tidegate.model import Mode


def absent(desk: Desk, *keys: str, **more: Any) -> Any:
    """The source was asked for *keys* and did not have them."""
    return desk.load([], gone=keys, mode=Mode.REPAIR, **more)


def test_a_row_that_is_gone_is_deleted_and_its_history_kept(desk: Desk) -> None:
    desk.load([row(1), row(2, customer="bob")])
    report = absent(desk, "1")
    assert (report.pulled, report.deleted, report.details["gone"]) == (1, 1, 1)
    marks = "_key, _deleted, _source_hash IS NULL, id, total, customer"
    found = table(desk, "shop__orders", marks, "_key = '1'")
    assert [tuple(map(bool, line[1:3])) + line[3:] for line in found] == [
        (True, True, None, None, None)
    ]
    past = table(desk, "shop__orders__history", "_key, total, _deleted")
    assert [(key, str(total), bool(gone)) for key, total, gone in past] == [("1", "1.00", False)]
    assert [key for (key,) in table(desk, "shop__orders__now", "id")] == [2]
    assert {key for (key,) in table(desk, "entity", "key")} == {"2", "bob"}
    assert [line["gone"] for line in desk.store.runs()] == [1, 0]


def test_whoever_reads_sees_a_deletion(desk: Desk) -> None:
    desk.load([row(1)])
    before = desk.store.head().seq
    absent(desk, "1")
    now, then = (desk.store.record(desk.name, "1", as_of_seq=seq) for seq in (None, before))
    assert now.version is not None
    assert now.version.deleted
    assert then.version is not None
    assert not then.version.deleted
    (change,) = desk.store.changes(since=before, rows=True).changes
    assert (change.op, change.key) == ("delete", "1")
    assert (change.row_before or {})["id"] == 1
    (status,) = desk.store.status()
    assert (status.rows, status.deleted) == (0, 1)


def test_what_is_gone_already_is_unchanged_and_comes_back_with_a_newer_read(desk: Desk) -> None:
    early = desk.store.issue_read(desk.name)
    desk.load([row(1)])
    absent(desk, "1")
    assert absent(desk, "1").unchanged == 1
    assert desk.load([row(1, "8.00")], read=early, mode=Mode.WINDOW).stale == 1
    assert desk.load([row(1)], mode=Mode.WINDOW).updated == 1
    assert len(table(desk, "shop__orders__now")) == 1


def test_an_older_look_deletes_nothing(desk: Desk) -> None:
    early = desk.store.issue_read(desk.name)
    desk.load([row(1)])
    assert absent(desk, "1", read=early).stale == 1
    assert len(table(desk, "shop__orders__now")) == 1


def test_a_held_row_that_is_gone_is_settled(desk: Desk) -> None:
    desk.load([row(1, _held="bad"), row(2, _held="bad"), row(3)])
    report = absent(desk, "1", "3")
    assert report.details["mended"] == 1
    assert {item["key"]: item["state"] for item in desk.store.held(state=None)} == {
        "1": "gone", "2": "held",
    }  # fmt: skip
    desk.load([row(1, _held="bad")])
    assert {item["key"] for item in desk.store.held()} == {"1", "2"}


def test_a_store_with_rows_that_are_gone_is_in_order(desk: Desk) -> None:
    desk.load([row(1), row(2, gone=True), row(3, _held="bad")], marks=True, mode=Mode.WINDOW)
    absent(desk, "1", "2", "3", "4", marks=True)
    assert desk.store.verify() == []
    desk.load([row(1, "5.00")], marks=True)
    assert desk.store.verify() == []
    assert dict(line[:2] for line in desk.store.keys(desk.name)).keys() == {"1"}


def test_a_duplicate_that_is_gone_repeats_nothing(desk: Desk) -> None:
    desk.load([row(1), row(2), row(3)], marks=True)
    absent(desk, "1", "3", marks=True)
    marked = dict(table(desk, "shop__orders", "_key, _duplicate"))
    assert not any(marked.values())
    assert desk.store.verify() == []


def test_rows_and_keys_that_are_gone_are_loaded_together(desk: Desk) -> None:
    desk.load([row(1), row(2), row(3), row(4)])
    staged = desk.stage([row(1, "5.00"), row(2)], gone=["3", "4"], page_rows=1, mode=Mode.REPAIR)
    report = desk.store.load(staged, desk.stream)
    assert (report.pulled, report.updated, report.unchanged, report.deleted) == (4, 1, 1, 2)
    assert [(line["part"], line["gone"]) for line in desk.store.runs()[:2]] == [(2, 2), (1, 0)]


def test_what_is_gone_under_other_columns_is_gone_still(desk: Desk) -> None:
    desk.load([row(1), row(2)])
    absent(desk, "1")
    staged = desk.stage([], gone=["1", "2"], mode=Mode.REPAIR)
    fewer = tuple(column.to_json() for column in COLUMNS if column.name != "total")
    stream = desk.stream.model_copy(update={"load": desk.stream.load.model_validate({})})
    report = desk.store.load(dataclasses.replace(staged, columns=fewer), stream)
    assert report.deleted + report.updated == 2
    assert desk.store.verify() == []
    assert table(desk, "shop__orders__now") == []


@pytest.mark.parametrize("marks", [False, True])
def test_a_stream_may_begin_with_what_is_gone(desk: Desk, marks: bool) -> None:
    report = absent(desk, "1", marks=marks)
    assert report.accounted == report.pulled == 1
    assert desk.load([row(1)], marks=marks).updated == 1
    assert desk.store.verify() == []
