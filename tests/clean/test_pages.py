"""What holds for every page: rows and order stay, held rows stay held, counts are true."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clean.pages import Cells, check_shape, clean, columns, page, steps
from tidegate.clean import apply, outline

HELD = '[{"step": "pull", "rule": "null key", "message": "no key", "column": "id"}]'

MANY: list[Any] = [
    {"trim": "name"},
    {"normalize": "name"},
    {"fill_missing": {"columns": "name", "value": "?", "empty_text": True}},
    {"to_number": {"columns": "amount", "type": "decimal(12,2)", "empty": "null"}},
    {"derive": {"column": "per", "expression": "round(amount / n, 2)", "type": "decimal(14,2)"}},
    {"map_values": {"columns": "name", "mapping": {"x": "y"}, "otherwise": "keep"}},
    {"fill_missing": {"columns": "n", "previous": True}},
    {"rename": {"name": "label"}},
    {"mask": {"columns": "label", "keep": 2}},
    "drop_duplicates",
    {"drop_columns": "amount"},
]
ROWS = st.lists(
    st.tuples(
        st.text(max_size=5) | st.none(),
        st.sampled_from(["1.5", "", "x", "1e99", " 7 "]) | st.text(max_size=3) | st.none(),
        st.integers(-3, 3) | st.none(),
        st.sampled_from([None, None, None, HELD]),
    )
)


def table(rows: list[Any]) -> pa.Table:
    name, amount, n, held = ([row[i] for row in rows] for i in range(4))
    cells = {"name": ("string", name), "amount": ("string", amount), "n": ("int64", n)}
    return page(cells, held)


COLUMNS = columns(name="string", amount="string", n="int64")


@given(ROWS)
def test_rows_are_never_lost_added_or_reordered(rows: list[Any]) -> None:
    pulled = table(rows)
    cleaned = apply(pulled, COLUMNS, steps(*MANY))
    check_shape(pulled, cleaned)
    assert cleaned.columns == outline(COLUMNS, steps(*MANY))
    assert [name for name, _ in cleaned.touched] == [
        item if isinstance(item, str) else next(iter(item)) for item in MANY
    ]


@given(ROWS)
def test_a_row_is_held_or_has_all_its_values(rows: list[Any]) -> None:
    """``amount`` is NULL only where it was blank; ``per`` only where an operand is NULL."""
    cleaned = apply(table(rows), COLUMNS, steps(*MANY[:5])).table
    for row, (_, amount, n, held) in enumerate(rows):
        value, per, reasons = (cleaned[name][row].as_py() for name in ("amount", "per", "_held"))
        if held is not None:
            assert reasons == held
        elif reasons is None:
            assert (value is None) == (amount is None or not amount.strip())
            assert (per is None) == (value is None or n is None)


@given(ROWS, st.data())
def test_where_pages_are_cut_changes_neither_cells_nor_sameness(
    rows: list[Any], data: st.DataObject
) -> None:
    independent = [item for item in MANY if item != MANY[6]]
    cut = data.draw(st.integers(0, len(rows)))
    whole = apply(table(rows), COLUMNS, steps(*independent)).table
    parts = [
        apply(table(part), COLUMNS, steps(*independent)).table for part in (rows[:cut], rows[cut:])
    ]
    drop = ["_key", "_token", "_source_hash"]
    assert pa.concat_tables(parts).drop_columns(drop).equals(whole.drop_columns(drop))


def test_held_rows_get_no_further_reasons_and_do_not_count() -> None:
    result = clean({"to_number": {"columns": "a", "type": "int64"}},
                   a=("string", ["x", "1", "y"]), held=[HELD, HELD, None])  # fmt: skip
    assert result.held[0] == result.held[1] == json.loads(HELD)
    assert [reason["rule"] for reason in result.held[2]] == ["to_number"]
    assert result.touched == [0]


def test_one_step_tells_all_that_is_wrong_with_a_row_and_later_steps_add_nothing() -> None:
    result = clean(
        {"to_number": {"columns": ["a", "b"], "type": "int64"}},
        {"to_boolean": "c"},
        a=("string", ["x"]), b=("string", ["y"]), c=("string", ["z"]),
    )  # fmt: skip
    assert [reason["column"] for reason in result.held[0]] == ["a", "b"]


def test_a_reason_shows_a_value_with_braces_and_cuts_a_long_one() -> None:
    result = clean({"to_boolean": "{a}"}, cells={"{a}": ("string", ["{value}", "x" * 500])})
    assert result.message(0).startswith("to_boolean: {a} is '{value}', which is none of")
    assert len(result.message(1)) < 250


def same(item: Any, **cells: tuple[str, list[Any]]) -> list[Any]:
    return clean(item, cells=cells)["_same"]


def test_equal_rows_share_a_text_and_others_do_not() -> None:
    texts = same("drop_duplicates", a=("string", ["x", "x", "x", "", None, None]),
                 n=("int64", [1, 1, 2, 1, 1, 1]))  # fmt: skip
    assert texts[0] == texts[1]
    assert texts[4] == texts[5]
    assert len(set(texts)) == 4
    assert all(len(text) == 32 for text in texts)


def test_sameness_is_about_the_named_columns_as_they_are_at_that_point() -> None:
    cells: Cells = {
        "a": ("string", ["x ", "x", "y"]),
        "line": ("int64", [1, 2, 3]),
    }
    raw = clean({"drop_duplicates": "a"}, {"trim": "a"}, cells=cells)["_same"]
    trimmed = clean({"trim": "a"}, {"drop_duplicates": "a"}, cells=cells)["_same"]
    assert len(set(raw)) == 3
    assert trimmed[0] == trimmed[1] != trimmed[2]


def test_the_text_of_equal_rows_does_not_change_between_versions() -> None:
    texts = same("drop_duplicates", a=("string", ["00501"]), d=("decimal(38,9)", [Decimal(1)]))
    written = b"5:00501,11:1.000000000"
    assert texts == [hashlib.blake2b(written, digest_size=16).hexdigest()]


def test_held_rows_are_nobodys_duplicate() -> None:
    result = clean({"drop_duplicates": "a"}, a=("string", ["x", "x"]), held=[HELD, None])
    assert result["_same"][0] is None
    assert result["_same"][1] is not None


def test_sameness_is_there_only_when_asked_for() -> None:
    assert "_same" not in clean({"trim": "a"}, a=("string", ["x"])).cleaned.table.column_names


def test_columns_are_renamed_swapped_dropped_and_extracted() -> None:
    result = clean(
        {"rename": {"a": "b", "b": "a"}},
        {"extract": {"column": "b", "pattern": r"^(?P<letter>[a-z])-(?P<digit>\d)$"}},
        {"drop_columns": ["a"]},
        a=("string", ["x-1", "??", None]), b=("int64", [1, 2, 3]),
    )  # fmt: skip
    assert result.types == {"b": "string", "letter": "string", "digit": "string"}
    assert result["letter"] == ["x", None, None]
    assert result["digit"] == ["1", None, None]
    assert "does not match" in result.message(1)


@pytest.mark.parametrize("item", MANY, ids=str)
def test_an_empty_page_is_a_page(item: Any) -> None:
    amount = "decimal(12,2)" if "derive" in item else "string"
    names = {"name": "string", "amount": amount, "n": "int64"}
    if "mask" in item:
        names["label"] = names.pop("name")
    result = clean(item, cells={name: (type, []) for name, type in names.items()})
    assert result.touched == [0]
