"""The list of expectations is that of the installed Great Expectations."""

from __future__ import annotations

import pytest

from pipeline import generate_expectations
from tidegate.pipeline.expect import KINDS
from tidegate.pipeline.expectations import EXPECTATIONS, NEED_A_DATABASE


@pytest.mark.filterwarnings("ignore")
def test_the_list_is_what_great_expectations_has() -> None:
    written = generate_expectations.TARGET.read_text(encoding="utf-8")
    assert generate_expectations.source() == written, (
        "run: python tests/pipeline/generate_expectations.py"
    )


def test_an_expectation_runs_on_rows_or_is_refused() -> None:
    assert len(EXPECTATIONS) > 50
    assert not EXPECTATIONS.keys() & NEED_A_DATABASE


def test_every_argument_a_kind_is_declared_for_exists() -> None:
    taken = {name for pair in EXPECTATIONS.values() for names in pair for name in names}
    assert KINDS.keys() - taken == {"description", "severity"}
