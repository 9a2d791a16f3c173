"""What editors are told agrees with what the reader does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.examples import SHOP
from pipeline.test_broken_files import FOLDER
from tidegate import settings
from tidegate.clean.steps import STEPS
from tidegate.pipeline import document, schema
from tidegate.pipeline.expectations import EXPECTATIONS
from tidegate.pipeline.reader import read_all

FILE = Path(settings.__file__).parents[1] / "pipelines" / "schema.json"


def errors(text: str) -> list[str]:
    found: Any = document.parse(text.encode(), "shop.yaml").data
    validator = Draft202012Validator(schema.schema())
    return [error.message for error in validator.iter_errors(found)]


def test_the_schema_in_the_repository_is_the_models() -> None:
    written = FILE.read_text(encoding="utf-8")
    assert written == schema.text() + "\n", "run: tidegate schema > include/pipelines/schema.json"


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema.schema())


def test_a_good_file_has_no_red_lines() -> None:
    assert errors(SHOP) == []


def test_files_that_come_with_tidegate_are_good_and_name_their_schema() -> None:
    for found in read_all(FILE.parent):
        assert found.broken == {}
        text = found.path.read_text(encoding="utf-8")
        assert re.match(r"# yaml-language-server: \$schema=(\./)?schema\.json\n", text)
        assert errors(text) == []


@pytest.mark.parametrize(
    "case",
    [
        "a_misspelt_key", "a_key_forgotten", "credentials_in_the_file", "no_streams",
        "a_cleaning_step_that_does_not_exist", "expectations", "types_zones_and_numbers",
        "keys_in_the_wrong_place", "names_and_tables", "credentials_in_a_stream",
    ],
)  # fmt: skip
def test_mistakes_are_underlined_while_they_are_typed(case: str) -> None:
    assert errors((FOLDER / f"{case}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("schedule: 30s", "schedule: [30s]"), ("lookback: 2m", "lookback: 2 min"),
        ("value_set: [new, cancelled]", "value_set: new"), ("mostly: 0.99", "mostly: 99"),
        ("strict_min: true", "strict_min: yes"), ("every: month", "every: quarter"),
        ("- lower: email", "- lowr: email"), ("{type: Product, ", "{"),
        ("from: OrderLine", "form: OrderLine"), ("connection: shop_db", "connection: shop db"),
    ],
)  # fmt: skip
def test_one_mistake_is_enough(right: str, wrong: str) -> None:
    assert right in SHOP
    assert errors(SHOP.replace(right, wrong, 1))


def test_editors_can_complete_every_step_and_expectation() -> None:
    text = schema.text()
    for name in (*STEPS, *EXPECTATIONS):
        assert f'"{name}"' in text


def test_settings_are_explained() -> None:
    definitions = schema.schema()["$defs"]
    names = ["Defaults", "Entity", "Relation", "End", "Backfill", "SoftDelete"]
    for name in [*names, *(name for name in definitions if name.endswith("Stream"))]:
        unexplained = [
            key
            for key, value in definitions[name]["properties"].items()
            if not value.get("description")
        ]
        assert unexplained == [], name
