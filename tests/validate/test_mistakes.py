"""Every mistake in an expectation is told by name and column; none is a silent pass."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tidegate
from tidegate.errors import ConfigError, DataError
from validate.pages import check, page, suite

TYPES = {
    "id": "int64", "unit_price": "decimal(10,2)", "note": "string", "at": "timestamp",
    "day": "date",
}  # fmt: skip
BETWEEN = "expect_column_values_to_be_between"
IN_SET = "expect_column_values_to_be_in_set"


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        (BETWEEN, {"column": "unit_prise", "min_value": 0}, ["Did you mean 'unit_price'?"]),
        ("expect_column_values_to_not_be_nul", {"column": "id"}, ["Did you mean", "not_be_null'"]),
        (
            BETWEEN,
            {"column": "id", "min": 0},
            ["unknown argument 'min'", "max_value, meta, min_value"],
        ),
        (BETWEEN, {"column": "id"}, ["min_value and max_value cannot both be None"]),
        (BETWEEN, {"column": "id", "min_value": "ten"}, ["min_value", "'ten'", "int64"]),
        (BETWEEN, {"column": "note", "min_value": 3}, ["string", "match_regex"]),
        (BETWEEN, {"column": "at", "min_value": "31.1.2026"}, ["'31.1.2026'", "ISO 8601"]),
        (BETWEEN, {"column": "day", "min_value": 5}, ["5 is not a date"]),
        (BETWEEN, {"column": "id", "min_value": 1, "mostly": 95}, ["mostly is 95", "0.95"]),
        (IN_SET, {"column": "note", "value_set": [1]}, ["1 is not text", "quotes"]),
        (IN_SET, {"column": "id", "value_set": [0.5]}, ["0.5 can never be in a int64"]),
        (IN_SET, {"column": "id"}, ["value_set", "field required"]),
        (
            "expect_compound_columns_to_be_unique",
            {"column_list": ["id", "nota"]},
            ["no column 'nota'", "Did you mean 'note'?"],
        ),
        (
            "expect_column_values_to_match_like_pattern",
            {"column": "note", "like_pattern": "a%"},
            ["expect_column_values_to_match_regex"],
        ),
        (
            "expect_column_values_to_match_regex",
            {"column": "note", "regex": "("},
            ["note (string)"],
        ),
        ("expect_column_mean_to_be_between", {"column": "note", "min_value": 1}, ["note (string)"]),
        ("expect_column_values_to_be_increasing", {"column": "note"}, ["note (string)"]),
        (
            "expect_column_values_to_not_be_null",
            {"column": "note", "row_condition": "__import__('os').abort()"},
            ["row_condition", "never as text"],
        ),
        (
            "expect_column_values_to_not_be_null",
            {
                "column": "note",
                "row_condition": {"type": "nullity", "column": {"name": "nota"}, "is_null": False},
            },
            ["no column 'nota'", "Did you mean 'note'?"],
        ),
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "id", "column_B": "note"},
            ["id (int64), note (string)"],
        ),
    ],
)
def test_a_mistake_names_stream_expectation_and_what_is_wrong(
    name: str, arguments: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        suite(TYPES, (name, arguments)).verify()
    message = str(caught.value)
    for word in ["shop.orders", name, *words]:
        assert word in message


def test_an_expectation_that_trips_over_values_is_a_data_error_without_the_values() -> None:
    types = {"payload": "string"}
    expected = (
        "expect_column_values_to_match_json_schema",
        {"column": "payload", "json_schema": {"type": "object"}},
    )
    table = page(types, [["{}"], ["secret text, not JSON"]])

    with pytest.raises(DataError) as caught:
        check(suite(types, expected), table)
    assert "payload (string)" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_mistake_is_found_in_a_run_too() -> None:
    expected = ("expect_column_values_to_be_increasing", {"column": "note"})
    table = page({"note": "string"}, [["b"], ["a"]])

    with pytest.raises(ConfigError, match=r"expect_column_values_to_be_increasing on note"):
        check(suite({"note": "string"}, expected), table)


def test_good_expectations_of_every_kind_verify_without_data() -> None:
    suite(
        TYPES,
        ("expect_column_values_to_not_be_null", {"column": "id", "notes": "ids are given"}),
        (BETWEEN, {"column": "unit_price", "min_value": "0.01", "severity": "warning"}),
        (BETWEEN, {"column": "at", "min_value": "2020-01-01"}),
        ("expect_column_pair_values_to_be_equal", {"column_A": "id", "column_B": "unit_price"}),
        ("expect_table_row_count_to_be_between", {"max_value": 10}),
        ("expect_column_to_exist", {"column": "vat"}),
        ("expect_column_values_to_match_strftime_format",
         {"column": "note", "strftime_format": "%Y"}),
    ).verify()  # fmt: skip


def test_great_expectations_stays_silent(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    expected = (BETWEEN, {"column": "unit_price", "min_value": "0.01"})
    check(suite(TYPES, expected), page(TYPES, [[1, 0, "private", None, None]]))

    assert [item for item in caplog.records if item.name.startswith("great")] == []
    assert capfd.readouterr() == ("", "")


def test_there_is_no_context_that_could_report_and_the_environment_is_left_alone() -> None:
    code = (
        "import os\n"
        "from tidegate.validate import engine, warm\n"
        "warm()\n"
        "from great_expectations.data_context.data_context.context_factory import project_manager\n"
        "print(project_manager._ProjectManager__project, 'GX_ANALYTICS_ENABLED' in os.environ)\n"
    )
    done = python(code)
    assert done.stdout.split() == ["None", "False"]


def python(code: str) -> subprocess.CompletedProcess[str]:
    """What a new process makes of *code*."""
    package = str(Path(tidegate.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, tidegate.validate, tidegate.validate.docs\n"
        "heavy = {'great_expectations', 'pandas', 'numpy', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_few_expectations_need_is_imported_by_those_that_need_it() -> None:
    code = (
        "import sys\n"
        "from tidegate.validate import engine\n"
        "engine.load()\n"
        "known = len(sys.modules)\n"
        "from scipy import stats\n"
        "print(len(sys.modules) == known, float(stats.norm.cdf(0)), len(sys.modules) > known)\n"
    )
    done = python(code)
    assert done.stdout.split() == ["True", "0.5", "True"]
