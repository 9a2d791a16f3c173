"""Columns that change their names or their places, or have names that databases use themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from store.deliveries import Delivery
from tidegate.errors import ConfigError
from tidegate.model import Increment, Mode
from tidegate.store.agreements import Agreement
from tidegate.store.store import Store
from tidegate.types import Agreed, Column, ColumnType


def delivery(store: Store, folder: Path, *names: str) -> Delivery:
    return Delivery(store, folder, "shop.things", {"id": "int64"} | dict.fromkeys(names, "string"))


def things(store: Store, columns: str) -> list[tuple[Any, ...]]:
    with store._reading() as connection:
        query = f"SELECT {columns} FROM shop__things ORDER BY _key"
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def test_a_column_that_is_renamed_is_another_column(store: Store, tmp_path: Path) -> None:
    desk = delivery(store, tmp_path, "colour")
    desk.load([{"id": 1, "colour": "red"}, {"id": 2}])
    desk = delivery(store, tmp_path, "color")
    assert desk.load([{"id": 1, "color": "red"}]).updated == 1
    assert things(store, "colour, color") == [(None, "red"), (None, None)]
    assert desk.load([{"id": 1, "color": "red"}]).unchanged == 1
    assert store.verify() == []


def test_two_columns_that_change_names_change_their_rows(store: Store, tmp_path: Path) -> None:
    delivery(store, tmp_path, "a", "b").load([{"id": 1, "a": "x", "b": "y"}])
    assert delivery(store, tmp_path, "b", "a").load([{"id": 1, "b": "x", "a": "y"}]).updated == 1
    assert things(store, "a, b") == [("y", "x")]


def test_the_order_of_columns_is_no_content(store: Store, tmp_path: Path) -> None:
    delivery(store, tmp_path, "a", "b").load([{"id": 1, "a": "x", "b": "y"}])
    assert delivery(store, tmp_path, "b", "a").load([{"id": 1, "a": "x", "b": "y"}]).unchanged == 1
    assert store.verify() == []


@pytest.mark.parametrize("name", ["rowid", "oid"])
def test_columns_may_be_called_as_sqlite_calls_rows(
    store: Store, tmp_path: Path, name: str
) -> None:
    desk = delivery(store, tmp_path, name, "a")
    desk.load([{"id": 1, name: "x", "a": "old"}])
    rows = [{"id": number, name: "x", "a": "new"} for number in (1, 2, 3, 2)]
    report = desk.load(rows)
    assert (report.inserted, report.updated, report.deduplicated) == (2, 1, 1)
    assert things(store, f"_key, {name}, a") == [(key, "x", "new") for key in "123"]


@pytest.mark.parametrize("name", ["_rowid_", "_place", "ctid", "xmin"])
def test_columns_that_the_database_has_itself_are_refused(
    store: Store, tmp_path: Path, name: str
) -> None:
    desk = delivery(store, tmp_path, name)
    if store.endpoint.kind == "sqlite" and name in {"ctid", "xmin"}:
        assert desk.load([{"id": 1, name: "x"}]).inserted == 1
        return
    with pytest.raises(ConfigError, match=f"column '{name}' has .* step 'rename'"):
        desk.load([{"id": 1, name: "x"}])


def test_names_that_differ_in_case_are_apart_or_refused(store: Store, tmp_path: Path) -> None:
    first, second = (delivery(store, tmp_path, name) for name in ("Label", "label"))
    first.load([{"id": 1, "Label": "x"}])
    both = replace(first, types={"id": "int64", "Note": "string", "note": "string"})
    if store.endpoint.kind == "postgres":
        assert second.load([{"id": 1, "label": "x"}]).updated == 1
        assert both.load([{"id": 1, "Note": "x", "note": "y"}]).updated == 1
        assert things(store, '"Note", note') == [("x", "y")]
        return
    with pytest.raises(ConfigError, match=r"'label' and 'Label' are one to SQLite.* 'rename'"):
        second.load([{"id": 1, "label": "x"}])
    with pytest.raises(ConfigError, match="column 'note' and 'Note' are one to SQLite"):
        both.load([{"id": 1}])


# Questions ---------------------------------------------------------------------------------------


def column(name: str, type: str = "string") -> Column:
    return Column(name, ColumnType.parse(type))


def states(store: Store, stream: str = "shop.things") -> dict[str, tuple[str, str]]:
    return {one.column: (one.type, one.state) for one in store.questions(stream)}


def test_questions_are_told_once_and_answered_once(store: Store) -> None:
    store.ask("shop.things", [column("a"), column("b")])
    store.ask("shop.others", [column("a")])
    assert states(store) == {"a": ("string", "new"), "b": ("string", "new")}
    assert [one.column for one in store.tell("shop.things")] == ["a", "b"]
    assert store.tell("shop.things") == []
    first = store.answer("shop.things", "a", "ann", accept=True)
    late = store.answer("shop.things", "a", "bob", accept=False)
    assert first == late
    assert first is not None
    assert (first.state, first.answered_by, first.answered) == ("accepted", "ann", True)
    again = store.answer("shop.things", "a", "bob", accept=False, again=True)
    assert again is not None
    assert (again.state, again.answered_by) == ("refused", "bob")
    assert store.answer("shop.things", "c", "bob", accept=True) is None
    assert states(store, "shop.others") == {"a": ("string", "new")}
    assert [one.stream for one in store.questions()] == ["shop.others"] + ["shop.things"] * 2


def test_only_what_is_asked_now_waits_for_an_answer(store: Store) -> None:
    store.ask("shop.things", [column("a"), column("b"), column("c")])
    store.tell("shop.things")
    store.answer("shop.things", "a", "ann", accept=False)
    store.ask("shop.things", [column("b", "int64"), column("d")])
    assert states(store) == {
        "a": ("string", "refused"), "b": ("int64", "open"), "d": ("string", "new"),
    }  # fmt: skip
    store.ask("shop.things", [column("a", "int64")])
    assert states(store) == {"a": ("string", "refused")}


def test_a_stream_remembers_what_it_agreed_on_and_what_the_table_had(
    store: Store, tmp_path: Path
) -> None:
    assert store.agreement("shop.things") is None
    desk = delivery(store, tmp_path, "colour")
    desk.load([{"id": 1, "colour": "red"}])  # a window: it agrees to nothing
    assert store.agreement("shop.things") is None
    whole, text = ColumnType.parse("int64"), ColumnType.parse("string")
    agreed = [
        Agreed(Column("id", whole), ColumnType.parse("int16")),
        Agreed(column("colour"), text),
    ]

    def noted() -> Increment:
        staged = desk.stage([{"id": 1, "colour": "blue"}], mode=Mode.FULL)
        return replace(staged, source_columns=tuple(one.to_json() for one in agreed))

    store.load(noted(), desk.model)
    assert store.agreement("shop.things") == Agreement(tuple(agreed))
    agreed[1] = Agreed(column("colour"), None)
    store.touch(noted())
    assert store.agreement("shop.things") == Agreement(tuple(agreed))
