"""Names that a database would cut, mix up or misread."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from store import increments
from store.increments import STREAM, Desk
from store.test_loading import row, table
from tidegate.errors import ConfigError
from tidegate.pipeline.meaning import Load
from tidegate.sources.sql.options import SqlStream
from tidegate.store.record.records import current_name, plan, ref_name
from tidegate.store.sqltext import quoted
from tidegate.store.store import Store
from tidegate.types import Column, ColumnType


def test_streams_with_the_longest_names_have_tables_of_their_own(
    store: Store, tmp_path: Path
) -> None:
    names = [f"{'s' * 40}.{'t' * 39}{last}" for last in "ab"]
    for name in names:
        desk = Desk(store, tmp_path, name=name)
        desk.load([row(1)])
        assert desk.load([row(1, "2.00"), row(2)]).updated == 1
        assert sorted(table(desk, current_name(name), "_key")) == [("1",), ("2",)]
        assert table(desk, f"{current_name(name)}__history", "_key") == [("1",)]
    assert {status.stream: status.rows for status in store.status()} == dict.fromkeys(names, 2)
    assert sorted(key for key, _, _ in store.keys(names[0])) == ["1", "2"]
    assert store.lookup(names[1], "id", "customer", [1]) == {1: "ann"}


def test_names_that_fit_are_not_changed() -> None:
    assert current_name("shop.orders") == "shop__orders"
    assert ref_name(["customer_id"]) == "_ref_customer_id"
    assert len(current_name(f"{'s' * 40}.{'ü' * 40}").encode()) <= 63 - len("__history__seq_to")


def test_keys_whose_names_join_to_the_same_text_stay_apart(store: Store, tmp_path: Path) -> None:
    keys = [("a_b", "c"), ("a", "b_c"), ("a_b_c",)]
    assert len({ref_name(key) for key in keys}) == 3
    long = tuple(f"column_{number}_{'x' * 40}" for number in range(5))
    assert len(ref_name(long)) <= 63
    assert ref_name(long) != ref_name(long[:4])

    mapping = {
        "entities": [
            {"type": "One", "key": ["id", "customer"], "attributes": ["total"]},
            {"type": "Other", "key": ["customer", "id"]},
            {"type": "Third", "key": ["id"]},
        ],
        "relations": [{"type": "IS", "from": "One", "to": "Other"}],
    }
    stream = STREAM.model_copy(update={"load": Load.model_validate(mapping)})
    desk = Desk(store, tmp_path, stream)
    desk.load([row(1, customer="a|b\\c")])
    assert sorted(table(desk, "entity", "type, key")) == [
        ("One", "1|a\\|b\\\\c"), ("Other", "a\\|b\\\\c|1"), ("Third", "1"),
    ]  # fmt: skip
    assert table(desk, "relation", "from_key, to_key") == [("1|a\\|b\\\\c", "a\\|b\\\\c|1")]


def test_long_names_of_a_stream_a_key_and_a_type_are_not_too_long_together(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "customer_identifier_" + "x" * 40
    columns = [*increments.COLUMNS, Column(key, ColumnType("string"))]
    monkeypatch.setattr(increments, "COLUMNS", columns)
    mapping = {"entities": [{"type": "T" * 60, "key": key, "attributes": ["total"]}]}
    stream = STREAM.model_copy(update={"load": Load.model_validate(mapping)})
    desk = Desk(store, tmp_path, stream, name=f"{'s' * 40}.{'t' * 40}")
    desk.load([row(1, **{key: "a"})])
    desk.load([row(1, "2.00", **{key: "a"})])
    assert table(desk, "entity", "type, key") == [("T" * 60, "a")]


def test_a_column_whose_name_postgresql_would_cut_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [*increments.COLUMNS, Column("ü" * 32, ColumnType("string"))]
    monkeypatch.setattr(increments, "COLUMNS", columns)
    desk = Desk(store, tmp_path)
    if store.endpoint.kind == "sqlite":
        assert [desk.load([row(1)]).inserted, desk.load([row(1)]).unchanged] == [1, 1]
    else:
        with pytest.raises(ConfigError, match=r"has more than 63 octets, .* step 'rename'"):
            desk.load([row(1)])


HOSTILE = ["or\"der", "a:b", "per%cent", "%(x)s", "sp ace", "{brace}", "semi;colon", "select",
           "quote'd", "back\\slash", "ünï", "a.b", "?"]  # fmt: skip


def test_columns_and_attributes_may_be_called_anything(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [*increments.COLUMNS, *(Column(name, ColumnType("string")) for name in HOSTILE)]
    monkeypatch.setattr(increments, "COLUMNS", columns)
    mapping: dict[str, Any] = {
        "entities": [{"type": "Order", "key": "id", "attributes": HOSTILE}],
        "relations": [{"type": "X", "from": "Order", "to": {"type": "Y", "key": HOSTILE[:3]}}],
    }
    stream = STREAM.model_copy(update={"load": Load.model_validate(mapping)})
    desk = Desk(store, tmp_path, stream)
    values = dict.fromkeys(HOSTILE, "v")
    assert desk.load([row(1, **values)]).inserted == 1
    assert desk.load([row(1, **values | {"a:b": "new"})]).updated == 1
    with store._reading() as connection:
        names = ", ".join(quoted(name) for name in HOSTILE).replace(":", "\\:")
        (found,) = connection.execute(sa.text(f"SELECT {names} FROM shop__orders"))
    assert list(found) == ["new" if name == "a:b" else "v" for name in HOSTILE]
    (attributes,) = table(desk, "entity", "CAST(attributes AS TEXT)", "type = 'Order'")
    assert json.loads(attributes[0]) == values | {"a:b": "new"}
    assert table(desk, "relation", "to_key") == [("v|new|v",)]


def test_an_entity_may_have_many_attributes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"c{number:03d}" for number in range(180)]
    columns = [*increments.COLUMNS, *(Column(name, ColumnType("int64")) for name in names)]
    monkeypatch.setattr(increments, "COLUMNS", columns)
    mapping = {"entities": [{"type": "Order", "key": "id", "attributes": names}]}
    stream = STREAM.model_copy(update={"load": Load.model_validate(mapping)})
    desk = Desk(store, tmp_path, stream)
    first: dict[str, Any] = {name: place for place, name in enumerate(names) if place != 7}
    second: dict[str, Any] = dict.fromkeys(names, 1)
    for values in (first, second):
        desk.load([row(1, **values)])
        ((text,),) = table(desk, "entity", "CAST(attributes AS TEXT)")
        assert json.loads(text) == {"c007": None} | values


def test_a_mapping_that_names_what_is_not_there_is_refused_with_the_nearest_name() -> None:
    columns = [Column("id", ColumnType("int64")), Column("total", ColumnType("int64"))]
    base = {"table": "t", "primary_key": "id", "cursor": "id"}
    for more, message in (
        ({"load": {"entities": [{"type": "A", "key": "idd"}]}}, "key of A names column 'idd'"),
        (
            {"load": {"entities": [{"type": "A", "key": "id", "attributes": ["totel"]}]}},
            "attributes of A names column 'totel', which is not there after cleaning. Did you mean",
        ),
        ({"deleted": {"column": "gone"}}, "deleted: names column 'gone'"),
    ):
        stream = SqlStream.model_validate(base | more)
        with pytest.raises(ConfigError) as error:
            plan("shop.t", columns, stream, marks=False)
        assert str(error.value).startswith("shop.t: ")
        assert message in str(error.value)


def test_a_row_held_shows_columns_that_begin_with_an_underscore(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [*increments.COLUMNS, Column("_id", ColumnType("string"))]
    monkeypatch.setattr(increments, "COLUMNS", columns)
    desk = Desk(store, tmp_path)
    desk.load([row(1, _id="65f0", _held="no")])
    (held,) = store.held()
    assert held["row"]["_id"] == "65f0"
    assert dataclasses.asdict(desk.store.status()[0])["quarantined"] == 1
    assert pa.types.is_string(columns[-1].type.arrow)
