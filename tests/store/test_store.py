"""The store beside itself: opened, read and moved while another process is busy with it."""

from __future__ import annotations

import pytest

from store.increments import Desk
from store.test_loading import row
from tidegate.model import Watermark
from tidegate.store import engine, open_store


def test_it_is_opened_and_read_while_another_process_loads(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.load([row(1)], high="2026-01-01T00:00:00.000000")
    monkeypatch.setattr(engine, "BUSY_SECONDS", 1)
    with desk.store._writing(), open_store(desk.store.endpoint) as other:
        assert [status.rows for status in other.status()] == [1]
        assert other.state(desk.name).watermark == Watermark("2026-01-01T00:00:00.000000")


def test_an_empty_increment_that_was_overtaken_leaves_the_other_runs_watermark(desk: Desk) -> None:
    empty = desk.stage([], high="2026-01-09T00:00:00.000000")
    desk.load([row(1)], high="2026-01-02T00:00:00.000000")
    before = desk.store.state(desk.name)
    assert desk.store.touch(empty) == Watermark("2026-01-02T00:00:00.000000")
    assert desk.store.state(desk.name) == before
