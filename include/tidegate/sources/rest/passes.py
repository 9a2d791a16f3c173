"""Lists that shift under a reader: read until two readings in a row have the same keys.

Where pages have numbers, a row that leaves page 1 while page 2 is read pulls the first row of page
3 to page 2: nobody reads that one. A second reading, in which nothing moved, has another set of
keys than the first. Rows are handed on when they are seen first, or changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from tidegate.errors import UnavailableError


def settled(readings: Callable[[], Iterator[pa.Table]], most: int, name: str) -> Iterator[pa.Table]:
    """The pages of the list, without rows that came before and did not change.

    Raises UnavailableError when *most* readings do not have two in a row that agree.
    """
    seen: dict[int, int] = {}
    before: set[int] | None = None
    for _ in range(most):
        keys: set[int] = set()
        for page in readings():
            yield from _fresh(page, seen, keys)
        if most == 1 or not keys or keys == before:
            return
        before = keys
    raise UnavailableError(
        f"{name}: the list changes while it is read: {most} readings, no two in a row with the "
        "same rows. Let the server sort it by what does not change, or use pages by cursor or "
        "link; with pages: {passes: 1} it is read once, and rows may be missed."
    )


def _fresh(page: pa.Table, seen: dict[int, int], keys: set[int]) -> Iterator[pa.Table]:
    kept = []
    columns = (page.column(name).to_pylist() for name in ("_key", "_source_hash"))
    for row, (key, content) in enumerate(zip(*columns, strict=True)):
        mark = hash(key) if key is not None else content
        keys.add(mark)
        if seen.get(mark) != content:
            seen[mark] = content
            kept.append(row)
    if kept:
        yield page if len(kept) == page.num_rows else page.take(kept)
