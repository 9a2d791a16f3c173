"""Documents, messages and lines become the columns that a stream declares."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tidegate.model import Reason
from tidegate.sources.rows import jsontext
from tidegate.sources.rows.options import DeclaredStream
from tidegate.sources.rows.page import Tokens
from tidegate.sources.rows.records import Record, Records


class Said(DeclaredStream):
    """What somebody said."""

    reads: ClassVar[str] = "said"
    said: str = "orders"


class Told(Said):
    """What a log told."""

    deletions: ClassVar[bool] = True


def stream(columns: dict[str, Any], cls: type[Said] = Said, **more: Any) -> Said:
    return cls.model_validate({"columns": columns, "primary_key": "id", **more})


def build(spec: Said, *records: Record) -> list[dict[str, Any]]:
    return list(Records(spec).build(records, Tokens(3, "shop.said")).to_pylist())


def reasons(row: dict[str, Any]) -> list[tuple[str | None, str]]:
    return [(reason["column"], reason["rule"]) for reason in json.loads(row["_held"])]


ORDER = {"id": 7, "buyer": {"name": "Ada", "a.b": 1}, "items": [{"sku": "x"}, {"sku": "y"}]}


@pytest.mark.parametrize(
    ("path", "type", "value"),
    [
        ("buyer.name", "string", "Ada"),
        ("items.1.sku", "string", "y"),
        (["buyer", "a.b"], "int64", 1),
        ("buyer.age", "int64", None),
        ("items.2.sku", "string", None),
        ("buyer.name.first", "string", None),
        ("items", "json", '[{"sku": "x"}, {"sku": "y"}]'),
        ("$", "json", json.dumps(ORDER)),
        ("$offset", "int64", 41),
        ("$headers.trace", "string", "t1"),
    ],
)
def test_a_path_leads_to_a_value(path: Any, type: str, value: Any) -> None:
    spec = stream({"id": "int64", "it": {"type": type, "path": path}})
    facts = {"offset": 41, "headers": {"trace": "t1"}}
    (row,) = build(spec, Record(ORDER, facts))
    assert row["it"] == value
    assert row["_held"] is None


def test_a_member_called_like_a_fact_is_found_where_there_is_no_such_fact() -> None:
    spec = stream({"id": "int64", "it": {"type": "string", "path": "$ref"}})
    (row,) = build(spec, Record({"id": 1, "$ref": "here"}))
    assert row["it"] == "here"


def test_what_does_not_fit_is_held_with_where_and_why() -> None:
    spec = stream({"id": "int64", "total": "decimal(6,2)", "at": "timestamp"})
    good, bad, nameless = build(
        spec,
        Record({"id": 1, "total": Decimal("1.5"), "at": "2026-03-01T10:00:00+02:00"}),
        Record({"id": 2, "total": Decimal("1.555"), "at": "soon"}),
        Record({"id": None, "total": {"of": 1}}),
    )
    assert (good["total"], good["at"].isoformat()) == (Decimal("1.50"), "2026-03-01T08:00:00+00:00")
    assert good["_held"] is None
    assert reasons(bad) == [("total", "out of range"), ("at", "wrong type")]
    assert reasons(nameless) == [("total", "wrong type"), ("id", "NULL key")]


def test_a_document_in_the_place_of_a_truth_is_held() -> None:
    documents: list[Any] = [[], {"a": 1}]
    for value in documents:
        (row,) = build(stream({"id": "int64", "yes": "bool"}), Record({"id": 1, "yes": value}))
        assert reasons(row) == [("yes", "wrong type")]


def test_a_record_may_be_held_whatever_its_cells_are() -> None:
    why = (Reason("pull", "no JSON", "line 3 is no JSON"),)
    (row,) = build(stream({"id": "int64"}), Record({"id": 1}, reasons=why))
    assert reasons(row) == [(None, "no JSON")]


def test_of_one_key_the_last_counts_unless_each_has_a_token() -> None:
    spec = stream({"id": "int64", "name": "string"})
    twice = [Record({"id": 1, "name": name}) for name in ("a", "b")]
    assert [row["name"] for row in build(spec, *twice)] == ["b"]
    tokens = [Record({"id": 1, "name": name}, token=n) for n, name in enumerate("ab", 5)]
    assert [(row["name"], row["_token"]) for row in build(spec, *tokens)] == [("a", 5), ("b", 6)]


def test_rows_without_a_key_do_not_replace_each_other() -> None:
    spec = stream({"id": "int64", "name": "string"})
    found = build(spec, *(Record({"name": name}) for name in "ab"))
    assert [row["name"] for row in found] == ["a", "b"]


def test_a_log_says_which_rows_are_gone() -> None:
    spec = stream({"id": "int64", "name": "string"}, Told)
    found = build(spec, Record({"id": 1}, token=1), Record({"id": 1}, token=2, gone=True))
    assert [row["_gone"] for row in found] == [False, True]


def test_a_whole_number_of_any_size_keeps_its_digits_in_a_document() -> None:
    text = '{"id": 1, "big": 123456789012345678901234567890, "exact": 1.10, "tiny": 1E-400}'
    spec = stream({"id": "int64", "whole": {"type": "json", "path": "$"}})
    (row,) = build(spec, Record(jsontext.loads(text)))
    assert jsontext.loads(row["whole"]) == jsontext.loads(text)
    assert '"exact": 1.10' in row["whole"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, places=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_json_is_written_as_it_was_read(value: Any) -> None:
    assert jsontext.loads(jsontext.dumps(value)) == value


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "{", "", "[" * 100_000, "1e" + "9" * 20])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        jsontext.loads(text)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "at least 1 item"),
        ({"key": "int64"}, "column 'id' is not among the columns"),
        ({"id": "int64", "_token": "int64"}, "a name that Tidegate keeps"),
        ({"id": {"type": "int64", "path": "a..b"}}, "is not a path"),
        ({"id": {"type": "int64", "path": []}}, "is not a path"),
        ({"id": "integer"}, "Did you mean 'int64'"),
    ],
)
def test_columns_that_cannot_be_are_refused(columns: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        stream(columns)
