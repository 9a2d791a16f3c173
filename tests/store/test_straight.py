"""A first load is copied straight into the table that it makes; nobody can tell from the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services import Server
from store.increments import STREAM, Desk
from store.test_loading import row, snapshot, table
from tidegate import faults
from tidegate.errors import DataError, MismatchError
from tidegate.model import Mode
from tidegate.sources.sql.options import SqlStream
from tidegate.store import open_store
from tidegate.store.loading import Loader
from tidegate.store.record import straight

PLAIN = SqlStream.model_validate({
    "table": "orders", "primary_key": "id", "cursor": "updated_at", "deleted": {"column": "gone"},
})  # fmt: skip
ROWS = [row(1), row(2, "5.00"), row(3, _held="bad"), row(4, gone=True), row(5)]
SHAPE = """
SELECT column_name, data_type, is_nullable, column_default, collation_name
FROM information_schema.columns WHERE table_name = 'shop__orders' ORDER BY column_name
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE tablename ~ '^shop__orders' ORDER BY 1"
OPTIONS = "SELECT reloptions FROM pg_class WHERE relname = 'shop__orders'"
BY_COMMIT = "SELECT _key FROM shop__orders WHERE _seq = :seq ORDER BY _key"
LEFT = "SELECT relname FROM pg_class WHERE relname ~ '^stage'"


@pytest.fixture
def desks(postgres: Server, tmp_path: Path) -> Any:
    """Makes desks of empty stores."""
    stores = []

    def made(stream: SqlStream = PLAIN) -> Desk:
        opened = open_store(postgres.fresh())
        stores.append(opened)
        return Desk(opened.__enter__(), tmp_path / str(len(stores)), stream)

    yield made
    for store in stores:
        store.__exit__(None, None, None)


def asked(desk: Desk, query: str) -> list[tuple[Any, ...]]:
    with desk.store._reading() as connection:
        return [tuple(found) for found in connection.exec_driver_sql(query)]


def test_the_table_is_the_one_that_a_stage_would_have_filled(
    desks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct, staged = desks(), desks()
    high = "2026-01-01T00:00:00.000000"
    first = direct.load(ROWS, high=high)
    with monkeypatch.context() as patch:
        patch.setattr(straight, "_possible", lambda *_: False)
        other = staged.load(ROWS, high=high)

    counts = (first.inserted, first.deleted, first.quarantined, first.pulled)
    assert counts == (other.inserted, other.deleted, other.quarantined, other.pulled)
    for query in (SHAPE, INDEXES, OPTIONS):
        assert asked(direct, query) == asked(staged, query)
    assert snapshot(direct) == snapshot(staged)
    later = [row(1, "9.00"), row(2, "5.00"), row(6), row(3)]
    for desk in (direct, staged):
        assert desk.load(later, high="2026-01-02T00:00:00.000000").accounted == 4
    assert snapshot(direct) == snapshot(staged)
    assert asked(direct, LEFT) == []


def test_a_key_that_comes_twice_is_one_record(desks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    several = [row(1), row(2), row(1, "3.00", _token=1 << 60), row(2), row(1, "2.00", _token=5)]
    direct, staged = desks(), desks()
    first = direct.load(several)
    with monkeypatch.context() as patch:
        patch.setattr(straight, "_possible", lambda *_: False)
        other = staged.load(several)
    assert (first.inserted, first.stale, first.deduplicated) == (2, 2, 1)
    assert (other.inserted, other.stale, other.deduplicated) == (2, 2, 1)
    assert snapshot(direct) == snapshot(staged)
    assert dict(table(direct, "shop__orders", "_key, total"))["1"] == row(1, "3.00")["total"]
    assert asked(direct, LEFT) == []


@pytest.mark.parametrize(
    "point", ["load.copied", "load.begun", "load.merged", "load.before_commit"]
)
def test_nothing_is_left_of_a_load_that_fails(
    desks: Any, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    desk = desks()
    staged = desk.stage(ROWS)

    def fail(name: str) -> None:
        if name == point:
            raise DataError("now")

    with monkeypatch.context() as patch:
        patch.setattr(faults, "point", fail)
        with pytest.raises(DataError, match="now"):
            desk.store.load(staged, desk.stream)
    assert asked(desk, "SELECT relname FROM pg_class WHERE relname ~ '^(shop__|stage)'") == []
    assert desk.store.load(staged, desk.stream).inserted == 4


def meanwhile(monkeypatch: pytest.MonkeyPatch, load: Callable[[], Any]) -> list[Any]:
    """Let *load* happen once, when another load has copied its rows; its report comes here."""
    copy = Loader._copy
    reports: list[Any] = []
    todo = [load]

    def overtaken(self: Loader, *given: Any) -> None:
        copy(self, *given)
        if todo:
            reports.append(todo.pop()())

    monkeypatch.setattr(Loader, "_copy", overtaken)
    return reports


def test_the_index_of_commits_leaves_out_the_first_which_is_read_all_the_same(desks: Any) -> None:
    desk = desks()
    desk.load([row(number) for number in range(1, 9)], high="2026-01-01T00:00:00.000000")
    desk.load([row(2, "5.00"), row(9)], high="2026-01-02T00:00:00.000000")

    commits = [name for (name,) in asked(desk, INDEXES) if "(_seq)" in name]
    assert [name.partition(" WHERE ")[2] for name in commits] == ["(_seq > 1)"] * 2
    with desk.store._reading() as connection:
        connection.exec_driver_sql("SET enable_seqscan = off")
        plans = [
            str(connection.execute(sa.text(f"EXPLAIN {BY_COMMIT}"), {"seq": seq}).all())
            for seq in (1, 2)
        ]
    assert ["shop__orders__seq" in plan for plan in plans] == [False, True]
    found, cursor, more = [], "0", True
    while more:
        page = desk.store.changes(cursor, limit=3)
        found += [(change.seq, change.key) for change in page.changes]
        cursor, more = page.cursor, page.more
    assert found == [*((1, str(key)) for key in range(1, 9)), (2, "2"), (2, "9")]


def test_who_comes_second_goes_by_way_of_its_stage(
    desks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desks()
    first, second = (
        desk.stage(rows, mode=Mode.WINDOW) for rows in ([row(1), row(2)], [row(2, "4.00"), row(3)])
    )
    overtaken = meanwhile(monkeypatch, lambda: desk.store.load(second, desk.stream))
    late = desk.store.load(first, desk.stream)

    assert [each.inserted for each in overtaken] == [2]
    assert (late.inserted, late.stale) == (1, 1)
    keys = table(desk, "shop__orders", "_key, total, _seq")
    assert sorted((key, str(total), seq) for key, total, seq in keys) == [
        ("1", "1.00", 2), ("2", "4.00", 1), ("3", "1.00", 1),
    ]  # fmt: skip
    assert asked(desk, LEFT) == []


def test_rows_that_were_loaded_meanwhile_are_not_loaded_again(
    desks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desks()
    staged = desk.stage([row(1), row(2)])
    overtaken = meanwhile(monkeypatch, lambda: desk.store.load(staged, desk.stream))
    again = desk.store.load(staged, desk.stream)

    assert (again.repeated, again.seq, overtaken[0].repeated) == (True, overtaken[0].seq, False)
    assert len(table(desk, "shop__orders", "_key")) == 2
    assert asked(desk, LEFT) == []


def test_a_stream_with_a_mapping_goes_by_way_of_its_stage(desks: Any) -> None:
    desk = desks(STREAM)
    assert desk.load(ROWS).inserted == 4
    assert asked(desk, LEFT) == []
    assert "_ref_customer" in {name for name, *_ in asked(desk, SHAPE)}


def test_rows_that_do_not_add_up_leave_nothing(desks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = desks()
    monkeypatch.setattr("tidegate.store.loading.quarantine.hold", lambda *_: 0)
    with pytest.raises(MismatchError, match="5 rows were pulled but 4 accounted for"):
        desk.load(ROWS)
    assert asked(desk, "SELECT relname FROM pg_class WHERE relname ~ '^(shop__|stage)'") == []


def test_what_a_process_that_died_left_is_removed_and_what_is_being_filled_is_not(
    desks: Any,
) -> None:
    desk = desks()
    names = [f"stage__{digit * 16}" for digit in "012"] + ["stage__mine"]
    with desk.store._engine.begin() as connection:
        for name in names:
            connection.exec_driver_sql(f"CREATE TABLE {name} (a int)")
    with desk.store._engine.connect() as busy:
        busy.execute(sa.text(straight._LOCK), {"name": names[1]})
        assert desk.load(ROWS).inserted == 4
        left = {name for (name,) in asked(desk, LEFT)}
    assert left == {names[1], "stage__mine"}
