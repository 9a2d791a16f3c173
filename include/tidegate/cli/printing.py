"""Tables for people."""

from __future__ import annotations

from typing import Any


def table(columns: list[str], rows: list[dict[str, Any]]) -> None:
    """Print *rows* under their *columns*, aligned."""
    cells = [[cell(row[column]) for column in columns] for row in rows]
    widths = [
        max([len(column), *(len(row[i]) for row in cells)]) for i, column in enumerate(columns)
    ]
    for line in [columns, *cells]:
        print(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )


def cell(value: Any) -> str:
    """One value, numbers grouped by thousands."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
