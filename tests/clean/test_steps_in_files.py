"""How steps are written in a pipeline file, and what is said about mistakes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter, ValidationError

from clean.pages import columns, steps
from tidegate.clean import outline
from tidegate.clean.shape import Rename
from tidegate.clean.steps import STEPS, CleanStep
from tidegate.clean.text import Trim
from tidegate.errors import ConfigError

GOOD: list[Any] = [
    {"trim": "status"},
    {"trim": ["status", "name"]},
    {"trim": {"columns": ["status"]}},
    "drop_duplicates",
    {"drop_duplicates": ["a", "b"]},
    {"rename": {"InvoiceNo": "invoice_no"}},
    {"rename": {"columns": {"InvoiceNo": "invoice_no"}}},
    {"normalize": {"columns": "name", "form": "NFKC"}},
    {"map_values": {"columns": "s", "mapping": {"a": "b"}, "otherwise": {"value": 0}}},
    {"fill_missing": {"columns": "s", "value": "unknown"}},
    {"to_datetime": {"columns": "d", "formats": ["iso", "%d.%m.%Y"], "zone": "Europe/Berlin"}},
    {"derive": {"column": "total", "expression": "a * b", "type": "decimal(12,2)"}},
    {"hash": {"columns": "email", "salt_env": "SALT"}},
]
SCHEMA = TypeAdapter(list[CleanStep]).json_schema()


def test_a_name_a_list_and_a_mapping_are_three_ways_to_write_the_same_step() -> None:
    assert (
        steps({"trim": "a"}, {"trim": ["a"]}, {"trim": {"columns": ["a"]}})
        == [Trim(columns=("a",))] * 3
    )


def test_a_renaming_needs_no_columns_key() -> None:
    assert steps({"rename": {"a": "b"}}) == steps({"rename": {"columns": {"a": "b"}}})


def test_a_step_that_needs_nothing_may_be_a_bare_name() -> None:
    assert steps("drop_duplicates") == steps({"drop_duplicates": None})


@pytest.mark.parametrize("item", GOOD, ids=str)
def test_what_is_accepted_is_in_the_schema_and_survives_being_written_back(item: Any) -> None:
    jsonschema.validate([item], SCHEMA)
    adapter: TypeAdapter[Any] = TypeAdapter(list[CleanStep])
    read = adapter.validate_python([item])
    written = adapter.dump_python(read, mode="json")
    assert adapter.validate_python(written) == read
    jsonschema.validate(written, SCHEMA)


@pytest.mark.parametrize("item", ["trim", {"trimm": "a"}, {"trim": "a", "lower": "a"}, 3], ids=str)
def test_the_schema_refuses_what_the_reader_refuses(item: Any) -> None:
    with pytest.raises(ValidationError):
        steps(item)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([item], SCHEMA)


def test_an_unknown_step_is_answered_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ValidationError) as caught:
        steps({"trimm": "a"})
    message = caught.value.errors()[0]["msg"]
    assert "'trimm' is not a cleaning step. Did you mean 'trim'? Known: " in message
    assert all(name in message for name in STEPS)


@pytest.mark.parametrize(
    ("item", "location"),
    [
        ({"trim": {"colums": ["a"]}}, (0, "trim", "colums")),
        ({"convert": {"columns": "a", "type": "integer"}}, (0, "convert", "type")),
        ({"rename": {"a": "_key"}}, (0, "rename", "columns", "a")),
        ({"to_datetime": {"columns": "a", "zone": "Berlin"}}, (0, "to_datetime", "zone")),
        (
            {"fill_missing": {"columns": "a", "lookup": {"stream": "s"}}},
            (0, "fill_missing", "lookup", "match"),
        ),
    ],
    ids=str,
)
def test_a_wrong_argument_is_reported_at_its_place(item: Any, location: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        steps(item)
    assert location in [error["loc"] for error in caught.value.errors()]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"fill_missing": {"columns": "a"}}, "choose exactly one"),
        ({"fill_missing": {"columns": "a", "value": 0, "leave": True}}, "found value and leave"),
        ({"fill_missing": {"columns": "a", "value": False, "previous": True}}, "exactly one"),
        ({"to_number": {"columns": "a", "decimal": ",", "thousands": ","}}, "must differ"),
        ({"to_number": {"columns": "a", "type": "date"}}, "not a type of number"),
        ({"to_datetime": {"columns": "a", "formats": "%H:%M"}}, "does not give a day"),
        ({"to_datetime": {"columns": "a", "formats": "%d.%m.%Y"}}, "names no time zone"),
        ({"to_datetime": {"columns": "a", "formats": "%Y-%m-%d %Q"}}, "%Q is not known"),
        ({"to_boolean": {"columns": "a", "true": ["x"], "false": ["X"]}}, "'x' is among"),
        (
            {"map_values": {"columns": "a", "mapping": {"A": 1, "a": 2}, "ignore_case": True}},
            "differ in case only",
        ),
        ({"extract": {"column": "a", "pattern": r"(\d+)"}}, "group without a name"),
        ({"extract": {"column": "a", "pattern": "("}}, "not a regular expression"),
        ({"extract": {"column": "a", "pattern": "(?P<_held>x)"}}, "reserved"),
        ({"derive": {"column": "_same", "expression": "1", "type": "int64"}}, "reserved"),
    ],
    ids=str,
)
def test_arguments_that_contradict_each_other_are_refused(item: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        steps(item)


@pytest.mark.parametrize(
    "item",
    [
        {"trim": "statsu"},
        {"rename": {"statsu": "x"}},
        {"drop_columns": "statsu"},
        {"drop_duplicates": "statsu"},
        {"extract": {"column": "statsu", "pattern": "(?P<x>.)"}},
        {"derive": {"column": "x", "expression": "upper(statsu)", "type": "string"}},
        {
            "fill_missing": {
                "columns": "name",
                "lookup": {"stream": "s", "match": "statsu", "key": "k", "value": "v"},
            }
        },
    ],
    ids=str,
)
def test_a_column_that_is_not_there_is_answered_with_the_nearest(item: Any) -> None:
    with pytest.raises(ConfigError, match=r"no column 'statsu'.* Did you mean 'status'\?"):
        outline(columns(status="string", name="string"), steps(item))


def test_columns_are_looked_for_as_they_are_at_that_point() -> None:
    with pytest.raises(ConfigError, match="trim: no column 'a' at this point"):
        outline(columns(a="string"), steps({"rename": {"a": "b"}}, {"trim": "a"}))


@pytest.mark.parametrize(
    ("type", "item"),
    [
        ("int64", {"trim": "a"}),
        ("int64", {"to_number": {"columns": "a"}}),
        ("float64", {"to_datetime": {"columns": "a"}}),
        ("datetime", {"to_datetime": {"columns": "a"}}),
        ("date", {"to_boolean": "a"}),
        ("datetime", {"convert": {"columns": "a", "type": "timestamp"}}),
        ("float64", {"map_values": {"columns": "a", "mapping": {"x": "y"}}}),
        ("int64", {"map_values": {"columns": "a", "mapping": {"x": 1}}}),
        ("string", {"map_values": {"columns": "a", "mapping": {"x": 1}}}),
        ("string", {"fill_missing": {"columns": "a", "value": 501}}),
        ("int16", {"fill_missing": {"columns": "a", "value": 40000}}),
        ("int64", {"fill_missing": {"columns": "a", "previous": True, "empty_text": True}}),
        ("decimal(5,2)", {"fill_missing": {"columns": "a", "value": 1.234}}),
        ("timestamp", {"fill_missing": {"columns": "a", "value": "2020-01-01T00:00:00"}}),
        ("int64", {"mask": {"columns": "a"}}),
        ("int64", {"extract": {"column": "a", "pattern": "(?P<x>.)"}}),
        ("string", {"derive": {"column": "x", "expression": "a", "type": "int64"}}),
    ],
    ids=str,
)
def test_a_step_refuses_a_type_it_cannot_work_on_before_any_row(type: str, item: Any) -> None:
    with pytest.raises(ConfigError, match=r"\ba\b"):
        outline(columns(a=type), steps(item))


def test_names_of_bookkeeping_are_out_of_reach_however_the_step_was_made() -> None:
    step = Rename.model_construct(columns={"a": "_key"})
    with pytest.raises(ConfigError, match="'_key' is reserved"):
        outline(columns(a="string"), [step])


def test_a_rename_onto_another_column_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a' cannot become 'b'"):
        outline(columns(a="string", b="string"), steps({"rename": {"a": "b"}}))


def test_all_columns_cannot_be_dropped() -> None:
    with pytest.raises(ConfigError, match="no column is left"):
        outline(columns(a="string"), steps({"drop_columns": "a"}))


def test_duplicates_are_defined_once() -> None:
    with pytest.raises(ConfigError, match="given twice"):
        outline(columns(a="string"), steps("drop_duplicates", {"drop_duplicates": "a"}))


def test_reading_pipeline_files_imports_nothing_heavy() -> None:
    code = (
        "import sys, tidegate.clean, tidegate.clean.steps\n"
        "print([m for m in ('pandas', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": ":".join(sys.path)})  # fmt: skip
    assert done.stdout.strip() == "[]"
