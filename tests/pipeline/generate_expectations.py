"""Writes include/tidegate/pipeline/expectations.py from the installed Great Expectations.

Run it after an upgrade: ``python tests/pipeline/generate_expectations.py``. A test compares.
"""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "include/tidegate/pipeline/expectations.py"

# Ours to decide (results, batches), about the object rather than the check, or code (a row
# condition is evaluated by pandas).
NOT_OFFERED = {
    "id", "result_format", "catch_exceptions", "rendered_content", "windows", "batch_id",
    "library_metadata", "row_condition", "condition_parser", "description", "meta", "notes",
    "severity",
}  # fmt: skip

# They ask a database, and what is checked here are the rows of one increment.
NEED_A_DATABASE = {"expect_table_row_count_to_equal_other_table"}

HEAD = '''\
"""Great Expectations' core expectations: name → arguments it requires, arguments it takes.

Generated from Great Expectations {version} by tests/pipeline/generate_expectations.py; do not edit.
"""

# fmt: off
from __future__ import annotations

EXPECTATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {{
'''


def source() -> str:
    """The text of the module."""
    import great_expectations
    import great_expectations.expectations.core as core
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.registry import _registered_metrics as metrics

    text = HEAD.format(version=great_expectations.__version__)
    database = []
    kinds: list[Any] = [
        kind
        for kind in vars(core).values()
        if inspect.isclass(kind) and issubclass(kind, Expectation)
    ]
    named = {str(kind.expectation_type): kind for kind in kinds if kind.expectation_type}
    for name, kind in sorted(named.items()):
        if name in NEED_A_DATABASE or not _runs_on_rows(kind, metrics):
            database.append(name)
            continue
        fields = {key: one for key, one in kind.__fields__.items() if key not in NOT_OFFERED}
        required = [key for key, one in fields.items() if one.required]
        optional = [key for key, one in fields.items() if not one.required]
        text += f'    "{name}": (\n{_tuple(required)}{_tuple(optional)}    ),\n'
    text += "}\n\nNEED_A_DATABASE: frozenset[str] = frozenset({\n"
    text += "".join(f'    "{name}",\n' for name in database)
    return text + "})\n"


def _runs_on_rows(kind: Any, metrics: dict[str, Any]) -> bool:
    needed = list(getattr(kind, "metric_dependencies", None) or ())
    if getattr(kind, "map_metric", None):
        needed.append(f"{kind.map_metric}.condition")
    providers = [metrics.get(one, {}).get("providers", {}) for one in needed]
    return all("PandasExecutionEngine" in found for found in providers)


def _tuple(names: list[str]) -> str:
    if not names:
        return "        (),\n"
    words = " ".join(f'"{name}",' for name in names)
    lines = textwrap.wrap(words, 88, break_long_words=False, break_on_hyphens=False)
    if len(lines) == 1:
        return f"        ({lines[0] if len(names) == 1 else lines[0].rstrip(',')}),\n"
    return "        (\n" + "".join(f"            {line}\n" for line in lines) + "        ),\n"


if __name__ == "__main__":
    TARGET.write_text(source(), encoding="utf-8")
