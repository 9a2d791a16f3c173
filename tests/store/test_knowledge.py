"""What the store says of entities, and since when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from store import increments
from store.increments import STREAM, Desk
from store.test_loading import row, table
from tidegate.pipeline.models import Load
from tidegate.store.store import Store
from tidegate.types import Column, ColumnType


def test_what_an_entity_was_before_it_went_does_not_last_until_it_is_back(desk: Desk) -> None:
    desk.load([row(1, "1.00")])
    gone = desk.load([row(1, "1.00", gone=True)]).seq
    desk.load([row(9)])
    back = desk.load([row(1, "2.00")]).seq
    last = desk.load([row(1, "3.00")]).seq
    found = table(desk, "attribute", "type, value, seq_from, seq_to")
    totals = sorted(item[1:] for item in found if item[0] == "Order")
    assert totals == [("1.00", 1, gone), ("2.00", back, last)]


def test_the_largest_number_speaks_for_an_entity_on_either_database(
    store: Store, tmp_path: Path
) -> None:
    """A cursor BIGINT UNSIGNED is a decimal, which SQLite keeps as text."""
    desk = Desk(store, tmp_path, STREAM.model_copy(update={"cursor": "total"}))
    rows = [row(1, "9.00"), row(2, "10.00"), row(3, "-1.00")]
    for item in rows:
        item["updated_at"] = item["updated_at"].replace(day=item["id"])
    desk.load(rows)
    (attributes,) = [
        attributes
        for kind, attributes in table(desk, "entity", "type, CAST(attributes AS TEXT)")
        if kind == "Customer"
    ]
    assert "2026-01-02" in attributes


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e300, 5e-324, -0.1, 2.0**53, 123456789.123456789])
def test_an_attribute_has_all_digits_of_a_double(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    columns = [*increments.COLUMNS, Column("weight", ColumnType("float64"))]
    monkeypatch.setattr(increments, "COLUMNS", columns)
    mapping = {"entities": [{"type": "Order", "key": "id", "attributes": ["weight"]}]}
    stream = STREAM.model_copy(update={"load": Load.model_validate(mapping)})
    desk = Desk(store, tmp_path, stream)
    desk.load([row(1, weight=0.3), row(2, weight=None)])
    desk.load([row(1, weight=value)])
    found = dict(table(desk, "entity", "key, CAST(attributes AS TEXT)"))
    assert json.loads(found["1"], parse_int=float) == {"weight": value}
    assert json.loads(found["2"]) == {"weight": None}
